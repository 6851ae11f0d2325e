//! The simulated DNS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// `[dns]` of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSpec {
    /// TTL of answers whose zone does not say.
    pub ttl: Duration,
    /// TTL of negative answers.
    pub negative_ttl: Duration,
    /// Least time of an answer.
    pub latency: Duration,
    /// Added to it: uniform in `0..jitter`.
    pub jitter: Duration,
    /// Time after which an unanswered question fails.
    pub timeout: Duration,
    /// What receivers do not say already. A name given here replaces a receiver's.
    pub names: Vec<NameSpec>,
}

impl Default for DnsSpec {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(300),
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(10),
            names: Vec::new(),
        }
    }
}

/// What the DNS knows of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSpec {
    /// The name, in lower case.
    pub name: Arc<str>,
    /// Its MX records: (preference, exchange); an empty exchange is the null MX (RFC 7505).
    pub mx: Vec<(u16, Arc<str>)>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// TTL of its answers.
    pub ttl: Option<Duration>,
    /// Every question about it fails so.
    pub failure: Option<DnsFailure>,
}

/// How a question fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFailure {
    /// The servers fail.
    ServFail,
    /// The name is said not to exist.
    NxDomain,
    /// Nobody answers.
    Timeout,
}

impl DnsFailure {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 3] =
        [("servfail", Self::ServFail), ("nxdomain", Self::NxDomain), ("timeout", Self::Timeout)];
}
