//! Whole dialogues, good and bad.

use super::*;
use crate::limits::PIPELINED_COMMANDS_MAX;

#[test]
fn messages_go_one_after_the_other_in_groups() {
    check(&format!(
        "{OPEN}
        ! start a@example.com,b@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000
        C: RCPT TO:<a@example.com>
        C: RCPT TO:<b@example.com>
        C: DATA
        S: 250 2.1.0 sender ok
        S: 250 2.1.5 a ok
        S: 250 2.1.5 b ok
        S: 354 go ahead
        = body of 7
        ! body-sent
        S: 250 2.0.0 queued as 1
        = 0 delivered at reply to body: 250 2.0.0 queued as 1
        = 1 delivered at reply to body: 250 2.0.0 queued as 1
        = ready
        ! start-bounce c@example.com
        C: MAIL FROM:<> SIZE=1000
        C: RCPT TO:<c@example.com>
        C: DATA
        S: 250 ok
        S: 251 will forward
        S: 354 go ahead
        = body of 7
        ! body-sent
        S: 250-2.0.0 queued
        S: 250 2.0.0 as 2
        = 0 delivered at reply to body: 250 2.0.0 queued as 2
        = ready
        ! quit
        C: QUIT
        S: 221 bye
        = close LimitReached"
    ));
}

#[test]
fn without_pipelining_each_command_waits_for_its_reply() {
    check(&format!(
        "{OPEN_PLAIN}
        ! start a@example.com,b@example.com
        C: MAIL FROM:<from@us.example>
        S: 250 sender ok
        C: RCPT TO:<a@example.com>
        S: 250 a ok
        C: RCPT TO:<b@example.com>
        S: 250 b ok
        C: DATA
        S: 354 go ahead
        = body of 7
        ! body-sent
        S: 250 queued
        = 0 delivered at reply to body: 250 queued
        = 1 delivered at reply to body: 250 queued
        = ready"
    ));
}

#[test]
fn ehlo_refused_becomes_helo() {
    check(
        "
        S: 220 mx.example
        C: EHLO us.example
        S: 500 what?
        C: HELO us.example
        S: 250 mx.example
        = ready
        ! start a@example.com
        C: MAIL FROM:<from@us.example>",
    );
}

#[test]
fn extensions_of_a_refused_ehlo_do_not_count() {
    check(
        "
        S: 220 mx.example
        C: EHLO us.example
        S: 550-mx.example
        S: 550-PIPELINING
        S: 550 SIZE 10
        C: HELO us.example
        S: 250-mx.example
        S: 250 PIPELINING
        = ready
        ! start a@example.com
        C: MAIL FROM:<from@us.example>",
    );
}

#[test]
fn helo_only() {
    let options = SessionOptions { method: DeliveryMethod::Smtp, ..options() };
    check_with(
        &options,
        "
        S: 220-mx.example
        S: 220 says more
        C: HELO us.example
        S: 250 mx.example
        = ready",
    );
}

#[test]
fn each_recipient_has_its_own_result() {
    check(&format!(
        "{OPEN}
        ! start a@example.com,b@example.com,c@example.com,d@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000
        C: RCPT TO:<a@example.com>
        C: RCPT TO:<b@example.com>
        C: RCPT TO:<c@example.com>
        C: RCPT TO:<d@example.com>
        C: DATA
        S: 250 ok
        S: 450 4.2.1 later
        = 0 transient at RCPT TO: 450 4.2.1 later
        S: 250 ok
        S: 550 5.1.1 never
        = 2 permanent at RCPT TO: 550 5.1.1 never
        S: 250 ok
        S: 354 go
        = body of 7
        ! body-sent
        S: 250 queued
        = 1 delivered at reply to body: 250 queued
        = 3 delivered at reply to body: 250 queued
        = ready"
    ));
}

#[test]
fn all_recipients_refused_and_the_session_goes_on() {
    check(&format!(
        "{OPEN_PLAIN}
        ! start a@example.com,b@example.com
        C: MAIL FROM:<from@us.example>
        S: 250 ok
        C: RCPT TO:<a@example.com>
        S: 550 no
        = 0 permanent at RCPT TO: 550 no
        C: RCPT TO:<b@example.com>
        S: 450 later
        = 1 transient at RCPT TO: 450 later
        C: RSET
        S: 250 ok
        = ready
        ! start c@example.com
        C: MAIL FROM:<from@us.example>"
    ));
    check(&format!(
        "{OPEN}
        ! start a@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000
        C: RCPT TO:<a@example.com>
        C: DATA
        S: 250 ok
        S: 550 no
        = 0 permanent at RCPT TO: 550 no
        S: 503 5.5.1 no recipients
        C: RSET
        S: 250 ok
        = ready"
    ));
}

#[test]
fn a_go_ahead_without_recipients_gets_an_empty_message() {
    for reply in ["250 thanks", "451 what was that", "554 no recipients"] {
        check(&format!(
            "{OPEN}
            ! start a@example.com
            C: MAIL FROM:<from@us.example> SIZE=1000
            C: RCPT TO:<a@example.com>
            C: DATA
            S: 250 ok
            S: 550 no
            = 0 permanent at RCPT TO: 550 no
            S: 354 go
            C: .
            S: {reply}
            = ready"
        ));
    }
}

#[test]
fn mail_refused_ahead_of_the_rest_of_its_group() {
    check(&format!(
        "{OPEN}
        ! start a@example.com,b@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000
        C: RCPT TO:<a@example.com>
        C: RCPT TO:<b@example.com>
        C: DATA
        S: 451 greylisted
        = 0 transient at MAIL FROM: 451 greylisted
        = 1 transient at MAIL FROM: 451 greylisted
        S: 503 no sender
        S: 250 strange
        S: 354 stranger
        C: .
        S: 554 nothing
        = ready"
    ));
}

#[test]
fn large_envelopes_go_in_groups_of_limited_size() {
    let recipients: Vec<_> = (0..250).map(|n| format!("r{n}@example.com")).collect();
    let mut script = format!("{OPEN} ! start {}\n", recipients.join(","));
    script += "C: MAIL FROM:<from@us.example> SIZE=1000\n";
    let mut commands: Vec<_> =
        recipients.iter().map(|to| (format!("C: RCPT TO:<{to}>\n"), "S: 250 ok\n")).collect();
    commands.push(("C: DATA\n".to_string(), "S: 354 go\n"));
    let (first, rest) = commands.split_at(PIPELINED_COMMANDS_MAX - 1);
    let groups = [&[first][..], &rest.chunks(PIPELINED_COMMANDS_MAX).collect::<Vec<_>>()].concat();
    assert_eq!(groups.len(), 3);
    for (number, group) in groups.iter().enumerate() {
        script.extend(group.iter().map(|(command, _)| &**command));
        script += if number == 0 { "S: 250 ok\n" } else { "" };
        script.extend(group.iter().map(|(_, reply)| *reply));
    }
    check(&(script + "= body of 7"));
}

#[test]
fn what_the_server_cannot_take_is_not_sent() {
    check(
        "
        S: 220 mx.example
        C: EHLO us.example
        S: 250-mx.example
        S: 250 SIZE 999
        = ready
        ! start a@example.com,b@example.com
        = 0 permanent at MAIL FROM: 552 5.3.4 message size exceeds the receiver's limit [local]
        = 1 permanent at MAIL FROM: 552 5.3.4 message size exceeds the receiver's limit [local]
        = ready
        ! start-8bit a@example.com
        = 0 permanent at MAIL FROM: 552 5.3.4 message size exceeds the receiver's limit [local]
        = ready",
    );
    check(&format!(
        "{OPEN_PLAIN}
        ! start-8bit a@example.com
        = 0 permanent at MAIL FROM: 554 5.6.3 8-bit body, and the receiver does not offer \
         8BITMIME [local]
        = ready"
    ));
    check(&format!(
        "{OPEN}
        ! start-8bit a@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000 BODY=8BITMIME
        C: RCPT TO:<a@example.com>
        C: DATA"
    ));
}

#[test]
fn eight_bit_bodies_may_pass_unannounced() {
    let silent = SessionOptions { send_8bitmime: false, ..options() };
    check_with(
        &silent,
        &format!(
            "{OPEN}
            ! start-8bit a@example.com
            C: MAIL FROM:<from@us.example> SIZE=1000
            C: RCPT TO:<a@example.com>
            C: DATA"
        ),
    );
    let careless = SessionOptions { transform_8bitmime_content: Transform8bit::No, ..options() };
    check_with(
        &careless,
        &format!(
            "{OPEN_PLAIN}
            ! start-8bit a@example.com
            C: MAIL FROM:<from@us.example>"
        ),
    );
}

#[test]
fn a_421_spares_the_next_message() {
    check(&format!(
        "{OPEN}
        ! start a@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000
        C: RCPT TO:<a@example.com>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        = body of 7
        ! body-sent
        S: 421 4.7.0 enough
        = 0 transient at reply to body: 421 4.7.0 enough
        = close ServiceUnavailable
        ! start b@example.com
        = not attempted"
    ));
    // The server closes an idle connection in its own words: nobody is to blame.
    check(&format!(
        "{OPEN}
        S: 421 4.4.2 idle for too long
        = close ServiceUnavailable"
    ));
    // A refused command and 421 in one segment.
    check(&format!(
        "{OPEN_PLAIN}
        ! start a@example.com
        C: MAIL FROM:<from@us.example>
        S: 550 no\\r\\n421 go away
        = 0 permanent at MAIL FROM: 550 no
        C: RSET
        = close ServiceUnavailable"
    ));
}

#[test]
fn quit_waits_for_the_transaction_and_then_for_its_reply() {
    let sent = "
        ! start a@example.com
        C: MAIL FROM:<from@us.example> SIZE=1000
        C: RCPT TO:<a@example.com>
        C: DATA
        ! quit
        S: 250 ok";
    for (how, end) in [
        (
            "S: 250 ok
             S: 354 go
             = body of 7
             ! body-sent
             S: 250 queued
             = 0 delivered at reply to body: 250 queued
             C: QUIT",
            "S: 221 bye
             = close LimitReached",
        ),
        // QUIT forgets a failed transaction as well as RSET does.
        (
            "S: 550 no
             = 0 permanent at RCPT TO: 550 no
             S: 554 no recipients
             C: QUIT",
            "! eof
             = close LimitReached",
        ),
        (
            "S: 250 ok
             S: 451 later
             = 0 transient at DATA: 451 later
             C: QUIT",
            "! timeout
             = abort LimitReached",
        ),
        (
            "S: 250 ok
             S: 451 later
             = 0 transient at DATA: 451 later
             C: QUIT",
            "! closed",
        ),
    ] {
        check(&format!("{OPEN}{sent}\n{how}\n{end}"));
    }
    check(
        "
        ! quit
        S: 220 mx.example
        C: EHLO us.example
        S: 250 mx.example
        C: QUIT
        S: 500 what?
        = close LimitReached",
    );
}

#[test]
fn an_idle_session_says_goodbye() {
    check(&format!(
        "{OPEN}
        ! timeout
        C: QUIT
        ! start a@example.com
        = not attempted
        S: 221 bye
        = close Idle"
    ));
    let mut patient = Dialogue::new(SessionOptions { idle_timeout: Duration::ZERO, ..options() });
    patient.receive(b"220 hi\r\n250 hi\r\n", Arrival::LineByLine);
    patient.receive(b"", Arrival::LineByLine);
}

/// With work that cannot be begun yet, an idle session stays longer; one that is at work does not
/// get more time for that.
#[test]
fn an_idle_session_waits_longer_when_there_will_be_work() {
    let idle = options().idle_timeout;
    let mut session = ClientSession::new(options(), Timestamp::default());
    let longer = Duration::from_secs(5);
    let mut out = Vec::new();
    let before = session.deadline();
    session.wait_longer(longer);
    assert_eq!(session.deadline(), before, "it waits for the banner");
    for said in [&b"220 hi\r\n"[..], b"250 hi\r\n"] {
        session.handle(Timestamp::default(), ClientInput::Received(said), &mut out);
    }
    assert_eq!(session.deadline(), Some(Timestamp::default() + idle));
    session.wait_longer(longer);
    assert_eq!(session.deadline(), Some(Timestamp::default() + idle + longer));
}

#[test]
fn a_body_that_cannot_be_read_never_seems_complete() {
    for (event, result) in [
        ("body-unreadable", "transient at body: 451 4.3.0 message body cannot be read [local]"),
        ("body-missing", "permanent at body: 550 5.3.0 message body missing [local]"),
    ] {
        check(&format!(
            "{OPEN}
            ! start a@example.com
            C: MAIL FROM:<from@us.example> SIZE=1000
            C: RCPT TO:<a@example.com>
            C: DATA
            S: 250 ok
            S: 250 ok
            S: 354 go
            = body of 7
            ! {event}
            = 0 {result}
            = abort LocalError"
        ));
    }
}

#[test]
fn replies_ahead_of_their_commands_are_no_replies() {
    // All of a dialogue at once.
    check_arriving(
        &options(),
        "
        S: 220 hi\\r\\n250 ok\\r\\n250 ok\\r\\n354 go\\r\\n250 taken
        C: EHLO us.example
        = host failed at EHLO: 451 4.5.0 reply before its command [local]
        = violation: reply before its command
        = abort ProtocolViolation",
        Arrival::Together,
    );
    // The reply to the final dot before the dot.
    check(&format!(
        "{OPEN_PLAIN}
        ! start a@example.com
        C: MAIL FROM:<from@us.example>
        S: 250 ok
        C: RCPT TO:<a@example.com>
        S: 250 ok
        C: DATA
        S: 354 go\\r\\n250 taken
        = body of 7
        = 0 transient at body: 451 4.5.0 reply nobody asked for [local]
        = violation: reply nobody asked for
        = abort ProtocolViolation"
    ));
}

/// A server that says more than its greeting is left alone for a while, before it is ready for
/// work: it would be connected to without end.
#[test]
fn a_server_that_talks_on_after_its_greeting_is_not_used() {
    for (more, reply, rest) in [
        ("250 ok\r\n", "451 4.5.0 reply nobody asked for [local]", &VIOLATION[..]),
        ("25", "451 4.5.0 reply nobody asked for [local]", &VIOLATION),
        ("421 4.3.2 later\r\n", "421 4.3.2 later", &["= close ServiceUnavailable"]),
    ] {
        let mut dialogue = Dialogue::new(options());
        dialogue.receive(b"220 hi\r\n", Arrival::Together);
        let greeting = format!("250-hi\r\n250 PIPELINING\r\n{more}");
        let out = dialogue.receive(greeting.as_bytes(), Arrival::Together);
        assert_eq!(out[0], format!("= host failed at EHLO: {reply}"), "{more:?}");
        assert_eq!(out[1..], *rest, "{more:?}");
        assert_eq!(dialogue.event("start a@example.com"), ["= not attempted"], "{more:?}");
    }
}

const VIOLATION: [&str; 2] = ["= violation: reply nobody asked for", "= abort ProtocolViolation"];

/// A reply cut in two by our command is not an answer to it either.
#[test]
fn replies_begun_ahead_of_their_commands_are_no_replies() {
    let mut dialogue = Dialogue::new(options());
    dialogue.receive(b"220 hi\r\n25", Arrival::Together);
    let out = dialogue.receive(b"0 ok\r\n", Arrival::Together);
    assert_eq!(out[1], "= violation: reply before its command");

    let mut dialogue = Dialogue::new(options());
    dialogue.receive(b"220 hi\r\n", Arrival::Together);
    dialogue.receive(b"250 hi\r\n", Arrival::Together);
    dialogue.receive(b"25", Arrival::Together);
    let out = dialogue.event("start a@example.com");
    let expected =
        ["= not attempted", "= violation: reply nobody asked for", "= abort ProtocolViolation"];
    assert_eq!(out, expected);

    let mut dialogue = Dialogue::new(options());
    dialogue.receive(b"220 hi\r\n", Arrival::Together);
    dialogue.receive(b"250 hi\r\n", Arrival::Together);
    dialogue.event("start a@example.com");
    for reply in ["250 ok\r\n", "250 ok\r\n", "354 ok\r\n25"] {
        dialogue.receive(reply.as_bytes(), Arrival::Together);
    }
    dialogue.event("body-sent");
    let out = dialogue.receive(b"0 taken\r\n", Arrival::Together);
    assert_eq!(out[1], "= violation: reply before its command");
}
