//! A day's curve: how arrivals are spread over the hours.

use std::time::Duration;

/// Arrivals over a stretch of time, as dense as the weights of its hours say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// Stretches of one weight, in order.
    pieces: Vec<Piece>,
    /// Weight times microseconds of all.
    total: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Where it begins, in microseconds from the beginning of the curve.
    from: u64,
    weight: u32,
    /// Weight times microseconds of all before it.
    before: u128,
}

impl Curve {
    /// The curve of `length`, which begins `start` after a midnight. `None` if it has no weight.
    pub fn new(hours: &[u32; 24], start: Duration, length: Duration) -> Option<Self> {
        let (start, length) = (start.as_micros() as u64, length.as_micros() as u64);
        let (mut pieces, mut total, mut from) = (Vec::new(), 0, 0);
        while from < length {
            let now = start + from;
            let weight = hours[(now / HOUR_MICROS % 24) as usize];
            pieces.push(Piece { from, weight, before: total });
            let to = (from + HOUR_MICROS - now % HOUR_MICROS).min(length);
            total += u128::from(weight) * u128::from(to - from);
            from = to;
        }
        (total > 0).then_some(Self { pieces, total })
    }

    /// When the arrival with the number `n` of `count` comes, counted from the beginning: the share
    /// of the weight before it is its share of the arrivals.
    pub fn offset(&self, n: u64, count: u64) -> Duration {
        let before = self.total * u128::from(n) / u128::from(count.max(1));
        // Of pieces with equal weight before them all but the last have none of their own.
        let place = self.pieces.partition_point(|piece| piece.before <= before);
        let piece = self.pieces[place.saturating_sub(1)];
        let into = (before - piece.before) / u128::from(piece.weight.max(1));
        Duration::from_micros(piece.from + into as u64)
    }
}

/// A day of a sender of newsletters and receipts: quiet nights, most in the morning, a long
/// afternoon.
pub const USUAL_HOURS: [u32; 24] =
    [2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 11, 9, 8, 8, 8, 8, 8, 8, 7, 6, 5, 4, 3, 2];

const HOUR_MICROS: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(of: &[(usize, u32)]) -> [u32; 24] {
        let mut hours = [0; 24];
        for (hour, weight) in of {
            hours[*hour] = *weight;
        }
        hours
    }

    const HOUR: u64 = 3600;

    #[test]
    fn arrivals_are_as_dense_as_the_weights() {
        let day = Duration::from_secs(24 * HOUR);
        // Eight parts: two in the hour from 9, six in that from 10.
        let curve = Curve::new(&hours(&[(9, 1), (10, 3)]), Duration::ZERO, day).unwrap();
        let offsets: Vec<u64> = (0..8).map(|n| curve.offset(n, 8).as_secs()).collect();
        let at = |hour: u64, sixths: u64| hour * HOUR + sixths * 600;
        assert_eq!(
            offsets,
            [at(9, 0), at(9, 3), at(10, 0), at(10, 1), at(10, 2), at(10, 3), at(10, 4), at(10, 5)]
        );
    }

    #[test]
    fn a_curve_begins_and_ends_within_an_hour_and_goes_over_midnight() {
        let half = Duration::from_secs(HOUR / 2);
        let from = Duration::from_secs(22 * HOUR + HOUR / 2);
        // Half an hour of weight 2, an hour of 1, half an hour of 4: 1 + 1 + 2 parts.
        let weights = hours(&[(22, 2), (23, 1), (0, 4)]);
        let curve = Curve::new(&weights, from, half * 4).unwrap();
        let offsets: Vec<u64> = (0..4).map(|n| curve.offset(n, 4).as_secs()).collect();
        assert_eq!(offsets, [0, HOUR / 2, HOUR + HOUR / 2, HOUR + HOUR / 2 + HOUR / 4]);
    }

    #[test]
    fn time_without_weight_has_no_curve() {
        let hour = Duration::from_secs(HOUR);
        assert_eq!(Curve::new(&hours(&[(5, 1)]), Duration::ZERO, hour), None);
        assert!(Curve::new(&USUAL_HOURS, Duration::ZERO, hour).is_some());
        assert_eq!(Curve::new(&USUAL_HOURS, Duration::ZERO, Duration::ZERO), None);
    }
}
