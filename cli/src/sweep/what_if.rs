//! `traject sim --what-if OPTION=V1,V2`: the same scenario over values of an option.

use anyhow::anyhow;
use serde::Serialize;
use traject_engine::config::Amendment;
use traject_sim::diff::Metric;
use traject_sim::report::Report;

use super::{Part, amendments, announce, bold, hand_out, is_coloured, load, table};
use crate::error::{CommandError, ErrorKind};
use crate::{runs, sim};

/// An option and the values to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Where it is set and what it is called, as on the command line.
    place: String,
    values: Vec<String>,
}

impl Axis {
    /// Reads `[SCOPE/]OPTION=V1,V2,...`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, where the configuration's own diagnostics could not say so.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((place, values)) = text.split_once('=') else {
            return Err("write `OPTION=VALUE,VALUE`".into());
        };
        let values: Vec<String> =
            split_values(values).into_iter().map(|value| value.trim().to_owned()).collect();
        if values.iter().any(String::is_empty) {
            return Err("there is an empty value".into());
        }
        Ok(Self { place: place.trim().to_owned(), values })
    }

    /// The option's name without its scope.
    fn option(&self) -> &str {
        self.place.rsplit('/').next().unwrap_or(&self.place)
    }

    fn amendment(&self, value: &str) -> Amendment {
        Amendment { origin: "--what-if".to_owned(), text: format!("{}={value}", self.place) }
    }
}

/// At the commas that stand in no quotes and no brackets.
fn split_values(text: &str) -> Vec<&str> {
    let (mut quoted, mut depth, mut start) = (false, 0_i32, 0);
    let mut values = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '<' if !quoted => depth += 1,
            ')' | ']' | '>' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                values.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    values.push(&text[start..]);
    values
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Sweep<'a> {
    /// Version of this form.
    version: u32,
    scenario: &'a str,
    config: &'a str,
    seed: u64,
    /// One for each combination of values, in the order of the command line.
    runs: Vec<Run<'a>>,
}

#[derive(Debug, Serialize)]
struct Run<'a> {
    /// `[SCOPE/]OPTION` and its value, for each option that varies.
    settings: Vec<(&'a str, &'a str)>,
    report: &'a Report,
}

/// Runs the scenario with each combination of values, and shows a table.
pub(crate) fn run(args: &sim::Args) -> Result<(), CommandError> {
    let axes = &args.what_if[..];
    if axes.len() > AXES_MAX {
        let error = anyhow!("at most {AXES_MAX} options can vary at once");
        return Err(CommandError::new(ErrorKind::System, error));
    }
    let points = grid(axes);
    let mut work = Vec::new();
    for point in &points {
        let mut all = amendments(&args.set);
        all.extend(axes.iter().zip(point).map(|(axis, value)| axis.amendment(value)));
        work.push(load(args, &all)?);
    }
    announce(work.len());
    let reports = runs::reports(&work, args.jobs)?;
    let first = &reports[0];
    let runs = points.iter().zip(&reports).map(|(point, report)| Run {
        settings: axes.iter().zip(point).map(|(axis, value)| (&*axis.place, *value)).collect(),
        report,
    });
    let (scenario, config) = (&*first.scenario, &*first.config);
    let sweep =
        Sweep { version: VERSION, scenario, config, seed: first.seed, runs: runs.collect() };
    hand_out(args, &sweep, &page(axes, &points, &reports, is_coloured()))
}

/// Every combination of values, the last option varying fastest.
fn grid(axes: &[Axis]) -> Vec<Vec<&str>> {
    axes.iter().fold(vec![Vec::new()], |points, axis| {
        let with = |point: &Vec<_>| {
            let point = point.clone();
            axis.values.iter().map(move |value| {
                let mut longer = point.clone();
                longer.push(&**value);
                longer
            })
        };
        points.iter().flat_map(with).collect()
    })
}

fn page(axes: &[Axis], points: &[Vec<&str>], reports: &[Report], colour: bool) -> String {
    let mut page = bold(&reports[0].title, colour) + "\n";
    for (n, axis) in axes.iter().enumerate() {
        let word = if n == 0 { "what if" } else { "    and" };
        page += &format!("{word} {} = {}\n", axis.place, axis.values.join(", "));
    }
    let same_run = |report: &Report| report.trace_hash == reports[0].trace_hash;
    if reports.len() > 1 && reports.iter().all(same_run) {
        return page
            + "\nNothing differs: with each of these values the run is the same.\n"
            + &block(Part::All, axes, &points[..1], &reports[..1], colour);
    }
    let parts = Part::of(reports);
    let mut same = Vec::new();
    for part in parts {
        let rows: Vec<_> = reports.iter().map(|report| row(part, reports, report)).collect();
        match part {
            Part::Domain(name) if rows.len() > 1 && rows.windows(2).all(|two| two[0] == two[1]) => {
                same.push(name)
            }
            _ => page += &block(part, axes, points, reports, colour),
        }
    }
    if !same.is_empty() {
        page += &format!("\nThe same with each value: {}\n", same.join(", "));
    }
    page
}

fn block(
    part: Part<'_>,
    axes: &[Axis],
    points: &[Vec<&str>],
    reports: &[Report],
    colour: bool,
) -> String {
    let mut heading: Vec<String> = axes.iter().map(|axis| axis.option().to_owned()).collect();
    heading.extend(part.metrics(reports).iter().map(|metric| match metric {
        Metric::PeakConnections => "conns".to_owned(),
        other => other.name().to_owned(),
    }));
    heading.push("4xx".to_owned());
    heading.push(match part {
        Part::All => "expectations".to_owned(),
        Part::Domain(_) => "held up by".to_owned(),
    });
    let rows: Vec<Vec<String>> = points
        .iter()
        .zip(reports)
        .map(|(point, report)| {
            let values = point.iter().map(|value| (*value).to_owned());
            values.chain(row(part, reports, report)).collect()
        })
        .collect();
    let last = heading.len() - 1;
    let title = bold(&part.title(&reports[0]), colour);
    format!("\n{title}\n{}", table::render(&heading, &rows, &[last]))
}

/// A row without the values it is for.
fn row(part: Part<'_>, reports: &[Report], report: &Report) -> Vec<String> {
    let metrics = part.metrics(reports).into_iter();
    let mut row: Vec<String> =
        metrics.map(|metric| metric.show(part.number(metric, report))).collect();
    row.push(part.soft_replies(report).to_string());
    row.push(match part {
        Part::All => kept(report),
        Part::Domain(_) => held_up_by(part, report),
    });
    row
}

fn kept(report: &Report) -> String {
    match (report.failed_expectations(), report.expectations.len()) {
        (_, 0) => "none".to_owned(),
        (0, all) => format!("{all} held"),
        (failed, all) => format!("{failed} of {all} FAILED"),
    }
}

fn held_up_by(part: Part<'_>, report: &Report) -> String {
    let Some(limiter) = part.domain(report).and_then(|domain| domain.limited_by.as_ref()) else {
        return "nothing".to_owned();
    };
    // The kind as JSON has it, in words.
    let kind = serde_json::to_value(limiter.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().replace('_', " ");
    let text = format!("{:.0}% {kind} {}", 100.0 * limiter.share, limiter.detail);
    let mut short: String = text.trim_end().chars().take(HELD_UP_CHARS_MAX).collect();
    if short.len() < text.trim_end().len() {
        short.push_str("...");
    }
    short
}

/// A table has no more dimensions.
const AXES_MAX: usize = 2;

/// Version of the JSON form.
const VERSION: u32 = 1;

/// Room for what held mail up.
const HELD_UP_CHARS_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_split_where_a_person_would() {
        for (text, place, values) in [
            ("a=1,2", "a", vec!["1", "2"]),
            ("domain x.test/a = 1, \"2,3\"", "domain x.test/a", vec!["1", "\"2,3\""]),
            (
                "routes=( \"a\",\"b\" ),[ x = 1, y = 2 ]",
                "routes",
                vec!["( \"a\",\"b\" )", "[ x = 1, y = 2 ]"],
            ),
        ] {
            let axis = Axis::parse(text).unwrap();
            assert_eq!(
                (&*axis.place, axis.values),
                (place, values.into_iter().map(String::from).collect())
            );
        }
        assert!(Axis::parse("a").is_err());
        assert!(Axis::parse("a=1,,2").is_err());
    }

    #[test]
    fn a_grid_has_every_combination() {
        let axes = [Axis::parse("a=1,2").unwrap(), Axis::parse("domain x/b=3,4").unwrap()];
        assert_eq!(grid(&axes), [["1", "3"], ["1", "4"], ["2", "3"], ["2", "4"]]);
        assert_eq!(axes[1].option(), "b");
    }
}
