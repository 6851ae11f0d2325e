//! Every stage against everything that can happen at it.

use proptest::prelude::*;

use super::*;

/// Scripts that lead to every stage, without and with PIPELINING.
fn stages() -> Vec<(&'static str, String)> {
    let start = "! start a@x.example,b@x.example\n";
    let replies = ["S: 250 ok\n", "S: 250 ok\n", "S: 250 ok\n", "S: 354 go\n", "! body-sent\n"];
    let transaction = |count: usize| start.to_string() + &replies[..count].concat();
    vec![
        ("banner", String::new()),
        ("EHLO", "S: 220 hi".to_string()),
        ("HELO", "S: 220 hi\nS: 500 what".to_string()),
        ("idle", OPEN_PLAIN.to_string()),
        ("MAIL", format!("{OPEN_PLAIN}{}", transaction(0))),
        ("RCPT 1", format!("{OPEN_PLAIN}{}", transaction(1))),
        ("RCPT 2", format!("{OPEN_PLAIN}{}", transaction(2))),
        ("DATA", format!("{OPEN_PLAIN}{}", transaction(3))),
        ("body", format!("{OPEN_PLAIN}{}", transaction(4))),
        ("final", format!("{OPEN_PLAIN}{}", transaction(5))),
        ("RSET", format!("{OPEN_PLAIN}{start}S: 450 no")),
        ("QUIT", format!("{OPEN_PLAIN}! quit")),
        ("MAIL, group", format!("{OPEN}{}", transaction(0))),
        ("RCPT 1, group", format!("{OPEN}{}", transaction(1))),
        ("RCPT 2, group", format!("{OPEN}{}", transaction(2))),
        ("DATA, group", format!("{OPEN}{}", transaction(3))),
        ("rest of a refused group", format!("{OPEN}{start}S: 550 no")),
        ("DATA of a refused group", format!("{OPEN}{start}S: 550 no\n{}", "S: 503 no\n".repeat(2))),
        ("lone dot", format!("{OPEN}{start}S: 250 ok\n{}S: 354 go", "S: 550 no\n".repeat(2))),
    ]
}

const EVENTS: [&str; 10] = [
    "S: 250 fine",
    "S: 354 go",
    "S: 450 4.0.0 later",
    "S: 550 5.0.0 never",
    "S: 421 4.0.0 closing",
    "S: junk",
    "S: 250-fine\\r\\n550 never",
    "! timeout",
    "! eof",
    "! closed",
];

/// What every kind of event does at every stage.
#[test]
fn stage_table() {
    let mut table = String::new();
    for (stage, script) in stages() {
        for event in EVENTS {
            let before = play(&options(), &script, Arrival::LineByLine).len();
            let rows = [Arrival::LineByLine, Arrival::ByteByByte].map(|arrival| {
                let played = play(&options(), &format!("{script}\n{event}"), arrival);
                played[before + 1..].join("; ")
            });
            assert_eq!(rows[0], rows[1], "{stage}: {event}");
            table += &format!("{stage} | {event} | {}\n", rows[0]);
        }
    }
    insta::assert_snapshot!(table);
}

/// Every stage has its own time to wait, and progress of the body extends it.
#[test]
fn waits() {
    let table: String = stages()
        .iter()
        .map(|(stage, script)| {
            let mut dialogue = Dialogue::new(options());
            for line in script.lines().map(str::trim) {
                match line.split_at_checked(3) {
                    Some(("S: ", said)) => {
                        dialogue.receive(format!("{said}\r\n").as_bytes(), Arrival::Together);
                    }
                    Some(("! s" | "! b" | "! q", _)) => drop(dialogue.event(&line[2..])),
                    _ => {}
                }
            }
            let wait = dialogue.session.deadline().unwrap().saturating_since(dialogue.now);
            format!("{stage}: {} s, {:?}\n", wait.as_secs(), dialogue.session.stage())
        })
        .collect();
    insta::assert_snapshot!(table, @r"
    banner: 10 s, Banner
    EHLO: 10 s, Ehlo
    HELO: 10 s, Ehlo
    idle: 60 s, Idle
    MAIL: 20 s, MailFrom
    RCPT 1: 30 s, RcptTo
    RCPT 2: 30 s, RcptTo
    DATA: 30 s, Data
    body: 40 s, Body
    final: 40 s, BodyReply
    RSET: 50 s, Rset
    QUIT: 50 s, Quit
    MAIL, group: 20 s, MailFrom
    RCPT 1, group: 30 s, RcptTo
    RCPT 2, group: 30 s, RcptTo
    DATA, group: 30 s, Data
    rest of a refused group: 30 s, RcptTo
    DATA of a refused group: 30 s, Data
    lone dot: 40 s, BodyReply
    ");
}

#[test]
fn progress_extends_the_wait_for_the_body() {
    let mut dialogue = Dialogue::new(options());
    for reply in ["220 hi", "250 hi"] {
        dialogue.receive(format!("{reply}\r\n").as_bytes(), Arrival::Together);
    }
    dialogue.event("start a@x.example");
    for reply in ["250 ok", "250 ok", "354 go"] {
        dialogue.receive(format!("{reply}\r\n").as_bytes(), Arrival::Together);
    }
    let first = dialogue.session.deadline().unwrap();
    dialogue.now = dialogue.now + Duration::from_secs(39);
    assert!(dialogue.event("progress").is_empty());
    // A wakeup that comes for nothing does nothing.
    dialogue.now = first;
    assert!(dialogue.input(ClientInput::Timeout).is_empty());
    assert_eq!(
        dialogue.event("timeout"),
        ["= 0 transient at body: 451 4.4.2 send BODY failed [local]", "= abort TimedOut"],
    );
    assert_eq!(dialogue.session.deadline(), None);
}

/// What may happen to a session, in any order.
#[derive(Clone, Debug)]
enum Happening {
    Said(Vec<u8>),
    Event(&'static str),
}

fn happening() -> impl Strategy<Value = Happening> {
    let said = |text: &'static str| Just(Happening::Said(text.as_bytes().to_vec()));
    let reply = (
        prop::sample::select(vec!["220", "250", "354", "450", "550", "421", "299", "999"]),
        prop::sample::select(vec![" ok\r\n", "-more\r\n", "\r\n", " torn", "\r\n250 ok\r\n", "\n"]),
    );
    let bytes = prop::collection::vec(any::<u8>(), 0..6);
    let events = vec![
        "start a@x.example",
        "start a@x.example,b@x.example,c@x.example",
        "start-8bit a@x.example",
        "timeout",
        "progress",
        "body-sent",
        "body-lost",
        "body-missing",
        "body-unreadable",
        "eof",
        "closed",
        "quit",
    ];
    prop_oneof![
        12 => reply.prop_map(|(code, rest)| Happening::Said(format!("{code}{rest}").into_bytes())),
        4 => said("250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 2000\r\n"),
        8 => said("250 ok\r\n"),
        2 => said("354 go\r\n"),
        1 => bytes.prop_map(Happening::Said),
        10 => prop::sample::select(events).prop_map(Happening::Event),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens: every recipient gets exactly one result, a delivery only after the whole
    /// body, and after its close the session is silent.
    #[test]
    fn every_recipient_has_one_result(
        happenings in prop::collection::vec(happening(), 0..40),
        opened in any::<bool>(),
        method in prop::sample::select(vec![DeliveryMethod::Esmtp, DeliveryMethod::Lmtp]),
        xclient in prop::sample::select(vec![
            Xclient::No, Xclient::IfAvailable, Xclient::Required,
        ]),
    ) {
        let mut dialogue = Dialogue::new(SessionOptions { method, xclient, ..options() });
        if opened {
            dialogue.receive(b"220 hi\r\n", Arrival::Together);
            dialogue.receive(b"250-hi\r\n250-PIPELINING\r\n250 XCLIENT ADDR\r\n", Arrival::Together);
        }
        let mut owed = 0;
        let mut body_sent = false;
        let mut ready = opened;
        let mut closed = false;
        for happening in happenings.into_iter().chain([Happening::Event("closed")]) {
            let outputs = match &happening {
                Happening::Event("timeout") if dialogue.session.deadline().is_none() => continue,
                Happening::Event(event) if event.starts_with("start") && !ready => continue,
                Happening::Event(event) => {
                    if event.starts_with("start") {
                        owed = event.split(',').count();
                        ready = false;
                        body_sent = false;
                    }
                    body_sent |= *event == "body-sent";
                    dialogue.event(event)
                }
                Happening::Said(bytes) => dialogue.receive(bytes, Arrival::Together),
            };
            prop_assert!(!closed || outputs.iter().all(|line| line == "= not attempted"));
            for line in &outputs {
                if line.contains(" delivered ") || line.contains(" transient ")
                    || line.contains(" permanent ")
                {
                    prop_assert!(owed > 0, "{line}");
                    prop_assert!(body_sent || !line.contains(" delivered "), "{line}");
                    owed -= 1;
                }
                if line == "= not attempted" {
                    owed = 0;
                }
                if line == "= ready" {
                    prop_assert!(owed == 0 && !ready);
                    ready = true;
                }
                if line.starts_with("= close") || line.starts_with("= abort") {
                    prop_assert!(owed == 0 && !closed);
                    closed = true;
                }
            }
            closed |= matches!(happening, Happening::Event("closed"));
            prop_assert!(!closed || dialogue.session.deadline().is_none());
        }
        prop_assert_eq!(owed, 0);
    }
}
