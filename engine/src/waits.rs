//! What the mail of each queue waits for, as it changes: for those who add up waiting.
//!
//! [`why`](crate::why) tells the whole story of one queue when somebody asks. Here every change is
//! told, with no more than the name of the limit, and only to those who watch.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::engine::Engine;
use crate::queue::reason::QueueReason;
use crate::record::Pair;
use crate::shaping::gates::GateKind;
use crate::shaping::throttle::Rate;

/// The mail of a queue waits for something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitChange {
    /// Whose mail.
    pub pair: Pair,
    /// What it waits for now.
    pub reason: QueueReason,
    /// The limit behind that, if it is one.
    pub limit: Option<Limit>,
}

/// A limit of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The option.
    pub option: &'static str,
    /// The stanza that sets it, if it counts for more than one pair; empty for the global scope.
    pub stanza: Option<Arc<str>>,
    /// What it allows.
    pub allows: Allows,
}

/// What a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allows {
    /// So many connections at once.
    Connections(u32),
    /// So many events in every window.
    Rate(Rate),
}

impl Engine {
    /// From now on, changes are kept for [`Engine::take_wait_changes`].
    pub fn watch_waits(&mut self) {
        self.wait_changes.get_or_insert_default();
    }

    /// What has changed since the last call, in order; nothing unless somebody watches.
    pub fn take_wait_changes(&mut self) -> Vec<WaitChange> {
        self.wait_changes.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Keeps a change for those who watch. The same reason again may be another limit.
    pub(crate) fn note_wait(&mut self, slot: usize, before: QueueReason) {
        let reason = self.queues[slot].reason;
        let same = core::mem::discriminant(&before) == core::mem::discriminant(&reason);
        if self.wait_changes.is_none() || (same && !has_many_limits(reason)) {
            return;
        }
        let (pair, limit) = (self.queues[slot].pair.clone(), self.limit_behind(slot, reason));
        if let Some(changes) = &mut self.wait_changes {
            changes.push(WaitChange { pair, reason, limit });
        }
    }

    fn limit_behind(&self, slot: usize, reason: QueueReason) -> Option<Limit> {
        let options = &*self.queues[slot].options;
        match reason {
            QueueReason::MaxOutboundConnections => Some(Limit {
                option: "max_outbound_connections",
                stanza: None,
                allows: Allows::Connections(options.max_outbound_connections),
            }),
            QueueReason::ServerMaxOutboundConnections
            | QueueReason::ScopeMaxOutboundConnections => self.shared_limit(slot),
            QueueReason::HostMaxOutboundConnections => self.host_limit(slot),
            QueueReason::ThrottledMessages { .. } => {
                let throttle = options.outbound_throttle_messages.as_ref()?;
                Some(Limit {
                    option: "outbound_throttle_messages",
                    stanza: Some(throttle.scope.clone()),
                    allows: Allows::Rate(throttle.rate),
                })
            }
            QueueReason::ThrottledConnections { .. } => {
                let throttle = options.outbound_throttle_connections.as_ref()?;
                Some(Limit {
                    option: "outbound_throttle_connections",
                    stanza: Some(throttle.scope.clone()),
                    allows: Allows::Rate(throttle.rate),
                })
            }
            QueueReason::Empty
            | QueueReason::Delayed { .. }
            | QueueReason::Suspended
            | QueueReason::DefaultBindingSuspended
            | QueueReason::SuspendedByOperator { .. }
            | QueueReason::SpoolBehind
            | QueueReason::Draining
            | QueueReason::Resolving
            | QueueReason::LookupInLine
            | QueueReason::DnsFailed { .. }
            | QueueReason::ConnectionGoal
            | QueueReason::HostsSetAside { .. }
            | QueueReason::Probing => None,
        }
    }

    /// The cap at which a queue is in line.
    fn shared_limit(&self, slot: usize) -> Option<Limit> {
        let queue = &self.queues[slot];
        let key = queue.ticket.as_ref()?.key();
        let (option, caps) = match key.kind {
            GateKind::ScopeMax => {
                ("scope_max_outbound_connections", &queue.options.scope_max_outbound_connections)
            }
            _ => {
                ("server_max_outbound_connections", &queue.options.server_max_outbound_connections)
            }
        };
        let cap = caps.iter().find(|cap| cap.scope == key.scope)?;
        let (stanza, allows) = (Some(cap.scope.clone()), Allows::Connections(cap.max));
        Some(Limit { option, stanza, allows })
    }

    /// The first cap of a `host` stanza that is reached.
    fn host_limit(&self, slot: usize) -> Option<Limit> {
        let plan = self.queues[slot].plan.as_ref()?;
        let reached = plan.exchanges.iter().find_map(|exchange| {
            let (key, max) = self.host_cap(slot, &exchange.name)?;
            (self.gates.open(&key) >= max).then_some((key.scope, max))
        });
        let (scope, max) = reached?;
        Some(Limit {
            option: "max_outbound_connections",
            stanza: Some(scope),
            allows: Allows::Connections(max),
        })
    }
}

/// Whether another limit may be behind the same reason.
fn has_many_limits(reason: QueueReason) -> bool {
    matches!(
        reason,
        QueueReason::ServerMaxOutboundConnections
            | QueueReason::ScopeMaxOutboundConnections
            | QueueReason::HostMaxOutboundConnections
    )
}
