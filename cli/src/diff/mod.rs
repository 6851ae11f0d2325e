//! `traject diff`: what a change of the configuration does, before it is made.

mod options;
mod show;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_sim::diff::ScenarioDiff;
use traject_sim::diff::thresholds::Thresholds;

use self::options::{OptionChange, PairName, Side};
use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};
use crate::runs::{self, scenario_files};

/// Compare two configurations: which options change, and what becomes of the mail
///
/// Every scenario runs with both, with the same seed. All randomness is keyed by what it is for, so
/// whatever differs is the change's doing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject diff --base ecelerity.conf --head new.conf scenarios
  traject diff --base old.conf --head new.conf tour.toml --thresholds limits.toml
  traject diff --base old.conf --head new.conf scenarios --markdown comment.md --json diff.json

A file of thresholds says how much worse a number may become: `t95 = \"10% or 5s\"`,
`bounced = \"3\"`, `peak_connections = \"any\"`. Without one, no recipient may be worse off, and
times and tries may grow by 10 %.

Exits with 0 when nothing became worse than the thresholds allow and no expectation broke, 1 when
something did, 3 when a scenario or a configuration is wrong, 10 when an invariant was violated,
11 when nothing could move any more, 12 after a panic.")]
pub(crate) struct Args {
    /// The configuration in force
    #[arg(long, value_name = "FILE")]
    base: PathBuf,

    /// The configuration that is to replace it
    #[arg(long, value_name = "FILE")]
    head: PathBuf,

    /// Scenario files, and folders to look for them in
    #[arg(value_name = "SCENARIO", required = true)]
    scenarios: Vec<PathBuf>,

    /// How much worse numbers may become
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,

    /// Write the comparison as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the comparison as Markdown, for a pull request
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// How many runs at a time; as many as there are processors when not given
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// Everything that differs.
#[derive(Debug, Serialize)]
struct Comparison {
    /// The configurations' files.
    base: String,
    head: String,
    /// Options with other values, and the mail they concern.
    options: Vec<OptionChange>,
    /// What becomes of the mail, scenario by scenario; those without a difference too.
    scenarios: Vec<ScenarioDiff>,
    /// How many differences are worse than the thresholds allow.
    beyond: usize,
}

/// Compares.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let thresholds = args.thresholds.as_deref().map(read_thresholds).transpose()?;
    let thresholds = thresholds.unwrap_or_default();
    let files = scenario_files(&args.scenarios)
        .map_err(|error| CommandError::new(ErrorKind::Config, error))?;
    let loaded = load_all(args, &files)?;
    let pairs = loaded.iter().flat_map(|(base, _)| pairs_of(base)).collect();
    let options = options::changes(&side(&args.base)?, &side(&args.head)?, &pairs);
    let scenarios = compare_all(args, loaded, &thresholds)?;
    let beyond = scenarios.iter().map(ScenarioDiff::beyond).sum();
    let base = args.base.display().to_string();
    let head = args.head.display().to_string();
    let comparison = Comparison { base, head, options, scenarios, beyond };
    hand_out(args, &comparison).map_err(|error| CommandError::new(ErrorKind::System, error))?;
    match beyond {
        0 => Ok(()),
        _ => Err(CommandError::reported(ErrorKind::Expectation)),
    }
}

fn read_thresholds(path: &Path) -> Result<Thresholds, CommandError> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"));
    text.and_then(|text| Thresholds::parse(&text).map_err(|why| anyhow!("{name}: {why}")))
        .map_err(|error| CommandError::new(ErrorKind::Config, error))
}

/// A configuration with its sources, to say where an option was set.
fn side(path: &Path) -> Result<Side, CommandError> {
    let name = path.display().to_string();
    let loaded = diagnostics::load(&name);
    match loaded.config {
        Some(config) => Ok(Side { config, sources: loaded.sources }),
        None => Err(unusable(&diagnostics::text(&loaded.diagnostics, &loaded.sources), &name)),
    }
}

type Both = (runs::Loaded, runs::Loaded);

/// Each scenario with both configurations.
fn load_all(args: &Args, files: &[PathBuf]) -> Result<Vec<Both>, CommandError> {
    let load = |file: &PathBuf, config: &Path| {
        runs::load(file, Some(config)).map_err(|findings| {
            let name = format!("{} with {}", file.display(), config.display());
            unusable(&findings, &name)
        })
    };
    files.iter().map(|file| Ok((load(file, &args.base)?, load(file, &args.head)?))).collect()
}

fn unusable(findings: &str, name: &str) -> CommandError {
    eprint!("{findings}");
    CommandError::new(ErrorKind::Config, anyhow!("{name} cannot be used"))
}

/// The pairs that a scenario sends mail of.
fn pairs_of(loaded: &runs::Loaded) -> BTreeSet<PairName> {
    let traffic = loaded.scenario.traffic.iter();
    let pairs = traffic.flat_map(|traffic| {
        let bindings = traffic.bindings(&loaded.config).into_iter();
        bindings.flat_map(|binding| {
            let domains = traffic.to.iter().map(|(mailbox, _)| Arc::clone(mailbox.domain()));
            domains.map(move |domain| (Arc::clone(&binding), domain))
        })
    });
    pairs.collect()
}

/// Runs every scenario with both configurations, and compares.
fn compare_all(
    args: &Args,
    loaded: Vec<Both>,
    thresholds: &Thresholds,
) -> Result<Vec<ScenarioDiff>, CommandError> {
    let work: Vec<_> = loaded.into_iter().flat_map(|(base, head)| [base, head]).collect();
    let reports = runs::reports(&work, args.jobs)?;
    Ok(reports
        .chunks_exact(2)
        .map(|both| ScenarioDiff::new(&both[0], &both[1], thresholds))
        .collect())
}

fn hand_out(args: &Args, comparison: &Comparison) -> anyhow::Result<()> {
    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &args.json {
        write(path, serde_json::to_string_pretty(comparison)? + "\n")?;
    }
    if let Some(path) = &args.markdown {
        write(path, show::markdown(comparison))?;
    }
    show::print(comparison).context("cannot print the comparison")
}
