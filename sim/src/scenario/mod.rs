//! Scenarios: a TOML file says which traffic meets which receivers, what breaks, and what must
//! hold. `docs/scenarios.md` describes the format for its users.

mod config;
mod diagnostic;
mod read;
mod reader;
#[cfg(test)]
mod tests;
pub mod units;

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use traject_engine::config::{Amendment, Config};

pub use config::HOSTNAME;
pub use diagnostic::{Diagnostic, Position, ScenarioError};
pub use read::{parse, parse_profile};

use self::diagnostic::Diagnostics;

use crate::dns::DnsSpec;
use crate::event::EventSpec;
use crate::expect::Expectation;
use crate::fault::FaultSpec;
use crate::network::Prefix;
use crate::receiver::spec::ReceiverSpec;
use crate::runner;
use crate::traffic::{Through, TrafficSpec};

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
    /// What the operator does, in order.
    pub events: Vec<EventSpec>,
    /// Which spool.
    pub spool: SpoolKind,
    /// What must hold.
    pub expectations: Vec<Expectation>,
    /// Options set otherwise than its configurations have them.
    amendments: Vec<Amendment>,
    /// The file's text, and where in it is what only the configuration can judge.
    source: String,
    places: Places,
}

/// What mail waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpoolKind {
    /// One in memory, where everything is durable at once: for mail by the million.
    #[default]
    Memory,
    /// The daemon's journal, on a simulated disk.
    Journal,
}

/// Places in the text of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    /// Each `binding` of a traffic or an expectation, with its name.
    bindings: Vec<Spanned<String>>,
    /// Each `binding_group` of a traffic, with its name.
    groups: Vec<Spanned<String>>,
    /// Each receiver.
    receivers: Vec<Range<usize>>,
    /// Each `through` of a traffic.
    listeners: Vec<Spanned<Through>>,
    /// Each `client` of a traffic.
    clients: Vec<Spanned<IpAddr>>,
    /// Each `source` of a partition.
    sources: Vec<Spanned<Prefix>>,
}

impl Scenario {
    /// Sets options otherwise than the configuration has them: the one it begins with, and those
    /// that come into force later.
    #[must_use]
    pub fn amended(mut self, amendments: impl IntoIterator<Item = Amendment>) -> Self {
        self.amendments.extend(amendments);
        self
    }

    /// Whether the scenario makes sense with this configuration: its bindings exist, and no
    /// exchange lives at an address of ours.
    ///
    /// # Errors
    ///
    /// Everything that does not.
    pub fn check_config(&self, config: &Config) -> Result<(), ScenarioError> {
        let diagnostics = Diagnostics::default();
        for name in &self.places.bindings {
            if !config.has_binding(name.get_ref()) {
                let message = format!("the configuration has no binding `{}`", name.get_ref());
                diagnostics.error(name.span(), message);
            }
        }
        for name in &self.places.groups {
            if config.group_members(name.get_ref()).is_empty() {
                let name_of = name.get_ref();
                let message =
                    format!("the configuration has no binding group `{name_of}` with bindings");
                diagnostics.error(name.span(), message);
            }
        }
        self.check_addresses(config, &diagnostics);
        self.check_partitions(config, &diagnostics);
        self.check_listeners(config, &diagnostics);
        self.judged(diagnostics)
    }

    /// Mail can come through listeners that there are, from clients that are not we.
    fn check_listeners(&self, config: &Config, diagnostics: &Diagnostics) {
        for through in &self.places.listeners {
            if through.get_ref().address(config) == Some(None) {
                let hint = "`esmtp_listener { listen \"*:25\" { } }`";
                let message = "the configuration has no such listener";
                diagnostics.error_with_hint(through.span(), message, hint);
            }
        }
        let ours = match self.places.listeners.is_empty() {
            true => Vec::new(),
            false => runner::sources(self, config),
        };
        for client in &self.places.clients {
            if ours.contains(client.get_ref()) {
                let message = format!("{} is our own address", client.get_ref());
                diagnostics.error(client.span(), message);
            }
        }
    }

    /// A partition is of addresses that mail leaves from, at some time.
    fn check_partitions(&self, config: &Config, diagnostics: &Diagnostics) {
        if self.places.sources.is_empty() {
            return;
        }
        let mut ours = runner::sources(self, config);
        for (_, reloaded) in self.load_reloads() {
            ours.extend(reloaded.config.iter().flat_map(|config| runner::sources(self, config)));
        }
        for source in &self.places.sources {
            let prefix = source.get_ref();
            if !ours.iter().any(|address| prefix.contains(*address)) {
                let known: Vec<String> = ours.iter().map(ToString::to_string).collect();
                let message = format!("no mail leaves from {prefix}");
                let hint = format!("our addresses are {}", known.join(", "));
                diagnostics.error_with_hint(source.span(), message, &hint);
            }
        }
    }

    /// Whether the scenario makes sense when this configuration comes into force: no exchange lives
    /// at an address of ours. A binding may be gone by then.
    ///
    /// # Errors
    ///
    /// Everything that does not.
    pub fn check_reload(&self, config: &Config) -> Result<(), ScenarioError> {
        let diagnostics = Diagnostics::default();
        self.check_addresses(config, &diagnostics);
        self.judged(diagnostics)
    }

    fn check_addresses(&self, config: &Config, diagnostics: &Diagnostics) {
        let ours = runner::sources(self, config);
        for (receiver, place) in self.receivers.iter().zip(&self.places.receivers) {
            let mut addresses = receiver.exchanges.iter().flat_map(|one| &one.addresses);
            if let Some(address) = addresses.find(|address| ours.contains(address)) {
                let message = format!("`{}` has {address}, which is our own", receiver.name);
                let hint = "a `bind_address` of the configuration, or the default source";
                diagnostics.error_with_hint(place.clone(), message, hint);
            }
        }
    }

    fn judged(&self, diagnostics: Diagnostics) -> Result<(), ScenarioError> {
        let diagnostics = diagnostics.into_sorted();
        if diagnostics.is_empty() {
            return Ok(());
        }
        Err(ScenarioError { path: self.path.clone(), source: self.source.clone(), diagnostics })
    }
}

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// In a file; a relative path has been joined to the scenario's folder.
    File(PathBuf),
    /// In the scenario.
    Inline(String),
}
