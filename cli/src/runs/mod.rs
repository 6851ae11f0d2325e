//! Many runs at a time, for the verbs that need them.

mod collect;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use traject_engine::config::{Amendment, Config};
use traject_sim::report::Report;
use traject_sim::runner::{self, FailureKind, Outcome, RunOptions};
use traject_sim::scenario::{self, Scenario, units};

pub(crate) use self::collect::scenario_files;
use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};
use crate::sim;

/// A scenario, ready to run.
#[derive(Clone)]
pub(crate) struct Loaded {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// Its configuration, or the one instead.
    pub(crate) config: Arc<Config>,
    /// What reports call the configuration.
    config_name: String,
    /// The command that runs it by itself, but for the seed.
    command: String,
    /// The seed it runs with.
    seed: u64,
    /// When it ends at the latest, if that is before the horizon.
    until: Option<Duration>,
}

/// Loads a scenario, and its configuration or the one given instead.
///
/// # Errors
///
/// What is wrong with them, as it is printed.
pub(crate) fn load(file: &Path, config: Option<&Path>) -> Result<Loaded, String> {
    load_amended(file, config, &[])
}

/// The same, with some options set otherwise.
///
/// # Errors
///
/// What is wrong with them, as it is printed.
pub(crate) fn load_amended(
    file: &Path,
    config: Option<&Path>,
    amendments: &[Amendment],
) -> Result<Loaded, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("error: cannot read {}: {error}\n", file.display()))?;
    let scenario =
        scenario::parse(file, &text).map_err(|error| sim::findings_of_scenario(&error))?;
    let scenario = scenario.amended(amendments.iter().cloned());
    let usable = usable(scenario.load_config(config))?;
    scenario.check_config(&usable).map_err(|error| sim::findings_of_scenario(&error))?;
    for (_, reload) in scenario.load_reloads() {
        let reload = self::usable(reload)?;
        scenario.check_reload(&reload).map_err(|error| sim::findings_of_scenario(&error))?;
    }
    let config_name = scenario.config_name(config);
    let mut command = format!("traject sim {}", file.display());
    if let Some(config) = config {
        command.push_str(&format!(" --config {}", config.display()));
    }
    for amendment in amendments {
        command.push_str(&format!(" --set {}", quoted(&amendment.text)));
    }
    let seed = scenario.seed;
    Ok(Loaded { scenario, config: Arc::new(usable), config_name, command, seed, until: None })
}

fn usable(read: traject_engine::config::Loaded) -> Result<Config, String> {
    read.config.ok_or_else(|| diagnostics::text(&read.diagnostics, &read.sources))
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=./_-:,+@".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

impl Loaded {
    /// The same run with another seed.
    pub(crate) fn with_seed(&self, seed: u64) -> Self {
        Self { seed, ..self.clone() }
    }

    /// The seed it runs with.
    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// The same run, ended earlier.
    pub(crate) fn until(self, until: Option<Duration>) -> Self {
        Self { until, ..self }
    }

    /// The command that runs it by itself.
    pub(crate) fn replay(&self) -> String {
        let mut replay = format!("{} --seed {}", self.command, self.seed);
        if let Some(until) = self.until {
            replay.push_str(&format!(" --until {}", units::show_duration(until)));
        }
        replay
    }
}

/// Runs a scenario.
pub(crate) fn simulate(loaded: &Loaded) -> Outcome {
    let options = RunOptions {
        seed: Some(loaded.seed),
        until: loaded.until,
        config_name: loaded.config_name.clone(),
        replay: loaded.replay(),
        ..RunOptions::default()
    };
    runner::run(&loaded.scenario, Arc::clone(&loaded.config), options)
}

/// Runs them all, so many at a time, and has their reports in order.
///
/// # Errors
///
/// A law of the engine that was broken in one of them, or a panic.
pub(crate) fn reports(
    work: &[Loaded],
    jobs: Option<NonZeroUsize>,
) -> Result<Vec<Report>, CommandError> {
    let simulate = |one: &Loaded| panic::catch_unwind(AssertUnwindSafe(|| simulate(one))).ok();
    let mut reports = Vec::new();
    let mut failure = None;
    let done = |outcome: Option<Outcome>| {
        match outcome.map(report_of) {
            Some(Ok(report)) => reports.push(report),
            Some(Err(error)) => failure = failure.take().or(Some(error)),
            // The panic's own message has been printed.
            None => failure = Some(CommandError::reported(ErrorKind::Panic)),
        }
        Ok(())
    };
    in_parallel(work, jobs, simulate, done)
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    failure.map_or(Ok(reports), Err)
}

fn report_of(outcome: Outcome) -> Result<Report, CommandError> {
    let Some(failure) = outcome.failure else { return Ok(outcome.report) };
    let kind = match failure.kind {
        FailureKind::Violation => ErrorKind::Invariant,
        FailureKind::Stuck => ErrorKind::Stuck,
        FailureKind::Spin => ErrorKind::Spin,
        FailureKind::Panic => ErrorKind::Panic,
    };
    let hint = format!("replay: {}", outcome.report.replay);
    Err(CommandError::new(kind, anyhow!("{failure}")).hint(hint))
}

/// Does some work for each item, so many at a time (as many as there are processors when not
/// said), and hands on the results in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    jobs: Option<NonZeroUsize>,
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(R) -> io::Result<()>,
) -> io::Result<()> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let jobs = jobs.unwrap_or(cores).get().min(items.len());
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (next, work, sender) = (&next, &work, sender.clone());
            scope.spawn(move || {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(position) else { return };
                    // Fails when nobody listens any more: the output is gone.
                    if sender.send((position, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<R>> = items.iter().map(|_| None).collect();
        let mut handed_on = 0;
        for (position, result) in &results {
            waiting[position] = Some(result);
            while let Some(result) = waiting.get_mut(handed_on).and_then(Option::take) {
                done(result)?;
                handed_on += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_must_be() {
        for (word, shown) in [
            ("tls=no", "tls=no"),
            ("domain x.test/tls=no", "'domain x.test/tls=no'"),
            ("x='y'", r"'x='\''y'\'''"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..100).collect();
        for jobs in [1, 3, 200] {
            let mut squares = Vec::new();
            let done = |square| {
                squares.push(square);
                Ok(())
            };
            in_parallel(&items, NonZeroUsize::new(jobs), |n| n * n, done).unwrap();
            assert_eq!(squares, items.iter().map(|n| n * n).collect::<Vec<_>>());
        }
    }
}
