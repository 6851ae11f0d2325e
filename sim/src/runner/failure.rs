//! How a run fails, told so that it can be repeated and understood.

use std::collections::VecDeque;
use std::fmt;

use traject_engine::Timestamp;
use traject_engine::record::Record;

use super::START;
use crate::describe;
use crate::oracle::{Entity, Law, Violation};

/// A run that failed: a bug of ours, not of the scenario's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort.
    pub kind: FailureKind,
    /// When, in the simulated world.
    pub at: Timestamp,
    /// Which law, and what was found.
    pub what: String,
    /// What was going on, oldest first.
    pub last_events: Vec<String>,
}

/// What sort of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// An invariant was violated.
    Violation,
    /// Work is left, and nothing will move it.
    Stuck,
    /// Without end something happens, and time does not go on.
    Spin,
    /// The program panicked.
    Panic,
}

impl Failure {
    pub(crate) fn violated(
        violation: Violation,
        start: Timestamp,
        recent: &VecDeque<Record>,
    ) -> Self {
        let kind = match violation.invariant {
            law if law == Law::Liveness.name() => FailureKind::Stuck,
            law if law == Law::Spin.name() => FailureKind::Spin,
            _ => FailureKind::Violation,
        };
        let last_events = last_events_since(start, violation.entity, recent);
        let Violation { at, invariant, details, entity } = violation;
        Self { kind, at, what: format!("{invariant}: {details} ({entity})"), last_events }
    }

    pub(super) fn stuck(at: Timestamp, what: &str) -> Self {
        let what = format!("{}: {what}", Law::Liveness);
        Self { kind: FailureKind::Stuck, at, what, last_events: Vec::new() }
    }

    pub(super) fn panicked(at: Timestamp, message: String) -> Self {
        let what = format!("panic: {message}");
        Self { kind: FailureKind::Panic, at, what, last_events: Vec::new() }
    }
}

/// The last events of a run that are about something.
pub(super) fn last_events(entity: Entity, recent: &VecDeque<Record>) -> Vec<String> {
    last_events_since(START, entity, recent)
}

fn last_events_since(start: Timestamp, entity: Entity, recent: &VecDeque<Record>) -> Vec<String> {
    let concerning = recent.iter().rev().filter(|one| entity.concerns(one));
    let mut last_events: Vec<String> =
        concerning.take(LAST_EVENTS_MAX).map(|record| describe::line(start, record)).collect();
    last_events.reverse();
    last_events
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FailureKind::Violation => "an invariant was violated",
            FailureKind::Stuck => "the run is stuck",
            FailureKind::Spin => "the run turns in circles",
            FailureKind::Panic => "the program panicked",
        };
        writeln!(f, "{kind} at {}", describe::instant(START, self.at))?;
        writeln!(f, "  {}", self.what)?;
        if !self.last_events.is_empty() {
            writeln!(f, "  last events:")?;
        }
        for event in &self.last_events {
            writeln!(f, "    {event}")?;
        }
        Ok(())
    }
}

/// Events told about a failure.
const LAST_EVENTS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use traject_engine::ids::MessageId;
    use traject_engine::smtp::stage::Stage;

    use super::*;
    use crate::test_records::{START, at, deferral, opened, reception, reply};

    #[test]
    fn a_violation_tells_the_story_of_its_entity() {
        let recent = VecDeque::from([
            reception(0, 2, &["x@a.test"]),
            reception(0, 4, &["y@a.test"]),
            opened(1, 6, 1, 1),
            deferral(1, 1, Stage::RcptTo, reply("451 Greylisted"), 61),
        ]);
        let violation = Violation {
            at: at(60),
            invariant: "retry",
            details: "attempted before its due time".into(),
            entity: Entity::Message(MessageId(2)),
        };
        let failure = Failure::violated(violation, START, &recent);
        assert_eq!(failure.kind, FailureKind::Violation);
        assert_eq!(failure.what, "retry: attempted before its due time (message 2)");
        assert_eq!(
            failure.last_events,
            [
                "00:00:00.000  message 2 accepted for x@a.test, 1000 B, default",
                "00:00:01.000  message 2 to x@a.test deferred at RCPT TO: 451 Greylisted \
                 (attempt 1, next 00:01:01.000)"
            ]
        );
    }

    #[test]
    fn pending_work_that_nothing_moves_is_a_stuck_run() {
        let details = "active mail, and nothing will wake the queue".into();
        let violation =
            Violation { at: at(60), invariant: Law::Liveness.name(), details, entity: Entity::Run };
        let failure = Failure::violated(violation, START, &VecDeque::new());
        assert_eq!(failure.kind, FailureKind::Stuck);
    }
}
