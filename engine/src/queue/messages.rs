//! The messages in the engine's care.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::ids::MessageId;
use crate::message::StoredMessage;

/// All messages with at least one recipient left.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    by_id: BTreeMap<MessageId, Entry>,
}

#[derive(Debug)]
struct Entry {
    stored: Arc<StoredMessage>,
    /// Recipients without a final result.
    remaining: u32,
}

impl Messages {
    /// Takes a message into care.
    pub(crate) fn insert(&mut self, stored: Arc<StoredMessage>, remaining: u32) {
        self.by_id.insert(stored.id, Entry { stored, remaining });
    }

    /// The message. Queues name only messages in care.
    pub(crate) fn get(&self, id: MessageId) -> &Arc<StoredMessage> {
        &self.by_id[&id].stored
    }

    /// Whether the message is in care.
    pub(crate) fn contains(&self, id: MessageId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Notes that so many recipients have come to their end. True when none is left: the message
    /// is gone then.
    pub(crate) fn finish(&mut self, id: MessageId, recipients: u32) -> bool {
        // Unwrap is OK because queues name only messages in care.
        let entry = self.by_id.get_mut(&id).expect("a message in care");
        entry.remaining -= recipients;
        let gone = entry.remaining == 0;
        if gone {
            self.by_id.remove(&id);
        }
        gone
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// (id, recipients left) of each, for recounts.
    pub(crate) fn remaining(&self) -> impl Iterator<Item = (MessageId, u32)> {
        self.by_id.iter().map(|(id, entry)| (*id, entry.remaining))
    }
}
