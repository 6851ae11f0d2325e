//! The numbers of TCP that turmoil-net leaves out: when to send again, when to give up, and when a
//! window is worth announcing. They are those of Linux.

use std::time::Duration;

/// How long an end keeps sending what is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Waits before it gives up: the first transmission's, and one for each that follows.
    pub(super) tries: u32,
    first: Duration,
}

impl Patience {
    /// While connecting: 1 s, doubled six times (`tcp_syn_retries`), so 127 s in all.
    pub(super) fn opening() -> Self {
        Self { tries: 7, first: Duration::from_secs(1) }
    }

    /// On an open connection: the least time-out of 200 ms and a round trip, doubled fifteen times
    /// (`tcp_retries2`) up to two minutes, so about 15 minutes in all.
    pub(super) fn open(round_trip: Duration) -> Self {
        Self { tries: 16, first: Duration::from_millis(200) + round_trip }
    }

    /// The wait after the `retries`-th repetition.
    pub(super) fn wait(self, retries: u32) -> Duration {
        let factor = 1_u32 << retries.min(16);
        self.first.saturating_mul(factor).min(WAIT_MAX)
    }
}

/// Longest wait between two transmissions (`TCP_RTO_MAX`).
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Whether a receiver tells its peer that the window has grown from `told` to `now` (RFC 9293
/// section 3.8.6.2.2: not for less than a segment; Linux: not before it has doubled). The kernel
/// itself tells only after a single large read.
pub(super) fn window_update(told: usize, now: usize, largest_segment: usize) -> bool {
    now >= largest_segment && now >= told.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_given_up_after_127_seconds() {
        let patience = Patience::opening();
        let waits: Vec<u64> = (0..patience.tries).map(|n| patience.wait(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(waits.iter().sum::<u64>(), 127);
    }

    #[test]
    fn an_open_connection_is_given_up_after_about_15_minutes() {
        let patience = Patience::open(Duration::ZERO);
        let total: Duration = (0..patience.tries).map(|n| patience.wait(n)).sum();
        assert_eq!(total, Duration::from_millis(924_600));
        assert_eq!(patience.wait(40), WAIT_MAX);
    }

    #[test]
    fn a_window_is_announced_when_it_has_doubled_and_fits_a_segment() {
        for (told, now, expected) in [
            (0, 1459, false),
            (0, 1460, true),
            (2000, 3999, false),
            (2000, 4000, true),
            (40_000, 65_535, false),
        ] {
            assert_eq!(window_update(told, now, 1460), expected, "{told} {now}");
        }
    }
}
