//! Suspension: no transaction begins for mail that an operator suspended.

use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::control::{Action, Selector};
use traject_engine::record::{Event, Record};

use super::{Finding, Law, ensure};
use crate::counts::attempt_of;

/// Every suspension there was.
#[derive(Debug, Default)]
pub(super) struct Held {
    all: Vec<Suspended>,
}

/// Mail that was suspended between two instants.
#[derive(Debug)]
struct Suspended {
    of: Selector,
    from: Timestamp,
    until: Timestamp,
}

impl Held {
    /// The process is gone, and what it was told with it.
    pub(super) fn process_gone(&mut self, at: Timestamp) {
        self.end(at, &Selector::default());
    }

    pub(super) fn judge(&mut self, record: &Record) -> Result<(), Finding> {
        match &record.event {
            Event::Control { action: Action::Suspend { of, until }, refusal: None, .. } => {
                let same = |one: &&mut Suspended| one.of == *of && one.until > record.at;
                self.all.iter_mut().filter(same).for_each(|one| one.until = record.at);
                let (of, until) = (of.clone(), until.unwrap_or(Timestamp::NEVER));
                self.all.push(Suspended { of, from: record.at, until });
                Ok(())
            }
            Event::Control { action: Action::Resume { of }, refusal: None, .. } => {
                self.end(record.at, of);
                Ok(())
            }
            event => match attempt_of(event).filter(|attempt| attempt.conn.is_some()) {
                None => Ok(()),
                Some(attempt) => {
                    let took = attempt.took.max(Duration::ZERO);
                    let begun_at = Timestamp(record.at.0.saturating_sub(took.as_micros() as u64));
                    let broken = |one: &&Suspended| {
                        one.of.may_be_in(&attempt.pair)
                            && (one.from < begun_at && begun_at < one.until)
                    };
                    let broken = self.all.iter().find(broken);
                    ensure(Law::Suspension, broken.is_none(), || {
                        let of = broken.map(|one| one.of.to_string()).unwrap_or_default();
                        format!("{} was tried, and {of} was suspended", attempt.mailbox)
                    })
                }
            },
        }
    }

    fn end(&mut self, at: Timestamp, of: &Selector) {
        for one in self.all.iter_mut().filter(|one| of.covers(&one.of)) {
            one.until = one.until.min(at);
        }
    }
}
