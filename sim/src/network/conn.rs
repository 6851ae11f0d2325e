//! One connection as the wire sees it.
//!
//! The kernels of turmoil-net never see a real address. Each connection has an alias, an address
//! of the class E block that names its slot here, and both kernels know their peer by it. So any
//! address can be bound or connected from at any time, IPv6 rides on the same inner network, and a
//! connection can never meet the remains of an earlier one with the same addresses and ports.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use traject_engine::Timestamp;
use turmoil_net::TcpSegment;

use super::links::{Link, Route, line_up};

/// Connections at one time: slots that the class E block can name.
pub(super) const CONNECTIONS_MAX: usize = 1 << 27;

/// Names a connection. Stale after its slot is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnRef {
    pub(super) slot: usize,
    pub(super) generation: u16,
}

impl ConnRef {
    /// The peer's address as both kernels know it.
    pub(super) fn alias(self) -> SocketAddr {
        let bits = ALIAS_BLOCK | self.slot as u32;
        SocketAddr::new(Ipv4Addr::from_bits(bits).into(), self.generation)
    }

    /// The connection that `alias` names.
    pub(super) fn from_alias(alias: IpAddr, generation: u16) -> Option<Self> {
        let IpAddr::V4(alias) = alias else { return None };
        let bits = alias.to_bits();
        (bits & ALIAS_BLOCK == ALIAS_BLOCK)
            .then_some(Self { slot: (bits & !ALIAS_BLOCK) as usize, generation })
    }
}

const ALIAS_BLOCK: u32 = 0xf000_0000;

/// One side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The side that connects.
    Client,
    /// The side that listens.
    Server,
}

impl End {
    pub(super) fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// One connection, from the call of `connect` until neither a kernel, a packet nor a task knows it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) generation: u16,
    /// As which connection of the world it was begun.
    pub(super) number: u64,
    pub(super) addresses: Addresses,
    /// Keys its draws.
    pub(super) entity: u64,
    pub(super) route: Route,
    /// The listener that took its SYN.
    pub(super) listener: Option<SocketAddr>,
    /// What the server's kernel expects the handshake's last ACK to acknowledge.
    pub(super) handshake_ack: Option<u32>,
    /// A router has said that there is no way to the server.
    pub(super) unreachable: bool,
    /// The caller gave up before the handshake was done.
    pub(super) abandoned: bool,
    /// `accept` has handed it out.
    pub(super) accepted: bool,
    /// Whatever is sent on it is lost.
    pub(super) cut: bool,
    pub(super) in_flight: u32,
    pub(super) client: Terminal,
    pub(super) server: Terminal,
}

/// Who speaks with whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The connecting side; port 0 until its kernel has chosen one.
    pub(super) client: SocketAddr,
    /// The listening side.
    pub(super) server: SocketAddr,
    /// Which of the two is on our side.
    pub(super) near: IpAddr,
    /// The other, whose link the connection uses.
    pub(super) far: IpAddr,
    /// Both are on our side.
    pub(super) local: bool,
}

/// What the wire knows of one end, and of the packets it sends.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    /// Its socket inside its kernel, once there is one.
    pub(super) inner: Option<SocketAddr>,
    /// Its kernel has finished the handshake.
    pub(super) open: bool,
    /// A task, or the queue of a listener, holds the socket.
    pub(super) used: bool,
    /// Its kernel has dropped the connection.
    pub(super) dead: bool,
    /// Why: it was not answered for too long.
    pub(super) timed_out: bool,
    /// Its FIN has arrived at the peer.
    pub(super) finished: bool,
    /// Since when its kernel may have packets that are not collected yet.
    pub(super) pending_since: Option<Timestamp>,
    /// Bytes, and one for a FIN, that its kernel has and has not sent.
    pub(super) unsent: usize,
    /// Its task has nothing more to send.
    pub(super) closed: bool,
    /// Number of the packet it sent last.
    pub(super) last_sent: u64,
    /// When that was sent.
    pub(super) last_sent_at: Timestamp,
    /// Bytes received that no task has read.
    pub(super) unread: usize,
    /// A reset has arrived, and is handed over once everything before it is read.
    pub(super) reset_waits: bool,
    /// What it last acknowledged.
    pub(super) acknowledged: u32,
    /// How much more the peer may send, as last advertised.
    pub(super) window: usize,
    /// Packets sent so far.
    pub(super) sent: u64,
    /// When the latest of them is due.
    pub(super) last_due: Timestamp,
    /// Until when what it sends occupies its share of a bandwidth.
    pub(super) busy: Timestamp,
    /// Packets that were lost, and those behind them, until they are sent again.
    pub(super) held: VecDeque<TcpSegment>,
    /// How often the held packets were sent again.
    pub(super) retries: u32,
}

impl Conn {
    pub(super) fn new(addresses: Addresses, client_inner: SocketAddr, entity: u64) -> Self {
        Self {
            generation: 0,
            number: 0,
            addresses,
            entity,
            route: Route::default(),
            listener: None,
            handshake_ack: None,
            unreachable: false,
            abandoned: false,
            accepted: false,
            cut: false,
            in_flight: 0,
            client: Terminal { inner: Some(client_inner), used: true, ..Terminal::default() },
            server: Terminal::default(),
        }
    }

    pub(super) fn end(&self, end: End) -> &Terminal {
        match end {
            End::Client => &self.client,
            End::Server => &self.server,
        }
    }

    pub(super) fn end_mut(&mut self, end: End) -> &mut Terminal {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }

    /// The address of one end.
    pub(super) fn address(&self, end: End) -> SocketAddr {
        match end {
            End::Client => self.addresses.client,
            End::Server => self.addresses.server,
        }
    }

    /// Number of the next packet of `from`, unique over both directions.
    pub(super) fn next_packet(&self, from: End) -> u64 {
        match from {
            End::Client => self.client.sent * 2,
            End::Server => self.server.sent * 2 + 1,
        }
    }

    /// The place of what `from` sends among everything that is due at the same instant. It must not
    /// depend on when packets are collected.
    pub(super) fn rank(&self, from: End) -> u64 {
        self.number * 2 + u64::from(from == End::Server)
    }

    /// How long `bytes` that `from` sends take to leave, at the bandwidth of a connection.
    pub(super) fn occupy(
        &mut self,
        from: End,
        sent: Timestamp,
        link: Link,
        bytes: u32,
    ) -> Duration {
        let Some(bandwidth) = link.connection_bandwidth else { return Duration::ZERO };
        line_up(&mut self.end_mut(from).busy, sent, bandwidth, bytes)
    }

    /// A segment leaves `from` at `sent`; answers when it is due: never before an earlier one.
    pub(super) fn depart(&mut self, from: End, sent: Timestamp, travel: Duration) -> Timestamp {
        self.in_flight += 1;
        let sender = self.end_mut(from);
        sender.sent += 1;
        sender.last_due = sender.last_due.max(sent + travel);
        sender.last_due
    }

    /// The kernel of `from` has handed out a segment.
    pub(super) fn note_sent(&mut self, from: End, segment: &TcpSegment) {
        let sender = self.end_mut(from);
        sender.acknowledged = segment.ack;
        sender.window = usize::from(segment.window);
        let sent = segment.payload.len() + usize::from(segment.flags.fin);
        sender.unsent = sender.unsent.saturating_sub(sent);
    }

    /// Whether nothing can come of the arrival of `segment` at `to`: it only acknowledges, and
    /// there is nothing left to send.
    pub(super) fn is_silent(&self, to: End, segment: &TcpSegment) -> bool {
        only_acknowledges(segment) && self.end(to).open && self.end(to).unsent == 0
    }

    /// Whether a segment of `from` tells nothing that a later one, sent at the same instant, does
    /// not. `number` is that of the segment.
    pub(super) fn is_redundant(&self, from: End, number: u64, segment: &TcpSegment) -> bool {
        only_acknowledges(segment) && self.server.open && self.end(from).last_sent != number
    }

    /// A segment of `from` has arrived.
    pub(super) fn note_arrival(&mut self, from: End, segment: &TcpSegment) {
        self.end_mut(from).finished |= segment.flags.fin;
        let receiver = self.end_mut(from.peer());
        receiver.unread += segment.payload.len();
        receiver.window = receiver.window.saturating_sub(segment.payload.len());
        if from == End::Server {
            receiver.open |= segment.flags.syn;
        }
    }

    /// Nothing is on its way in either direction.
    fn is_quiet(&self) -> bool {
        let idle = |end: &Terminal| end.held.is_empty() && end.pending_since.is_none();
        self.in_flight == 0 && idle(&self.client) && idle(&self.server)
    }

    /// The end that no task holds any more, and to which nobody will ever send anything.
    pub(super) fn orphan(&self) -> Option<End> {
        let orphaned = |end: &End| {
            let (own, peer) = (self.end(*end), self.end(end.peer()));
            peer.dead && !own.dead && !own.used && own.inner.is_some()
        };
        self.is_quiet().then_some([End::Client, End::Server])?.into_iter().find(orphaned)
    }

    /// Nobody will send another packet, and no task holds a socket.
    pub(super) fn is_over(&self) -> bool {
        let closed = self.client.finished && self.server.finished;
        let gone = |end: &Terminal| !end.used && (closed || end.dead || end.inner.is_none());
        self.is_quiet() && gone(&self.client) && gone(&self.server)
    }
}

/// Whether a segment carries nothing and changes nothing.
fn only_acknowledges(segment: &TcpSegment) -> bool {
    let flags = segment.flags;
    segment.payload.is_empty() && !flags.syn && !flags.fin && !flags.rst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_names_its_connection_and_nothing_else_does() {
        for slot in [0, 1, 70_000, CONNECTIONS_MAX - 1] {
            let conn = ConnRef { slot, generation: 9 };
            let alias = conn.alias();
            assert_eq!(ConnRef::from_alias(alias.ip(), alias.port()), Some(conn));
        }
        assert_eq!(ConnRef::from_alias("10.0.0.1".parse().unwrap(), 9), None);
        assert_eq!(ConnRef::from_alias("::1".parse().unwrap(), 9), None);
    }
}
