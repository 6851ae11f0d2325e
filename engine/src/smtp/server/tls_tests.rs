//! TLS on our side: dialogues.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::tests::{Dialogue, options};
use super::*;
use crate::config::effective::{InboundTls, InjectionPolicy};
use crate::tls::info::{CipherSuite, TlsVersion, Verification};
use crate::tls::params::{Identity, TlsOffer};

fn tls() -> InboundTls {
    let identity = Identity { certificate: "/cert.pem".into(), key: None };
    let offer = TlsOffer::new("+ALL", None);
    InboundTls {
        params: Arc::new(ServerTls { identity, client_ca: None, client_required: false, offer }),
        immediate: false,
        injection: InjectionPolicy::Reject,
        verified_may_relay: false,
    }
}

fn with(tls: InboundTls) -> Dialogue {
    Dialogue::new(ReceptionOptions { tls: Some(tls), ..options() })
}

fn secured(verification: Verification) -> ServerInput<'static> {
    let info = TlsInfo {
        version: TlsVersion::Tls13,
        cipher: CipherSuite::Aes128GcmSha256,
        verification,
        issuer: None,
        subject: None,
        resumed: false,
    };
    ServerInput::Secured(Ok(info))
}

impl Dialogue {
    /// Says DATA; answers with the Received line.
    fn received_line(&mut self) -> String {
        let mut out = Vec::new();
        let data = ServerInput::Received(b"DATA\r\n");
        self.session.handle(self.now, data, &mut || MessageId(9), &mut out);
        let prefix = out.iter().find_map(|output| match output {
            ServerOutput::ReceiveBody { prefix, .. } => Some(prefix.clone()),
            _ => None,
        });
        String::from_utf8(prefix.unwrap()).unwrap()
    }

    fn say(&mut self, text: &str) -> Vec<String> {
        let mut said = self.input(ServerInput::Received(text.as_bytes()));
        said.sort_by_key(|line| (line.starts_with('='), line == "= start TLS"));
        said
    }
}

fn offers_starttls(reply: &[String]) -> bool {
    reply.iter().any(|line| line.ends_with("STARTTLS"))
}

#[test]
fn tls_begins_after_the_go_ahead_and_everything_before_is_forgotten() {
    let mut dialogue = with(tls());
    assert!(offers_starttls(&dialogue.say("EHLO first.example\r\n")));
    assert_eq!(dialogue.say("STARTTLS\r\n"), ["S: 220 2.0.0 Ready to start TLS", "= start TLS"]);
    assert_eq!(dialogue.input(secured(Verification::NotChecked)), ["= TLSv1.3"]);
    // Who the client said it was in clear does not count.
    dialogue.say("MAIL FROM:<a@from.example>\r\nRCPT TO:<b@ours.example>\r\n");
    let header = dialogue.received_line();
    assert!(header.contains("from unknown ([192.0.2.1])"), "{header}");
    assert!(header.contains("with ESMTPS"), "{header}");
}

#[test]
fn tls_is_offered_once() {
    let mut dialogue = with(tls());
    dialogue.say("STARTTLS\r\n");
    dialogue.input(secured(Verification::NotChecked));
    assert!(!offers_starttls(&dialogue.say("EHLO a.example\r\n")));
    let again = dialogue.say("STARTTLS\r\n");
    assert_eq!(again[0], "S: 503 5.5.1 TLS is active already");
}

#[test]
fn without_a_certificate_there_is_no_starttls() {
    let mut dialogue = Dialogue::new(options());
    assert!(!offers_starttls(&dialogue.say("EHLO a.example\r\n")));
    assert_eq!(dialogue.say("STARTTLS\r\n")[0], "S: 502 5.5.1 Command not offered");
}

#[test]
fn starttls_has_its_time_and_no_argument() {
    let mut dialogue = with(tls());
    assert_eq!(dialogue.say("STARTTLS now\r\n")[0], "S: 501 5.5.4 No argument allowed");
    dialogue.say("MAIL FROM:<a@from.example>\r\n");
    assert_eq!(dialogue.say("STARTTLS\r\n")[0], "S: 503 5.5.1 Not during a mail transaction");
    assert_eq!(dialogue.say("RSET\r\n"), ["S: 250 2.0.0 OK"]);
    assert_eq!(dialogue.say("STARTTLS\r\n")[1], "= start TLS");
}

/// STARTTLS command injection, CVE-2011-0411.
#[test]
fn what_comes_behind_starttls_in_clear() {
    let injected = "STARTTLS\r\nNOOP\r\nDATA\r\nMAIL FROM:<evil@x.example>\r\n";
    let go_ahead = "S: 220 2.0.0 Ready to start TLS";
    for (injection, reply) in [
        (
            InjectionPolicy::Reject,
            &["S: 554 5.5.0 Data sent behind STARTTLS", "= rejected starttls 554", "= close"][..],
        ),
        (InjectionPolicy::Ignore, &[go_ahead, "= start TLS"]),
        (
            InjectionPolicy::Allow,
            &[
                go_ahead,
                "S: 250 2.0.0 OK",
                "S: 503 5.5.1 Not between STARTTLS and TLS",
                "S: 250 2.1.0 Sender OK",
                "= rejected starttls 503",
                "= start TLS",
            ],
        ),
    ] {
        let mut dialogue = with(InboundTls { injection, ..tls() });
        assert_eq!(dialogue.say(injected), reply, "{injection:?}");
        if injection == InjectionPolicy::Reject {
            continue;
        }
        assert_eq!(dialogue.input(secured(Verification::NotChecked)), ["= TLSv1.3"]);
        // Nothing of it is left: there was no MAIL.
        let rcpt = dialogue.say("RCPT TO:<b@ours.example>\r\n");
        assert_eq!(rcpt[0], "S: 503 5.5.1 MAIL FROM needed first", "{injection:?}");
    }
}

#[test]
fn half_a_command_behind_starttls_is_dropped_with_the_rest() {
    let mut dialogue = with(InboundTls { injection: InjectionPolicy::Ignore, ..tls() });
    dialogue.say("STARTTLS\r\nNOO");
    dialogue.input(secured(Verification::NotChecked));
    assert_eq!(dialogue.say("P\r\n")[0], "S: 500 5.5.2 Unrecognized command");
}

#[test]
fn a_failed_handshake_ends_the_connection() {
    let mut dialogue = with(tls());
    dialogue.say("STARTTLS\r\n");
    let failed = ServerInput::Secured(Err(TlsError::Garbage));
    assert_eq!(dialogue.input(failed), ["= no TLS: Garbage", "= abort"]);

    let mut dialogue = with(tls());
    dialogue.say("STARTTLS\r\n");
    dialogue.now = dialogue.session.deadline().unwrap();
    assert_eq!(
        dialogue.input(ServerInput::Timeout),
        ["= violation: no TLS handshake in time", "= abort"]
    );
}

#[test]
fn with_use_ssl_the_banner_comes_under_tls() {
    let mut dialogue = with(InboundTls { immediate: true, ..tls() });
    assert_eq!(dialogue.start(), ["= start TLS"]);
    assert_eq!(
        dialogue.input(secured(Verification::NotChecked)),
        ["= TLSv1.3", "S: 220 mx.example ESMTP"]
    );
    assert!(!offers_starttls(&dialogue.say("EHLO a.example\r\n")));
}

#[test]
fn a_verified_client_may_relay_where_that_is_said() {
    for (verified_may_relay, verification, code) in [
        (true, Verification::Verified, "250"),
        (true, Verification::NotChecked, "550"),
        (false, Verification::Verified, "550"),
    ] {
        let mut dialogue = with(InboundTls { verified_may_relay, ..tls() });
        dialogue.say("STARTTLS\r\n");
        dialogue.input(secured(verification));
        dialogue.say("MAIL FROM:<a@from.example>\r\n");
        let reply = dialogue.say("RCPT TO:<b@elsewhere.example>\r\n");
        assert!(reply[0].starts_with(&["S: ".to_string(), code.into()].concat()), "{reply:?}");
    }
}
