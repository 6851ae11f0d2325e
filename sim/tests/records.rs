//! The document about records names every kind, every key and every word there is, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use traject_engine::Timestamp;
use traject_engine::bounce::BounceClass;
use traject_engine::config::effective::BounceBehavior;
use traject_engine::control::{Action, Reach, Refusal, Selector};
use traject_engine::dns::{DnsErrorKind, Question};
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::io::{NetError, SpoolError};
use traject_engine::record::{
    Attempt, ClearReason, CloseReason, Event, GiveUp, Pair, Record, Transport, Via,
};
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::reply::{EnhancedCode, Reply};
use traject_engine::smtp::stage::Stage;
use traject_engine::tls::info::{TlsError, TlsInfo, Verification};
use traject_engine::tls::policy::{Consequence, TlsFault, TlsMode};

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/records.md");
    fs::read_to_string(path).unwrap()
}

fn attempt() -> Attempt {
    Attempt {
        message: MessageId(2),
        recipient: 0,
        mailbox: Mailbox { local: "x".into(), domain: "a.test".into() },
        reverse_path: ReversePath(None),
        size_bytes: 0,
        pair: pair(),
        attempts: 1,
        age: Duration::ZERO,
        took: Duration::ZERO,
        conn: None,
        remote: None,
        transport: Transport::Nothing,
        stage: Stage::BodyReply,
        reply: reply(),
        class: Some(BounceClass::Generic),
        quiet: true,
    }
}

fn pair() -> Pair {
    Pair { binding: "b".into(), domain: "a.test".into() }
}

fn reply() -> Reply {
    Reply::local(451, EnhancedCode(4, 4, 2), "connection lost")
}

fn info() -> Arc<TlsInfo> {
    let json = r#"{"version":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256",
        "verification":"not_checked","issuer":null,"subject":null,"resumed":false}"#;
    serde_json::from_str(json).unwrap()
}

/// The event that follows another in the order of their declaration: the compiler asks for each.
fn next(event: Option<&Event>) -> Option<Event> {
    let (conn, remote): (_, SocketAddr) = (ConnId(2), "192.0.2.1:25".parse().unwrap());
    let (exchange, until): (Arc<str>, _) = ("mx".into(), Timestamp(5));
    let (peer, message) = (remote, MessageId(2));
    Some(match event {
        None => Event::Reception {
            message,
            via: Via::Submission,
            reverse_path: ReversePath(None),
            recipients: Vec::new(),
            done: [1].into(),
            binding: "b".into(),
            size_bytes: 0,
        },
        Some(Event::Reception { .. }) => {
            Event::Rejection { conn, peer, local: peer, phase: "mail".into(), reply: reply() }
        }
        Some(Event::Rejection { .. }) => Event::Delivery(attempt()),
        Some(Event::Delivery(_)) => {
            Event::TransientFailure { attempt: attempt(), next_attempt_at: until }
        }
        Some(Event::TransientFailure { .. }) => Event::PermanentFailure(attempt()),
        Some(Event::PermanentFailure(_)) => {
            Event::Expiry { attempt: attempt(), why: GiveUp::MaxTime, last_reply: None }
        }
        Some(Event::Expiry { .. }) => Event::ConnectionOpened {
            conn,
            pair: pair(),
            local: remote,
            remote,
            exchange,
            open: 1,
            took: Duration::ZERO,
        },
        Some(Event::ConnectionOpened { .. }) => Event::TlsEstablished {
            conn,
            pair: pair(),
            remote,
            exchange,
            mode: TlsMode::Required,
            info: info(),
        },
        Some(Event::TlsEstablished { .. }) => Event::TlsFailed {
            conn,
            pair: pair(),
            remote,
            exchange,
            mode: TlsMode::Required,
            stage: Stage::Handshake,
            fault: TlsFault::Negotiation,
            reply: reply(),
            consequence: Consequence::Unfit,
            until,
        },
        Some(Event::TlsFailed { .. }) => Event::ClientSecured { conn, peer, info: info() },
        Some(Event::ClientSecured { .. }) => {
            Event::ClientTlsFailed { conn, peer, error: TlsError::Lost }
        }
        Some(Event::ClientTlsFailed { .. }) => Event::ConnectionFailed {
            conn,
            pair: pair(),
            remote,
            exchange,
            error: NetError::Refused,
            took: Duration::ZERO,
        },
        Some(Event::ConnectionFailed { .. }) => {
            Event::ConnectionMigrated { conn, from: pair(), to: pair(), remote, exchange, open: 1 }
        }
        Some(Event::ConnectionMigrated { .. }) => Event::ConnectionClosed {
            conn,
            pair: pair(),
            remote,
            reason: CloseReason::Idle,
            deliveries: 0,
        },
        Some(Event::ConnectionClosed { .. }) => Event::HostSetAside {
            binding: "b".into(),
            address: remote.ip(),
            exchange,
            until,
            stage: Stage::Connect,
            reply: reply(),
        },
        Some(Event::HostSetAside { .. }) => Event::QueueDelayed {
            pair: pair(),
            recipients: 1,
            reply: reply(),
            next_attempt_at: until,
        },
        Some(Event::QueueDelayed { .. }) => Event::Reconfigured { queues: 1, moved: 0 },
        Some(Event::Reconfigured { .. }) => Event::Control {
            by: "op".into(),
            action: Action::Reroute {
                of: Selector {
                    binding: Some("b".into()),
                    domain: Some("a.test".into()),
                    message: Some(message),
                },
                to_binding: Some("c".into()),
                to_domain: Some("b.test".into()),
            },
            reach: Reach::default(),
            refusal: Some(Refusal::Nowhere),
        },
        Some(Event::Control { .. }) => {
            Event::Rerouted { message, recipients: [0].into(), from: pair(), to: pair() }
        }
        Some(Event::Rerouted { .. }) => Event::DnsFailure {
            question: Question::Mx("a.test".into()),
            error: DnsErrorKind::Timeout,
            text: "".into(),
        },
        Some(Event::DnsFailure { .. }) => Event::SpoolFailure { message, error: SpoolError::Full },
        Some(Event::SpoolFailure { .. }) => {
            Event::ProtocolViolation { conn, peer, what: "".into() }
        }
        Some(Event::ProtocolViolation { .. }) => Event::OutOfBandBounce {
            message,
            recipient: 0,
            conn,
            peer,
            mailbox: Mailbox { local: "x".into(), domain: "a.test".into() },
            about: Some(Mailbox { local: "x".into(), domain: "a.test".into() }),
            binding: "b".into(),
            size_bytes: 1,
            reply: reply(),
            class: BounceClass::Generic,
            behavior: BounceBehavior::Pass,
        },
        Some(Event::OutOfBandBounce { .. }) => return None,
    })
}

/// The words in backquotes at the beginning of each row of a text's tables.
fn keys(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let names = cells.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned));
    names.filter(|name| !name.is_empty() && !name.starts_with(',')).collect()
}

#[test]
fn every_kind_of_record_and_every_key_is_described() {
    let document = document();
    let sections: BTreeMap<&str, &str> = document
        .split("\n### `")
        .skip(1)
        .map(|section| section.split_once("`\n").unwrap())
        // What follows the next heading is about something else.
        .map(|(name, text)| (name, text.split("\n## ").next().unwrap()))
        .collect();
    let (_, about_attempts) = document.split_once("## What becomes of a recipient").unwrap();
    let of_attempt = keys(about_attempts.split("\n### ").next().unwrap());
    let everywhere = ["at", "type"].map(str::to_owned);
    let mut kinds = BTreeSet::new();
    let mut event = next(None);
    while let Some(one) = event {
        let record = serde_json::to_value(Record { at: Timestamp(1), event: one.clone() }).unwrap();
        let written: BTreeSet<String> = record.as_object().unwrap().keys().cloned().collect();
        let kind = record["type"].as_str().unwrap().to_owned();
        let section = sections.get(kind.as_str()).unwrap_or_else(|| panic!("no {kind}"));
        let mut described = keys(section);
        described.extend(everywhere.iter().cloned());
        if section.contains("An attempt") {
            described.extend(of_attempt.iter().cloned());
        }
        assert_eq!(described, written, "{kind}");
        kinds.insert(kind);
        event = next(Some(&one));
    }
    assert_eq!(kinds.len(), sections.len(), "{:?}", sections.keys());
}

#[test]
fn every_word_of_a_few_is_described() {
    fn word(value: &impl Serialize) -> String {
        serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
    }
    let document = document();
    let mut words: Vec<String> = TlsFault::ALL.iter().map(word).collect();
    words.extend([GiveUp::MaxRetries, GiveUp::MaxTime].iter().map(word));
    words
        .extend([Consequence::InClear, Consequence::Fallback, Consequence::Unfit].iter().map(word));
    words.extend(
        [
            ClearReason::NotWanted,
            ClearReason::NotOffered,
            ClearReason::Refused,
            ClearReason::NegotiationFailed,
        ]
        .iter()
        .map(word),
    );
    words.extend([TlsMode::IfAvailable, TlsMode::Required].iter().map(word));
    words.extend([Verification::NotChecked, Verification::Verified].iter().map(word));
    words.extend([CloseReason::Idle, CloseReason::LimitReached].iter().map(word));
    words.extend([CloseReason::ServiceUnavailable, CloseReason::Reconfigured].iter().map(word));
    words.extend([NetError::SourceUnavailable, NetError::Exhausted].iter().map(word));
    words.extend(
        [Stage::StartTls, Stage::MailFrom, Stage::BodyReply, Stage::Queue].iter().map(word),
    );
    for word in words {
        assert!(document.contains(&format!("`{word}`")), "{word}");
    }
}
