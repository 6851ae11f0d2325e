//! The engine under observation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::ids::{ConnId, QueryId, SpoolOp};
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
    outstanding: Outstanding,
    now: Timestamp,
    /// Inputs until the engine is checked again.
    check_in: u64,
    checks: Checks,
    /// What it runs on.
    ground: Machine,
    dead: bool,
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
            outstanding: Outstanding::default(),
            now: Timestamp(0),
            check_in: INPUTS_A_CHECK_MIN,
            checks,
            ground,
            dead: false,
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
        self.outstanding.check(self.now)
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
        if let Err(violation) = self.outstanding.input(now, &input) {
            self.referee.violated(violation);
        }
        self.engine.handle(now, input);
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
                self.outstanding.output(self.now, output);
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

/// What the engine asked for and has no answer to: each request gets exactly one, in time.
#[derive(Debug, Default)]
struct Outstanding {
    requests: BTreeMap<Request, Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Connect(ConnId),
    Resolve(QueryId),
    Spool(SpoolOp),
}

impl Outstanding {
    fn output(&mut self, now: Timestamp, output: &Output) {
        let request = match output {
            Output::Connect { conn, .. } => Request::Connect(*conn),
            Output::Resolve { query, .. } => Request::Resolve(*query),
            Output::Spool { op, .. } => Request::Spool(*op),
            _ => return,
        };
        self.requests.insert(request, now);
    }

    fn input(&mut self, now: Timestamp, input: &Input<'_>) -> Result<(), Violation> {
        let request = match input {
            Input::Connected { conn, .. } | Input::ConnectFailed { conn, .. } => {
                Request::Connect(*conn)
            }
            Input::Resolved { query, .. } => Request::Resolve(*query),
            Input::Spooled { op, .. } => Request::Spool(*op),
            _ => return Ok(()),
        };
        match self.requests.remove(&request) {
            Some(_) => Ok(()),
            None => Err(violation(now, "boundary", format!("{request:?} is answered unasked"))),
        }
    }

    fn check(&self, now: Timestamp) -> Result<(), Violation> {
        let late = self.requests.iter().find(|(_, asked_at)| **asked_at + ANSWER_MAX < now);
        match late {
            None => Ok(()),
            Some((request, asked_at)) => {
                let details = format!("{request:?}, asked at {asked_at}, has no answer");
                Err(violation(now, LIVENESS, details))
            }
        }
    }
}

fn violation(at: Timestamp, invariant: &'static str, details: String) -> Violation {
    Violation { at, invariant, details, entity: Entity::Run }
}

/// The law that pending work moves: broken, the run is stuck.
pub(super) const LIVENESS: &str = "liveness";

/// Longest time an answer may take; longer than any timeout of the simulated world.
const ANSWER_MAX: Duration = Duration::from_secs(3600);

/// Least number of inputs between two recounts.
const INPUTS_A_CHECK_MIN: u64 = 4096;

/// Inputs for each pending recipient between two recounts.
const INPUTS_A_PENDING_RECIPIENT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_one_answer_each_and_in_time() {
        let mut outstanding = Outstanding::default();
        let conn = ConnId(2);
        let connect =
            Output::Connect { conn, source: None, peer: "198.18.0.1:25".parse().unwrap() };
        let local = "192.0.2.1:1000".parse().unwrap();
        let connected = Input::Connected { conn, local };
        outstanding.output(Timestamp::from_secs(1), &connect);
        assert_eq!(outstanding.check(Timestamp::from_secs(3601)), Ok(()));
        let late = outstanding.check(Timestamp::from_secs(3602)).unwrap_err();
        assert_eq!(late.invariant, LIVENESS);
        assert_eq!(outstanding.input(Timestamp::from_secs(2), &connected), Ok(()));
        assert_eq!(outstanding.check(Timestamp::from_secs(9999)), Ok(()));
        let twice = outstanding.input(Timestamp::from_secs(3), &connected).unwrap_err();
        assert_eq!(twice.invariant, "boundary");
    }
}
