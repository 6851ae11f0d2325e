//! Runs an engine: hands it what happens, does what it wants.
//!
//! One task does everything, in the order in which things become ready: it polls only the jobs
//! that were woken (a connection's [pump](crate::pump), a question to the resolver, a write of
//! the spool, a listener), hands the engine one input at a time and performs every output before
//! the next. On a single-threaded runtime with a paused clock a run is a function of its inputs.
//!
//! The same code runs the daemon and the simulator; only the [`World`] differs:
//!
//! ```
//! use std::sync::Arc;
//!
//! use traject_engine::config::Config;
//! use traject_engine::rng::Seed;
//! use traject_engine::{Engine, Output, Timestamp};
//! use traject_net::clock::SystemClock;
//! use traject_net::driver::{Driver, Observer};
//! use traject_net::memory_spool::MemorySpool;
//! use traject_net::resolve::{DnsResolver, Upstream};
//! use traject_net::tls::TlsConfigs;
//! use traject_net::tokio_net::TokioNetwork;
//! use traject_net::world::{Clock as _, Network as _, World};
//!
//! /// Prints the records and looks at nothing else.
//! struct Records;
//!
//! impl Observer for Records {
//!     fn output(&mut self, _now: Timestamp, output: &Output) {
//!         if let Output::Record(record) = output {
//!             println!("{record:?}");
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Arc::new(Config::from_text("esmtp_listener { listen \"127.0.0.1:0\" {} }")
//!     .map_err(|found| format!("{found:?}"))?);
//! let world = World {
//!     network: TokioNetwork,
//!     resolver: DnsResolver::new(&Upstream::System)?,
//!     spool: MemorySpool::default(),
//!     clock: SystemClock::start(),
//!     tls: TlsConfigs::system(),
//! };
//! let engine = Engine::new(Arc::clone(&config), Seed::from_u64(1), world.clock.now());
//! let mut sockets = Vec::new();
//! for endpoint in config.listeners() {
//!     for address in endpoint.addresses.iter() {
//!         sockets.push((endpoint.id, world.network.bind(*address, endpoint.backlog).await?));
//!     }
//! }
//! let (mut driver, handle) = Driver::new(engine, world, Records);
//! for (listener, socket) in sockets {
//!     driver.listen(listener, socket);
//! }
//! let run = tokio::spawn(driver.run());
//! // ... handle.submit(envelope, body), handle.inspect(|engine| engine.check()) ...
//! assert!(handle.inspect(|engine| engine.snapshot().at_rest).await?);
//! handle.drain().await?;
//! let finished = run.await?.expect("the spool was read");
//! assert_eq!(finished.machine.snapshot().messages, 0);
//! # Ok(())
//! # }
//! ```

mod alarm;
mod compose;
mod handle;
mod job;
mod ready;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use traject_engine::ids::{ConnId, ListenerId};
use traject_engine::io::{NetError, SpoolError};
use traject_engine::message::StoredMessage;
use traject_engine::record::Event as RecordedEvent;
use traject_engine::{Engine, Input, Output, Timestamp};

pub use self::handle::{Answer, Envelope, Handle, HandleError, Phase};

use self::alarm::Alarm;
use self::compose::compose;
use self::handle::{Command, Progress};
use self::job::{Done, Job};
use self::ready::ReadySet;
use crate::pump::{Ending, Event, Pump};
use crate::world::{Clock, Network, Resolver, Spool, World};

/// What a driver runs: the engine, or a script in a test.
pub trait Machine: Send + 'static {
    /// Takes one input; see [`traject_engine::io`].
    fn handle(&mut self, now: Timestamp, input: Input<'_>);

    /// The next thing it wants; `None` when it wants nothing more before the next input.
    fn poll(&mut self) -> Option<Output>;

    /// When it wants [`Input::Wakeup`].
    fn next_wakeup(&self) -> Option<Timestamp>;
}

impl Machine for Engine {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        self.handle(now, input);
    }

    fn poll(&mut self) -> Option<Output> {
        self.poll()
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        self.next_wakeup().map(|wakeup| wakeup.at)
    }
}

/// Sees everything that crosses the boundary, in order, before it takes effect. The methods do
/// nothing unless implemented.
pub trait Observer: Send + 'static {
    /// The engine is about to handle this.
    fn input(&mut self, now: Timestamp, input: &Input<'_>) {
        let _ = (now, input);
    }

    /// The driver is about to perform this.
    fn output(&mut self, now: Timestamp, output: &Output) {
        let _ = (now, output);
    }
}

/// Looks at nothing.
impl Observer for () {}

/// Two observers, in this order.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn input(&mut self, now: Timestamp, input: &Input<'_>) {
        self.0.input(now, input);
        self.1.input(now, input);
    }

    fn output(&mut self, now: Timestamp, output: &Output) {
        self.0.output(now, output);
        self.1.output(now, output);
    }
}

/// Owns an engine and everything it has under way.
#[derive(Debug)]
pub struct Driver<M, N: Network, R, P: Spool, C, O> {
    machine: M,
    observer: O,
    world: World<N, R, P, C>,
    listeners: Vec<(ListenerId, Arc<N::Listener>)>,
    commands: mpsc::Receiver<Command<M>>,
    jobs: Slab<Job<N, P>>,
    ready: ReadySet,
    alarm: Alarm<C>,
    /// The slots of the connections the engine knows, connecting ones included.
    conns: BTreeMap<ConnId, usize>,
    next_conn: u64,
    /// Who waits for what comes of a control: its record.
    answering: Option<oneshot::Sender<Answer>>,
    progress: Progress,
    /// Writes of the spool under way, and messages being put together in it.
    spooling: usize,
    lingering: usize,
    stage: Stage,
    wakeups: WakeupCount,
    /// What was read last, on whatever connection.
    buffer: Box<[u8]>,
}

/// What is left of a driver that has ended.
#[derive(Debug)]
pub struct Finished<M, O> {
    /// The engine, as it was at the end.
    pub machine: M,
    /// The observer.
    pub observer: O,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Draining,
    Stopped,
}

/// Wakeups handed in at one and the same instant.
#[derive(Debug, Default)]
struct WakeupCount {
    at: Timestamp,
    count: u32,
}

impl<M, N, R, P, C, O> Driver<M, N, R, P, C, O>
where
    M: Machine,
    N: Network,
    R: Resolver,
    P: Spool,
    C: Clock,
    O: Observer,
{
    /// A driver that has not begun yet, and its handle.
    pub fn new(machine: M, world: World<N, R, P, C>, observer: O) -> (Self, Handle<M, P, C>) {
        let (spool, clock) = (world.spool.clone(), world.clock.clone());
        let (handle, commands, progress) = Handle::new(spool, clock);
        let driver = Self {
            machine,
            observer,
            listeners: Vec::new(),
            commands,
            jobs: Slab::new(),
            ready: ReadySet::default(),
            alarm: Alarm::new(world.clock.clone()),
            conns: BTreeMap::new(),
            next_conn: 0,
            answering: None,
            progress,
            spooling: 0,
            lingering: 0,
            stage: Stage::Running,
            wakeups: WakeupCount::default(),
            buffer: vec![0; READ_BYTES].into(),
            world,
        };
        (driver, handle)
    }

    /// Adds a socket to accept connections from, while the messages of the spool are recovered.
    /// One listener may have several sockets.
    pub fn listen(&mut self, listener: ListenerId, socket: N::Listener) {
        self.listeners.push((listener, Arc::new(socket)));
    }

    /// Runs the engine, and recovers the spool beside, until it is drained or stopped; see
    /// [`Handle`].
    /// Fails only when the spool cannot be read at the start.
    pub async fn run(mut self) -> Result<Finished<M, O>, SpoolError> {
        self.add(Job::Commands);
        let spool = self.world.spool.clone();
        // Before any mail flows.
        if let Some(history) = spool.recover_shaping().await? {
            self.deliver(self.world.clock.now(), Input::RecoveredShaping(history));
        }
        self.add(Job::Recover(Box::pin(async move { spool.recover().await })));
        // Clients need not wait for mail that waits.
        for index in 0..self.listeners.len() {
            let accept = self.accept(index);
            self.add(accept);
        }
        while !self.is_finished() {
            let slot = self.next_slot().await;
            let now = self.world.clock.now();
            self.wake_machine(now);
            if let Some(slot) = slot {
                self.turn(now, slot)?;
            }
        }
        Ok(Finished { machine: self.machine, observer: self.observer })
    }

    /// Waits for a job that has something to do; `None` when the engine's instant has come.
    async fn next_slot(&mut self) -> Option<usize> {
        let wakeup = self.machine.next_wakeup();
        poll_fn(|cx| match self.ready.poll_next(cx) {
            Poll::Ready(slot) => Poll::Ready(Some(slot)),
            Poll::Pending => self.alarm.poll(wakeup, cx).map(|()| None),
        })
        .await
    }

    fn wake_machine(&mut self, now: Timestamp) {
        for _ in 0..WAKEUPS_A_TURN_MAX {
            if self.machine.next_wakeup().is_none_or(|at| at > now) {
                return;
            }
            self.wakeups.count(now);
            self.deliver(now, Input::Wakeup);
        }
    }

    /// Polls one job and tells the engine what came of it.
    fn turn(&mut self, now: Timestamp, slot: usize) -> Result<(), SpoolError> {
        // A late wake-up: the slot's job has ended.
        let Some(job) = self.jobs.get_mut(slot) else { return Ok(()) };
        let mut cx = Context::from_waker(self.ready.waker(slot));
        if let Job::Commands = job {
            let polled = self.commands.poll_recv(&mut cx);
            if let Poll::Ready(command) = polled {
                self.obey(now, slot, command);
            }
            return Ok(());
        }
        match job.poll(now, &mut cx, &mut self.buffer) {
            Poll::Pending => Ok(()),
            Poll::Ready(Done::Pumped(conn, event)) => {
                self.pumped(now, slot, conn, event);
                Ok(())
            }
            Poll::Ready(Done::Accepted(index, stream, peer)) => {
                self.accepted(now, slot, index, stream, peer);
                Ok(())
            }
            Poll::Ready(Done::Recovered(result)) => {
                self.recovered(now, slot, result?);
                Ok(())
            }
            Poll::Ready(done) => {
                self.ended(now, slot, done);
                Ok(())
            }
        }
    }

    fn pumped(&mut self, now: Timestamp, slot: usize, conn: ConnId, event: Event) {
        // There may be more; the pump is polled again after the others.
        self.ready.mark(slot);
        match event {
            Event::Received(len) => {
                let buffer = mem::take(&mut self.buffer);
                self.deliver(now, Input::Received { conn, bytes: &buffer[..len] });
                self.buffer = buffer;
            }
            Event::BodyProgress(total_bytes) => {
                self.deliver(now, Input::BodyProgress { conn, total_bytes });
            }
            Event::Secured(result) => self.deliver(now, Input::Secured { conn, result }),
            Event::BodyDone(result) => self.deliver(now, Input::BodyDone { conn, result }),
            Event::Closed(error) => {
                self.conns.remove(&conn);
                if let Job::Pump(_, pump) = self.jobs.remove(slot) {
                    self.end_stream(pump.into_ending());
                }
                self.deliver(now, Input::Closed { conn, error });
            }
        }
    }

    fn end_stream(&mut self, ending: Ending<N::Stream>) {
        match ending {
            Ending::Linger(stream) if self.lingering < LINGERING_MAX => {
                self.lingering += 1;
                self.add(Job::linger(stream, self.world.clock.clone()));
            }
            Ending::Drop | Ending::Linger(_) => {}
            Ending::Abort(stream) => self.world.network.abort(stream),
        }
    }

    fn accepted(
        &mut self,
        now: Timestamp,
        slot: usize,
        index: usize,
        stream: N::Stream,
        peer: SocketAddr,
    ) {
        let (listener, socket) = &self.listeners[index];
        let listener = *listener;
        let network = &self.world.network;
        let local = network
            .stream_local_addr(&stream)
            .or_else(|| network.local_addr(socket).ok())
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        self.jobs[slot] = self.accept(index);
        self.ready.mark(slot);
        let conn = ConnId::by_driver(self.next_conn);
        self.next_conn += 1;
        let pump = self.add(Job::Pump(conn, Box::new(Pump::new(stream))));
        self.conns.insert(conn, pump);
        self.deliver(now, Input::Accepted { conn, listener, local, peer });
    }

    fn recovered(&mut self, now: Timestamp, slot: usize, message: Option<StoredMessage>) {
        if let Some(message) = message {
            let spool = self.world.spool.clone();
            self.jobs[slot] = Job::Recover(Box::pin(async move { spool.recover().await }));
            self.ready.mark(slot);
            self.deliver(now, Input::Recovered(Box::new(message)));
        } else {
            self.jobs.remove(slot);
            self.progress.is_now(Phase::Running);
        }
    }

    /// A job of the engine has come to its end.
    fn ended(&mut self, now: Timestamp, slot: usize, done: Done<N::Stream>) {
        match done {
            Done::Connected(conn, Ok((stream, local))) => {
                self.jobs[slot] = Job::Pump(conn, Box::new(Pump::new(stream)));
                self.ready.mark(slot);
                self.deliver(now, Input::Connected { conn, local });
            }
            Done::Connected(conn, Err(error)) => {
                self.jobs.remove(slot);
                self.conns.remove(&conn);
                self.deliver(now, Input::ConnectFailed { conn, error });
            }
            Done::Resolved(query, result) => {
                self.jobs.remove(slot);
                self.deliver(now, Input::Resolved { query, result });
            }
            Done::Spooled(op, result) => {
                self.jobs.remove(slot);
                self.spooling -= 1;
                self.deliver(now, Input::Spooled { op, result });
            }
            Done::Composed(message, result) => {
                self.jobs.remove(slot);
                self.spooling -= 1;
                self.deliver(now, Input::Composed { message, result });
            }
            Done::Lingered => {
                self.jobs.remove(slot);
                self.lingering -= 1;
            }
            Done::Pumped(..) | Done::Accepted(..) | Done::Recovered(_) => {}
        }
    }

    fn obey(&mut self, now: Timestamp, slot: usize, command: Option<Command<M>>) {
        let Some(command) = command else {
            self.jobs.remove(slot);
            return;
        };
        self.ready.mark(slot);
        match command {
            Command::Submit(submission) => self.deliver(now, Input::Submitted(submission)),
            Command::Inspect(look) => look(&self.machine),
            Command::Reload(config) => self.deliver(now, Input::Reload(config)),
            Command::Control(control, answer) => {
                self.answering = Some(answer);
                self.deliver(now, Input::Control(control));
            }
            Command::Drain if self.stage == Stage::Running => {
                self.stage = Stage::Draining;
                self.progress.is_now(Phase::Draining);
                self.jobs.retain(|_, job| !matches!(job, Job::Accept(..) | Job::Recover(_)));
                self.listeners.clear();
                self.deliver(now, Input::Drain);
            }
            Command::Drain => {}
            Command::Stop => self.stage = Stage::Stopped,
        }
    }

    fn deliver(&mut self, now: Timestamp, input: Input<'_>) {
        self.observer.input(now, &input);
        self.machine.handle(now, input);
        while let Some(output) = self.machine.poll() {
            self.observer.output(now, &output);
            self.perform(now, output);
        }
    }

    fn perform(&mut self, now: Timestamp, output: Output) {
        match output {
            Output::Connect { conn, source, peer } => {
                let connect = Job::connect(conn, self.world.network.clone(), source, peer);
                let slot = self.add(connect);
                self.conns.insert(conn, slot);
            }
            Output::Write { conn, bytes } => self.with_pump(conn, |pump, _| pump.write(bytes)),
            Output::WriteBody { conn, message } => {
                self.with_pump(conn, |pump, spool| pump.send_body(spool.clone(), message, now));
            }
            Output::ReceiveBody { conn, message, prefix, rules } => {
                self.with_pump(conn, |pump, spool| {
                    pump.receive_body(spool.clone(), message, prefix, rules, now);
                });
            }
            Output::StartTls { conn, params } => {
                let starter = self.world.tls.starter(&params);
                self.with_pump(conn, |pump, _| pump.start_tls(starter));
            }
            Output::Close { conn, abort } => self.close(conn, abort),
            Output::Resolve { query, question } => {
                let resolver = self.world.resolver.clone();
                let resolve = Box::pin(async move { resolver.resolve(question).await });
                self.add(Job::Resolve(query, resolve));
            }
            Output::Compose { message, parts } => {
                let composing = compose(self.world.spool.clone(), message, parts);
                self.spooling += 1;
                self.add(Job::Compose(message, Box::pin(composing)));
            }
            Output::Spool { op, write } => {
                let writing = Box::pin(self.world.spool.write(write));
                self.spooling += 1;
                self.add(Job::Write(op, writing));
            }
            Output::Record(record) => {
                if let RecordedEvent::Control { reach, refusal, .. } = record.event
                    && let Some(answer) = self.answering.take()
                {
                    // A caller that gave up does not want the answer.
                    let _ = answer.send(refusal.map_or(Ok(reach), Err));
                }
            }
        }
    }

    /// Lets a connection's pump know what the engine wants. Nothing is wanted of a connection
    /// that is not there: the engine has been told, or will be.
    fn with_pump(&mut self, conn: ConnId, tell: impl FnOnce(&mut Pump<N::Stream, P>, &P)) {
        let Some(&slot) = self.conns.get(&conn) else { return };
        if let Job::Pump(_, pump) = &mut self.jobs[slot] {
            tell(pump, &self.world.spool);
            self.ready.mark(slot);
        }
    }

    fn close(&mut self, conn: ConnId, abort: bool) {
        let Some(&slot) = self.conns.get(&conn) else { return };
        match &mut self.jobs[slot] {
            Job::Pump(_, pump) => pump.close(abort),
            // The engine has waited long enough.
            job => *job = Job::ConnectFailed(conn, NetError::TimedOut),
        }
        self.ready.mark(slot);
    }

    fn accept(&self, index: usize) -> Job<N, P> {
        let listener = Arc::clone(&self.listeners[index].1);
        Job::accept(index, self.world.network.clone(), listener, self.world.clock.clone())
    }

    fn add(&mut self, job: Job<N, P>) -> usize {
        let slot = self.jobs.insert(job);
        self.ready.mark(slot);
        slot
    }

    fn is_finished(&self) -> bool {
        match self.stage {
            Stage::Running => false,
            Stage::Draining => self.conns.is_empty() && self.spooling == 0 && self.lingering == 0,
            Stage::Stopped => true,
        }
    }
}

impl WakeupCount {
    fn count(&mut self, now: Timestamp) {
        if self.at != now {
            *self = Self { at: now, count: 0 };
        }
        self.count += 1;
        assert!(
            self.count < WAKEUPS_AT_ONE_INSTANT_MAX,
            "the engine wants to be woken at {now} again and again"
        );
    }
}

/// Read at once from a connection.
const READ_BYTES: usize = 64 << 10;

/// Wakeups in a row before other jobs get their turn.
const WAKEUPS_A_TURN_MAX: usize = 16;

/// More wakeups than an engine has reasons for at one instant: it makes no progress.
const WAKEUPS_AT_ONE_INSTANT_MAX: u32 = 10_000_000;

/// Closed connections whose peers have not closed theirs; more are dropped at once.
const LINGERING_MAX: usize = 1024;
