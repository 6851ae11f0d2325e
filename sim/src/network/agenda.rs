//! What is due when: packets on their way and timers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::task::Waker;

use slab::Slab;
use traject_engine::Timestamp;

/// Things with a due time, in the order (time, rank, insertion).
#[derive(Debug)]
pub(super) struct Agenda<T> {
    queue: BinaryHeap<Reverse<(Timestamp, u64, u64, usize)>>,
    entries: Slab<T>,
    inserted: u64,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Self {
        Self { queue: BinaryHeap::new(), entries: Slab::new(), inserted: 0 }
    }

    pub(super) fn insert(&mut self, due: Timestamp, rank: u64, entry: T) {
        self.inserted += 1;
        let slot = self.entries.insert(entry);
        self.queue.push(Reverse((due, rank, self.inserted, slot)));
    }

    /// When the earliest entry is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((due, ..))| *due)
    }

    /// Takes the earliest entry when it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((.., slot)) = self.queue.pop()?;
        Some(self.entries.remove(slot))
    }
}

/// Names one timer.
pub(super) type TimerId = (Timestamp, u64);

/// Tasks that sleep, in the order (time, when they went to sleep).
#[derive(Debug, Default)]
pub(super) struct Timers {
    sleepers: BTreeMap<TimerId, Waker>,
    set: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, waker: &Waker) -> TimerId {
        self.set += 1;
        let id = (at, self.set);
        self.sleepers.insert(id, waker.clone());
        id
    }

    /// Another task waits for a timer that is set.
    pub(super) fn rewake(&mut self, id: TimerId, waker: &Waker) {
        if let Some(sleeper) = self.sleepers.get_mut(&id) {
            sleeper.clone_from(waker);
        }
    }

    pub(super) fn cancel(&mut self, id: TimerId) {
        self.sleepers.remove(&id);
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.sleepers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next sleeper due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Waker> {
        if self.next_due()? > now {
            return None;
        }
        self.sleepers.pop_first().map(|(_, waker)| waker)
    }
}
