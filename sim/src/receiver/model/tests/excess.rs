//! What becomes of those who want more than they may have.

use super::*;
use crate::receiver::spec::{Escalation, Trip, Unknown};

/// The codes of MAIL from each sender, each at its second, over one connection.
fn codes_of_mail(receiver: &mut Receiver, tries: &[(u64, &str)]) -> Vec<u16> {
    let mut session = receiver.connect(at(0), source(1), &host());
    let one = |(second, sender): &(u64, &str)| {
        code(&receiver.decide(at(*second), &mut session, mail(sender)))
    };
    tries.iter().map(one).collect()
}

#[test]
fn messages_are_counted_by_whoever_sends_them() {
    let tries =
        [(0, "a@b.test"), (0, "A@B.test"), (0, "c@b.test"), (0, "a@d.test"), (0, ""), (0, "")];
    for (per, expected) in [
        (CountedBy::Sender, [250, 421, 250, 250, 250, 421]),
        (CountedBy::SenderDomain, [250, 421, 421, 250, 250, 421]),
        (CountedBy::Source(Per::All), [250, 421, 421, 421, 421, 421]),
    ] {
        let window = Duration::from_secs(60);
        let mut one = limit(Limited::MessageRate { max: 1, window }, Stage::Mail);
        one.per = per;
        let mut receiver = receiver(ReceiverSpec { limits: vec![one], ..spec() });
        assert_eq!(codes_of_mail(&mut receiver, &tries), expected, "{per:?}");
        let later = codes_of_mail(&mut receiver, &[(60, "a@b.test")]);
        assert_eq!(later, [250], "{per:?}");
    }
}

#[test]
fn a_load_lowers_a_limit_for_a_time() {
    let steps = vec![(Duration::ZERO, 0.5), (Duration::from_secs(300), 1.0)];
    let mut one = limit(Limited::Connections { max: 3 }, Stage::Banner);
    one.load = Curve::repeating(Duration::from_secs(3600), steps).unwrap();
    for (second, expected) in [
        (0, [250, 421, 421, 421]),
        (299, [250, 421, 421, 421]),
        (300, [250, 250, 250, 421]),
        (3600, [250, 421, 421, 421]),
    ] {
        let mut receiver = receiver(ReceiverSpec { limits: vec![one.clone()], ..spec() });
        let codes = [(); 4].map(|()| {
            let mut session = receiver.connect(at(second), source(1), &host());
            code(&receiver.decide(at(second), &mut session, Event::Banner))
        });
        assert_eq!(codes, expected, "at {second} s");
    }
}

#[test]
fn who_goes_on_is_blocked_for_a_while() {
    let window = Duration::from_secs(1);
    let mut one = limit(Limited::MessageRate { max: 1, window }, Stage::Mail);
    one.escalation = Some(Escalation {
        offences: 2,
        within: Duration::from_secs(30),
        block: Block {
            length: Duration::from_secs(100),
            range: None,
            stage: Stage::Mail,
            response: says("554 5.7.1 Blocked"),
        },
    });
    let mut receiver = receiver(ReceiverSpec { limits: vec![one], ..spec() });
    let heard = |receiver: &mut Receiver, last, seconds: &[u64]| -> Vec<u16> {
        let mut session = receiver.connect(at(0), source(last), &host());
        let mut one = |second| code(&receiver.decide(at(second), &mut session, mail("a@b.test")));
        seconds.iter().map(|second| one(*second)).collect()
    };
    // The offence at 0 s is too old at 30 s; those at 30 s and 59 s are two.
    let seconds = [0, 0, 30, 30, 59, 59, 60, 158, 159];
    let expected = [250, 421, 250, 421, 250, 421, 554, 554, 250];
    assert_eq!(heard(&mut receiver, 1, &seconds), expected);
    assert_eq!(heard(&mut receiver, 2, &[100]), [250], "another address");
    assert_eq!(heard(&mut receiver, 1, &[159, 200]), [421, 250], "counting begins anew");
}

#[test]
fn a_tarpit_slows_the_rest_of_the_connection_and_refuses_nothing() {
    let mut one = limit(Limited::MessagesPerConnection { max: 1 }, Stage::Mail);
    one.response = Response::Tarpit(Duration::from_secs(5));
    let mut receiver = receiver(ReceiverSpec { limits: vec![one], ..spec() });
    let mut session = receiver.connect(at(0), source(1), &host());
    for (event, seconds) in [
        (Event::Banner, 0),
        (mail("a@b.test"), 0),
        (mail("a@b.test"), 5),
        (Event::Rcpt("x@a.test"), 5),
        (Event::Rset, 5),
    ] {
        let decision = receiver.decide(at(0), &mut session, event);
        assert_eq!((code(&decision), decision.delay.as_secs()), (250, seconds), "{event:?}");
    }
    let mut next = receiver.connect(at(0), source(1), &host());
    assert_eq!(receiver.decide(at(0), &mut next, Event::Banner).delay, Duration::ZERO);
}

fn with_unknown(trip: Option<Trip>) -> ReceiverSpec {
    let unknown = Unknown {
        share: 0.0,
        recipients: vec![Glob::new("old*")],
        reply: ReplyText::parse("550 5.1.1 No such user").unwrap(),
        trip,
    };
    ReceiverSpec { unknown: Some(unknown), ..spec() }
}

#[test]
fn too_many_unknown_recipients_block_whoever_named_them() {
    let trip = Trip {
        share: 0.5,
        of: 4,
        within: Duration::from_secs(60),
        per: Per::Network,
        block: Block {
            length: Duration::from_secs(600),
            range: None,
            stage: Stage::Banner,
            response: says("554 5.7.1 Too many unknown recipients"),
        },
    };
    // (second, recipient, what is heard at the banner and at RCPT)
    let half =
        [(0, "old1", 250, 550), (0, "old2", 250, 550), (0, "x", 250, 250), (0, "y", 250, 250)];
    let more =
        [(0, "old1", 250, 550), (0, "x", 250, 250), (0, "old2", 250, 550), (0, "old3", 250, 550)];
    let tripped = [(1, "x", 554, 250), (599, "x", 554, 250), (600, "x", 250, 250)];
    let spread = [
        (0, "old1", 250, 550),
        (59, "x", 250, 250),
        (60, "old2", 250, 550),
        (60, "old3", 250, 550),
    ];
    let last = [(61, "x", 250, 250), (61, "old4", 250, 550), (61, "y", 554, 250)];
    for tries in [
        [&half[..], &[(0, "z", 250, 250)]].concat(),
        [&more[..], &tripped].concat(),
        // At 60 s the first one is forgotten; 2 of the last 4, then 3 of the last 4.
        [&spread[..], &last].concat(),
    ] {
        let mut receiver = receiver(with_unknown(Some(trip.clone())));
        for (n, (second, user, banner, rcpt)) in tries.into_iter().enumerate() {
            let now = at(second);
            let mut session = receiver.connect(now, source(n as u8 + 1), &host());
            let recipient = format!("{user}@a.test");
            let heard = [Event::Banner, Event::Rcpt(&recipient)]
                .map(|event| code(&receiver.decide(now, &mut session, event)));
            assert_eq!(heard, [banner, rcpt], "{n}: {user} at {second} s");
        }
    }
}

#[test]
fn a_share_of_the_mailboxes_does_not_exist_and_never_will() {
    let mut spec = with_unknown(None);
    if let Some(unknown) = &mut spec.unknown {
        unknown.share = 0.1;
    }
    let mut receiver = receiver(spec);
    let mut session = receiver.connect(at(0), source(1), &host());
    let mut ask = |n: u32| {
        code(&receiver.decide(at(0), &mut session, Event::Rcpt(&format!("user{n}@a.test"))))
    };
    let first: Vec<u16> = (0..2000).map(&mut ask).collect();
    let again: Vec<u16> = (0..2000).map(&mut ask).collect();
    assert_eq!(first, again);
    let unknown = first.iter().filter(|code| **code == 550).count();
    assert!((160..240).contains(&unknown), "{unknown}");
}
