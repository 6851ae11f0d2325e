//! Records for tests: mail of the binding `default`, most of it to `a.test`. Instants are seconds
//! after [`START`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use traject_engine::config::Config;
use traject_engine::ids::{ConnId, MessageId, SpoolOp};
use traject_engine::io::SpoolWrite;
use traject_engine::message::StoredMessage;
use traject_engine::record::{
    Attempt, ClearReason, CloseReason, Event, GiveUp, Pair, Record, Transport, Via,
};
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::reply::{EnhancedCode, Reply};
use traject_engine::smtp::stage::Stage;
use traject_engine::{Input, Output, Timestamp};

use crate::cause::Teller;
use crate::oracle::Oracles;

pub(crate) const START: Timestamp = Timestamp::from_secs(1000);

pub(crate) fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

pub(crate) fn mailbox(name: &str) -> Mailbox {
    let (local, domain) = name.split_once('@').unwrap();
    Mailbox { local: local.into(), domain: domain.into() }
}

pub(crate) fn pair(domain: &str) -> Pair {
    Pair { binding: "default".into(), domain: domain.into() }
}

pub(crate) fn remote(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([198, 18, 0, last]), 25)
}

pub(crate) fn record(second: u64, event: Event) -> Record {
    Record { at: at(second), event }
}

pub(crate) fn reception(second: u64, message: u64, recipients: &[&str]) -> Record {
    let event = Event::Reception {
        message: MessageId(message),
        via: Via::Submission,
        reverse_path: ReversePath(None),
        recipients: recipients.iter().map(|name| mailbox(name)).collect(),
        done: Box::default(),
        binding: "default".into(),
        size_bytes: 1000,
    };
    record(second, event)
}

/// What a record says came in is on the disk.
pub(crate) fn spooled(oracles: &mut Oracles, record: &Record) {
    let Event::Reception { message, reverse_path, binding, size_bytes, .. } = &record.event else {
        return;
    };
    let message = StoredMessage {
        id: *message,
        reverse_path: reverse_path.clone(),
        recipients: Vec::new(),
        received_at: record.at,
        size_bytes: *size_bytes,
        eight_bit: false,
        binding: Arc::clone(binding),
        origin: None,
        rerouted: Vec::new(),
    };
    let (op, write) = (SpoolOp(message.id.0), SpoolWrite::Insert(Arc::new(message)));
    oracles.output(record.at, &Output::Spool { op, write }).unwrap();
    oracles.input(record.at, &Input::Spooled { op, result: Ok(()) }).unwrap();
}

pub(crate) fn opened(second: u64, conn: u64, last: u8, open: u32) -> Record {
    let event = Event::ConnectionOpened {
        conn: ConnId(conn),
        pair: pair("a.test"),
        local: "192.0.2.1:50000".parse().unwrap(),
        remote: remote(last),
        exchange: format!("mx{last}.a.test").into(),
        open,
        took: Duration::ZERO,
    };
    record(second, event)
}

pub(crate) fn closed(second: u64, conn: u64, deliveries: u32) -> Record {
    let event = Event::ConnectionClosed {
        conn: ConnId(conn),
        pair: pair("a.test"),
        remote: remote(1),
        reason: CloseReason::Idle,
        deliveries,
    };
    record(second, event)
}

/// A peer's reply.
pub(crate) fn reply(line: &str) -> Reply {
    let (code, text) = line.split_at(3);
    let text = text.trim().into();
    Reply { code: code.parse().unwrap(), enhanced: None, text, local: false }
}

/// Our own words about a lost connection.
pub(crate) fn lost() -> Reply {
    Reply::local(451, EnhancedCode(4, 4, 2), "connection lost")
}

/// An attempt for message 2 to x@a.test, received at second 0.
pub(crate) fn attempt(second: u64, attempts: u16, stage: Stage, reply: Reply) -> Attempt {
    Attempt {
        message: MessageId(2),
        recipient: 0,
        mailbox: mailbox("x@a.test"),
        reverse_path: ReversePath(Some(mailbox("s@b.test"))),
        size_bytes: 100,
        pair: pair("a.test"),
        attempts,
        age: Duration::from_secs(second),
        took: Duration::ZERO,
        conn: Some(ConnId(2)),
        remote: Some(remote(1)),
        transport: Transport::Clear { why: ClearReason::NotWanted },
        stage,
        reply,
        class: None,
        quiet: false,
    }
}

pub(crate) fn delivery(second: u64, attempts: u16) -> Record {
    let attempt = attempt(second, attempts, Stage::BodyReply, reply("250 Ok"));
    record(second, Event::Delivery(attempt))
}

pub(crate) fn deferral(
    second: u64,
    attempts: u16,
    stage: Stage,
    reply: Reply,
    next: u64,
) -> Record {
    let attempt = attempt(second, attempts, stage, reply);
    record(second, Event::TransientFailure { attempt, next_attempt_at: at(next) })
}

pub(crate) fn bounce(second: u64, attempts: u16, stage: Stage, reply: Reply) -> Record {
    record(second, Event::PermanentFailure(attempt(second, attempts, stage, reply)))
}

pub(crate) fn expiry(second: u64, attempts: u16, why: GiveUp) -> Record {
    let verdict = Reply::local(554, EnhancedCode(5, 4, 7), "given up");
    let attempt = attempt(second, attempts, Stage::RcptTo, verdict);
    let last_reply = Some(reply("450 Later"));
    record(second, Event::Expiry { attempt, why, last_reply })
}

/// Somebody who tells of causes in a scenario without faults.
pub(crate) fn with_teller<T>(tell: impl FnOnce(&Teller<'_>) -> T) -> T {
    let config = Config::from_text("").unwrap();
    let (faults, events, receivers) = (&[], &[], &[]);
    tell(&Teller { start: START, faults, events, receivers, config_at: &|_| &config })
}
