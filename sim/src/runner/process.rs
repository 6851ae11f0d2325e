//! The process of the run: started, told to read another configuration, restarted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use traject_engine::config::Config;
use traject_engine::rng::Seed;
use traject_engine::{Engine, Timestamp};
use traject_net::driver::{Driver, Finished, Handle};
use traject_net::world::{Clock, Network, World};

use super::machine::{Checks, Watched};
use super::referee::Referee;
use crate::dns::SimResolver;
use crate::event::EventKind;
use crate::network::{SimClock, SimNetwork};
use crate::oracle::Death;
use crate::spool::SimSpool;

pub(super) type SimHandle = Handle<Watched, SimSpool, SimClock>;

type SimulatedWorld = World<SimNetwork, SimResolver<SimClock>, SimSpool, SimClock>;

/// Where to hand in mail; `None` while there is no process.
pub(super) type Door = watch::Receiver<Option<SimHandle>>;

/// What processes are made of, one after the other.
pub(super) struct Operator {
    world: SimulatedWorld,
    referee: Arc<Referee>,
    seed: Seed,
    checks: Checks,
    /// What the next process starts with.
    config: Arc<Config>,
    /// The configurations of reloads to come.
    reloads: VecDeque<Arc<Config>>,
    /// Whether mail comes through listeners.
    listens: bool,
    door: watch::Sender<Option<SimHandle>>,
}

/// What an operator starts with.
pub(super) struct Means {
    pub(super) referee: Arc<Referee>,
    pub(super) seed: Seed,
    pub(super) checks: Checks,
    pub(super) config: Arc<Config>,
    pub(super) reloads: VecDeque<Arc<Config>>,
    pub(super) listens: bool,
}

/// A process that runs.
pub(super) struct Process {
    handle: SimHandle,
    ended: oneshot::Receiver<Watched>,
    kill: oneshot::Sender<()>,
}

impl Operator {
    pub(super) fn new(world: SimulatedWorld, means: Means) -> Self {
        let Means { referee, seed, checks, config, reloads, listens } = means;
        let (door, _) = watch::channel(None);
        Self { world, referee, seed, checks, config, reloads, listens, door }
    }

    pub(super) fn door(&self) -> Door {
        self.door.subscribe()
    }

    /// The spool of the process that runs, or ran last.
    pub(super) fn spool(&self) -> &SimSpool {
        &self.world.spool
    }

    pub(super) async fn start(&self) -> Process {
        let now = self.world.clock.now();
        let engine = Engine::new(Arc::clone(&self.config), self.seed, now);
        self.referee.process_came(now);
        let machine = Watched::new(engine, Arc::clone(&self.referee), self.checks);
        let (mut driver, handle) = Driver::new(machine, self.world.clone(), ());
        for endpoint in self.config.listeners().iter().filter(|_| self.listens) {
            for address in endpoint.addresses.iter() {
                // Fails only for an address of nobody, which no mail can come through.
                let bound = self.world.network.bind(*address, endpoint.backlog).await;
                bound.into_iter().for_each(|socket| driver.listen(endpoint.id, socket));
            }
        }
        let (end, ended) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        self.world.network.spawn(async move {
            tokio::select! {
                biased;
                // All it had in memory is gone, and its sockets are closed.
                Ok(()) = killed => {}
                // A spool in memory has nothing to fail with when it is recovered.
                Ok(Finished { machine, .. }) = driver.run() => {
                    let _ = end.send(machine);
                }
                else => {}
            }
        });
        self.door.send_replace(Some(handle.clone()));
        Process { handle, ended, kill }
    }

    /// Does what an event says. `None` when the driver has ended of itself.
    pub(super) async fn perform(
        &mut self,
        process: Process,
        what: EventKind,
        deadline: Timestamp,
    ) -> Option<Process> {
        match what {
            EventKind::Reload(_) => {
                if let Some(config) = self.reloads.pop_front() {
                    self.config = Arc::clone(&config);
                    process.handle.reload(config).await.ok()?;
                }
                Some(process)
            }
            EventKind::Restart { down } => self.restart(process, down, deadline).await,
            EventKind::Crash { down } => self.crash(process, down, deadline).await,
        }
    }

    async fn restart(
        &mut self,
        mut process: Process,
        down: Duration,
        deadline: Timestamp,
    ) -> Option<Process> {
        // Mail comes in again when there is somebody to take it.
        self.door.send_replace(None);
        process.handle.drain().await.ok()?;
        let clock = self.world.clock.clone();
        tokio::select! {
            biased;
            machine = &mut process.ended => self.gone(&machine.ok()?),
            () = clock.sleep_until(clock.now() + GRACE) => {
                self.gone(&process.stop().await?);
            }
        }
        Some(self.begin_anew(down, deadline).await)
    }

    async fn crash(
        &mut self,
        process: Process,
        down: Duration,
        deadline: Timestamp,
    ) -> Option<Process> {
        self.door.send_replace(None);
        // Whoever was handing in mail has done so: an answer to this comes after that.
        let check = |machine: &Watched| machine.check();
        if let Err(violation) = process.handle.inspect(check).await.ok()? {
            self.referee.violated(violation);
        }
        let Process { kill, ended, .. } = process;
        kill.send(()).ok()?;
        // It leaves nothing behind.
        let _ = ended.await;
        self.referee.process_gone(self.world.clock.now(), Death::Killed);
        Some(self.begin_anew(down, deadline).await)
    }

    /// Has a new process recover the spool, some time after the last one has gone.
    async fn begin_anew(&mut self, down: Duration, deadline: Timestamp) -> Process {
        let clock = self.world.clock.clone();
        clock.sleep_until((clock.now() + down).min(deadline)).await;
        self.world.spool = self.world.spool.restart();
        self.start().await
    }

    fn gone(&self, machine: &Watched) {
        if let Err(violation) = machine.check() {
            self.referee.violated(violation);
        }
        self.referee.process_gone(self.world.clock.now(), Death::Ended);
    }
}

impl Process {
    /// Ends it, whatever is under way. `None` when the driver has ended of itself.
    pub(super) async fn stop(self) -> Option<Watched> {
        self.handle.stop().await.ok()?;
        self.ended.await.ok()
    }
}

/// How long a process that is to end may finish what is under way, as `traject daemon` by default.
const GRACE: Duration = Duration::from_secs(10);
