//! What goes out: from the kernels, and on its way.
//!
//! Asking the kernels for packets costs time for every socket there is, so it is put off: what an
//! end sends now arrives a latency later at the earliest, and until then nobody can tell whether
//! the packet was collected. The wire collects when the first such packet might be due, or when
//! something else is about to happen at an end whose packets are outstanding, and each packet
//! counts as sent at the instant at which its end became active.

use std::mem;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::rng::Purpose;
use turmoil_net::{Packet, TcpSegment, Transport};

use super::{Event, HEADERS_BYTES, Wire};
use crate::network::conn::{Addresses, ConnRef, End};
use crate::network::links::Route;
use crate::network::plan::EPHEMERAL_PORT_MIN;

/// A packet that is sent: as which one of all, when, on which connection, by whom.
pub(super) struct Outgoing {
    number: u64,
    sent: Timestamp,
    conn: ConnRef,
    from: End,
    segment: TcpSegment,
}

impl Wire {
    /// Something is about to happen at one end: what it has sent before must not change by it.
    pub(in crate::network) fn touch(&mut self, conn_ref: ConnRef, end: End) {
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
        let latency = conn.route.latency();
        // What was collected at this very instant must be seen together with what is to come.
        let at_once = local || conn.end(end).last_sent_at == now;
        let ahead = if at_once { Duration::ZERO } else { latency.min(self.lookahead_max) };
        self.pending.push(conn_ref);
        self.collect_by(now + ahead);
    }

    /// A listener is gone: its kernel may send packets now for whoever waited.
    pub(in crate::network) fn mark_listener(&mut self) {
        self.collect_by(self.now);
    }

    fn collect_by(&mut self, deadline: Timestamp) {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// Puts everything that was sent on its way, before what it meets is changed.
    pub(in crate::network) fn flush(&mut self) {
        if self.deadline.is_some() {
            self.collect();
        }
        self.dispatch(Timestamp::NEVER);
    }

    /// Takes what the kernels want to send. They forget closed sockets.
    pub(super) fn collect(&mut self) {
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
    pub(super) fn dispatch(&mut self, until: Timestamp) {
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
    pub(super) fn emit(
        &mut self,
        sent: Timestamp,
        conn_ref: ConnRef,
        from: End,
        segment: TcpSegment,
    ) {
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
        let lost = conn.cut || conn.route.loses(from, &segment, !conn.client.open);
        if lost || !conn.end(from).held.is_empty() {
            return self.hold(sent, conn_ref, from, segment);
        }
        // What stays between our own addresses takes no time.
        let route = if local { Route::default() } else { conn.route };
        let link = route.link;
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
        let leaves = leaves.max(conn.occupy(from, sent, link, bytes));
        let travel = leaves + route.latency() + Duration::from_micros(jitter);
        let due = conn.depart(from, sent, travel);
        debug_assert!(due >= self.now, "collected too late");
        let rank = conn.rank(from);
        self.events.insert(due, rank, Event::Arrival { conn: conn_ref, from, segment });
    }
}

/// Packets are collected no later than this, on a longer link too: before the first
/// retransmission.
pub(super) const LOOKAHEAD_MAX: Duration = Duration::from_millis(200);
