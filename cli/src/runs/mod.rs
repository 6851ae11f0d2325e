//! Many runs at a time, for the verbs that need them.

mod collect;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use traject_engine::config::Config;
use traject_sim::runner::{self, Outcome, RunOptions};
use traject_sim::scenario::{self, Scenario};

pub(crate) use self::collect::scenario_files;
use crate::diagnostics;
use crate::sim;

/// A scenario, ready to run.
pub(crate) struct Loaded {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// Its configuration, or the one instead.
    pub(crate) config: Arc<Config>,
    /// What reports call the configuration.
    config_name: String,
    /// The command that runs it by itself.
    replay: String,
}

/// Loads a scenario, and its configuration or the one given instead.
///
/// # Errors
///
/// What is wrong with them, as it is printed.
pub(crate) fn load(file: &Path, config: Option<&Path>) -> Result<Loaded, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("error: {error}\n"))?;
    let scenario =
        scenario::parse(file, &text).map_err(|error| sim::findings_of_scenario(&error))?;
    let read = scenario.load_config(config);
    let Some(usable) = read.config else {
        return Err(diagnostics::text(&read.diagnostics, &read.sources));
    };
    scenario.check_config(&usable).map_err(|error| sim::findings_of_scenario(&error))?;
    let config_name = scenario.config_name(config);
    let mut replay = format!("traject sim {}", file.display());
    if let Some(config) = config {
        replay.push_str(&format!(" --config {}", config.display()));
    }
    replay.push_str(&format!(" --seed {}", scenario.seed));
    Ok(Loaded { scenario, config: Arc::new(usable), config_name, replay })
}

/// Runs a scenario.
pub(crate) fn simulate(loaded: &Loaded) -> Outcome {
    let options = RunOptions {
        config_name: loaded.config_name.clone(),
        replay: loaded.replay.clone(),
        ..RunOptions::default()
    };
    runner::run(&loaded.scenario, Arc::clone(&loaded.config), options)
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
