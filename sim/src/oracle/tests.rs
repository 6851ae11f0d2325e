//! Each oracle passes an honest stream of records, and catches one that was doctored.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use traject_engine::dns::{DnsError, DnsErrorKind, Question};
use traject_engine::ids::QueryId;
use traject_engine::io::NetError;
use traject_engine::record::GiveUp;
use traject_engine::smtp::reply::{EnhancedCode, Reply};
use traject_engine::smtp::stage::Stage;

use super::*;
use crate::test_records::{
    at, attempt, bounce, closed, deferral, delivery, expiry, lost, mailbox, opened, pair,
    reception, record, remote, reply, spooled,
};

/// Something an oracle sees.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Record(Box<Record>),
    Answer(Timestamp, u64, &'static str, Answer),
}

impl From<Record> for Seen {
    fn from(record: Record) -> Self {
        Self::Record(Box::new(record))
    }
}

/// A stream of records and answers.
macro_rules! stream {
    ($($seen:expr),* $(,)?) => { vec![$($crate::oracle::tests::Seen::from($seen)),*] };
}
pub(super) use stream;

pub(super) fn answer(second: u64, code: u16) -> Seen {
    let answer =
        Answer { taken: code == 250, code: Some(code), secured: false, connected_at: at(0) };
    Seen::Answer(at(second), 2, "x@a.test", answer)
}

const CONFIG: &str = "retry_interval = 60 max_retry_interval = 100 max_retries = 3 \
                      max_outbound_connections = 2 max_deliveries_per_connection = 2 \
                      host_failure_retry = 120 connect_timeout = 10";

fn routes() -> Routes {
    let saying = |mx: &[(u16, &str)], last: Option<u8>| Saying {
        during: Timestamp(0)..Timestamp::NEVER,
        mx: mx.iter().map(|(preference, host)| (*preference, Arc::from(*host))).collect(),
        addresses: last.iter().map(|last| IpAddr::from([198, 18, 0, *last])).collect(),
        ttl: Duration::from_secs(300),
    };
    let until = |saying: Saying, until| Saying { during: Timestamp(0)..until, ..saying };
    let from = |saying: Saying, from| Saying { during: from..Timestamp::NEVER, ..saying };
    let moved = Timestamp::from_secs(10_000);
    let said = BTreeMap::from([
        ("a.test".into(), vec![saying(&[(10, "mx1.a.test"), (20, "mx2.a.test")], Some(9))]),
        ("b.test".into(), vec![saying(&[(10, "mx1.a.test")], None)]),
        ("c.test".into(), vec![saying(&[(10, "mx1.a.test")], None)]),
        ("mx1.a.test".into(), vec![saying(&[], Some(1))]),
        ("mx2.a.test".into(), vec![saying(&[], Some(2))]),
        ("mx3.a.test".into(), vec![saying(&[], Some(3))]),
        (
            "moves.test".into(),
            vec![
                until(saying(&[(10, "mx1.a.test")], None), moved),
                from(saying(&[(5, "mx3.a.test"), (10, "mx2.a.test")], None), moved),
            ],
        ),
    ]);
    Routes::new(Names { said, ..Names::default() })
}

/// Oracles that have seen nothing.
pub(super) fn fresh(config: &str) -> Oracles {
    Oracles::new(Arc::new(Config::from_text(config).unwrap()), routes())
}

/// The first law a stream breaks.
pub(super) fn judge(config: &str, stream: Vec<Seen>) -> Option<Violation> {
    let mut oracles = fresh(config);
    let first = stream.into_iter().find_map(|seen| match seen {
        Seen::Record(record) => {
            spooled(&mut oracles, &record);
            oracles.record(&record).err()
        }
        Seen::Answer(at, message, recipient, answer) => {
            oracles.answered(at, MessageId(message), recipient, answer).err()
        }
    });
    first.or_else(|| oracles.finish().err())
}

#[track_caller]
fn caught(invariant: &str, what: &str, stream: Vec<Seen>) {
    let violation = judge(CONFIG, stream).unwrap_or_else(|| panic!("{what}: nothing was caught"));
    assert_eq!(violation.invariant, invariant, "{violation:?}");
    assert!(violation.details.contains(what), "{violation:?}");
}

/// A greylisted message that is delivered on its second attempt.
pub(super) fn honest() -> Vec<Seen> {
    stream![
        reception(0, 2, &["x@a.test"]),
        opened(0, 2, 1, 1),
        deferral(1, 1, Stage::RcptTo, reply("451 Greylisted"), 61),
        answer(62, 250),
        delivery(62, 2),
        closed(63, 2, 1),
    ]
}

/// A message is accepted, a connection stands, and then this.
pub(super) fn begun(rest: Vec<Seen>) -> Vec<Seen> {
    honest().into_iter().take(2).chain(rest).collect()
}

#[test]
fn an_honest_stream_passes() {
    assert_eq!(judge(CONFIG, honest()), None);
}

#[test]
fn conservation_catches_lost_and_doubled_recipients() {
    let doctor = |change: &dyn Fn(&mut Vec<Seen>)| {
        let mut stream = honest();
        change(&mut stream);
        stream
    };
    let twice = doctor(&|stream| stream.insert(5, delivery(62, 3).into()));
    caught("conservation", "another result", twice);
    caught("conservation", "never accepted", honest().split_off(1));
    let again = doctor(&|stream| stream.insert(1, stream[0].clone()));
    caught("conservation", "came twice", again);
    let skipped = doctor(&|stream| stream[4] = delivery(62, 3).into());
    caught("conservation", "had 1 attempts, and now has 3", skipped);
    let stranger = Seen::Answer(
        at(61),
        2,
        "y@a.test",
        Answer { taken: true, code: None, secured: false, connected_at: at(0) },
    );
    caught("conservation", "no recipient", doctor(&|stream| stream.insert(3, stranger.clone())));
}

#[test]
fn outcome_catches_results_that_do_not_fit_their_replies() {
    let refused = deferral(1, 1, Stage::RcptTo, reply("550 No such user"), 61);
    caught("outcome", "became a transient failure", begun(stream![refused]));
    let ours = Reply::local(554, EnhancedCode(5, 0, 0), "lost");
    let lost = bounce(1, 1, Stage::BodyReply, ours);
    caught("outcome", "became a permanent failure", begun(stream![lost]));
    let honest = bounce(1, 1, Stage::RcptTo, reply("550 No"));
    assert_eq!(judge(CONFIG, begun(stream![honest])), None);
    let odd = attempt(1, 1, Stage::BodyReply, reply("354 Go on"));
    let odd = record(1, Event::Delivery(odd));
    caught("outcome", "became a delivery", begun(stream![odd]));
    let other = deferral(1, 1, Stage::BodyReply, reply("452 Full"), 61);
    caught("outcome", "the receiver said 451", begun(stream![answer(1, 451), other]));
}

#[test]
fn retry_catches_early_and_late_attempts_and_wrong_ends() {
    let later = |second, attempts, next| {
        deferral(second, attempts, Stage::RcptTo, reply("450 Later"), next)
    };
    caught("retry", "is due at", begun(stream![later(1, 1, 62)]));
    let early = stream![later(1, 1, 61), later(60, 2, 160)];
    caught("retry", "before its due time", begun(early));
    let early = stream![later(1, 1, 61), answer(60, 250)];
    caught("retry", "before its due time", begun(early));

    // 60, then 100 instead of 120, then 100.
    let schedule = || stream![later(1, 1, 61), later(61, 2, 161), later(161, 3, 261)];
    assert_eq!(judge(CONFIG, begun(schedule())), None);
    let end = |last: Record| begun(schedule().into_iter().chain([last.into()]).collect());
    caught("retry", "is to be repeated", end(later(261, 4, 361)));
    assert_eq!(judge(CONFIG, end(expiry(261, 4, GiveUp::MaxRetries))), None);
    caught("retry", "given up for MaxTime", end(expiry(261, 4, GiveUp::MaxTime)));
    caught("retry", "given up", begun(stream![expiry(1, 1, GiveUp::MaxRetries)]));

    let unfounded = || begun(stream![bounce(1, 1, Stage::RcptTo, reply("450 Later"))]);
    caught("retry", "without never_retry", unfounded());
    assert_eq!(judge(&format!("{CONFIG} never_retry = true"), unfounded()), None);
}

#[test]
fn copies_catches_deliveries_nobody_has_and_doubles() {
    let nobody = Seen::Answer(
        at(1),
        2,
        "x@a.test",
        Answer { taken: false, code: Some(250), secured: false, connected_at: at(0) },
    );
    caught("copies", "no receiver has it", begun(stream![nobody, delivery(1, 1)]));
    caught("copies", "2 copies", begun(stream![answer(1, 250), answer(2, 250)]));
    let again = stream![answer(1, 250), delivery(1, 1), answer(2, 250)];
    caught("copies", "sent again", begun(again));

    let unknown = deferral(1, 1, Stage::BodyReply, lost(), 61);
    let twice = stream![answer(1, 250), unknown, answer(61, 250), delivery(61, 2)];
    assert_eq!(judge(CONFIG, begun(twice)), None, "the first reply was lost");
    let refused = deferral(1, 1, Stage::RcptTo, reply("450 Later"), 61);
    let twice = stream![answer(1, 250), refused, answer(61, 250)];
    caught("copies", "2 copies", begun(twice));
    let bounced = bounce(1, 1, Stage::RcptTo, reply("550 No"));
    caught("copies", "a receiver has it", begun(stream![answer(1, 250), bounced]));
}

#[test]
fn caps_catches_too_many_connections_and_deliveries() {
    let two = stream![opened(0, 2, 1, 1), opened(0, 4, 1, 2)];
    assert_eq!(judge(CONFIG, two), None);
    let three = stream![opened(0, 2, 1, 1), opened(0, 4, 1, 2), opened(0, 6, 1, 3)];
    caught("caps", "has 3 connections", three);
    caught("caps", "the record says 3", stream![opened(0, 2, 1, 3)]);
    caught("caps", "never opened", stream![closed(0, 2, 0)]);
    caught("caps", "the record says 1", stream![opened(0, 2, 1, 1), closed(0, 2, 1)]);

    let mut many = stream![opened(0, 2, 1, 1)];
    for n in 1..=3 {
        let mut attempt = attempt(0, 1, Stage::BodyReply, reply("250 Ok"));
        attempt.message = MessageId(2 * n);
        let answer = Answer { taken: true, code: Some(250), secured: false, connected_at: at(0) };
        many.push(reception(0, 2 * n, &["x@a.test"]).into());
        many.push(Seen::Answer(at(0), 2 * n, "x@a.test", answer));
        many.push(record(0, Event::Delivery(attempt)).into());
    }
    caught("caps", "3 deliveries", many);

    // Three recipients in transactions of at most two, all at one instant: two or three deliveries.
    let config = "max_recipients_per_batch = 2";
    let carried = |deliveries| {
        let mut stream = stream![reception(0, 2, &["x@a.test", "y@a.test", "z@a.test"])];
        stream.push(opened(0, 2, 1, 1).into());
        for (n, name) in ["x@a.test", "y@a.test", "z@a.test"].into_iter().enumerate() {
            let mut attempt = attempt(0, 1, Stage::BodyReply, reply("250 Ok"));
            (attempt.recipient, attempt.mailbox) = (n as u32, mailbox(name));
            let answer =
                Answer { taken: true, code: Some(250), secured: false, connected_at: at(0) };
            stream.push(Seen::Answer(at(0), 2, name, answer));
            stream.push(record(0, Event::Delivery(attempt)).into());
        }
        stream.push(closed(0, 2, deliveries).into());
        judge(config, stream).is_some()
    };
    assert_eq!([0, 1, 2].map(carried), [true, false, false]);

    let config = Arc::new(Config::from_text("max_recipients_per_batch = 2").unwrap());
    let mut oracles = Oracles::new(config, routes());
    let came = reception(0, 2, &["x@a.test", "y@a.test", "z@a.test"]);
    spooled(&mut oracles, &came);
    oracles.record(&came).unwrap();
    let all = ["x@a.test", "y@a.test", "z@a.test"].map(str::to_owned);
    assert_eq!(oracles.transaction(at(1), MessageId(2), &all[..2]), Ok(()));
    assert!(oracles.transaction(at(1), MessageId(2), &all).is_err());
}

/// A connection to an exchange of `a.test` passes from one domain to another.
fn migrated(conn: u64, from: &str, to: &str, open: u32) -> Record {
    let event = Event::ConnectionMigrated {
        conn: ConnId(conn),
        from: pair(from),
        to: pair(to),
        remote: remote(1),
        exchange: "mx1.a.test".into(),
        open,
    };
    record(1, event)
}

#[test]
fn connections_that_pass_on_count_where_they_are() {
    let config = format!("{CONFIG} domain \"a.test\" {{ max_outbound_connections = 1 }}");
    let there = || stream![opened(0, 2, 1, 1), migrated(2, "a.test", "b.test", 1)];
    let then = |rest: Vec<Seen>| there().into_iter().chain(rest).collect::<Vec<_>>();
    let judge = |stream| judge(&config, stream).map(|found| (found.invariant, found.details));
    let found = |stream, what: &str| {
        let (invariant, details) = judge(stream).unwrap_or_else(|| panic!("not caught: {what}"));
        assert_eq!(invariant, "caps", "{details}");
        assert!(details.contains(what), "{details}");
    };

    // It makes room for another, and may come back when that is gone.
    let back = || migrated(2, "b.test", "a.test", 1);
    assert_eq!(judge(then(stream![opened(2, 4, 1, 1)])), None);
    assert_eq!(judge(then(stream![opened(2, 4, 1, 1), closed(3, 4, 0), back()])), None);
    let full = migrated(2, "b.test", "a.test", 2);
    found(then(stream![opened(2, 4, 1, 1), full]), "default/a.test has 2 connections");
    found(then(stream![migrated(2, "a.test", "b.test", 2)]), "connection 2 is none of");
    found(then(stream![migrated(4, "a.test", "b.test", 2)]), "connection 4 is none of");
    found(stream![opened(0, 2, 1, 1), migrated(2, "a.test", "b.test", 2)], "the record says 2");

    let mut red = migrated(2, "b.test", "c.test", 1);
    if let Event::ConnectionMigrated { to, .. } = &mut red.event {
        to.binding = "red".into();
    }
    found(then(stream![red]), "passed to red");
}

#[test]
fn route_catches_connections_that_pass_to_strangers() {
    let stream = stream![opened(0, 2, 1, 1), migrated(2, "a.test", "elsewhere.test", 1)];
    caught("route", "is no exchange of elsewhere.test", stream);
}

#[test]
fn route_catches_strange_and_worse_exchanges() {
    caught("route", "is no exchange", stream![opened(0, 2, 9, 1)]);
    caught("route", "was not set aside", stream![opened(0, 2, 2, 1)]);
    let event = Event::HostSetAside {
        binding: "default".into(),
        address: remote(1).ip(),
        exchange: "mx1.a.test".into(),
        until: at(120),
        stage: Stage::Connect,
        reply: Reply::local(451, EnhancedCode(4, 4, 1), NetError::Refused.text()),
    };
    let aside = record(0, event);
    assert_eq!(judge(CONFIG, stream![aside.clone(), opened(130, 2, 2, 1)]), None);
    caught("route", "was not set aside", stream![aside, opened(131, 2, 2, 1)]);
}

/// A stream in which one message after another, in these seconds, is delivered over a connection.
pub(super) fn deliveries(seconds: &[u64]) -> Vec<Seen> {
    let mut stream = stream![opened(0, 2, 1, 1)];
    for (n, second) in (1..).zip(seconds) {
        let mut attempt = attempt(*second, 1, Stage::BodyReply, reply("250 Ok"));
        attempt.message = MessageId(2 * n);
        let answer = Answer { taken: true, code: Some(250), secured: false, connected_at: at(0) };
        stream.push(reception(0, 2 * n, &["x@a.test"]).into());
        stream.push(Seen::Answer(at(*second), 2 * n, "x@a.test", answer));
        stream.push(record(*second, Event::Delivery(attempt)).into());
    }
    stream
}

#[test]
fn throttles_catch_a_window_with_one_too_many() {
    let messages = "outbound_throttle_messages = \"3/60\"";
    let kept = deliveries(&[1, 2, 30, 61, 62, 90]);
    assert_eq!(judge(messages, kept), None);
    let broken = || deliveries(&[1, 2, 30, 60]);
    let violation = judge(messages, broken()).unwrap();
    assert_eq!((violation.invariant, violation.at), ("throttles", at(60)));
    assert!(violation.details.contains("more than 3 in 60 s"), "{violation:?}");
    assert_eq!(judge("", broken()), None);

    // What counts is when a transaction began: here the last one was under way for 40 seconds.
    let mut slow = deliveries(&[1, 2, 30, 70]);
    let Some(Seen::Record(last)) = slow.last_mut() else { panic!("a record is last") };
    let Event::Delivery(attempt) = &mut last.event else { panic!("a delivery is last") };
    attempt.took = Duration::from_secs(40);
    assert_eq!(judge(messages, slow).unwrap().invariant, "throttles");

    let connections = "outbound_throttle_connections = \"2/60\"";
    let pace = |third| stream![opened(0, 2, 1, 1), opened(20, 4, 1, 2), opened(third, 6, 1, 3)];
    assert_eq!(judge(connections, pace(60)), None);
    assert_eq!(judge(connections, pace(59)).unwrap().invariant, "throttles");
}

#[test]
fn a_connection_counts_under_the_configuration_that_began_it() {
    for (begun_before, excess) in [(true, Some("throttles")), (false, None)] {
        let mut oracles = fresh("outbound_throttle_connections = \"2/60\"");
        let begin = |oracles: &mut Oracles, second: u64, conn: u64| {
            let peer = remote(1);
            let connect = Output::Connect { conn: ConnId(conn), source: None, peer };
            oracles.output(at(second), &connect).unwrap();
        };
        for conn in [2, 4] {
            begin(&mut oracles, 0, conn);
            oracles.record(&opened(0, conn, 1, conn as u32 / 2)).unwrap();
        }
        let other = "outbound_throttle_connections = \"1/1\"";
        let other = Arc::new(Config::from_text(other).unwrap());
        match begun_before {
            true => {
                begin(&mut oracles, 30, 6);
                oracles.reload(at(30), other);
            }
            false => {
                oracles.reload(at(30), other);
                begin(&mut oracles, 30, 6);
            }
        }
        oracles.record(&opened(30, 6, 1, 3)).unwrap();
        assert_eq!(oracles.finish().err().map(|found| found.invariant), excess, "{begun_before}");
    }
}

#[test]
fn route_knows_what_the_configuration_forbids() {
    for (config, last, fine) in [
        ("skip_hosts = ( 198.18.0.1 )", 1, false),
        ("skip_hosts = ( 198.18.0.1 )", 2, true),
        ("prohibited_hosts = ( 198.18.0.0/24 )", 1, false),
        ("bind_address = \"2001:db8::1\"", 1, false),
    ] {
        let violation = judge(config, stream![opened(0, 2, last, 1)]);
        assert_eq!(violation.is_none(), fine, "{config}: {violation:?}");
    }
}

#[test]
fn route_believes_an_answer_for_its_ttl_and_no_longer() {
    // The exchanges of moves.test change after 10,000 s (9,000 s into the stream); TTLs are 300 s,
    // connect_timeout is 10 s.
    for (second, last, fine) in [
        (8999, 1, true),
        (8999, 2, false),
        // The old answer may still be believed, and then nothing better is known.
        (9300, 1, true),
        (9300, 2, true),
        (9300, 3, true),
        (9311, 1, false),
        (9311, 2, false),
        (9311, 3, true),
    ] {
        let mut record = opened(second, 2, last, 1);
        if let Event::ConnectionOpened { pair, .. } = &mut record.event {
            pair.domain = "moves.test".into();
        }
        let violation = judge(CONFIG, stream![record]);
        assert_eq!(violation.is_none(), fine, "{last} at {second}: {violation:?}");
    }
}

#[test]
fn route_knows_routes() {
    // a.test is at .1 (10) and .2 (20), or by itself at .9.
    for (routes, last, fine) in [
        ("mx3.a.test", 3, true),
        ("mx3.a.test", 1, false),
        ("198.18.0.7 __mx__", 7, true),
        ("198.18.0.7 __mx__", 1, false),
        ("\"smtp://198.18.0.7?pref=5\" \"smtp://__mx__?pref=5\"", 7, true),
        ("\"smtp://198.18.0.7?pref=5\" \"smtp://__mx__?pref=5\"", 1, true),
        ("\"smtp://198.18.0.7?pref=5\" \"smtp://__mx__?pref=5\"", 2, false),
        ("a.test", 9, true),
        ("a.test", 1, false),
        ("\"smtp://a.test?type=mx\"", 1, true),
        ("\"smtp://mx3.a.test?port=2525\"", 3, false),
    ] {
        let config = format!("routes = ( {routes} )");
        let violation = judge(&config, stream![opened(0, 2, last, 1)]);
        assert_eq!(violation.is_none(), fine, "{routes} to {last}: {violation:?}");
    }
}

#[test]
fn route_knows_relay_domains() {
    let worse = || {
        let aside = Event::HostSetAside {
            binding: "default".into(),
            address: remote(1).ip(),
            exchange: "mx1.a.test".into(),
            until: at(120),
            stage: Stage::Connect,
            reply: Reply::local(451, EnhancedCode(4, 4, 1), NetError::Refused.text()),
        };
        stream![record(0, aside), opened(1, 2, 2, 1)]
    };
    let relay = "relay_domains = ( a.test )";
    assert_eq!(judge("", worse()), None);
    assert_eq!(judge(relay, worse()).map(|found| found.invariant), Some("route"));
    let all = format!("{relay} only_use_best_mx_for_relay_domains = false");
    assert_eq!(judge(&all, worse()), None);
}

#[test]
fn route_lets_the_eager_begin_with_what_they_know() {
    // The better exchange is asked about from second 1 to second 3.
    for (config, begun, fine) in [
        ("fully_resolve_before_smtp = false", 2, true),
        ("fully_resolve_before_smtp = false", 4, false),
        ("", 2, false),
        ("fully_resolve_before_smtp = false relay_domains = ( a.test )", 2, false),
    ] {
        let config = Arc::new(Config::from_text(config).unwrap());
        let mut oracles = Oracles::new(config, routes());
        let (query, question) = (QueryId(2), Question::Addresses("mx1.a.test".into()));
        oracles.output(at(1), &Output::Resolve { query, question }).unwrap();
        let connect = Output::Connect { conn: ConnId(2), source: None, peer: remote(2) };
        if begun == 2 {
            oracles.output(at(2), &connect).unwrap();
        }
        let nobody = DnsError { kind: DnsErrorKind::NoData, ttl: Duration::ZERO, text: "".into() };
        oracles.input(at(3), &Input::Resolved { query, result: Err(nobody) }).unwrap();
        if begun == 4 {
            oracles.output(at(4), &connect).unwrap();
        }
        let judged = oracles.record(&opened(5, 2, 2, 1));
        assert_eq!(judged.is_ok(), fine, "begun at {begun}: {judged:?}");
    }
}

#[test]
fn route_lets_a_domain_stand_in_for_exchanges_nobody_knows() {
    let failure = Event::DnsFailure {
        question: Question::Mx("a.test".into()),
        error: DnsErrorKind::ServFail,
        text: "".into(),
    };
    let own = opened(1, 2, 9, 1);
    assert_eq!(judge(CONFIG, stream![record(0, failure), own.clone()]), None);
    caught("route", "is no exchange", stream![own]);
}

#[test]
fn tls_catches_what_goes_in_clear_and_what_does_not() {
    for (mode, secured, expected) in [
        ("required", true, None),
        ("required", false, Some("in clear")),
        ("ifavailable", true, None),
        ("ifavailable", false, None),
        ("no", true, Some("under TLS")),
        ("no", false, None),
    ] {
        let answer = Answer { taken: true, code: Some(250), secured, connected_at: at(0) };
        let stream = stream![
            reception(0, 2, &["x@a.test"]),
            opened(0, 2, 1, 1),
            Seen::Answer(at(1), 2, "x@a.test", answer),
        ];
        let found = judge(&format!("tls = {mode}"), stream);
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(how)) => {
                assert_eq!(found.invariant, "tls");
                assert!(found.details.ends_with(how), "{found:?}");
            }
            _ => panic!("{mode}, {secured}: {found:?}"),
        }
    }
}

#[test]
fn what_was_in_force_when_a_connection_was_begun_counts_until_it_ends() {
    let config = |text: &str| Arc::new(Config::from_text(text).unwrap());
    let judged = |reload: u64, connected: u64| {
        let mut oracles = Oracles::new(config("tls = no"), routes());
        spooled(&mut oracles, &reception(0, 2, &["x@a.test"]));
        oracles.record(&reception(0, 2, &["x@a.test"])).unwrap();
        oracles.reload(at(reload), config("tls = required"));
        let connected_at = at(connected);
        let answer = Answer { taken: true, code: Some(250), secured: false, connected_at };
        oracles.answered(at(2000), MessageId(2), "x@a.test", answer).is_ok()
    };
    assert!(judged(1900, 1800));
    assert!(judged(1900, 1950));
    assert!(!judged(1000, 1950));
}

#[test]
fn mail_that_goes_to_a_gateway_goes_by_the_tls_of_the_gateway() {
    let config = "domain a.test { gateway = hub.test } domain hub.test { tls = required }";
    for secured in [true, false] {
        let answer = Answer { taken: true, code: Some(250), secured, connected_at: at(0) };
        let stream =
            stream![reception(0, 2, &["x@a.test"]), Seen::Answer(at(1), 2, "x@a.test", answer)];
        assert_eq!(judge(config, stream).is_none(), secured);
    }
}

#[test]
fn a_transaction_for_a_gateway_has_the_batch_of_the_gateway() {
    for (config, holds) in [
        ("domain a.test { gateway = hub.test max_recipients_per_batch = 2 }", true),
        (
            "domain a.test { gateway = hub.test } domain hub.test { max_recipients_per_batch = 2 }",
            false,
        ),
    ] {
        let mut oracles = fresh(config);
        let all = ["x@a.test", "y@a.test", "z@a.test"];
        let received = reception(0, 2, &all);
        spooled(&mut oracles, &received);
        oracles.record(&received).unwrap();
        let judged = oracles.transaction(at(1), MessageId(2), &all.map(str::to_owned));
        assert_eq!(judged.is_ok(), holds, "{config}");
    }
}
