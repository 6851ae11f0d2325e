//! What became of mail, until the spool knows it.
//!
//! The new states of a message's recipients, where an operator sends them, and its end are *notes*
//! for the spool. A message has one note under way at most; what comes meanwhile is merged into the
//! next one, so notes of one message never overtake each other. A note that could not be written is
//! kept and written again: else the next start would send what was delivered (D20).
//!
//! ```text
//!          note                     could not be written
//!   (none) ────► Writing ─────────────────────────────────► Failed
//!      ▲            │ ▲  ◄───────────────────────────────────  │ ◄─┐ note: merged
//!      └────────────┘ └─ the timer, all that waits at the end ─┘ ──┘
//!        durable, nothing new
//! ```
//!
//! While too many messages have notes that are not durable, no delivery begins: what is kept is
//! bounded, and so is what a restart would do again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::check::{Invariant, Violation, ensure};
use crate::engine::Engine;
use crate::ids::MessageId;
use crate::io::{SpoolError, SpoolWrite};
use crate::limits;
use crate::message::RecipientState;
use crate::reception::SpoolPurpose;
use crate::record::{Event, Pair};
use crate::timers::WakeupReason;

/// What the spool is to know about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// New states of some recipients, and new queues of some, each named once.
    Change { states: Vec<(u32, RecipientState)>, routes: Vec<(u32, Pair)> },
    /// Every recipient is done.
    Remove,
}

/// Notes that are not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Bookkeeping {
    notes: BTreeMap<MessageId, Entry>,
    /// The messages whose note failed and is not under way.
    failed: BTreeSet<MessageId>,
    /// Failed notes that are being written again.
    repeating: usize,
    /// The timer for the next repetition is set.
    timer: bool,
    /// Repetitions that failed in a row.
    failures: u32,
    /// Too many messages have notes that are not durable.
    behind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Writing { note: Note, next: Option<Note>, again: bool },
    Failed(Note),
}

/// What came of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    /// All is said.
    Done,
    /// This is to be written next.
    Next(Note),
    /// It is kept.
    Kept,
}

impl Note {
    /// New states of some recipients.
    pub(crate) const fn states(states: Vec<(u32, RecipientState)>) -> Self {
        Self::Change { states, routes: Vec::new() }
    }

    /// Some recipients are sent by another queue from now on.
    pub(crate) fn routes(recipients: Vec<u32>, to: &Pair) -> Self {
        let routes = recipients.into_iter().map(|index| (index, to.clone())).collect();
        Self::Change { states: Vec::new(), routes }
    }

    /// The two as one, in their order.
    fn then(self, newer: Self) -> Self {
        match (self, newer) {
            (
                Self::Change { states, routes },
                Self::Change { states: newer_states, routes: newer_routes },
            ) => Self::Change {
                states: overlaid(states, newer_states),
                routes: overlaid(routes, newer_routes),
            },
            (_, Self::Remove) | (Self::Remove, Self::Change { .. }) => Self::Remove,
        }
    }

    /// What one write can say, and the rest.
    fn split(self) -> (Self, Option<Self>) {
        match self {
            Self::Change { states, routes } => match routes.first().cloned() {
                None => (Self::states(states), None),
                Some((_, to)) => {
                    let (now, later): (Vec<_>, Vec<_>) =
                        routes.into_iter().partition(|(_, pair)| *pair == to);
                    let is_all = states.is_empty() && later.is_empty();
                    let rest = Self::Change { states, routes: later };
                    let now = Self::Change { states: Vec::new(), routes: now };
                    (now, (!is_all).then_some(rest))
                }
            },
            Self::Remove => (Self::Remove, None),
        }
    }

    /// Of what [`Self::split`] made.
    fn write(self, message: MessageId) -> SpoolWrite {
        match self {
            Self::Change { states, routes } => match routes.first().cloned() {
                None => SpoolWrite::Update { message, recipients: states },
                Some((_, to)) => {
                    let recipients = routes.into_iter().map(|(index, _)| index).collect();
                    SpoolWrite::Reroute { message, recipients, to }
                }
            },
            Self::Remove => SpoolWrite::Remove(message),
        }
    }
}

/// What was said of some recipients, and what was said later of some.
fn overlaid<T>(older: Vec<(u32, T)>, mut newer: Vec<(u32, T)>) -> Vec<(u32, T)> {
    let fresh = |index: &u32| newer.iter().any(|(named, _)| named == index);
    let mut both: Vec<_> = older.into_iter().filter(|(index, _)| !fresh(index)).collect();
    both.append(&mut newer);
    both
}

impl Bookkeeping {
    /// Messages whose last note could not be written.
    pub(crate) fn kept(&self) -> usize {
        self.failed.len() + self.repeating
    }

    /// Whether so much is owed to the spool that no delivery may begin.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Counts what is owed. True when [`Self::is_behind`] has changed.
    fn weigh(&mut self) -> bool {
        let before = self.behind;
        self.behind = owes_too_much(self.notes.len(), before);
        self.behind != before
    }

    /// Takes a note; answers with what to write now.
    fn add(&mut self, message: MessageId, note: Note) -> Option<Note> {
        match self.notes.get_mut(&message) {
            None => Some(self.begin(message, note, false)),
            Some(Entry::Writing { next, .. }) => {
                *next = Some(match next.take() {
                    None => note,
                    Some(waiting) => waiting.then(note),
                });
                None
            }
            Some(Entry::Failed(kept)) => {
                *kept = mem::replace(kept, Note::Remove).then(note);
                None
            }
        }
    }

    /// A note is under way, in as many writes as it takes. Answers with the first.
    fn begin(&mut self, message: MessageId, note: Note, again: bool) -> Note {
        let (note, next) = note.split();
        self.notes.insert(message, Entry::Writing { note: note.clone(), next, again });
        note
    }

    /// The note under way is durable, or could not be written.
    fn answered(&mut self, message: MessageId, durable: bool) -> Written {
        let Some(Entry::Writing { note, next, again }) = self.notes.remove(&message) else {
            return Written::Done;
        };
        self.repeating -= usize::from(again);
        match (durable, next) {
            (true, None) => Written::Done,
            (true, Some(next)) => Written::Next(self.begin(message, next, false)),
            (false, next) => {
                let note = match next {
                    None => note,
                    Some(next) => note.then(next),
                };
                self.notes.insert(message, Entry::Failed(note));
                self.failed.insert(message);
                Written::Kept
            }
        }
    }

    /// Takes up a note that failed.
    fn take_up(&mut self, message: MessageId) -> Option<Note> {
        let Entry::Failed(note) = self.notes.get_mut(&message)? else { return None };
        let note = mem::replace(note, Note::Remove);
        self.failed.remove(&message);
        self.repeating += 1;
        Some(self.begin(message, note, true))
    }

    /// Whether the note under way is one that failed before.
    fn is_repeated(&self, message: MessageId) -> bool {
        matches!(self.notes.get(&message), Some(Entry::Writing { again: true, .. }))
    }
}

impl Engine {
    /// Has the spool note something, now or as soon as it can.
    pub(crate) fn note(&mut self, message: MessageId, note: Note) {
        self.take_note(message, note);
        self.weigh_notes();
    }

    fn take_note(&mut self, message: MessageId, note: Note) {
        if let Some(note) = self.bookkeeping.add(message, note) {
            self.write_note(message, note);
        } else if self.draining {
            // There may be no other time.
            self.repeat_note(message);
        }
    }

    /// A note is durable, or could not be written. Failures of one message make one record.
    pub(crate) fn noted(&mut self, message: MessageId, result: Result<(), SpoolError>) {
        self.take_answer(message, result);
        self.weigh_notes();
    }

    /// Queues stop when too much is owed, and go on well below that.
    fn weigh_notes(&mut self) {
        if self.bookkeeping.weigh() {
            let waiting = self.queues.iter().filter(|(_, queue)| queue.has_active());
            let slots = waiting.map(|(slot, _)| slot).collect();
            self.touch_all(slots);
        }
    }

    fn take_answer(&mut self, message: MessageId, result: Result<(), SpoolError>) {
        let repeated = self.bookkeeping.is_repeated(message);
        match self.bookkeeping.answered(message, result.is_ok()) {
            Written::Done => {}
            Written::Next(note) => self.write_note(message, note),
            Written::Kept => {
                if let Err(error) = result
                    && !repeated
                {
                    self.record(Event::SpoolFailure { message, error });
                }
                match (self.draining, repeated) {
                    (false, _) => self.repeat_later(repeated),
                    // The last try.
                    (true, false) => self.repeat_note(message),
                    (true, true) => {}
                }
                return;
            }
        }
        if repeated && !self.draining {
            self.repeat_more();
        }
    }

    /// The timer: the spool may take what it did not.
    pub(crate) fn repeat_notes(&mut self) {
        self.bookkeeping.timer = false;
        if !self.draining {
            self.repeat_some(limits::NOTES_REPEATED_AT_ONCE);
        }
    }

    /// Tries all that failed for the last time.
    pub(crate) fn repeat_all_notes(&mut self) {
        self.repeat_some(usize::MAX);
    }

    fn repeat_some(&mut self, max: usize) {
        let some: Vec<MessageId> = self.bookkeeping.failed.iter().take(max).copied().collect();
        for message in some {
            self.repeat_note(message);
        }
    }

    fn repeat_note(&mut self, message: MessageId) {
        if let Some(note) = self.bookkeeping.take_up(message) {
            self.write_note(message, note);
        }
    }

    /// The spool does not take notes: it is asked again after a while, longer each time.
    fn repeat_later(&mut self, repeated: bool) {
        let books = &mut self.bookkeeping;
        if books.timer || (!repeated && books.repeating > 0) {
            return;
        }
        books.failures += u32::from(repeated);
        books.timer = true;
        let wait = repeat_wait(books.failures);
        self.timers.set(self.now + wait, WakeupReason::Bookkeeping);
    }

    /// The spool takes notes again: the rest, unless it has just refused another one.
    fn repeat_more(&mut self) {
        let books = &mut self.bookkeeping;
        if books.repeating == 0 && !books.timer {
            books.failures = 0;
            self.repeat_some(limits::NOTES_REPEATED_AT_ONCE);
        }
    }

    fn write_note(&mut self, message: MessageId, note: Note) {
        self.spool_for(SpoolPurpose::Bookkeeping(message), note.write(message));
    }

    /// Notes agree with the writes under way, and what failed will be tried again.
    pub(crate) fn check_bookkeeping(&self) -> Result<(), Violation> {
        let books = &self.bookkeeping;
        let (mut writing, mut again, mut failed) = (0_usize, 0_usize, 0_usize);
        for (message, entry) in &books.notes {
            match entry {
                Entry::Writing { again: repeated, .. } => {
                    writing += 1;
                    again += usize::from(*repeated);
                }
                Entry::Failed(_) => {
                    failed += 1;
                    ensure(books.failed.contains(message), Invariant::Bookkeeping, || {
                        format!("the note of message {message} failed and is forgotten")
                    })?;
                }
            }
        }
        let purposes = self.spooling.values();
        let writes = purposes.filter(|one| matches!(one, SpoolPurpose::Bookkeeping(_))).count();
        let kept = (writes, books.repeating, books.failed.len());
        ensure(kept == (writing, again, failed), Invariant::Bookkeeping, || {
            format!("(writes, repeated, failed) are {kept:?}, found {writing}, {again}, {failed}")
        })?;
        let wakes = books.timer || books.repeating > 0 || self.draining;
        ensure(failed == 0 || wakes, Invariant::Liveness, || {
            format!("{failed} notes could not be written, and nothing will write them")
        })
    }
}

/// Whether no delivery may begin with so many notes owed: from a bound on, down to half of it.
const fn owes_too_much(notes: usize, before: bool) -> bool {
    match before {
        false => notes >= limits::NOTES_OWED_MAX,
        true => notes > limits::NOTES_OWED_MAX / 2,
    }
}

/// How long to wait after so many repetitions have failed in a row.
fn repeat_wait(failures: u32) -> Duration {
    let factor = 1 << failures.min(16);
    (limits::NOTES_REPEATED_AFTER_MIN * factor).min(limits::NOTES_REPEATED_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::time::Timestamp;

    fn update(states: &[(u32, u64)]) -> Note {
        let state = |(index, due): &(u32, u64)| (*index, RecipientState::new(Timestamp(*due)));
        Note::states(states.iter().map(state).collect())
    }

    fn pair(domain: &str) -> Pair {
        Pair { binding: "b".into(), domain: domain.into() }
    }

    fn route(recipients: &[u32], domain: &str) -> Note {
        Note::routes(recipients.to_vec(), &pair(domain))
    }

    #[test]
    fn notes_of_one_message_become_one() {
        for (older, newer, both) in [
            (update(&[(0, 1)]), update(&[(1, 2)]), update(&[(0, 1), (1, 2)])),
            (update(&[(0, 1), (1, 1)]), update(&[(1, 2)]), update(&[(0, 1), (1, 2)])),
            (update(&[(0, 1)]), Note::Remove, Note::Remove),
            (Note::Remove, update(&[(0, 1)]), Note::Remove),
            (route(&[0, 1], "x"), Note::Remove, Note::Remove),
            (route(&[0, 1], "x"), route(&[0, 1], "y"), route(&[0, 1], "y")),
        ] {
            assert_eq!(older.then(newer), both);
        }
    }

    #[test]
    fn a_note_of_many_things_takes_a_write_for_each() {
        let message = MessageId(1);
        let mut note = route(&[0, 1, 2], "x").then(update(&[(1, 7)])).then(route(&[1], "y"));
        let mut writes = Vec::new();
        loop {
            let (now, rest) = note.split();
            writes.push(now.write(message));
            match rest {
                Some(rest) => note = rest,
                None => break,
            }
        }
        let reroute = |recipients: &[u32], domain: &str| SpoolWrite::Reroute {
            message,
            recipients: recipients.to_vec(),
            to: pair(domain),
        };
        let recipients = vec![(1, RecipientState::new(Timestamp(7)))];
        let update = SpoolWrite::Update { message, recipients };
        assert_eq!(writes, [reroute(&[0, 2], "x"), reroute(&[1], "y"), update]);
    }

    #[test]
    fn what_is_left_of_a_note_is_kept_with_what_failed() {
        let message = MessageId(1);
        let mut books = Bookkeeping::default();
        assert_eq!(books.add(message, route(&[0], "x")), Some(route(&[0], "x")));
        assert_eq!(books.add(message, route(&[1], "y")), None);
        assert_eq!(books.add(message, update(&[(0, 3)])), None);
        assert_eq!(books.answered(message, false), Written::Kept);
        assert_eq!(books.take_up(message), Some(route(&[0], "x")));
        assert_eq!(books.answered(message, true), Written::Next(route(&[1], "y")));
        assert_eq!(books.answered(message, false), Written::Kept);
        assert_eq!(books.take_up(message), Some(route(&[1], "y")));
        assert_eq!(books.answered(message, true), Written::Next(update(&[(0, 3)])));
        assert_eq!(books.answered(message, true), Written::Done);
        assert_eq!((books.kept(), books.notes.len()), (0, 0));
    }

    #[test]
    fn one_note_of_a_message_is_under_way_and_what_fails_is_kept() {
        let message = MessageId(1);
        let mut books = Bookkeeping::default();
        assert_eq!(books.add(message, update(&[(0, 1)])), Some(update(&[(0, 1)])));
        assert_eq!(books.add(message, update(&[(0, 2)])), None);
        assert_eq!(books.add(message, update(&[(1, 3)])), None);
        let next = update(&[(0, 2), (1, 3)]);
        assert_eq!(books.answered(message, true), Written::Next(next));
        assert_eq!(books.add(message, update(&[(1, 4)])), None);
        assert_eq!(books.answered(message, false), Written::Kept);
        assert_eq!((books.kept(), books.add(message, update(&[(2, 5)]))), (1, None));
        let all = update(&[(0, 2), (1, 4), (2, 5)]);
        assert_eq!(books.take_up(message), Some(all));
        assert_eq!((books.kept(), books.is_repeated(message)), (1, true));
        assert_eq!(books.add(message, Note::Remove), None);
        assert_eq!(books.answered(message, false), Written::Kept);
        assert_eq!(books.take_up(message), Some(Note::Remove));
        assert_eq!(books.answered(message, true), Written::Done);
        assert_eq!((books.kept(), books.notes.len()), (0, 0));
        assert_eq!(books.take_up(message), None);
    }

    #[test]
    fn too_much_is_owed_until_half_of_it_is_paid() {
        let max = limits::NOTES_OWED_MAX;
        for (notes, before, after) in [
            (0, false, false),
            (max - 1, false, false),
            (max, false, true),
            (max, true, true),
            (max / 2 + 1, true, true),
            (max / 2, true, false),
        ] {
            assert_eq!(owes_too_much(notes, before), after, "{notes}, {before}");
        }
    }

    #[test]
    fn waits_grow_up_to_a_minute() {
        let waits: Vec<u64> = (0..9).map(|failures| repeat_wait(failures).as_secs()).collect();
        assert_eq!(waits, vec![1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
