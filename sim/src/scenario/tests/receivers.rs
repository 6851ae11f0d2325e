//! How receivers are read.

use super::*;
use crate::receiver::spec::{
    Bandwidth, Block, Curve, Escalation, Limit, Order, Per, ReceiverSpec, Rule, Trip, Uncertain,
    Unknown,
};

const HEAD: &str = "[[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n";

fn read(text: &str) -> ReceiverSpec {
    let head = "title = \"x\"\nhorizon = \"1d\"\nconfig_text = \"\"\n";
    let text = format!("{head}{TRAFFIC}{HEAD}{text}");
    let mut scenario = parse(Path::new("s.toml"), &text).unwrap_or_else(|error| panic!("{error}"));
    let at = scenario.receivers.iter().position(|receiver| &*receiver.name == "r").unwrap();
    scenario.receivers.remove(at)
}

fn says(line: &str) -> Response {
    Response::Act(Act::Reply(ReplyText::parse(line).unwrap()))
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn limits_with_all_they_can_have() {
    let receiver = read(
        r#"
bandwidth = "100KB/s"
exchange_bandwidth = "1MB/s"
[[receiver.limit]]
what = "messages"
per = "sender_domain"
max = "600/h"
stage = "rcpt"
replies = ["450 4.2.1 One", ["451-Two", "451 lines"]]
order = "turn"
load = { every = "1d", "9h" = 0.5, "18h" = 1 }
[receiver.limit.escalation]
offences = 3
within = "10m"
block = "1h"
reply = "554 5.7.1 Blocked"
[[receiver.limit]]
what = "messages_per_connection"
max = 5
action = "tarpit"
delay = "10s"
"#,
    );
    let bandwidth = Bandwidth { connection: Some(100_000), address: Some(1_000_000) };
    assert_eq!(receiver.bandwidth, bandwidth);
    let replies = vec![
        ReplyText::parse("450 4.2.1 One").unwrap(),
        ReplyText::parse_lines(&["451-Two", "451 lines"]).unwrap(),
    ];
    let steps = vec![(seconds(9 * 3600), 0.5), (seconds(18 * 3600), 1.0)];
    let first = Limit {
        what: Limited::MessageRate { max: 600, window: seconds(3600) },
        range: None,
        per: CountedBy::SenderDomain,
        stage: Stage::Rcpt,
        response: Response::OneOf { replies, order: Order::Turn },
        load: Curve::repeating(seconds(86_400), steps).unwrap(),
        escalation: Some(Escalation {
            offences: 3,
            within: seconds(600),
            block: Block {
                length: seconds(3600),
                range: None,
                stage: Stage::Mail,
                response: says("554 5.7.1 Blocked"),
            },
        }),
    };
    let second = Limit {
        what: Limited::MessagesPerConnection { max: 5 },
        range: None,
        per: CountedBy::Source(Per::Address),
        stage: Stage::Mail,
        response: Response::Tarpit(seconds(10)),
        load: Curve::constant(1.0),
        escalation: None,
    };
    assert_eq!(receiver.limits, [first, second]);
}

#[test]
fn unknown_recipients_and_what_trips() {
    let receiver = read(
        r#"
[receiver.unknown]
share = 0.02
recipients = ["old*@*"]
[receiver.unknown.trip]
share = 0.1
of = 50
within = "10m"
per = "network"
block = "1h"
stage = "mail"
action = "close"
"#,
    );
    let expected = Unknown {
        share: 0.02,
        recipients: vec![crate::glob::Glob::new("old*@*")],
        reply: ReplyText::parse("550 5.1.1 No such user").unwrap(),
        trip: Some(Trip {
            share: 0.1,
            of: 50,
            within: seconds(600),
            per: Per::Network,
            block: Block {
                length: seconds(3600),
                range: None,
                stage: Stage::Mail,
                response: Response::Act(Act::Close),
            },
        }),
    };
    assert_eq!(receiver.unknown, Some(expected));
}

#[test]
fn rules_by_exchange_size_and_time_of_day() {
    let receiver = read(
        r#"
[[receiver.reply]]
stage = "mail"
exchange = "mx1.*"
larger_than = "10MB"
probability = { every = "1h", "0s" = 0.8, "5m" = 0.1 }
delay = "2s"
reply = "451 4.7.1 Later"
[[receiver.reply]]
stage = "banner"
action = "tarpit"
delay = "3s"
"#,
    );
    let [first, second]: [Rule; 2] = receiver.rules.try_into().unwrap();
    assert!(first.exchange.unwrap().matches("mx1.a.test"));
    assert_eq!((first.larger_than, first.delay), (Some(10_000_000), seconds(2)));
    let steps = vec![(seconds(0), 0.8), (seconds(300), 0.1)];
    assert_eq!(first.probability, Curve::repeating(seconds(3600), steps).unwrap());
    let slow = (Response::Tarpit(seconds(3)), Duration::ZERO);
    assert_eq!((second.response, second.delay), slow, "not waited twice");
}

#[test]
fn ranges_of_what_is_not_known_for_sure() {
    let receiver = read(
        r#"
greylist = { hold = { min = "1m", max = "15m" } }
reply = [{ stage = "mail", probability = { min = 0.001, max = 0.1 }, reply = "451 y" }]
[[receiver.limit]]
what = "messages"
max = { min = "60/h", max = "600/h" }
reply = "451 x"
[[receiver.limit]]
what = "connections"
max = 5
reply = "421 x"
[receiver.limit.escalation]
offences = 1
within = "1m"
block = { min = "1h", max = "4h" }
reply = "554 x"
"#,
    );
    assert_eq!(receiver.limits[0].range, Some(Uncertain { least: 60, most: 600 }));
    assert_eq!(receiver.limits[1].range, None);
    let (drawn, told) = receiver.drawn(traject_engine::rng::Seed::from_u64(3));
    let Limited::MessageRate { max, window } = drawn.limits[0].what else { panic!() };
    assert!((60..=600).contains(&max) && window == seconds(3600), "{max} in {window:?}");
    let block = drawn.limits[1].escalation.as_ref().unwrap().block.length;
    assert!((seconds(3600)..=seconds(4 * 3600)).contains(&block), "{block:?}");
    let hold = drawn.greylist.unwrap().hold;
    assert!((seconds(60)..=seconds(900)).contains(&hold), "{hold:?}");
    let share = drawn.rules[0].probability.most();
    assert!((0.001..=0.1).contains(&share), "{share}");
    let names: Vec<&str> = told.iter().map(|one| one.what.as_str()).collect();
    let expected = [
        "messages per address",
        "block after connections per address",
        "greylist hold",
        "says 451 y",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_makes_no_sense() {
    let limit = "[[receiver.limit]]\n";
    let sized = "what = \"messages\"\nmax = \"9/h\"\nreply = \"451 x\"\n";
    let rule = "[[receiver.reply]]\nstage = \"mail\"\n";
    for (text, message) in [
        (
            format!(
                "{limit}what = \"connections\"\nmax = 5\nper = \"sender\"\nreply = \"421 x\"\n"
            ),
            "only `messages` can be counted by their sender",
        ),
        (format!("{limit}{sized}delay = \"5s\"\n"), "`delay` goes with `action = \"tarpit\"`"),
        (format!("{limit}{sized}action = \"reset\"\n"), "only one can be given"),
        (format!("{limit}{sized}order = \"turn\"\n"), "`order` goes with `replies`"),
        (format!("{limit}{sized}load = {{ \"1m\" = 2 }}\n"), "`every` is missing"),
        (format!("{limit}{sized}load = {{ every = \"1m\", \"2m\" = 2 }}\n"), "before the end"),
        (format!("{limit}{sized}load = {{ every = \"1m\" }}\n"), "a curve has an instant"),
        (
            format!(
                "{limit}{sized}[receiver.limit.escalation]\noffences = 3\nwithin = \"1m\"\n\
                     reply = \"451 x\"\n"
            ),
            "`block` is missing",
        ),
        (
            format!(
                "{limit}{sized}per = \"sender\"\n[receiver.limit.escalation]\noffences = 3\n\
                     within = \"1m\"\nblock = \"1h\"\nstage = \"banner\"\nreply = \"451 x\"\n"
            ),
            "nobody is known as a sender at so early a stage",
        ),
        (format!("{rule}action = \"tarpit\"\n"), "`delay` is missing"),
        (
            format!(
                "{limit}what = \"messages\"\nmax = {{ min = \"9/m\", max = \"99/h\" }}\n\
                 reply = \"451 x\"\n"
            ),
            "both ends of a range are of one time",
        ),
        (
            format!("{limit}what = \"connections\"\nmax = {{ min = 9 }}\nreply = \"451 x\"\n"),
            "`max` is missing",
        ),
        ("without = [\"tls\"]\n".into(), "and there is none"),
        (format!("{rule}replies = []\n"), "`replies` is empty"),
        (
            format!("{rule}reply = \"451 x\"\nprobability = {{ every = \"1h\", \"0m\" = 2 }}\n"),
            "0 to 1",
        ),
        (
            "[[receiver.reply]]\nstage = \"banner\"\nreply = \"451 x\"\nlarger_than = \"1KB\"\n"
                .into(),
            "`larger_than` is not known at this stage",
        ),
        ("bandwidth = \"100KB\"\n".into(), "a bandwidth looks like `100KB/s`"),
        ("[receiver.unknown]\nreply = \"550 x\"\n".into(), "`share` is missing"),
        ("[receiver.unknown]\nshare = 0.1\nreply = \"250 x\"\n".into(), "is refused"),
        (
            "[receiver.unknown]\nshare = 0.1\n[receiver.unknown.trip]\nshare = 0.1\n\
             within = \"1m\"\nblock = \"1h\"\nreply = \"451 x\"\n"
                .into(),
            "`of` is missing",
        ),
    ] {
        let complaint = complaint(&format!("{TRAFFIC}{HEAD}{text}"));
        assert!(complaint.contains(message), "{complaint}");
        assert_eq!(complaint.matches("error:").count(), 1, "{complaint}");
    }
}
