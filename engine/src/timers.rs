//! The engine's timers: ordered, cancellable, each with a reason.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ConnId, MessageId};
use crate::time::Timestamp;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeupReason {
    /// The deadline of a stage of a dialogue, or an idle time.
    Connection(ConnId),
    /// A queue: delayed mail is due, an address may be tried again, or trying has lasted too long.
    Queue(usize),
    /// The sweep that opens reserve connections: queues wait at the cap of the server.
    Reserve,
    /// A look-up of exchanges whose turn comes (`dns_rate_limit_mx_queries`).
    Lookups,
    /// What throttles have let pass is to be written down.
    Shaping,
    /// What the spool could not write about messages is to be written again.
    Bookkeeping,
    /// A notice to a sender that the spool refused.
    Notice(MessageId),
    /// A message whose sender is to hear that it still waits.
    DelayNotice(MessageId),
    /// The time of a suspension is over.
    Suspension,
}

/// When the engine wants to be called, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wakeup {
    /// The instant.
    pub at: Timestamp,
    /// What first needs it.
    pub why: WakeupReason,
}

/// A timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerHandle {
    at: Timestamp,
    seq: u64,
}

impl TimerHandle {
    /// When it fires.
    pub(crate) const fn at(self) -> Timestamp {
        self.at
    }
}

/// All timers. Those of one instant fire in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeMap<TimerHandle, WakeupReason>,
    next_seq: u64,
}

impl Timers {
    /// Sets a timer.
    pub(crate) fn set(&mut self, at: Timestamp, why: WakeupReason) -> TimerHandle {
        let handle = TimerHandle { at, seq: self.next_seq };
        self.next_seq += 1;
        self.set.insert(handle, why);
        handle
    }

    /// Cancels a timer; one that has fired is left in peace.
    pub(crate) fn cancel(&mut self, handle: TimerHandle) {
        self.set.remove(&handle);
    }

    /// Makes `slot` hold a timer at `at` (`None`: no timer), with as little change as possible.
    pub(crate) fn adjust(
        &mut self,
        slot: &mut Option<TimerHandle>,
        at: Option<Timestamp>,
        why: WakeupReason,
    ) {
        if slot.map(TimerHandle::at) == at {
            return;
        }
        if let Some(old) = slot.take() {
            self.cancel(old);
        }
        *slot = at.map(|at| self.set(at, why));
    }

    /// Like [`Timers::adjust`] for a deadline that mostly moves later, as those of dialogues do: a
    /// timer that is set too early is left, and whoever it wakes looks at the deadline again.
    pub(crate) fn defer(
        &mut self,
        slot: &mut Option<TimerHandle>,
        at: Option<Timestamp>,
        why: WakeupReason,
    ) {
        match (*slot, at) {
            (Some(set), Some(at)) if set.at <= at => {}
            _ => self.adjust(slot, at, why),
        }
    }

    /// The earliest timer.
    pub(crate) fn first(&self) -> Option<Wakeup> {
        self.set.first_key_value().map(|(handle, why)| Wakeup { at: handle.at, why: *why })
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<WakeupReason> {
        let entry = self.set.first_entry()?;
        (entry.key().at <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_once() {
        let mut timers = Timers::default();
        let late = timers.set(Timestamp(20), WakeupReason::Queue(1));
        timers.set(Timestamp(10), WakeupReason::Queue(2));
        timers.set(Timestamp(10), WakeupReason::Queue(3));
        assert_eq!(timers.first(), Some(Wakeup { at: Timestamp(10), why: WakeupReason::Queue(2) }));
        assert_eq!(timers.pop_due(Timestamp(9)), None);
        assert_eq!(timers.pop_due(Timestamp(15)), Some(WakeupReason::Queue(2)));
        assert_eq!(timers.pop_due(Timestamp(15)), Some(WakeupReason::Queue(3)));
        assert_eq!(timers.pop_due(Timestamp(15)), None);
        timers.cancel(late);
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn adjusting_replaces() {
        let mut timers = Timers::default();
        let mut slot = None;
        timers.adjust(&mut slot, Some(Timestamp(5)), WakeupReason::Queue(0));
        timers.adjust(&mut slot, Some(Timestamp(3)), WakeupReason::Queue(0));
        assert_eq!(timers.pop_due(Timestamp(9)), Some(WakeupReason::Queue(0)));
        assert_eq!(timers.pop_due(Timestamp(9)), None);
        timers.adjust(&mut slot, None, WakeupReason::Queue(0));
        assert_eq!(slot, None);
    }

    #[test]
    fn a_deferred_deadline_leaves_the_early_timer() {
        let mut timers = Timers::default();
        let mut slot = None;
        let why = WakeupReason::Queue(0);
        for (deadline, set) in [(5, 5), (9, 5), (7, 5), (2, 2), (9, 2)] {
            timers.defer(&mut slot, Some(Timestamp(deadline)), why);
            assert_eq!(timers.first(), Some(Wakeup { at: Timestamp(set), why }), "{deadline}");
        }
        timers.defer(&mut slot, None, why);
        assert_eq!(timers.first(), None);
    }
}
