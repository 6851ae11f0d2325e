//! Sockets: turmoil-net's, each used inside its own kernel.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil_net::HostId;
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};

use super::conn::{ConnRef, End};
use super::wire::Wire;
use super::world::Shared;

/// A value whose methods need turmoil-net's current kernel to be the right one, even its `drop`.
#[derive(Debug)]
pub(super) struct Homed<T> {
    shared: Arc<Shared>,
    host: HostId,
    value: Option<T>,
}

impl<T> Homed<T> {
    pub(super) fn new(shared: Arc<Shared>, host: HostId, value: T) -> Self {
        Self { shared, host, value: Some(value) }
    }

    /// Enters the kernel and lends the value.
    fn enter(&mut self) -> &mut T {
        turmoil_net::set_current(self.host);
        // Unwrap is OK because only `drop` takes the value.
        self.value.as_mut().expect("present until dropped")
    }

    /// As [`Self::enter`], shared.
    fn enter_ref(&self) -> &T {
        turmoil_net::set_current(self.host);
        // Unwrap is OK because only `drop` takes the value.
        self.value.as_ref().expect("present until dropped")
    }
}

impl<T> Drop for Homed<T> {
    fn drop(&mut self) {
        if self.shared.is_open() {
            turmoil_net::set_current(self.host);
            self.value = None;
        } else {
            // The network is gone, and a socket of it panics when it is dropped.
            std::mem::forget(self.value.take());
        }
    }
}

/// A future of a socket.
struct HomedFuture<F>(Homed<Pin<Box<F>>>);

impl<F: Future> Future for HomedFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.enter().as_mut().poll(cx)
    }
}

/// Runs a future of a socket in the kernel of `host`.
pub(super) fn at_home<F: Future>(
    shared: &Arc<Shared>,
    host: HostId,
    future: F,
) -> impl Future<Output = F::Output> {
    HomedFuture(Homed::new(Arc::clone(shared), host, Box::pin(future)))
}

/// A listening socket of the simulated network.
#[derive(Debug)]
pub struct SimListener {
    socket: Homed<TcpListener>,
    local: SocketAddr,
}

impl SimListener {
    pub(super) fn new(socket: Homed<TcpListener>, local: SocketAddr) -> Self {
        Self { socket, local }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next client that is still there.
    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(SimStream, SocketAddr)>> {
        let Homed { shared, host, .. } = &self.socket;
        loop {
            let (stream, alias) = ready!(self.socket.enter_ref().poll_accept(cx))?;
            let stream = Homed::new(Arc::clone(shared), *host, stream);
            let Some(conn) = ConnRef::from_alias(alias.ip(), alias.port()) else { continue };
            // Not the wire's lock around the body: dropping the stream takes it.
            let client = shared.wire().accept(conn);
            if let Some(client) = client {
                return Poll::Ready(Ok((SimStream::new(stream, conn, End::Server), client)));
            }
        }
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if self.socket.shared.is_open() {
            let mut wire = self.socket.shared.wire();
            wire.plan.unlisten(self.local);
            wire.mark_listener();
        }
    }
}

/// A connection of the simulated network.
///
/// Dropping it closes in good order, unless received data is unread: then, as on Linux, the peer
/// gets a reset. A reset is seen after all data that arrived before it was read.
#[derive(Debug)]
pub struct SimStream {
    socket: Homed<TcpStream>,
    conn: ConnRef,
    end: End,
}

impl SimStream {
    pub(super) fn new(socket: Homed<TcpStream>, conn: ConnRef, end: End) -> Self {
        Self { socket, conn, end }
    }

    /// Resets the connection. What was written before is on its way.
    pub(super) fn abort(self) {
        let mut wire = self.socket.shared.wire();
        wire.flush();
        wire.reset(self.conn, self.end);
    }

    /// The kernel knows only resets; the wire knows why it ended the connection.
    fn explain(&self, error: io::Error) -> io::Error {
        let reset = error.kind() == io::ErrorKind::ConnectionReset;
        if reset && self.socket.shared.wire().timed_out(self.conn, self.end) {
            return io::ErrorKind::TimedOut.into();
        }
        error
    }

    /// Does something that makes the kernel send; `note` tells the wire how it went.
    fn act<T>(
        &mut self,
        operation: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
        note: impl FnOnce(&mut Wire, &T),
    ) -> Poll<io::Result<T>> {
        let shared = Arc::clone(&self.socket.shared);
        let mut wire = shared.wire();
        if wire.reset_waits(self.conn, self.end) {
            // The peer is gone; this end has only not read so far.
            drop(wire);
            return Poll::Ready(Err(self.explain(io::ErrorKind::ConnectionReset.into())));
        }
        wire.touch(self.conn, self.end);
        let done = ready!(operation(Pin::new(self.socket.enter())));
        if let Ok(done) = &done {
            note(&mut wire, done);
        }
        drop(wire);
        Poll::Ready(done.map_err(|error| self.explain(error)))
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (conn, end) = (self.conn, self.end);
        self.socket.shared.wire().before_read(conn, end, buf.remaining());
        let before = buf.filled().len();
        let polled = ready!(Pin::new(self.socket.enter()).poll_read(cx, buf));
        polled.map_err(|error| self.explain(error))?;
        let count = buf.filled().len() - before;
        if count > 0 {
            self.socket.shared.wire().note_read(conn, end, count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (conn, end) = (self.conn, self.end);
        let note = |wire: &mut Wire, count: &usize| wire.note_written(conn, end, *count);
        self.act(|socket| socket.poll_write(cx, buf), note)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (conn, end) = (self.conn, self.end);
        self.act(|socket| socket.poll_shutdown(cx), |wire, ()| wire.note_closed(conn, end))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if self.socket.shared.is_open() {
            self.socket.shared.wire().release(self.conn, self.end);
        }
    }
}
