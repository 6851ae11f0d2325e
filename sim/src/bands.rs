//! How far a number spreads over runs of one scenario with several seeds.

use serde::Serialize;

/// Ranks of a number over several runs. `None` of a time: it never came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Band {
    /// 5 % of the runs had no more.
    pub p5: Option<f64>,
    /// Half of the runs had no more.
    pub median: Option<f64>,
    /// 95 % of the runs had no more.
    pub p95: Option<f64>,
}

impl Band {
    /// Of at least one value; what never happened is later than everything that did.
    pub fn of(mut values: Vec<Option<f64>>) -> Self {
        let late = |value: &Option<f64>| value.unwrap_or(f64::INFINITY);
        values.sort_by(|a, b| late(a).total_cmp(&late(b)));
        // The least value that so many percent of all do not exceed.
        let rank = |percent: usize| (values.len() * percent).div_ceil(100).max(1) - 1;
        Self { p5: values[rank(5)], median: values[rank(50)], p95: values[rank(95)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_ranks_and_never_comes_last() {
        let numbers = |n: u32| (1..=n).rev().map(|n| Some(f64::from(n))).collect::<Vec<_>>();
        let band = |p5, median, p95| Band { p5: Some(p5), median: Some(median), p95: Some(p95) };
        assert_eq!(Band::of(numbers(1)), band(1.0, 1.0, 1.0));
        assert_eq!(Band::of(numbers(20)), band(1.0, 10.0, 19.0));
        assert_eq!(Band::of(numbers(100)), band(5.0, 50.0, 95.0));
        let late = vec![None, Some(1.0), None];
        assert_eq!(Band::of(late), Band { p5: Some(1.0), median: None, p95: None });
    }
}
