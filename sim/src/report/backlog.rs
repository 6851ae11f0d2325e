//! How much mail waits, over time: to be sent now, and for its next attempt.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::timeline::Gauge;

/// Recipients that are not done.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    pending: u64,
    /// When those that wait for their next attempt are due, counted from the start.
    due: BinaryHeap<Reverse<Duration>>,
    /// To be sent, or being sent.
    active: Gauge,
    /// Waiting for their next attempt.
    delayed: Gauge,
}

impl Backlog {
    /// So many more were accepted. All times count from the start, and do not go backwards.
    pub fn accepted(&mut self, at: Duration, recipients: u64) {
        self.pass_to(at);
        self.pending += recipients;
        self.set(at);
    }

    /// One is done.
    pub fn done(&mut self, at: Duration) {
        self.pass_to(at);
        self.pending = self.pending.saturating_sub(1);
        self.set(at);
    }

    /// So many wait until `due`.
    pub fn delayed(&mut self, at: Duration, recipients: u64, due: Duration) {
        self.pass_to(at);
        self.due.extend((0..recipients).map(|_| Reverse(due)));
        self.set(at);
    }

    /// The most that were to be sent, and that were delayed, over time.
    pub fn gauges(mut self, end: Duration) -> (Gauge, Gauge) {
        self.pass_to(end);
        (self.active, self.delayed)
    }

    /// Time passes: what is due is active.
    fn pass_to(&mut self, at: Duration) {
        while let Some(Reverse(due)) = self.due.peek().copied()
            && due <= at
        {
            while self.due.peek() == Some(&Reverse(due)) {
                self.due.pop();
            }
            self.set(due);
        }
    }

    fn set(&mut self, at: Duration) {
        let delayed = (self.due.len() as u64).min(self.pending);
        self.delayed.set(at, delayed);
        self.active.set(at, self.pending - delayed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_becomes_active_of_itself() {
        let second = Duration::from_secs;
        let mut backlog = Backlog::default();
        backlog.accepted(second(0), 4);
        backlog.done(second(1));
        backlog.delayed(second(2), 2, second(5));
        backlog.delayed(second(3), 1, second(6));
        backlog.done(second(8));
        let (active, delayed) = backlog.gauges(second(9));
        let peaks = |gauge: Gauge| gauge.peaks_until(second(9), second(1));
        assert_eq!(peaks(active), [4, 4, 3, 1, 0, 2, 3, 3, 3, 2]);
        assert_eq!(peaks(delayed), [0, 0, 2, 3, 3, 3, 1, 0, 0, 0]);
    }
}
