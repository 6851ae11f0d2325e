//! How connections end, and are forgotten.

use std::mem;

use super::{ACK, RST, Wire, control};
use crate::network::conn::{Addresses, Conn, ConnRef, End};
use crate::network::links::Path;

impl Wire {
    /// The kernel of one end drops its connection now.
    pub(super) fn kill(&mut self, conn_ref: ConnRef, end: End) {
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
    pub(super) fn bury(&self, conn_ref: ConnRef) {
        let Some(ack) = self.get(conn_ref).and_then(|conn| conn.handshake_ack) else { return };
        self.deliver(conn_ref, End::Server, control(ACK, 0, ack));
        self.deliver(conn_ref, End::Server, control(RST, 0, 0));
    }

    /// The caller of `connect` gave up, or was refused.
    pub(in crate::network) fn abandon(&mut self, conn_ref: ConnRef) {
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
    pub(in crate::network) fn reset(&mut self, conn_ref: ConnRef, from: End) {
        if self.get(conn_ref).is_none_or(|conn| conn.end(from).dead) {
            return;
        }
        self.kill(conn_ref, from);
        self.emit(self.now, conn_ref, from, control(RST, 0, 0));
    }

    /// Resets every connection on `path` from its far end.
    pub(in crate::network) fn reset_all(&mut self, path: Path) -> usize {
        self.flush();
        let concerned = self.on_path(path);
        for (conn, far) in &concerned {
            self.reset(*conn, *far);
        }
        concerned.len()
    }

    /// Loses whatever is sent from now on on every connection on `path`.
    pub(in crate::network) fn cut_all(&mut self, path: Path) -> usize {
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
    pub(super) fn settle(&mut self, conn_ref: ConnRef) {
        let Some(orphan) = self.get(conn_ref).map(Conn::orphan) else { return };
        if let Some(orphan) = orphan {
            self.kill(conn_ref, orphan);
        }
        if self.get(conn_ref).is_some_and(Conn::is_over) {
            self.conns.remove(conn_ref.slot);
        }
    }

    /// The handshake is done at the server: the connection waits for `accept`.
    pub(super) fn enter_queue(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        conn.server.open = true;
        conn.server.used = true;
        let (listener, inner) = (conn.listener, conn.server.inner);
        self.plan.count_waiting(listener, inner, true);
    }

    /// The connection does not wait for `accept` any more.
    pub(super) fn leave_queue(&mut self, conn_ref: ConnRef) {
        let Some(conn) = self.get_mut(conn_ref) else { return };
        if mem::replace(&mut conn.server.used, false) {
            let (listener, inner) = (conn.listener, conn.server.inner);
            self.plan.count_waiting(listener, inner, false);
        }
    }
}
