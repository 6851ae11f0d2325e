//! `traject test`: run many scenarios and say which keep their expectations.

mod collect;
mod junit;
mod verdict;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use traject_engine::config::Config;
use traject_sim::runner::{self, RunOptions};
use traject_sim::scenario::Scenario;

use self::collect::scenario_files;
use self::verdict::{Tested, Verdict};
use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};
use crate::sim;

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
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    in_parallel(args, &files, args.jobs.unwrap_or(cores), |one| {
        page.show(&one)?;
        tested.push(one);
        Ok(())
    })
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

/// Tests all files, so many at a time, and hands on what came of them in the order of the files.
fn in_parallel(
    args: &Args,
    files: &[PathBuf],
    jobs: NonZeroUsize,
    mut done: impl FnMut(Tested) -> io::Result<()>,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(files.len()) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(position) else { return };
                    // Fails when nobody listens any more: the output is gone.
                    if sender.send((position, test(args, file))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<Tested>> = files.iter().map(|_| None).collect();
        let mut shown = 0;
        for (position, tested) in &results {
            waiting[position] = Some(tested);
            while let Some(next) = waiting.get_mut(shown).and_then(Option::take) {
                done(next)?;
                shown += 1;
            }
        }
        Ok(())
    })
}

fn test(args: &Args, file: &PathBuf) -> Tested {
    let begun = Instant::now();
    // The panic's own message has been printed when it arrives here.
    let attempt = panic::catch_unwind(AssertUnwindSafe(|| match load(args, file) {
        Ok((scenario, config)) => simulate(args, scenario, config),
        Err(findings) => Verdict::Unusable { findings },
    }));
    let verdict = attempt.unwrap_or(Verdict::Panicked);
    Tested { file: file.display().to_string(), verdict, took: begun.elapsed() }
}

/// A scenario and its configuration, or what is wrong with them.
fn load(args: &Args, file: &PathBuf) -> Result<(Scenario, Config), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("error: {error}\n"))?;
    let scenario = traject_sim::scenario::parse(file, &text)
        .map_err(|error| sim::findings_of_scenario(&error))?;
    let loaded = scenario.load_config(args.config.as_deref());
    let Some(config) = loaded.config else {
        return Err(diagnostics::text(&loaded.diagnostics, &loaded.sources));
    };
    match scenario.check_config(&config) {
        Ok(()) => Ok((scenario, config)),
        Err(error) => Err(sim::findings_of_scenario(&error)),
    }
}

fn simulate(args: &Args, scenario: Scenario, config: Config) -> Verdict {
    let mut replay = format!("traject sim {}", scenario.path.display());
    if let Some(config) = &args.config {
        replay.push_str(&format!(" --config {}", config.display()));
    }
    replay.push_str(&format!(" --seed {}", scenario.seed));
    let options = RunOptions {
        config_name: scenario.config_name(args.config.as_deref()),
        replay,
        ..RunOptions::default()
    };
    let outcome = runner::run(&scenario, Arc::new(config), options);
    match outcome.failure {
        Some(failure) => Verdict::Broken { failure, replay: outcome.report.replay },
        None => Verdict::Judged(outcome.report),
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
