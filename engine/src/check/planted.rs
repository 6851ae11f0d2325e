//! For each invariant a state that breaks it, and a recount that sees it: one that cannot fail says
//! nothing. A new one needs a state here; without it this does not compile.

use alloc::sync::Arc;
use alloc::vec;
use core::net::IpAddr;
use core::time::Duration;

use super::*;
use crate::config::Config;
use crate::dns::{DnsAnswer, DnsData, Question};
use crate::ids::{ConnId, SpoolOp};
use crate::io::{Input, Output};
use crate::message::{RecipientState, StoredMessage, StoredRecipient, Submission};
use crate::queue::{Batch, Indexes};
use crate::reception::SpoolPurpose;
use crate::rng::Seed;
use crate::shaping::gates::{GateKey, GateKind};
use crate::smtp::address::{Mailbox, ReversePath};
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::tls::policy::TlsFault;

const NOW: Timestamp = Timestamp::from_secs(1000);
const FIRST: MessageId = MessageId(2);

/// What is changed in an engine that holds one message and opens a connection for it, and what a
/// recount then says.
type Plant = (fn(&mut Engine), &'static str);

fn plants(invariant: Invariant) -> Vec<Plant> {
    match invariant {
        Invariant::Conservation => vec![
            (|engine| engine.messages.insert(stored(MessageId(4)), 1, 0), "has 1 recipients left"),
            (|engine| queue(engine).push_active(batch(MessageId(4), 0)), "not in care"),
            (|engine| queue(engine).push_active(batch(FIRST, 0)), "is in two places"),
            (
                |engine| {
                    let recipients = Indexes::new();
                    let empty = Batch { recipients, ..batch(FIRST, 0) };
                    queue(engine).push_active(empty);
                },
                "an empty batch",
            ),
        ],
        Invariant::Residency => vec![(
            |engine| engine.messages.insert(stored(MessageId(4)), 1, 1),
            "is held open by 1, found 0",
        )],
        Invariant::Bindings => {
            vec![(|engine| queue(engine).pair.binding = "gone".into(), "not configured")]
        }
        Invariant::Counters => vec![
            (|engine| queue(engine).connections += 1, "connections is 2, found 1"),
            (|engine| queue(engine).ready += 1, "ready is 1, found 0"),
        ],
        Invariant::Caps => vec![
            (
                |engine| {
                    let queue = queue(engine);
                    let options = Arc::make_mut(&mut queue.options);
                    options.max_outbound_connections = 0;
                },
                "1 connections, cap 0",
            ),
            (
                |engine| {
                    let key = GateKey { kind: GateKind::ScopeMax, scope: "".into() };
                    engine.gates.leave(&key);
                },
                "counted 0, found 1",
            ),
        ],
        Invariant::Tls => vec![(plant_probe, "does not exist")],
        Invariant::Bookkeeping => vec![(
            |engine| {
                engine.spooling.insert(SpoolOp(999), SpoolPurpose::Bookkeeping(FIRST));
            },
            "(1, 0, 0)",
        )],
        Invariant::Notices => {
            vec![(|engine| engine.notices.plant(), "notices wait in line though none")]
        }
        Invariant::Liveness => vec![
            (|engine| engine.routes.plant(), "nobody will tell it what it waits for"),
            (|engine| queue(engine).reason = QueueReason::Empty, "active mail"),
            (
                |engine| queue(engine).reason = QueueReason::HostMaxOutboundConnections,
                "max_outbound_connections of the exchange reached",
            ),
            (
                |engine| {
                    let queue = queue(engine);
                    let batch = queue.take_front(0).unwrap();
                    queue.delay(NOW + Duration::from_secs(60), batch);
                },
                "delayed mail",
            ),
            (|engine| queue(engine).idle.push(ConnId(999)), "not known to their siblings"),
        ],
    }
}

const ALL: [Invariant; 9] = [
    Invariant::Conservation,
    Invariant::Residency,
    Invariant::Bindings,
    Invariant::Counters,
    Invariant::Caps,
    Invariant::Tls,
    Invariant::Bookkeeping,
    Invariant::Notices,
    Invariant::Liveness,
];

#[test]
fn every_invariant_can_be_found_broken() {
    for (place, invariant) in ALL.into_iter().enumerate() {
        assert_eq!(place, invariant as usize, "one is missing from the list");
        for (plant, details) in plants(invariant) {
            let mut engine = engine();
            assert_eq!(engine.check(), Ok(()), "before");
            plant(&mut engine);
            let found = engine.check().expect_err(details);
            assert_eq!(found.invariant, invariant.name(), "{found}");
            assert!(found.details.contains(details), "{found}, expected {details}");
        }
    }
    assert_eq!(ALL.len(), Invariant::Liveness as usize + 1);
}

/// An engine that holds one message, and opens a connection for it.
fn engine() -> Engine {
    let config = "scope_max_outbound_connections = 5 tls = ifavailable";
    let config = Arc::new(Config::from_text(config).unwrap());
    let mut engine = Engine::new(config, Seed([0; 32]), NOW);
    let message = (*stored(FIRST)).clone();
    engine.handle(NOW, Input::Submitted(alloc::boxed::Box::new(Submission { message })));
    while let Some(output) = engine.poll() {
        match output {
            Output::Spool { op, .. } => engine.handle(NOW, Input::Spooled { op, result: Ok(()) }),
            Output::Resolve { query, question } => {
                let data = match question {
                    Question::Mx(name) => {
                        let record = crate::dns::MxRecord { preference: 10, exchange: name };
                        DnsData::Mx(vec![record])
                    }
                    Question::Addresses(_) => {
                        DnsData::Addresses(vec![IpAddr::from([192, 0, 2, 1])])
                    }
                };
                let answer = DnsAnswer { data, ttl: Duration::from_secs(60) };
                engine.handle(NOW, Input::Resolved { query, result: Ok(answer) });
            }
            _ => {}
        }
    }
    assert_eq!(engine.outbound.len(), 1);
    engine
}

fn queue(engine: &mut Engine) -> &mut crate::queue::Queue {
    engine.queues.iter_mut().next().unwrap().1
}

fn batch(message: MessageId, recipient: u32) -> Batch {
    Batch { message, recipients: Indexes::from_slice(&[recipient]), attempts: 0, open: false }
}

fn stored(id: MessageId) -> Arc<StoredMessage> {
    let mailbox = Mailbox { local: "a".into(), domain: "x.test".into() };
    Arc::new(StoredMessage {
        id,
        reverse_path: ReversePath(None),
        recipients: vec![StoredRecipient { mailbox, state: RecipientState::new(NOW) }],
        received_at: NOW,
        size_bytes: 100,
        eight_bit: false,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    })
}

/// TLS failed at an address, and a connection that there is not tries anew.
fn plant_probe(engine: &mut Engine) {
    let asked = engine.outbound.values().next().unwrap().asked().unwrap().clone();
    let reply = Reply::local(451, EnhancedCode(4, 7, 5), "TLS failed");
    let incident = crate::sched::tls::Incident {
        fault: TlsFault::Negotiation,
        stage: Stage::Handshake,
        reply,
    };
    engine.tls.failed(asked.clone(), incident, NOW, NOW);
    engine.tls.trying(&asked, ConnId(999));
}
