//! The engine under observation.

use std::sync::Arc;

use traject_engine::marks::Marks;
use traject_engine::{Engine, Input, Output, Timestamp};
use traject_net::driver;

use super::referee::Referee;
use crate::disk::Machine;
use crate::oracle::{Entity, Violation};

/// An engine whose inputs and outputs are seen by the referee, and whose own invariants are
/// recounted from time to time.
#[derive(Debug)]
pub(super) struct Watched {
    engine: Engine,
    referee: Arc<Referee>,
    now: Timestamp,
    /// Inputs until the engine is checked again.
    check_in: u64,
    checks: Checks,
    /// What it runs on.
    ground: Machine,
    dead: bool,
    /// What the referee knows of the engine's marks.
    marks: Marks,
}

/// How often the engine recounts its invariants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// So often that it costs a small part of the run.
    #[default]
    Sampled,
    /// After every input.
    Always,
}

impl Watched {
    pub(super) fn new(
        mut engine: Engine,
        referee: Arc<Referee>,
        checks: Checks,
        ground: Machine,
    ) -> Self {
        engine.watch_waits();
        Self {
            engine,
            referee,
            now: Timestamp(0),
            check_in: INPUTS_A_CHECK_MIN,
            checks,
            ground,
            dead: false,
            marks: Marks::default(),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Recounts what the engine keeps, and looks for questions nobody answers.
    pub(super) fn check(&self) -> Result<(), Violation> {
        self.engine.check().map_err(|found| Violation {
            at: self.now,
            invariant: found.invariant,
            details: found.details,
            entity: Entity::Run,
        })?;
        self.referee.state().oracles.overdue(self.now)
    }

    fn check_now_and_then(&mut self) {
        self.check_in = self.check_in.saturating_sub(1);
        if self.check_in > 0 && self.checks == Checks::Sampled {
            return;
        }
        // A recount looks at every recipient in care: the more there are, the rarer.
        let pending = self.referee.state().oracles.book().pending();
        self.check_in = INPUTS_A_CHECK_MIN.max(pending * INPUTS_A_PENDING_RECIPIENT);
        if let Err(violation) = self.check() {
            self.referee.violated(violation);
        }
    }
}

impl driver::Machine for Watched {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        self.dead = self.dead || !self.ground.input();
        if self.dead {
            return;
        }
        self.now = now;
        self.referee.input(now, &input);
        self.engine.handle(now, input);
        if self.engine.marks() != self.marks {
            self.marks = self.engine.marks();
            self.referee.marks(self.marks);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        if self.dead {
            return None;
        }
        let output = self.engine.poll();
        if output.is_none() {
            // After the records of the input, which say what came of connections.
            let changes = self.engine.take_wait_changes();
            if !changes.is_empty() {
                self.referee.waits(self.now, &changes);
            }
        }
        match &output {
            Some(output) => {
                self.referee.output(self.now, output);
            }
            None => self.check_now_and_then(),
        }
        output
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        self.engine.next_wakeup().map(|wakeup| wakeup.at).filter(|_| !self.dead)
    }
}

/// Least number of inputs between two recounts.
const INPUTS_A_CHECK_MIN: u64 = 4096;

/// Inputs for each pending recipient between two recounts.
const INPUTS_A_PENDING_RECIPIENT: u64 = 8;
