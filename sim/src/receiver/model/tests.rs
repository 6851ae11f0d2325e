//! The receiver model as tables: what happens when, and what is answered.

use std::ops::Range;

use super::*;
use crate::glob::Glob;
use crate::receiver::spec::{
    Bandwidth, Curve, Exchange, Extensions, Greylist, GreylistKey, Latency, Per, Protocol,
};

mod excess;
mod more_rules;

fn spec() -> ReceiverSpec {
    ReceiverSpec {
        name: "r".into(),
        profile: None,
        domains: vec!["a.test".into()],
        exchanges: vec![Exchange {
            host: "mx.a.test".into(),
            preference: 10,
            addresses: vec!["198.18.0.1".parse().unwrap()],
        }],
        protocol: Protocol::Smtp,
        port: 25,
        latency: Latency { base: Duration::from_millis(20), jitter: Duration::ZERO },
        extensions: Extensions::default(),
        limits: Vec::new(),
        unknown: None,
        bandwidth: Bandwidth::default(),
        greylist: None,
        rules: Vec::new(),
        tls: Vec::new(),
    }
}

fn says(reply: &str) -> Response {
    Response::Act(Act::Reply(ReplyText::parse(reply).unwrap()))
}

fn limit(what: Limited, stage: Stage) -> Limit {
    Limit {
        what,
        range: None,
        per: CountedBy::Source(Per::Address),
        stage,
        response: says("421 4.7.0 Too many"),
        load: Curve::constant(1.0),
        escalation: None,
    }
}

fn rule(stage: Stage, reply: &str) -> Rule {
    Rule {
        stage,
        exchange: None,
        source: None,
        ehlo: None,
        client: None,
        sender: None,
        recipient: None,
        unannounced_8bit: false,
        larger_than: None,
        probability: Curve::constant(1.0),
        range: None,
        window: Duration::ZERO..Duration::MAX,
        delay: Duration::ZERO,
        response: says(reply),
        keeps_message: false,
    }
}

fn receiver(spec: ReceiverSpec) -> Receiver {
    Receiver::new(Arc::new(spec), Seed::from_u64(1), Timestamp::from_secs(1000))
}

fn mail(sender: &str) -> Event<'_> {
    Event::Mail { sender, eight_bit: false, size: None }
}

const fn body(message: u64) -> Event<'static> {
    Event::Body { message, recipient: None, eight_bit: false, size: 1000 }
}

fn host() -> Arc<str> {
    "mx.a.test".into()
}

fn source(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Seconds after the start.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1000 + seconds)
}

/// The code of a decision; 250 for the plain yes.
fn code(decision: &Decision) -> u16 {
    match &decision.act {
        None => 250,
        Some(Act::Reply(reply)) => reply.code,
        Some(_) => 0,
    }
}

#[test]
fn connections_are_counted_per_source_while_they_are_open() {
    let mut spec = spec();
    spec.limits = vec![limit(Limited::Connections { max: 2 }, Stage::Banner)];
    let mut receiver = receiver(spec);
    let open = |receiver: &mut Receiver, last| {
        let mut session = receiver.connect(at(0), source(last), &host());
        let code = code(&receiver.decide(at(0), &mut session, Event::Banner));
        (session, code)
    };
    let (first, code_1) = open(&mut receiver, 1);
    let (_second, code_2) = open(&mut receiver, 1);
    let (third, code_3) = open(&mut receiver, 1);
    let (_other, code_4) = open(&mut receiver, 2);
    assert_eq!([code_1, code_2, code_3, code_4], [250, 250, 421, 250]);
    receiver.close(&third);
    assert_eq!(open(&mut receiver, 1).1, 421, "the refused one did not count");
    receiver.close(&first);
    assert_eq!(receiver.open_connections(source(1)), 1);
    assert_eq!(open(&mut receiver, 1).1, 250);
}

#[test]
fn an_excess_shows_at_its_stage_and_not_before() {
    let mut spec = spec();
    spec.limits = vec![limit(Limited::Connections { max: 0 }, Stage::Mail)];
    let mut receiver = receiver(spec);
    let mut session = receiver.connect(at(0), source(1), &host());
    let events = [Event::Banner, Event::Ehlo("us.test"), mail("a@b.test")];
    let codes = events.map(|event| code(&receiver.decide(at(0), &mut session, event)));
    assert_eq!(codes, [250, 250, 421]);
}

#[test]
fn a_message_rate_holds_in_every_window() {
    let mut spec = spec();
    let window = Duration::from_secs(60);
    spec.limits = vec![limit(Limited::MessageRate { max: 2, window }, Stage::Mail)];
    let mut receiver = receiver(spec);
    let mut session = receiver.connect(at(0), source(1), &host());
    let sent = [(0, 250), (30, 250), (59, 421), (60, 250), (61, 421), (90, 250)];
    for (second, expected) in sent {
        let decision = receiver.decide(at(second), &mut session, mail("a@b.test"));
        assert_eq!(code(&decision), expected, "at {second} s");
    }
}

#[test]
fn messages_of_a_connection_and_recipients_of_a_message_are_limited() {
    let mut spec = spec();
    spec.limits = vec![
        limit(Limited::MessagesPerConnection { max: 2 }, Stage::Mail),
        limit(Limited::RecipientsPerMessage { max: 1 }, Stage::Rcpt),
    ];
    let mut receiver = receiver(spec);
    let mut session = receiver.connect(at(0), source(1), &host());
    let mut hear = |event| code(&receiver.decide(at(0), &mut session, event));
    let dialogue = [
        (mail("a@b.test"), 250),
        (Event::Rcpt("x@a.test"), 250),
        (Event::Rcpt("y@a.test"), 421),
        (mail("a@b.test"), 250),
        (Event::Rcpt("x@a.test"), 250),
        (mail("a@b.test"), 421),
    ];
    for (event, expected) in dialogue {
        assert_eq!(hear(event), expected, "{event:?}");
    }
}

#[test]
fn a_greylist_admits_who_comes_back_in_time() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let greylist = Greylist {
        hold: minutes(5),
        range: None,
        window: minutes(60),
        pass: minutes(600),
        key: GreylistKey { source: Per::Network, sender: true, recipient: true },
        reply: ReplyText::parse("451 4.7.1 Greylisted").unwrap(),
    };
    let friend = |minute: u64| Some(Known { since: at(60 * minute), admitted: true });
    let stranger = |minute: u64| Some(Known { since: at(60 * minute), admitted: false });
    for (known, minute, admitted, remembered) in [
        (None, 10, false, stranger(10)),
        (stranger(10), 12, false, stranger(10)),
        (stranger(10), 15, true, friend(15)),
        (stranger(10), 70, true, friend(70)),
        (stranger(10), 71, false, stranger(71)),
        (friend(10), 11, true, friend(11)),
        (friend(10), 610, true, friend(610)),
        (friend(10), 611, false, stranger(611)),
    ] {
        let (met, next) = meet(&greylist, known, at(60 * minute));
        assert_eq!((met, Some(next)), (admitted, remembered), "{known:?} at {minute}");
    }

    let mut spec = spec();
    spec.greylist = Some(greylist);
    let mut receiver = receiver(spec);
    let mut try_once = |last, sender, recipient, minute: u64| {
        let mut session = receiver.connect(at(60 * minute), source(last), &host());
        receiver.decide(at(60 * minute), &mut session, mail(sender));
        code(&receiver.decide(at(60 * minute), &mut session, Event::Rcpt(recipient)))
    };
    assert_eq!(try_once(1, "a@b.test", "x@a.test", 0), 451);
    assert_eq!(try_once(1, "other@b.test", "x@a.test", 6), 451, "another sender");
    assert_eq!(try_once(1, "a@b.test", "y@a.test", 6), 451, "another recipient");
    assert_eq!(try_once(9, "a@b.test", "x@a.test", 6), 250, "the same network");
}

#[test]
fn rules_match_by_stage_argument_and_time() {
    let mut spec = spec();
    let hour = |from: u64, to: u64| -> Range<Duration> {
        Duration::from_secs(3600 * from)..Duration::from_secs(3600 * to)
    };
    let mut unknown = rule(Stage::Rcpt, "550 5.1.1 No such user");
    unknown.recipient = Some(Glob::new("no*@a.test"));
    let mut storm = rule(Stage::Rcpt, "450 4.2.1 Later");
    storm.window = hour(1, 2);
    let mut blocked = rule(Stage::Mail, "553 5.7.1 Not you");
    blocked.sender = Some(Glob::new("*@spam.test"));
    spec.rules = vec![unknown, storm, blocked];
    let mut receiver = receiver(spec);
    for (second, sender, recipient, expected) in [
        (0, "a@b.test", "x@a.test", [250, 250]),
        (0, "a@b.test", "nobody@a.test", [250, 550]),
        (3600, "a@b.test", "x@a.test", [250, 450]),
        (7199, "a@b.test", "nobody@a.test", [250, 550]),
        (7200, "a@b.test", "x@a.test", [250, 250]),
        (0, "a@SPAM.test", "x@a.test", [553, 250]),
    ] {
        let mut session = receiver.connect(at(second), source(1), &host());
        let events = [mail(sender), Event::Rcpt(recipient)];
        let codes = events.map(|event| code(&receiver.decide(at(second), &mut session, event)));
        assert_eq!(codes, expected, "{sender} to {recipient} at {second} s");
    }
}

#[test]
fn chances_are_met_and_only_refusals_for_good_last() {
    let mut spec = spec();
    let mut later = rule(Stage::Rcpt, "450 4.2.1 Later");
    later.probability = Curve::constant(0.25);
    let mut never = rule(Stage::Rcpt, "550 5.1.1 No such user");
    never.probability = Curve::constant(0.25);
    spec.rules = vec![later, never];
    let mut receiver = receiver(spec);
    let mut session = receiver.connect(at(0), source(1), &host());
    let mut ask = |recipient: &str| {
        receiver.decide(at(0), &mut session, mail("a@b.test"));
        code(&receiver.decide(at(0), &mut session, Event::Rcpt(recipient)))
    };
    let codes: Vec<u16> = (0..2000).map(|n| ask(&format!("user{n}@a.test"))).collect();
    let count = |wanted| codes.iter().filter(|code| **code == wanted).count();
    assert!((420..580).contains(&count(450)), "{}", count(450));
    assert!((300..450).contains(&count(550)), "{}", count(550));

    let again: Vec<u16> = (0..20).map(|_| ask("user0@a.test")).collect();
    assert!(again.contains(&450) && again.contains(&codes[0].max(250)), "{again:?}");
    let doomed = codes.iter().position(|code| *code == 550).unwrap();
    for _ in 0..20 {
        let heard = ask(&format!("user{doomed}@a.test"));
        assert!(heard == 550 || heard == 450, "{heard}");
    }
}

#[test]
fn a_kept_message_is_accepted_whatever_is_said() {
    let mut spec = spec();
    let mut lost = rule(Stage::Body, "250 unused");
    lost.response = Response::Act(Act::Reset);
    lost.keeps_message = true;
    spec.rules = vec![lost];
    let mut receiver = receiver(spec);
    let mut session = receiver.connect(at(0), source(1), &host());
    let decision = receiver.decide(at(0), &mut session, body(1));
    assert_eq!((decision.act, decision.accepts), (Some(Act::Reset), true));
}

#[test]
fn rules_see_who_speaks_for_whom_and_how() {
    let with = |change: &dyn Fn(&mut Rule)| {
        let mut one = rule(Stage::Body, "554 5.7.1 No");
        change(&mut one);
        let mut spec = spec();
        spec.rules = vec![one];
        spec
    };
    let glob = |text| Some(Glob::new(text));
    let by_source = with(&|rule| rule.source = glob("192.0.2.7"));
    let by_ehlo = with(&|rule| rule.ehlo = glob("*.brand.test"));
    let by_client = with(&|rule| rule.client = glob("203.0.113.*"));
    let by_recipient = with(&|rule| rule.recipient = glob("x@*"));
    let by_content = with(&|rule| rule.unannounced_8bit = true);
    let hello = |name| Event::Ehlo(name);
    let of = |recipient, eight_bit| Event::Body { message: 9, recipient, eight_bit, size: 1000 };
    let announced = Event::Mail { sender: "n@brand.test", eight_bit: true, size: None };
    for (spec, last, events, code_wanted) in [
        (&by_source, 7, vec![body(9)], 554),
        (&by_source, 8, vec![body(9)], 250),
        (&by_ehlo, 7, vec![hello("mail.brand.test"), body(9)], 554),
        (&by_ehlo, 7, vec![Event::Helo("other.test"), body(9)], 250),
        (&by_client, 7, vec![Event::Xclient(Some("203.0.113.9")), body(9)], 554),
        (&by_client, 7, vec![Event::Xclient(Some("192.0.2.9")), body(9)], 250),
        (&by_client, 7, vec![body(9)], 250),
        (&by_recipient, 7, vec![of(Some("x@a.test"), false)], 554),
        (&by_recipient, 7, vec![of(Some("y@a.test"), false)], 250),
        (&by_recipient, 7, vec![of(None, false)], 250),
        (&by_content, 7, vec![mail("n@brand.test"), of(None, true)], 554),
        (&by_content, 7, vec![mail("n@brand.test"), of(None, false)], 250),
        (&by_content, 7, vec![announced, of(None, true)], 250),
    ] {
        let mut receiver = receiver(spec.clone());
        let mut session = receiver.connect(at(0), source(last), &host());
        let mut last_code = 0;
        for event in &events {
            last_code = code(&receiver.decide(at(0), &mut session, *event));
        }
        assert_eq!(last_code, code_wanted, "{events:?} {:?}", spec.rules);
    }
}
