//! The things a driver has under way.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncRead;
use traject_engine::Timestamp;
use traject_engine::dns::{DnsAnswer, DnsError};
use traject_engine::ids::{ConnId, MessageId, QueryId, SpoolOp};
use traject_engine::io::{ComposeError, NetError, SpoolError};
use traject_engine::message::StoredMessage;
use traject_engine::smtp::data::BodyInfo;

use crate::net_error::net_error;
use crate::pump::{Event, Pump, poll_read};
use crate::world::{Clock, Network, Spool};

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Something that completes, or goes on, when its waker is called.
pub(super) enum Job<N: Network, P: Spool> {
    /// Requests of the handles.
    Commands,
    /// Reads the next message of the spool at start-up.
    Recover(Task<Result<Option<StoredMessage>, SpoolError>>),
    /// Waits for the next client of a listener, given by its position in the driver's list.
    Accept(usize, Task<(N::Stream, SocketAddr)>),
    Connect(ConnId, Task<io::Result<(N::Stream, SocketAddr)>>),
    /// An attempt to connect that the engine gave up.
    ConnectFailed(ConnId, NetError),
    Pump(ConnId, Box<Pump<N::Stream, P>>),
    /// Waits for the peer of a closed connection to close it too.
    Linger(Task<()>),
    Resolve(QueryId, Task<Result<DnsAnswer, DnsError>>),
    Write(SpoolOp, Task<Result<(), SpoolError>>),
    Compose(MessageId, Task<Result<BodyInfo, ComposeError>>),
}

/// What came of polling a job.
pub(super) enum Done<S> {
    Recovered(Result<Option<StoredMessage>, SpoolError>),
    Accepted(usize, S, SocketAddr),
    Connected(ConnId, Result<(S, SocketAddr), NetError>),
    Pumped(ConnId, Event),
    Lingered,
    Resolved(QueryId, Result<DnsAnswer, DnsError>),
    Spooled(SpoolOp, Result<(), SpoolError>),
    Composed(MessageId, Result<BodyInfo, ComposeError>),
}

impl<N: Network, P: Spool> Job<N, P> {
    pub(super) fn connect(
        conn: ConnId,
        network: N,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> Self {
        Self::Connect(conn, Box::pin(async move { network.connect(source, peer).await }))
    }

    pub(super) fn accept<C: Clock>(
        index: usize,
        network: N,
        listener: Arc<N::Listener>,
        clock: C,
    ) -> Self {
        Self::Accept(index, Box::pin(accept(network, listener, clock)))
    }

    pub(super) fn linger<C: Clock>(stream: N::Stream, clock: C) -> Self {
        Self::Linger(Box::pin(linger(stream, clock)))
    }

    /// Moves the job on. A pump may be polled again after it is done; anything else may not.
    pub(super) fn poll(
        &mut self,
        now: Timestamp,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Done<N::Stream>> {
        match self {
            Self::Commands => Poll::Pending,
            Self::Recover(task) => task.as_mut().poll(cx).map(Done::Recovered),
            Self::Accept(index, task) => {
                let index = *index;
                task.as_mut().poll(cx).map(|(stream, peer)| Done::Accepted(index, stream, peer))
            }
            Self::Connect(conn, task) => {
                let conn = *conn;
                let connected = task.as_mut().poll(cx);
                connected.map(|result| Done::Connected(conn, result.map_err(|e| net_error(&e))))
            }
            Self::ConnectFailed(conn, error) => Poll::Ready(Done::Connected(*conn, Err(*error))),
            Self::Pump(conn, pump) => {
                let conn = *conn;
                pump.poll(now, cx, buffer).map(|event| Done::Pumped(conn, event))
            }
            Self::Linger(task) => task.as_mut().poll(cx).map(|()| Done::Lingered),
            Self::Resolve(query, task) => {
                let query = *query;
                task.as_mut().poll(cx).map(|result| Done::Resolved(query, result))
            }
            Self::Write(op, task) => {
                let op = *op;
                task.as_mut().poll(cx).map(|result| Done::Spooled(op, result))
            }
            Self::Compose(message, task) => {
                let message = *message;
                task.as_mut().poll(cx).map(|result| Done::Composed(message, result))
            }
        }
    }
}

/// The next client. Failures to accept are waited out: they are either the client's, or a lack of
/// sockets that passes when connections end.
async fn accept<N: Network, C: Clock>(
    network: N,
    listener: Arc<N::Listener>,
    clock: C,
) -> (N::Stream, SocketAddr) {
    loop {
        match network.accept(&listener).await {
            Ok(accepted) => return accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                clock.sleep_until(clock.now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads and forgets until the peer closes, within limits.
async fn linger<S: AsyncRead + Unpin, C: Clock>(mut stream: S, clock: C) {
    let mut expiry = pin!(clock.sleep_until(clock.now() + LINGER_TIME));
    let mut left = LINGER_BYTES_MAX;
    let mut buffer = [0; 512];
    std::future::poll_fn(|cx| {
        while let Poll::Ready(read) = poll_read(&mut stream, cx, &mut buffer) {
            match read {
                Ok(len) if len > 0 && len < left => left -= len,
                _ => return Poll::Ready(()),
            }
        }
        expiry.as_mut().poll(cx)
    })
    .await;
}

impl<N: Network, P: Spool> fmt::Debug for Job<N, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands => f.write_str("Commands"),
            Self::Recover(_) => f.write_str("Recover"),
            Self::Accept(index, _) => f.debug_tuple("Accept").field(index).finish(),
            Self::Connect(conn, _) => f.debug_tuple("Connect").field(conn).finish(),
            Self::ConnectFailed(conn, _) => f.debug_tuple("ConnectFailed").field(conn).finish(),
            Self::Pump(conn, _) => f.debug_tuple("Pump").field(conn).finish(),
            Self::Linger(_) => f.write_str("Linger"),
            Self::Resolve(query, _) => f.debug_tuple("Resolve").field(query).finish(),
            Self::Compose(message, _) => f.debug_tuple("Compose").field(message).finish(),
            Self::Write(op, _) => f.debug_tuple("Write").field(op).finish(),
        }
    }
}

/// How long accepting rests after a failure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take to close its end ...
const LINGER_TIME: Duration = Duration::from_secs(2);

/// ... and how much it may still send.
const LINGER_BYTES_MAX: usize = 256 << 10;
