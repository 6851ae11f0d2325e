//! A small world for the driver's tests: connections in memory, time that stands still.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::Instant;
use traject_engine::Timestamp;
use traject_engine::dns::{DnsAnswer, DnsError, DnsErrorKind, Question};
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::StoredMessage;
use traject_engine::shaping::history::ShapingHistory;

use crate::world::{BodyReader, BodyWriter, Clock, Network, Resolver, Spool};

/// The clock of the runtime, paused or not; starts at 1000 s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuntimeClock(Instant);

impl RuntimeClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1000) + self.0.elapsed()
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep_until(self.0 + at.saturating_since(Timestamp::from_secs(1000))).await;
    }
}

/// Pipes in memory that hold [`PIPE_BYTES`] in each direction. Connecting to an address where
/// nobody listens never comes to an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct PipeNetwork {
    clients: Arc<Mutex<BTreeMap<SocketAddr, mpsc::Sender<DuplexStream>>>>,
    aborted: Arc<Mutex<u32>>,
    failing_accepts: Arc<Mutex<u32>>,
}

pub(crate) const PIPE_BYTES: usize = 1024;

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[derive(Debug)]
pub(crate) struct PipeListener {
    local: SocketAddr,
    clients: AsyncMutex<mpsc::Receiver<DuplexStream>>,
}

impl PipeNetwork {
    /// Connections that were aborted.
    pub(crate) fn aborted(&self) -> u32 {
        *self.aborted.lock().unwrap()
    }

    /// Makes the next calls of `accept` fail.
    pub(crate) fn fail_accepts(&self, count: u32) {
        *self.failing_accepts.lock().unwrap() = count;
    }

    /// Connects to a listener of the driver.
    pub(crate) async fn dial(&self, peer: SocketAddr) -> DuplexStream {
        self.connect(None, peer).await.unwrap().0
    }
}

impl Network for PipeNetwork {
    type Stream = DuplexStream;
    type Listener = PipeListener;

    async fn connect(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> io::Result<(DuplexStream, SocketAddr)> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let clients = self.clients.lock().unwrap().get(&peer).cloned();
        match clients {
            Some(clients) => match clients.send(theirs).await {
                Ok(()) => Ok((ours, (source.unwrap_or(LOCAL), 40_000).into())),
                Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
            },
            None => std::future::pending().await,
        }
    }

    async fn bind(&self, local: SocketAddr, backlog: u32) -> io::Result<PipeListener> {
        let (sender, clients) = mpsc::channel(backlog as usize);
        self.clients.lock().unwrap().insert(local, sender);
        Ok(PipeListener { local, clients: AsyncMutex::new(clients) })
    }

    async fn accept(&self, listener: &PipeListener) -> io::Result<(DuplexStream, SocketAddr)> {
        {
            let mut failing = self.failing_accepts.lock().unwrap();
            if *failing > 0 {
                *failing -= 1;
                return Err(io::Error::from_raw_os_error(24)); // EMFILE
            }
        }
        match listener.clients.lock().await.recv().await {
            Some(stream) => Ok((stream, ([192, 0, 2, 7], 25_000).into())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self, listener: &PipeListener) -> io::Result<SocketAddr> {
        Ok(listener.local)
    }

    fn abort(&self, stream: DuplexStream) {
        *self.aborted.lock().unwrap() += 1;
        drop(stream);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

/// A spool whose disk fails at one call and works at the others. It reads any body as two pieces
/// and has nothing to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailingSpool {
    Stage,
    Append,
    Finish,
    Read,
    FirstPiece,
    SecondPiece,
    Recover,
}

impl FailingSpool {
    fn call(self, call: Self) -> Result<(), SpoolError> {
        if self == call { Err(SpoolError::Full) } else { Ok(()) }
    }
}

impl Spool for FailingSpool {
    type Writer = Self;
    type Reader = (Self, u32);

    async fn stage(&self, _: MessageId) -> Result<Self, SpoolError> {
        self.call(Self::Stage).map(|()| *self)
    }

    async fn read(&self, _: MessageId) -> Result<Option<(Self, u32)>, SpoolError> {
        self.call(Self::Read).map(|()| Some((*self, 0)))
    }

    fn write(
        &self,
        _: SpoolWrite,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send + 'static {
        std::future::ready(Ok(()))
    }

    async fn recover_shaping(&self) -> Result<Option<Arc<ShapingHistory>>, SpoolError> {
        Ok(None)
    }

    async fn recover(&self) -> Result<Option<StoredMessage>, SpoolError> {
        self.call(Self::Recover).map(|()| None)
    }
}

impl BodyWriter for FailingSpool {
    async fn append(&mut self, _: &[u8]) -> Result<(), SpoolError> {
        self.call(Self::Append)
    }

    async fn finish(self) -> Result<(), SpoolError> {
        self.call(Self::Finish)
    }
}

impl BodyReader for (FailingSpool, u32) {
    async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        self.1 += 1;
        match self.1 {
            1 => self.0.call(FailingSpool::FirstPiece)?,
            2 => self.0.call(FailingSpool::SecondPiece)?,
            _ => return Ok(None),
        }
        Ok(Some("a piece\r\n".into()))
    }
}

/// Answers after a second that nobody answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SilentDns;

impl Resolver for SilentDns {
    async fn resolve(&self, question: Question) -> Result<DnsAnswer, DnsError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let text = format!("no answer for {question}").into();
        Err(DnsError { kind: DnsErrorKind::Timeout, ttl: Duration::ZERO, text })
    }
}
