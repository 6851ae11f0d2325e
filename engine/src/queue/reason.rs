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
    /// The binding `default` is held (`default_binding = suspended`).
    DefaultBindingSuspended,
    /// An operator suspended it ([`Action::Suspend`](crate::control::Action::Suspend)).
    SuspendedByOperator {
        /// When that ends of itself; `None`: when somebody resumes.
        until: Option<Timestamp>,
    },
    /// The spool does not know yet what became of too many messages
    /// ([`limits::NOTES_OWED_MAX`](crate::limits::NOTES_OWED_MAX)).
    SpoolBehind,
    /// The engine is draining.
    Draining,
    /// The DNS is being asked.
    Resolving,
    /// The DNS will be asked when the domain's turn comes (`dns_rate_limit_mx_queries`).
    LookupInLine,
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
    /// `scope_max_outbound_connections` of a stanza that applies is reached.
    ScopeMaxOutboundConnections,
    /// `max_outbound_connections` of the `host` stanzas is reached at every exchange that is up.
    HostMaxOutboundConnections,
    /// `outbound_throttle_messages` lets nothing pass; others that share it may be first in line.
    ThrottledMessages {
        /// When it lets the next message pass.
        until: Timestamp,
    },
    /// `outbound_throttle_connections` lets nothing pass; others may be first in line.
    ThrottledConnections {
        /// When it lets the next connection pass.
        until: Timestamp,
    },
    /// Every address failed lately and is set aside (`host_failure_retry`).
    HostsSetAside {
        /// When the first may be tried again.
        until: Timestamp,
    },
    /// An address that failed is being tried again with one connection.
    Probing,
}

impl QueueReason {
    /// Whether the queue stands in line at a limit it shares with others.
    pub(crate) const fn is_in_line(self) -> bool {
        matches!(
            self,
            Self::ServerMaxOutboundConnections
                | Self::ScopeMaxOutboundConnections
                | Self::ThrottledMessages { .. }
                | Self::ThrottledConnections { .. }
        )
    }
}

impl fmt::Display for QueueReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing waits"),
            Self::Delayed { until } => write!(f, "delayed until {until}"),
            Self::Suspended => f.write_str("suspended (suspend_delivery)"),
            Self::DefaultBindingSuspended => {
                f.write_str("no binding was assigned (default_binding = suspended)")
            }
            Self::SuspendedByOperator { until: None } => f.write_str("suspended by the operator"),
            Self::SuspendedByOperator { until: Some(until) } => {
                write!(f, "suspended by the operator until {until}")
            }
            Self::SpoolBehind => {
                f.write_str("the spool has not taken what became of too many messages")
            }
            Self::Draining => f.write_str("the server is shutting down"),
            Self::Resolving => f.write_str("the DNS is being asked"),
            Self::LookupInLine => {
                f.write_str("in line to be looked up (dns_rate_limit_mx_queries)")
            }
            Self::DnsFailed { until } => write!(f, "the DNS failed; next look-up at {until}"),
            Self::ConnectionGoal => f.write_str("waiting for a turn on the open connections"),
            Self::MaxOutboundConnections => f.write_str("max_outbound_connections reached"),
            Self::ServerMaxOutboundConnections => {
                f.write_str("server_max_outbound_connections reached")
            }
            Self::ScopeMaxOutboundConnections => {
                f.write_str("scope_max_outbound_connections reached")
            }
            Self::HostMaxOutboundConnections => {
                f.write_str("max_outbound_connections of the exchange reached")
            }
            Self::ThrottledMessages { until } => {
                write!(f, "outbound_throttle_messages; the next may pass at {until}")
            }
            Self::ThrottledConnections { until } => {
                write!(f, "outbound_throttle_connections; the next may pass at {until}")
            }
            Self::HostsSetAside { until } => {
                write!(f, "every address failed; next try at {until} (host_failure_retry)")
            }
            Self::Probing => f.write_str("an address that failed is being tried again"),
        }
    }
}
