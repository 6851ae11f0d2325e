//! How far the transfer of a body has come, and when that is worth telling.

use std::time::Duration;

use traject_engine::Timestamp;

/// Counts the bytes of one body.
#[derive(Debug)]
pub(super) struct Meter {
    total_bytes: u64,
    told_bytes: u64,
    told_at: Timestamp,
}

impl Meter {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { total_bytes: 0, told_bytes: 0, told_at: now }
    }

    /// Bytes have moved.
    pub(super) const fn count(&mut self, bytes: usize) {
        self.total_bytes += bytes as u64;
    }

    /// The total, when it has moved far or for long since it was told last.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<u64> {
        let moved = self.total_bytes - self.told_bytes;
        let far = moved >= PROGRESS_BYTES;
        let long = moved > 0 && now.saturating_since(self.told_at) >= PROGRESS_INTERVAL;
        if !far && !long {
            return None;
        }
        self.told_bytes = self.total_bytes;
        self.told_at = now;
        Some(self.total_bytes)
    }
}

/// Progress is told after so many bytes ...
const PROGRESS_BYTES: u64 = 256 << 10;

/// ... and, however slow the peer, after so long if anything moved at all.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_by_bytes_and_by_time() {
        let mut meter = Meter::new(Timestamp::from_secs(100));
        let steps = [
            // (bytes moved, second, told)
            (0, 200, None),
            (1, 100, None),
            (0, 110, Some(1)),
            (0, 300, None),
            (262_143, 110, None),
            (1, 110, Some(262_145)),
            (10, 119, None),
            (0, 120, Some(262_155)),
        ];
        for (bytes, second, told) in steps {
            meter.count(bytes);
            assert_eq!(meter.due(Timestamp::from_secs(second)), told, "{bytes} at {second}");
        }
    }
}
