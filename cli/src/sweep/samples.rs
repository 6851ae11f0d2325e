//! `traject sim --samples N`: the same scenario with so many seeds, and how far the numbers spread.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Serialize;
use traject_sim::bands::Band;
use traject_sim::diff::Metric;
use traject_sim::report::Report;
use traject_sim::report::html::{SamplesPage, SamplesPart, render_samples};

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
    if let Some(path) = &args.html {
        let replay = format!("{} --samples {samples}", loaded.replay());
        std::fs::write(path, render_samples(&html_page(&found, replay), &reports))
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    }
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

impl Samples<'_> {
    /// How many there are, and with which seeds.
    fn about(&self) -> String {
        let last = self.first_seed.wrapping_add(self.samples as u64 - 1);
        format!("{} samples, seeds {} to {last}", self.samples, self.first_seed)
    }
}

impl PartBands {
    /// A number's name, 5 %, the median, 95 %.
    fn rows(&self) -> Vec<[String; 4]> {
        let row = |(metric, band): (&Metric, &Band)| {
            let show = |value| metric.show(value);
            [metric.name().to_owned(), show(band.p5), show(band.median), show(band.p95)]
        };
        self.numbers.iter().map(row).collect()
    }
}

impl Kept<'_> {
    /// The expectation, how many of so many samples kept it, and a seed of one that did not.
    fn row(&self, samples: usize) -> [String; 3] {
        let kept = format!("{} of {samples}", self.kept);
        let broken = self.broken_with.first();
        let broken = broken.map(|seed| format!("broken with seed {seed}")).unwrap_or_default();
        [self.expectation.to_owned(), kept, broken]
    }
}

fn html_page<'a>(found: &'a Samples<'a>, replay: String) -> SamplesPage<'a> {
    let part = |part: &'a PartBands| SamplesPart {
        title: &part.title,
        domain: part.domain.as_deref(),
        numbers: part.rows(),
    };
    SamplesPage {
        title: found.title,
        about: format!("{} with {}: {}", found.scenario, found.config, found.about()),
        replay,
        parts: found.parts.iter().map(part).collect(),
        expectations: found.expectations.iter().map(|one| one.row(found.samples)).collect(),
    }
}

fn page(found: &Samples<'_>, colour: bool) -> String {
    let mut page = format!("{}\n{}\n", bold(found.title, colour), found.about());
    let heading = ["", "5%", "median", "95%"].map(str::to_owned);
    for part in &found.parts {
        let rows: Vec<Vec<String>> = part.rows().into_iter().map(Vec::from).collect();
        page += &format!("\n{}\n", bold(&part.title, colour));
        page += &table::render(&heading, &rows, &[0]);
    }
    if !found.expectations.is_empty() {
        page += &format!("\n{}\n", bold("Expectations", colour));
        let rows = found.expectations.iter().map(|one| {
            let [expectation, kept, broken] = one.row(found.samples);
            vec![kept, expectation, broken]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let heading = ["kept", "", ""].map(str::to_owned);
        page += &table::render(&heading, &rows, &[1, 2]);
    }
    page
}

/// Version of the JSON form.
const VERSION: u32 = 1;
