//! Which waiting messages are kept open in memory.
//!
//! `max_resident_active_queue`, `max_resident_messages` and `drop_body_after_trans_fail` bound
//! what lies ready in memory for mail that waits. Here that is the open envelope; the body stays
//! in the spool at all times. None of it changes order, retries or results.

use crate::config::effective::DeliveryOptions;
use crate::engine::Engine;
use crate::queue::Batch;
use crate::time::Timestamp;

/// What the limits are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resident {
    /// Open envelopes in the active queue of the pair; `None` for the delayed queue, which has no
    /// limit of its own.
    in_active_queue: Option<u32>,
    /// Open envelopes of the binding, this one included.
    of_binding: u32,
    /// Open envelopes of the server, this one included.
    of_server: u32,
}

impl Engine {
    /// Puts a batch at the end of the active queue.
    pub(crate) fn enqueue_active(&mut self, slot: usize, mut batch: Batch) {
        let in_queue = self.queues[slot].open_in_active();
        self.close_unless_resident(slot, &mut batch, Some(in_queue));
        self.queues[slot].push_active(batch);
    }

    /// Puts a batch into the delayed queue.
    pub(crate) fn enqueue_delayed(&mut self, slot: usize, due: Timestamp, mut batch: Batch) {
        self.close_unless_resident(slot, &mut batch, None);
        self.queues[slot].delay(due, batch);
    }

    /// Moves what is due to the active queue.
    pub(crate) fn activate_due(&mut self, slot: usize, now: Timestamp) {
        while let Some(batch) = self.queues[slot].take_due(now) {
            self.enqueue_active(slot, batch);
        }
    }

    /// A batch that is worked with holds its message open.
    pub(crate) fn hold_open(&mut self, batch: &mut Batch) {
        if !batch.open {
            self.messages.hold(batch.message);
            batch.open = true;
        }
    }

    /// A batch that is done with holds nothing.
    pub(crate) fn let_go(&mut self, batch: &Batch) {
        if batch.open {
            self.messages.release(batch.message);
        }
    }

    fn close_unless_resident(&mut self, slot: usize, batch: &mut Batch, in_queue: Option<u32>) {
        if !batch.open {
            return;
        }
        let queue = &self.queues[slot];
        let resident = Resident {
            in_active_queue: in_queue,
            of_binding: self.messages.open_of(&queue.pair.binding),
            of_server: self.messages.open(),
        };
        let of_server_max = self.config.server_options().max_resident_messages;
        if !stays_open(&queue.options, of_server_max, batch.attempts, resident) {
            self.let_go(batch);
            batch.open = false;
        }
    }
}

/// Whether a waiting message keeps its envelope open after so many failed attempts.
fn stays_open(
    options: &DeliveryOptions,
    of_server_max: u32,
    failures: u16,
    resident: Resident,
) -> bool {
    let within = |max: u32, count: u32| max == 0 || count <= max;
    resident.in_active_queue.is_none_or(|count| count < options.max_resident_active_queue)
        && u32::from(failures) < options.drop_body_after_trans_fail.max(1)
        && within(options.max_resident_messages, resident.of_binding)
        && within(of_server_max, resident.of_server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_limit_closes_an_envelope() {
        let text = "max_resident_active_queue = 2 max_resident_messages = 10
            drop_body_after_trans_fail = 3
            binding one { max_resident_messages = 5 }
            binding all { max_resident_messages = 0 max_resident_active_queue = -1 }
            binding none { max_resident_active_queue = 0 drop_body_after_trans_fail = 0 }";
        let config = Config::from_text(text).unwrap();
        let active = |in_active_queue, of_binding, of_server| Resident {
            in_active_queue: Some(in_active_queue),
            of_binding,
            of_server,
        };
        let delayed =
            |of_binding, of_server| Resident { in_active_queue: None, of_binding, of_server };
        for (binding, failures, resident, open) in [
            ("default", 0, active(1, 10, 10), true),
            ("default", 0, active(2, 10, 10), false),
            ("default", 0, active(1, 11, 11), false),
            ("default", 2, active(1, 10, 10), true),
            ("default", 3, active(1, 10, 10), false),
            ("default", 1, delayed(10, 10), true),
            ("default", 3, delayed(10, 10), false),
            ("one", 0, active(1, 5, 10), true),
            ("one", 0, active(1, 6, 10), false),
            ("all", 0, active(9, 10, 10), true),
            ("all", 0, active(9, 11, 11), false),
            ("none", 0, active(0, 1, 1), false),
            ("none", 0, delayed(1, 1), true),
            ("none", 1, delayed(1, 1), false),
        ] {
            let options = config.delivery_options(binding, "x.test");
            let of_server_max = config.server_options().max_resident_messages;
            let found = stays_open(&options, of_server_max, failures, resident);
            assert_eq!(found, open, "{binding}, {failures} failures, {resident:?}");
        }
    }
}
