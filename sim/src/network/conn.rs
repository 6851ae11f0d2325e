//! One connection as the wire sees it.
//!
//! The kernels of turmoil-net never see a real address. Each connection has an alias, an address
//! of the class E block that names its slot here, and both kernels know their peer by it. So any
//! address can be bound or connected from at any time, IPv6 rides on the same inner network, and a
//! connection can never meet the remains of an earlier one with the same addresses and ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use traject_engine::Timestamp;

/// First port that kernels give to the connecting side; listeners stay below.
pub(super) const EPHEMERAL_PORT_MIN: u16 = 49_152;

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

/// Which way a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToClient,
}

impl Way {
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// One connection, from the first poll of `connect` until both kernels have forgotten it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) generation: u16,
    /// The connecting side; port 0 until its kernel has chosen one.
    pub(super) client: SocketAddr,
    /// The listening side.
    pub(super) server: SocketAddr,
    /// The far end, whose link this connection uses.
    pub(super) far: IpAddr,
    /// Keys its draws.
    pub(super) entity: u64,
    /// The client's socket in its kernel; port 0 until the SYN is out.
    pub(super) client_inner: SocketAddr,
    /// The server's socket in its kernel, once a listener has taken the SYN.
    pub(super) server_inner: Option<SocketAddr>,
    /// What the server's kernel expects the handshake's last ACK to acknowledge.
    pub(super) handshake_ack: Option<u32>,
    /// The client's kernel has the SYN-ACK.
    pub(super) client_open: bool,
    /// The server's kernel has the handshake's last ACK.
    pub(super) server_open: bool,
    /// The caller gave up before the handshake was done.
    pub(super) abandoned: bool,
    /// A reset has arrived somewhere.
    pub(super) reset: bool,
    pub(super) in_flight: u32,
    to_server: Direction,
    to_client: Direction,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Direction {
    /// Packets sent so far.
    sent: u64,
    /// When the latest of them is due.
    last_due: Timestamp,
    /// The FIN has arrived.
    finished: bool,
}

impl Conn {
    pub(super) fn new(
        client: SocketAddr,
        client_inner: IpAddr,
        server: SocketAddr,
        far: IpAddr,
        entity: u64,
    ) -> Self {
        Self {
            generation: 0,
            client,
            server,
            far,
            entity,
            client_inner: SocketAddr::new(client_inner, 0),
            server_inner: None,
            handshake_ack: None,
            client_open: false,
            server_open: false,
            abandoned: false,
            reset: false,
            in_flight: 0,
            to_server: Direction::default(),
            to_client: Direction::default(),
        }
    }

    /// Number of the next packet in `way`, unique over both directions.
    pub(super) fn next_packet(&self, way: Way) -> u64 {
        match way {
            Way::ToServer => self.to_server.sent * 2,
            Way::ToClient => self.to_client.sent * 2 + 1,
        }
    }

    /// Puts a packet on its way; answers when it is due: never before an earlier one.
    pub(super) fn dispatch(&mut self, way: Way, now: Timestamp, travel: Duration) -> Timestamp {
        self.in_flight += 1;
        let direction = self.direction(way);
        direction.sent += 1;
        direction.last_due = direction.last_due.max(now + travel);
        direction.last_due
    }

    /// A FIN has arrived.
    pub(super) fn finish(&mut self, way: Way) {
        self.direction(way).finished = true;
    }

    /// No kernel will send another packet once the last in flight has arrived and was answered.
    pub(super) fn is_over(&self) -> bool {
        let closed = self.to_server.finished && self.to_client.finished;
        self.in_flight == 0 && (closed || self.reset || self.abandoned)
    }

    /// Where a packet's receiver is: its socket inside its kernel.
    pub(super) fn inner(&self, way: Way) -> Option<SocketAddr> {
        match way {
            Way::ToServer => self.server_inner,
            Way::ToClient => Some(self.client_inner),
        }
    }

    fn direction(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}
