//! A user's configuration on trial: in random worlds, which of the promises break that whoever
//! wrote it counts on?
//!
//! The configuration is as it is. The seed draws mail to the domains it names and to others, their
//! receivers, what goes wrong for some time, and what the operator does. A law of the engine that
//! breaks is still a bug of ours.

mod known;
mod promise;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use traject_engine::config::explain::{Question, find_option};
use traject_engine::config::{Config, DEFAULT_BINDING, Sources};
use traject_engine::record::Pair;

pub use self::promise::{Broken, Promise};

use self::promise::Watcher;
use super::node::Node;
use super::shrink::shrink_while;
use super::{Fall, Lived, World, run_once};
use crate::runner::RunOptions;
use crate::scenario::{self, Scenario, ScenarioError};

/// What a trial is about, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Mail goes to these domains too.
    pub domains: Vec<String>,
    /// Mail to these must not go in clear.
    pub tls: Vec<String>,
    /// `[[expect]]` tables, and the file they are in.
    pub expect: Option<(PathBuf, String)>,
}

/// A configuration on trial.
#[derive(Debug)]
pub struct Trial {
    /// Its file, as worlds name it.
    file: PathBuf,
    config: Arc<Config>,
    sources: Sources,
    wishes: Wishes,
    /// Domains that the configuration names, or has patterns for.
    domains: Vec<String>,
    /// Patterns that no name was found for.
    unmatched: Vec<String>,
    /// Whose mail the expectations are about.
    expected: Vec<Whose>,
}

/// The binding and the domain that an expectation names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Whose {
    binding: Option<String>,
    domain: Option<String>,
}

/// What became of a world in which nothing of ours broke.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The world.
    pub lived: Lived,
    /// The promises that broke there.
    pub broken: Vec<Broken>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The value as it would be written; `None` if the option has none.
    pub value: Option<String>,
    /// The stanza; empty for the global scope, `None` if the value is built in.
    pub stanza: Option<String>,
    /// `file:line` of the setting, if it can be told.
    pub line: Option<String>,
}

impl Trial {
    /// Puts a configuration on trial. `file` should be an absolute path: worlds that are written
    /// name it.
    ///
    /// # Errors
    ///
    /// What is wrong with the expectations, or with worlds for this configuration.
    pub fn new(
        file: &Path,
        (config, sources): (Config, Sources),
        wishes: Wishes,
    ) -> Result<Self, Box<ScenarioError>> {
        let known: Vec<&str> = known::domains().collect();
        let patterns = config.domain_patterns(&known);
        let mut domains: BTreeSet<String> =
            config.domain_names().into_iter().map(str::to_owned).collect();
        domains.extend(patterns.values().flatten().cloned());
        domains.extend(wishes.domains.iter().chain(&wishes.tls).map(|one| one.to_lowercase()));
        domains.retain(|domain| {
            crate::traffic::domain_name(domain).is_ok()
                && domain.parse::<std::net::IpAddr>().is_err()
        });
        let unmatched = patterns.iter().filter(|(_, name)| name.is_none());
        let unmatched = unmatched.map(|(pattern, _)| format!("/{pattern}/")).collect();
        let expected = wishes.expect.iter().flat_map(|(_, text)| expected_in(text)).collect();
        let (file, config) = (file.to_owned(), Arc::new(config));
        let domains = domains.into_iter().collect();
        let trial = Self { file, config, sources, wishes, domains, unmatched, expected };
        trial.read(&trial.draw(1).text())?;
        Ok(trial)
    }

    /// The world of a seed.
    pub fn draw(&self, seed: u64) -> World {
        world::draw(self, seed)
    }

    /// Patterns of the configuration that no world has mail for, because no name was found that
    /// they match.
    pub fn unmatched(&self) -> &[String] {
        &self.unmatched
    }

    /// Lives in a world.
    ///
    /// # Errors
    ///
    /// How a law of the engine broke. The outer error is what is wrong with the world: it does not
    /// go with the configuration.
    pub fn live(&self, text: &str) -> Result<Result<Tried, Fall>, Box<ScenarioError>> {
        let scenario = self.read(text)?;
        let watcher = Arc::new(Watcher::default());
        let observer = Some(Arc::clone(&watcher) as _);
        let options = RunOptions { observer, ..RunOptions::default() };
        let outcome = match run_once(&scenario, Arc::clone(&self.config), options) {
            Ok(outcome) => outcome,
            Err(fall) => return Ok(Err(fall)),
        };
        let mut broken = watcher.finish(outcome.ended_at);
        broken.retain(|one| one.promise != Promise::InClear || self.wants_tls(one));
        for one in &mut broken {
            self.blame_expiration(one);
        }
        let accepted = watcher.accepted();
        for (expectation, result) in scenario.expectations.iter().zip(&outcome.report.expectations)
        {
            // Of mail that there is not, nothing can be expected.
            let covers = |pair: &Pair| expectation.scope.covers(&pair.binding, &pair.domain);
            if result.passed == Some(false) && accepted.iter().any(covers) {
                broken.push(self.broken_expectation(text, result));
            }
        }
        Ok(Ok(Tried { lived: Lived::of(&outcome), broken }))
    }

    /// The world of a seed with less and less in it, as long as the promise still breaks, and how
    /// it breaks there. What is written runs with `traject sim`, and fails.
    pub fn shrink(&self, world: &World, broken: &Broken) -> (String, Broken) {
        let mut last = broken.clone();
        let (nodes, _) = shrink_while(&world.nodes, SHRINK_TRIES_MAX, |text| {
            let Ok(Ok(tried)) = self.live(text) else { return false };
            let like = tried.broken.into_iter().find(|one| one.is_like(broken));
            like.map(|like| last = like).is_some()
        });
        let text = Node::text(&nodes);
        let demand = demand(&text, &last);
        (text + &demand, last)
    }

    /// Where the option that decided has its value from.
    pub fn place(&self, broken: &Broken) -> Option<Place> {
        let (option, pair) = (find_option(broken.option?)?, broken.pair.as_ref()?);
        let question = Question {
            binding: self.known_binding(&pair.binding),
            binding_group: None,
            domain: &pair.domain,
            host: None,
        };
        let explained = self.config.explain(question, option).ok()?;
        let scope = explained.origin.as_ref().map(|origin| match &*origin.scope {
            "global" => String::new(),
            scope => scope.to_owned(),
        });
        if let Some(stanza) = broken.stanza.clone().filter(|stanza| scope.as_ref() != Some(stanza))
        {
            // Of several shared limits another one decided.
            return Some(Place { value: None, stanza: Some(stanza), line: None });
        }
        let line = explained.origin.map(|origin| {
            let span = origin.span;
            format!("{}:{}", self.sources.name(span.file), self.sources.line(span))
        });
        Some(Place { value: explained.value, stanza: scope, line })
    }

    fn read(&self, text: &str) -> Result<Scenario, Box<ScenarioError>> {
        let scenario = scenario::parse(Path::new(WORLD), text);
        let scenario = scenario.map_err(|error| Box::new(self.blame(text, error)))?;
        scenario.check_config(&self.config).map_err(|error| self.blame(text, error))?;
        Ok(scenario)
    }

    /// What is wrong with the user's expectations is said of their file.
    fn blame(&self, text: &str, error: ScenarioError) -> ScenarioError {
        let Some((path, expect)) = &self.wishes.expect else { return error };
        let Some(begin) = text.rfind(expect.as_str()) else { return error };
        let mut diagnostics = error.diagnostics.clone();
        diagnostics.retain(|one| one.span.start >= begin);
        for one in &mut diagnostics {
            one.span = one.span.start - begin..one.span.end.saturating_sub(begin);
        }
        match diagnostics.is_empty() {
            true => error,
            false => ScenarioError { path: path.clone(), source: expect.clone(), diagnostics },
        }
    }

    fn broken_expectation(
        &self,
        text: &str,
        result: &crate::expect::judge::ExpectationResult,
    ) -> Broken {
        let (path, expect) = match &self.wishes.expect {
            Some((path, expect)) => (path.display().to_string(), expect.as_str()),
            None => (String::new(), ""),
        };
        let before = text.rfind(expect).map_or(0, |begin| text[..begin].matches('\n').count());
        let at = result.broken_at_s.unwrap_or_default();
        Broken {
            promise: Promise::Expectation,
            pair: None,
            option: None,
            stanza: Some(format!("{path}:{}", result.line.saturating_sub(before))),
            because: result.expectation.clone(),
            said: Some(match &result.broken_by {
                Some(by) => format!("{}: {by}", result.actual),
                None => result.actual.clone(),
            }),
            times: 1,
            at: std::time::Duration::try_from_secs_f64(at).unwrap_or_default(),
        }
    }

    /// `max_retries = auto` follows from the expiration.
    fn blame_expiration(&self, broken: &mut Broken) {
        if broken.option == Some("max_retries")
            && self.place(broken).and_then(|place| place.value).as_deref() == Some("auto")
        {
            broken.option = Some("message_expiration");
        }
    }

    /// Whether somebody counts on TLS: the user says so, or a stanza of the domain asks for it.
    fn wants_tls(&self, broken: &Broken) -> bool {
        let Some(pair) = &broken.pair else { return false };
        self.counts_on_tls(pair)
    }

    fn counts_on_tls(&self, Pair { binding, domain }: &Pair) -> bool {
        if self.wishes.tls.iter().any(|one| one.eq_ignore_ascii_case(domain)) {
            return true;
        }
        let Some(option) = find_option("tls") else { return false };
        let binding = self.known_binding(binding);
        let question = Question { binding, binding_group: None, domain, host: None };
        let Ok(explained) = self.config.explain(question, option) else { return false };
        let of_domain = explained.origin.is_some_and(|origin| origin.scope.contains("domain \""));
        of_domain && explained.value.is_some_and(|value| value != "no")
    }

    /// Whether mail of some binding to a domain is counted on to have TLS.
    fn expects_tls(&self, domain: &str) -> bool {
        let domain = Arc::<str>::from(domain);
        let pair = |binding: &str| Pair { binding: binding.into(), domain: domain.clone() };
        self.bindings().into_iter().any(|binding| self.counts_on_tls(&pair(binding)))
    }

    fn known_binding<'n>(&self, name: &'n str) -> &'n str {
        if self.config.has_binding(name) { name } else { DEFAULT_BINDING }
    }

    /// Whose mail may be sent: the configured bindings, and the default one.
    fn bindings(&self) -> Vec<&str> {
        let configured: BTreeSet<&str> = self.config.bindings().collect();
        [DEFAULT_BINDING]
            .into_iter()
            .chain(configured.into_iter().filter(|one| *one != DEFAULT_BINDING))
            .collect()
    }
}

/// Whose mail `[[expect]]` tables are about, as far as the text can be read.
fn expected_in(text: &str) -> Vec<Whose> {
    let (root, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(tables)) = root.get_ref().get("expect").map(|all| all.get_ref()) else {
        return Vec::new();
    };
    let whose = |table: &toml::Spanned<DeValue<'_>>| {
        let DeValue::Table(table) = table.get_ref() else { return Whose::default() };
        let text = |key| table.get(key)?.get_ref().as_str().map(str::to_owned);
        // A receiver is named like its domain.
        let domain = text("domain").or_else(|| text("receiver")).map(|name| name.to_lowercase());
        Whose { binding: text("binding"), domain }
    };
    tables.iter().map(whose).collect()
}

/// The expectation that a world breaks, so that `traject sim` shows it and what led to it.
fn demand(text: &str, broken: &Broken) -> String {
    let Some(Pair { binding, domain }) = &broken.pair else { return String::new() };
    let (condition, reply) = match (broken.promise, &broken.said) {
        (Promise::Expectation, _) | (Promise::LimitExceeded, None) => return String::new(),
        (Promise::InClear, _) => ("that = \"plaintext == 0\"", None),
        (Promise::LimitExceeded, Some(said)) => ("never = \"replies > 0\"", Some(said)),
        (Promise::ExpiredUntried | Promise::Expired, _) => ("that = \"expired == 0\"", None),
        (Promise::FailedByUs, _) => ("that = \"bounced == 0\"", None),
        (Promise::Starved, _) => ("that = \"t100 <= 1h\"", None),
        (Promise::Left, _) => ("that = \"pending == 0\"", None),
    };
    let mut demand = format!("\n[[expect]]\n{condition}\nbinding = \"{binding}\"\n");
    // Mail behind a gateway is the gateway's, whose domain may be nobody's.
    if text.contains(&format!("domains = [\"{domain}\"]")) {
        demand += &format!("domain = \"{domain}\"\n");
    }
    if let Some(reply) = reply {
        let quoted = reply.replace('\\', "\\\\").replace('"', "\\\"");
        demand += &format!("reply = \"{quoted}\"\n");
    }
    demand
}

/// What a world is called where it has no file.
const WORLD: &str = "world.toml";

/// Worlds that are run to make one smaller.
const SHRINK_TRIES_MAX: usize = 100;

#[cfg(test)]
mod tests;
