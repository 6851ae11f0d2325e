//! The messages in the engine's care.
//!
//! A body is never in memory; an envelope is, in one of two forms. *Open* it is ready for use,
//! *packed* it takes a fraction of the room. Whoever works with a message holds it open; when
//! nobody does any more it is packed. Who may hold one while it only waits is decided in
//! `residency`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::ids::MessageId;
use crate::message::StoredMessage;
use crate::record::Pair;
use crate::time::Timestamp;

/// All messages with at least one recipient left.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    by_id: BTreeMap<MessageId, Entry>,
    /// Open envelopes by the binding they were received for.
    open_of: BTreeMap<Arc<str>, u32>,
    open: u32,
}

#[derive(Debug)]
struct Entry {
    form: Form,
    received_at: Timestamp,
    /// Recipients without a final result.
    remaining: u32,
    /// How many hold it open.
    holders: u32,
}

#[derive(Debug)]
enum Form {
    Open(Arc<StoredMessage>),
    Packed(Box<[u8]>),
}

impl Messages {
    /// Takes a message into care, open, held by so many: one for each batch of its recipients.
    pub(crate) fn insert(&mut self, stored: Arc<StoredMessage>, remaining: u32, holders: u32) {
        self.count_open(&stored.binding);
        let (id, received_at) = (stored.id, stored.received_at);
        self.by_id.insert(id, Entry { form: Form::Open(stored), received_at, remaining, holders });
    }

    /// The envelope. Queues name only messages in care.
    pub(crate) fn get(&self, id: MessageId) -> Arc<StoredMessage> {
        self.by_id[&id].form.stored()
    }

    /// When the message was received.
    pub(crate) fn received_at(&self, id: MessageId) -> Timestamp {
        self.by_id[&id].received_at
    }

    /// One more holds the envelope open.
    pub(crate) fn hold(&mut self, id: MessageId) {
        // Unwrap is OK because queues name only messages in care.
        let entry = self.by_id.get_mut(&id).expect("a message in care");
        entry.holders += 1;
        if let Form::Packed(_) = entry.form {
            let stored = entry.form.stored();
            entry.form = Form::Open(stored.clone());
            self.count_open(&stored.binding);
        }
    }

    /// One less holds the envelope open; the last one packs it. A message that is gone needs
    /// nothing.
    pub(crate) fn release(&mut self, id: MessageId) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        entry.holders -= 1;
        if entry.holders == 0
            && let Form::Open(stored) = &entry.form
        {
            let stored = stored.clone();
            entry.form = Form::Packed(pack(&stored));
            self.count_closed(&stored.binding);
        }
    }

    /// Notes that so many recipients have come to their end. True when none is left: the message
    /// is gone then.
    pub(crate) fn finish(&mut self, id: MessageId, recipients: u32) -> bool {
        // Unwrap is OK because queues name only messages in care.
        let entry = self.by_id.get_mut(&id).expect("a message in care");
        entry.remaining -= recipients;
        if entry.remaining > 0 {
            return false;
        }
        if let Some(Entry { form: Form::Open(stored), .. }) = self.by_id.remove(&id) {
            self.count_closed(&stored.binding);
        }
        true
    }

    /// Notes that some recipients are sent by another queue from now on.
    pub(crate) fn reroute(&mut self, id: MessageId, recipients: &[u32], to: &Pair) {
        // Unwrap is OK because queues name only messages in care.
        let entry = self.by_id.get_mut(&id).expect("a message in care");
        let mut stored = entry.form.stored();
        Arc::make_mut(&mut stored).reroute(recipients, to);
        entry.form = match &entry.form {
            Form::Open(_) => Form::Open(stored),
            Form::Packed(_) => Form::Packed(pack(&stored)),
        };
    }

    /// Whether the message is in care.
    pub(crate) fn contains(&self, id: MessageId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many envelopes are open.
    pub(crate) const fn open(&self) -> u32 {
        self.open
    }

    /// How many of a binding's envelopes are open.
    pub(crate) fn open_of(&self, binding: &str) -> u32 {
        self.open_of.get(binding).copied().unwrap_or(0)
    }

    /// (id, recipients left, holders) of each, for recounts.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (MessageId, u32, u32)> {
        self.by_id.iter().map(|(id, entry)| (*id, entry.remaining, entry.holders))
    }

    /// Open envelopes counted anew.
    pub(crate) fn recount_open(&self) -> u32 {
        self.by_id.values().filter(|entry| matches!(entry.form, Form::Open(_))).count() as u32
    }

    fn count_open(&mut self, binding: &Arc<str>) {
        self.open += 1;
        match self.open_of.get_mut(binding) {
            Some(count) => *count += 1,
            None => {
                self.open_of.insert(binding.clone(), 1);
            }
        }
    }

    fn count_closed(&mut self, binding: &str) {
        self.open -= 1;
        if let Some(count) = self.open_of.get_mut(binding) {
            *count -= 1;
            if *count == 0 {
                self.open_of.remove(binding);
            }
        }
    }
}

impl Form {
    fn stored(&self) -> Arc<StoredMessage> {
        match self {
            Self::Open(stored) => stored.clone(),
            Self::Packed(bytes) => Arc::new(unpack(bytes)),
        }
    }
}

fn pack(stored: &StoredMessage) -> Box<[u8]> {
    // Unwrap is OK because memory is all that packing needs.
    postcard::to_allocvec(stored).expect("an envelope can be packed").into()
}

fn unpack(bytes: &[u8]) -> StoredMessage {
    // Unwrap is OK because the bytes are our own and never left memory.
    postcard::from_bytes(bytes).expect("a packed envelope")
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::message::{Origin, RecipientState, StoredRecipient};
    use crate::smtp::address::ReversePath;

    fn message(id: u64) -> Arc<StoredMessage> {
        let recipient =
            |text: &str, state| StoredRecipient { mailbox: text.parse().unwrap(), state };
        let pending = RecipientState::Pending { attempts: 3, next_attempt_at: Timestamp(99) };
        Arc::new(StoredMessage {
            id: MessageId(id),
            reverse_path: ReversePath(Some("news@brand.test".parse().unwrap())),
            recipients: vec![
                recipient("a@x.test", pending),
                recipient("\"b c\"@[IPv6:2001:db8::1]", RecipientState::Done),
            ],
            received_at: Timestamp(7),
            size_bytes: u64::MAX,
            eight_bit: true,
            binding: "out".into(),
            origin: Some(Arc::new(Origin {
                address: [192, 0, 2, 1].into(),
                port: 4711,
                helo: Some("client".into()),
                esmtp: true,
            })),
            rerouted: vec![],
        })
    }

    #[test]
    fn a_route_is_kept_in_either_form() {
        let mut messages = Messages::default();
        let (id, to) = (MessageId(1), Pair { binding: "red".into(), domain: "y.test".into() });
        messages.insert(message(1), 1, 1);
        messages.reroute(id, &[1], &to);
        messages.release(id);
        messages.reroute(id, &[0], &to);
        assert_eq!(messages.get(id).rerouted, [(0, to.clone()), (1, to)]);
        assert_eq!((messages.open(), messages.recount_open()), (0, 0));
    }

    #[test]
    fn an_envelope_is_packed_when_nobody_holds_it_and_comes_back_whole() {
        let mut messages = Messages::default();
        let id = MessageId(1);
        messages.insert(message(1), 1, 2);
        for (holds, open) in [(-1, 1), (-1, 0), (1, 1), (1, 1), (-1, 1), (-1, 0)] {
            match holds {
                1 => messages.hold(id),
                _ => messages.release(id),
            }
            assert_eq!((messages.open(), messages.recount_open()), (open, open));
            assert_eq!(messages.open_of("out"), open);
            assert_eq!(messages.get(id), message(1));
            assert_eq!(messages.received_at(id), Timestamp(7));
        }
        assert!(messages.finish(id, 1));
        messages.release(id);
        assert_eq!((messages.len(), messages.open(), messages.open_of("out")), (0, 0, 0));
    }
}
