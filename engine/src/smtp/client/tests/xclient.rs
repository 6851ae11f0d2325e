//! XCLIENT before messages.

use super::*;

fn with(xclient: Xclient) -> SessionOptions {
    SessionOptions { xclient, ..options() }
}

/// Banner and EHLO with XCLIENT offered.
const OFFERED: &str = "
    S: 220 mx.example ESMTP
    C: EHLO us.example
    S: 250-mx.example
    S: 250 XCLIENT NAME ADDR PROTO HELO
    = ready
";

/// A message of the client `c.example`.
const FIRST: &str = "
    ! start-for c.example a@x.example
    C: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=c.example
";

/// It is taken.
const TAKEN: &str = "
    C: MAIL FROM:<from@us.example>
    S: 250 ok
    C: RCPT TO:<a@x.example>
    S: 250 ok
    C: DATA
    S: 354 go
    = body of 7
    ! body-sent
    S: 250 taken
    = 0 delivered at reply to body: 250 taken
    = ready
";

#[test]
fn each_message_is_preceded_by_its_client() {
    for policy in [Xclient::IfAvailable, Xclient::Required] {
        check_with(
            &with(policy),
            &format!(
                "{OFFERED}{FIRST}
                S: 220 mx.example ESMTP
                C: EHLO c.example
                S: 250-mx.example
                S: 250 XCLIENT ADDR HELO
                {TAKEN}
                ! start b@x.example
                C: XCLIENT ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]
                S: 220 mx.example ESMTP
                C: EHLO us.example
                S: 250-mx.example
                S: 250 PIPELINING
                C: MAIL FROM:<from@us.example>
                C: RCPT TO:<b@x.example>
                C: DATA"
            ),
        );
    }
}

#[test]
fn nobody_is_told_what_is_not_wanted_or_not_offered() {
    check_with(
        &with(Xclient::No),
        &format!(
            "{OFFERED}
            ! start-for c.example a@x.example
            {TAKEN}"
        ),
    );
    check_with(
        &with(Xclient::IfAvailable),
        &format!(
            "{OPEN_PLAIN}
            ! start-for c.example a@x.example
            {TAKEN}"
        ),
    );
}

#[test]
fn a_message_that_requires_it_is_delayed_without_it() {
    check_with(
        &with(Xclient::Required),
        &format!(
            "{OPEN_PLAIN}
            ! start-for c.example a@x.example
            = 0 transient at XCLIENT: 451 4.7.6 XCLIENT required but not advertised [local]
            = ready"
        ),
    );
    check_with(
        &with(Xclient::Required),
        &format!(
            "{OFFERED}{FIRST}
            S: 550 5.7.0 not you
            = 0 transient at XCLIENT: 451 4.7.6 XCLIENT required but refused: 550 5.7.0 not you \
             [local]
            = ready"
        ),
    );
}

#[test]
fn a_refusal_does_not_matter_unless_somebody_was_introduced_before() {
    check_with(
        &with(Xclient::IfAvailable),
        &format!(
            "{OFFERED}{FIRST}
            S: 550 5.7.0 not you
            {TAKEN}"
        ),
    );
    let introduced = format!(
        "{OFFERED}{FIRST}
        S: 220 mx.example ESMTP
        C: EHLO c.example"
    );
    let elsewhere = "
        = not attempted
        C: QUIT
        S: 221 bye
        = close Refused";
    check_with(
        &with(Xclient::IfAvailable),
        &format!(
            "{introduced}
            S: 250-mx.example
            S: 250 XCLIENT ADDR
            {TAKEN}
            ! start-for d.example b@x.example
            C: XCLIENT ADDR=192.0.2.7
            S: 550 5.7.0 once is enough
            {elsewhere}"
        ),
    );
    check_with(
        &with(Xclient::IfAvailable),
        &format!(
            "{introduced}
            S: 250 mx.example
            {TAKEN}
            ! start-for d.example b@x.example
            {elsewhere}"
        ),
    );
}

#[test]
fn a_server_that_does_not_welcome_the_client_gets_the_message_later() {
    check_with(
        &with(Xclient::IfAvailable),
        &format!(
            "{OFFERED}{FIRST}
            S: 220 mx.example ESMTP
            C: EHLO c.example
            S: 504 5.5.2 what a name
            = 0 transient at EHLO: 451 4.7.6 EHLO after XCLIENT refused: 504 5.5.2 what a name \
             [local]
            C: QUIT"
        ),
    );
}

#[test]
fn silence_and_goodbyes() {
    for (event, result) in [
        ("! timeout", "451 4.4.2 no XCLIENT response [local]\n= abort TimedOut"),
        ("S: 421 4.3.2 closing", "421 4.3.2 closing\n= close ServiceUnavailable"),
        (
            "S: 354 go",
            "451 4.5.0 3xx to XCLIENT [local]\n= violation: 3xx to XCLIENT\n\
          = abort ProtocolViolation",
        ),
    ] {
        check_with(
            &with(Xclient::IfAvailable),
            &format!("{OFFERED}{FIRST}\n{event}\n= 0 transient at XCLIENT: {result}"),
        );
    }
}
