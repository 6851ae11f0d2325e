//! A receiver as data: what a scenario says about it.

mod curve;
mod limit;
mod uncertain;

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use curve::Curve;
pub use limit::{Block, CountedBy, Escalation, Limit, Limited, Per, Trip, Unknown};
pub use uncertain::{Drawn, Uncertain};

use super::tls::TlsPosture;
use crate::glob::Glob;
use crate::scenario::units;

/// One receiver: a set of domains whose exchanges behave alike and share their state.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverSpec {
    /// Its name in reports.
    pub name: Arc<str>,
    /// The profile it was made from.
    pub profile: Option<Arc<str>>,
    /// The domains it receives mail for, in lower case.
    pub domains: Vec<Arc<str>>,
    /// Its exchanges; never empty.
    pub exchanges: Vec<Exchange>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The port its exchanges listen on.
    pub port: u16,
    /// Time a packet takes to or from it.
    pub latency: Latency,
    /// How fast bytes come through.
    pub bandwidth: Bandwidth,
    /// What its EHLO reply offers.
    pub extensions: Extensions,
    /// What it allows. All are looked at, in this order; the first exceeded one answers.
    pub limits: Vec<Limit>,
    /// Mailboxes it does not have.
    pub unknown: Option<Unknown>,
    /// Whether it makes strangers wait.
    pub greylist: Option<Greylist>,
    /// Its other replies. The first that matches answers; else the receiver says yes.
    pub rules: Vec<Rule>,
    /// What it does about TLS: the first whose time it is. Without any it knows nothing of TLS.
    pub tls: Vec<TlsPosture>,
}

/// What a receiver speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// EHLO or HELO (RFC 5321).
    #[default]
    Smtp,
    /// LHLO, and a reply for each recipient after the message (RFC 2033).
    Lmtp,
}

/// The port of exchanges that speak SMTP.
pub const SMTP_PORT: u16 = 25;

/// One mail exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub host: Arc<str>,
    /// MX preference.
    pub preference: u16,
    /// Its addresses; never empty.
    pub addresses: Vec<IpAddr>,
}

/// One-way delay of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The least.
    pub base: Duration,
    /// Added to it: uniform in `0..jitter`.
    pub jitter: Duration,
}

/// Bytes a second in each direction, packet headers included; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Of each connection.
    pub connection: Option<u64>,
    /// Of all connections with one address of an exchange.
    pub address: Option<u64>,
}

/// What an EHLO reply offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870, with the largest message in bytes (0: no number given).
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// XCLIENT, with these attributes; empty where it is not offered.
    pub xclient: XclientAttributes,
}

/// Attributes of XCLIENT (Postfix's XCLIENT_README), one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XclientAttributes(u8);

impl XclientAttributes {
    /// All there are.
    pub const NAMES: [&'static str; 5] = ["NAME", "ADDR", "PORT", "PROTO", "HELO"];

    /// All of them.
    pub const ALL: Self = Self((1 << Self::NAMES.len()) - 1);

    /// Adds one by its name; false if there is none of that name.
    pub fn add(&mut self, name: &str) -> bool {
        let place = Self::NAMES.iter().position(|known| *known == name);
        self.0 |= place.map_or(0, |place| 1 << place);
        place.is_some()
    }

    /// Whether one is among them.
    pub fn has(self, name: &str) -> bool {
        self.names().any(|one| one == name)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As an EHLO reply says them; `None` where there are none.
    pub fn keyword(self) -> Option<String> {
        let names: Vec<&str> = self.names().collect();
        (!self.is_empty()).then(|| format!("XCLIENT {}", names.join(" ")))
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter().enumerate();
        names.filter(move |(place, _)| self.0 & (1 << place) != 0).map(|(_, name)| name)
    }
}

impl Extensions {
    /// As an EHLO reply says them, without XCLIENT, which comes last there.
    pub fn keywords(&self) -> Vec<String> {
        let mut keywords = Vec::new();
        if self.pipelining {
            keywords.push("PIPELINING".to_owned());
        }
        match self.size {
            Some(0) => keywords.push("SIZE".to_owned()),
            Some(max) => keywords.push(format!("SIZE {max}")),
            None => {}
        }
        if self.eight_bit_mime {
            keywords.push("8BITMIME".to_owned());
        }
        if self.enhanced_status_codes {
            keywords.push("ENHANCEDSTATUSCODES".to_owned());
        }
        keywords
    }
}

impl Default for Extensions {
    /// All of them but XCLIENT, messages up to 50 MiB.
    fn default() -> Self {
        Self {
            pipelining: true,
            size: Some(50 << 20),
            eight_bit_mime: true,
            enhanced_status_codes: true,
            xclient: XclientAttributes::default(),
        }
    }
}

/// A point of the dialogue at which a receiver decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The connection stands; the banner is due.
    Banner,
    /// EHLO or LHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// XCLIENT.
    Xclient,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// The message is complete.
    Body,
    /// RSET.
    Rset,
}

impl Stage {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("banner", Self::Banner),
        ("ehlo", Self::Ehlo),
        ("helo", Self::Helo),
        ("xclient", Self::Xclient),
        ("mail", Self::Mail),
        ("rcpt", Self::Rcpt),
        ("data", Self::Data),
        ("body", Self::Body),
        ("rset", Self::Rset),
    ];
}

/// A reply: three digits and a text, and perhaps lines before that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyText {
    /// The lines before the last, as they are sent. Their codes may be others: that is a broken
    /// reply, and some receivers send it.
    pub before: Vec<Arc<str>>,
    /// 200 to 599.
    pub code: u16,
    /// What follows the code, the enhanced status code included.
    pub text: Arc<str>,
}

impl ReplyText {
    /// Reads `451 4.7.1 Try again later`.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (code, text) = line.split_at_checked(3).unwrap_or((line, ""));
        let number = code.parse::<u16>().ok().filter(|code| (200..600).contains(code));
        let code = number.ok_or("a reply starts with three digits, such as `451 4.7.1 Later`")?;
        if !text.is_empty() && !text.starts_with(' ') {
            return Err("a blank must follow the three digits".into());
        }
        if line.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err("a reply is one line of printable ASCII".into());
        }
        if line.len() > REPLY_LINE_BYTES_MAX {
            return Err(format!("a reply line has at most {REPLY_LINE_BYTES_MAX} characters"));
        }
        Ok(Self { before: Vec::new(), code, text: text.trim().into() })
    }

    /// Reads the lines of one reply: `220-Welcome`, `220 What is it?`. The last one decides.
    pub fn parse_lines(lines: &[&str]) -> Result<Self, String> {
        let (last, before) = lines.split_last().ok_or("a reply has a line")?;
        let mut reply = Self::parse(last)?;
        for line in before {
            let (code, text) = line.split_at_checked(4).unwrap_or((line, ""));
            let code = code.strip_suffix('-').unwrap_or("");
            Self::parse(&format!("{code} {text}"))
                .map_err(|_| format!("`{line}` is not of the form `220-Welcome`"))?;
            reply.before.push((*line).into());
        }
        Ok(reply)
    }

    /// Whether it asks for another try.
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Whether it says no for good.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }
}

impl fmt::Display for ReplyText {
    /// All lines, without the last CRLF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.before {
            write!(f, "{line}\r\n")?;
        }
        write!(f, "{} {}", self.code, self.text)
    }
}

/// What a receiver does instead of going along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Says this. A 421 is followed by the end of the connection.
    Reply(ReplyText),
    /// Resets the connection.
    Reset,
    /// Closes the connection without a word.
    Close,
    /// Never answers.
    Stall,
    /// Says what is no reply, and then nothing.
    Garbage,
    /// Says a reply that has no end.
    Flood,
    /// Closes its side without a word, and goes on listening.
    HalfClose,
    /// Goes along, and has said the next reply before it is asked.
    Early,
    /// Goes along, one byte at a time, each after the delay.
    Drip,
}

impl Act {
    /// Whether the receiver goes along.
    pub const fn goes_along(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.code < 400,
            Self::Early | Self::Drip => true,
            Self::Reset
            | Self::Close
            | Self::Stall
            | Self::Garbage
            | Self::Flood
            | Self::HalfClose => false,
        }
    }
}

/// What a receiver does at a stage, as its spec says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Always the same.
    Act(Act),
    /// One of several replies: receivers change their texts.
    OneOf {
        /// The replies; never empty.
        replies: Vec<ReplyText>,
        /// Which.
        order: Order,
    },
    /// It goes along, but lets the client wait so long for this and every later reply of the
    /// connection. Of several the longest counts.
    Tarpit(Duration),
}

impl fmt::Display for Response {
    /// What the receiver does, after its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Act(Act::Reply(reply)) => write!(f, "says {} {}", reply.code, reply.text),
            Self::Act(Act::Reset) => write!(f, "resets"),
            Self::Act(Act::Close) => write!(f, "hangs up"),
            Self::Act(Act::Stall) => write!(f, "does not answer"),
            Self::Act(Act::Garbage) => write!(f, "says what is no reply"),
            Self::Act(Act::Flood) => write!(f, "replies without end"),
            Self::Act(Act::HalfClose) => write!(f, "closes its side"),
            Self::Act(Act::Early) => write!(f, "replies in advance"),
            Self::Act(Act::Drip) => write!(f, "replies byte by byte"),
            Self::OneOf { replies, .. } => {
                for (n, reply) in replies.iter().enumerate() {
                    let word = if n == 0 { "says" } else { " or" };
                    write!(f, "{word} {} {}", reply.code, reply.text)?;
                }
                Ok(())
            }
            Self::Tarpit(delay) => {
                write!(f, "takes {} longer for each reply", units::show_duration(*delay))
            }
        }
    }
}

/// Which one of several replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Drawn by the seed.
    #[default]
    Random,
    /// One after the other, over all connections.
    Turn,
}

impl Response {
    /// Whether the same thing is judged alike every time: it is refused for good.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Act(act) => matches!(act, Act::Reply(reply) if reply.is_permanent()),
            Self::OneOf { replies, .. } => replies.iter().all(ReplyText::is_permanent),
            Self::Tarpit(_) => false,
        }
    }
}

/// What makes a sender known to a greylist. The source always counts as its network (/24, /64) or
/// its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreylistKey {
    /// How much of the source address.
    pub source: Per,
    /// Whether the envelope sender.
    pub sender: bool,
    /// Whether the recipient.
    pub recipient: bool,
}

/// Greylisting (RFC 6647): unknown (source, sender, recipient) are put off once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greylist {
    /// A retry is accepted from this long after the first attempt.
    pub hold: Duration,
    /// Where that is not known for sure.
    pub range: Option<Uncertain<Duration>>,
    /// The first attempt is forgotten after this.
    pub window: Duration,
    /// Who passed stays known for so long after the last message.
    pub pass: Duration,
    /// What makes a sender known.
    pub key: GreylistKey,
    /// What strangers hear at RCPT.
    pub reply: ReplyText,
}

/// One reply rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where it applies.
    pub stage: Stage,
    /// Only at exchanges of these names.
    pub exchange: Option<Glob>,
    /// Only for connections from these addresses of ours.
    pub source: Option<Glob>,
    /// Only where we call ourselves so.
    pub ehlo: Option<Glob>,
    /// Only for mail of these clients of ours, as XCLIENT names their addresses.
    pub client: Option<Glob>,
    /// Only for these envelope senders.
    pub sender: Option<Glob>,
    /// Only for these recipients.
    pub recipient: Option<Glob>,
    /// Only for messages with 8-bit content that MAIL did not announce (RFC 6152).
    pub unannounced_8bit: bool,
    /// Only for messages of more bytes: before the content comes by what MAIL announced (RFC
    /// 1870), then by what came.
    pub larger_than: Option<u64>,
    /// How often it applies when it matches, by the time. A permanent refusal is drawn once for
    /// each thing it judges (a mailbox that does not exist still does not exist tomorrow),
    /// anything else anew each time.
    pub probability: Curve,
    /// Where that is not known for sure.
    pub range: Option<Uncertain<f64>>,
    /// Only within this time, counted from the start of the scenario.
    pub window: Range<Duration>,
    /// Wait before acting.
    pub delay: Duration,
    /// What is done.
    pub response: Response,
    /// At [`Stage::Body`]: the receiver takes the message, whatever it then does.
    pub keeps_message: bool,
}

/// Longest reply line a scenario may give, without CRLF (RFC 5321 section 4.5.3.1.5).
pub const REPLY_LINE_BYTES_MAX: usize = 510;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_in_words() {
        let reply = |line| ReplyText::parse(line).unwrap();
        let replies = vec![reply("450 4.2.1 One"), reply("451 4.3.0 Two")];
        for (response, words) in [
            (Response::Act(Act::Reply(reply("451 4.7.1 Later"))), "says 451 4.7.1 Later"),
            (Response::Act(Act::Stall), "does not answer"),
            (Response::Act(Act::Reset), "resets"),
            (Response::Act(Act::Garbage), "says what is no reply"),
            (Response::Act(Act::Flood), "replies without end"),
            (Response::Act(Act::HalfClose), "closes its side"),
            (Response::Act(Act::Early), "replies in advance"),
            (Response::Act(Act::Drip), "replies byte by byte"),
            (Response::Act(Act::Close), "hangs up"),
            (
                Response::OneOf { replies, order: Order::Turn },
                "says 450 4.2.1 One or 451 4.3.0 Two",
            ),
            (Response::Tarpit(Duration::from_secs(5)), "takes 5s longer for each reply"),
        ] {
            assert_eq!(response.to_string(), words);
        }
    }

    #[test]
    fn replies_of_several_lines() {
        let reply = ReplyText::parse_lines(&["220-Welcome", "220-to us", "521 No"]).unwrap();
        assert_eq!((reply.code, &*reply.text), (521, "No"));
        assert_eq!(reply.to_string(), "220-Welcome\r\n220-to us\r\n521 No");
        for broken in [&[][..], &["220 a", "220 b"], &["22-a", "220 b"], &["220-a", "220-b"]] {
            assert!(ReplyText::parse_lines(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn attributes_of_xclient() {
        let mut some = XclientAttributes::default();
        assert!(some.is_empty() && some.add("ADDR") && some.add("HELO") && !some.add("LOGIN"));
        assert_eq!(some.names().collect::<Vec<_>>(), ["ADDR", "HELO"]);
        assert!(some.has("ADDR") && !some.has("PORT") && XclientAttributes::ALL.has("PORT"));
    }

    #[test]
    fn reply_lines() {
        let reply = ReplyText::parse("451 4.7.1 Later").unwrap();
        assert_eq!((reply.code, &*reply.text), (451, "4.7.1 Later"));
        assert!(reply.is_transient() && !reply.is_permanent());
        assert_eq!(ReplyText::parse("250").unwrap().code, 250);
        for broken in ["", "45", "151 x", "600 x", "4511 x", "451-x", "451 a\r\nb", "451 \u{e9}"] {
            assert!(ReplyText::parse(broken).is_err(), "{broken:?}");
        }
        assert!(ReplyText::parse(&format!("451 {}", "x".repeat(600))).is_err());
    }
}
