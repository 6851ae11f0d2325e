//! A throttle `n/y`: in every window of y seconds, at most n events (decision D11).
//!
//! While n is small the throttle remembers the instant of each of the last n events, and is exact:
//! an event may happen as soon as the n-th last one is y seconds old. Above that it counts events
//! in slices of the window and lets a slice go only as a whole, so that it may wait up to one
//! slice longer than it must, and still never passes more than n.
//!
//! There is no bucket to fill: a burst of n is allowed when the window is empty, and nothing is
//! saved up beyond that. A changed limit keeps the history.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::BUCKETS_MAX;
use crate::time::Timestamp;

/// A limit: so many events in every window of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Events; 0 stands for no limit.
    pub events: u32,
    /// Length of the window.
    pub per: Duration,
}

impl Rate {
    /// Whether the rate limits anything.
    pub const fn is_limit(self) -> bool {
        self.events != 0 && !self.per.is_zero()
    }

    /// Whether each event is remembered by itself.
    const fn is_exact(self) -> bool {
        self.events <= EXACT_EVENTS_MAX
    }

    fn slice(self) -> Duration {
        if self.is_exact() { Duration::ZERO } else { self.per / SLICES }
    }
}

/// One limit with its history.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    rate: Rate,
    /// Events not older than the window, oldest first, gathered by slice.
    history: VecDeque<Slice>,
    /// Sum of the history.
    events: u64,
}

/// Events of a stretch of time, or of one instant.
#[derive(Clone, Copy, Debug)]
struct Slice {
    begin: Timestamp,
    /// The last of its events: the slice leaves the window with it.
    last: Timestamp,
    events: u64,
}

impl Throttle {
    /// A throttle without history.
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, history: VecDeque::new(), events: 0 }
    }

    /// When the next event may happen: `now`, or the first instant at which the window has room.
    pub(crate) fn ready_at(&mut self, now: Timestamp) -> Timestamp {
        if !self.rate.is_limit() {
            return now;
        }
        self.forget(now);
        let mut left = self.events;
        for slice in &self.history {
            if left < u64::from(self.rate.events) {
                break;
            }
            left -= slice.events;
            if left < u64::from(self.rate.events) {
                return slice.last + self.rate.per;
            }
        }
        now
    }

    /// How many events may happen now.
    pub(crate) fn room(&mut self, now: Timestamp) -> u32 {
        if !self.rate.is_limit() {
            return u32::MAX;
        }
        self.forget(now);
        let left = u64::from(self.rate.events).saturating_sub(self.events);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Notes an event. Only when [`Throttle::ready_at`] says `now`.
    pub(crate) fn charge(&mut self, now: Timestamp) {
        if !self.rate.is_limit() {
            return;
        }
        self.events += 1;
        let slice_length = self.rate.slice();
        match self.history.back_mut() {
            Some(slice) if now.saturating_since(slice.begin) <= slice_length => {
                slice.last = now;
                slice.events += 1;
            }
            _ => self.history.push_back(Slice { begin: now, last: now, events: 1 }),
        }
    }

    /// Takes back an event noted at `at`: it did not happen after all. False when that has left
    /// the window, and its room may have been given away.
    pub(crate) fn refund(&mut self, at: Timestamp, now: Timestamp) -> bool {
        self.forget(now);
        let place = self.history.partition_point(|slice| slice.last < at);
        match self.history.get_mut(place) {
            Some(slice) if slice.begin <= at => {
                self.events -= 1;
                slice.events -= 1;
                if slice.events == 0 {
                    self.history.remove(place);
                }
                true
            }
            _ => false,
        }
    }

    /// Changes the limit; what has happened has happened.
    pub(crate) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// The limit.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// The events that still count, in a few buckets: each as if all had happened with its last.
    pub(crate) fn coarse(&self, now: Timestamp) -> Vec<(Timestamp, u32)> {
        let width = self.rate.per / BUCKETS_MAX;
        let mut begin = Timestamp::default();
        let mut buckets: Vec<(Timestamp, u32)> = Vec::new();
        let counts = |slice: &&Slice| now.saturating_since(slice.last) < self.rate.per;
        for slice in self.history.iter().filter(counts) {
            let events = u32::try_from(slice.events).unwrap_or(u32::MAX);
            match buckets.last_mut() {
                Some((last, sum)) if slice.last.saturating_since(begin) <= width => {
                    (*last, *sum) = (slice.last, sum.saturating_add(events));
                }
                _ => {
                    begin = slice.last;
                    buckets.push((slice.last, events));
                }
            }
        }
        buckets
    }

    /// A throttle with the history of another process. Nothing of it happened after `now`, whatever
    /// that process's clock said.
    pub(crate) fn restored(rate: Rate, passed: &[(Timestamp, u32)], now: Timestamp) -> Self {
        let slice = |(at, events): &(Timestamp, u32)| {
            let at = (*at).min(now);
            Slice { begin: at, last: at, events: u64::from(*events) }
        };
        let events = passed.iter().map(|(_, events)| u64::from(*events)).sum();
        Self { rate, history: passed.iter().map(slice).collect(), events }
    }

    /// Forgets slices that have left the window (t - y, t].
    fn forget(&mut self, now: Timestamp) {
        while let Some(slice) = self.history.front()
            && now.saturating_since(slice.last) >= self.rate.per
        {
            self.events -= slice.events;
            self.history.pop_front();
        }
    }
}

/// Largest limit whose events are remembered one by one.
const EXACT_EVENTS_MAX: u32 = 4096;

/// Slices of a window whose events are counted together.
const SLICES: u32 = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn throttle(events: u32, seconds: u64) -> Throttle {
        Throttle::new(Rate { events, per: Duration::from_secs(seconds) })
    }

    /// Instants in seconds at which a greedy sender gets `count` events through.
    fn greedy(throttle: &mut Throttle, count: usize) -> Vec<u64> {
        let mut now = Timestamp::from_secs(0);
        let mut passed = Vec::new();
        while passed.len() < count {
            now = throttle.ready_at(now);
            throttle.charge(now);
            passed.push(now.as_secs());
        }
        passed
    }

    #[test]
    fn bursts_of_n_a_window_apart() {
        assert_eq!(greedy(&mut throttle(3, 10), 8), [0, 0, 0, 10, 10, 10, 20, 20]);
        assert_eq!(greedy(&mut throttle(1, 1), 4), [0, 1, 2, 3]);
        assert_eq!(greedy(&mut throttle(0, 10), 3), [0, 0, 0]);
    }

    #[test]
    fn a_changed_limit_keeps_the_history() {
        let mut throttle = throttle(10, 60);
        greedy(&mut throttle, 10);
        throttle.set_rate(Rate { events: 5, per: Duration::from_secs(60) });
        // All ten are still in the window: room only when it holds fewer than five.
        assert_eq!(throttle.ready_at(Timestamp::from_secs(30)), Timestamp::from_secs(60));
        throttle.set_rate(Rate { events: 12, per: Duration::from_secs(60) });
        assert_eq!(throttle.ready_at(Timestamp::from_secs(30)), Timestamp::from_secs(30));
    }

    #[test]
    fn a_refund_makes_room_while_the_event_counts() {
        let mut throttle = throttle(2, 60);
        let at = Timestamp::from_secs;
        throttle.charge(at(0));
        throttle.charge(at(3));
        assert!(!throttle.refund(at(2), at(4)), "nothing happened then");
        assert!(throttle.refund(at(0), at(4)));
        assert_eq!(throttle.ready_at(at(4)), at(4));
        throttle.charge(at(4));
        assert_eq!(throttle.ready_at(at(4)), at(63));
        assert!(!throttle.refund(at(3), at(63)), "too late: its room may be taken");
    }

    #[test]
    fn large_limits_cost_little_memory_and_almost_no_time() {
        let mut throttle = throttle(100_000, 60);
        let mut now = Timestamp::from_secs(0);
        for _ in 0..1_000_000 {
            now = throttle.ready_at(now);
            throttle.charge(now);
            now = now + Duration::from_micros(10);
            assert!(throttle.history.len() <= SLICES as usize + 1);
        }
        // Ten windows, one slice lost in each at most.
        assert!(now.as_secs() >= 540 && now.as_secs() <= 550, "{now}");
    }

    #[test]
    fn a_history_is_coarse_and_never_lenient() {
        let at = Timestamp::from_secs;
        let mut throttle = throttle(600, 64);
        for second in 0..64 {
            throttle.charge(at(second));
            throttle.charge(at(second));
        }
        let coarse = throttle.coarse(at(70));
        // What left the window by then (seconds 0 to 6) is gone; two seconds share a bucket.
        assert_eq!(coarse.len(), 29);
        assert_eq!(coarse[0], (at(8), 4));
        assert_eq!(coarse.iter().map(|(_, events)| events).sum::<u32>(), 114);
        let mut restored = Throttle::restored(throttle.rate(), &coarse, at(70));
        assert_eq!((restored.room(at(70)), throttle.room(at(70))), (486, 486));
        // A clock that was set back: nothing lies in the future.
        let back = Throttle::restored(throttle.rate(), &coarse, at(10)).coarse(at(10));
        assert!(back.iter().all(|(when, _)| *when <= at(10)), "{back:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A restart at any moment lets no window hold more, and costs a bucket's time at most.
        #[test]
        fn no_window_holds_more_over_a_restart(
            events in prop_oneof![1_u32..20, 4090_u32..4110],
            per in 1_u64..40,
            steps in prop::collection::vec(0_u64..1_000_000, 1..80),
            restart in 0_usize..80,
        ) {
            let rate = Rate { events, per: Duration::from_secs(per) };
            let mut throttle = Throttle::new(rate);
            let mut now = Timestamp::from_secs(1000);
            let mut passed: Vec<Timestamp> = Vec::new();
            for (place, step) in steps.into_iter().enumerate() {
                now = now + Duration::from_micros(step);
                if place == restart {
                    let exact = throttle.ready_at(now);
                    throttle = Throttle::restored(rate, &throttle.coarse(now), now);
                    let later = throttle.ready_at(now).saturating_since(exact);
                    prop_assert!(later <= rate.per / BUCKETS_MAX + rate.slice());
                }
                for _ in 0..if events > 100 { 200 } else { 1 } {
                    if throttle.ready_at(now) == now {
                        throttle.charge(now);
                        passed.push(now);
                    }
                }
            }
            for (earlier, later) in passed.iter().zip(passed.iter().skip(events as usize)) {
                prop_assert!(later.saturating_since(*earlier) >= rate.per);
            }
        }

        /// Whoever asks when, no window ever holds more than the limit, and an exact throttle is
        /// never later than it must be.
        #[test]
        fn no_window_holds_more(
            events in prop_oneof![1_u32..20, 4090_u32..4110],
            per in 1_u64..40,
            steps in prop::collection::vec(0_u64..3_000_000, 1..120),
        ) {
            let rate = Rate { events, per: Duration::from_secs(per) };
            let mut throttle = Throttle::new(rate);
            let mut now = Timestamp::from_secs(1000);
            let mut passed: Vec<Timestamp> = Vec::new();
            for step in steps {
                now = now + Duration::from_micros(step);
                let burst = if events > 100 { 100 } else { 1 };
                for _ in 0..burst {
                    let ready = throttle.ready_at(now);
                    let fresh = |event: &Timestamp| now.saturating_since(*event) < rate.per;
                    let held = passed.len() - passed.partition_point(|event| !fresh(event));
                    if events <= EXACT_EVENTS_MAX {
                        prop_assert_eq!(ready == now, held < events as usize);
                    }
                    if ready == now {
                        throttle.charge(now);
                        passed.push(now);
                    } else {
                        prop_assert!(ready > now);
                        prop_assert!(throttle.clone().ready_at(ready) == ready);
                    }
                }
            }
            // The event n places earlier is at least a window older.
            for (earlier, later) in passed.iter().zip(passed.iter().skip(events as usize)) {
                prop_assert!(later.saturating_since(*earlier) >= rate.per);
            }
        }
    }
}
