//! What the spool may not know: the last that became of a message, until it is durable.

use std::collections::{BTreeMap, BTreeSet};

use traject_engine::Timestamp;
use traject_engine::ids::{MessageId, SpoolOp};
use traject_engine::io::SpoolWrite;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Changes of a message since the last that is durable, and how many of them the write under
    /// way covers.
    open: BTreeMap<MessageId, Open>,
    writes: BTreeMap<SpoolOp, MessageId>,
    /// Messages whose last notes a process took with it.
    uncertain: BTreeSet<MessageId>,
    /// Messages that are not accepted yet, or that only the spool knew, with the instant they were
    /// received: their age counts from there.
    new: BTreeMap<MessageId, Timestamp>,
    /// Writes of what throttles let pass, with their instants; the last one, and the last that is
    /// durable.
    shaping: BTreeMap<SpoolOp, Timestamp>,
    shaping_written: Timestamp,
    shaping_durable: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    changes: u64,
    covered: u64,
}

impl Notes {
    /// Something became of a message.
    pub(super) fn changed(&mut self, message: MessageId) {
        self.open.entry(message).or_default().changes += 1;
    }

    /// The engine has the spool write something.
    pub(super) fn writes(&mut self, at: Timestamp, op: SpoolOp, write: &SpoolWrite) {
        match write {
            SpoolWrite::Shaping(_) => {
                self.shaping.insert(op, at);
                self.shaping_written = at;
            }
            SpoolWrite::Insert(message) => self.is_new(message.id, message.received_at),
            _ => {}
        }
        let (SpoolWrite::Update { message, .. }
        | SpoolWrite::Reroute { message, .. }
        | SpoolWrite::Remove(message)) = write
        else {
            return;
        };
        if let Some(open) = self.open.get_mut(message) {
            open.covered = open.changes;
            self.writes.insert(op, *message);
        }
    }

    /// A write is durable or failed.
    pub(super) fn written(&mut self, op: SpoolOp, durable: bool) {
        if let Some(at) = self.shaping.remove(&op).filter(|_| durable) {
            self.shaping_durable = self.shaping_durable.max(at);
        }
        let Some(message) = self.writes.remove(&op) else { return };
        if durable && self.open.get(&message).is_some_and(|open| open.covered == open.changes) {
            self.open.remove(&message);
        }
    }

    /// The process is gone, with what it had not written. Tells up to when it is known what
    /// throttles let pass, if the last write of that came to nothing.
    pub(super) fn process_gone(&mut self) -> Option<Timestamp> {
        self.uncertain.extend(std::mem::take(&mut self.open).into_keys());
        self.writes.clear();
        self.shaping.clear();
        let behind = self.shaping_durable < self.shaping_written;
        // The next process begins with what is durable.
        self.shaping_written = self.shaping_durable;
        behind.then_some(self.shaping_durable)
    }

    /// Whether the spool is to be believed about a message that is found; once.
    pub(super) fn is_uncertain(&mut self, message: MessageId) -> bool {
        self.uncertain.remove(&message)
    }

    /// A message is on its way into the books.
    pub(super) fn is_new(&mut self, message: MessageId, received_at: Timestamp) {
        self.new.insert(message, received_at);
    }

    /// When a message was received that comes into the books.
    pub(super) fn received_at(&mut self, message: MessageId) -> Option<Timestamp> {
        self.new.remove(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_uncertain_until_all_that_became_of_it_is_durable() {
        let message = MessageId(2);
        let update = SpoolWrite::Update { message, recipients: Vec::new() };
        let op = SpoolOp::by_engine;
        // (what happens before the process dies, whether the spool may lack it)
        let story = |steps: &[&str]| {
            let mut notes = Notes::default();
            for step in steps {
                match *step {
                    "change" => notes.changed(message),
                    "write 1" => notes.writes(Timestamp(0), op(1), &update),
                    "write 2" => notes.writes(Timestamp(0), op(2), &SpoolWrite::Remove(message)),
                    "done 1" => notes.written(op(1), true),
                    "done 2" => notes.written(op(2), true),
                    "failed 1" => notes.written(op(1), false),
                    other => panic!("{other}"),
                }
            }
            notes.process_gone();
            notes.is_uncertain(message)
        };
        for (steps, uncertain) in [
            (&["change"][..], true),
            (&["change", "write 1"], true),
            (&["change", "write 1", "done 1"], false),
            (&["change", "write 1", "failed 1"], true),
            (&["change", "write 1", "change", "done 1"], true),
            (&["change", "write 1", "change", "done 1", "write 2"], true),
            (&["change", "write 1", "change", "done 1", "write 2", "done 2"], false),
            (&["change", "write 1", "failed 1", "write 2", "done 2"], false),
        ] {
            assert_eq!(story(steps), uncertain, "{steps:?}");
        }
    }
}
