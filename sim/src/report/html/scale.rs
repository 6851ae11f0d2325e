//! Where ticks of axes stand.

/// A scale from 0 to a round number, with ticks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// The greatest value.
    pub(super) max: f64,
    /// The distance of ticks.
    pub(super) step: f64,
}

impl Scale {
    /// A scale of whole numbers that holds `most`, with about `ticks` steps of 1, 2 or 5 times a
    /// power of ten.
    pub(super) fn holding(most: u64, ticks: u32) -> Self {
        let most = most.max(1) as f64;
        let rough = (most / f64::from(ticks)).max(1.0);
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough);
        let step = factor.unwrap_or(10.0) * power;
        Self { max: (most / step).ceil() * step, step }
    }

    /// The ticks, from 0 on.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.max / self.step + 1e-9).floor() as u64;
        let step = self.step;
        (0..=count).map(move |n| n as f64 * step)
    }
}

/// The ticks of an axis of time from 0 to `end_s`, at most `most` of them beside 0.
pub(super) fn time_ticks(end_s: f64, most: u32) -> impl Iterator<Item = f64> {
    let fits = |step: &&u32| (end_s / f64::from(**step)).floor() <= f64::from(most);
    let days = |step: f64| (end_s / f64::from(most) / step).ceil() * step;
    let step = STEPS_S.iter().find(fits).map_or_else(|| days(86_400.0), |step| f64::from(*step));
    // For less than a few seconds.
    let step =
        if end_s < f64::from(most) / 2.0 { (end_s / f64::from(most)).max(1e-3) } else { step };
    let count = (end_s / step + 1e-9).floor() as u64;
    (0..=count).map(move |n| n as f64 * step)
}

/// Distances that people think in.
const STEPS_S: [u32; 21] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    172_800, 345_600, 604_800,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_everything() {
        for (most, max, step) in [
            (0, 1.0, 1.0),
            (1, 1.0, 1.0),
            (5, 5.0, 1.0),
            (21, 25.0, 5.0),
            (40, 40.0, 10.0),
            (1234, 1500.0, 500.0),
            (9999, 10_000.0, 2000.0),
        ] {
            assert_eq!(Scale::holding(most, 5), Scale { max, step }, "{most}");
        }
        assert_eq!(Scale { max: 6.0, step: 2.0 }.ticks().collect::<Vec<_>>(), [0.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn time_has_few_ticks_of_units_that_people_know() {
        let ticks = |end| time_ticks(end, 6).map(|tick| tick as u64).collect::<Vec<_>>();
        assert_eq!(ticks(10.0), [0, 2, 4, 6, 8, 10]);
        assert_eq!(ticks(86_400.0), [0, 21_600, 43_200, 64_800, 86_400]);
        assert_eq!(ticks(86_400.0 * 60.0).len(), 7);
        let short: Vec<f64> = time_ticks(0.6, 6).collect();
        assert_eq!(short.len(), 7);
    }
}
