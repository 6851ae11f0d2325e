//! Counting recipients: the numbers of reports and expectations alike.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use traject_engine::record::{Attempt, ClearReason, Event, Pair, Record, Transport};
use traject_engine::tls::info::{TlsVersion, Verification};

use crate::oracle::Row;

/// What happened to the mail of some pairs so far. The unit is the recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted for delivery.
    pub accepted: u64,
    /// Taken by a receiver.
    pub delivered: u64,
    /// Failed for good.
    pub bounced: u64,
    /// Given up.
    pub expired: u64,
    /// Failed attempts that were to be repeated.
    pub deferrals: u64,
    /// Attempts.
    pub attempts: u64,
    /// Copies that receivers took of what they, or others, had already.
    pub duplicates: u64,
    /// Connections open now.
    pub connections: u64,
    /// The most that were open at once.
    pub peak_connections: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that could not be made.
    pub connection_failures: u64,
    /// What protected the delivered ones.
    pub transports: Transports,
    /// For each delivered recipient, how long after its acceptance, in microseconds.
    pub delays: Vec<u64>,
}

/// How many recipients were delivered under which protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Transports {
    /// Under TLS 1.3.
    pub tls13: u64,
    /// Under TLS 1.2.
    pub tls12: u64,
    /// Of both, to a verified host.
    pub verified: u64,
    /// In clear, since `tls = no`.
    pub clear_not_wanted: u64,
    /// In clear, since STARTTLS was not offered.
    pub clear_not_offered: u64,
    /// In clear, since STARTTLS was refused or came to nothing (`tls_ifavailable_fallback`).
    pub clear_after_failure: u64,
}

impl Transports {
    /// In clear, for whatever reason.
    pub const fn clear(&self) -> u64 {
        self.clear_not_wanted + self.clear_not_offered + self.clear_after_failure
    }

    /// Whether TLS was wanted anywhere.
    pub const fn is_tls_wanted(&self) -> bool {
        self.tls13 + self.tls12 + self.clear_not_offered + self.clear_after_failure > 0
    }

    fn count(&mut self, transport: &Transport) {
        let place = match transport {
            Transport::Tls(info) => {
                self.verified += u64::from(info.verification == Verification::Verified);
                match info.version {
                    TlsVersion::Tls13 => &mut self.tls13,
                    TlsVersion::Tls12 => &mut self.tls12,
                }
            }
            Transport::Clear { why: ClearReason::NotOffered } => &mut self.clear_not_offered,
            Transport::Clear { why: ClearReason::Refused | ClearReason::NegotiationFailed } => {
                &mut self.clear_after_failure
            }
            Transport::Clear { why: ClearReason::NotWanted } | Transport::Nothing => {
                &mut self.clear_not_wanted
            }
        };
        *place += 1;
    }

    fn add(&mut self, other: &Self) {
        self.tls13 += other.tls13;
        self.tls12 += other.tls12;
        self.verified += other.verified;
        self.clear_not_wanted += other.clear_not_wanted;
        self.clear_not_offered += other.clear_not_offered;
        self.clear_after_failure += other.clear_after_failure;
    }
}

impl Counts {
    /// Accepted and not done.
    pub fn pending(&self) -> u64 {
        self.accepted - self.delivered - self.bounced - self.expired
    }

    /// Counts one accepted recipient.
    pub fn accept(&mut self) {
        self.accepted += 1;
    }

    /// Counts everything but acceptance. `before` is what the book knew of the recipient.
    pub fn apply(&mut self, record: &Record, before: Option<&Row>) {
        match &record.event {
            Event::Delivery(attempt) => {
                self.delivered += 1;
                self.transports.count(&attempt.transport);
                self.delays.push(attempt.age.as_micros() as u64);
                self.attempt(attempt, before);
            }
            Event::TransientFailure { attempt, .. } => {
                self.deferrals += 1;
                self.attempt(attempt, before);
            }
            Event::PermanentFailure(attempt) => {
                self.bounced += 1;
                self.attempt(attempt, before);
            }
            Event::Expiry { attempt, .. } => {
                self.expired += 1;
                self.attempt(attempt, before);
            }
            Event::ConnectionOpened { .. } => {
                self.opened += 1;
                self.connection_came();
            }
            Event::ConnectionClosed { .. } => self.connection_went(),
            Event::ConnectionFailed { .. } => self.connection_failures += 1,
            _ => {}
        }
    }

    /// A connection more: opened, or passed on by another pair.
    pub fn connection_came(&mut self) {
        self.connections += 1;
        self.peak_connections = self.peak_connections.max(self.connections);
    }

    /// A connection less: closed, or passed on to another pair.
    pub fn connection_went(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// The time within which `percent` of the recipients that did not bounce were delivered, each
    /// counted from its acceptance; `None` when not so many were.
    pub fn delivered_within(&self, percent: u8) -> Option<Duration> {
        let all = self.accepted - self.bounced;
        let needed = (all * u64::from(percent)).div_ceil(100).max(1);
        if self.delivered < needed {
            return None;
        }
        let mut delays = self.delays.clone();
        let (_, delay, _) = delays.select_nth_unstable(needed as usize - 1);
        Some(Duration::from_micros(*delay))
    }

    /// Adds what other pairs counted. Peaks do not add up: the caller knows the common one.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.bounced += other.bounced;
        self.expired += other.expired;
        self.deferrals += other.deferrals;
        self.attempts += other.attempts;
        self.duplicates += other.duplicates;
        self.connections += other.connections;
        self.peak_connections += other.peak_connections;
        self.opened += other.opened;
        self.connection_failures += other.connection_failures;
        self.transports.add(&other.transports);
        self.delays.extend_from_slice(&other.delays);
    }

    fn attempt(&mut self, attempt: &Attempt, before: Option<&Row>) {
        let known = before.map_or(0, |row| row.attempts);
        self.attempts += u64::from(attempt.attempts.saturating_sub(known));
    }
}

/// Finds the pair a record is about.
#[derive(Debug, Default)]
pub struct PairFinder {
    /// Whom a binding last connected to an address for: an address set aside is theirs.
    last: BTreeMap<(Arc<str>, IpAddr), Pair>,
}

impl PairFinder {
    /// The pair a record is about; the new one of a connection that passes on, none for a
    /// reception, which may be about several.
    pub fn find<'p>(&'p mut self, event: &'p Event) -> Option<&'p Pair> {
        match event {
            Event::Delivery(attempt)
            | Event::TransientFailure { attempt, .. }
            | Event::PermanentFailure(attempt)
            | Event::Expiry { attempt, .. } => Some(&attempt.pair),
            Event::ConnectionOpened { pair, remote, .. }
            | Event::ConnectionMigrated { to: pair, remote, .. }
            | Event::ConnectionFailed { pair, remote, .. } => {
                let key = (Arc::clone(&pair.binding), remote.ip());
                self.last.insert(key, pair.clone());
                Some(pair)
            }
            Event::ConnectionClosed { pair, .. }
            | Event::TlsEstablished { pair, .. }
            | Event::TlsFailed { pair, .. }
            | Event::QueueDelayed { pair, .. } => Some(pair),
            Event::HostSetAside { binding, address, .. } => {
                self.last.get(&(Arc::clone(binding), *address))
            }
            _ => None,
        }
    }
}

/// The attempt a record is about.
pub fn attempt_of(event: &Event) -> Option<&Attempt> {
    match event {
        Event::Delivery(attempt)
        | Event::TransientFailure { attempt, .. }
        | Event::PermanentFailure(attempt)
        | Event::Expiry { attempt, .. } => Some(attempt),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_did_not_bounce() {
        let counts = |accepted, bounced, delays: &[u64]| Counts {
            accepted,
            bounced,
            delivered: delays.len() as u64,
            delays: delays.to_vec(),
            ..Counts::default()
        };
        let within = |counts: &Counts, percent| {
            counts.delivered_within(percent).map(|delay| delay.as_micros())
        };
        let all = counts(4, 0, &[40, 10, 30, 20]);
        assert_eq!([50, 75, 76, 100].map(|p| within(&all, p)), [20, 30, 40, 40].map(Some));
        let bounced = counts(6, 2, &[40, 10, 30, 20]);
        assert_eq!(within(&bounced, 100), Some(40));
        let pending = counts(6, 0, &[40, 10, 30, 20]);
        assert_eq!((within(&pending, 50), within(&pending, 67)), (Some(30), None));
        assert_eq!(within(&counts(2, 2, &[]), 50), None);
    }
}
