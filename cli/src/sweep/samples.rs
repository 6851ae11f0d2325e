//! `traject sim --samples N`: the same scenario with so many seeds, and how far the numbers spread.

use std::collections::BTreeMap;

use serde::Serialize;
use traject_sim::diff::Metric;
use traject_sim::report::Report;

use super::{Part, amendments, announce, bold, hand_out, is_coloured, load, table};
use crate::error::{CommandError, ErrorKind};
use crate::{runs, sim};

/// The JSON form.
#[derive(Debug, Serialize)]
struct Samples<'a> {
    /// Version of this form.
    version: u32,
    title: &'a str,
    scenario: &'a str,
    config: &'a str,
    /// The seeds that were drawn with: this one and those that follow it.
    first_seed: u64,
    samples: usize,
    /// All domains together, if there are several, and each domain.
    parts: Vec<PartBands>,
    expectations: Vec<Kept<'a>>,
}

/// The numbers of a domain.
#[derive(Debug, Serialize)]
struct PartBands {
    /// `None`: all domains together.
    domain: Option<String>,
    #[serde(skip)]
    title: String,
    numbers: BTreeMap<Metric, Band>,
}

/// How far a number spreads. `None` of a time: so many recipients were never delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Band {
    p5: Option<f64>,
    median: Option<f64>,
    p95: Option<f64>,
}

/// An expectation, and which samples kept it.
#[derive(Debug, Serialize)]
struct Kept<'a> {
    expectation: &'a str,
    kept: usize,
    /// The seeds of those that did not.
    broken_with: Vec<u64>,
}

/// Runs them all, and shows the bands.
pub(crate) fn run(args: &sim::Args, samples: u64) -> Result<(), CommandError> {
    let loaded = load(args, &amendments(&args.set))?;
    let first = loaded.seed();
    let seeds = (0..samples).map(|n| first.wrapping_add(n));
    let work: Vec<_> = seeds.map(|seed| loaded.with_seed(seed)).collect();
    announce(work.len());
    let reports = runs::reports(&work, args.jobs)?;
    let found = judge(&reports);
    hand_out(args, &found, &page(&found, is_coloured()))?;
    let broken = found.expectations.iter().filter(|one| !one.broken_with.is_empty());
    match broken.flat_map(|one| &one.broken_with).min() {
        None => Ok(()),
        Some(seed) => {
            let replay = loaded.with_seed(*seed).replay();
            let hint = format!("a sample that broke one: {replay}");
            Err(CommandError::reported(ErrorKind::Expectation).hint(hint))
        }
    }
}

fn judge(reports: &[Report]) -> Samples<'_> {
    let first = &reports[0];
    let bands = |part: Part<'_>| PartBands {
        domain: match part {
            Part::All => None,
            Part::Domain(name) => Some(name.to_owned()),
        },
        title: part.title(first),
        numbers: part
            .metrics(reports)
            .into_iter()
            .map(|metric| {
                let values = reports.iter().map(|report| part.number(metric, report));
                (metric, Band::of(values.collect()))
            })
            .collect(),
    };
    let expectations = first.expectations.iter().enumerate().map(|(n, one)| {
        let broken = reports.iter().filter(|report| report.expectations[n].passed != Some(true));
        let broken_with: Vec<u64> = broken.map(|report| report.seed).collect();
        let kept = reports.len() - broken_with.len();
        Kept { expectation: &one.expectation, kept, broken_with }
    });
    Samples {
        version: VERSION,
        title: &first.title,
        scenario: &first.scenario,
        config: &first.config,
        first_seed: first.seed,
        samples: reports.len(),
        parts: Part::of(reports).into_iter().map(bands).collect(),
        expectations: expectations.collect(),
    }
}

impl Band {
    /// Of at least one value; what never happened is later than everything that did.
    fn of(mut values: Vec<Option<f64>>) -> Self {
        let late = |value: &Option<f64>| value.unwrap_or(f64::INFINITY);
        values.sort_by(|a, b| late(a).total_cmp(&late(b)));
        // The least value that so many percent of all do not exceed.
        let rank = |percent: usize| (values.len() * percent).div_ceil(100).max(1) - 1;
        Self { p5: values[rank(5)], median: values[rank(50)], p95: values[rank(95)] }
    }
}

fn page(found: &Samples<'_>, colour: bool) -> String {
    let last = found.first_seed.wrapping_add(found.samples as u64 - 1);
    let mut page = format!(
        "{}\n{} samples, seeds {} to {last}\n",
        bold(found.title, colour),
        found.samples,
        found.first_seed,
    );
    let heading = ["", "5%", "median", "95%"].map(str::to_owned);
    for part in &found.parts {
        let row = |(metric, band): (&Metric, &Band)| {
            let show = |value| metric.show(value);
            vec![metric.name().to_owned(), show(band.p5), show(band.median), show(band.p95)]
        };
        let rows: Vec<_> = part.numbers.iter().map(row).collect();
        page += &format!("\n{}\n", bold(&part.title, colour));
        page += &table::render(&heading, &rows, &[0]);
    }
    if !found.expectations.is_empty() {
        page += &format!("\n{}\n", bold("Expectations", colour));
        let row = |one: &Kept<'_>| {
            let kept = format!("{} of {}", one.kept, found.samples);
            let broken = one.broken_with.first();
            let broken = broken.map(|seed| format!("broken with seed {seed}")).unwrap_or_default();
            vec![kept, one.expectation.to_owned(), broken]
        };
        let rows: Vec<_> = found.expectations.iter().map(row).collect();
        let heading = ["kept", "", ""].map(str::to_owned);
        page += &table::render(&heading, &rows, &[1, 2]);
    }
    page
}

/// Version of the JSON form.
const VERSION: u32 = 1;

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
