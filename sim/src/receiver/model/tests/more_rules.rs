//! Rules by exchange, size and time of day, and replies that vary.

use super::*;
use crate::receiver::spec::Order;

fn with(rule: Rule) -> Receiver {
    receiver(ReceiverSpec { rules: vec![rule], ..spec() })
}

#[test]
fn a_rule_can_be_about_one_exchange() {
    let mut down = rule(Stage::Banner, "421 4.3.2 Down");
    down.exchange = Some(Glob::new("mx2.*"));
    let mut receiver = with(down);
    for (host, expected) in [("mx1.a.test", 250), ("mx2.a.test", 421)] {
        let mut session = receiver.connect(at(0), source(1), &host.into());
        assert_eq!(code(&receiver.decide(at(0), &mut session, Event::Banner)), expected, "{host}");
    }
}

#[test]
fn a_rule_can_be_about_large_messages() {
    let sized = |size| Event::Mail { sender: "a@b.test", eight_bit: false, size };
    let came = |size| Event::Body { message: 1, recipient: None, eight_bit: false, size };
    for (stage, events, expected) in [
        (Stage::Mail, vec![sized(Some(1000))], 250),
        (Stage::Mail, vec![sized(Some(1001))], 552),
        (Stage::Mail, vec![sized(None)], 250),
        (Stage::Data, vec![sized(Some(1001)), Event::Data], 552),
        (Stage::Body, vec![sized(None), came(1001)], 552),
        (Stage::Body, vec![sized(Some(1001)), came(1000)], 250),
    ] {
        let mut large = rule(stage, "552 5.3.4 Too large");
        large.larger_than = Some(1000);
        let mut receiver = with(large);
        let mut session = receiver.connect(at(0), source(1), &host());
        let mut last = 0;
        for event in &events {
            last = code(&receiver.decide(at(0), &mut session, *event));
        }
        assert_eq!(last, expected, "{stage:?} {events:?}");
    }
}

#[test]
fn a_chance_changes_with_the_minute_of_the_hour() {
    let steps = vec![(Duration::ZERO, 1.0), (Duration::from_secs(300), 0.0)];
    let mut busy = rule(Stage::Mail, "451 4.7.1 Later");
    busy.probability = Curve::repeating(Duration::from_secs(3600), steps).unwrap();
    let mut receiver = with(busy);
    let mut session = receiver.connect(at(0), source(1), &host());
    for (second, expected) in [(0, 451), (299, 451), (300, 250), (3599, 250), (7200, 451)] {
        let decision = receiver.decide(at(second), &mut session, mail("a@b.test"));
        assert_eq!(code(&decision), expected, "at {second} s");
    }
}

fn varying(replies: &[&str], order: Order) -> Rule {
    let replies = replies.iter().map(|reply| ReplyText::parse(reply).unwrap()).collect();
    Rule { response: Response::OneOf { replies, order }, ..rule(Stage::Mail, "250 unused") }
}

#[test]
fn replies_come_in_turn_or_at_random() {
    let three = ["450 4.2.1 One", "451 4.3.0 Two", "452 4.2.2 Three"];
    let heard = |rule: Rule, sender: &str| -> Vec<u16> {
        let mut receiver = with(rule);
        let mut session = receiver.connect(at(0), source(1), &host());
        let mut one = || code(&receiver.decide(at(0), &mut session, mail(sender)));
        (0..300).map(|_| one()).collect()
    };
    assert_eq!(heard(varying(&three, Order::Turn), "a@b.test")[..4], [450, 451, 452, 450]);
    let random = heard(varying(&three, Order::Random), "a@b.test");
    for wanted in [450, 451, 452] {
        let count = random.iter().filter(|code| **code == wanted).count();
        assert!((70..130).contains(&count), "{wanted}: {count}");
    }
    assert_eq!(random, heard(varying(&three, Order::Random), "a@b.test"));
    // A refusal for good keeps its words, but not everybody hears the same.
    let refusals = ["550 5.7.1 One", "553 5.7.1 Two"];
    let of = |sender: &str| heard(varying(&refusals, Order::Random), sender);
    assert!(of("a@b.test").windows(2).all(|pair| pair[0] == pair[1]));
    let first = |n: u32| of(&format!("user{n}@b.test"))[0];
    assert!((0..20).any(|n| first(n) != first(0)));
}

#[test]
fn a_tarpit_of_a_rule_lets_later_rules_act() {
    let mut slow = rule(Stage::Mail, "250 unused");
    slow.response = Response::Tarpit(Duration::from_secs(9));
    let mut receiver =
        receiver(ReceiverSpec { rules: vec![slow, rule(Stage::Mail, "450 4.2.1 No")], ..spec() });
    let mut session = receiver.connect(at(0), source(1), &host());
    let decision = receiver.decide(at(0), &mut session, mail("a@b.test"));
    assert_eq!((code(&decision), decision.delay.as_secs()), (450, 9));
}
