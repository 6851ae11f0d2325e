//! Records in the words of people: one line each.

use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::record::{Attempt, Event, Record};
use traject_engine::tls::info::Verification;
use traject_engine::tls::policy::Consequence;

use crate::event::control_words;
use crate::scenario::units::show_duration;

/// The instant as time since the start of a scenario: `1d 03:12:44.250`.
pub fn instant(start: Timestamp, at: Timestamp) -> String {
    let since = at.saturating_since(start);
    let seconds = since.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let day = if days > 0 { format!("{days}d ") } else { String::new() };
    format!("{day}{hours:02}:{minutes:02}:{seconds:02}.{:03}", since.subsec_millis())
}

/// What a record says, without its instant.
pub fn event(start: Timestamp, record: &Record) -> String {
    match &record.event {
        Event::Reception { message, recipients, binding, size_bytes, .. } => {
            let first = recipients.first().map(ToString::to_string).unwrap_or_default();
            let more = match recipients.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            format!("message {message} accepted for {first}{more}, {size_bytes} B, {binding}")
        }
        Event::Delivery(attempt) => format!("{} delivered: {}", who(attempt), attempt.reply),
        Event::TransientFailure { attempt, next_attempt_at } => format!(
            "{} deferred at {}: {} (attempt {}, next {})",
            who(attempt),
            attempt.stage.text(),
            attempt.reply,
            attempt.attempts,
            instant(start, *next_attempt_at)
        ),
        Event::PermanentFailure(attempt) => {
            format!("{} bounced at {}: {}", who(attempt), attempt.stage.text(), attempt.reply)
        }
        Event::Expiry { attempt, .. } => format!(
            "{} expired after {} attempts and {}: {}",
            who(attempt),
            attempt.attempts,
            show_duration(attempt.age),
            attempt.reply
        ),
        Event::ConnectionOpened { conn, pair, remote, exchange, open, .. } => format!(
            "connection {conn} opened to {exchange} [{}], {} of {}/{}",
            remote.ip(),
            open,
            pair.binding,
            pair.domain
        ),
        Event::TlsEstablished { conn, exchange, info, .. } => format!(
            "connection {conn} to {exchange} is under {} with {}, certificate {}",
            info.version,
            info.cipher.openssl_name(),
            verification(&info.verification)
        ),
        Event::TlsFailed { conn, exchange, remote, reply, consequence, until, .. } => format!(
            "no TLS on connection {conn} to {exchange} [{}]: {reply}; {} until {}",
            remote.ip(),
            match consequence {
                Consequence::InClear => "the mail stays in clear",
                Consequence::Fallback => "the mail goes in clear",
                Consequence::Unfit => "not used for this mail",
            },
            instant(start, *until)
        ),
        Event::ClientSecured { peer, info, .. } => {
            format!("client {peer} is under {} with {}", info.version, info.cipher.openssl_name())
        }
        Event::ClientTlsFailed { peer, error, .. } => {
            format!("no TLS with client {peer}: {}", error.text())
        }
        Event::ConnectionMigrated { conn, from, to, remote, exchange, open } => format!(
            "connection {conn} to {exchange} [{}] passed from {} to {} of {}, {open} there",
            remote.ip(),
            from.domain,
            to.domain,
            to.binding
        ),
        Event::ConnectionFailed { conn, remote, exchange, error, .. } => {
            format!("connection {conn} to {exchange} [{}] failed: {}", remote.ip(), error.text())
        }
        Event::ConnectionClosed { conn, reason, deliveries, .. } => {
            format!("connection {conn} closed after {deliveries} deliveries: {reason:?}")
        }
        Event::HostSetAside { binding, address, exchange, until, reply, .. } => format!(
            "{exchange} [{address}] set aside by {binding} until {}: {reply}",
            instant(start, *until)
        ),
        Event::QueueDelayed { pair, recipients, reply, .. } => {
            format!("{recipients} recipients of {}/{} delayed: {reply}", pair.binding, pair.domain)
        }
        Event::Reconfigured { queues, moved } => {
            format!("reloaded: {queues} queues changed, {moved} recipients moved to others")
        }
        Event::Control { by, action, refusal: Some(refusal), .. } => {
            format!("{by} was refused {}: {refusal}", control_words(action))
        }
        Event::Control { by, action, reach, .. } => format!(
            "{by}: {}, {} recipients of {} messages in {} queues",
            control_words(action),
            reach.recipients,
            reach.messages,
            reach.queues
        ),
        Event::Rerouted { message, recipients, from, to } => format!(
            "{} recipients of message {message} pass from {}/{} to {}/{}",
            recipients.len(),
            from.binding,
            from.domain,
            to.binding,
            to.domain
        ),
        Event::DnsFailure { question, error, .. } => format!("{question} failed: {error:?}"),
        Event::SpoolFailure { message, error } => format!("spool failed {message}: {error:?}"),
        Event::Rejection { peer, phase, reply, .. } => {
            format!("client {peer} refused at {phase}: {reply}")
        }
        Event::OutOfBandBounce { message, mailbox, about, reply, .. } => {
            let about =
                about.as_ref().map_or_else(|| "nobody it names".into(), ToString::to_string);
            format!("message {message} to {mailbox} is a bounce about {about}: {reply}")
        }
        Event::ProtocolViolation { conn, what, .. } => {
            format!("connection {conn}: the peer broke the protocol: {what}")
        }
    }
}

fn verification(found: &Verification) -> &'static str {
    match found {
        Verification::NotChecked => "not checked",
        Verification::Verified => "verified",
        Verification::Failed(_) => "not as it should be",
    }
}

/// The instant and the event.
pub fn line(start: Timestamp, record: &Record) -> String {
    format!("{}  {}", instant(start, record.at), event(start, record))
}

fn who(attempt: &Attempt) -> String {
    format!("message {} to {}", attempt.message, attempt.mailbox)
}

/// A length of time for a column: short, with a unit, `-` for none.
pub fn short(length: Option<Duration>) -> String {
    length.map_or_else(|| "-".to_owned(), show_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_count_from_the_start() {
        let start = Timestamp::from_secs(1000);
        let show = |micros| instant(start, start + Duration::from_micros(micros));
        assert_eq!(show(0), "00:00:00.000");
        assert_eq!(show(11_564_250_000), "03:12:44.250");
        assert_eq!(show(90_061_001_000), "1d 01:01:01.001");
    }
}
