//! How much worse a number may become before a change is refused.

use std::collections::BTreeMap;

use super::Metric;
use crate::scenario::units;

/// What is allowed, number by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    allowances: BTreeMap<Metric, Vec<Allowance>>,
}

/// One way of being allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Allowance {
    /// Whatever it is.
    Any,
    /// By such a part of the old value.
    Share(f64),
    /// By so much: seconds of a time, else a number.
    Amount(f64),
}

/// No recipient may be worse off; times and tries may grow a little; connections as they like.
const DEFAULTS: [(Metric, &str); 12] = [
    (Metric::Delivered, "0"),
    (Metric::Bounced, "0"),
    (Metric::Expired, "0"),
    (Metric::Pending, "0"),
    (Metric::Duplicates, "0"),
    (Metric::Plaintext, "0"),
    (Metric::Tries, "10%"),
    (Metric::T50, "10% or 1s"),
    (Metric::T95, "10% or 1s"),
    (Metric::T99, "10% or 1s"),
    (Metric::T100, "10% or 1s"),
    (Metric::PeakConnections, "any"),
];

impl Default for Thresholds {
    fn default() -> Self {
        let read = |(metric, text)| {
            // Unwrap is OK because a test reads them all.
            (metric, allowances(metric, text).expect("a default that is right"))
        };
        Self { allowances: DEFAULTS.into_iter().map(read).collect() }
    }
}

impl Thresholds {
    /// Reads a file of thresholds: TOML with the name of a number and what is allowed,
    /// `t95 = "10% or 5s"`, `bounced = "3"`, `peak_connections = "any"`. What it does not name has
    /// its default.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: BTreeMap<String, String> =
            toml::from_str(text).map_err(|error| error.to_string())?;
        let mut thresholds = Self::default();
        for (name, text) in table {
            let metric = Metric::ALL.iter().copied().find(|metric| metric.name() == name);
            let Some(metric) = metric else {
                let known: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
                return Err(format!("`{name}` is not compared; these are: {}", known.join(", ")));
            };
            let read = allowances(metric, &text).map_err(|why| format!("`{name}`: {why}"))?;
            thresholds.allowances.insert(metric, read);
        }
        Ok(thresholds)
    }

    /// Whether a number may become so much worse.
    pub fn allows(&self, metric: Metric, base: Option<f64>, worsening: f64) -> bool {
        let allowances = self.allowances.get(&metric).into_iter().flatten();
        allowances.into_iter().any(|allowance| match *allowance {
            Allowance::Any => true,
            // A little more than the share, as floating-point numbers are what they are.
            Allowance::Share(share) => base.is_some_and(|base| worsening <= base * share + 1e-9),
            Allowance::Amount(amount) => worsening <= amount + 1e-9,
        })
    }
}

fn allowances(metric: Metric, text: &str) -> Result<Vec<Allowance>, String> {
    text.split(" or ").map(|part| allowance(metric, part.trim())).collect()
}

fn allowance(metric: Metric, text: &str) -> Result<Allowance, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| *number >= 0.0);
    if text == "any" {
        return Ok(Allowance::Any);
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent = number(percent).ok_or_else(|| format!("`{text}` is not a share"))?;
        return Ok(Allowance::Share(percent / 100.0));
    }
    match metric.is_time() {
        true if text == "0" => Ok(Allowance::Amount(0.0)),
        true => units::duration(text).map(|time| Allowance::Amount(time.as_secs_f64())),
        false => number(text)
            .map(Allowance::Amount)
            .ok_or_else(|| format!("`{text}` is neither a number, nor a share, nor `any`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_be_read_and_replaced() {
        let thresholds = Thresholds::parse("t95 = \"20% or 1m\"\nbounced = \"2\"\n").unwrap();
        for (metric, base, worsening, allowed) in [
            (Metric::T95, 1000.0, 200.0, true),
            (Metric::T95, 1000.0, 201.0, false),
            (Metric::T95, 1.0, 60.0, true),
            (Metric::T50, 1000.0, 101.0, false),
            (Metric::Bounced, 0.0, 2.0, true),
            (Metric::Bounced, 100.0, 3.0, false),
            (Metric::Expired, 100.0, 1.0, false),
            (Metric::PeakConnections, 1.0, 1e9, true),
        ] {
            let found = thresholds.allows(metric, Some(base), worsening);
            assert_eq!(found, allowed, "{metric:?} {base} {worsening}");
        }
        assert_eq!(Thresholds::parse("").unwrap(), Thresholds::default());
        assert_eq!(DEFAULTS.map(|(metric, _)| metric), Metric::ALL);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("t96 = \"1s\"", "`t96` is not compared; these are: delivered, bounced"),
            ("t95 = \"1 fortnight\"", "`t95`: "),
            ("t95 = \"-5%\"", "`t95`: `-5%` is not a share"),
            ("bounced = \"some\"", "`bounced`: `some` is neither a number"),
            ("bounced = 3", "invalid type"),
        ] {
            let error = Thresholds::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
