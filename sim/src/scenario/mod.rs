//! Scenarios: a TOML file says which traffic meets which receivers, what breaks, and what must
//! hold. `docs/scenarios.md` describes the format for its users.

mod diagnostic;
mod read;
mod reader;
#[cfg(test)]
mod tests;
pub mod units;

use std::path::PathBuf;
use std::time::Duration;

pub use diagnostic::{Diagnostic, Position, ScenarioError};
pub use read::parse;

use crate::dns::DnsSpec;
use crate::expect::Expectation;
use crate::fault::FaultSpec;
use crate::receiver::spec::ReceiverSpec;
use crate::traffic::TrafficSpec;

/// A scenario that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file it came from.
    pub path: PathBuf,
    /// One line for reports.
    pub title: String,
    /// What it shows.
    pub description: String,
    /// The seed of all randomness, unless the command line gives another.
    pub seed: u64,
    /// How long it runs at most.
    pub horizon: Duration,
    /// The configuration of the sending side.
    pub config: ConfigSource,
    /// What is sent.
    pub traffic: Vec<TrafficSpec>,
    /// Who receives.
    pub receivers: Vec<ReceiverSpec>,
    /// The DNS.
    pub dns: DnsSpec,
    /// What breaks.
    pub faults: Vec<FaultSpec>,
    /// What must hold.
    pub expectations: Vec<Expectation>,
}

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// In a file; a relative path has been joined to the scenario's folder.
    File(PathBuf),
    /// In the scenario.
    Inline(String),
}
