//! The wire between the kernels: gives each packet a time of arrival, and delivers it then.
//!
//! turmoil-net's kernels are reliable only as long as no packet is lost, and they forget a socket
//! without a word in states that a real kernel tidies up. So the wire plays the parts that are
//! missing: it sends again what a black hole swallowed, times connections out, buries half-open
//! ones, announces windows, answers for sockets that are gone, and keeps a reset back until the
//! data before it is read.

mod ending;
mod inbound;
mod loss;
mod outbound;
mod sockets;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use traject_engine::Timestamp;
use traject_engine::rng::{Seed, entity};
use turmoil_net::{EnterGuard, HostId, KernelConfig, Net, Packet, TcpFlags, TcpSegment};

use self::outbound::{LOOKAHEAD_MAX, Outgoing};
use super::agenda::{Agenda, Timers};
use super::conn::{Addresses, CONNECTIONS_MAX, Conn, ConnRef, End};
use super::links::LinkTable;
use super::plan::{Plan, Side};
use super::world::{Observer, Stats, WorldOptions};

/// Everything of a world that is not a task.
pub(in crate::network) struct Wire {
    /// `None` once the world has ended.
    guard: Option<EnterGuard>,
    seed: Seed,
    now: Timestamp,
    pub(in crate::network) plan: Plan,
    pub(in crate::network) links: LinkTable,
    pub(in crate::network) timers: Timers,
    pub(in crate::network) observer: Option<Observer>,
    pub(in crate::network) stats: Stats,
    conns: Slab<Conn>,
    /// Connections with an end whose packets are outstanding.
    pending: Vec<ConnRef>,
    /// When these must be collected.
    deadline: Option<Timestamp>,
    lookahead_max: Duration,
    generation: u16,
    /// Connections so far by (far address, near address, server's port), to key their draws.
    opened: BTreeMap<(IpAddr, IpAddr, u16), u64>,
    events: Agenda<Event>,
    /// Reused by [`Self::advance`].
    due: Vec<Event>,
    /// Reused by [`Self::collect`].
    packets: Vec<Packet>,
    /// What is sent at this instant: on its way when the instant is over.
    outgoing: Vec<Outgoing>,
    sent: u64,
    largest_segment: usize,
}

/// Something that happens on the wire.
enum Event {
    /// A packet reaches the peer of `from`.
    Arrival { conn: ConnRef, from: End, segment: TcpSegment },
    /// Packets of `from` that were lost are sent again.
    Retry { conn: ConnRef, from: End },
}

impl Wire {
    /// Installs the network on this thread.
    pub(in crate::network) fn new(options: &WorldOptions) -> Self {
        let mtu = options.mtu.max(MTU_BYTES_MIN);
        let config = KernelConfig::default()
            .mtu(if options.offload { OFFLOADED_BYTES } else { mtu })
            .recv_buf_cap(RECEIVE_BUFFER_BYTES)
            .send_buf_cap(SEND_BUFFER_BYTES)
            .default_backlog(usize::MAX)
            .retx_threshold(u32::MAX);
        let mut net = Net::with_config(config);
        let plan = Plan::new(&mut net, options.sources.clone());
        Self {
            guard: Some(net.enter()),
            seed: options.seed,
            now: options.epoch,
            plan,
            links: LinkTable::new(options.link),
            timers: Timers::default(),
            observer: None,
            stats: Stats::default(),
            conns: Slab::new(),
            pending: Vec::new(),
            deadline: None,
            lookahead_max: LOOKAHEAD_MAX,
            generation: 0,
            opened: BTreeMap::new(),
            events: Agenda::new(),
            due: Vec::new(),
            packets: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            largest_segment: (mtu as usize).saturating_sub(HEADERS_BYTES),
        }
    }

    /// Collects packets at the instant at which they are sent.
    #[cfg(test)]
    pub(in crate::network) fn collect_at_once(&mut self) {
        self.lookahead_max = Duration::ZERO;
    }

    /// Takes the network off this thread. Every socket is gone by now.
    pub(in crate::network) fn end(&mut self) {
        self.guard = None;
    }

    /// Starts a connection; its SYN is still to be sent by the kernel of the answered host.
    pub(in crate::network) fn open(
        &mut self,
        side: Side,
        source: Option<IpAddr>,
        server: SocketAddr,
    ) -> io::Result<(ConnRef, HostId)> {
        if self.conns.len() >= CONNECTIONS_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let client = self.plan.source_for(side, source, server.ip())?;
        let kernel = self.plan.kernel_for(side, client, server.ip());
        let (near, far) = match self.plan.is_ours(server.ip()) {
            true => (server.ip(), client),
            false => (client, server.ip()),
        };
        let nth = self.opened.entry((far, near, server.port())).or_insert(0);
        *nth += 1;
        let entity = entity(format!("{far} {near} {} {nth}", server.port()).as_bytes());
        let addresses = Addresses {
            client: SocketAddr::new(client, 0),
            server,
            near,
            far,
            local: self.plan.is_ours(far) || client.is_loopback(),
        };
        let mut conn = Conn::new(addresses, SocketAddr::new(kernel.address, 0), entity);
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        conn.generation = self.generation;
        self.stats.connections += 1;
        conn.number = self.stats.connections;
        let slot = self.conns.insert(conn);
        let conn = ConnRef { slot, generation: self.generation };
        self.mark(conn, End::Client);
        Ok((conn, kernel.host))
    }

    /// Connections that a kernel, a packet or a task still knows.
    pub(in crate::network) fn open_connections(&self) -> usize {
        self.conns.len()
    }

    fn get(&self, conn: ConnRef) -> Option<&Conn> {
        self.conns.get(conn.slot).filter(|found| found.generation == conn.generation)
    }

    fn get_mut(&mut self, conn: ConnRef) -> Option<&mut Conn> {
        self.conns.get_mut(conn.slot).filter(|found| found.generation == conn.generation)
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

/// Every host takes packets of this size (RFC 791 section 3.1).
const MTU_BYTES_MIN: u32 = 576;

/// IP and TCP headers, without options (IPv4).
const HEADERS_BYTES: usize = 40;

/// Longer than any window: a packet carries all that may be sent.
const OFFLOADED_BYTES: u32 = 128 << 10;

/// Data received and not yet read, for each connection.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Largest window: there is no scaling.
const WINDOW_BYTES_MAX: usize = u16::MAX as usize;

/// Data written and not yet acknowledged, for each connection.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
