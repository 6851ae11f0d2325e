//! The real clock.

use std::time::{Duration, Instant, SystemTime};

use traject_engine::Timestamp;

use crate::world::Clock;

/// Wall time as it was when the process started, moved on by the monotonic clock: it never goes
/// backwards, and a correction of the system's clock is not noticed before the next start.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    wall: Timestamp,
    start: Instant,
}

impl SystemClock {
    /// Reads the system's clock once. A clock before 1970 counts as 1970.
    pub fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(Timestamp(0), |since| Timestamp(0) + since);
        Self { wall, start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall + self.start.elapsed()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // One microsecond more, so that the remainder that `now` cuts off does not make the
        // instant look unreached.
        let wait = at.saturating_since(self.wall).saturating_add(Duration::from_micros(1));
        match self.start.checked_add(wait) {
            Some(instant) => tokio::time::sleep_until(instant.into()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_at_its_instant_or_later() {
        let clock = SystemClock::start();
        let before = clock.now();
        clock.sleep_until(before).await;
        clock.sleep_until(Timestamp(0)).await;
        let at = clock.now() + Duration::from_millis(2);
        clock.sleep_until(at).await;
        assert!(clock.now() >= at);
    }
}
