//! Questions the engine asks the DNS, and what comes back.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// One question. Names are in lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Question {
    /// The mail exchanges of a domain (RFC 5321 section 5.1).
    Mx(Arc<str>),
    /// All addresses of a host: A and AAAA records together, CNAMEs followed.
    Addresses(Arc<str>),
}

impl Question {
    /// The name asked about.
    pub fn name(&self) -> &str {
        match self {
            Self::Mx(name) | Self::Addresses(name) => name,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx(name) => write!(f, "MX {name}"),
            Self::Addresses(name) => write!(f, "A/AAAA {name}"),
        }
    }
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MxRecord {
    /// Lower is tried first.
    pub preference: u16,
    /// The exchange in lower case without a trailing dot; empty for the null MX (RFC 7505).
    pub exchange: Arc<str>,
}

/// The data of a positive answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsData {
    /// Answer to [`Question::Mx`]; never empty (that is [`DnsErrorKind::NoData`]).
    Mx(Vec<MxRecord>),
    /// Answer to [`Question::Addresses`]; never empty.
    Addresses(Vec<IpAddr>),
}

/// A positive answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// What was found.
    pub data: DnsData,
    /// How long it may be kept: the smallest TTL of the records used.
    pub ttl: Duration,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DnsErrorKind {
    /// The name does not exist.
    NxDomain,
    /// The name exists, without a record of this type.
    NoData,
    /// The servers failed: SERVFAIL, REFUSED, nonsense.
    ServFail,
    /// No server answered in time.
    Timeout,
}

/// A negative answer, or none at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsError {
    /// What is missing.
    pub kind: DnsErrorKind,
    /// How long the negative answer may be kept (RFC 2308); zero when the DNS said nothing.
    pub ttl: Duration,
    /// What the resolver said, for the operator.
    pub text: Box<str>,
}
