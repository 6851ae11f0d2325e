//! `traject test`: run many scenarios and say which keep their expectations.

mod junit;
mod verdict;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::panic;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use traject_sim::runner::Outcome;

use self::verdict::{Tested, Verdict};
use crate::error::{CommandError, ErrorKind};
use crate::runs::{self, scenario_files};

/// Run scenarios and say which keep their expectations
///
/// Every TOML file below a folder that has a `title` is a scenario. They run in parallel; the
/// lines come in the order of the files' names, and are the same in every run but for the times.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject test scenarios
  traject test scenarios/delivery tour.toml --jobs 4
  traject test scenarios --config new.conf       would another configuration do?
  traject test scenarios --junit results.xml     for a CI server

Exits with 0 when every expectation held, 1 when one did not, 3 when a scenario or a configuration
is wrong, 10 when an invariant was violated, 11 when nothing could move any more, 12 after a panic;
with the greatest of these when several happened.")]
pub(crate) struct Args {
    /// Scenario files, and folders to look for them in
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Use this configuration instead of each scenario's own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// How many run at a time; as many as there are processors when not given
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// Runs them all, and reports.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let files =
        scenario_files(&args.paths).map_err(|error| CommandError::new(ErrorKind::Config, error))?;
    let begun = Instant::now();
    let page = Page::new(&files);
    let mut tested = Vec::new();
    let done = |one: Tested| {
        page.show(&one)?;
        tested.push(one);
        Ok(())
    };
    runs::in_parallel(&files, args.jobs, |file| test(args, file), done)
        .and_then(|()| page.close(&tested, begun.elapsed()))
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    if let Some(path) = &args.junit {
        let written = junit::document(&tested, begun.elapsed())
            .and_then(|xml| fs::write(path, xml).map_err(Into::into));
        written
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    }
    match tested.iter().filter_map(|one| one.verdict.kind()).max_by_key(|kind| kind.exit_code()) {
        Some(worst) => Err(CommandError::reported(worst)),
        None => Ok(()),
    }
}

fn test(args: &Args, file: &Path) -> Tested {
    let begun = Instant::now();
    // The panic's own message has been printed when it arrives here.
    let attempt = panic::catch_unwind(|| match runs::load(file, args.config.as_deref()) {
        Ok(loaded) => judge(runs::simulate(&loaded)),
        Err(findings) => Verdict::Unusable { findings },
    });
    let verdict = attempt.unwrap_or(Verdict::Panicked);
    Tested { file: file.display().to_string(), verdict, took: begun.elapsed() }
}

fn judge(outcome: Outcome) -> Verdict {
    match outcome.failure {
        Some(failure) => Verdict::Broken { failure, replay: outcome.report.replay },
        None => Verdict::Judged(Box::new(outcome.report)),
    }
}

/// What a person sees.
struct Page {
    colour: bool,
    name_width: usize,
}

impl Page {
    fn new(files: &[PathBuf]) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let widths = files.iter().map(|file| file.display().to_string().chars().count());
        Self { colour, name_width: widths.max().unwrap_or(0).min(NAME_WIDTH_MAX) }
    }

    fn show(&self, one: &Tested) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(one.lines(self.name_width, self.colour).as_bytes())?;
        out.flush()
    }

    fn close(&self, tested: &[Tested], took: Duration) -> io::Result<()> {
        writeln!(io::stdout().lock(), "\n{}", verdict::summary(tested, took))
    }
}

/// Longer names push their columns to the right.
const NAME_WIDTH_MAX: usize = 60;
