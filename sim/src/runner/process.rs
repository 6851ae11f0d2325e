//! The process of the run: started, told to read another configuration, restarted.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use traject_engine::config::Config;
use traject_engine::control::{Action, Control};
use traject_engine::rng::Seed;
use traject_engine::{Engine, Timestamp};
use traject_net::driver::{Driver, Finished, Handle};
use traject_net::spool::Turns;
use traject_net::world::{Clock, Network, World};

use super::door::{self, Doorkeeper};
use super::machine::{Checks, Watched};
use super::referee::Referee;
use crate::body::BodyFactory;
use crate::disk::{Blow, Machine, SimDisk};
use crate::dns::SimResolver;
use crate::event::EventKind;
use crate::network::{SimClock, SimNetwork};
use crate::oracle::Death;
use crate::spool::SimSpool;

pub(super) type SimHandle = Handle<Watched, SimSpool, SimClock>;

type SimulatedWorld = World<SimNetwork, SimResolver<SimClock>, SimSpool, SimClock>;

/// Where to hand in mail; `None` while there is no process.
pub(super) type Door = door::Door<SimHandle>;

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
    ground: Machine,
    bodies: BodyFactory,
    door: Doorkeeper<SimHandle>,
}

/// What an operator starts with.
pub(super) struct Means {
    pub(super) referee: Arc<Referee>,
    pub(super) seed: Seed,
    pub(super) checks: Checks,
    pub(super) config: Arc<Config>,
    pub(super) reloads: VecDeque<Arc<Config>>,
    pub(super) listens: bool,
    pub(super) ground: Machine,
}

/// A process that runs.
pub(super) struct Process {
    handle: SimHandle,
    ended: oneshot::Receiver<Watched>,
    kill: oneshot::Sender<()>,
}

impl Operator {
    pub(super) fn new(world: SimulatedWorld, bodies: BodyFactory, means: Means) -> Self {
        let Means { referee, seed, checks, config, reloads, listens, ground } = means;
        let door = Doorkeeper::new();
        Self { world, referee, seed, checks, config, reloads, listens, ground, bodies, door }
    }

    /// Has the spool be a journal on a disk.
    pub(super) async fn use_disk(&mut self) {
        self.open(SimDisk::new(self.ground.clone())).await;
    }

    /// Opens the journal on a disk; again and again while the disk does not let it.
    async fn open(&mut self, mut disk: SimDisk) {
        loop {
            match SimSpool::on_disk(self.bodies.clone(), disk.clone(), self.seed) {
                Ok(spool) => {
                    self.world.spool = spool;
                    return;
                }
                Err(_) => {
                    let clock = &self.world.clock;
                    clock.sleep_until(clock.now() + START_AGAIN).await;
                    // It may have died in the middle of that.
                    disk = disk.after(self.ground.begin().unwrap_or(Blow::Kill));
                }
            }
        }
    }

    pub(super) fn door(&self) -> Door {
        self.door.door()
    }

    /// The spool of the process that runs, or ran last.
    pub(super) fn spool(&self) -> &SimSpool {
        &self.world.spool
    }

    pub(super) async fn start(&self) -> Process {
        let now = self.world.clock.now();
        let engine = Engine::new(Arc::clone(&self.config), self.seed, now);
        self.referee.process_came(now);
        let ground = self.ground.clone();
        let machine = Watched::new(engine, Arc::clone(&self.referee), self.checks, ground);
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
        let turns = self.world.spool.take_turns();
        let (ground, clock) = (self.ground.clone(), self.world.clock.clone());
        let mut disk = DiskWork { turns, ground, clock, referee: Arc::clone(&self.referee) };
        self.world.network.spawn(async move {
            tokio::select! {
                biased;
                // All it had in memory is gone, and its sockets are closed.
                Ok(()) = killed => {}
                () = disk.go_on() => {}
                // What is in the spool can be read, unless the process is dead by now.
                Ok(Finished { machine, .. }) = driver.run() => {
                    disk.finish();
                    let _ = end.send(machine);
                }
                else => {}
            }
        });
        self.door.open(handle.clone());
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
            EventKind::Control { action, length } => {
                let action = match action {
                    Action::Suspend { of, .. } => {
                        let now = self.world.clock.now();
                        Action::Suspend { of, until: length.map(|length| now + length) }
                    }
                    action => action,
                };
                let control = Control { by: "scenario".into(), action, portion: None };
                // What was refused is in the records.
                let _ = process.handle.control(control).await.ok()?;
                Some(process)
            }
            EventKind::Restart { down } => self.restart(process, down, deadline).await,
            EventKind::Crash { down } => self.crash(process, Blow::Kill, down, deadline).await,
            EventKind::PowerCut { down } => {
                self.crash(process, Blow::PowerCut, down, deadline).await
            }
        }
    }

    async fn restart(
        &mut self,
        mut process: Process,
        down: Duration,
        deadline: Timestamp,
    ) -> Option<Process> {
        // Mail comes in again when there is somebody to take it.
        self.door.shut();
        process.handle.drain().await.ok()?;
        let clock = self.world.clock.clone();
        tokio::select! {
            biased;
            machine = &mut process.ended => self.gone(&machine.ok()?),
            () = clock.sleep_until(clock.now() + GRACE) => {
                self.gone(&process.stop().await?);
            }
        }
        Some(self.begin_anew(Blow::Kill, down, deadline).await)
    }

    async fn crash(
        &mut self,
        process: Process,
        blow: Blow,
        down: Duration,
        deadline: Timestamp,
    ) -> Option<Process> {
        self.door.shut();
        // Whoever was handing in mail has done so: an answer to this comes after that.
        let check = |machine: &Watched| machine.check();
        if let Err(violation) = process.handle.inspect(check).await.ok()? {
            self.referee.violated(violation);
        }
        self.bury(process, blow, down, deadline).await
    }

    /// The process died at a step; a new one begins soon.
    pub(super) async fn died(
        &mut self,
        process: Process,
        blow: Blow,
        deadline: Timestamp,
    ) -> Option<Process> {
        self.door.shut();
        self.bury(process, blow, START_AGAIN, deadline).await
    }

    async fn bury(
        &mut self,
        process: Process,
        blow: Blow,
        down: Duration,
        deadline: Timestamp,
    ) -> Option<Process> {
        let Process { kill, ended, .. } = process;
        kill.send(()).ok()?;
        // It leaves nothing behind.
        let _ = ended.await;
        self.referee.process_gone(self.world.clock.now(), Death::Killed);
        Some(self.begin_anew(blow, down, deadline).await)
    }

    /// Has a new process recover the spool, some time after the last one has gone.
    async fn begin_anew(&mut self, blow: Blow, down: Duration, deadline: Timestamp) -> Process {
        let clock = self.world.clock.clone();
        clock.sleep_until((clock.now() + down).min(deadline)).await;
        self.ground.begin();
        match self.world.spool.disk_after(blow) {
            Some(disk) => self.open(disk).await,
            None => self.world.spool = self.world.spool.restart(),
        }
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

/// Who writes to the disk of a process, if it has one.
struct DiskWork {
    turns: Option<Turns<SimDisk>>,
    ground: Machine,
    clock: SimClock,
    referee: Arc<Referee>,
}

impl DiskWork {
    /// Writes whatever there is to write, as fast as the disk is; never ends.
    async fn go_on(&mut self) {
        let Some(turns) = &mut self.turns else { return pending().await };
        while turns.next().await {
            // What arrives while the disk is at it shares the next sync.
            let takes = if turns.syncs() { self.ground.sync_takes() } else { Duration::ZERO };
            if !takes.is_zero() {
                let now = self.clock.now();
                self.referee.state().oracles.disk_syncs(now, takes);
                self.clock.sleep_until(now + takes).await;
            }
            turns.perform();
        }
        pending().await
    }

    /// Writes what is left, as a process does that ends in good order.
    fn finish(&mut self) {
        if let Some(turns) = &mut self.turns {
            turns.perform();
            while turns.next_now() {
                turns.perform();
            }
        }
    }
}

/// How long it takes whoever watches the process to start it again.
const START_AGAIN: Duration = Duration::from_secs(1);

/// How long a process that is to end may finish what is under way, as `traject daemon` by default.
const GRACE: Duration = Duration::from_secs(10);
