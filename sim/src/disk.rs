//! The disk of the simulated machine, and when that machine dies.
//!
//! The daemon's own journal runs on it. It may be full, fail, or be slow for a while, and the
//! process may die at any step: before an input of the engine, or before a call of the disk. From
//! then on nothing happens any more: the engine hears nothing and the disk does nothing.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use traject_engine::rng::{Purpose, Seed};
use traject_net::spool::disk::{Disk, DiskFile};
use traject_net::spool::memory_disk::{Failing, MemoryDisk, MemoryFile};

use crate::fault::DiskTrouble;

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// As with SIGKILL: what was written is there, synced or not.
    Kill,
    /// The power is cut: what was not synced is there in part or not at all.
    PowerCut,
}

/// A step of a process, counted from 0 since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Before this input of the engine.
    Input(u64),
    /// Before this call of the disk.
    DiskCall(u64),
}

/// How many steps a process made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Inputs of the engine.
    pub inputs: u64,
    /// Calls of the disk.
    pub disk_calls: u64,
}

/// What processes run on, one after the other. Clones are the same machine.
#[derive(Clone)]
pub struct Machine {
    state: Arc<Mutex<State>>,
    died: Arc<Notify>,
    recovered: Arc<Notify>,
}

struct State {
    /// When the process dies that runs, and those after it.
    deaths: VecDeque<(Step, Blow)>,
    steps: Steps,
    dead: Option<Blow>,
    /// The process has read through its spool.
    recovered: bool,
    full: u32,
    failing: u32,
    slow: Duration,
    seed: Seed,
    power_cuts: u64,
}

impl Machine {
    /// A machine whose processes die at these steps, each at its own; the last one lives.
    pub fn new(seed: Seed, deaths: impl IntoIterator<Item = (Step, Blow)>) -> Self {
        let state = State {
            deaths: deaths.into_iter().collect(),
            steps: Steps::default(),
            dead: None,
            recovered: false,
            full: 0,
            failing: 0,
            slow: Duration::ZERO,
            seed,
            power_cuts: 0,
        };
        let state = Arc::new(Mutex::new(state));
        Self { state, died: Arc::default(), recovered: Arc::default() }
    }

    /// The steps of the process that runs, or ran last.
    pub fn steps(&self) -> Steps {
        self.state().steps
    }

    /// Waits until the process dies at the step it was to die at.
    pub async fn died(&self) -> Blow {
        loop {
            if let Some(blow) = self.state().dead {
                return blow;
            }
            self.died.notified().await;
        }
    }

    /// Another process begins. Tells how the last one died, if it was at a step.
    pub fn begin(&self) -> Option<Blow> {
        let mut state = self.state();
        let blow = state.dead.take();
        if blow.is_some() {
            state.deaths.pop_front();
        }
        state.steps = Steps::default();
        state.recovered = false;
        blow
    }

    /// The process has found all that is in its spool.
    pub fn recovered(&self) {
        self.state().recovered = true;
        self.recovered.notify_one();
    }

    /// Whether it has.
    pub fn is_recovered(&self) -> bool {
        self.state().recovered
    }

    /// Waits until it may have.
    pub async fn recovering(&self) {
        self.recovered.notified().await;
    }

    /// The engine is about to be handed an input. False when there is nobody to hear it.
    pub fn input(&self) -> bool {
        let mut state = self.state();
        let n = state.steps.inputs;
        state.steps.inputs += u64::from(state.dead.is_none());
        self.lives(state, Step::Input(n))
    }

    /// How long a sync takes.
    pub fn sync_takes(&self) -> Duration {
        self.state().slow
    }

    /// Trouble begins.
    pub fn impose(&self, trouble: DiskTrouble) {
        let mut state = self.state();
        match trouble {
            DiskTrouble::Full => state.full += 1,
            DiskTrouble::Fails => state.failing += 1,
            DiskTrouble::Slow(by) => state.slow += by,
        }
    }

    /// It is over.
    pub fn lift(&self, trouble: DiskTrouble) {
        let mut state = self.state();
        match trouble {
            DiskTrouble::Full => state.full -= 1,
            DiskTrouble::Fails => state.failing -= 1,
            DiskTrouble::Slow(by) => state.slow -= by,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lives(&self, mut state: MutexGuard<'_, State>, step: Step) -> bool {
        if state.dead.is_none()
            && let Some((at, blow)) = state.deaths.front().copied()
            && at == step
        {
            state.dead = Some(blow);
            self.died.notify_one();
        }
        state.dead.is_none()
    }

    fn call(&self) -> io::Result<()> {
        let mut state = self.state();
        let n = state.steps.disk_calls;
        state.steps.disk_calls += u64::from(state.dead.is_none());
        match self.lives(state, Step::DiskCall(n)) {
            true => Ok(()),
            false => Err(io::Error::other("the process is dead")),
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct SimDisk {
    memory: MemoryDisk,
    machine: Machine,
}

/// An open file.
#[derive(Debug)]
pub struct SimFile {
    file: MemoryFile,
    disk: SimDisk,
}

impl SimDisk {
    /// The machine it is in.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// An empty disk.
    pub fn new(machine: Machine) -> Self {
        Self { memory: MemoryDisk::default(), machine }
    }

    /// The disk as the next process finds it.
    #[must_use]
    pub fn after(&self, blow: Blow) -> Self {
        let memory = match blow {
            Blow::Kill => self.memory.kill(),
            Blow::PowerCut => {
                let mut state = self.machine.state();
                state.power_cuts += 1;
                let (seed, entity) = (state.seed, state.power_cuts);
                let mut thrown = 0;
                self.memory.crash(&mut || {
                    thrown += 1;
                    seed.draw_below(Purpose::Disk, entity, thrown, 2) == 1
                })
            }
        };
        Self { memory, machine: self.machine.clone() }
    }

    fn file(&self, file: MemoryFile) -> SimFile {
        SimFile { file, disk: self.clone() }
    }

    /// Does something that needs room.
    fn with_room<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.machine.call()?;
        let full = self.machine.state().full > 0;
        self.during(if full { Failing::Full } else { Failing::Never }, work)
    }

    /// Makes something durable.
    fn syncing<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.machine.call()?;
        let fails = self.machine.state().failing > 0;
        self.during(if fails { Failing::Once(0) } else { Failing::Never }, work)
    }

    fn during<T>(&self, failing: Failing, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.memory.fail(failing);
        let done = work();
        self.memory.fail(Failing::Never);
        done
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.machine.call()?;
        self.memory.list()
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.with_room(|| self.memory.create(name)).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.machine.call()?;
        self.memory.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.machine.call()?;
        self.memory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.machine.call()?;
        self.memory.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.syncing(|| self.memory.sync_names())
    }
}

impl DiskFile for SimFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.disk.machine.call()?;
        self.file.len_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.machine.call()?;
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.with_room(|| self.file.write_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.syncing(|| self.file.sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_dies_at_its_step_and_the_next_one_lives() {
        let deaths = [(Step::Input(2), Blow::Kill)];
        let machine = Machine::new(Seed::from_u64(1), deaths);
        let disk = SimDisk::new(machine.clone());
        let file = disk.create("a").unwrap();
        assert!(machine.input() && machine.input());
        file.write_at(0, b"seen").unwrap();
        assert!(!machine.input() && !machine.input());
        assert!(file.write_at(0, b"gone").is_err() && disk.create("b").is_err());
        assert_eq!(machine.steps(), Steps { inputs: 3, disk_calls: 2 });
        machine.begin();
        let disk = disk.after(Blow::Kill);
        let mut found = [0; 4];
        disk.open("a").unwrap().read_at(0, &mut found).unwrap();
        assert_eq!((&found, disk.list().unwrap()), (b"seen", vec!["a".to_owned()]));
        assert!((0..9).all(|_| machine.input()));
    }

    #[test]
    fn trouble_is_over_when_it_is_lifted() {
        let machine = Machine::new(Seed::from_u64(1), []);
        let disk = SimDisk::new(machine.clone());
        let file = disk.create("a").unwrap();
        machine.impose(DiskTrouble::Full);
        let full = file.write_at(0, b"much").map_err(|error| error.kind());
        assert_eq!(full, Err(io::ErrorKind::StorageFull));
        machine.lift(DiskTrouble::Full);
        machine.impose(DiskTrouble::Fails);
        assert!(file.write_at(0, b"much").is_ok() && file.sync().is_err());
        assert!(disk.sync_names().is_err());
        machine.lift(DiskTrouble::Fails);
        assert!(file.write_at(0, b"much").is_ok() && file.sync().is_ok());
        let slow = DiskTrouble::Slow(Duration::from_secs(2));
        machine.impose(slow);
        assert_eq!(machine.sync_takes(), Duration::from_secs(2));
        machine.lift(slow);
        assert_eq!(machine.sync_takes(), Duration::ZERO);
    }
}
