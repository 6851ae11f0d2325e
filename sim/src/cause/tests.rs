//! Which record leads to which. What is told of it whole runs show, in `runner/tests.rs`.

use traject_engine::ids::ConnId;

use super::*;
use crate::counts::PairFinder;
use crate::test_records::{
    closed, deferral, delivery, expiry, lost, opened, pair, reception, record, remote, reply,
    with_teller,
};

/// The cause of each record of a run, 0 for none.
fn causes(records: &[Record]) -> Vec<u64> {
    let (mut causes, mut pairs) = (Causes::new(true), PairFinder::default());
    let cause =
        |record: &Record| causes.note(record, pairs.find(&record.event)).cause.unwrap_or_default();
    records.iter().map(cause).collect()
}

fn failed(second: u64, conn: u64) -> Record {
    let event = Event::ConnectionFailed {
        conn: ConnId(conn),
        pair: pair("a.test"),
        remote: remote(1),
        exchange: "mx1.a.test".into(),
        error: traject_engine::io::NetError::Refused,
        took: std::time::Duration::ZERO,
    };
    record(second, event)
}

fn set_aside(second: u64) -> Record {
    let event = Event::HostSetAside {
        binding: "default".into(),
        address: remote(1).ip(),
        exchange: "mx1.a.test".into(),
        until: crate::test_records::at(second + 120),
        stage: Stage::Connect,
        reply: lost(),
    };
    record(second, event)
}

fn delayed(second: u64) -> Record {
    let event = Event::QueueDelayed {
        pair: pair("a.test"),
        recipients: 1,
        reply: lost(),
        next_attempt_at: crate::test_records::at(second + 600),
    };
    record(second, event)
}

#[test]
fn an_attempt_follows_the_one_before_or_the_acceptance() {
    let grey = || reply("451 4.7.1 Greylisted");
    let records = [
        reception(0, 2, &["x@a.test"]),
        opened(1, 2, 1, 1),
        deferral(1, 1, Stage::RcptTo, grey(), 601),
        closed(6, 2, 0),
        opened(601, 4, 1, 1),
        deferral(601, 2, Stage::RcptTo, grey(), 1801),
        delivery(1801, 3),
    ];
    assert_eq!(causes(&records), [0, 0, 1, 3, 0, 3, 6]);
    let end = expiry(1801, 3, traject_engine::record::GiveUp::MaxRetries);
    assert_eq!(causes(&[&records[..6], &[end]].concat())[6], 6);
    // Back from the spool it was accepted before.
    assert_eq!(causes(&[records[0].clone(), records[0].clone()]), [0, 1]);
}

#[test]
fn an_outage_leads_from_the_connection_to_the_delivery() {
    let records = [
        reception(0, 2, &["x@a.test"]),
        failed(1, 2),
        set_aside(1),
        failed(121, 4),
        set_aside(121),
        delayed(121),
        opened(721, 6, 1, 1),
        delivery(722, 1),
        closed(730, 6, 1),
    ];
    assert_eq!(causes(&records), [0, 0, 2, 3, 4, 5, 5, 6, 7]);
}

/// A recipient that fails again and again is remembered with its last failure alone.
#[test]
fn memory_does_not_grow_with_the_attempts() {
    let mut causes = Causes::default();
    causes.note(&reception(0, 2, &["x@a.test"]), None);
    for n in 1..100 {
        let again = deferral(n, n as u16, Stage::RcptTo, reply("451 Later"), n + 1);
        causes.note(&again, None);
    }
    let lead = causes.note(&delivery(100, 100), None);
    let [last] = &lead.because[..] else { panic!("{lead:?}") };
    assert_eq!((last.id, last.because.is_none(), causes.recipients.len()), (100, true, 0));
    assert_eq!((causes.replies.len(), causes.receptions.len()), (1, 0));
}

#[test]
fn a_chain_names_the_options_that_decided() {
    let mut causes = Causes::default();
    let deferred = deferral(1, 1, Stage::RcptTo, reply("451 4.7.1 Greylisted"), 601);
    causes.note(&deferred, None);
    let last = delivery(601, 2);
    let lead = causes.note(&last, None);
    let told = with_teller(|teller| teller.tell(&last, &lead.because, true));
    assert_eq!(
        told,
        [
            "  tls = no (built in)",
            "00:00:01.000  attempt 1 failed at RCPT TO: 451 4.7.1 Greylisted",
            "  the next attempt is due 10m later",
            "  retry_interval = 1200 (built in)",
            "00:00:00.000  accepted",
        ]
    );
    let plain = with_teller(|teller| teller.tell(&last, &lead.because, false));
    assert_eq!(plain, told[1..]);
}
