//! The world as the driver sees it: traits with one implementation on the real system and one in
//! the simulator.
//!
//! `+ Send` stands in the signatures because a caller cannot yet add it to the future of a trait
//! method.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use traject_engine::Timestamp;
use traject_engine::dns::{DnsAnswer, DnsError, Question};
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::StoredMessage;
use traject_engine::shaping::history::ShapingHistory;

use crate::tls::TlsConfigs;

/// One of each: what a driver needs to run an engine.
#[derive(Clone, Debug)]
pub struct World<N, R, P, C> {
    /// Connections.
    pub network: N,
    /// Names.
    pub resolver: R,
    /// Messages.
    pub spool: P,
    /// Time.
    pub clock: C,
    /// Certificates, keys and cryptography.
    pub tls: TlsConfigs,
}

/// Time.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The present instant. Never goes backwards, whatever is done to the wall clock.
    fn now(&self) -> Timestamp;

    /// Completes at `at`, or at once when that is past.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send;
}

/// TCP, and the tasks that use it.
pub trait Network: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A listening socket.
    type Listener: Send + Sync + 'static;

    /// Opens a connection to `peer`, from `source` when given; answers with our own address too.
    fn connect(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Listens on `local`.
    fn bind(
        &self,
        local: SocketAddr,
        backlog: u32,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// The next client of a listener.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address a listener is bound to.
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Our address of an accepted connection; `None` when it is the listener's.
    fn stream_local_addr(&self, stream: &Self::Stream) -> Option<SocketAddr> {
        let _ = stream;
        None
    }

    /// Ends a connection with a reset instead of an orderly close.
    fn abort(&self, stream: Self::Stream);

    /// Runs a task. The network owns it, so that a panic inside surfaces.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// The DNS.
pub trait Resolver: Clone + Send + Sync + 'static {
    /// Answers one question.
    fn resolve(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<DnsAnswer, DnsError>> + Send;
}

/// Where accepted messages live until they are delivered.
///
/// A message's life: [`Spool::stage`] and [`BodyWriter`] write its body; `SpoolWrite::Insert`
/// makes body and envelope durable together; `Update`s follow its attempts; `Remove` ends it.
/// What was staged and never inserted is gone after a restart.
pub trait Spool: Clone + Send + Sync + 'static {
    /// Writes one body.
    type Writer: BodyWriter;
    /// Reads one body.
    type Reader: BodyReader;

    /// Begins the body of `message`.
    fn stage(
        &self,
        message: MessageId,
    ) -> impl Future<Output = Result<Self::Writer, SpoolError>> + Send;

    /// Opens the body of `message`, inserted or staged; `None` when there is no such body.
    fn read(
        &self,
        message: MessageId,
    ) -> impl Future<Output = Result<Option<Self::Reader>, SpoolError>> + Send;

    /// Starts a change; the future completes when it is durable, or failed. Changes take effect in
    /// the order of the calls, whenever their futures are polled.
    fn write(
        &self,
        change: SpoolWrite,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send + 'static;

    /// What throttles had let pass before start-up (`SpoolWrite::Shaping`), if that is known.
    fn recover_shaping(
        &self,
    ) -> impl Future<Output = Result<Option<Arc<ShapingHistory>>, SpoolError>> + Send;

    /// The next message found at start-up; `None` after the last.
    fn recover(&self) -> impl Future<Output = Result<Option<StoredMessage>, SpoolError>> + Send;
}

/// Writes one body. Dropping it before [`BodyWriter::finish`] forgets the body.
pub trait BodyWriter: Send + 'static {
    /// Appends.
    fn append(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// The body is complete: staged, not yet durable.
    fn finish(self) -> impl Future<Output = Result<(), SpoolError>> + Send;
}

/// Reads one body from its start.
pub trait BodyReader: Send + 'static {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, SpoolError>> + Send;
}
