//! Faults: what breaks, when, for how long.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::dns::DnsFailure;

/// One `[[fault]]` of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// When it begins, from the start of the scenario.
    pub at: Duration,
    /// How long it lasts; zero is one instant.
    pub length: Duration,
    /// What breaks.
    pub what: FaultKind,
}

/// What breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Hosts cannot be reached; connections they had are reset.
    HostDown {
        /// What a connection attempt meets.
        how: Down,
        /// The hosts' addresses.
        addresses: Vec<IpAddr>,
    },
    /// Connections are reset: those open at the beginning, and new ones while it lasts.
    Reset {
        /// The hosts' addresses.
        addresses: Vec<IpAddr>,
    },
    /// Questions about names fail.
    Dns {
        /// How.
        failure: DnsFailure,
        /// The names, in lower case.
        names: Vec<Arc<str>>,
    },
}

/// How a host is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The machine is up and refuses: connection attempts fail at once.
    Refused,
    /// Packets vanish: connection attempts time out, open connections hang.
    BlackHole,
}

impl Down {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 2] =
        [("refused", Self::Refused), ("blackhole", Self::BlackHole)];
}
