//! Look-ups of exchanges that wait for their turn (`dns_rate_limit_*`).

use alloc::collections::VecDeque;

use crate::config::effective::MxRateLimit;
use crate::mx::routes::Target;
use crate::shaping::throttle::{Rate, Throttle};
use crate::time::Timestamp;

/// First come, first served; in every window at most as many questions as the limit allows, and
/// those that found the line full.
#[derive(Debug)]
pub(crate) struct MxLine {
    throttle: Throttle,
    waiting: VecDeque<Target>,
}

impl Default for MxLine {
    fn default() -> Self {
        Self { throttle: Throttle::new(UNLIMITED), waiting: VecDeque::new() }
    }
}

impl MxLine {
    /// Changes the limit; what was asked counts on.
    pub(crate) fn limit(&mut self, limit: Option<MxRateLimit>) {
        self.throttle.set_rate(limit.map_or(UNLIMITED, |limit| limit.rate));
    }

    /// Whether the exchanges of a destination may be asked for now; otherwise it is in the line.
    pub(crate) fn admits(
        &mut self,
        target: &Target,
        limit: Option<MxRateLimit>,
        now: Timestamp,
    ) -> bool {
        self.limit(limit);
        let Some(limit) = limit else { return true };
        if self.waiting.is_empty() && self.throttle.ready_at(now) <= now {
            self.throttle.charge(now);
            return true;
        }
        if self.waiting.len() >= limit.waiting_max as usize {
            return true;
        }
        self.waiting.push_back(target.clone());
        false
    }

    /// The first in line, if its turn has come.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Target> {
        if self.waiting.is_empty() || self.throttle.ready_at(now) > now {
            return None;
        }
        self.throttle.charge(now);
        self.waiting.pop_front()
    }

    /// When the turn of the first in line comes.
    pub(crate) fn next_turn(&mut self, now: Timestamp) -> Option<Timestamp> {
        (!self.waiting.is_empty()).then(|| self.throttle.ready_at(now))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

const UNLIMITED: Rate = Rate { events: 0, per: core::time::Duration::ZERO };

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::mx::routes::By;

    fn target(name: &str) -> Target {
        Target::new(&name.into(), By::Exchanges)
    }

    fn limit(events: u32, waiting_max: u32) -> Option<MxRateLimit> {
        Some(MxRateLimit { rate: Rate { events, per: Duration::from_secs(10) }, waiting_max })
    }

    #[test]
    fn those_over_the_limit_wait_and_those_over_the_line_do_not() {
        let mut line = MxLine::default();
        let at = Timestamp::from_secs;
        let asked = |line: &mut MxLine, name| line.admits(&target(name), limit(2, 2), at(0));
        let names = ["a", "b", "c", "d", "e"];
        assert_eq!(names.map(|name| asked(&mut line, name)), [true, true, false, false, true]);
        assert_eq!((line.next_turn(at(0)), line.len()), (Some(at(10)), 2));
        assert_eq!(line.next(at(9)), None);
        assert_eq!(line.next(at(10)), Some(target("c")));
        // Whoever comes while somebody waits gets in line, even if there is room.
        assert!(!line.admits(&target("f"), limit(2, 2), at(10)));
        assert_eq!(line.next(at(10)), Some(target("d")));
        assert_eq!((line.next(at(10)), line.next_turn(at(10))), (None, Some(at(20))));
        assert_eq!(line.next(at(20)), Some(target("f")));
        assert_eq!(line.next_turn(at(20)), None);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut line = MxLine::default();
        let now = Timestamp::from_secs(0);
        for _ in 0..1000 {
            assert!(line.admits(&target("a"), None, now));
        }
        // A limit that is lifted lets go of those who wait.
        assert!(line.admits(&target("a"), limit(1, 9), now));
        assert!(!line.admits(&target("b"), limit(1, 9), now));
        assert!(line.admits(&target("c"), None, now));
        assert_eq!(line.next(now), Some(target("b")));
    }
}
