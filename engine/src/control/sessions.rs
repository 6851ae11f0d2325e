//! The connections there are, for operators.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::ids::{ConnId, MessageId};
use crate::record::Pair;
use crate::smtp::stage::Stage;
use crate::time::Timestamp;

/// A connection to an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanging {
    /// The connection.
    pub conn: ConnId,
    /// Its queue.
    #[serde(flatten)]
    pub pair: Pair,
    /// The exchange's name.
    pub exchange: Arc<str>,
    /// The address talked to.
    pub remote: SocketAddr,
    /// When it was begun.
    pub since: Timestamp,
    /// How far the dialogue has come.
    pub stage: Stage,
    /// Messages delivered over it.
    pub deliveries: u32,
    /// Whether it is under TLS.
    pub tls: bool,
    /// The message in the transaction under way.
    pub message: Option<MessageId>,
}

/// A connection from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSession {
    /// The connection.
    pub conn: ConnId,
    /// The client.
    pub peer: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// When it connected.
    pub since: Timestamp,
    /// Whether it is under TLS.
    pub tls: bool,
}

impl Engine {
    /// Connections to exchanges, oldest first.
    pub fn exchanging(&self) -> Vec<Exchanging> {
        let each = self.outbound.iter();
        each.map(|(conn, outbound)| Exchanging {
            conn: *conn,
            pair: self.queues[outbound.queue].pair.clone(),
            exchange: outbound.exchange().clone(),
            remote: outbound.remote(),
            since: outbound.since(),
            stage: outbound.stage(),
            deliveries: outbound.deliveries(),
            tls: outbound.is_under_tls(),
            message: outbound.in_flight().map(|batch| batch.message),
        })
        .collect()
    }

    /// Connections from clients, oldest first.
    pub fn clients(&self) -> Vec<ClientSession> {
        let each = self.inbound.iter();
        each.map(|(conn, inbound)| inbound.describe(*conn)).collect()
    }
}
