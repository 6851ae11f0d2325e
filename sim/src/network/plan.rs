//! Who has which address, and who listens where.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use traject_engine::rng::entity;
use turmoil_net::{HostId, Net};

/// First port that kernels give to the connecting side; listeners stay below.
pub(super) const EPHEMERAL_PORT_MIN: u16 = 49_152;

/// Who uses a [`SimNetwork`](super::SimNetwork).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Farm,
}

/// The addresses of both sides, their kernels and their listeners.
#[derive(Debug)]
pub(super) struct Plan {
    sources: Vec<IpAddr>,
    our_kernels: Vec<Kernel>,
    farm_kernels: Vec<Kernel>,
    /// Listeners placed so far.
    placed: usize,
    listeners: BTreeMap<SocketAddr, Door>,
}

/// One kernel: its host in turmoil-net, its only address, and the last port given to a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    pub(super) host: HostId,
    pub(super) address: IpAddr,
    listener_port: u16,
}

/// Where a listener lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The address it listens on; its port is never 0.
    pub(super) outer: SocketAddr,
    /// Its kernel's host.
    pub(super) host: HostId,
    /// Its socket there.
    pub(super) inner: SocketAddr,
}

/// A listener that takes connections.
#[derive(Clone, Copy, Debug)]
struct Door {
    inner: SocketAddr,
    backlog: usize,
    /// Clients whose handshake is done and who wait for `accept`.
    waiting: usize,
}

/// What a listener says to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody listens.
    Refused,
    /// Too many clients wait already.
    Full,
    /// The socket `inner` of the listener on `listener` takes it.
    Taken { listener: SocketAddr, inner: SocketAddr },
}

impl Plan {
    /// Makes the kernels.
    pub(super) fn new(net: &mut Net, sources: Vec<IpAddr>) -> Self {
        let mut kernels = |network: u8| -> Vec<Kernel> {
            let address = |number: u8| IpAddr::V4(Ipv4Addr::new(10, 0, network, number));
            (1..=KERNELS_PER_SIDE)
                .map(address)
                .map(|address| Kernel { host: net.add_host(address), address, listener_port: 0 })
                .collect()
        };
        let (our_kernels, farm_kernels) = (kernels(0), kernels(1));
        Self { sources, our_kernels, farm_kernels, placed: 0, listeners: BTreeMap::new() }
    }

    /// Whether `address` is on our side.
    pub(super) fn is_ours(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.sources.contains(&address)
    }

    /// The address a connection comes from.
    pub(super) fn source_for(
        &self,
        side: Side,
        source: Option<IpAddr>,
        server: IpAddr,
    ) -> io::Result<IpAddr> {
        if side == Side::Farm && server.is_loopback() {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        match (side, source) {
            (_, Some(source)) if source.is_ipv4() != server.is_ipv4() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "address families differ"))
            }
            (Side::Ours, Some(source)) if self.is_ours(source) => Ok(source),
            (Side::Farm, Some(source)) if !self.is_ours(source) => Ok(source),
            (Side::Ours, None) if server.is_loopback() => Ok(server),
            (Side::Ours, None) => self
                .sources
                .iter()
                .copied()
                .find(|source| source.is_ipv4() == server.is_ipv4())
                .ok_or_else(|| io::ErrorKind::NetworkUnreachable.into()),
            (Side::Farm, None) | (_, Some(_)) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// The kernel that connects from `source` to `server`. All connections between the two are
    /// in one kernel, so no two have the same ports.
    pub(super) fn kernel_for(&self, side: Side, source: IpAddr, server: IpAddr) -> Kernel {
        let kernels = match side {
            Side::Farm => &self.farm_kernels,
            Side::Ours => &self.our_kernels,
        };
        let hash = entity_of(source).rotate_left(32) ^ entity_of(server);
        kernels[(hash % kernels.len() as u64) as usize]
    }

    /// Chooses where a listener for `local` will live. Port 0 becomes a free port.
    pub(super) fn place(&mut self, side: Side, local: SocketAddr) -> io::Result<Place> {
        let allowed = match side {
            Side::Ours => local.ip().is_unspecified() || self.is_ours(local.ip()),
            Side::Farm => !local.ip().is_unspecified() && !self.is_ours(local.ip()),
        };
        if !allowed {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let outer = if local.port() == 0 { self.free_port(local.ip())? } else { local };
        if self.conflicts(outer) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.placed += 1;
        let number = self.placed % usize::from(KERNELS_PER_SIDE);
        let kernel = match side {
            Side::Farm => &mut self.farm_kernels[number],
            Side::Ours => &mut self.our_kernels[number],
        };
        kernel.listener_port = kernel.listener_port % (EPHEMERAL_PORT_MIN - 1) + 1;
        let inner = SocketAddr::new(kernel.address, kernel.listener_port);
        Ok(Place { outer, host: kernel.host, inner })
    }

    /// Places tried before a kernel counts as full of listeners.
    pub(super) const PLACES_MAX: u16 = EPHEMERAL_PORT_MIN - 1;

    /// The listener lives there now.
    pub(super) fn listen(&mut self, place: Place, backlog: u32) {
        let door = Door { inner: place.inner, backlog: backlog as usize, waiting: 0 };
        self.listeners.insert(place.outer, door);
    }

    /// The listener on `outer` is gone.
    pub(super) fn unlisten(&mut self, outer: SocketAddr) {
        self.listeners.remove(&outer);
    }

    /// A SYN for `server` has arrived.
    pub(super) fn knock(&self, server: SocketAddr) -> Answer {
        let wildcard = SocketAddr::new(wildcard(server.ip()), server.port());
        let found = self.listeners.get_key_value(&server).or_else(|| {
            self.listeners.get_key_value(&wildcard).filter(|_| self.is_ours(server.ip()))
        });
        match found {
            None => Answer::Refused,
            // As Linux counts: the queue is full when it is longer than the backlog.
            Some((_, door)) if door.waiting > door.backlog => Answer::Full,
            Some((listener, door)) => Answer::Taken { listener: *listener, inner: door.inner },
        }
    }

    /// A client waits for `accept`, or has stopped waiting.
    pub(super) fn count_waiting(
        &mut self,
        listener: Option<SocketAddr>,
        inner: Option<SocketAddr>,
        arrived: bool,
    ) {
        let door = listener.and_then(|listener| self.listeners.get_mut(&listener));
        // A later listener on the same address has clients of its own.
        if let Some(door) = door.filter(|door| Some(door.inner) == inner) {
            door.waiting = if arrived { door.waiting + 1 } else { door.waiting.saturating_sub(1) };
        }
    }

    /// A port of `address` where nobody listens.
    fn free_port(&self, address: IpAddr) -> io::Result<SocketAddr> {
        (FREE_PORT_MIN..EPHEMERAL_PORT_MIN)
            .map(|port| SocketAddr::new(address, port))
            .find(|local| !self.conflicts(*local))
            .ok_or_else(|| io::ErrorKind::AddrInUse.into())
    }

    /// Whether somebody listens on `local`, or on an address that includes it or lies in it.
    fn conflicts(&self, local: SocketAddr) -> bool {
        let overlaps = |other: &SocketAddr| {
            other.port() == local.port()
                && other.is_ipv4() == local.is_ipv4()
                && (other.ip() == local.ip()
                    || (local.ip().is_unspecified() && self.is_ours(other.ip()))
                    || (other.ip().is_unspecified() && self.is_ours(local.ip())))
        };
        self.listeners.contains_key(&local)
            || (local.ip().is_unspecified() || self.is_ours(local.ip()))
                && self.listeners.keys().any(overlaps)
    }
}

/// The address that stands for all of a family.
fn wildcard(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A number for an address.
fn entity_of(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => entity(&address.octets()),
        IpAddr::V6(address) => entity(&address.octets()),
    }
}

/// Kernels of each side. Opening and closing a connection takes time for every other connection of
/// its kernel; collecting packets takes a little time for every kernel. Each has 16,384 ports for
/// connecting.
pub(super) const KERNELS_PER_SIDE: u8 = 16;

/// First port that `bind` to port 0 tries.
const FREE_PORT_MIN: u16 = 10_000;
