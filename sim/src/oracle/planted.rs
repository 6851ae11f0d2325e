//! For each law a bug that breaks it, and nothing else: a law that cannot fail says nothing. One
//! that is new needs a bug here; without it this does not compile.

use std::path::Path;
use std::sync::Arc;

use traject_engine::control::{Action, Reach, Selector};
use traject_engine::ids::{ConnId, MessageId, SpoolOp};
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::notice::NoticeKind;
use traject_engine::record::{GiveUp, Via};
use traject_engine::smtp::address::ReversePath;
use traject_engine::smtp::data::{BodyError, BodyRules, StrayPolicy};
use traject_engine::smtp::stage::Stage;
use traject_engine::{Input, Output};

use super::tests::{answer, begun, deliveries, fresh, honest, judge, stream};
use super::*;
use crate::receiver::grammar::Grammar;
use crate::receiver::spec::Extensions;
use crate::runner::{self, RunOptions};
use crate::scenario;
use crate::test_records::{
    at, bounce, deferral, delivery, expiry, mailbox, opened, reception, record, reply, spooled,
};

/// The law that is broken by a bug of its kind.
fn planted(law: Law) -> Option<&'static str> {
    let plain = "retry_interval = 60 max_outbound_connections = 2";
    let seen = |stream| judge(plain, stream).map(|found| found.invariant);
    match law {
        // A recipient ends twice.
        Law::Conservation => {
            let mut twice = honest();
            twice.insert(5, delivery(62, 3).into());
            seen(twice)
        }
        Law::Durability => yes_before_the_disk(),
        // A refusal for good is put off.
        Law::Outcome => {
            let refused = deferral(1, 1, Stage::RcptTo, reply("550 No such user"), 61);
            seen(begun(stream![refused]))
        }
        // What a receiver has comes once more.
        Law::Copies => seen(begun(stream![answer(1, 250), answer(2, 250)])),
        // Given up after the first attempt.
        Law::Retry => seen(begun(stream![expiry(1, 1, GiveUp::MaxRetries)])),
        Law::Caps => seen(stream![opened(0, 2, 1, 1), opened(0, 4, 1, 2), opened(0, 6, 1, 3)]),
        Law::SharedCaps => {
            let two = stream![opened(0, 2, 1, 1), opened(0, 4, 1, 2)];
            judge("scope_max_outbound_connections = 1", two).map(|found| found.invariant)
        }
        Law::Throttles => {
            let throttle = "outbound_throttle_messages = \"3/60\"";
            judge(throttle, deliveries(&[1, 2, 30, 60])).map(|found| found.invariant)
        }
        // An address that the DNS does not know of.
        Law::Route => seen(stream![opened(0, 2, 77, 1)]),
        Law::Tls => {
            let clear = begun(stream![answer(1, 250)]);
            judge("tls = required", clear).map(|found| found.invariant)
        }
        // Somebody hears of a failure that there was not.
        Law::Notices => {
            let mut notice = reception(1, 4, &["s@b.test"]);
            if let Event::Reception { via, .. } = &mut notice.event {
                let of = MessageId(2);
                *via = Via::Notice { of, kind: NoticeKind::Failed, told: vec![0] };
            }
            seen(begun(stream![notice]))
        }
        // An operator has suspended everything.
        Law::Suspension => {
            let action = Action::Suspend { of: Selector::default(), until: None };
            let by = "operator".into();
            let reach = Reach::default();
            let event = Event::Control { by, action, reach, refusal: None };
            let tried = deferral(5, 1, Stage::RcptTo, reply("451 Later"), 65);
            seen(begun(stream![record(1, event), tried]))
        }
        // The text changed, the value did not.
        Law::Config => {
            let config = Config::from_text("retry_interval = 60").unwrap();
            let pairs = [("default", "a.test")].into_iter();
            let found = config::judge("retry_interval = 61\n", &config, pairs);
            found.err().map(|found| found.invariant)
        }
        Law::Grammar => garbled(),
        Law::Boundary => {
            let unasked = Input::Spooled { op: SpoolOp(2), result: Ok(()) };
            fresh("").input(at(1), &unasked).err().map(|found| found.invariant)
        }
        // A write is never answer.
        Law::Liveness => {
            let mut oracles = fresh("");
            let write = SpoolWrite::Discard(MessageId(2));
            oracles.output(at(0), &Output::Spool { op: SpoolOp(2), write }).unwrap();
            oracles.overdue(at(4000)).err().map(|found| found.invariant)
        }
        Law::Spin => {
            let mut oracles = fresh("");
            let again = (0..1_000_000).find_map(|_| oracles.input(at(1), &Input::Wakeup).err());
            again.map(|found| found.invariant)
        }
        // The second run is that of another seed.
        Law::Determinism => {
            let [one, other] = [1, 2].map(trace_hash);
            assert_eq!(determinism::judge(&one, &trace_hash(1), at(0)), Ok(()));
            determinism::judge(&one, &other, at(0)).err().map(|found| found.invariant)
        }
    }
}

#[test]
fn every_law_can_be_broken() {
    for law in Law::ALL {
        assert_eq!(planted(law), Some(law.name()), "{law}");
    }
    let mut all = Law::ALL.to_vec();
    all.dedup();
    assert_eq!(all.len(), Law::ALL.len());
}

#[test]
fn a_delay_may_be_told_of_mail_that_was_delivered_while_the_notice_was_written() {
    let told = |delivered_before: bool| {
        let mut oracles = fresh("");
        for seen in [reception(0, 2, &["x@a.test"]), opened(0, 2, 1, 1)] {
            spooled(&mut oracles, &seen);
            oracles.record(&seen).unwrap();
        }
        let taken = Answer { taken: true, code: Some(250), secured: false, connected_at: at(0) };
        oracles.answered(at(1), MessageId(2), "x@a.test", taken).unwrap();
        let compose = Output::Compose { message: MessageId(4), parts: Vec::new() };
        if delivered_before {
            oracles.record(&delivery(1, 1)).unwrap();
        }
        oracles.output(at(1), &compose).unwrap();
        if !delivered_before {
            oracles.record(&delivery(1, 1)).unwrap();
        }
        let mut notice = reception(1, 4, &["s@b.test"]);
        if let Event::Reception { via, .. } = &mut notice.event {
            *via = Via::Notice { of: MessageId(2), kind: NoticeKind::Delayed, told: vec![0] };
        }
        spooled(&mut oracles, &notice);
        oracles.record(&notice).map_err(|found| (found.invariant, found.details))
    };
    assert_eq!(told(false), Ok(None));
    let (law, details) = told(true).unwrap_err();
    assert_eq!(law, "notices");
    assert!(details.ends_with("is delivered, and said to be late"), "{details}");
}

/// A client hears its 250, and the disk has not answer.
fn yes_before_the_disk() -> Option<&'static str> {
    let mut oracles = fresh("");
    let (conn, message, op) = (ConnId(1), MessageId(2), SpoolOp(2));
    let stray = StrayPolicy::Fix;
    let rules = BodyRules { size_bytes_max: 100, take_header: None, stray, head_bytes_max: 0 };
    let body = Output::ReceiveBody { conn, message, prefix: Vec::new(), rules };
    oracles.output(at(0), &body).unwrap();
    let error = BodyError::Lost(None);
    oracles.input(at(1), &Input::BodyDone { conn, result: Err(error) }).unwrap();
    let insert = SpoolWrite::Insert(Arc::new(stored(message)));
    oracles.output(at(1), &Output::Spool { op, write: insert }).unwrap();
    let yes = Output::Write { conn, bytes: b"250 2.0.0 Ok\r\n".to_vec() };
    oracles.output(at(1), &yes).err().map(|found| found.invariant)
}

#[test]
fn durability_knows_when_a_message_may_go_and_when_it_may_not() {
    let op = SpoolOp(2);
    let remove = |oracles: &mut Oracles| {
        let write = SpoolWrite::Remove(MessageId(2));
        oracles.output(at(2), &Output::Spool { op, write })
    };
    let mut oracles = fresh("");
    assert_eq!(
        oracles.record(&reception(0, 2, &["x@a.test"])).unwrap_err().details,
        "message 2 is sent before it is durable"
    );
    let mut oracles = fresh("");
    spooled(&mut oracles, &reception(0, 2, &["x@a.test"]));
    oracles.record(&reception(0, 2, &["x@a.test"])).unwrap();
    let early = remove(&mut oracles).unwrap_err();
    assert_eq!(early.details, "message 2 leaves the disk with 1 recipients that are not done");
    oracles.record(&opened(0, 2, 1, 1)).unwrap();
    oracles.record(&bounce(1, 1, Stage::RcptTo, reply("550 No"))).unwrap();
    assert_eq!(remove(&mut oracles), Ok(()));
}

#[test]
fn nobody_is_done_before_the_message_came_but_who_takes_bounces_that_are_dropped() {
    let insert = |config: &str| {
        let mut message = stored(MessageId(2));
        message.recipients[0].state = RecipientState::Done;
        let write = SpoolWrite::Insert(Arc::new(message));
        fresh(config).output(at(0), &Output::Spool { op: SpoolOp(2), write })
    };
    assert_eq!(insert("bounce_behavior = blackhole bounce_domains = ( a.test )"), Ok(()));
    for config in ["", "bounce_domains = ( a.test )", "bounce_behavior = blackhole"] {
        let found = insert(config).unwrap_err();
        assert_eq!(found.details, "x@a.test of message 2 is done before it came", "{config}");
    }
}

#[test]
fn recipients_are_known_by_their_indexes_in_the_envelope() {
    // (which were done when the message came, which result comes, what is wrong with that)
    for (without, index, wrong) in [
        (&[][..], 0, None),
        (&[0], 1, None),
        (&[0, 1], 2, None),
        (&[1], 0, None),
        (&[0], 0, Some("message 2 came for 1, not for number 0")),
        (&[1], 1, Some("message 2 came for 1, not for number 1")),
        (&[], 1, Some("message 2 came for 1, not for number 1")),
        (&[0], 2, Some("message 2 came for 1, not for number 2")),
    ] {
        let mut oracles = fresh("");
        let mut came = reception(0, 2, &["x@a.test"]);
        if let Event::Reception { done, .. } = &mut came.event {
            *done = without.into();
        }
        spooled(&mut oracles, &came);
        oracles.record(&came).unwrap();
        oracles.record(&opened(0, 2, 1, 1)).unwrap();
        let mut end = bounce(1, 1, Stage::RcptTo, reply("550 No"));
        if let Event::PermanentFailure(attempt) = &mut end.event {
            attempt.recipient = index;
        }
        let found = oracles.record(&end).err().map(|found| found.details);
        assert_eq!(found.as_deref(), wrong, "{without:?}, {index}");
    }
}

#[test]
fn mail_that_nobody_holds_is_missed_at_rest() {
    let mut oracles = fresh("");
    spooled(&mut oracles, &reception(0, 2, &["x@a.test"]));
    oracles.record(&reception(0, 2, &["x@a.test"])).unwrap();
    for (queued, spooled, writes, fine) in
        [(1, 1, 0, true), (0, 1, 0, false), (1, 0, 0, false), (1, 2, 0, false), (1, 2, 1, true)]
    {
        let held = AtRest { queued, spooled, writes };
        assert_eq!(oracles.at_rest(at(1), held).is_ok(), fine, "{held:?}");
    }
}

/// Our client goes on without having been welcomed, and with a command that is none.
fn garbled() -> Option<&'static str> {
    let mut grammar = Grammar::new(Extensions::default());
    grammar.welcomed(true);
    assert!(grammar.command(b"EHLO us.example\r\n").is_ok());
    grammar.command(b"MAIL TO:<x@a.test>\r\n").err().map(|_| Law::Grammar.name())
}

fn trace_hash(seed: u64) -> String {
    let scenario = scenario::parse(Path::new("small.toml"), SMALL).unwrap();
    let config = Arc::new(Config::from_text("").unwrap());
    let options = RunOptions { seed: Some(seed), ..RunOptions::default() };
    runner::run(&scenario, config, options).report.trace_hash.to_string()
}

fn stored(id: MessageId) -> StoredMessage {
    let state = RecipientState::new(at(0));
    StoredMessage {
        id,
        reverse_path: ReversePath(None),
        recipients: vec![StoredRecipient { mailbox: mailbox("x@a.test"), state }],
        received_at: at(0),
        size_bytes: 100,
        eight_bit: false,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    }
}

const SMALL: &str = r#"
    title = "Small"
    horizon = "1d"
    config_text = ""

    [[traffic]]
    from = "a@brand.example"
    to = "a.example"
    messages = 3
    over = "1m"
    shape = "poisson"

    [[receiver]]
    name = "a"
    domains = ["a.example"]
"#;
