//! What the sockets tell the wire and ask it.

use std::mem;
use std::net::SocketAddr;

use turmoil_net::TcpSegment;

use super::{ACK, RECEIVE_BUFFER_BYTES, RST, WINDOW_BYTES_MAX, Wire, control};
use crate::network::conn::{ConnRef, End};
use crate::network::patience;

impl Wire {
    /// The connecting side's address.
    pub(in crate::network) fn client_of(&self, conn: ConnRef) -> Option<SocketAddr> {
        self.get(conn).map(|conn| conn.addresses.client)
    }

    /// `accept` has found a connection: answers its client, or `None` when it was never complete.
    pub(in crate::network) fn accept(&mut self, conn_ref: ConnRef) -> Option<SocketAddr> {
        let conn = self.get_mut(conn_ref).filter(|conn| conn.server.open)?;
        conn.accepted = true;
        let (client, listener, inner) = (conn.addresses.client, conn.listener, conn.server.inner);
        self.plan.count_waiting(listener, inner, false);
        Some(client)
    }

    /// The task of one end is about to read up to `bytes`: a larger window must not be in packets
    /// that are sent already. The kernel announces it when it hands out half its buffer at once.
    pub(in crate::network) fn before_read(&mut self, conn_ref: ConnRef, end: End, bytes: usize) {
        let unread = self.get(conn_ref).map_or(0, |conn| conn.end(end).unread);
        if unread > 0 {
            self.touch(conn_ref, end);
        }
        if unread.min(bytes) >= RECEIVE_BUFFER_BYTES / 2 {
            self.mark(conn_ref, end);
        }
    }

    /// The task of one end has read `bytes`.
    pub(in crate::network) fn note_read(&mut self, conn_ref: ConnRef, end: End, bytes: usize) {
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
    pub(in crate::network) fn note_written(&mut self, conn_ref: ConnRef, end: End, count: usize) {
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
    pub(in crate::network) fn reset_waits(&self, conn: ConnRef, end: End) -> bool {
        self.get(conn).is_some_and(|conn| conn.end(end).reset_waits)
    }

    /// Whether one end ended because nothing answered.
    pub(in crate::network) fn timed_out(&self, conn: ConnRef, end: End) -> bool {
        self.get(conn).is_some_and(|conn| conn.end(end).timed_out)
    }

    /// Whether a router answered the attempt to connect.
    pub(in crate::network) fn unreachable(&self, conn: ConnRef) -> bool {
        self.get(conn).is_some_and(|conn| conn.unreachable)
    }

    /// The kernel of one end will send a FIN.
    pub(in crate::network) fn note_closed(&mut self, conn_ref: ConnRef, end: End) {
        if let Some(conn) = self.get_mut(conn_ref) {
            let terminal = conn.end_mut(end);
            terminal.unsent += usize::from(!mem::replace(&mut terminal.closed, true));
        }
        self.mark(conn_ref, end);
    }

    /// The task of one end is about to drop its socket.
    pub(in crate::network) fn release(&mut self, conn_ref: ConnRef, end: End) {
        self.touch(conn_ref, end);
        if let Some(conn) = self.get_mut(conn_ref) {
            conn.end_mut(end).used = false;
        }
        self.note_closed(conn_ref, end);
    }

    /// A kernel has no port left. Those of closed sockets become free when packets are collected.
    pub(in crate::network) fn free_ports(&mut self) {
        self.collect();
    }
}
