//! STARTTLS: every way it can go.

use super::*;

fn with(mode: TlsMode) -> SessionOptions {
    SessionOptions { tls: TlsPolicy { mode, fallback: true }, ..options() }
}

const BOTH: [TlsMode; 2] = [TlsMode::IfAvailable, TlsMode::Required];

/// Banner and EHLO, with an offer that no longer holds under TLS.
const OFFER: &str = "
    S: 220 mx.example ESMTP
    C: EHLO us.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 5
    S: 250 STARTTLS
    C: STARTTLS
";

const GO_AHEAD: &str = "
    S: 220 go ahead
    = start TLS
";

const SECURED: &str = "
    ! secured
    = secured by TLSv1.3
    C: EHLO us.example
";

#[test]
fn under_tls_everything_said_before_is_forgotten() {
    for mode in BOTH {
        check_with(
            &with(mode),
            &format!(
                "{OFFER}{GO_AHEAD}{SECURED}
                S: 250-mx.example
                S: 250-STARTTLS
                S: 250 8BITMIME
                = ready
                ! start-8bit a@example.com
                C: MAIL FROM:<from@us.example> BODY=8BITMIME
                S: 250 ok
                C: RCPT TO:<a@example.com>
                S: 250 ok
                C: DATA"
            ),
        );
    }
}

#[test]
fn tls_is_never_begun_where_it_is_not_wanted() {
    check_with(
        &with(TlsMode::No),
        "
        S: 220 mx.example ESMTP
        C: EHLO us.example
        S: 250-mx.example
        S: 250 STARTTLS
        = ready",
    );
}

#[test]
fn without_an_offer_mail_goes_in_clear_or_not_at_all() {
    check_with(&with(TlsMode::IfAvailable), OPEN_PLAIN);
    check_with(
        &with(TlsMode::Required),
        "
        S: 220 mx.example ESMTP
        C: EHLO us.example
        S: 250 mx.example
        = no TLS (NotOffered) at STARTTLS: 451 4.7.6 STARTTLS required but not advertised [local]
        C: QUIT
        = close TlsFailed",
    );
}

#[test]
fn helo_offers_nothing() {
    for (method, greeting) in [
        (DeliveryMethod::Smtp, "C: HELO us.example"),
        (DeliveryMethod::Esmtp, "C: EHLO us.example\nS: 500 what?\nC: HELO us.example"),
    ] {
        check_with(
            &SessionOptions { method, ..with(TlsMode::Required) },
            &format!(
                "
        S: 220 mx.example
        {greeting}
        S: 250 mx.example
        = no TLS (NotOffered) at STARTTLS: 451 4.7.6 STARTTLS required but not advertised [local]
        C: QUIT
        = close TlsFailed"
            ),
        );
    }
}

#[test]
fn lmtp_has_it_too() {
    check_with(
        &SessionOptions { method: DeliveryMethod::Lmtp, ..with(TlsMode::Required) },
        "
        S: 220 mx.example LMTP
        C: LHLO us.example
        S: 250-mx.example
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go ahead
        = start TLS
        ! secured
        = secured by TLSv1.3
        C: LHLO us.example
        S: 250 mx.example
        = ready",
    );
}

#[test]
fn no_go_ahead() {
    for (said, becomes) in [
        (
            "S: 454 4.7.0 not now",
            "= no TLS (Refused) at STARTTLS: 451 4.7.5 no go-ahead for STARTTLS: 454 4.7.0 not now \
             [local]
             C: QUIT
             = close TlsFailed",
        ),
        (
            "S: 502 what?",
            "= no TLS (Refused) at STARTTLS: 451 4.7.5 no go-ahead for STARTTLS: 502 what? [local]
             C: QUIT
             = close TlsFailed",
        ),
        (
            "S: 421 4.3.2 going down",
            "= no TLS (Refused) at STARTTLS: 451 4.7.5 no go-ahead for STARTTLS: 421 4.3.2 going \
             down [local]
             = close ServiceUnavailable",
        ),
        (
            "S: 354 go on",
            "= no TLS (Negotiation) at STARTTLS: 451 4.7.5 TLS negotiation failed: the peer does \
             not speak TLS [local]
             = violation: 3xx to STARTTLS
             = abort TlsFailed",
        ),
        (
            "S: hello?",
            "= no TLS (Negotiation) at STARTTLS: 451 4.7.5 TLS negotiation failed: the peer does \
             not speak TLS [local]
             = violation: reply without a valid code
             = abort TlsFailed",
        ),
        (
            "! timeout",
            "= no TLS (Negotiation) at STARTTLS: 451 4.7.5 TLS negotiation failed: no answer in \
             time [local]
             = abort TlsFailed",
        ),
        (
            "! eof",
            "= no TLS (Negotiation) at STARTTLS: 451 4.7.5 TLS negotiation failed: the connection \
             was lost [local]
             = close TlsFailed",
        ),
        (
            "! closed",
            "= no TLS (Negotiation) at STARTTLS: 451 4.7.5 TLS negotiation failed: the connection \
             was lost [local]",
        ),
    ] {
        for mode in BOTH {
            check_with(&with(mode), &format!("{OFFER}{said}\n{becomes}"));
        }
    }
}

#[test]
fn handshakes_that_fail() {
    for (event, fault, words) in [
        (
            "unsecured alert",
            "Negotiation",
            "451 4.7.5 TLS negotiation failed: the peer said \
          handshake_failure",
        ),
        (
            "unsecured nothing-in-common",
            "Negotiation",
            "451 4.7.5 TLS negotiation failed: no \
          version or cipher suite in common",
        ),
        (
            "unsecured garbage",
            "Negotiation",
            "451 4.7.5 TLS negotiation failed: the peer does \
          not speak TLS",
        ),
        (
            "unsecured lost",
            "Negotiation",
            "451 4.7.5 TLS negotiation failed: the connection was \
          lost",
        ),
        ("unsecured expired", "Certificate", "454 4.7.5 the certificate has expired"),
        (
            "unsecured local",
            "Local",
            "451 4.7.5 TLS negotiation failed: cannot read \
          /etc/key.pem",
        ),
        ("timeout", "Negotiation", "451 4.7.5 TLS negotiation failed: no answer in time"),
    ] {
        for mode in BOTH {
            check_with(
                &with(mode),
                &format!(
                    "{OFFER}{GO_AHEAD}
                    ! {event}
                    = no TLS ({fault}) at TLS handshake: {words} [local]
                    = abort TlsFailed"
                ),
            );
        }
    }
}

#[test]
fn the_connection_may_end_before_the_driver_says_so() {
    for (event, end) in [("eof", "\n= close TlsFailed"), ("closed", "")] {
        check_with(
            &with(TlsMode::Required),
            &format!(
                "{OFFER}{GO_AHEAD}
                ! {event}
                = no TLS (Negotiation) at TLS handshake: 451 4.7.5 TLS negotiation failed: the \
                 connection was lost [local]{end}"
            ),
        );
    }
}

#[test]
fn until_the_first_reply_under_tls_the_handshake_may_still_fail() {
    for (event, words, end) in [
        ("timeout", "no answer in time", "\n= abort TlsFailed"),
        ("eof", "the connection was lost", "\n= close TlsFailed"),
        ("closed", "the connection was lost", ""),
    ] {
        check_with(
            &with(TlsMode::IfAvailable),
            &format!(
                "{OFFER}{GO_AHEAD}{SECURED}
                ! {event}
                = no TLS (Negotiation) at EHLO: 451 4.7.5 TLS negotiation failed: {words} \
                 [local]{end}"
            ),
        );
    }
}

#[test]
fn a_refusal_under_tls_is_the_exchanges_and_not_tls_s() {
    for (said, becomes) in [
        (
            "S: 451 4.3.0 later",
            "= host failed at EHLO: 451 4.3.0 later
             C: QUIT
             = close Refused",
        ),
        (
            "S: 421 busy",
            "= host failed at EHLO: 421 busy
             = close ServiceUnavailable",
        ),
        (
            "S: 502 what?",
            "C: HELO us.example
             S: 250 mx.example
             = ready",
        ),
    ] {
        let script = format!("{OFFER}{GO_AHEAD}{SECURED}{said}\n{becomes}");
        check_with(&with(TlsMode::Required), &script);
    }
}

#[test]
fn what_comes_in_clear_behind_the_go_ahead_is_dropped() {
    // Response injection (USENIX Security 2021, \"Why TLS is better without STARTTLS\").
    let script = format!(
        "{OFFER}
        S: 220 go ahead
        S: 250-mx.example
        S: 250 SIZE 1
        = start TLS
        = violation: data between the go-ahead for STARTTLS and TLS
        ! secured
        = secured by TLSv1.3
        C: EHLO us.example
        S: 250 mx.example
        = ready
        ! start a@example.com
        C: MAIL FROM:<from@us.example>"
    );
    check_arriving(&with(TlsMode::Required), &script, Arrival::Together);
}

#[test]
fn a_go_ahead_before_the_question_is_none() {
    let script = "
        S: 220 mx.example ESMTP
        C: EHLO us.example
        S: 250-mx.example
        S: 250 STARTTLS
        S: 220 go ahead
        C: STARTTLS
        = no TLS (Negotiation) at STARTTLS: 451 4.7.5 TLS negotiation failed: the peer does not \
         speak TLS [local]
        = violation: reply before its command
        = abort TlsFailed";
    check_arriving(&with(TlsMode::Required), script, Arrival::Together);
}

#[test]
fn a_session_that_is_to_end_does_not_begin_tls() {
    check_with(
        &with(TlsMode::Required),
        "
        S: 220 mx.example ESMTP
        C: EHLO us.example
        ! quit
        S: 250-mx.example
        S: 250 STARTTLS
        C: QUIT",
    );
    check_with(
        &with(TlsMode::Required),
        &format!(
            "{OFFER}{GO_AHEAD}
            ! quit
            {SECURED}
            S: 250 mx.example
            C: QUIT"
        ),
    );
}

#[test]
fn xclient_comes_after_tls() {
    check_with(
        &SessionOptions { xclient: Xclient::Required, ..with(TlsMode::Required) },
        &format!(
            "{OFFER}{GO_AHEAD}{SECURED}
            S: 250-mx.example
            S: 250 XCLIENT ADDR HELO
            = ready
            ! start-for client.example a@example.com
            C: XCLIENT ADDR=192.0.2.7 HELO=client.example
            S: 220 mx.example ESMTP
            C: EHLO client.example
            S: 250-mx.example
            S: 250-STARTTLS
            S: 250 XCLIENT ADDR HELO
            C: MAIL FROM:<from@us.example>"
        ),
    );
}
