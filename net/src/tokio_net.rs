//! The real network: tokio's sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::world::Network;

/// The sockets of this machine. To be used inside a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNetwork;

impl Network for TokioNetwork {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn connect(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        if let Some(source) = source {
            if source.is_ipv4() != peer.is_ipv4() {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(peer).await.map_err(out_of_ports)?;
        let local = stream.local_addr()?;
        Ok((stream, local))
    }

    async fn bind(&self, local: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(local),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        // A restarted daemon need not wait for the connections of its predecessor to fade.
        socket.set_reuse_address(true)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&local.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    fn stream_local_addr(&self, stream: &TcpStream) -> Option<SocketAddr> {
        stream.local_addr().ok()
    }

    fn abort(&self, stream: TcpStream) {
        // A socket that refuses is gone already, or is closed in an orderly way.
        let _ = stream.set_zero_linger();
    }

    /// A panic in the task ends the process: what it was doing would never be done, and what is
    /// in the spool is safe.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(async move {
            let _guard = AbortOnPanic;
            task.await;
        });
    }
}

/// Connecting from an address of ours fails with "address not available" only when its ports are
/// used up.
fn out_of_ports(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => io::ErrorKind::AddrInUse.into(),
        _ => error,
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
