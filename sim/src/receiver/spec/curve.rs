//! A number that changes with the time of day, or of the hour.

use std::time::Duration;

/// A number in steps that repeat: each holds from its instant to the next one's.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// After this the steps begin again; counted from the start of the scenario.
    period: Duration,
    /// Since when in a period which number holds, in order. The first begins at zero.
    steps: Vec<(Duration, f64)>,
}

impl Curve {
    /// The same number at all times.
    pub fn constant(number: f64) -> Self {
        Self { period: Duration::MAX, steps: vec![(Duration::ZERO, number)] }
    }

    /// Numbers that hold from some instants of each `period` on. Before the first of them, the last
    /// one holds: it is that of the period before.
    ///
    /// # Errors
    ///
    /// Without a step, with two at one instant, or with one at or after the end of the period.
    pub fn repeating(period: Duration, mut steps: Vec<(Duration, f64)>) -> Result<Self, String> {
        steps.sort_by_key(|(from, _)| *from);
        let last = *steps.last().ok_or("a curve has an instant, such as `\"5m\" = 0`")?;
        if last.0 >= period {
            return Err("an instant of a curve must be before the end of `every`".into());
        }
        if steps.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("a curve has two numbers for one instant".into());
        }
        if !steps[0].0.is_zero() {
            steps.insert(0, (Duration::ZERO, last.1));
        }
        Ok(Self { period, steps })
    }

    /// Whether it never changes.
    pub const fn is_constant(&self) -> bool {
        self.steps.len() == 1
    }

    /// The number so long after the start of the scenario.
    pub fn at(&self, elapsed: Duration) -> f64 {
        if let [(_, always)] = self.steps[..] {
            return always;
        }
        let micros = (elapsed.as_micros() % self.period.as_micros().max(1)) as u64;
        let phase = Duration::from_micros(micros);
        let next = self.steps.partition_point(|(from, _)| *from <= phase);
        self.steps[next - 1].1
    }

    /// The greatest number.
    pub fn most(&self) -> f64 {
        self.steps.iter().map(|(_, number)| *number).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn steps_repeat_and_the_last_one_holds_over_the_turn() {
        let busy = Curve::repeating(minutes(60), vec![(minutes(55), 0.5), (minutes(5), 0.1)]);
        let busy = busy.unwrap();
        for (minute, expected) in
            [(0, 0.5), (4, 0.5), (5, 0.1), (54, 0.1), (55, 0.5), (60, 0.5), (66, 0.1)]
        {
            assert_eq!(busy.at(minutes(minute)), expected, "minute {minute}");
        }
        assert_eq!(busy.most(), 0.5);
        assert_eq!(Curve::constant(0.25).at(minutes(123)), 0.25);
    }

    #[test]
    fn what_is_no_curve() {
        assert!(Curve::repeating(minutes(60), Vec::new()).is_err());
        assert!(Curve::repeating(minutes(60), vec![(minutes(60), 1.0)]).is_err());
        assert!(Curve::repeating(minutes(60), vec![(minutes(1), 1.0), (minutes(1), 0.5)]).is_err());
    }
}
