//! What the actions of an operator do to queues.
//!
//! Each takes whole batches out of the queues that are meant, says in a record how much that is,
//! and then does with them what was asked. A portion ends with the batch that fills it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::holds::Suspension;
use super::{Action, Reach, Selector};
use crate::engine::Engine;
use crate::ids::MessageId;
use crate::io::SpoolWrite;
use crate::queue::{Batch, Queue, Waiting};
use crate::record::{Event, Pair};
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::timers::WakeupReason;

/// What was taken out of one queue: when it is due, if it is delayed, and the batch.
type Taken = (usize, Option<Timestamp>, Batch);

impl Engine {
    /// Does what was found possible.
    pub(super) fn act(&mut self, by: Arc<str>, action: Action, portion: Option<u64>) {
        let (reach, taken) = match action {
            Action::Suspend { .. } | Action::Resume { .. } => (self.reach(&action), Vec::new()),
            Action::Flush { .. } | Action::Fail { .. } | Action::Reroute { .. } => {
                let outline = self.outline(&action);
                let taken = self.take(&action, portion.unwrap_or(u64::MAX));
                let (messages, recipients) = count(taken.iter().map(|(_, _, batch)| batch));
                let left = outline.recipients - recipients;
                (Reach { messages, recipients, left, ..outline }, taken)
            }
        };
        self.record(Event::Control { by, action: action.clone(), reach, refusal: None });
        match action {
            Action::Suspend { of, until } => {
                self.holds.suspend(&of, until);
                self.holds_changed(&of);
            }
            Action::Resume { of } => {
                self.holds.resume(&of);
                self.holds_changed(&of);
            }
            Action::Flush { .. } => self.make_due(taken),
            Action::Fail { reason, quiet, .. } => self.fail_taken(taken, reason.as_deref(), quiet),
            Action::Reroute { to_binding, to_domain, .. } => {
                self.reroute(taken, to_binding.as_ref(), to_domain.as_ref());
            }
        }
    }

    /// Until when an operator has suspended a queue; `None` if nobody has.
    pub(crate) fn held(&self, slot: usize) -> Option<Option<Timestamp>> {
        self.holds.on(&self.queues[slot].pair)
    }

    /// Whether the configuration or an operator wants no attempts, or the spool could not keep up
    /// with them.
    pub(crate) fn is_suspended(&self, slot: usize) -> bool {
        self.queues[slot].options.suspend_delivery
            || self.held(slot).is_some()
            || self.bookkeeping.is_behind()
    }

    /// What operators suspended, in order.
    pub fn suspensions(&self) -> Vec<Suspension> {
        self.holds.all()
    }

    /// The time of a suspension is over.
    pub(crate) fn end_suspensions(&mut self) {
        self.holds.timer = None;
        for of in self.holds.expire(self.now) {
            self.holds_changed(&of);
        }
    }

    fn holds_changed(&mut self, of: &Selector) {
        let next = self.holds.next_end();
        self.timers.adjust(&mut self.holds.timer, next, WakeupReason::Suspension);
        let slots: Vec<usize> = self.meant(of).collect();
        for slot in slots {
            self.touch(slot);
        }
    }

    /// The queues that may hold mail that is meant.
    fn meant(&self, of: &Selector) -> impl Iterator<Item = usize> {
        let queues = self.queue_of.iter();
        queues.filter(|(pair, _)| of.may_be_in(pair)).map(|(_, slot)| *slot)
    }

    /// The queues an action takes mail from.
    fn sources(&self, action: &Action) -> Vec<usize> {
        let may = |slot: &usize| match action {
            Action::Reroute { to_binding, to_domain, .. } => {
                let pair = &self.queues[*slot].pair;
                *pair != target(pair, to_binding.as_ref(), to_domain.as_ref())
            }
            _ => true,
        };
        self.meant(action.of()).filter(may).collect()
    }

    /// How much an action is about, all of it.
    pub(super) fn reach(&self, action: &Action) -> Reach {
        let (which, message) = (waiting_for(action), action.of().message);
        let sources = self.sources(action).into_iter();
        let batches = sources.flat_map(|slot| self.queues[slot].waiting_where(which, message));
        let (messages, _) = count(batches);
        Reach { messages, ..self.outline(action) }
    }

    /// The same without the number of messages, which takes a look at each of them.
    fn outline(&self, action: &Action) -> Reach {
        let (which, message) = (waiting_for(action), action.of().message);
        let mut reach = Reach::default();
        for slot in self.sources(action) {
            let queue = &self.queues[slot];
            let (waiting, in_flight) = match message {
                None => (queue.count_waiting(which), queue.recipients().in_flight),
                Some(_) => {
                    let (_, recipients) = count(queue.waiting_where(which, message));
                    (recipients, self.in_flight_of(slot, message))
                }
            };
            reach.queues += u32::from(waiting > 0);
            reach.recipients += waiting;
            reach.in_flight += in_flight;
        }
        reach
    }

    fn in_flight_of(&self, slot: usize, message: Option<MessageId>) -> u64 {
        let flights = self.outbound.values().filter(|outbound| outbound.queue == slot);
        let batches = flights.filter_map(|outbound| outbound.in_flight());
        let batches = batches.filter(|batch| message.is_none_or(|one| batch.message == one));
        batches.map(|batch| batch.recipients.len() as u64).sum()
    }

    /// Takes what an action is about out of the queues, until so many recipients are taken.
    fn take(&mut self, action: &Action, portion: u64) -> Vec<Taken> {
        let (which, message) = (waiting_for(action), action.of().message);
        let mut taken: Vec<Taken> = Vec::new();
        let mut recipients = 0;
        for slot in self.sources(action) {
            let queue: &mut Queue = &mut self.queues[slot];
            while recipients < portion
                && let Some((due, batch)) = queue.take_where(which, message)
            {
                recipients += batch.recipients.len() as u64;
                taken.push((slot, due, batch));
            }
            self.touch(slot);
        }
        taken
    }

    fn make_due(&mut self, taken: Vec<Taken>) {
        for (slot, _, batch) in taken {
            self.enqueue_active(slot, batch);
        }
    }

    fn fail_taken(&mut self, taken: Vec<Taken>, reason: Option<&str>, quiet: bool) {
        let text = reason.unwrap_or("failed by the operator");
        let reply = Reply::local(554, EnhancedCode(5, 7, 0), text);
        for (slot, _, batch) in taken {
            self.fail_batch(slot, &batch, Stage::Queue, &reply, quiet);
        }
    }

    /// Where mail is sent from now on is durable: a restart and a reload find the same queue.
    fn reroute(
        &mut self,
        taken: Vec<Taken>,
        to_binding: Option<&Arc<str>>,
        to_domain: Option<&Arc<str>>,
    ) {
        for (slot, due, batch) in taken {
            let from = self.queues[slot].pair.clone();
            let to = target(&from, to_binding, to_domain);
            let message = batch.message;
            let recipients = batch.recipients.to_vec();
            self.messages.reroute(message, &recipients, &to);
            let home = self.queue_for(&self.messages.get(message), recipients[0]);
            let (each, wanted) = (recipients.clone().into_boxed_slice(), to.clone());
            self.record(Event::Rerouted { message, recipients: each, from, to: wanted });
            self.spool(message, SpoolWrite::Reroute { message, recipients, to });
            match due {
                Some(due) => self.enqueue_delayed(home, due, batch),
                None => self.enqueue_active(home, batch),
            }
            self.touch(home);
        }
    }
}

/// The queue that mail of another goes to.
fn target(from: &Pair, to_binding: Option<&Arc<str>>, to_domain: Option<&Arc<str>>) -> Pair {
    Pair {
        binding: to_binding.unwrap_or(&from.binding).clone(),
        domain: to_domain.unwrap_or(&from.domain).clone(),
    }
}

/// Which mail of a queue an action is about: what is due already need not be hurried.
const fn waiting_for(action: &Action) -> Waiting {
    match action {
        Action::Flush { .. } => Waiting::Delayed,
        Action::Suspend { .. }
        | Action::Resume { .. }
        | Action::Fail { .. }
        | Action::Reroute { .. } => Waiting::All,
    }
}

/// Messages and recipients.
fn count<'a>(batches: impl Iterator<Item = &'a Batch>) -> (u64, u64) {
    let mut recipients = 0;
    let mut messages: Vec<MessageId> = batches
        .map(|batch| {
            recipients += batch.recipients.len() as u64;
            batch.message
        })
        .collect();
    messages.sort_unstable();
    messages.dedup();
    (messages.len() as u64, recipients)
}
