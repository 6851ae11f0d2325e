//! What the engine is doing, for operators, reports and oracles.

use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::ids::ConnId;
use crate::queue::reason::QueueReason;
use crate::record::Pair;
use crate::smtp::stage::Stage;
use crate::time::Timestamp;

/// The state of the engine at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The instant of the last input.
    pub at: Timestamp,
    /// Messages in care.
    pub messages: usize,
    /// Messages whose envelopes lie open in memory (`max_resident_messages`).
    pub resident_messages: u32,
    /// Every queue, ordered by (binding, domain).
    pub queues: Vec<QueueSnapshot>,
    /// Every outbound connection, oldest first.
    pub outbound: Vec<SessionSnapshot>,
    /// Connections from clients.
    pub inbound: usize,
    /// Spool writes under way, and notices being put together.
    pub spool_writes: usize,
    /// Messages about which the spool could not write the latest, and will be asked to again.
    pub spool_behind: usize,
    /// DNS questions under way.
    pub dns_questions: usize,
    /// Nothing is under way: no connection, no spool write. After
    /// [`Input::Drain`](crate::Input::Drain) the process may end now.
    pub at_rest: bool,
}

/// The state of one queue. Counts are of recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSnapshot {
    /// Whose queue.
    #[serde(flatten)]
    pub pair: Pair,
    /// Waiting to be sent now.
    pub active: u64,
    /// Waiting for their next attempt to be due.
    pub delayed: u64,
    /// In a transaction.
    pub in_flight: u64,
    /// Connections, including those being opened and those being closed.
    pub connections: u32,
    /// When the first delayed recipient is due.
    pub next_due: Option<Timestamp>,
    /// Why nothing more is going out now.
    pub reason: QueueReason,
}

/// The state of one outbound connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// The connection.
    pub conn: ConnId,
    /// Its queue.
    #[serde(flatten)]
    pub pair: Pair,
    /// The address talked to.
    pub remote: SocketAddr,
    /// How far the dialogue has come.
    pub stage: Stage,
}

impl Engine {
    /// What the engine is doing.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: self.now,
            messages: self.messages.len(),
            resident_messages: self.messages.open(),
            queues: self.queue_snapshots().collect(),
            outbound: self
                .outbound
                .iter()
                .map(|(conn, outbound)| SessionSnapshot {
                    conn: *conn,
                    pair: self.queues[outbound.queue].pair.clone(),
                    remote: outbound.remote(),
                    stage: outbound.stage(),
                })
                .collect(),
            inbound: self.inbound.len(),
            spool_writes: self.spooling.len() + self.notices.composing(),
            spool_behind: self.bookkeeping.kept(),
            dns_questions: self.routes.outstanding(),
            at_rest: self.is_at_rest(),
        }
    }

    /// The state of each queue, ordered by (binding, domain).
    pub fn queue_snapshots(&self) -> impl Iterator<Item = QueueSnapshot> {
        self.queue_of.values().map(|slot| self.queue_snapshot(*slot))
    }

    /// Messages in care.
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// Messages whose envelopes lie open in memory, spool writes under way, DNS questions under
    /// way.
    pub fn resources(&self) -> (u32, usize, usize) {
        (self.messages.open(), self.spooling.len(), self.routes.outstanding())
    }

    /// Connections to exchanges, and from clients.
    pub fn connection_counts(&self) -> (usize, usize) {
        (self.outbound.len(), self.inbound.len())
    }

    /// Whether nothing is under way: [`Snapshot::at_rest`] without the snapshot.
    pub fn is_at_rest(&self) -> bool {
        self.outbound.is_empty()
            && self.inbound.is_empty()
            && self.spooling.is_empty()
            && self.notices.composing() == 0
    }

    pub(crate) fn queue_snapshot(&self, slot: usize) -> QueueSnapshot {
        let queue = &self.queues[slot];
        let recipients = queue.recipients();
        QueueSnapshot {
            pair: queue.pair.clone(),
            active: recipients.active,
            delayed: recipients.delayed,
            in_flight: recipients.in_flight,
            connections: queue.connections,
            next_due: queue.next_due(),
            reason: queue.reason,
        }
    }
}
