//! Why the mail of a queue is not going out at this moment.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why no further connection is opened for a queue now. "Why is this message not going out"
/// always has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum QueueReason {
    /// Nothing waits.
    Empty,
    /// All mail is in the delayed queue.
    Delayed {
        /// When the first of it is due.
        until: Timestamp,
    },
    /// `suspend_delivery`.
    Suspended,
    /// The engine is draining.
    Draining,
    /// The DNS is being asked.
    Resolving,
    /// The DNS failed.
    DnsFailed {
        /// When it is asked again.
        until: Timestamp,
    },
    /// As many connections as the queue's length wants are open; the mail waits its turn.
    ConnectionGoal,
    /// `max_outbound_connections` of the pair is reached.
    MaxOutboundConnections,
    /// `server_max_outbound_connections` is reached.
    ServerMaxOutboundConnections,
    /// Every address failed lately and is set aside (`host_failure_retry`).
    HostsSetAside {
        /// When the first may be tried again.
        until: Timestamp,
    },
    /// An address that failed is being tried again with one connection.
    Probing,
}

impl fmt::Display for QueueReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing waits"),
            Self::Delayed { until } => write!(f, "delayed until {until}"),
            Self::Suspended => f.write_str("suspended (suspend_delivery)"),
            Self::Draining => f.write_str("the server is shutting down"),
            Self::Resolving => f.write_str("the DNS is being asked"),
            Self::DnsFailed { until } => write!(f, "the DNS failed; next look-up at {until}"),
            Self::ConnectionGoal => f.write_str("waiting for a turn on the open connections"),
            Self::MaxOutboundConnections => f.write_str("max_outbound_connections reached"),
            Self::ServerMaxOutboundConnections => {
                f.write_str("server_max_outbound_connections reached")
            }
            Self::HostsSetAside { until } => {
                write!(f, "every address failed; next try at {until} (host_failure_retry)")
            }
            Self::Probing => f.write_str("an address that failed is being tried again"),
        }
    }
}
