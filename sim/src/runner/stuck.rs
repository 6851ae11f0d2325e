//! What is left at the end of a run, told so that one sees what it waits for.

use std::collections::VecDeque;
use std::fmt::Write as _;

use traject_engine::record::Record;
use traject_engine::{QueueSnapshot, Timestamp};

use super::START;
use super::failure::last_events;
use crate::describe::instant;
use crate::oracle::{Book, Entity};

/// The first message that is left, why it waits, and what would move it; `None` when none is left.
pub(super) fn tell(
    book: &Book,
    queues: &[QueueSnapshot],
    wakeup: Option<Timestamp>,
    recent: &VecDeque<Record>,
) -> Option<String> {
    let (message, row) = book.first_pending()?;
    let pair = book.pair(row.pair);
    let domain = book.queue_domain(&pair.binding, &pair.domain);
    let is_its = |queue: &&QueueSnapshot| {
        queue.pair.domain == *domain
            && (queue.pair.binding == pair.binding || !book.config().has_binding(&pair.binding))
    };
    let mut text = String::new();
    let due = instant(START, row.due_at);
    // Unwraps are OK because writing to a String cannot fail.
    writeln!(
        text,
        "message {message} of {} to {} waits, {} attempts made, the next due at {due}",
        pair.binding, pair.domain, row.attempts
    )
    .unwrap();
    match queues.iter().find(is_its) {
        Some(queue) => {
            let QueueSnapshot { active, delayed, in_flight, connections, reason, .. } = queue;
            writeln!(
                text,
                "its queue: {active} active, {delayed} delayed, {in_flight} in a transaction, \
                 {connections} connections: {reason}"
            )
            .unwrap();
        }
        None => writeln!(text, "no queue has it").unwrap(),
    }
    match wakeup {
        Some(at) => writeln!(text, "the engine is woken next at {}", instant(START, at)).unwrap(),
        None => writeln!(text, "nothing will wake the engine").unwrap(),
    }
    for event in last_events(Entity::Message(message), recent) {
        writeln!(text, "  {event}").unwrap();
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use traject_engine::config::Config;
    use traject_engine::queue::reason::QueueReason;

    use super::*;
    use crate::oracle::{Oracles, Routes};
    use crate::test_records::{pair, reception, spooled};

    #[test]
    fn what_is_left_is_told_with_its_reason_and_the_next_wakeup() {
        let config = Arc::new(Config::from_text("retry_interval = 60").unwrap());
        let mut oracles = Oracles::new(config, Routes::default());
        let came = reception(0, 2, &["x@a.test"]);
        spooled(&mut oracles, &came);
        oracles.record(&came).unwrap();
        let queue = QueueSnapshot {
            pair: pair("a.test"),
            active: 0,
            delayed: 1,
            in_flight: 0,
            connections: 0,
            next_due: None,
            reason: QueueReason::Delayed { until: START },
        };
        let recent = VecDeque::from([came]);
        let told = tell(oracles.book(), &[queue], None, &recent).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("message 2 of default to a.test waits, 0 attempts made"));
        assert!(
            lines[1].starts_with("its queue: 0 active, 1 delayed, 0 in a transaction"),
            "{told}"
        );
        assert_eq!(lines[2], "nothing will wake the engine");
        assert!(lines[3].ends_with("message 2 accepted for x@a.test, 1000 B, default"), "{told}");
        assert_eq!(lines.len(), 4);
    }
}
