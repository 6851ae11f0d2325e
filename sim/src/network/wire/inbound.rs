//! What comes in: the passage of time, and arrivals.

use std::{iter, mem};

use tracing::trace;
use traject_engine::Timestamp;
use turmoil_net::{Packet, TcpSegment, Transport};

use super::{Event, RST, Wire, control};
use crate::network::conn::{ConnRef, End};
use crate::network::plan::Answer;
use crate::network::world::Sighting;

impl Wire {
    /// When the next event or timer is due, once every packet that might come first is collected.
    pub(in crate::network) fn next_due(&mut self) -> Option<Timestamp> {
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
    pub(in crate::network) fn advance(&mut self, now: Timestamp) {
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
        conn.unreachable = conn.route.unreachable;
        let answer = match conn.route.refuse || conn.route.unreachable {
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
    pub(super) fn queue_is_full(&self, conn: ConnRef) -> bool {
        self.get(conn).is_some_and(|conn| {
            conn.server.inner.is_none()
                && !conn.route.refuse
                && !conn.route.unreachable
                && self.plan.knock(conn.addresses.server) == Answer::Full
        })
    }

    /// Hands a segment to the kernel of one end.
    pub(super) fn deliver(&self, conn_ref: ConnRef, to: End, mut segment: TcpSegment) {
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
