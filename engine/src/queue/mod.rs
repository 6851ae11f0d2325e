//! Queues: one a (binding, domain) pair, each with an active and a delayed half.

pub(crate) mod messages;
pub mod reason;
mod residency;
pub mod retry;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::config::effective::DeliveryOptions;
use crate::ids::{ConnId, MessageId};
use crate::mx::plan::Plan;
use crate::queue::reason::QueueReason;
use crate::record::Pair;
use crate::sched::siblings::Seeking;
use crate::shaping::gates::{Ticket, Turn};
use crate::smtp::reply::Reply;
use crate::time::Timestamp;
use crate::timers::TimerHandle;

/// Recipients of one message that wait together: same queue, same number of attempts, same due
/// time. One transaction takes a batch, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The message.
    pub(crate) message: MessageId,
    /// Indexes of its recipients; never empty.
    pub(crate) recipients: Indexes,
    /// Attempts made so far.
    pub(crate) attempts: u16,
    /// It holds its message's envelope open; see `residency`.
    pub(crate) open: bool,
}

/// Indexes of recipients; a few need no memory of their own.
pub(crate) type Indexes = SmallVec<[u32; 4]>;

/// The queue of one pair.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Whose queue.
    pub(crate) pair: Pair,
    /// The pair's options.
    pub(crate) options: Arc<DeliveryOptions>,
    active: VecDeque<Batch>,
    delayed: BTreeMap<(Timestamp, u64), Batch>,
    next_delayed: u64,
    recipients: Recipients,
    open_in_active: u32,
    /// Mail of other pairs may wait here: of a gateway's customers, or of a binding that is gone.
    pub(crate) has_guests: bool,
    /// Connections from their begin until they are entirely gone: what caps count.
    pub(crate) connections: u32,
    /// Those of them from before the last reload: so many may exceed a cap that it lowered.
    pub(crate) from_before: u32,
    /// Connections whose TCP handshake is done.
    pub(crate) connected: u32,
    /// Connections that have got past EHLO.
    pub(crate) ready: u32,
    /// Connections with a transaction under way.
    pub(crate) busy: u32,
    /// Connections without work, the one used last at the end.
    pub(crate) idle: Vec<ConnId>,
    /// Connections begun so far: with the instant it keys the choice of the next address.
    pub(crate) connects: u64,
    /// Since when no address could be reached.
    pub(crate) trying_since: Option<Timestamp>,
    /// The plan that was looked at last.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Failed look-ups in a row, and what came of the last one.
    pub(crate) dns_failure: Option<Box<(u32, Reply)>>,
    /// The hold of the last failed look-up that moved the queue to delayed.
    pub(crate) dns_failed_until: Option<Timestamp>,
    /// Where it waits for a connection of a sibling.
    pub(crate) seeking: Option<Seeking>,
    /// Its place in line at a shared limit.
    pub(crate) ticket: Option<Ticket>,
    /// Turns at its throttle of messages that it had and that its connections were too slow for.
    pub(crate) lost_turns: BTreeSet<Turn>,
    /// The queue's one timer.
    pub(crate) timer: Option<TimerHandle>,
    /// Why nothing more is going out now.
    pub(crate) reason: QueueReason,
}

/// Which of the mail that waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// All of it.
    All,
    /// What is to be sent as soon as possible.
    Active,
    /// What is not due.
    Delayed,
}

/// How many recipients are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipients {
    /// In the active queue.
    pub(crate) active: u64,
    /// In the delayed queue.
    pub(crate) delayed: u64,
    /// In a transaction.
    pub(crate) in_flight: u64,
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(pair: Pair, options: Arc<DeliveryOptions>) -> Self {
        Self {
            pair,
            options,
            active: VecDeque::new(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            recipients: Recipients::default(),
            open_in_active: 0,
            has_guests: false,
            connections: 0,
            from_before: 0,
            connected: 0,
            ready: 0,
            busy: 0,
            idle: Vec::new(),
            connects: 0,
            trying_since: None,
            plan: None,
            dns_failure: None,
            dns_failed_until: None,
            seeking: None,
            ticket: None,
            lost_turns: BTreeSet::new(),
            timer: None,
            reason: QueueReason::Empty,
        }
    }

    /// How many recipients are where.
    pub(crate) const fn recipients(&self) -> Recipients {
        self.recipients
    }

    /// Whether anything waits to be sent now.
    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Transactions waiting or under way: what the connection goal is computed from.
    pub(crate) fn demand(&self) -> u64 {
        self.active.len() as u64 + u64::from(self.busy)
    }

    /// The batch next in turn.
    pub(crate) fn front(&self) -> Option<&Batch> {
        self.active.front()
    }

    /// Batches of the active queue that hold their envelopes open.
    pub(crate) const fn open_in_active(&self) -> u32 {
        self.open_in_active
    }

    /// Appends to the active queue.
    pub(crate) fn push_active(&mut self, batch: Batch) {
        self.recipients.active += batch.recipients.len() as u64;
        self.open_in_active += u32::from(batch.open);
        self.active.push_back(batch);
    }

    /// Takes the next batch for a transaction, at most `max` recipients of it (0: all).
    pub(crate) fn take_front(&mut self, max: u32) -> Option<Batch> {
        let front = self.active.front_mut()?;
        let batch = if max != 0 && front.recipients.len() > max as usize {
            // What is left keeps the envelope open; what is taken opens it by itself.
            let recipients = front.recipients.drain(..max as usize).collect();
            Batch { recipients, open: false, ..*front }
        } else {
            // Unwrap is OK because there is a front.
            self.active.pop_front().expect("a front")
        };
        self.recipients.active -= batch.recipients.len() as u64;
        self.open_in_active -= u32::from(batch.open);
        Some(batch)
    }

    /// Notes that a batch taken is in a transaction.
    pub(crate) fn begin_flight(&mut self, batch: &Batch) {
        self.busy += 1;
        self.recipients.in_flight += batch.recipients.len() as u64;
    }

    /// Notes that the transaction of a batch with so many recipients has ended.
    pub(crate) fn end_flight(&mut self, recipients: usize) {
        self.busy -= 1;
        self.recipients.in_flight -= recipients as u64;
    }

    /// Gives a batch back that was never attempted: it stays first in turn.
    pub(crate) fn give_back(&mut self, batch: Batch) {
        self.recipients.active += batch.recipients.len() as u64;
        self.open_in_active += u32::from(batch.open);
        self.active.push_front(batch);
    }

    /// Puts a batch into the delayed queue.
    pub(crate) fn delay(&mut self, due: Timestamp, batch: Batch) {
        self.recipients.delayed += batch.recipients.len() as u64;
        self.delayed.insert((due, self.next_delayed), batch);
        self.next_delayed += 1;
    }

    /// When the first delayed batch is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the first batch that is due out of the delayed queue.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Batch> {
        let entry = self.delayed.first_entry().filter(|entry| entry.key().0 <= now)?;
        let batch = entry.remove();
        self.recipients.delayed -= batch.recipients.len() as u64;
        Some(batch)
    }

    /// Takes the whole active queue.
    pub(crate) fn take_active(&mut self) -> VecDeque<Batch> {
        self.recipients.active = 0;
        self.open_in_active = 0;
        core::mem::take(&mut self.active)
    }

    /// Notes that a connection is entirely gone.
    pub(crate) fn connection_gone(&mut self) {
        self.connections -= 1;
        self.from_before = self.from_before.min(self.connections);
    }

    /// Takes everything that waits, in order; with each delayed batch its due time.
    pub(crate) fn take_all(&mut self) -> Vec<(Option<Timestamp>, Batch)> {
        let active = self.take_active().into_iter().map(|batch| (None, batch));
        let delayed = core::mem::take(&mut self.delayed).into_iter();
        self.recipients.delayed = 0;
        active.chain(delayed.map(|((due, _), batch)| (Some(due), batch))).collect()
    }

    /// Takes the next batch, of one message or of any, with its due time if it is delayed.
    pub(crate) fn take_where(
        &mut self,
        which: Waiting,
        message: Option<MessageId>,
    ) -> Option<(Option<Timestamp>, Batch)> {
        let meant = |batch: &Batch| message.is_none_or(|message| batch.message == message);
        if which != Waiting::Delayed
            && let Some(batch) =
                self.active.iter().position(meant).and_then(|at| self.active.remove(at))
        {
            self.recipients.active -= batch.recipients.len() as u64;
            self.open_in_active -= u32::from(batch.open);
            return Some((None, batch));
        }
        if which == Waiting::Active {
            return None;
        }
        let key = self.delayed.iter().find(|(_, batch)| meant(batch)).map(|(key, _)| *key)?;
        let batch = self.delayed.remove(&key)?;
        self.recipients.delayed -= batch.recipients.len() as u64;
        Some((Some(key.0), batch))
    }

    /// The batches that [`Self::take_where`] would take one after the other.
    pub(crate) fn waiting_where(
        &self,
        which: Waiting,
        message: Option<MessageId>,
    ) -> impl Iterator<Item = &Batch> {
        let active = self.active.iter().filter(move |_| which != Waiting::Delayed);
        let delayed = self.delayed.values().filter(move |_| which != Waiting::Active);
        let waiting = active.chain(delayed);
        waiting.filter(move |batch| message.is_none_or(|message| batch.message == message))
    }

    /// Recipients that wait.
    pub(crate) const fn count_waiting(&self, which: Waiting) -> u64 {
        match which {
            Waiting::All => self.recipients.active + self.recipients.delayed,
            Waiting::Active => self.recipients.active,
            Waiting::Delayed => self.recipients.delayed,
        }
    }

    /// The delayed batches of a message, each with its due time.
    pub(crate) fn delayed_of(
        &self,
        message: MessageId,
    ) -> impl Iterator<Item = (Timestamp, &Batch)> {
        let delayed = self.delayed.iter().map(|((due, _), batch)| (*due, batch));
        delayed.filter(move |(_, batch)| batch.message == message)
    }

    /// Whether any batch waits.
    pub(crate) fn has_waiting(&self) -> bool {
        self.has_active() || !self.delayed.is_empty()
    }

    /// All waiting batches, for recounts.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Batch> {
        self.active.iter().chain(self.delayed.values())
    }

    /// Counts anew what the counters say.
    pub(crate) fn recount(&self) -> (u64, u64) {
        let count = |batches: &mut dyn Iterator<Item = &Batch>| {
            batches.map(|batch| batch.recipients.len() as u64).sum()
        };
        (count(&mut self.active.iter()), count(&mut self.delayed.values()))
    }

    /// Until when to go on trying to reach somebody (`connect_timeout_to_delay`); `None` while
    /// somebody is reached or nothing is tried.
    pub(crate) fn trying_until(&self) -> Option<Timestamp> {
        let since = self.trying_since.filter(|_| self.ready == 0)?;
        Some(since + self.options.connect_timeout_to_delay)
    }

    /// Whether nothing refers to the queue any more.
    pub(crate) fn is_unused(&self) -> bool {
        self.recipients == Recipients::default() && self.connections == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn queue() -> Queue {
        let pair = Pair { binding: "default".into(), domain: "x.test".into() };
        let options = Config::from_text("").unwrap().delivery_options("default", "x.test");
        Queue::new(pair, Arc::new(options))
    }

    fn batch(message: u64, recipients: &[u32]) -> Batch {
        let recipients = Indexes::from_slice(recipients);
        Batch { message: MessageId(message), recipients, attempts: 0, open: true }
    }

    #[test]
    fn batches_are_split_from_the_front() {
        let mut queue = queue();
        queue.push_active(batch(1, &[0, 1, 2]));
        queue.push_active(batch(2, &[0]));
        assert_eq!(queue.open_in_active(), 2);
        assert_eq!(queue.take_front(2), Some(Batch { open: false, ..batch(1, &[0, 1]) }));
        assert_eq!(queue.open_in_active(), 2);
        assert_eq!(queue.take_front(2), Some(batch(1, &[2])));
        assert_eq!(queue.recipients().active, 1);
        queue.give_back(batch(1, &[2]));
        assert_eq!(queue.take_front(0), Some(batch(1, &[2])));
        assert_eq!(queue.take_front(0), Some(batch(2, &[0])));
        assert_eq!(queue.take_front(0), None);
        assert_eq!(queue.open_in_active(), 0);
        assert!(queue.is_unused());
    }

    #[test]
    fn batches_of_one_message_are_found_wherever_they_wait() {
        let mut queue = queue();
        queue.push_active(batch(1, &[0, 1]));
        queue.push_active(batch(2, &[0]));
        queue.delay(Timestamp(30), batch(1, &[2]));
        queue.delay(Timestamp(20), batch(3, &[0]));
        let one = Some(MessageId(1));
        assert_eq!(queue.waiting_where(Waiting::All, one).count(), 2);
        assert_eq!(queue.waiting_where(Waiting::Delayed, None).count(), 2);
        assert_eq!(queue.count_waiting(Waiting::All), 5);
        assert_eq!(queue.count_waiting(Waiting::Delayed), 2);
        assert_eq!(queue.take_where(Waiting::All, one), Some((None, batch(1, &[0, 1]))));
        let delayed = Some((Some(Timestamp(30)), batch(1, &[2])));
        assert_eq!(queue.take_where(Waiting::All, one), delayed);
        assert_eq!(queue.take_where(Waiting::All, one), None);
        let first_due = Some((Some(Timestamp(20)), batch(3, &[0])));
        assert_eq!(queue.take_where(Waiting::Delayed, None), first_due);
        assert_eq!(queue.take_where(Waiting::Delayed, None), None);
        assert_eq!(queue.recount(), (1, 0));
        assert_eq!((queue.recipients().active, queue.recipients().delayed), (1, 0));
        assert_eq!(queue.open_in_active(), 1);
    }

    #[test]
    fn due_batches_are_taken_in_order() {
        let mut queue = queue();
        queue.delay(Timestamp(30), batch(3, &[0]));
        queue.delay(Timestamp(10), batch(1, &[0]));
        queue.delay(Timestamp(10), batch(2, &[0, 1]));
        assert_eq!(queue.next_due(), Some(Timestamp(10)));
        assert_eq!(queue.recount(), (0, 4));
        assert_eq!(queue.take_due(Timestamp(29)), Some(batch(1, &[0])));
        assert_eq!(queue.take_due(Timestamp(29)), Some(batch(2, &[0, 1])));
        assert_eq!(queue.take_due(Timestamp(29)), None);
        assert_eq!(queue.recipients(), Recipients { active: 0, delayed: 1, in_flight: 0 });
    }
}
