//! LMTP (RFC 2033): its greeting, and a reply for each recipient after the message.

use super::*;

fn lmtp() -> SessionOptions {
    SessionOptions { method: DeliveryMethod::Lmtp, ..options() }
}

/// Banner and LHLO, up to a body sent for `recipients`, of which the second is refused.
const SENT: &str = "
    S: 220 store.example LMTP
    C: LHLO us.example
    S: 250-store.example
    S: 250 PIPELINING
    = ready
    ! start a@x.example,b@x.example,c@x.example,d@x.example
    C: MAIL FROM:<from@us.example>
    C: RCPT TO:<a@x.example>
    C: RCPT TO:<b@x.example>
    C: RCPT TO:<c@x.example>
    C: RCPT TO:<d@x.example>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 550 5.1.1 no such user
    = 1 permanent at RCPT TO: 550 5.1.1 no such user
    S: 250 ok
    S: 250 ok
    S: 354 go
    = body of 7
    ! body-sent
";

#[test]
fn each_accepted_recipient_has_a_reply_of_its_own() {
    check_with(
        &lmtp(),
        &format!(
            "{SENT}
            S: 250 2.1.5 stored
            = 0 delivered at reply to body: 250 2.1.5 stored
            S: 452 4.2.2 full
            = 2 transient at reply to body: 452 4.2.2 full
            S: 554 5.6.0 refused
            = 3 permanent at reply to body: 554 5.6.0 refused
            = ready
            ! quit
            C: QUIT"
        ),
    );
}

#[test]
fn whoever_has_no_reply_when_the_session_ends_is_delayed() {
    for (event, end) in [
        ("! timeout", "451 4.4.2 no BODY response [local]\n = abort TimedOut"),
        ("! eof", "451 4.4.2 connection closed by remote host [local]\n = close Lost"),
        ("S: 421 4.3.2 closing", "421 4.3.2 closing\n = close ServiceUnavailable"),
    ] {
        check_with(
            &lmtp(),
            &format!(
                "{SENT}
                S: 250 stored
                = 0 delivered at reply to body: 250 stored
                {event}
                = 2 transient at reply to body: {first}
                = 3 transient at reply to body: {end}",
                first = end.lines().next().unwrap(),
            ),
        );
    }
}

#[test]
fn a_reply_too_many_answers_nobody() {
    check_with(
        &lmtp(),
        &format!(
            "{SENT}
            S: 250 stored
            = 0 delivered at reply to body: 250 stored
            S: 250 stored
            = 2 delivered at reply to body: 250 stored
            S: 250 stored
            = 3 delivered at reply to body: 250 stored
            = ready
            S: 250 stored
            = violation: reply nobody asked for
            = abort ProtocolViolation"
        ),
    );
}

#[test]
fn there_is_no_helo_to_fall_back_to() {
    check_with(
        &lmtp(),
        "
        S: 220 store.example
        C: LHLO us.example
        S: 500 what
        = host failed at EHLO: 500 what
        C: QUIT
        = close Refused",
    );
}

#[test]
fn a_go_ahead_for_nobody_ends_the_session() {
    check_with(
        &lmtp(),
        "
        S: 220 store.example
        C: LHLO us.example
        S: 250-store.example
        S: 250 PIPELINING
        = ready
        ! start a@x.example
        C: MAIL FROM:<from@us.example>
        C: RCPT TO:<a@x.example>
        C: DATA
        S: 250 ok
        S: 550 no
        = 0 permanent at RCPT TO: 550 no
        S: 354 go
        = violation: 354 to DATA without a recipient
        = abort ProtocolViolation",
    );
}
