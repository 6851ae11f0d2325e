//! XCLIENT: telling the next hop, before each message, who the original client was.
//!
//! The command is that of Postfix's XCLIENT_README. After its 220 the server has begun anew, with
//! our client in our place: it is greeted again, by the name that client gave.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;
use core::net::IpAddr;

use super::end::End;
use super::envelope::Envelope;
use super::open::say_hello;
use super::{ClientOutput, State, Step};
use crate::limits::XCLIENT_VALUE_BYTES_MAX;
use crate::message::Origin;
use crate::record::CloseReason;
use crate::smtp::ehlo::{Capabilities, XclientOffer};
use crate::smtp::reply::{EnhancedCode, Reply, ReplyView, Severity};
use crate::smtp::stage::Stage;

/// `xclient`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xclient {
    /// Never used.
    No,
    /// Used where it is offered; a refusal does not matter.
    IfAvailable,
    /// No message goes without it.
    Required,
}

/// What is done before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Introduction {
    /// The message follows.
    NotNeeded,
    /// XCLIENT comes first.
    Say(XclientOffer),
    /// The message is delayed.
    Missing,
    /// The server takes us for the client of an earlier message and cannot be told better: the
    /// message goes over another connection.
    Stale,
}

/// Decides before a message. `introduced` tells whether XCLIENT was accepted on the connection
/// before, `offer` is what the server offers now.
const fn introduction(
    policy: Xclient,
    offer: Option<XclientOffer>,
    introduced: bool,
) -> Introduction {
    match (policy, offer, introduced) {
        (Xclient::No, ..) => Introduction::NotNeeded,
        (Xclient::IfAvailable | Xclient::Required, Some(offer), _) => Introduction::Say(offer),
        (Xclient::Required, None, _) => Introduction::Missing,
        (Xclient::IfAvailable, None, true) => Introduction::Stale,
        (Xclient::IfAvailable, None, false) => Introduction::NotNeeded,
    }
}

/// Says who the client was, if that is wanted, and begins the transaction.
pub(super) fn introduce(envelope: Envelope, step: &mut Step<'_>) -> State {
    let link = &step.link;
    match introduction(link.options.xclient, link.capabilities.xclient, link.introduced) {
        Introduction::NotNeeded => envelope.begin(step),
        Introduction::Missing => {
            envelope.fail(
                Stage::Xclient,
                not_introduced("XCLIENT required but not advertised"),
                step,
            );
            step.free()
        }
        Introduction::Stale => go_elsewhere(step),
        Introduction::Say(offer) => {
            step.write(command(offer, envelope.origin()));
            step.wait(step.link.options.ehlo_timeout);
            State::ExpectXclient(ExpectXclient { envelope })
        }
    }
}

fn not_introduced(text: &str) -> Reply {
    Reply::local(451, EnhancedCode(4, 7, 6), text)
}

fn go_elsewhere(step: &mut Step<'_>) -> State {
    step.out.push(ClientOutput::NotAttempted);
    step.quit(CloseReason::Refused)
}

/// XCLIENT is sent.
#[derive(Debug)]
pub(super) struct ExpectXclient {
    pub(super) envelope: Envelope,
}

impl ExpectXclient {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match (reply.severity(), step.link.options.xclient) {
            (Severity::Positive, _) => {
                step.link.introduced = true;
                step.link.capabilities = Capabilities::default();
                let name = self.envelope.origin().and_then(|origin| origin.helo.as_deref());
                let name = name.unwrap_or(&step.link.options.ehlo_hostname).into();
                say_hello(name, step);
                State::ExpectWelcome(ExpectWelcome { envelope: self.envelope })
            }
            (Severity::Intermediate, _) => {
                State::ExpectXclient(self).end(End::Violation("3xx to XCLIENT"), step)
            }
            (_, Xclient::Required) => {
                let text = format!("XCLIENT required but refused: {}", reply.to_reply());
                self.envelope.fail(Stage::Xclient, not_introduced(&text), step);
                step.free()
            }
            _ if step.link.introduced => go_elsewhere(step),
            _ => self.envelope.begin(step),
        }
    }
}

/// XCLIENT is accepted, EHLO or LHLO sent again; its reply's lines are gathered in
/// `Link::capabilities` as they come.
#[derive(Debug)]
pub(super) struct ExpectWelcome {
    pub(super) envelope: Envelope,
}

impl ExpectWelcome {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive => self.envelope.begin(step),
            Severity::Intermediate => {
                State::ExpectWelcome(self).end(End::Violation("3xx to EHLO"), step)
            }
            Severity::Transient | Severity::Permanent => {
                let text = format!("EHLO after XCLIENT refused: {}", reply.to_reply());
                self.envelope.fail(Stage::Ehlo, not_introduced(&text), step);
                step.quit(CloseReason::Refused)
            }
        }
    }
}

/// The command, with the attributes that the server knows. What we do not know is said to be
/// unknown, so that nothing is left over from an earlier message.
fn command(offer: XclientOffer, origin: Option<&Origin>) -> String {
    let mut text = String::from("XCLIENT");
    let mut push = |offered: bool, name: &str, value: Option<&str>| {
        if offered {
            let value = value.map(xtext).filter(|value| value.len() <= XCLIENT_VALUE_BYTES_MAX);
            let value = value.as_deref().unwrap_or("[UNAVAILABLE]");
            // Unwrap is OK because writing to a string does not fail.
            write!(text, " {name}={value}").unwrap();
        }
    };
    let address = origin.map(|origin| match origin.address.to_canonical() {
        IpAddr::V4(address) => format!("{address}"),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    });
    let port = origin.map(|origin| format!("{}", origin.port));
    let smtp = origin.is_some_and(|origin| !origin.esmtp);
    // Names are not looked up.
    push(offer.name, "NAME", None);
    push(offer.addr, "ADDR", address.as_deref());
    push(offer.port, "PORT", port.as_deref());
    push(offer.proto, "PROTO", Some(if smtp { "SMTP" } else { "ESMTP" }));
    push(offer.helo, "HELO", origin.and_then(|origin| origin.helo.as_deref()));
    text.push_str("\r\n");
    text
}

/// A value as xtext (RFC 3461 section 4).
fn xtext(value: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'+' | b'=');
    if value.as_bytes().iter().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len() + 2);
    for byte in value.bytes() {
        if plain(&byte) {
            text.push(char::from(byte));
        } else {
            // Unwrap is OK because writing to a string does not fail.
            write!(text, "+{byte:02X}").unwrap();
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: XclientOffer =
        XclientOffer { name: true, addr: true, port: true, proto: true, helo: true };

    #[test]
    fn what_precedes_a_message() {
        use Introduction::{Missing, NotNeeded, Say, Stale};
        use Xclient::{IfAvailable, No, Required};
        for (policy, offer, introduced, expected) in [
            (No, None, false, NotNeeded),
            (No, Some(ALL), false, NotNeeded),
            (IfAvailable, None, false, NotNeeded),
            (IfAvailable, None, true, Stale),
            (IfAvailable, Some(ALL), false, Say(ALL)),
            (IfAvailable, Some(ALL), true, Say(ALL)),
            (Required, None, false, Missing),
            (Required, None, true, Missing),
            (Required, Some(ALL), false, Say(ALL)),
            (Required, Some(ALL), true, Say(ALL)),
        ] {
            assert_eq!(
                introduction(policy, offer, introduced),
                expected,
                "{policy:?} {introduced}"
            );
        }
    }

    #[test]
    fn commands() {
        let some = XclientOffer { addr: true, helo: true, ..XclientOffer::default() };
        let origin = |address: &str, helo: Option<&str>, esmtp| Origin {
            address: address.parse().unwrap(),
            port: 4000,
            helo: helo.map(Into::into),
            esmtp,
        };
        let long = "x".repeat(XCLIENT_VALUE_BYTES_MAX + 1);
        for (offer, origin, expected) in [
            (
                ALL,
                Some(origin("192.0.2.1", Some("a.example"), true)),
                "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4000 PROTO=ESMTP HELO=a.example",
            ),
            (
                some,
                Some(origin("2001:db8::1", None, true)),
                "XCLIENT ADDR=IPV6:2001:db8::1 HELO=[UNAVAILABLE]",
            ),
            (
                some,
                Some(origin("::ffff:192.0.2.1", Some("a+b=c\u{e9} d"), false)),
                "XCLIENT ADDR=192.0.2.1 HELO=a+2Bb+3Dc+C3+A9+20d",
            ),
            (
                XclientOffer { proto: true, ..some },
                Some(origin("192.0.2.1", Some(&long), false)),
                "XCLIENT ADDR=192.0.2.1 PROTO=SMTP HELO=[UNAVAILABLE]",
            ),
            (
                ALL,
                None,
                "XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=ESMTP \
                 HELO=[UNAVAILABLE]",
            ),
        ] {
            assert_eq!(command(offer, origin.as_ref()), format!("{expected}\r\n"));
        }
    }
}
