//! The configuration a scenario runs with.

use std::path::Path;

use traject_engine::config::{Config, ConfigFiles, FileError, HostFacts, Loaded, SourceFile};
use traject_net::config_files::FileSystem;

use super::{ConfigSource, Scenario};

/// The name of the simulated machine, where a configuration sets no `hostname`: the same wherever
/// a scenario is run.
pub const HOSTNAME: &str = "mta.traject.test";

impl Scenario {
    /// Loads the scenario's configuration, or the file `instead` of it.
    pub fn load_config(&self, instead: Option<&Path>) -> Loaded {
        let host = HostFacts { hostname: HOSTNAME.to_owned() };
        let name = self.config_name(instead);
        match &self.config {
            ConfigSource::Inline(text) if instead.is_none() => {
                Config::load(&name, &mut Inline { scenario: &self.path, text }, &host)
            }
            _ => Config::load(&name, &mut FileSystem, &host),
        }
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
