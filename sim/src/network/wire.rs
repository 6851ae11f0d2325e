//! The wire between the kernels: gives each packet a time of arrival, and delivers it then.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use traject_engine::Timestamp;
use traject_engine::rng::{Purpose, Seed, entity};
use turmoil_net::{EnterGuard, HostId, KernelConfig, Net, Packet, TcpFlags, TcpSegment, Transport};

use super::agenda::{Agenda, Timers};
use super::conn::{CONNECTIONS_MAX, Conn, ConnRef, EPHEMERAL_PORT_MIN, Way};
use super::links::{Link, LinkTable};
use super::world::{Side, Stats, WorldOptions};

/// Everything of a world that is not a task.
pub(super) struct Wire {
    /// `None` once the world has ended.
    guard: Option<EnterGuard>,
    seed: Seed,
    sources: Vec<IpAddr>,
    our_kernels: Vec<Kernel>,
    farm: Kernel,
    pub(super) links: LinkTable,
    pub(super) timers: Timers,
    conns: Slab<Conn>,
    /// Connections whose last packet has arrived: forgotten when the answer to it, if any, is out.
    closing: Vec<ConnRef>,
    generation: u16,
    /// Connections so far by (far address, our address, port), to key their draws.
    opened: BTreeMap<(IpAddr, IpAddr, u16), u64>,
    listeners: BTreeMap<SocketAddr, SocketAddr>,
    parcels: Agenda<Parcel>,
    outgoing: Vec<Packet>,
    pub(super) stats: Stats,
}

/// One kernel: its host in turmoil-net, its only address, and the last port given to a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    pub(super) host: HostId,
    address: IpAddr,
    listener_port: u16,
}

/// A packet on its way.
struct Parcel {
    conn: ConnRef,
    way: Way,
    segment: TcpSegment,
}

impl Wire {
    /// Installs the network on this thread.
    pub(super) fn new(options: &WorldOptions) -> Self {
        let config = KernelConfig::default()
            .mtu(options.mtu)
            .recv_buf_cap(RECEIVE_BUFFER_BYTES)
            .send_buf_cap(SEND_BUFFER_BYTES)
            .default_backlog(usize::MAX)
            .retx_threshold(u32::MAX);
        let mut net = Net::with_config(config);
        let mut kernel = |number: u8| {
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number));
            Kernel { host: net.add_host(address), address, listener_port: 0 }
        };
        let farm = kernel(1);
        let our_kernels = (0..options.sources.len().clamp(1, OUR_KERNELS_MAX))
            .map(|index| kernel(2 + index as u8))
            .collect();
        Self {
            guard: Some(net.enter()),
            seed: options.seed,
            sources: options.sources.clone(),
            our_kernels,
            farm,
            links: LinkTable::new(options.link),
            timers: Timers::default(),
            conns: Slab::new(),
            closing: Vec::new(),
            generation: 0,
            opened: BTreeMap::new(),
            listeners: BTreeMap::new(),
            parcels: Agenda::new(),
            outgoing: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Starts a connection; its SYN is still to be sent by the kernel of the answered host.
    pub(super) fn open(
        &mut self,
        side: Side,
        source: Option<IpAddr>,
        server: SocketAddr,
    ) -> io::Result<(ConnRef, HostId)> {
        if self.conns.len() >= CONNECTIONS_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let client = self.source_for(side, source, server.ip())?;
        let kernel = self.kernel_of(side, client);
        let (near, far) = match self.is_ours(server.ip()) {
            true => (server.ip(), client),
            false => (client, server.ip()),
        };
        let nth = self.opened.entry((far, near, server.port())).or_insert(0);
        *nth += 1;
        let entity = entity(format!("{far} {near} {} {nth}", server.port()).as_bytes());
        let client = SocketAddr::new(client, 0);
        let mut conn = Conn::new(client, kernel.address, server, far, entity);
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        conn.generation = self.generation;
        let slot = self.conns.insert(conn);
        self.stats.connections += 1;
        Ok((ConnRef { slot, generation: self.generation }, kernel.host))
    }

    /// The address a connection comes from.
    fn source_for(&self, side: Side, source: Option<IpAddr>, server: IpAddr) -> io::Result<IpAddr> {
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

    fn kernel_of(&self, side: Side, address: IpAddr) -> Kernel {
        match side {
            Side::Farm => self.farm,
            Side::Ours => {
                let index = self.sources.iter().position(|source| *source == address);
                self.our_kernels[index.unwrap_or(0) % self.our_kernels.len()]
            }
        }
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.sources.contains(&address)
    }

    /// Chooses where the listener for `local` lives: answers with the address that is bound for
    /// good (a free port instead of port 0), the kernel's host, and the socket inside it.
    pub(super) fn place_listener(
        &mut self,
        side: Side,
        local: SocketAddr,
    ) -> io::Result<(SocketAddr, HostId, SocketAddr)> {
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
        let kernel = match side {
            Side::Farm => &mut self.farm,
            Side::Ours => &mut self.our_kernels[0],
        };
        kernel.listener_port = kernel.listener_port % (EPHEMERAL_PORT_MIN - 1) + 1;
        Ok((outer, kernel.host, SocketAddr::new(kernel.address, kernel.listener_port)))
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

    pub(super) fn listen(&mut self, outer: SocketAddr, inner: SocketAddr) {
        self.listeners.insert(outer, inner);
    }

    pub(super) fn unlisten(&mut self, outer: SocketAddr) {
        self.listeners.remove(&outer);
    }

    /// The socket that takes connections for `server`.
    fn listener_for(&self, server: SocketAddr) -> Option<SocketAddr> {
        let any: IpAddr = match server.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let wildcard = SocketAddr::new(any, server.port());
        self.listeners.get(&server).copied().or_else(|| {
            self.is_ours(server.ip()).then(|| self.listeners.get(&wildcard).copied()).flatten()
        })
    }

    /// The connecting side of a connection.
    pub(super) fn client_of(&self, conn: ConnRef) -> Option<SocketAddr> {
        self.get(conn).map(|conn| conn.client)
    }

    fn get(&self, conn: ConnRef) -> Option<&Conn> {
        self.conns.get(conn.slot).filter(|found| found.generation == conn.generation)
    }

    fn get_mut(&mut self, conn: ConnRef) -> Option<&mut Conn> {
        self.conns.get_mut(conn.slot).filter(|found| found.generation == conn.generation)
    }

    /// Takes what the kernels want to send, and puts it on its way.
    pub(super) fn collect(&mut self, now: Timestamp) {
        self.stats.collections += 1;
        let mut packets = std::mem::take(&mut self.outgoing);
        self.guard().egress_all(&mut packets);
        for packet in packets.drain(..) {
            self.send(now, packet);
        }
        self.outgoing = packets;
        for conn in std::mem::take(&mut self.closing) {
            if self.get(conn).is_some_and(Conn::is_over) {
                self.conns.remove(conn.slot);
            }
        }
    }

    /// Sends one packet of a kernel.
    fn send(&mut self, now: Timestamp, packet: Packet) {
        let Transport::Tcp(segment) = packet.payload else { return };
        let Some(conn_ref) = ConnRef::from_alias(packet.dst, segment.dst_port) else { return };
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let way =
            if segment.src_port >= EPHEMERAL_PORT_MIN { Way::ToServer } else { Way::ToClient };
        match way {
            Way::ToServer if segment.flags.syn => {
                conn.client_inner.set_port(segment.src_port);
                conn.client.set_port(segment.src_port);
            }
            Way::ToClient if segment.flags.syn => {
                conn.handshake_ack = Some(segment.seq.wrapping_add(1));
                if conn.abandoned {
                    self.bury(conn_ref);
                    return;
                }
            }
            _ => {}
        }
        self.put(now, conn_ref, way, segment);
    }

    /// Schedules a segment.
    fn put(&mut self, now: Timestamp, conn_ref: ConnRef, way: Way, segment: TcpSegment) {
        let seed = self.seed;
        let Some(conn) = self.conns.get_mut(conn_ref.slot) else { return };
        // What stays between our own addresses takes no time.
        let stays = self.sources.contains(&conn.far) || conn.far.is_loopback();
        let link = if stays { Link::default() } else { self.links.get(conn.far) };
        let jitter = link.jitter.as_micros() as u64;
        let drawn = match jitter {
            0 => 0,
            most => seed.draw_below(Purpose::Latency, conn.entity, conn.next_packet(way), most + 1),
        };
        let due = conn.dispatch(way, now, link.latency + Duration::from_micros(drawn));
        self.parcels.insert(due, Parcel { conn: conn_ref, way, segment });
    }

    /// When the next packet or timer is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        match (self.parcels.next_due(), self.timers.next_due()) {
            (Some(packet), Some(timer)) => Some(packet.min(timer)),
            (packet, timer) => packet.or(timer),
        }
    }

    /// Delivers and wakes what is due at `now`. Answers whether a packet was delivered.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        let mut delivered = false;
        while let Some(parcel) = self.parcels.pop_due(now) {
            self.arrive(now, parcel);
            delivered = true;
        }
        while let Some(waker) = self.timers.pop_due(now) {
            self.stats.timers += 1;
            waker.wake();
        }
        delivered
    }

    /// A packet has reached its receiver.
    fn arrive(&mut self, now: Timestamp, parcel: Parcel) {
        let Parcel { conn: conn_ref, way, segment } = parcel;
        self.stats.packets += 1;
        let Some(conn) = self.get_mut(conn_ref) else { return };
        conn.in_flight -= 1;
        if conn.abandoned {
            self.closing.push(conn_ref);
            return;
        }
        if way == Way::ToServer && segment.flags.syn {
            let server = conn.server;
            match self.listener_for(server) {
                Some(inner) => self.conns[conn_ref.slot].server_inner = Some(inner),
                None => return self.refuse(now, conn_ref, &segment),
            }
        }
        let conn = &mut self.conns[conn_ref.slot];
        match way {
            Way::ToClient => conn.client_open |= segment.flags.syn,
            Way::ToServer => conn.server_open |= !segment.flags.syn && segment.flags.ack,
        }
        conn.reset |= segment.flags.rst;
        if segment.flags.fin {
            conn.finish(way);
        }
        if conn.is_over() {
            self.closing.push(conn_ref);
        }
        self.deliver(conn_ref, way, segment);
    }

    /// Hands a segment to the kernel of its receiver.
    fn deliver(&self, conn_ref: ConnRef, way: Way, mut segment: TcpSegment) {
        let Some(receiver) = self.get(conn_ref).and_then(|conn| conn.inner(way)) else { return };
        let alias = conn_ref.alias();
        segment.src_port = alias.port();
        segment.dst_port = receiver.port();
        let payload = Transport::Tcp(segment);
        self.guard().deliver(Packet { src: alias.ip(), dst: receiver.ip(), ttl: 64, payload });
    }

    /// Answers a SYN for which there is no listener (RFC 9293 section 3.10.7.1).
    fn refuse(&mut self, now: Timestamp, conn: ConnRef, syn: &TcpSegment) {
        let reset = control(RST, 0, syn.seq.wrapping_add(1));
        self.put(now, conn, Way::ToClient, reset);
    }

    /// The caller of `connect` gave up. A kernel forgets a socket that is still connecting without
    /// a word, so the other side is told here: a half-open child would stay for ever.
    pub(super) fn abandon(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        if conn.client_open || conn.reset {
            return;
        }
        conn.abandoned = true;
        self.closing.push(conn_ref);
        self.bury(conn_ref);
    }

    /// Completes a half-open handshake at the server and resets it at once, so that `accept` finds
    /// the child, sees that its connection is gone, and closes it.
    fn bury(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let Some(ack) = conn.handshake_ack else { return };
        if !conn.server_open {
            conn.server_open = true;
            self.deliver(conn_ref, Way::ToServer, control(ACK, 0, ack));
        }
        self.deliver(conn_ref, Way::ToServer, control(RST, 0, 0));
    }

    /// Resets a connection from one end: at once there, a latency later at the peer. `sending` is
    /// the way from that end to its peer.
    pub(super) fn reset(&mut self, now: Timestamp, conn_ref: ConnRef, sending: Way) {
        if self.get(conn_ref).is_none() {
            return;
        }
        self.deliver(conn_ref, sending.opposite(), control(RST, 0, 0));
        self.put(now, conn_ref, sending, control(RST, 0, 0));
    }

    /// Whether an accepted connection still has a client.
    pub(super) fn is_alive(&self, conn: ConnRef) -> bool {
        self.get(conn).is_some_and(|conn| !conn.abandoned)
    }

    /// Connections that a kernel or a packet still knows.
    pub(super) fn open_connections(&self) -> usize {
        self.conns.len()
    }

    /// Takes the network off this thread. Every socket is gone by now.
    pub(super) fn end(&mut self) {
        self.guard = None;
    }

    fn guard(&self) -> &EnterGuard {
        // Unwrap is OK because a world collects and delivers only while it runs.
        self.guard.as_ref().expect("present until the world ends")
    }
}

/// A segment without data.
fn control(flags: TcpFlags, seq: u32, ack: u32) -> TcpSegment {
    TcpSegment {
        src_port: 0,
        dst_port: 0,
        seq,
        ack,
        flags,
        window: u16::MAX,
        payload: Bytes::new(),
    }
}

const NO_FLAGS: TcpFlags =
    TcpFlags { syn: false, ack: false, fin: false, rst: false, psh: false, urg: false };
const ACK: TcpFlags = TcpFlags { ack: true, ..NO_FLAGS };
const RST: TcpFlags = TcpFlags { rst: true, ack: true, ..NO_FLAGS };

/// Kernels for our addresses; more addresses share them. A kernel has 16,384 ports for
/// connections, and each costs time whenever packets are collected.
const OUR_KERNELS_MAX: usize = 8;

/// Data received and not yet read, for each connection.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Data written and not yet acknowledged, for each connection.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// First port that `bind` to port 0 tries.
const FREE_PORT_MIN: u16 = 10_000;
