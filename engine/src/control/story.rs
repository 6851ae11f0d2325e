//! Where one message is, recipient by recipient.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Serialize;

use crate::engine::Engine;
use crate::ids::MessageId;
use crate::queue::Waiting;
use crate::record::Pair;
use crate::smtp::address::{Mailbox, ReversePath};
use crate::time::Timestamp;
use crate::why::Why;

/// A message that has recipients left.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessageStory {
    /// The message.
    pub message: MessageId,
    /// Envelope sender.
    pub reverse_path: ReversePath,
    /// When it was received.
    pub received_at: Timestamp,
    /// Size of the body.
    pub size_bytes: u64,
    /// The binding it was received for.
    pub binding: Arc<str>,
    /// Recipients that are not done, in the order of the envelope.
    pub recipients: Vec<RecipientStory>,
    /// Why their queues wait.
    pub queues: Vec<Why>,
}

/// A recipient that is not done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecipientStory {
    /// Its position in the envelope.
    pub recipient: u32,
    /// Its address.
    pub mailbox: Mailbox,
    /// The queue it is in.
    pub queue: Pair,
    /// Where in it.
    pub place: Place,
    /// Attempts made so far.
    pub attempts: u16,
    /// When the next one is due, if that is not now.
    pub due: Option<Timestamp>,
}

/// Where in its queue a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// To be sent as soon as possible.
    Active,
    /// Waiting for its next attempt to be due.
    Delayed,
    /// In a transaction.
    InFlight,
}

impl Engine {
    /// Where a message is; `None` when it is not in care. Looks through all queues.
    pub fn message_story(&self, id: MessageId) -> Option<MessageStory> {
        if !self.messages.contains(id) {
            return None;
        }
        let stored = self.messages.get(id);
        let mut found = BTreeMap::new();
        let mut slots = Vec::new();
        for slot in self.queue_of.values().copied() {
            let queue = &self.queues[slot];
            let delayed =
                queue.delayed_of(id).map(|(due, batch)| (batch, Place::Delayed, Some(due)));
            let active = queue.waiting_where(Waiting::Active, Some(id));
            let flights = self.outbound.values().filter(|outbound| outbound.queue == slot);
            let flying = flights.filter_map(|outbound| outbound.in_flight());
            let flying = flying.filter(|batch| batch.message == id);
            let all = active.map(|batch| (batch, Place::Active, None));
            let all = all.chain(delayed).chain(flying.map(|batch| (batch, Place::InFlight, None)));
            let before = found.len();
            for (batch, place, due) in all {
                for index in &batch.recipients {
                    found.insert(*index, (queue.pair.clone(), place, batch.attempts, due));
                }
            }
            if found.len() > before {
                slots.push(slot);
            }
        }
        let recipients = found.into_iter().map(|(recipient, (queue, place, attempts, due))| {
            let mailbox = stored.recipients[recipient as usize].mailbox.clone();
            RecipientStory { recipient, mailbox, queue, place, attempts, due }
        });
        Some(MessageStory {
            message: id,
            reverse_path: stored.reverse_path.clone(),
            received_at: stored.received_at,
            size_bytes: stored.size_bytes,
            binding: stored.binding.clone(),
            recipients: recipients.collect(),
            queues: slots.into_iter().map(|slot| self.why_of(slot)).collect(),
        })
    }
}
