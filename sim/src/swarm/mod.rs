//! Random worlds: a seed draws a configuration, traffic, receivers, faults and what the operator
//! does; the engine and the driver run in it, and every law is checked after every step.
//!
//! A world is a scenario file from the start. What fails is written out, made smaller as long as it
//! still fails, and can be run, read and changed like any other.
//!
//! - The *faults* end at some instant; from then on every receiver is well.
//! - So everything must come to an end long before the horizon: what is left then is stuck.

mod config;
mod dice;
mod node;
mod shrink;
mod world;

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::node::Node;
pub use self::shrink::{Shrunk, shrink};
pub use self::world::World;

use crate::report::Totals;
use crate::runner::{self, Failure, FailureKind, RunOptions};
use crate::scenario;

/// What became of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct Lived {
    /// The numbers of its mail.
    pub totals: Totals,
    /// How long it lasted.
    pub simulated: Duration,
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

/// Runs a scenario's text.
///
/// # Errors
///
/// How it fails.
///
/// # Panics
///
/// When the text is no scenario: the drawing of worlds is wrong then.
pub fn live(text: &str) -> Result<Lived, Fall> {
    match read_and_run(text) {
        Ok(outcome) => outcome,
        Err(error) => panic!("a world is no scenario: {error}\n{text}"),
    }
}

/// Runs a scenario's text; the outer error is what is wrong with the text.
fn read_and_run(text: &str) -> Result<Result<Lived, Fall>, String> {
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
    let run = || runner::run(&scenario, Arc::new(config), RunOptions::default());
    let Ok(outcome) = panic::catch_unwind(AssertUnwindSafe(run)) else {
        let story = "a panic outside of the world's tasks".to_owned();
        return Ok(Err(Fall { kind: FailureKind::Panic, law: "panic".into(), story }));
    };
    Ok(match outcome.failure {
        Some(failure) => Err(Fall::new(&failure)),
        None if outcome.report.totals.pending > 0 => Err(Fall::undrained(&outcome.report)),
        None => Ok(Lived {
            totals: outcome.report.totals,
            simulated: Duration::from_secs_f64(outcome.report.simulated_s),
            trace_hash: outcome.report.trace_hash.to_string(),
        }),
    })
}

impl Fall {
    fn new(failure: &Failure) -> Self {
        let law = failure.what.split(':').next().unwrap_or_default().to_owned();
        Self { kind: failure.kind, law, story: failure.to_string() }
    }

    /// Everything is well, and mail is left.
    fn undrained(report: &crate::report::Report) -> Self {
        let mut story = "mail is left although every receiver has long been well\n".to_owned();
        for domain in report.domains.iter().filter(|domain| domain.pending > 0) {
            let because = domain.pending_because.as_deref().unwrap_or("nobody knows why");
            story += &format!("  {} to {}: {because}\n", domain.pending, domain.domain);
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
            if let Err(fall) = live(&text) {
                panic!("world {seed}: {}\n{text}", fall.story);
            }
        }
    }

    #[test]
    fn a_seed_is_a_world() {
        assert_eq!(World::draw(7).text(), World::draw(7).text());
        assert_ne!(World::draw(7).text(), World::draw(8).text());
        let text = World::draw(7).text();
        assert_eq!(live(&text), live(&text));
    }
}
