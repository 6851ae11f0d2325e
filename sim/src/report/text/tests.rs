//! What reports look like.

use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::record::Record;
use traject_engine::smtp::stage::Stage;

use super::*;
use crate::cause::Causes;
use crate::counts::PairFinder;
use crate::expect::judge::ExpectationJudge;
use crate::expect::{Condition, Expectation, Scope, When};
use crate::oracle::{Answer, Names, Oracles, Routes, Saying};
use crate::report::tally::Tally;
use crate::report::{DomainFacts, DrawnReport, Facts, ReceiverReport};
use crate::test_records::{
    START, at, closed, deferral, delivery, opened, reception, remote, reply, spooled, with_teller,
};
use crate::trace::TraceHash;

/// A greylisted message, delivered in the end, and one that is still pending.
pub(in crate::report) fn report() -> Report {
    let records = [
        reception(0, 2, &["x@a.test"]),
        reception(0, 4, &["y@a.test"]),
        opened(1, 2, 1, 1),
        deferral(1, 1, Stage::RcptTo, reply("451 4.7.1 Greylisted, please try again"), 1201),
        closed(2, 2, 0),
        opened(1201, 2, 1, 1),
        delivery(1201, 2),
        closed(1206, 2, 1),
    ];
    let config = Arc::new(Config::from_text("").unwrap());
    let saying = Saying {
        during: Timestamp(0)..Timestamp::NEVER,
        mx: Vec::new(),
        addresses: vec![remote(1).ip()],
        ttl: Duration::from_secs(3600),
    };
    let said = [("a.test".into(), vec![saying])].into();
    let routes = Routes::new(Names { said, ..Names::default() });
    let mut oracles = Oracles::new(config, routes);
    let mut tally = Tally::new(START);
    let expectations: Vec<Expectation> = ["delivered == 1", "t95 <= 5m"]
        .iter()
        .map(|condition| Expectation {
            when: When::AtEnd,
            condition: Condition::parse(condition).unwrap(),
            scope: Scope::default(),
            reply: None,
            window: None,
            since: None,
            line: 7,
        })
        .collect();
    let mut judge = ExpectationJudge::new(START, &expectations);
    let mut causes = Causes::default();
    for record in &records {
        see(record, (&mut oracles, &mut causes), &mut tally, &mut judge);
    }
    let facts = Facts {
        title: "A small run".into(),
        scenario: "small.toml".into(),
        config: "small.conf".into(),
        seed: 7,
        trace_hash: TraceHash(0xabcd),
        end: End::TimeOver,
        simulated: Duration::from_secs(3600),
        replay: "traject sim small.toml --seed 7".into(),
        happenings: Vec::new(),
        receivers: vec![ReceiverReport {
            receiver: "grey".into(),
            profile: Some("mimecast".into()),
            drawn: vec![DrawnReport {
                what: "connections of everybody".into(),
                value: "14".into(),
            }],
        }],
    };
    let of_domain = |_: &str| DomainFacts {
        receiver: Some("grey".into()),
        deferred_now: 0,
        pending_because: Some("waiting for a turn on the open connections".into()),
    };
    let judged = with_teller(|teller| judge.finish(at(3600), true, teller));
    Report::new(facts, &tally, of_domain, judged)
}

fn see(
    record: &Record,
    (oracles, causes): (&mut Oracles, &mut Causes),
    tally: &mut Tally,
    judge: &mut ExpectationJudge,
) {
    if matches!(record.event, traject_engine::record::Event::Delivery(_)) {
        let answer = Answer { taken: true, code: Some(250), secured: false, connected_at: at(0) };
        oracles.answered(record.at, traject_engine::ids::MessageId(2), "x@a.test", answer).unwrap();
    }
    spooled(oracles, record);
    let before = oracles.record(record).unwrap();
    let mut pairs = PairFinder::default();
    let pair = pairs.find(&record.event);
    tally.record(record, pair, before.as_ref(), oracles.book());
    let lead = causes.note(record, pair);
    judge.record(record, pair, before.as_ref(), &lead.because);
}

#[test]
fn a_report_in_plain_text() {
    insta::assert_snapshot!(render(&report(), Style::default()), @r#"
    A small run
    2 messages · 2 recipients · 50.00% delivered · 1 still pending · 2 attempts

    domain  accepted  delivered  pending  tries    t50  t95  t99  t100  conns
    a.test         2          1        1   1.00  20m1s    -    -     -   1/32

    a.test (grey)
      delivered                           █
      over time   0                                                                     1h
      replies            1 × 250 Ok
                         1 × RCPT TO: 451 4.7.1 Greylisted, please try again
      held up by  the retry schedule after "451 4.7.1 Greylisted, please try again" (100% of all
                  waiting, 10m a recipient)
      pending     1: waiting for a turn on the open connections

    Receivers, as this seed drew them
      grey        profile mimecast · connections of everybody 14

    Expectations
        ok  delivered == 1
      FAIL  t95 <= 5m
            actual: t95 = not reached
            broken at 20m1s by: message 2 to x@a.test delivered: 250 Ok
              00:00:01.000  attempt 1 failed at RCPT TO: 451 4.7.1 Greylisted, please try again
                the next attempt is due 20m later
                retry_interval = 1200 (built in)
              00:00:00.000  accepted

    simulated 1h (the time was over) · seed 7 · trace 0000000000000000000000000000abcd
    replay: traject sim small.toml --seed 7
    "#);
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = render(&report(), Style { colour: true, wall: None });
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, render(&report(), Style::default()));
}

#[test]
fn no_line_is_too_wide() {
    let mut report = report();
    report.domains[0].domain = "a-rather-long-subdomain.of-an-even-longer-domain.example".into();
    report.domains[0].accepted = 123_456_789;
    report.domains[0].replies[0].reply = "451 ".repeat(60);
    report.domains[0].pending_because = Some("because ".repeat(40));
    report.expectations[0].expectation = "delivered >= 99% ".repeat(10);
    let text = render(&report, Style::default());
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}

#[test]
fn the_json_form_is_pinned() {
    let mut report = report();
    let domain = &mut report.domains[0];
    for timeline in [&mut report.timeline, &mut domain.timeline] {
        assert_eq!((timeline.delivered.len(), timeline.delivered.iter().sum::<u64>()), (151, 1));
        timeline.delivered.truncate(1);
        for gauge in [&mut timeline.connections, &mut timeline.active, &mut timeline.delayed] {
            assert_eq!(gauge.len(), 451);
            gauge.truncate(1);
        }
    }
    insta::assert_snapshot!(report.to_json());
}
