//! Deliveries over time, in a bounded number of buckets whatever the run's length.

use std::time::Duration;

use super::TimelineReport;

/// A count for each stretch of time since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Length of one bucket: one second, doubled as often as it takes.
    width: Duration,
    counts: Vec<u64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: Duration::from_secs(1), counts: Vec::new() }
    }
}

impl Timeline {
    /// The timeline a report holds.
    pub fn from_report(report: &TimelineReport) -> Self {
        let width = Duration::from_secs(report.bucket_s.max(1));
        Self { width, counts: report.delivered.clone() }
    }

    /// Counts something that happened so long after the start.
    pub fn count(&mut self, since_start: Duration) {
        while self.bucket(since_start) >= BUCKETS_MAX {
            self.widen();
        }
        let bucket = self.bucket(since_start);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    /// Length of one bucket.
    pub fn width(&self) -> Duration {
        self.width
    }

    /// The counts; buckets after the last count are left out.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The same with buckets of at least this width.
    pub fn widened_to(mut self, width: Duration) -> Self {
        while self.width < width {
            self.widen();
        }
        self
    }

    /// `columns` blocks for the time from the start to `end`, each as high as its stretch is busy
    /// compared with the busiest; a stretch without any is blank.
    pub fn sparkline(&self, end: Duration, columns: usize) -> String {
        let mut sums = vec![0_u64; columns];
        let end_micros = end.as_micros().max(1);
        for (n, count) in self.counts.iter().enumerate() {
            let at = self.width.as_micros() * n as u128;
            let column = (at * columns as u128 / end_micros).min(columns as u128 - 1);
            sums[column as usize] += count;
        }
        let most = sums.iter().copied().max().unwrap_or(0).max(1);
        sums.iter()
            .map(|sum| match sum * BLOCKS.len() as u64 {
                0 => ' ',
                scaled => BLOCKS[(scaled.div_ceil(most) as usize - 1).min(BLOCKS.len() - 1)],
            })
            .collect()
    }

    fn bucket(&self, since_start: Duration) -> usize {
        (since_start.as_micros() / self.width.as_micros()) as usize
    }

    fn widen(&mut self) {
        self.width *= 2;
        self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    }
}

const BUCKETS_MAX: usize = 512;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_have_wide_buckets_and_lose_no_count() {
        let mut timeline = Timeline::default();
        for second in (0..100_000).step_by(100) {
            timeline.count(Duration::from_secs(second));
        }
        assert_eq!(timeline.width(), Duration::from_secs(256));
        assert!(timeline.counts().len() <= BUCKETS_MAX);
        assert_eq!(timeline.counts().iter().sum::<u64>(), 1000);
    }

    #[test]
    fn sparklines_show_where_it_is_busy() {
        let mut timeline = Timeline::default();
        for (second, count) in [(0, 8), (1, 4), (2, 1), (7, 8)] {
            for _ in 0..count {
                timeline.count(Duration::from_secs(second));
            }
        }
        assert_eq!(timeline.sparkline(Duration::from_secs(8), 8), "█▄▁    █");
        assert_eq!(timeline.sparkline(Duration::from_secs(8), 4), "█▁ ▆");
        assert_eq!(Timeline::default().sparkline(Duration::ZERO, 3), "   ");
    }
}
