//! The configuration a scenario runs with.

use std::path::Path;

use traject_engine::config::{Config, ConfigFiles, FileError, HostFacts, Loaded, SourceFile};
use traject_net::config_files::FileSystem;

use super::{ConfigSource, Scenario, units};
use crate::event::EventKind;

/// The name of the simulated machine, where a configuration sets no `hostname`: the same wherever
/// a scenario is run.
pub const HOSTNAME: &str = "mta.traject.test";

impl Scenario {
    /// Loads the scenario's configuration, or the file `instead` of it.
    pub fn load_config(&self, instead: Option<&Path>) -> Loaded {
        match instead {
            None => self.load(&self.config, &self.config_name(None)),
            Some(path) => self.read(&path.display().to_string(), &mut FileSystem),
        }
    }

    /// Loads the configuration of each event that is a reload, in order, with what messages call
    /// it.
    pub fn load_reloads(&self) -> Vec<(String, Loaded)> {
        let mut reloads = Vec::new();
        for event in &self.events {
            let EventKind::Reload(source) = &event.what else { continue };
            let name = match source {
                ConfigSource::File(path) => path.display().to_string(),
                ConfigSource::Inline(_) => {
                    let at = units::show_duration(event.at);
                    format!("{} (config_text of the event at {at})", self.path.display())
                }
            };
            let loaded = self.load(source, &name);
            reloads.push((name, loaded));
        }
        reloads
    }

    fn load(&self, source: &ConfigSource, name: &str) -> Loaded {
        match source {
            ConfigSource::Inline(text) => {
                self.read(name, &mut Inline { scenario: &self.path, text })
            }
            ConfigSource::File(_) => self.read(name, &mut FileSystem),
        }
    }

    fn read(&self, name: &str, files: &mut dyn ConfigFiles) -> Loaded {
        Config::load_amended(name, files, &host_facts(), &self.amendments)
    }

    /// What reports and messages call the configuration: its file.
    pub fn config_name(&self, instead: Option<&Path>) -> String {
        match (instead, &self.config) {
            (Some(path), _) => path.display().to_string(),
            (None, ConfigSource::File(path)) => path.display().to_string(),
            (None, ConfigSource::Inline(_)) => format!("{} (config_text)", self.path.display()),
        }
    }
}

fn host_facts() -> HostFacts {
    HostFacts { hostname: HOSTNAME.to_owned() }
}

/// The text in a scenario; what it includes lies beside the scenario.
struct Inline<'a> {
    scenario: &'a Path,
    text: &'a str,
}

impl ConfigFiles for Inline<'_> {
    fn read(&mut self, path: &str, from: Option<&str>) -> Result<Vec<SourceFile>, FileError> {
        if from.is_some() {
            return FileSystem.read(path, self.scenario.to_str());
        }
        Ok(vec![SourceFile { name: path.to_owned(), text: self.text.to_owned() }])
    }
}
