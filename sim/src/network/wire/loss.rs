//! What is lost: it is sent again until its end gives up.

use std::mem;

use traject_engine::Timestamp;
use turmoil_net::TcpSegment;

use super::{Event, Wire};
use crate::network::conn::{Conn, ConnRef, End};
use crate::network::patience::Patience;

impl Wire {
    /// A segment is lost: it waits to be sent again.
    pub(super) fn hold(
        &mut self,
        sent: Timestamp,
        conn_ref: ConnRef,
        from: End,
        segment: TcpSegment,
    ) {
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
    pub(super) fn retry(&mut self, conn_ref: ConnRef, from: End) {
        self.touch(conn_ref, from);
        let Some(conn) = self.conns.get_mut(conn_ref.slot) else { return };
        if conn.generation != conn_ref.generation || conn.end(from).held.is_empty() {
            return;
        }
        self.links.refresh(&mut conn.route, conn.addresses.near, conn.addresses.far);
        let opening = !conn.client.open;
        let first = conn.end(from).held.front();
        if conn.cut
            || first.is_some_and(|first| conn.route.loses(from, first, opening))
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

/// How long the ends of a connection try.
fn patience_of(conn: &Conn) -> Patience {
    match conn.client.open {
        false => Patience::opening(),
        true => Patience::open(conn.route.latency() * 2),
    }
}
