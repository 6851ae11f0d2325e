//! When a sender hears that mail still waits (`generate_delay_dsn`).
//!
//! The first notice is due `delay_dsn_retry_interval` after reception; the gaps double up to
//! `delay_dsn_max_retry_interval`. The schedule depends on nothing but these: after a restart or a
//! reload it goes on where it would have been.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{End, Notice, NoticeKind, Outcome};
use crate::config::effective::{InlineOriginal, NoticeOptions};
use crate::engine::Engine;
use crate::ids::MessageId;
use crate::message::StoredMessage;
use crate::queue::Indexes;
use crate::record::Attempt;
use crate::time::Timestamp;
use crate::timers::{TimerHandle, WakeupReason};

/// The messages whose senders are told while they wait.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    watched: BTreeMap<MessageId, Watched>,
}

#[derive(Debug)]
struct Watched {
    timer: TimerHandle,
    recipients: BTreeMap<u32, Late>,
}

/// A recipient that waits.
#[derive(Debug)]
struct Late {
    next_at: Timestamp,
    /// How its last attempt ended.
    end: Option<End>,
    /// A notice about it is not durable yet.
    owed: bool,
}

impl Delays {
    /// The messages watched, each with its timer's instant and its recipients, for recounts.
    pub(crate) fn watched(
        &self,
    ) -> impl Iterator<Item = (MessageId, Timestamp, impl Iterator<Item = u32>)> {
        self.watched
            .iter()
            .map(|(id, watched)| (*id, watched.timer.at(), watched.recipients.keys().copied()))
    }
}

impl Engine {
    /// Has the sender of a message in care told while recipients wait, where it is to be told.
    /// Nobody is told that a notice waits.
    pub(crate) fn watch_delays<'a>(
        &mut self,
        message: &StoredMessage,
        waiting: impl Iterator<Item = (usize, &'a Indexes)>,
    ) {
        if message.reverse_path.0.is_none() {
            return;
        }
        let mut recipients = BTreeMap::new();
        for (slot, of_queue) in waiting {
            let options = &self.queues[slot].options.notices;
            if options.generate_delay_dsn {
                let next_at = next_notice(message.received_at, gaps(options), self.now);
                let late = || Late { next_at, end: None, owed: false };
                recipients.extend(of_queue.iter().map(|one| (*one, late())));
            }
        }
        self.watch(message.id, recipients);
    }

    fn watch(&mut self, id: MessageId, recipients: BTreeMap<u32, Late>) {
        if let Some(due) = recipients.values().map(|late| late.next_at).min() {
            let timer = self.timers.set(due, WakeupReason::DelayNotice(id));
            self.delays.watched.insert(id, Watched { timer, recipients });
        }
    }

    /// Notes how an attempt ended that is to be repeated, for a notice there may be.
    pub(crate) fn note_delay(&mut self, attempt: &Attempt, exchange: Option<&Arc<str>>) {
        let watched = self.delays.watched.get_mut(&attempt.message);
        let late = watched.and_then(|watched| watched.recipients.get_mut(&attempt.recipient));
        if let Some(late) = late {
            late.end = Some(End::of(attempt, None, exchange, self.now));
        }
    }

    /// A recipient waits no longer.
    pub(super) fn stop_delay_notices(&mut self, message: MessageId, recipient: u32) {
        let Some(watched) = self.delays.watched.get_mut(&message) else { return };
        watched.recipients.remove(&recipient);
        if watched.recipients.is_empty() {
            self.timers.cancel(watched.timer);
            self.delays.watched.remove(&message);
        }
    }

    /// The sender of a message is to be told about those recipients whose time has come, if the
    /// options in force still say so. The one the timer was set for may wait no longer. While a
    /// notice is not durable, there is no other about the same recipient.
    pub(crate) fn delay_notice_due(&mut self, id: MessageId) {
        let Some(watched) = self.delays.watched.remove(&id) else { return };
        let message = self.messages.get(id);
        let Some(sender) = message.reverse_path.0.clone() else { return };
        let mut outcomes = Vec::new();
        let (mut binding, mut from) = (None, None);
        let mut recipients = watched.recipients;
        recipients.retain(|recipient, late| {
            let slot = self.queue_for(&message, *recipient);
            let queue = &self.queues[slot];
            let options = &queue.options;
            if !options.notices.generate_delay_dsn {
                return false;
            }
            if late.next_at <= self.now {
                late.next_at = next_notice(message.received_at, gaps(&options.notices), self.now);
                if core::mem::replace(&mut late.owed, true) {
                    return true;
                }
                binding.get_or_insert_with(|| queue.pair.binding.clone());
                from = from.take().or_else(|| options.notices.mailerdaemon.clone());
                outcomes.push(Outcome {
                    recipient: *recipient,
                    mailbox: message.recipients[*recipient as usize].mailbox.clone(),
                    end: late.end.clone(),
                    tried_until: Some(message.received_at + options.message_expiration),
                });
            }
            true
        });
        self.watch(id, recipients);
        if let Some(binding) = binding
            && !self.draining
        {
            let (kind, quoted) = (NoticeKind::Delayed, InlineOriginal::Headers);
            self.owe(Notice { kind, of: id, to: sender, binding, outcomes, from, quoted });
        }
    }

    /// Leaves out of a notice about a delay who waits no longer: the notice had to wait as well.
    /// False when nobody is left to tell of.
    pub(super) fn has_something_to_say(&self, notice: &mut Notice) -> bool {
        if notice.kind == NoticeKind::Failed {
            return true;
        }
        let Some(watched) = self.delays.watched.get(&notice.of) else { return false };
        notice.outcomes.retain_mut(|outcome| match watched.recipients.get(&outcome.recipient) {
            Some(late) => {
                outcome.end.clone_from(&late.end);
                true
            }
            None => false,
        });
        !notice.outcomes.is_empty()
    }

    /// A notice is durable, or left out: there may be another.
    pub(super) fn notice_is_over(&mut self, notice: &Notice) {
        if let Some(watched) = self.delays.watched.get_mut(&notice.of) {
            for outcome in &notice.outcomes {
                if let Some(late) = watched.recipients.get_mut(&outcome.recipient) {
                    late.owed = false;
                }
            }
        }
    }
}

/// The first gap, and the longest.
const fn gaps(options: &NoticeOptions) -> [Duration; 2] {
    [options.first_delay_notice, options.max_delay_notice_gap]
}

/// When the next notice is due after `after`. `first` is the first gap, and each gap is twice the
/// one before, at most `max` (zero: no limit).
fn next_notice(received_at: Timestamp, [first, max]: [Duration; 2], after: Timestamp) -> Timestamp {
    let limit = if max.is_zero() { Duration::MAX } else { max };
    let mut gap = first.min(limit);
    let mut due = received_at + gap;
    while due <= after {
        let next = gap.saturating_mul(2).min(limit);
        if next == gap && !gap.is_zero() {
            // From here on all gaps are alike.
            let missed = after.saturating_since(due).as_micros() / gap.as_micros() + 1;
            return due + gap.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX));
        }
        gap = next;
        due = due + gap;
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_double_up_to_their_limit() {
        const HOUR: u64 = 3600;
        let hours = Duration::from_secs;
        let schedule = |first: u64, max: u64| {
            let mut at = Timestamp(0);
            let mut found = Vec::new();
            for _ in 0..6 {
                at = next_notice(Timestamp(0), [hours(first * HOUR), hours(max * HOUR)], at);
                found.push(at.as_secs() / HOUR);
            }
            found
        };
        for (first, max, expected) in [
            (3, 24, [3, 9, 21, 45, 69, 93]),
            (1, 0, [1, 3, 7, 15, 31, 63]),
            (4, 1, [1, 2, 3, 4, 5, 6]),
            (1, 1, [1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(schedule(first, max), expected, "first {first} h, at most {max} h");
        }
    }

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let second = |n| Timestamp::from_secs(n);
        let gaps = [Duration::from_secs(10), Duration::from_secs(40)];
        // Due at 10, 30, 70, 110, 150 ...
        for (after, next) in
            [(0, 10), (10, 30), (29, 30), (70, 110), (149, 150), (1_000_029, 1_000_030)]
        {
            assert_eq!(next_notice(second(0), gaps, second(after)), second(next), "after {after}");
        }
    }
}
