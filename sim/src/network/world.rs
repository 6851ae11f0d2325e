//! The world: one runtime, one network, one clock, one thread.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};
use traject_engine::Timestamp;
use traject_engine::rng::Seed;
use traject_net::world::Network;
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};

use super::clock::SimClock;
use super::conn::{ConnRef, End};
use super::links::{Link, Links};
use super::plan::{Plan, Side};
use super::stream::{Homed, SimListener, SimStream, at_home};
use super::tasks::{MainWaker, poll_caught};
use super::wire::Wire;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The instant at which the world begins.
    pub epoch: Timestamp,
    /// Keys the draws of the links.
    pub seed: Seed,
    /// Our addresses. The first of each family is the default of that family.
    pub sources: Vec<IpAddr>,
    /// The link to every address that has none of its own.
    pub link: Link,
    /// Largest packet, headers included, in bytes.
    pub mtu: u32,
    /// Whether what is sent at one instant travels as one packet, as network cards offload the
    /// cutting into segments. Without jitter and bandwidths all of it would arrive at one instant
    /// anyway, so this changes nothing but the work; with them each packet counts.
    pub offload: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            epoch: Timestamp::default(),
            seed: Seed([0; 32]),
            sources: Vec::new(),
            link: Link::default(),
            mtu: ETHERNET_MTU_BYTES,
            offload: false,
        }
    }
}

/// Largest Ethernet packet in bytes.
const ETHERNET_MTU_BYTES: u32 = 1500;

/// Why a run ended without its result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// A task panicked.
    #[error("a task panicked at {at}: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
        /// When, in virtual time.
        at: Timestamp,
    },
    /// Every task waits for something that can no longer happen: no packet is on its way, no timer
    /// is set.
    #[error("nothing can happen after {at}: every task waits for another")]
    Stalled {
        /// When, in virtual time.
        at: Timestamp,
    },
}

/// What a world has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Times that every task waited and the world moved on.
    pub turns: u64,
    /// Times that the kernels were asked for packets.
    pub collections: u64,
    /// Packets that arrived.
    pub packets: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Connections that were begun.
    pub connections: u64,
}

/// A packet that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// When.
    pub at: Timestamp,
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it arrived.
    pub destination: SocketAddr,
    /// It opens a connection, or answers one that does.
    pub syn: bool,
    /// Its sender has nothing more to send.
    pub fin: bool,
    /// Its sender has dropped the connection.
    pub rst: bool,
    /// What it carries.
    pub data: &'a [u8],
}

/// Sees every packet that arrives.
pub(super) type Observer = Box<dyn FnMut(&Sighting<'_>) + Send>;

/// One simulated world. It lives on the thread that made it, and there is one at a time.
pub struct SimWorld {
    shared: Arc<Shared>,
    /// `None` once the world ends: tasks go before the network they use.
    runtime: Option<Runtime>,
    _one_thread: PhantomData<*const ()>,
}

impl SimWorld {
    /// Makes a world.
    ///
    /// # Panics
    ///
    /// When this thread has a world already.
    pub fn new(options: WorldOptions) -> Self {
        let shared = Arc::new(Shared {
            now: AtomicU64::new(options.epoch.as_micros()),
            open: AtomicBool::new(true),
            main_wanted: Arc::new(AtomicBool::new(false)),
            wire: Mutex::new(Wire::new(&options)),
            run: Mutex::new(RunState::default()),
            runtime: Mutex::new(None),
        });
        let idle = Arc::downgrade(&shared);
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || turn(&idle))
            .build()
            // Unwrap is OK because a runtime without drivers takes nothing from the system.
            .expect("a current-thread runtime needs no resources");
        *lock(&shared.runtime) = Some(runtime.handle().clone());
        Self { shared, runtime: Some(runtime), _one_thread: PhantomData }
    }

    /// Our side of the network: what the driver is given.
    pub fn network(&self) -> SimNetwork {
        SimNetwork { shared: Arc::clone(&self.shared), side: Side::Ours }
    }

    /// Everybody else's side: fake exchanges and clients.
    pub fn farm(&self) -> SimNetwork {
        SimNetwork { shared: Arc::clone(&self.shared), side: Side::Farm }
    }

    /// The clock.
    pub fn clock(&self) -> SimClock {
        SimClock::new(Arc::clone(&self.shared))
    }

    /// The links between us and everybody else.
    pub fn links(&self) -> Links {
        Links::new(Arc::clone(&self.shared))
    }

    /// Shows every packet that arrives from now on to `observer`, in place of an earlier one. The
    /// observer must not use the world.
    pub fn observe(&self, observer: impl FnMut(&Sighting<'_>) + Send + 'static) {
        self.shared.wire().observer = Some(Box::new(observer));
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.shared.wire().stats
    }

    /// Connections that are not yet forgotten: open, opening, or with packets on their way.
    pub fn open_connections(&self) -> usize {
        self.shared.wire().open_connections()
    }

    /// Collects packets at the instant at which they are sent, to see that it makes no difference.
    #[cfg(test)]
    pub(super) fn collect_at_once(&self) {
        self.shared.wire().collect_at_once();
    }

    /// Runs `main`, and every task that is spawned, until `main` is done. Tasks that are not done
    /// go on in the next run.
    ///
    /// # Errors
    ///
    /// When a task or `main` panics, or when none of them can ever run again.
    pub fn run<T>(&mut self, main: impl Future<Output = T>) -> Result<T, RunError> {
        let shared = Arc::clone(&self.shared);
        // Unwrap is OK because only `drop` takes the runtime.
        let runtime = self.runtime.as_ref().expect("present until dropped");
        let mut main = pin!(main);
        let mut waker: Option<Waker> = None;
        shared.main_wanted.store(true, Ordering::Relaxed);
        runtime.block_on(poll_fn(|cx| {
            let waker = waker.get_or_insert_with(|| {
                lock(&shared.run).supervisor = Some(cx.waker().clone());
                MainWaker::waker(Arc::clone(&shared.main_wanted), cx.waker().clone())
            });
            if let Some(failure) = lock(&shared.run).failure.take() {
                return Poll::Ready(Err(failure));
            }
            if !shared.main_wanted.swap(false, Ordering::Relaxed) {
                return Poll::Pending;
            }
            match poll_caught(main.as_mut(), &mut Context::from_waker(waker)) {
                Ok(polled) => polled.map(Ok),
                Err(message) => Poll::Ready(Err(RunError::Panicked { message, at: shared.now() })),
            }
        }))
    }
}

impl Drop for SimWorld {
    fn drop(&mut self) {
        *lock(&self.shared.runtime) = None;
        self.runtime = None;
        self.shared.open.store(false, Ordering::Relaxed);
        self.shared.wire().end();
    }
}

impl fmt::Debug for SimWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWorld").field("now", &self.shared.now()).finish_non_exhaustive()
    }
}

/// Every task waits: goes to the next thing due.
fn turn(shared: &Weak<Shared>) {
    let Some(shared) = shared.upgrade() else { return };
    if shared.main_wanted.load(Ordering::Relaxed) {
        return;
    }
    let mut wire = shared.wire();
    wire.stats.turns += 1;
    match wire.next_due() {
        Some(due) => {
            let now = shared.now().max(due);
            shared.now.store(now.as_micros(), Ordering::Relaxed);
            wire.advance(now);
            drop(wire);
            shared.wake_supervisor();
        }
        None => {
            drop(wire);
            shared.fail(RunError::Stalled { at: shared.now() });
        }
    }
}

/// What every handle of a world shares.
pub(super) struct Shared {
    now: AtomicU64,
    open: AtomicBool,
    main_wanted: Arc<AtomicBool>,
    wire: Mutex<Wire>,
    run: Mutex<RunState>,
    runtime: Mutex<Option<Handle>>,
}

/// The run in progress.
#[derive(Default)]
struct RunState {
    supervisor: Option<Waker>,
    failure: Option<RunError>,
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    pub(super) fn wire(&self) -> MutexGuard<'_, Wire> {
        lock(&self.wire)
    }

    /// Whether the network is still there.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends the run; the first failure counts.
    fn fail(&self, failure: RunError) {
        lock(&self.run).failure.get_or_insert(failure);
        self.wake_supervisor();
    }

    fn wake_supervisor(&self) {
        if let Some(supervisor) = &lock(&self.run).supervisor {
            supervisor.wake_by_ref();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// A panic while the lock was held has already ended the run: what is behind it only needs to be
/// dropped.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One side of the simulated network: [`SimWorld::network`] or [`SimWorld::farm`].
#[derive(Clone, Debug)]
pub struct SimNetwork {
    shared: Arc<Shared>,
    side: Side,
}

impl Network for SimNetwork {
    type Stream = SimStream;
    type Listener = SimListener;

    /// Our side connects from `source` or from its default address, the farm only from a `source`.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable`: `source` is not on this side, or the ports of the source's kernel are
    /// used up. `NetworkUnreachable`: no address of the peer's family. `InvalidInput`: `source` and
    /// `peer` are of different families. `ConnectionRefused`: nobody listens. `HostUnreachable`: a
    /// [`Fault`](super::Fault) says so.
    async fn connect(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> io::Result<(SimStream, SocketAddr)> {
        let ports_used_up = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        let mut connected = self.connect_once(source, peer).await;
        if connected.as_ref().is_err_and(ports_used_up) {
            self.shared.wire().free_ports();
            connected = self.connect_once(source, peer).await;
        }
        connected.map_err(|error| match error.kind() {
            // What Linux says.
            io::ErrorKind::AddrInUse => io::ErrorKind::AddrNotAvailable.into(),
            _ => error,
        })
    }

    /// Our side listens on our addresses, on loopback and on the wildcard address; the farm on any
    /// other address. Port 0 is a free port. While more than `backlog` clients wait for `accept`,
    /// further ones try again and again.
    async fn bind(&self, local: SocketAddr, backlog: u32) -> io::Result<SimListener> {
        let mut tried = 0;
        loop {
            let place = self.shared.wire().plan.place(self.side, local)?;
            let socket = at_home(&self.shared, place.host, TcpListener::bind(place.inner)).await;
            tried += 1;
            match socket {
                Ok(socket) => {
                    self.shared.wire().plan.listen(place, backlog);
                    let socket = Homed::new(Arc::clone(&self.shared), place.host, socket);
                    return Ok(SimListener::new(socket, place.outer));
                }
                // Connections of an earlier listener still live there.
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && tried < Plan::PLACES_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn accept(&self, listener: &SimListener) -> io::Result<(SimStream, SocketAddr)> {
        poll_fn(|cx| listener.poll_accept(cx)).await
    }

    fn local_addr(&self, listener: &SimListener) -> io::Result<SocketAddr> {
        Ok(listener.local())
    }

    fn abort(&self, stream: SimStream) {
        stream.abort();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = lock(&self.shared.runtime).clone();
        // A world that has ended runs no more tasks.
        let Some(runtime) = runtime else { return };
        let shared = Arc::downgrade(&self.shared);
        let mut task = Box::pin(task);
        runtime.spawn(poll_fn(move |cx| {
            poll_caught(task.as_mut(), cx).unwrap_or_else(|message| {
                if let Some(shared) = shared.upgrade() {
                    shared.fail(RunError::Panicked { message, at: shared.now() });
                }
                Poll::Ready(())
            })
        }));
    }
}

impl SimNetwork {
    /// Connects; `AddrInUse` when the kernel has no port to spare just now.
    async fn connect_once(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> io::Result<(SimStream, SocketAddr)> {
        let (conn, host) = self.shared.wire().open(self.side, source, peer)?;
        let mut attempt = Attempt { shared: Arc::clone(&self.shared), conn, done: false };
        let connecting = at_home(&self.shared, host, TcpStream::connect(conn.alias()));
        let socket = connecting.await.map_err(|error| attempt.explain(error))?;
        let socket = Homed::new(Arc::clone(&self.shared), host, socket);
        let local = self.shared.wire().client_of(conn).ok_or(io::ErrorKind::ConnectionReset)?;
        attempt.done = true;
        Ok((SimStream::new(socket, conn, End::Client), local))
    }
}

/// A `connect` that is not done yet.
struct Attempt {
    shared: Arc<Shared>,
    conn: ConnRef,
    done: bool,
}

impl Attempt {
    /// The kernel knows only refusals; the wire knows that nobody answered, or a router.
    fn explain(&self, error: io::Error) -> io::Error {
        let wire = self.shared.wire();
        match (wire.timed_out(self.conn, End::Client), wire.unreachable(self.conn)) {
            (true, _) => io::ErrorKind::TimedOut.into(),
            (false, true) => io::ErrorKind::HostUnreachable.into(),
            (false, false) => error,
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.done && self.shared.is_open() {
            self.shared.wire().abandon(self.conn);
        }
    }
}
