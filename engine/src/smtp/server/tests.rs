//! Dialogues: what the client says (`C:`), what happens otherwise (`!`), and what the session
//! answers: lines it writes (`S:`) and what it tells its owner (`=`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::effective::RelayPolicy;
use crate::smtp::data::StrayPolicy;

pub(super) fn options() -> ReceptionOptions {
    ReceptionOptions {
        banner_hostname: "mx.example".into(),
        static_banner: None,
        received_hostname: "by.example".into(),
        idle_time: Duration::from_secs(300),
        max_message_size_bytes: 5000,
        max_recipients_per_message: 0,
        max_recipients_per_connection: 0,
        max_receptions_per_connection: 0,
        require_ehlo: false,
        allow_null_envelope_sender: true,
        stray: StrayPolicy::Refuse,
        trace_headers: true,
        relay: RelayPolicy {
            recipient_domains: vec!["ours.example".into(), "by.example".into()].into(),
            ..RelayPolicy::default()
        },
        binding: BindingSource::Default,
        tls: None,
    }
}

/// An owner that sends everything by one binding.
impl<F: FnMut() -> MessageId> Owner for F {
    fn message_id(&mut self) -> MessageId {
        self()
    }

    fn refuses(&mut self, _: &BindingSource, _: bool, domain: &str) -> bool {
        domain == "void.ours.example"
    }

    fn knows_binding(&mut self, name: &str) -> bool {
        name == "red"
    }

    fn binding(
        &mut self,
        _: MessageId,
        source: &BindingSource,
        named: Option<&str>,
    ) -> Option<Arc<str>> {
        match source {
            BindingSource::Binding(name) | BindingSource::Group(name) => Some(name.clone()),
            BindingSource::Default => Some(named.unwrap_or("default").into()),
            BindingSource::Refuse => named.filter(|name| *name == "red").map(Into::into),
        }
    }
}

/// How the client's bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Arrival {
    /// Neighbouring `C:` lines in one segment.
    Together,
    LineByLine,
    ByteByByte,
}

pub(super) struct Dialogue {
    pub(super) session: ServerSession,
    pub(super) now: Timestamp,
    ids: u64,
}

impl Dialogue {
    pub(super) fn new(options: ReceptionOptions) -> Self {
        let now = Timestamp::from_secs(1_000_000_000);
        let peer = "192.0.2.1:4000".parse().unwrap();
        Self { session: ServerSession::new(Arc::new(options), peer, now), now, ids: 0 }
    }

    pub(super) fn start(&mut self) -> Vec<String> {
        let mut out = vec![];
        self.session.start(&mut out);
        out.iter().flat_map(describe).collect()
    }

    pub(super) fn input(&mut self, input: ServerInput<'_>) -> Vec<String> {
        let mut out = vec![];
        let ids = &mut self.ids;
        let mut next_id = || {
            *ids += 1;
            MessageId(*ids)
        };
        self.session.handle(self.now, input, &mut next_id, &mut out);
        out.iter().flat_map(describe).collect()
    }

    fn receive(&mut self, bytes: &[u8], arrival: Arrival) -> Vec<String> {
        let piece = if arrival == Arrival::ByteByByte { 1 } else { bytes.len().max(1) };
        let outputs = bytes.chunks(piece).map(|part| self.input(ServerInput::Received(part)));
        outputs.collect::<Vec<_>>().concat()
    }

    /// Something other than bytes, as a script writes it behind `!`.
    fn event(&mut self, event: &str) -> Vec<String> {
        let body = |received_headers| BodyInfo {
            size_bytes: 99,
            eight_bit: true,
            received_headers,
            header: None,
            head: None,
        };
        match event {
            "body" => self.input(ServerInput::BodyDone(Ok(body(0)))),
            "body-looping" => self.input(ServerInput::BodyDone(Ok(body(100)))),
            "body-stray" => self.input(ServerInput::BodyDone(Err(BodyError::StrayControl))),
            "body-too-large" => self.input(ServerInput::BodyDone(Err(BodyError::TooLarge))),
            "body-lost" => self.input(ServerInput::BodyDone(Err(BodyError::Lost(None)))),
            "body-full" => {
                self.input(ServerInput::BodyDone(Err(BodyError::Spool(SpoolError::Full))))
            }
            "body-io" => {
                let error = SpoolError::Io("input/output error".into());
                self.input(ServerInput::BodyDone(Err(BodyError::Spool(error))))
            }
            "progress" => self.input(ServerInput::BodyProgress),
            "spooled" => self.input(ServerInput::Spooled(Ok(()))),
            "spool-full" => self.input(ServerInput::Spooled(Err(SpoolError::Full))),
            "spool-io" => {
                let error = SpoolError::Io("input/output error".into());
                self.input(ServerInput::Spooled(Err(error)))
            }
            "timeout" => {
                self.now = self.session.deadline().unwrap_or(self.now);
                self.input(ServerInput::Timeout)
            }
            "eof" => self.input(ServerInput::Received(&[])),
            "closed" => self.input(ServerInput::Closed(Some(NetError::Reset))),
            "drain" => self.input(ServerInput::Drain),
            _ => panic!("no event {event:?}"),
        }
    }
}

pub(super) fn describe(output: &ServerOutput) -> Vec<String> {
    match output {
        ServerOutput::Write(bytes) => {
            let text = core::str::from_utf8(bytes).unwrap();
            let lines = text.strip_suffix("\r\n").unwrap().split("\r\n");
            lines.map(|line| format!("S: {line}")).collect()
        }
        ServerOutput::ReceiveBody { message, .. } => vec![format!("= receive {message}")],
        ServerOutput::Accept(message) => {
            let recipients: Vec<_> =
                message.recipients.iter().map(|to| to.mailbox.to_string()).collect();
            let (id, sender) = (message.id, &message.reverse_path);
            vec![format!("= accept {id} from {sender} to {}", recipients.join(","))]
        }
        ServerOutput::StartTls(_) => vec!["= start TLS".to_string()],
        ServerOutput::Tls(Ok(info)) => vec![format!("= {}", info.version)],
        ServerOutput::Tls(Err(error)) => vec![format!("= no TLS: {error:?}")],
        ServerOutput::Bounce { recipient, behavior, report, .. } => {
            vec![format!("= bounce to {recipient}, {behavior:?}: {}", report.reply)]
        }
        ServerOutput::Discard(message) => vec![format!("= discard {message}")],
        ServerOutput::Rejected { phase, reply } => {
            assert!(reply.local);
            vec![format!("= rejected {phase} {}", reply.code)]
        }
        ServerOutput::Violation(what) => vec![format!("= violation: {what}")],
        ServerOutput::Close { abort: false } => vec!["= close".to_string()],
        ServerOutput::Close { abort: true } => vec!["= abort".to_string()],
    }
}

/// Plays a script and writes down what happens, in the form of a script.
fn play(options: ReceptionOptions, script: &str, arrival: Arrival) -> String {
    let mut dialogue = Dialogue::new(options);
    let mut played = dialogue.start();
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        if let Some(event) = line.strip_prefix("! ") {
            played.push(line.to_string());
            played.extend(dialogue.event(event));
        } else if let Some(said) = line.strip_prefix("C:") {
            played.push(line.to_string());
            let mut bytes = said.trim_start().replace("\\r", "\r").replace("\\n", "\n") + "\r\n";
            let joins = arrival == Arrival::Together;
            while let Some(next) = lines.next_if(|line| joins && line.starts_with("C: ")) {
                played.push(next.to_string());
                bytes += &format!("{}\r\n", &next[3..]);
            }
            played.extend(dialogue.receive(bytes.as_bytes(), arrival));
        }
    }
    played.join("\n")
}

#[track_caller]
fn check_arriving(options: ReceptionOptions, script: &str, arrival: Arrival) {
    let played = play(options, script, arrival);
    let script: Vec<_> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(played, script.join("\n"), "{arrival:?}");
}

/// The script is what happens, however the client's bytes arrive.
#[track_caller]
fn check_with(options: ReceptionOptions, script: &str) {
    for arrival in [Arrival::Together, Arrival::LineByLine, Arrival::ByteByByte] {
        check_arriving(options.clone(), script, arrival);
    }
}

#[track_caller]
fn check(script: &str) {
    check_with(options(), script);
}

/// From the banner to a transaction with one recipient.
const ENVELOPE: &str = "
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 5000
    S: 250-8BITMIME
    S: 250 ENHANCEDSTATUSCODES
    C: MAIL FROM:<from@client.example>
    S: 250 2.1.0 Sender OK
    C: RCPT TO:<to@ours.example>
    S: 250 2.1.5 Recipient OK
";

#[test]
fn a_message_is_acknowledged_once_it_is_durable() {
    check(&format!(
        "{ENVELOPE}
        C: RCPT TO:<Second@OURS.example>
        S: 250 2.1.5 Recipient OK
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 1
        ! progress
        ! body
        = accept 1 from <from@client.example> to to@ours.example,Second@ours.example
        ! spooled
        S: 250 2.0.0 Accepted as 1
        C: MAIL FROM:<> SIZE=5000 BODY=8BITMIME
        S: 250 2.1.0 Sender OK
        C: RCPT TO:<postmaster>
        S: 250 2.1.5 Recipient OK
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 2
        ! body
        = accept 2 from <> to postmaster@by.example
        ! spooled
        S: 250 2.0.0 Accepted as 2
        C: QUIT
        S: 221 2.0.0 Goodbye
        = close"
    ));
}

#[test]
fn commands_sent_together_are_answered_together() {
    let mut dialogue = Dialogue::new(options());
    let mut out = vec![];
    let commands = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@far.example>\r\nDATA\r\nNOOP\r\nQUIT\r\n";
    let mut ids = || MessageId(1);
    dialogue.session.handle(dialogue.now, ServerInput::Received(commands), &mut ids, &mut out);
    let writes = out.iter().filter(|output| matches!(output, ServerOutput::Write(_)));
    assert_eq!(writes.count(), 1);
    let lines: Vec<_> = out.iter().flat_map(describe).collect();
    let codes: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix("S: ")).map(|line| &line[..3]).collect();
    let ehlo = ["250"; 5];
    assert_eq!(codes, [&ehlo[..], &["250", "550", "503", "250", "221"]].concat());
}

#[test]
fn what_is_stored_and_how_it_is_received() {
    let mut dialogue = Dialogue::new(options());
    let mut out = vec![];
    let mut ids = || MessageId(0x7f);
    let commands = b"HELO c.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@ours.example>\r\nDATA\r\n";
    dialogue.session.handle(dialogue.now, ServerInput::Received(commands), &mut ids, &mut out);
    let Some(ServerOutput::ReceiveBody { message, prefix, rules }) = out.pop() else {
        panic!("no body asked for: {out:?}");
    };
    assert_eq!(message, MessageId(0x7f));
    assert_eq!(
        rules,
        BodyRules {
            size_bytes_max: 5000,
            stray: StrayPolicy::Refuse,
            take_header: None,
            head_bytes_max: 0
        }
    );
    assert_eq!(
        String::from_utf8(prefix).unwrap(),
        "Received: from c.example ([192.0.2.1])\r\n\tby by.example with SMTP id 7f;\r\n\
         \tSun, 09 Sep 2001 01:46:40 +0000\r\n",
    );
    out.clear();
    dialogue.now = dialogue.now + Duration::from_secs(5);
    let info =
        BodyInfo { size_bytes: 99, eight_bit: true, received_headers: 0, header: None, head: None };
    let done = ServerInput::BodyDone(Ok(info));
    dialogue.session.handle(dialogue.now, done, &mut ids, &mut out);
    let expected = StoredMessage {
        id: MessageId(0x7f),
        reverse_path: ReversePath(Some("a@b".parse().unwrap())),
        recipients: vec![StoredRecipient {
            mailbox: "c@ours.example".parse().unwrap(),
            state: RecipientState::new(dialogue.now),
        }],
        received_at: dialogue.now,
        size_bytes: 99,
        eight_bit: true,
        binding: "default".into(),
        origin: Some(Arc::new(Origin {
            address: [192, 0, 2, 1].into(),
            port: 4000,
            helo: Some("c.example".into()),
            esmtp: false,
        })),
        rerouted: Vec::new(),
    };
    assert_eq!(out, [ServerOutput::Accept(Box::new(expected))]);
}

#[test]
fn no_trace_header_when_none_is_wanted() {
    let mut dialogue = Dialogue::new(ReceptionOptions { trace_headers: false, ..options() });
    let mut out = vec![];
    let commands = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@ours.example>\r\nDATA\r\n";
    let mut ids = || MessageId(1);
    dialogue.session.handle(dialogue.now, ServerInput::Received(commands), &mut ids, &mut out);
    let asked = out.pop();
    assert!(
        matches!(&asked, Some(ServerOutput::ReceiveBody { prefix, .. }) if prefix.is_empty()),
        "{asked:?}"
    );
}

#[test]
fn bodies_that_are_not_taken() {
    for (event, answer) in [
        ("body-stray", "S: 550 5.6.0 Lone CR or LF, or NUL, in message"),
        ("body-too-large", "S: 552 5.3.4 Message size limit exceeded"),
        ("body-full", "S: 452 4.3.1 Out of space"),
        ("body-io", "S: 451 4.3.0 Transaction failed"),
        ("body-looping", "= discard 1\nS: 554 5.4.6 Too many hops: mail loop"),
        (
            "body\n= accept 1 from <from@client.example> to to@ours.example\n! spool-full",
            "S: 452 4.3.1 Out of space",
        ),
        (
            "body\n= accept 1 from <from@client.example> to to@ours.example\n! spool-io",
            "S: 451 4.3.0 Transaction failed",
        ),
    ] {
        let code = &answer[answer.find("S: ").unwrap() + 3..][..3];
        let (before, said) = answer.split_at(answer.find("S: ").unwrap());
        check(&format!(
            "{ENVELOPE}
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            = receive 1
            ! {event}
            {before}
            = rejected data {code}
            {said}
            C: RCPT TO:<to@ours.example>
            = rejected rcpt 503
            S: 503 5.5.1 MAIL FROM needed first"
        ));
    }
    check(&format!(
        "{ENVELOPE}
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 1
        ! body-lost
        = abort
        ! closed"
    ));
}

#[test]
fn refusals() {
    check(
        "
        S: 220 mx.example ESMTP
        C: RCPT TO:<to@ours.example>
        = rejected rcpt 503
        S: 503 5.5.1 MAIL FROM needed first
        C: DATA
        = rejected data 503
        S: 503 5.5.1 MAIL FROM needed first
        C: NOOP
        S: 250 2.0.0 OK
        C: EHLO
        = rejected ehlo 501
        S: 501 5.5.2 Invalid EHLO or HELO name
        C: MAIL FROM:<a@b> SIZE=5001
        = rejected mail 552
        S: 552 5.3.4 Message size limit exceeded
        C: MAIL FROM:<a@b> SMTPUTF8
        = rejected mail 555
        S: 555 5.5.4 Unknown parameter
        C: MAIL FROM:<a@b> BODY=BINARYMIME
        = rejected mail 501
        S: 501 5.5.4 Invalid parameter
        C: MAIL FROM:a@b
        = rejected mail 501
        S: 501 5.5.2 MAIL FROM syntax error
        C: MAIL FROM:<a@b>
        S: 250 2.1.0 Sender OK
        C: MAIL FROM:<c@d>
        = rejected mail 501
        S: 501 5.5.1 MAIL FROM already given
        C: DATA
        = rejected data 503
        S: 503 5.5.1 RCPT TO needed first
        C: RCPT TO:<far@far.example>
        = rejected rcpt 550
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<far%far.example@ours.example>
        = rejected rcpt 550
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<>
        = rejected rcpt 501
        S: 501 5.5.2 RCPT TO syntax error
        C: DATA now
        = rejected data 501
        S: 501 5.5.4 No argument allowed
        C: VRFY a
        S: 252 2.5.0 Send mail and see
        C: HELP
        S: 214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT
        C: STARTTLS
        = rejected command 502
        S: 502 5.5.1 Command not offered
        C: HELLO
        = rejected command 500
        S: 500 5.5.2 Unrecognized command
        C: RSET
        S: 250 2.0.0 OK
        C: RCPT TO:<to@ours.example>
        = rejected rcpt 503
        S: 503 5.5.1 MAIL FROM needed first
        ! eof
        = close",
    );
}

#[test]
fn a_greeting_in_the_middle_forgets_the_transaction() {
    check(&format!(
        "{ENVELOPE}
        C: HELO client.example
        S: 250 mx.example
        C: DATA
        = rejected data 503
        S: 503 5.5.1 MAIL FROM needed first"
    ));
}

#[test]
fn a_greeting_may_be_required() {
    check_with(
        ReceptionOptions { require_ehlo: true, ..options() },
        "
        S: 220 mx.example ESMTP
        C: MAIL FROM:<a@b>
        = rejected mail 550
        S: 550 5.5.1 EHLO or HELO needed first
        C: HELO client.example
        S: 250 mx.example
        C: MAIL FROM:<a@b>
        S: 250 2.1.0 Sender OK",
    );
}

#[test]
fn the_null_sender_may_be_refused() {
    check_with(
        ReceptionOptions { allow_null_envelope_sender: false, ..options() },
        "
        S: 220 mx.example ESMTP
        C: MAIL FROM:<>
        = rejected mail 550
        S: 550 5.7.1 Null sender not accepted",
    );
}

#[test]
fn the_banner_is_what_was_configured_on_one_line() {
    check_with(
        ReceptionOptions { static_banner: Some("220 hi\r\nthere".into()), ..options() },
        "S: 220 hithere",
    );
}

#[test]
fn caps_on_recipients_and_messages() {
    let script = "
        S: 220 mx.example ESMTP
        C: MAIL FROM:<a@b>
        S: 250 2.1.0 Sender OK
        C: RCPT TO:<a@ours.example>
        S: 250 2.1.5 Recipient OK
        C: RCPT TO:<b@ours.example>
        S: 250 2.1.5 Recipient OK
        C: RCPT TO:<c@far.example>
        = rejected rcpt 550
        S: 550 5.7.1 relaying denied
        C: RCPT TO:<c@ours.example>
        = rejected rcpt 452
        S: 452 4.5.3 Recipients per LIMIT limit reached
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 1
        ! body
        = accept 1 from <a@b> to a@ours.example,b@ours.example
        ! spooled
        S: 250 2.0.0 Accepted as 1
        C: MAIL FROM:<a@b>
        ";
    let refused = "= rejected mail 421
        S: 421 4.4.5 No more mail on this connection
        = close";
    let taken = "S: 250 2.1.0 Sender OK";
    let per_message = ReceptionOptions { max_recipients_per_message: 2, ..options() };
    check_with(per_message.clone(), &format!("{}{taken}", script.replace("LIMIT", "message")));
    let one_message = ReceptionOptions { max_receptions_per_connection: 1, ..per_message };
    check_with(one_message, &format!("{}{refused}", script.replace("LIMIT", "message")));
    let per_connection = ReceptionOptions { max_recipients_per_connection: 2, ..options() };
    check_with(per_connection, &format!("{}{refused}", script.replace("LIMIT", "connection")));
}

#[test]
fn errors_in_a_row_end_the_session() {
    let mut dialogue = Dialogue::new(options());
    for _ in 0..COMMAND_ERRORS_MAX {
        let out = dialogue.receive(b"NONSENSE\r\n", Arrival::Together);
        assert_eq!(out[1], "S: 500 5.5.2 Unrecognized command");
    }
    dialogue.receive(b"NOOP\r\n", Arrival::Together);
    for _ in 0..COMMAND_ERRORS_MAX {
        dialogue.receive(b"MAIL\r\n", Arrival::Together);
    }
    let out = dialogue.receive(b"MAIL\r\nMAIL\r\nMAIL\r\n", Arrival::Together);
    assert_eq!(out, ["= rejected mail 421", "S: 421 4.7.0 Too many errors", "= close"]);
    assert_eq!(dialogue.session.deadline(), None);
}

/// A client over a cap must be able to end its transaction with the recipients it has, or it
/// would come back with the same ones for ever.
#[test]
fn recipients_over_a_cap_are_no_errors() {
    let mut dialogue =
        Dialogue::new(ReceptionOptions { max_recipients_per_message: 1, ..options() });
    dialogue.receive(b"MAIL FROM:<a@b>\r\n", Arrival::Together);
    for _ in 0..100 {
        dialogue.receive(b"RCPT TO:<a@ours.example>\r\n", Arrival::Together);
    }
    let out = dialogue.receive(b"DATA\r\n", Arrival::Together);
    assert_eq!(out[1], "= receive 1");
}

#[test]
fn only_crlf_ends_a_command() {
    check(
        "
        S: 220 mx.example ESMTP
        C: NOOP\\nMAIL FROM:<a@b>
        = rejected command 500
        S: 500 5.5.2 Control or non-ASCII character in command
        C: NOOP\\rNOOP\\r
        = rejected command 500
        S: 500 5.5.2 Control or non-ASCII character in command
        C: RCPT TO:<a@b\\nRSET>
        = rejected command 500
        S: 500 5.5.2 Control or non-ASCII character in command
        C: DATA
        = rejected data 503
        S: 503 5.5.1 MAIL FROM needed first",
    );
    let mut dialogue = Dialogue::new(options());
    assert!(dialogue.receive(b"NOOP\nNOOP\nNOOP\n", Arrival::Together).is_empty());
}

#[test]
fn long_lines_are_refused_once_and_not_kept() {
    let mut dialogue = Dialogue::new(options());
    let piece = [b'x'; 1000];
    let said: Vec<_> = (0..200).flat_map(|_| dialogue.receive(&piece, Arrival::Together)).collect();
    assert_eq!(said, ["= rejected command 500", "S: 500 5.5.2 Line too long"]);
    assert!(dialogue.session.framer.partial().len() < 10);
    let out = dialogue.receive(b"NOOP\r\nNOOP\r\n", Arrival::Together);
    assert_eq!(out, ["S: 250 2.0.0 OK"]);
}

#[test]
fn a_body_before_the_go_ahead_ends_the_session() {
    let sent = format!("{ENVELOPE}\nC: DATA\nC: Subject: hi");
    let played = play(options(), &sent, Arrival::Together);
    let expected = "
        = violation: data before the go-ahead
        = rejected data 421
        S: 421 4.5.0 Data sent before the go-ahead
        = close";
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert!(played.ends_with(&expected.join("\n")), "{played}");
}

/// The driver hands in what came behind the dot once the reply to the body is written.
#[test]
fn commands_behind_the_dot_are_the_next_commands() {
    check(&format!(
        "{ENVELOPE}
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 1
        ! body
        = accept 1 from <from@client.example> to to@ours.example
        ! spooled
        S: 250 2.0.0 Accepted as 1
        C: RSET
        S: 250 2.0.0 OK
        C: QUIT
        S: 221 2.0.0 Goodbye
        = close"
    ));
}

#[test]
fn bytes_at_the_wrong_time_are_a_fault_of_the_driver_and_end_the_session() {
    for before in ["", "! body\n= accept 1 from <from@client.example> to to@ours.example\n"] {
        check_arriving(
            options(),
            &format!(
                "{ENVELOPE}
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
                = receive 1
                {before}
                C: NOOP
                = violation: input while a reply is due
                = abort
                ! body
                ! spooled"
            ),
            Arrival::LineByLine,
        );
    }
}

#[test]
fn idle_clients_are_told_to_go() {
    let idle = "
        = rejected command 421
        S: 421 4.4.2 Idle for too long
        = close";
    check(&format!("S: 220 mx.example ESMTP\n! timeout\n{idle}"));
    check(&format!("{ENVELOPE}\n! timeout\n{idle}"));
    check(&format!(
        "{ENVELOPE}
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 1
        ! timeout
        = rejected data 421
        S: 421 4.4.2 Idle for too long
        = close"
    ));
}

#[test]
fn time_runs_from_the_last_command_or_progress_and_not_while_we_work() {
    let mut dialogue = Dialogue::new(options());
    let second = |n: u64| Timestamp::from_secs(1_000_000_000 + n);
    assert_eq!(dialogue.session.deadline(), Some(second(300)));
    dialogue.now = second(200);
    dialogue.receive(b"NO", Arrival::Together);
    assert_eq!(dialogue.session.deadline(), Some(second(300)), "bytes alone do not count");
    dialogue.receive(b"OP\r\n", Arrival::Together);
    assert_eq!(dialogue.session.deadline(), Some(second(500)));
    // A wakeup that comes for nothing does nothing.
    assert!(dialogue.input(ServerInput::Timeout).is_empty());
    for line in ["MAIL FROM:<a@b>\r\n", "RCPT TO:<a@ours.example>\r\n", "DATA\r\n"] {
        dialogue.receive(line.as_bytes(), Arrival::Together);
    }
    dialogue.now = second(300);
    dialogue.event("progress");
    assert_eq!(dialogue.session.deadline(), Some(second(600)));
    dialogue.event("body");
    assert_eq!(dialogue.session.deadline(), None);
    dialogue.now = second(1000);
    assert!(dialogue.event("timeout").is_empty());
    dialogue.event("spooled");
    assert_eq!(dialogue.session.deadline(), Some(second(1300)));

    let patient = Dialogue::new(ReceptionOptions { idle_time: Duration::ZERO, ..options() });
    assert_eq!(patient.session.deadline(), None);
}

#[test]
fn draining() {
    let leave = "
        = rejected command 421
        S: 421 4.3.2 Shutting down
        = close";
    check(&format!("S: 220 mx.example ESMTP\n! drain\n{leave}"));
    check(&format!(
        "{ENVELOPE}
        ! drain
        C: RCPT TO:<b@ours.example>
        = rejected rcpt 421
        S: 421 4.3.2 Shutting down
        = close"
    ));
    check(&format!(
        "{ENVELOPE}
        ! drain
        C: QUIT
        S: 221 2.0.0 Goodbye
        = close"
    ));
    check(&format!(
        "{ENVELOPE}
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        = receive 1
        ! drain
        ! body
        = accept 1 from <from@client.example> to to@ours.example
        ! spooled
        = rejected command 421
        S: 250 2.0.0 Accepted as 1
        S: 421 4.3.2 Shutting down
        = close"
    ));
    let mut dialogue = Dialogue::new(options());
    dialogue.receive(b"NO", Arrival::Together);
    assert!(dialogue.event("drain").is_empty());
    let out = dialogue.receive(b"OP\r\n", Arrival::Together);
    assert_eq!(out, ["= rejected noop 421", "S: 421 4.3.2 Shutting down", "= close"]);
}

/// Lines that clients send, and lines that they do not.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let lines = [
        "EHLO c",
        "HELO c",
        "MAIL FROM:<>",
        "MAIL FROM:<a@b> SIZE=1",
        "RCPT TO:<a@ours.example>",
        "RCPT TO:<a@far.example>",
        "DATA",
        "RSET",
        "NOOP",
        "QUIT",
        "",
        ".",
        "BDAT 1",
    ];
    let known = prop::sample::select(lines.map(|line| line.as_bytes().to_vec()).to_vec());
    let bytes = prop::collection::vec(any::<u8>(), 0..8);
    prop_oneof![20 => known, 1 => bytes]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![30 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r"[..])];
    prop::collection::vec((line(), end), 0..20)
        .prop_map(|lines| lines.iter().flat_map(|(line, end)| [&line[..], end].concat()).collect())
}

#[derive(Clone, Debug)]
enum Happening {
    Said(Vec<u8>),
    Event(&'static str),
}

fn happening() -> impl Strategy<Value = Happening> {
    let events = vec![
        "body",
        "body",
        "body-looping",
        "body-stray",
        "body-too-large",
        "body-lost",
        "body-full",
        "progress",
        "spooled",
        "spooled",
        "spool-full",
        "spool-io",
        "timeout",
        "eof",
        "closed",
        "drain",
    ];
    prop_oneof![
        3 => stream().prop_map(Happening::Said),
        6 => line().prop_map(|line| Happening::Said([&line[..], b"\r\n"].concat())),
        6 => prop::sample::select(events).prop_map(Happening::Event),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// How a client's bytes arrive does not change what it is told, as long as it does not send
    /// a body ahead of the go-ahead: here nobody gets as far as that.
    #[test]
    fn pieces_do_not_matter(stream in stream(), piece in 1_usize..30) {
        let told = |piece: usize| {
            let relay = RelayPolicy::default();
            let mut dialogue = Dialogue::new(ReceptionOptions { relay, ..options() });
            let parts = stream.chunks(piece).map(|part| dialogue.receive(part, Arrival::Together));
            let told = parts.collect::<Vec<_>>().concat();
            told.into_iter().filter(|line| line.starts_with("S: ")).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(piece), told(stream.len().max(1)));
    }

    /// Whatever happens: a message is acknowledged only when it is durable, refused ones are not
    /// accepted, and after its close the session is silent.
    #[test]
    fn acknowledged_means_durable(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut dialogue = Dialogue::new(options());
        let mut closed = false;
        let mut accepting = false;
        for happening in happenings {
            let outputs = match &happening {
                Happening::Event(event) => dialogue.event(event),
                Happening::Said(bytes) => dialogue.receive(bytes, Arrival::Together),
            };
            prop_assert!(!closed || outputs.is_empty());
            let durable = matches!(happening, Happening::Event("spooled"));
            let staged = matches!(happening, Happening::Event("body"));
            for line in &outputs {
                if line.contains("Accepted as") {
                    prop_assert!(durable && accepting);
                    accepting = false;
                }
                if line.starts_with("= accept ") {
                    prop_assert!(staged && !accepting);
                    accepting = true;
                }
                prop_assert!(!line.contains("far.example"));
                closed |= line == "= close" || line == "= abort";
            }
            accepting &= !matches!(happening, Happening::Event("spool-full" | "spool-io"));
            closed |= matches!(happening, Happening::Event("closed"));
            prop_assert!(!closed || dialogue.session.deadline().is_none());
        }
    }
}
