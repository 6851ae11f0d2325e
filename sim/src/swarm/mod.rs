//! Random worlds: a seed draws a configuration, traffic, receivers, faults and what the operator
//! does; the engine and the driver run in it, and every law is checked after every step.
//!
//! A world is a scenario file from the start. What fails is written out, made smaller as long as it
//! still fails, and can be run, read and changed like any other.
//!
//! - The *faults* end at some instant; from then on every receiver is well.
//! - So everything must come to an end long before the horizon: what is left then is stuck.

mod budget;
mod config;
mod dice;
mod node;
mod receivers;
mod shrink;
pub mod trial;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::budget::Budget;
pub use self::node::Node;
pub use self::shrink::{Shrunk, shrink};
pub use self::world::World;

use traject_engine::config::Config;
use traject_engine::rng::entity;

use crate::coverage::Coverage;
use crate::oracle::{self, Violation, determinism};
use crate::report::{End, Totals};
use crate::runner::{self, Failure, FailureKind, Outcome, RunOptions, START};
use crate::scenario::{self, ConfigSource, Scenario};

/// What became of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct Lived {
    /// The numbers of its mail.
    pub totals: Totals,
    /// What it has been through.
    pub coverage: Coverage,
    /// How long it lasted.
    pub simulated: Duration,
    /// It was left before its end, as too much happened in it.
    pub left_early: bool,
    /// Stands for everything that happened in it.
    pub trace_hash: String,
}

/// How a world fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fall {
    /// What sort of failure.
    pub kind: FailureKind,
    /// The law that was broken.
    pub law: String,
    /// All about it.
    pub story: String,
}

/// How often a world is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Once.
    Once,
    /// Twice, to see that both runs are the same.
    Twice,
}

/// Runs a scenario's text.
///
/// # Errors
///
/// How it fails.
///
/// # Panics
///
/// When the text is no scenario: the drawing of worlds is wrong then.
pub fn live(text: &str, times: Times) -> Result<Lived, Fall> {
    match read_and_run(text, times) {
        Ok(outcome) => outcome,
        Err(error) => panic!("a world is no scenario: {error}\n{text}"),
    }
}

/// Every option that a world may set.
pub fn drawn_options() -> impl Iterator<Item = &'static str> {
    let all: BTreeSet<&'static str> = config::drawn().collect();
    all.into_iter()
}

/// The options that the configurations in a text set.
pub fn options_in(text: &str) -> BTreeSet<&'static str> {
    let names = || text.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    drawn_options().filter(|option| names().any(|name| name == *option)).collect()
}

/// So many seeds that a commit draws: others than those that are counted from 1.
pub fn seeds_of(commit: &str, count: u64) -> impl Iterator<Item = u64> {
    let first = SEEDS_OF_COMMITS + (entity(commit.as_bytes()) >> SEED_BITS_LEFT_OUT);
    first..first + count
}

/// Above every seed that somebody counts to.
const SEEDS_OF_COMMITS: u64 = 1 << 40;

/// What is left of a hash fits a number of a scenario file.
const SEED_BITS_LEFT_OUT: u32 = 8;

/// Runs a scenario's text; the outer error is what is wrong with the text.
fn read_and_run(text: &str, times: Times) -> Result<Result<Lived, Fall>, String> {
    let one = read_and_run_once(text)?;
    let (Ok(lived), Times::Twice) = (&one, times) else { return Ok(one) };
    let Ok(other) = read_and_run_once(text)? else { return Ok(one) };
    let judged = determinism::judge(&lived.trace_hash, &other.trace_hash, START + lived.simulated);
    Ok(match judged {
        Ok(()) => one,
        Err(violation) => Err(Fall::violated(violation)),
    })
}

fn read_and_run_once(text: &str) -> Result<Result<Lived, Fall>, String> {
    let scenario =
        scenario::parse(Path::new("world.toml"), text).map_err(|error| error.to_string())?;
    let loaded = scenario.load_config(None);
    let Some(config) = loaded.config else {
        return Err(loaded.diagnostics.iter().map(|one| one.message.clone() + "\n").collect());
    };
    scenario.check_config(&config).map_err(|error| error.to_string())?;
    for (name, reload) in scenario.load_reloads() {
        let config = reload.config.ok_or_else(|| format!("{name} cannot be used"))?;
        scenario.check_reload(&config).map_err(|error| error.to_string())?;
    }
    if let Err(violation) = judge_config(&scenario, &config) {
        return Ok(Err(Fall::violated(violation)));
    }
    let budget = Arc::new(Budget::default());
    let interrupt = Arc::clone(&budget.spent);
    let options = RunOptions { observer: Some(budget), interrupt, ..RunOptions::default() };
    Ok(match run_once(&scenario, Arc::new(config), options) {
        Err(fall) => Err(fall),
        Ok(outcome) if outcome.report.end == End::Interrupted => Ok(Lived::of(&outcome)),
        Ok(outcome) if outcome.report.totals.pending > 0 => {
            Err(Fall::undrained(outcome.left.as_deref()))
        }
        Ok(outcome) => Ok(Lived::of(&outcome)),
    })
}

/// Runs a world; an error if a law is broken.
fn run_once(
    scenario: &Scenario,
    config: Arc<Config>,
    options: RunOptions,
) -> Result<Outcome, Fall> {
    let run = || runner::run(scenario, config, options);
    let Ok(outcome) = panic::catch_unwind(AssertUnwindSafe(run)) else {
        let story = "a panic outside of the world's tasks".to_owned();
        return Err(Fall { kind: FailureKind::Panic, law: "panic".into(), story });
    };
    match &outcome.failure {
        Some(failure) => Err(Fall::new(failure)),
        None => Ok(outcome),
    }
}

impl Lived {
    fn of(outcome: &Outcome) -> Self {
        Self {
            totals: outcome.report.totals.clone(),
            coverage: outcome.coverage,
            simulated: Duration::from_secs_f64(outcome.report.simulated_s),
            left_early: outcome.report.end == End::Interrupted,
            trace_hash: outcome.report.trace_hash.to_string(),
        }
    }
}

/// Judges the options of every binding for every domain of a world.
fn judge_config(scenario: &Scenario, config: &Config) -> Result<(), Violation> {
    let ConfigSource::Inline(text) = &scenario.config else { return Ok(()) };
    let domains = || scenario.receivers.iter().flat_map(|one| &one.domains);
    let bindings = config.bindings();
    let pairs = bindings.flat_map(|binding| domains().map(move |domain| (binding, &**domain)));
    oracle::config::judge(text, config, pairs)
}

impl Fall {
    /// A law was broken outside of a run.
    fn violated(violation: Violation) -> Self {
        Self::new(&Failure::violated(violation, START, &VecDeque::new()))
    }

    fn new(failure: &Failure) -> Self {
        let law = failure.what.split(':').next().unwrap_or_default().to_owned();
        Self { kind: failure.kind, law, story: failure.to_string() }
    }

    /// Everything is well, and mail is left.
    fn undrained(left: Option<&str>) -> Self {
        let mut story = "mail is left although every receiver has long been well\n".to_owned();
        for line in left.into_iter().flat_map(str::lines) {
            story += &format!("  {line}\n");
        }
        Self { kind: FailureKind::Stuck, law: "drain".into(), story }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough worlds for every part of the generator to have its say.
    #[test]
    fn worlds_are_scenarios_and_keep_the_laws() {
        for seed in 0..25 {
            let world = World::draw(seed);
            let text = world.text();
            if let Err(fall) = live(&text, Times::Once) {
                panic!("world {seed}: {}\n{text}", fall.story);
            }
        }
    }

    /// A try each second of mail that never goes out, for three weeks.
    #[test]
    fn a_world_in_which_too_much_happens_is_left_early() {
        let world = |interval: u32| {
            format!(
                "title = \"t\"\nseed = 1\nhorizon = \"20d\"\nconfig_text = '''\n\
                 retry_interval = {interval}\nmax_retry_interval = {interval}\n\
                 max_retries = none\n'''\n\
                 [[receiver]]\nname = \"r\"\ndomains = [\"d.example\"]\n\
                 [[receiver.reply]]\nstage = \"mail\"\nreply = \"451 4.3.0 Later\"\n\
                 [[traffic]]\nfrom = \"a@brand.example\"\nto = \"d.example\"\nmessages = 2\n"
            )
        };
        let [patient, busy] =
            [3600, 1].map(|interval| live(&world(interval), Times::Once).unwrap());
        assert!(!patient.left_early && patient.totals.pending == 0);
        assert!(busy.left_early && busy.totals.pending == 2);
        assert!(busy.simulated < patient.simulated);
    }

    #[test]
    fn a_commit_draws_seeds_of_its_own() {
        let seeds = |commit: &str| seeds_of(commit, 3).collect::<Vec<u64>>();
        assert_eq!(seeds("abc"), seeds("abc"));
        assert_ne!(seeds("abc"), seeds("abd"));
        assert!(seeds("abc").into_iter().all(|seed| i64::try_from(seed).is_ok()));
    }

    #[test]
    fn options_are_found_in_a_world() {
        let text = "title = \"t\"\nconfig_text = '''\nidle_timeout = 5\ntls = no\n'''\n";
        assert_eq!(options_in(text), BTreeSet::from(["idle_timeout", "tls"]));
    }

    #[test]
    fn a_seed_is_a_world() {
        assert_eq!(World::draw(7).text(), World::draw(7).text());
        assert_ne!(World::draw(7).text(), World::draw(8).text());
        let text = World::draw(7).text();
        assert!(live(&text, Times::Twice).is_ok());
    }
}
