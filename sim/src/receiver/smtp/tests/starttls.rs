//! STARTTLS, and every way in which a receiver spoils it.

use super::*;
use crate::receiver::tls::{HandshakeAct, StartTlsAnswer, TlsOffering};
use crate::tls::{CertificateKind, CertificateSpec};

const EHLO: &str = "EHLO c.test\r\n";

fn with_tls(posture: TlsPosture) -> ReceiverSpec {
    let extensions = Extensions { size: None, ..Extensions::default() };
    ReceiverSpec { tls: vec![posture], ..spec(extensions, Vec::new()) }
}

/// What EHLO hears before and after the handshake.
const OFFERS: &str = "250-mx.a.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                      250-ENHANCEDSTATUSCODES\r\n250 STARTTLS\r\n";
const OFFERS_NO_MORE: &str = "250-mx.a.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                              250 ENHANCEDSTATUSCODES\r\n";
const READY: &str = "220 2.0.0 Ready to start TLS\r\n";

#[test]
fn a_message_over_tls() {
    let (taken, breaches) = play(
        with_tls(TlsPosture::default()),
        vec![
            Say("", "220"),
            Say(EHLO, OFFERS),
            Say("STARTTLS\r\n", READY),
            Secure(true),
            Say(EHLO, OFFERS_NO_MORE),
            Say("MAIL FROM:<a@c.test>\r\n", "250"),
            Say("RCPT TO:<x@a.test>\r\n", "250"),
            Say("DATA\r\n", "354"),
            Sends("250"),
            Say("QUIT\r\n", "221"),
            Ends(true),
        ],
    );
    assert_eq!((taken.len(), breaches), (1, vec![]));
}

#[test]
fn postures_that_are_no_help() {
    let posture = TlsPosture::default;
    let stripped = TlsPosture { offer: TlsOffering::Stripped, ..posture() };
    let none = TlsPosture { offer: TlsOffering::No, ..posture() };
    let refusing = TlsPosture { answer: StartTlsAnswer::Act(reply("454 4.7.0 No")), ..posture() };
    let garbage = TlsPosture { answer: StartTlsAnswer::Garbage, ..posture() };
    let shaking = |handshake| TlsPosture { handshake, ..posture() };
    let showing = |kind| TlsPosture {
        certificate: CertificateSpec { kind, ..CertificateSpec::default() },
        ..posture()
    };
    let injecting = TlsPosture { inject: Some("250 2.0.0 Hello again".into()), ..posture() };
    let start = || vec![Say("", "220"), Say(EHLO, OFFERS), Say("STARTTLS\r\n", READY)];
    let then = |mut before: Vec<Step>, after: Vec<Step>| {
        before.extend(after);
        before
    };
    let x = "250-mx.a.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
             250-ENHANCEDSTATUSCODES\r\n250 XXXXXXXA\r\n";
    let injected = "220 2.0.0 Ready to start TLS\r\n250 2.0.0 Hello again\r\n";
    for (number, (posture, script)) in [
        (stripped, vec![Say("", "220"), Say(EHLO, x)]),
        (none, vec![Say("", "220"), Say(EHLO, OFFERS_NO_MORE)]),
        (
            refusing,
            vec![
                Say("", "220"),
                Say(EHLO, OFFERS),
                Say("STARTTLS\r\n", "454 4.7.0 No"),
                Say("MAIL FROM:<>\r\n", "250"),
            ],
        ),
        (garbage, vec![Say("", "220"), Say(EHLO, OFFERS), Say("STARTTLS\r\n", "!! is no reply")]),
        (shaking(HandshakeAct::Alert), then(start(), vec![Secure(false)])),
        (shaking(HandshakeAct::Cut), then(start(), vec![Secure(false)])),
        (shaking(HandshakeAct::Garbage), then(start(), vec![Secure(false)])),
        (showing(CertificateKind::Expired), then(start(), vec![Secure(false)])),
        (showing(CertificateKind::WrongName), then(start(), vec![Secure(false)])),
        (injecting, vec![Say("", "220"), Say(EHLO, OFFERS), Say("STARTTLS\r\n", injected)]),
    ]
    .into_iter()
    .enumerate()
    {
        let (_, breaches) = play(with_tls(posture), script);
        assert_eq!(breaches, Vec::<String>::new(), "{number}");
    }
}

#[test]
fn a_client_that_speaks_in_clear_where_tls_is_due_breaks_a_rule() {
    for (script, why) in [
        (
            vec![
                Say("", "220"),
                Say(EHLO, OFFERS),
                Say("STARTTLS\r\n", READY),
                Blurt(Duration::ZERO, EHLO),
            ],
            "in clear",
        ),
        (
            vec![
                Say("", "220"),
                Say(EHLO, OFFERS),
                Blurt(Duration::from_millis(100), "STARTTLS\r\nEHLO c.test\r\n"),
            ],
            "before the reply",
        ),
        (
            vec![
                Say("", "220"),
                Say(EHLO, OFFERS),
                Say("STARTTLS\r\n", READY),
                Secure(true),
                Blurt(Duration::ZERO, "MAIL FROM:<>\r\n"),
            ],
            "before EHLO",
        ),
    ] {
        let (_, breaches) = play(with_tls(TlsPosture::default()), script);
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].contains(why), "{breaches:?}");
    }
}
