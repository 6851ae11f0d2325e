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

    /// Adds the counts of another one.
    pub fn add(&mut self, other: &Self) {
        while self.width < other.width {
            self.widen();
        }
        let other = other.clone().widened_to(self.width);
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
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
        bucket(since_start, self.width)
    }

    fn widen(&mut self) {
        self.width *= 2;
        self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    }
}

/// A number that goes up and down: the most it was in each stretch of time since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Length of one bucket: one second, doubled as often as it takes.
    width: Duration,
    peaks: Vec<u64>,
    now: u64,
}

impl Default for Gauge {
    fn default() -> Self {
        Self { width: Duration::from_secs(1), peaks: Vec::new(), now: 0 }
    }
}

impl Gauge {
    /// It is `value` from so long after the start on. Times do not go backwards.
    pub fn set(&mut self, since_start: Duration, value: u64) {
        let bucket = self.lasts_until(since_start);
        self.now = value;
        self.peaks[bucket] = self.peaks[bucket].max(value);
    }

    /// What it is now.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Length of one bucket.
    pub fn width(&self) -> Duration {
        self.width
    }

    /// The greatest value of each bucket from the start to `end`, with buckets of that width or
    /// the least that is possible.
    pub fn peaks_until(mut self, end: Duration, width: Duration) -> Vec<u64> {
        self.lasts_until(end);
        while self.width < width {
            self.widen();
        }
        self.peaks
    }

    /// The value is what it is up to that time; answers with its bucket.
    fn lasts_until(&mut self, since_start: Duration) -> usize {
        while bucket(since_start, self.width) >= BUCKETS_MAX {
            self.widen();
        }
        let bucket = bucket(since_start, self.width);
        if self.peaks.len() <= bucket {
            self.peaks.resize(bucket + 1, self.now);
        }
        bucket
    }

    fn widen(&mut self) {
        self.width *= 2;
        let most = |pair: &[u64]| pair.iter().copied().max().unwrap_or(0);
        self.peaks = self.peaks.chunks(2).map(most).collect();
    }
}

fn bucket(since_start: Duration, width: Duration) -> usize {
    (since_start.as_micros() / width.as_micros()) as usize
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
    fn gauges_keep_the_most_of_each_bucket() {
        let mut gauge = Gauge::default();
        let second = Duration::from_secs;
        for (at, value) in [(0, 3), (2, 9), (2, 1), (5, 0)] {
            gauge.set(second(at), value);
        }
        assert_eq!(gauge.now(), 0);
        assert_eq!(gauge.clone().peaks_until(second(6), second(1)), [3, 3, 9, 1, 1, 1, 0]);
        assert_eq!(gauge.clone().peaks_until(second(6), second(4)), [9, 1]);
        gauge.set(second(1024), 5);
        assert_eq!(gauge.width(), second(4));
        let peaks = gauge.peaks_until(second(1027), second(1));
        assert_eq!((peaks.len(), &peaks[..3], peaks[256]), (257, &[9, 1, 0][..], 5));
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
