//! Spin: time goes on. Whatever happens at one instant comes to an end; a loop in which nothing is
//! ever done and no time passes would take a processor and all our days.
//!
//! What is done counts: mail that comes in, and a recipient that is done. Without either there are
//! only so many steps at one instant, and a few more for each recipient that is pending.

use std::collections::BTreeMap;

use traject_engine::record::{Event, Pair, Record};
use traject_engine::{Input, Timestamp};

use super::{Finding, Law, ensure};
use crate::counts::attempt_of;

/// The steps since time or work last moved on.
#[derive(Debug, Default)]
pub(super) struct Spin {
    now: Timestamp,
    steps: u64,
    /// Whose records came meanwhile, counted in the second half of what is allowed.
    whose: BTreeMap<Pair, u64>,
}

impl Spin {
    /// The engine is handed something.
    pub(super) fn input(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
        pending: u64,
    ) -> Result<(), Finding> {
        let comes_in = matches!(input, Input::Submitted(_) | Input::Recovered(_));
        if now > self.now || comes_in {
            self.now = now;
            self.moved_on();
            return Ok(());
        }
        self.steps += 1;
        let allowed = STEPS_MAX + pending * STEPS_A_RECIPIENT;
        ensure(Law::Spin, self.steps <= allowed, || {
            let busiest = self.whose.iter().max_by_key(|(_, count)| **count);
            let whose = busiest.map_or_else(
                || "no queue has records of it".to_owned(),
                |(Pair { binding, domain }, n)| format!("{n} records about {binding}/{domain}"),
            );
            format!("{} steps at one instant, and nothing was done: {whose}", self.steps)
        })
    }

    pub(super) fn record(&mut self, record: &Record) {
        match &record.event {
            Event::Delivery(_) | Event::PermanentFailure(_) | Event::Expiry { .. } => {
                self.moved_on();
            }
            event if self.steps > STEPS_MAX / 2 => {
                if let Some(pair) = pair_of(event) {
                    *self.whose.entry(pair.clone()).or_insert(0) += 1;
                }
            }
            _ => {}
        }
    }

    fn moved_on(&mut self) {
        self.steps = 0;
        self.whose.clear();
    }
}

fn pair_of(event: &Event) -> Option<&Pair> {
    match event {
        Event::ConnectionOpened { pair, .. }
        | Event::ConnectionFailed { pair, .. }
        | Event::ConnectionClosed { pair, .. } => Some(pair),
        event => attempt_of(event).map(|attempt| &attempt.pair),
    }
}

/// Steps that any instant may have.
const STEPS_MAX: u64 = 20_000;

/// Steps more for each pending recipient: a whole dialogue for one of them, and more.
const STEPS_A_RECIPIENT: u64 = 50;
