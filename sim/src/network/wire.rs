//! The wire between the kernels: gives each packet a time of arrival, and delivers it then.
//!
//! turmoil-net's kernels are reliable only as long as no packet is lost, and they forget a socket
//! without a word in states that a real kernel tidies up. So the wire plays the parts that are
//! missing: it sends again what a black hole swallowed, times connections out, buries half-open
//! ones, announces windows, answers for sockets that are gone, and keeps a reset back until the
//! data before it is read.
//!
//! Asking the kernels for packets costs time for every socket there is, so it is put off: what an
//! end sends now arrives a latency later at the earliest, and until then nobody can tell whether
//! the packet was collected. The wire collects when the first such packet might be due, or when
//! something else is about to happen at an end whose packets are outstanding, and each packet
//! counts as sent at the instant at which its end became active.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use std::{io, iter, mem};

use bytes::Bytes;
use slab::Slab;
use tracing::trace;
use traject_engine::Timestamp;
use traject_engine::rng::{Purpose, Seed, entity};
use turmoil_net::{EnterGuard, HostId, KernelConfig, Net, Packet, TcpFlags, TcpSegment, Transport};

use super::agenda::{Agenda, Timers};
use super::conn::{Addresses, CONNECTIONS_MAX, Conn, ConnRef, End};
use super::links::{Link, LinkTable, Path};
use super::patience::{self, Patience};
use super::plan::{Answer, EPHEMERAL_PORT_MIN, Plan, Side};
use super::world::{Observer, Sighting, Stats, WorldOptions};

/// Everything of a world that is not a task.
pub(super) struct Wire {
    /// `None` once the world has ended.
    guard: Option<EnterGuard>,
    seed: Seed,
    now: Timestamp,
    pub(super) plan: Plan,
    pub(super) links: LinkTable,
    pub(super) timers: Timers,
    pub(super) observer: Option<Observer>,
    pub(super) stats: Stats,
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

/// A packet that is sent: as which one of all, when, on which connection, by whom.
struct Outgoing {
    number: u64,
    sent: Timestamp,
    conn: ConnRef,
    from: End,
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
            largest_segment: (options.mtu as usize).saturating_sub(HEADERS_BYTES),
        }
    }

    /// Collects packets at the instant at which they are sent.
    #[cfg(test)]
    pub(super) fn collect_at_once(&mut self) {
        self.lookahead_max = Duration::ZERO;
    }

    /// Takes the network off this thread. Every socket is gone by now.
    pub(super) fn end(&mut self) {
        self.guard = None;
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
    pub(super) fn open_connections(&self) -> usize {
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

/// What goes out.
impl Wire {
    /// Something is about to happen at one end: what it has sent before must not change by it.
    pub(super) fn touch(&mut self, conn_ref: ConnRef, end: End) {
        let now = self.now;
        let since = self.get(conn_ref).and_then(|conn| conn.end(end).pending_since);
        if since.is_some_and(|since| since < now) {
            self.collect();
        }
    }

    /// Something has happened, or is about to happen, at one end: it may send packets now.
    pub(super) fn mark(&mut self, conn_ref: ConnRef, end: End) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(conn_ref.slot) else { return };
        if conn.generation != conn_ref.generation || conn.end(end).pending_since.is_some() {
            return;
        }
        conn.end_mut(end).pending_since = Some(now);
        let Addresses { near, far, local, .. } = conn.addresses;
        self.links.refresh(&mut conn.route, near, far);
        let latency = conn.route.link.latency + conn.route.delay;
        // What was collected at this very instant must be seen together with what is to come.
        let at_once = local || conn.end(end).last_sent_at == now;
        let ahead = if at_once { Duration::ZERO } else { latency.min(self.lookahead_max) };
        self.pending.push(conn_ref);
        self.collect_by(now + ahead);
    }

    /// A listener is gone: its kernel may send packets now for whoever waited.
    pub(super) fn mark_listener(&mut self) {
        self.collect_by(self.now);
    }

    fn collect_by(&mut self, deadline: Timestamp) {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// Puts everything that was sent on its way, before what it meets is changed.
    pub(super) fn flush(&mut self) {
        if self.deadline.is_some() {
            self.collect();
        }
        self.dispatch(Timestamp::NEVER);
    }

    /// Takes what the kernels want to send. They forget closed sockets.
    fn collect(&mut self) {
        self.stats.collections += 1;
        self.deadline = None;
        let mut packets = mem::take(&mut self.packets);
        self.guard().egress_all(&mut packets);
        for packet in packets.drain(..) {
            self.identify(packet);
        }
        self.packets = packets;
        self.dispatch(self.now);
        let mut pending = mem::take(&mut self.pending);
        for conn_ref in pending.drain(..) {
            if let Some(conn) = self.get_mut(conn_ref) {
                (conn.client.pending_since, conn.server.pending_since) = (None, None);
            }
            self.settle(conn_ref);
        }
        self.pending = pending;
    }

    /// Puts what was sent before `until` on its way. Like a kernel that delays its
    /// acknowledgements, one packet acknowledges all that arrived at one instant.
    fn dispatch(&mut self, until: Timestamp) {
        let mut outgoing = mem::take(&mut self.outgoing);
        outgoing.sort_by_key(|outgoing| outgoing.sent);
        let end = outgoing.partition_point(|outgoing| outgoing.sent < until);
        for Outgoing { number, sent, conn, from, segment } in outgoing.drain(..end) {
            let Some(found) = self.get_mut(conn) else { continue };
            found.in_flight -= 1;
            if !found.is_redundant(from, number, &segment) {
                self.put(sent, conn, from, segment);
            }
        }
        self.outgoing = outgoing;
    }

    /// One end sends a segment at `sent`.
    fn emit(&mut self, sent: Timestamp, conn_ref: ConnRef, from: End, segment: TcpSegment) {
        self.sent += 1;
        let number = self.sent;
        let Some(conn) = self.get_mut(conn_ref) else { return };
        conn.in_flight += 1;
        conn.end_mut(from).last_sent = number;
        conn.end_mut(from).last_sent_at = sent;
        self.outgoing.push(Outgoing { number, sent, conn: conn_ref, from, segment });
    }

    /// Finds out whose packet this is, and notes what it says about its sender.
    fn identify(&mut self, packet: Packet) {
        let Transport::Tcp(segment) = packet.payload else { return };
        let Some(conn_ref) = ConnRef::from_alias(packet.dst, segment.dst_port) else { return };
        let now = self.now;
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let from = if segment.src_port >= EPHEMERAL_PORT_MIN { End::Client } else { End::Server };
        if segment.flags.syn {
            match from {
                End::Client => {
                    conn.addresses.client.set_port(segment.src_port);
                    conn.client.inner.iter_mut().for_each(|own| own.set_port(segment.src_port));
                }
                End::Server => {
                    conn.handshake_ack = Some(segment.seq.wrapping_add(1));
                    if conn.server.dead {
                        return self.bury(conn_ref);
                    }
                }
            }
        }
        conn.note_sent(from, &segment);
        let sent = conn.end(from).pending_since.unwrap_or(now);
        if segment.flags.rst {
            conn.end_mut(from).dead = true;
            if from == End::Server && !conn.accepted {
                self.leave_queue(conn_ref);
            }
        }
        self.emit(sent, conn_ref, from, segment);
    }

    /// Puts a segment on the wire: on its way, or behind those that are lost.
    fn put(&mut self, sent: Timestamp, conn_ref: ConnRef, from: End, segment: TcpSegment) {
        let Some(conn) = self.conns.get_mut(conn_ref.slot) else { return };
        debug_assert_eq!(conn.generation, conn_ref.generation);
        let Addresses { near, far, local, .. } = conn.addresses;
        self.links.refresh(&mut conn.route, near, far);
        let lost = conn.cut || conn.route.black_hole;
        if lost || !conn.end(from).held.is_empty() {
            return self.hold(sent, conn_ref, from, segment);
        }
        // What stays between our own addresses takes no time.
        let link = if local { Link::default() } else { conn.route.link };
        let jitter = match link.jitter.as_micros() as u64 {
            0 => 0,
            most => {
                let n = conn.next_packet(from);
                self.seed.draw_below(Purpose::Latency, conn.entity, n, most + 1)
            }
        };
        let bytes = (HEADERS_BYTES + segment.payload.len()) as u32;
        let outbound = conn.address(from).ip() == near;
        let leaves = self.links.occupy(sent, link, far, outbound, bytes);
        let travel = leaves + link.latency + conn.route.delay + Duration::from_micros(jitter);
        let due = conn.depart(from, sent, travel);
        debug_assert!(due >= self.now, "collected too late");
        let rank = conn.rank(from);
        self.events.insert(due, rank, Event::Arrival { conn: conn_ref, from, segment });
    }

    /// A segment is lost: it waits to be sent again.
    fn hold(&mut self, sent: Timestamp, conn_ref: ConnRef, from: End, segment: TcpSegment) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let (patience, rank) = (patience_of(conn), conn.rank(from));
        let sender = conn.end_mut(from);
        sender.held.push_back(segment);
        if sender.held.len() == 1 {
            sender.retries = 0;
            let retry = Event::Retry { conn: conn_ref, from };
            self.events.insert(sent + patience.wait(0), rank, retry);
        }
    }

    /// What was lost is sent again, if its end still has the patience.
    fn retry(&mut self, conn_ref: ConnRef, from: End) {
        self.touch(conn_ref, from);
        let Some(conn) = self.conns.get_mut(conn_ref.slot) else { return };
        if conn.generation != conn_ref.generation || conn.end(from).held.is_empty() {
            return;
        }
        self.links.refresh(&mut conn.route, conn.addresses.near, conn.addresses.far);
        if conn.cut
            || conn.route.black_hole
            || (from == End::Client && self.queue_is_full(conn_ref))
        {
            return self.retry_later(conn_ref, from);
        }
        let held = mem::take(&mut self.conns[conn_ref.slot].end_mut(from).held);
        for segment in held {
            self.emit(self.now, conn_ref, from, segment);
        }
    }

    fn retry_later(&mut self, conn_ref: ConnRef, from: End) {
        let now = self.now;
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let (patience, rank) = (patience_of(conn), conn.rank(from));
        let sender = conn.end_mut(from);
        sender.retries += 1;
        if sender.retries < patience.tries {
            let next = now + patience.wait(sender.retries);
            self.events.insert(next, rank, Event::Retry { conn: conn_ref, from });
        } else {
            self.give_up(conn_ref, from);
        }
    }

    /// What `from` sent was lost too often. The end that waited for an answer times out: `from`
    /// for data, its peer for mere acknowledgements.
    fn give_up(&mut self, conn_ref: ConnRef, from: End) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let opening = !conn.client.open;
        let held = mem::take(&mut conn.end_mut(from).held);
        let wants_answer = |segment: &TcpSegment| {
            segment.flags.fin || segment.flags.syn || !segment.payload.is_empty()
        };
        let victim = match held.iter().any(wants_answer) {
            true => from,
            false => from.peer(),
        };
        if held.iter().all(|segment| segment.flags.rst) {
            return self.settle(conn_ref);
        }
        let victims: &[End] = if opening { &[End::Client, End::Server] } else { &[victim] };
        for victim in victims {
            if let Some(conn) = self.get_mut(conn_ref) {
                let timed_out = !conn.end(*victim).dead;
                conn.end_mut(*victim).timed_out |= timed_out;
            }
            self.kill(conn_ref, *victim);
        }
        self.settle(conn_ref);
    }
}

/// What comes in.
impl Wire {
    /// When the next event or timer is due, once every packet that might come first is collected.
    pub(super) fn next_due(&mut self) -> Option<Timestamp> {
        loop {
            if self.deadline.is_some_and(|deadline| deadline <= self.now) {
                self.collect();
            }
            self.dispatch(Timestamp::NEVER);
            let due = match (self.events.next_due(), self.timers.next_due()) {
                (Some(event), Some(timer)) => Some(event.min(timer)),
                (event, timer) => event.or(timer),
            };
            match self.deadline {
                Some(deadline) if due.is_none_or(|due| deadline <= due) => self.collect(),
                _ => return due,
            }
        }
    }

    /// Goes to `now`: lets happen what is due, and wakes who slept until then.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let mut due = mem::take(&mut self.due);
        loop {
            due.extend(iter::from_fn(|| self.events.pop_due(now)));
            if due.is_empty() {
                break;
            }
            if self.disturbs(&due) {
                self.collect();
            }
            for event in due.drain(..) {
                match event {
                    Event::Arrival { conn, from, segment } => self.arrive(conn, from, segment),
                    Event::Retry { conn, from } => self.retry(conn, from),
                }
            }
        }
        self.due = due;
        while let Some(waker) = self.timers.pop_due(now) {
            self.stats.timers += 1;
            waker.wake();
        }
    }

    /// Whether events happen at ends whose packets of earlier instants are outstanding, or may do.
    /// Then these are collected before the first of the events: later, what other ends have sent
    /// so far at this instant would be cut in two.
    fn disturbs(&self, due: &[Event]) -> bool {
        let timers_too = self.timers.next_due().is_some_and(|timer| timer <= self.now);
        let outstanding = |event: &Event| match event {
            Event::Arrival { conn, from, segment } => self.get(*conn).is_some_and(|conn| {
                let to = from.peer();
                conn.end(to).pending_since.is_some() && !conn.is_silent(to, segment)
            }),
            Event::Retry { .. } => true,
        };
        self.deadline.is_some() && (timers_too || due.iter().any(outstanding))
    }

    /// A packet has reached its receiver.
    fn arrive(&mut self, conn_ref: ConnRef, from: End, segment: TcpSegment) {
        self.stats.packets += 1;
        let to = from.peer();
        self.observe(conn_ref, from, &segment);
        let Some(conn) = self.get_mut(conn_ref) else { return };
        conn.in_flight -= 1;
        if conn.abandoned {
            return self.settle(conn_ref);
        }
        if conn.end(to).dead {
            if !segment.flags.rst {
                self.emit(self.now, conn_ref, to, control(RST, 0, 0));
            }
            return self.settle(conn_ref);
        }
        if !conn.is_silent(to, &segment) {
            self.touch(conn_ref, to);
            self.mark(conn_ref, to);
        }
        if from == End::Client && segment.flags.syn {
            return self.arrive_syn(conn_ref, segment);
        }
        if segment.flags.rst {
            self.kill(conn_ref, to);
            return self.settle(conn_ref);
        }
        let conn = &mut self.conns[conn_ref.slot];
        let left = conn.end(to).open && !conn.end(to).used;
        if !segment.payload.is_empty() && (conn.route.reset || left) {
            self.kill(conn_ref, to);
            return self.emit(self.now, conn_ref, to, control(RST, 0, 0));
        }
        conn.note_arrival(from, &segment);
        let opens = to == End::Server && !conn.server.open;
        self.deliver(conn_ref, to, segment);
        if opens {
            self.enter_queue(conn_ref);
        }
        self.settle(conn_ref);
    }

    /// A SYN has reached the server's address.
    fn arrive_syn(&mut self, conn_ref: ConnRef, syn: TcpSegment) {
        let conn = &mut self.conns[conn_ref.slot];
        self.links.refresh(&mut conn.route, conn.addresses.near, conn.addresses.far);
        let answer = match conn.route.refuse {
            true => Answer::Refused,
            false => self.plan.knock(conn.addresses.server),
        };
        match answer {
            Answer::Refused => {
                let reset = control(RST, 0, syn.seq.wrapping_add(1));
                self.emit(self.now, conn_ref, End::Server, reset);
            }
            Answer::Full => self.hold(self.now, conn_ref, End::Client, syn),
            Answer::Taken { listener, inner } => {
                conn.listener = Some(listener);
                conn.server.inner = Some(inner);
                self.deliver(conn_ref, End::Server, syn);
            }
        }
    }

    /// Whether a SYN that is held would find the queue of its listener full again.
    fn queue_is_full(&self, conn: ConnRef) -> bool {
        self.get(conn).is_some_and(|conn| {
            conn.server.inner.is_none()
                && !conn.route.refuse
                && self.plan.knock(conn.addresses.server) == Answer::Full
        })
    }

    /// Hands a segment to the kernel of one end.
    fn deliver(&self, conn_ref: ConnRef, to: End, mut segment: TcpSegment) {
        let Some(receiver) = self.get(conn_ref).and_then(|conn| conn.end(to).inner) else { return };
        let alias = conn_ref.alias();
        segment.src_port = alias.port();
        segment.dst_port = receiver.port();
        let payload = Transport::Tcp(segment);
        self.guard().deliver(Packet { src: alias.ip(), dst: receiver.ip(), ttl: 64, payload });
    }

    /// Tells whoever watches.
    fn observe(&mut self, conn_ref: ConnRef, from: End, segment: &TcpSegment) {
        let Some(conn) = self.get(conn_ref) else { return };
        let (source, destination) = (conn.address(from), conn.address(from.peer()));
        let bytes = segment.payload.len();
        trace!(at = %self.now, %source, %destination, flags = ?segment.flags, bytes);
        if let Some(observer) = &mut self.observer {
            observer(&Sighting {
                at: self.now,
                source,
                destination,
                syn: segment.flags.syn,
                fin: segment.flags.fin,
                rst: segment.flags.rst,
                data: &segment.payload,
            });
        }
    }
}

/// How connections end.
impl Wire {
    /// The kernel of one end drops its connection now.
    fn kill(&mut self, conn_ref: ConnRef, end: End) {
        self.touch(conn_ref, end);
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let terminal = conn.end_mut(end);
        if mem::replace(&mut terminal.dead, true) {
            return;
        }
        if end == End::Server && !terminal.open {
            return self.bury(conn_ref);
        }
        // Linux hands out what has arrived before it reports the reset. A writer is woken by the
        // acknowledgement, to find that its data goes nowhere.
        let unread = terminal.used && terminal.unread > 0;
        terminal.reset_waits = unread;
        let acknowledged = conn.end(end.peer()).acknowledged;
        let last = if unread { control(ACK, 0, acknowledged) } else { control(RST, 0, 0) };
        self.deliver(conn_ref, end, last);
    }

    /// Completes a half-open handshake at the server and resets it at once. The kernel would keep a
    /// half-open child for ever; this way `accept` finds it, sees that its connection is gone, and
    /// closes it.
    fn bury(&self, conn_ref: ConnRef) {
        let Some(ack) = self.get(conn_ref).and_then(|conn| conn.handshake_ack) else { return };
        self.deliver(conn_ref, End::Server, control(ACK, 0, ack));
        self.deliver(conn_ref, End::Server, control(RST, 0, 0));
    }

    /// The caller of `connect` gave up, or was refused.
    pub(super) fn abandon(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        conn.client.used = false;
        if !conn.client.open && !mem::replace(&mut conn.client.dead, true) {
            conn.abandoned = true;
            conn.client.held.clear();
            conn.server.held.clear();
            self.kill(conn_ref, End::Server);
        }
        self.settle(conn_ref);
    }

    /// Resets a connection from one end: at once there, a latency later at the peer. What it has
    /// sent must be collected.
    pub(super) fn reset(&mut self, conn_ref: ConnRef, from: End) {
        if self.get(conn_ref).is_none_or(|conn| conn.end(from).dead) {
            return;
        }
        self.kill(conn_ref, from);
        self.emit(self.now, conn_ref, from, control(RST, 0, 0));
    }

    /// Resets every connection on `path` from its far end.
    pub(super) fn reset_all(&mut self, path: Path) -> usize {
        self.flush();
        let concerned = self.on_path(path);
        for (conn, far) in &concerned {
            self.reset(*conn, *far);
        }
        concerned.len()
    }

    /// Loses whatever is sent from now on on every connection on `path`.
    pub(super) fn cut_all(&mut self, path: Path) -> usize {
        self.flush();
        let concerned = self.on_path(path);
        for (conn, _) in &concerned {
            self.conns[conn.slot].cut = true;
        }
        concerned.len()
    }

    /// The connections on `path` that are not ending already, each with its far end, in the order
    /// in which they were begun.
    fn on_path(&self, path: Path) -> Vec<(ConnRef, End)> {
        let concerned = |conn: &Conn| {
            let Addresses { near, far, .. } = conn.addresses;
            path.contains(near, far) && !conn.abandoned && !conn.client.dead && !conn.server.dead
        };
        let mut found: Vec<_> = self.conns.iter().filter(|(_, conn)| concerned(conn)).collect();
        found.sort_by_key(|(_, conn)| conn.number);
        found
            .into_iter()
            .map(|(slot, conn)| {
                let far_is_client = conn.addresses.client.ip() == conn.addresses.far;
                let far = if far_is_client { End::Client } else { End::Server };
                (ConnRef { slot, generation: conn.generation }, far)
            })
            .collect()
    }

    /// Forgets the connection when it is over. An end whose task is gone and whose peer is dead
    /// would wait for ever: a real kernel forgets it after a while.
    fn settle(&mut self, conn_ref: ConnRef) {
        let Some(orphan) = self.get(conn_ref).map(Conn::orphan) else { return };
        if let Some(orphan) = orphan {
            self.kill(conn_ref, orphan);
        }
        if self.get(conn_ref).is_some_and(Conn::is_over) {
            self.conns.remove(conn_ref.slot);
        }
    }

    /// The handshake is done at the server: the connection waits for `accept`.
    fn enter_queue(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        conn.server.open = true;
        conn.server.used = true;
        let (listener, inner) = (conn.listener, conn.server.inner);
        self.plan.count_waiting(listener, inner, true);
    }

    /// The connection does not wait for `accept` any more.
    fn leave_queue(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        if mem::replace(&mut conn.server.used, false) {
            let (listener, inner) = (conn.listener, conn.server.inner);
            self.plan.count_waiting(listener, inner, false);
        }
    }
}

/// What the sockets tell and ask.
impl Wire {
    /// The connecting side's address.
    pub(super) fn client_of(&self, conn: ConnRef) -> Option<SocketAddr> {
        self.get(conn).map(|conn| conn.addresses.client)
    }

    /// `accept` has found a connection: answers its client, or `None` when it was never complete.
    pub(super) fn accept(&mut self, conn_ref: ConnRef) -> Option<SocketAddr> {
        let conn = self.get_mut(conn_ref).filter(|conn| conn.server.open)?;
        conn.accepted = true;
        let (client, listener, inner) = (conn.addresses.client, conn.listener, conn.server.inner);
        self.plan.count_waiting(listener, inner, false);
        Some(client)
    }

    /// The task of one end is about to read up to `bytes`: a larger window must not be in packets
    /// that are sent already. The kernel announces it when it hands out half its buffer at once.
    pub(super) fn before_read(&mut self, conn_ref: ConnRef, end: End, bytes: usize) {
        let unread = self.get(conn_ref).map_or(0, |conn| conn.end(end).unread);
        if unread > 0 {
            self.touch(conn_ref, end);
        }
        if unread.min(bytes) >= RECEIVE_BUFFER_BYTES / 2 {
            self.mark(conn_ref, end);
        }
    }

    /// The task of one end has read `bytes`.
    pub(super) fn note_read(&mut self, conn_ref: ConnRef, end: End, bytes: usize) {
        let largest_segment = self.largest_segment;
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let terminal = conn.end_mut(end);
        terminal.unread = terminal.unread.saturating_sub(bytes);
        if terminal.unread == 0 && mem::take(&mut terminal.reset_waits) {
            return self.deliver(conn_ref, end, control(RST, 0, 0));
        }
        let window = RECEIVE_BUFFER_BYTES.saturating_sub(terminal.unread).min(WINDOW_BYTES_MAX);
        if !terminal.dead && patience::window_update(terminal.window, window, largest_segment) {
            self.announce_window(conn_ref, end, window);
        }
    }

    /// The kernel of one end has taken `count` bytes from its task.
    pub(super) fn note_written(&mut self, conn_ref: ConnRef, end: End, count: usize) {
        if let Some(conn) = self.get_mut(conn_ref) {
            conn.end_mut(end).unsent += count;
        }
        self.mark(conn_ref, end);
    }

    /// Tells the peer of one end that it may send more.
    fn announce_window(&mut self, conn_ref: ConnRef, end: End, window: usize) {
        // Acknowledgements that the kernel still has were made before the data was read: their
        // smaller windows go first.
        self.collect();
        let Some(conn) = self.get_mut(conn_ref) else { return };
        let terminal = conn.end_mut(end);
        terminal.window = window;
        let acknowledged = terminal.acknowledged;
        let update = TcpSegment { window: window as u16, ..control(ACK, 0, acknowledged) };
        self.emit(self.now, conn_ref, end, update);
    }

    /// Whether one end was reset, with data left to read.
    pub(super) fn reset_waits(&self, conn: ConnRef, end: End) -> bool {
        self.get(conn).is_some_and(|conn| conn.end(end).reset_waits)
    }

    /// Whether one end ended because nothing answered.
    pub(super) fn timed_out(&self, conn: ConnRef, end: End) -> bool {
        self.get(conn).is_some_and(|conn| conn.end(end).timed_out)
    }

    /// The kernel of one end will send a FIN.
    pub(super) fn note_closed(&mut self, conn_ref: ConnRef, end: End) {
        if let Some(conn) = self.get_mut(conn_ref) {
            let terminal = conn.end_mut(end);
            terminal.unsent += usize::from(!mem::replace(&mut terminal.closed, true));
        }
        self.mark(conn_ref, end);
    }

    /// The task of one end is about to drop its socket.
    pub(super) fn release(&mut self, conn_ref: ConnRef, end: End) {
        self.touch(conn_ref, end);
        if let Some(conn) = self.get_mut(conn_ref) {
            conn.end_mut(end).used = false;
        }
        self.note_closed(conn_ref, end);
    }

    /// A kernel has no port left. Those of closed sockets become free when packets are collected.
    pub(super) fn free_ports(&mut self) {
        self.collect();
    }
}

/// How long the ends of a connection try.
fn patience_of(conn: &Conn) -> Patience {
    match conn.client.open {
        false => Patience::opening(),
        true => Patience::open((conn.route.link.latency + conn.route.delay) * 2),
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

/// Packets are collected no later than this, on a longer link too: before the first
/// retransmission.
const LOOKAHEAD_MAX: Duration = Duration::from_millis(200);

/// IP and TCP headers, without options (IPv4).
const HEADERS_BYTES: usize = 40;

/// Data received and not yet read, for each connection.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Largest window: there is no scaling.
const WINDOW_BYTES_MAX: usize = u16::MAX as usize;

/// Data written and not yet acknowledged, for each connection.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
