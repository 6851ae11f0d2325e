//! `traject sim --what-if` and `--samples`: one question, many runs of a scenario, one table.

mod samples;
mod table;
mod what_if;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use traject_engine::config::Amendment;
use traject_sim::diff::Metric;
use traject_sim::report::{DomainReport, Report};

use crate::error::{CommandError, ErrorKind};
use crate::runs::{self, Loaded};
use crate::sim;

pub(crate) use self::samples::run as samples;
pub(crate) use self::what_if::{Axis, run as what_if};

/// The options that `--set` gives.
pub(crate) fn amendments(texts: &[String]) -> Vec<Amendment> {
    let amendment = |text: &String| Amendment { origin: "--set".to_owned(), text: text.clone() };
    texts.iter().map(amendment).collect()
}

/// The scenario of the command line with these options set otherwise.
fn load(args: &sim::Args, amendments: &[Amendment]) -> Result<Loaded, CommandError> {
    let loaded = runs::load_amended(&args.scenario, args.config.as_deref(), amendments);
    let loaded = loaded.map_err(|findings| {
        eprint!("{findings}");
        let path = args.scenario.display();
        CommandError::new(ErrorKind::Config, anyhow::anyhow!("{path} cannot be run so"))
    })?;
    let seed = args.seed.unwrap_or(loaded.scenario.seed);
    Ok(loaded.with_seed(seed).until(args.until))
}

/// Hands out what was found: JSON where it is wanted, and a page unless JSON took its place.
fn hand_out(args: &sim::Args, json: &impl Serialize, page: &str) -> Result<(), CommandError> {
    let write = || -> anyhow::Result<()> {
        if let Some(path) = &args.json {
            let json = serde_json::to_string_pretty(json)? + "\n";
            if path == Path::new("-") {
                return sim::print_out(&json);
            }
            fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
        }
        sim::print_out(page)
    };
    write().map_err(|error| CommandError::new(ErrorKind::System, error))
}

fn is_coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn bold(text: &str, colour: bool) -> String {
    if colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// Says that something is under way, on a terminal: nothing is shown before all runs are done.
fn announce(runs: usize) {
    if io::stderr().is_terminal() {
        // Nobody is hurt if it cannot be said.
        let _ = writeln!(io::stderr(), "{runs} runs ...");
    }
}

/// Whose numbers a table is about.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// All domains together.
    All,
    /// One of them.
    Domain(&'a str),
}

impl<'a> Part<'a> {
    /// All of it, if there is more than one domain, and each domain.
    fn of(reports: &'a [Report]) -> Vec<Self> {
        let Some(first) = reports.first() else { return Vec::new() };
        let domains = first.domains.iter().map(|domain| Self::Domain(&domain.domain));
        let all = (first.domains.len() > 1).then_some(Self::All);
        all.into_iter().chain(domains).collect()
    }

    fn domain<'r>(&self, report: &'r Report) -> Option<&'r DomainReport> {
        match self {
            Self::All => None,
            Self::Domain(name) => report.domains.iter().find(|domain| domain.domain == **name),
        }
    }

    /// What it is called in a report.
    fn title(&self, report: &Report) -> String {
        match (self, self.domain(report).and_then(|domain| domain.receiver.as_deref())) {
            (Self::All, _) => "all domains".to_owned(),
            (Self::Domain(name), Some(receiver)) if receiver != *name => {
                format!("{name} ({receiver})")
            }
            (Self::Domain(name), _) => (*name).to_owned(),
        }
    }

    /// A number of it.
    fn number(&self, metric: Metric, report: &Report) -> Option<f64> {
        match self {
            Self::All => metric.of_all(report),
            Self::Domain(_) => self.domain(report).and_then(|domain| metric.of(domain)),
        }
    }

    /// Replies of receivers with a 4xx code that decided something.
    fn soft_replies(&self, report: &Report) -> u64 {
        let of_domain = |domain: &DomainReport| {
            let soft = |reply: &&traject_sim::report::ReplyReport| {
                !reply.local && reply.reply.starts_with('4')
            };
            domain.replies.iter().filter(soft).map(|reply| reply.count).sum()
        };
        match self {
            Self::All => report.domains.iter().map(of_domain).sum(),
            Self::Domain(_) => self.domain(report).map_or(0, of_domain),
        }
    }

    /// The numbers worth a place in a table: those that any mail has, and those that always have.
    fn metrics(&self, reports: &[Report]) -> Vec<Metric> {
        let wanted = |metric: &&Metric| match metric {
            Metric::Bounced | Metric::Expired | Metric::Pending | Metric::Duplicates => {
                reports.iter().any(|report| self.number(**metric, report) != Some(0.0))
            }
            Metric::Plaintext => {
                reports.iter().any(|report| report.totals.transports.is_tls_wanted())
            }
            _ => true,
        };
        Metric::ALL.iter().filter(wanted).copied().collect()
    }
}
