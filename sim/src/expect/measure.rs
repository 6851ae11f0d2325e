//! What is counted over stretches of time.

use std::collections::VecDeque;
use std::time::Duration;

use traject_engine::Timestamp;

/// Counts events in every window of a length.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    /// Events of the window that ends now, and how many at each instant.
    recent: VecDeque<(Timestamp, u64)>,
    held: u64,
    most: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, recent: VecDeque::new(), held: 0, most: 0 }
    }

    /// `number` events happen; tells whether no window has held so many before.
    pub(super) fn count(&mut self, now: Timestamp, number: u64) -> bool {
        while let Some((first, gone)) = self.recent.front().copied()
            && now.saturating_since(first) >= self.length
        {
            self.recent.pop_front();
            self.held -= gone;
        }
        match self.recent.back_mut() {
            Some((at, there)) if *at == now => *there += number,
            _ => self.recent.push_back((now, number)),
        }
        self.held += number;
        let more = self.held > self.most;
        self.most = self.most.max(self.held);
        more
    }

    /// The most there were in any window.
    pub(super) fn most(&self) -> u64 {
        self.most
    }
}

/// How much of a herd arrives after a recovery: the attempts of the fullest minute over those of a
/// minute on average, in a span of time that begins with the recovery. 1 is perfectly even; all in
/// one minute is as many as the span has minutes.
#[derive(Debug)]
pub(super) struct Herd {
    recovery: Timestamp,
    span: Duration,
    minute: Window,
    attempts: u64,
}

impl Herd {
    pub(super) fn new(recovery: Timestamp, span: Duration) -> Self {
        Self { recovery, span, minute: Window::new(MINUTE), attempts: 0 }
    }

    /// `number` attempts are made; tells whether no minute has held so many before.
    pub(super) fn count(&mut self, now: Timestamp, number: u64) -> bool {
        if !(self.recovery..self.recovery + self.span).contains(&now) {
            return false;
        }
        self.attempts += number;
        self.minute.count(now, number)
    }

    /// The index; 0 when there was no attempt.
    pub(super) fn index(&self) -> f64 {
        if self.attempts == 0 {
            return 0.0;
        }
        let minutes = self.span.as_secs_f64() / MINUTE.as_secs_f64();
        self.minute.most() as f64 * minutes / self.attempts as f64
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_is_less_than_its_length_apart() {
        let mut window = Window::new(Duration::from_secs(10));
        for (second, number, grows, most) in [
            (0, 2, true, 2),
            (0, 1, true, 3),
            (9, 1, true, 4),
            (10, 1, false, 4),
            (18, 2, false, 4),
            (18, 1, true, 5),
            (40, 5, false, 5),
            (41, 1, true, 6),
        ] {
            assert_eq!(window.count(Timestamp::from_secs(second), number), grows, "at {second}");
            assert_eq!(window.most(), most, "at {second}");
        }
    }

    #[test]
    fn a_herd_is_the_fullest_minute_over_the_average() {
        let index = |attempts: &[(u64, u64)]| {
            let mut herd = Herd::new(Timestamp::from_secs(600), Duration::from_secs(600));
            for (second, number) in attempts {
                herd.count(Timestamp::from_secs(*second), *number);
            }
            herd.index()
        };
        let even: Vec<(u64, u64)> = (0..10).map(|minute| (600 + minute * 60, 7)).collect();
        for (attempts, expected) in [
            (&[][..], 0.0),
            (&even, 1.0),
            (&[(600, 50)], 10.0),
            (&[(700, 30), (900, 10)], 7.5),
            // Before the recovery, and after the span.
            (&[(599, 500), (700, 1), (1200, 500)], 10.0),
        ] {
            assert_eq!(index(attempts), expected, "{attempts:?}");
        }
    }
}
