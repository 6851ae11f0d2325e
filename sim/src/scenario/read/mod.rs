//! From text to [`Scenario`], one file a section.

mod dns;
mod event;
mod expect;
mod fault;
mod limit;
mod profile;
mod receiver;
mod response;
mod tls;
mod traffic;
mod uncertain;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

pub use profile::parse_profile;

use super::diagnostic::{Diagnostics, ScenarioError, nearest};
use super::reader::Table;
use super::{ConfigSource, Places, Scenario, SpoolKind, units};
use crate::dns::DnsSpec;
use crate::event::{EventKind, EventSpec};
use crate::fault::{FaultKind, FaultSpec};
use crate::network::{Prefix, PrefixError};
use crate::receiver::spec::ReceiverSpec;
use crate::traffic::address_of_literal;

/// Reads a scenario. `path` is where it came from: for messages, and for relative names in it.
pub fn parse(path: &Path, source: &str) -> Result<Scenario, ScenarioError> {
    let diagnostics = Diagnostics::default();
    let (root, syntax_errors) = DeTable::parse_recoverable(source);
    for error in &syntax_errors {
        let span = error.span().unwrap_or(0..0);
        diagnostics.error(span, error.message().replace('\n', ", "));
    }
    let scenario = if syntax_errors.is_empty() {
        let root = Table::new(root.get_ref(), 0..0, &diagnostics);
        read_scenario(path, source, root)
    } else {
        None
    };
    let found = diagnostics.into_sorted();
    match scenario {
        Some(scenario) if found.is_empty() => Ok(scenario),
        _ => Err(ScenarioError {
            path: path.to_owned(),
            source: source.to_owned(),
            diagnostics: found,
        }),
    }
}

fn read_scenario(path: &Path, source: &str, root: Table<'_>) -> Option<Scenario> {
    let title = root.text("title").map(Spanned::into_inner);
    if title.is_none() && !root.has("title") {
        root.missing("title", "one line that says what the scenario shows");
    }
    let description = root.text("description").map(Spanned::into_inner).unwrap_or_default();
    let seed = root.integer("seed", 0..u64::MAX).map_or(1, Spanned::into_inner);
    let horizon = read_horizon(&root);
    let config = read_config(path, &root);
    let mut places = Places::default();
    let receivers = receiver::read_all(path, &root, &mut places);
    let dns = dns::read(&root);
    let names = Names::of(&receivers, &dns);
    let traffic = traffic::read_all(path, &root, &names, &mut places);
    let faults = fault::read_all(&root, &names, &mut places);
    let events = event::read_all(path, &root, &mut places);
    let spool = read_spool(&root, &faults, &events);
    let expectations = expect::read_all(&root, &names, (source, &faults), &mut places);
    root.finish();
    Some(Scenario {
        path: path.to_owned(),
        title: title?,
        description,
        seed,
        horizon: horizon?,
        config: config?,
        traffic,
        receivers,
        dns,
        faults,
        events,
        spool,
        expectations,
        amendments: Vec::new(),
        source: source.to_owned(),
        places,
    })
}

/// The journal, wherever its disk matters.
fn read_spool(root: &Table<'_>, faults: &[FaultSpec], events: &[EventSpec]) -> SpoolKind {
    let kinds = [("memory", SpoolKind::Memory), ("journal", SpoolKind::Journal)];
    let asked = root.word("spool", &kinds);
    let dies = |event: &EventSpec| {
        matches!(event.what, EventKind::Crash { .. } | EventKind::PowerCut { .. })
    };
    let breaks = |fault: &FaultSpec| matches!(fault.what, FaultKind::Disk(_));
    let broken = faults.iter().any(breaks);
    if broken && asked == Some(SpoolKind::Memory) {
        let message = "a spool in memory has no disk that could break";
        let span = root.get("spool").map_or(0..0, Spanned::span);
        root.diagnostics().error(span, message);
    }
    match broken || events.iter().any(dies) {
        true => asked.unwrap_or(SpoolKind::Journal),
        false => asked.unwrap_or_default(),
    }
}

fn read_horizon(root: &Table<'_>) -> Option<Duration> {
    if !root.has("horizon") {
        root.missing("horizon", "how long to simulate at most: `horizon = \"1d\"`");
    }
    let horizon = root.parsed("horizon", units::duration)?;
    if *horizon.get_ref() > HORIZON_MAX || horizon.get_ref().is_zero() {
        root.diagnostics().error(horizon.span(), "`horizon` must be between 1us and 366d");
        return None;
    }
    Some(horizon.into_inner())
}

fn read_config(path: &Path, root: &Table<'_>) -> Option<ConfigSource> {
    match (root.text("config"), root.text("config_text")) {
        (Some(file), None) => {
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            Some(ConfigSource::File(folder.join(file.into_inner())))
        }
        (None, Some(text)) => Some(ConfigSource::Inline(text.into_inner())),
        (Some(_), Some(text)) => {
            let hint = "keep one of them";
            let message = "`config` and `config_text` cannot both be given";
            root.diagnostics().error_with_hint(text.span(), message, hint);
            None
        }
        (None, None) => {
            if !root.has("config") && !root.has("config_text") {
                let hint = "`config = \"configs/my.conf\"`, a path relative to this file, \
                            or the text itself as `config_text`";
                root.missing("config", hint);
            }
            None
        }
    }
}

/// What the sections of a scenario call each other.
struct Names {
    /// Receiver → its domains, hosts and addresses.
    receivers: BTreeMap<String, ReceiverSpec>,
    /// Every domain and host the DNS knows.
    domains: BTreeSet<Arc<str>>,
}

impl Names {
    fn of(receivers: &[ReceiverSpec], dns: &DnsSpec) -> Self {
        let by_name = |spec: &ReceiverSpec| (spec.name.to_string(), spec.clone());
        let mut domains: BTreeSet<Arc<str>> =
            dns.names.iter().map(|name| Arc::clone(&name.name)).collect();
        domains.extend(receivers.iter().flat_map(|spec| spec.domains.iter().cloned()));
        Self { receivers: receivers.iter().map(by_name).collect(), domains }
    }

    /// Whether somebody receives mail for `domain`, or the DNS knows it.
    fn receives(&self, domain: &str) -> bool {
        match address_of_literal(domain) {
            Some(address) => {
                let mut exchanges = self.receivers.values().flat_map(|spec| &spec.exchanges);
                exchanges.any(|exchange| exchange.addresses.contains(&address))
            }
            None => self.domains.contains(domain),
        }
    }

    /// Whether mail to `domain` can be meant; if not, a diagnostic.
    fn check_domain(&self, table: &Table<'_>, span: Range<usize>, domain: &str) {
        if let Some(address) = address_of_literal(domain) {
            let mut exchanges = self.receivers.values().flat_map(|spec| &spec.exchanges);
            if !exchanges.any(|exchange| exchange.addresses.contains(&address)) {
                table.diagnostics().error(span, format!("no exchange is at {address}"));
            }
        } else if !self.domains.contains(domain) {
            let message = format!("nobody receives mail for `{domain}`");
            let known = self.domains.iter().map(|domain| &**domain);
            if nearest(domain, known.clone()).is_some() {
                table.diagnostics().unknown(span, message, domain, known);
            } else {
                let hint = "give it to a `[[receiver]]`, or to the DNS alone as `[[dns.name]]`";
                table.diagnostics().error_with_hint(span, message, hint);
            }
        }
    }

    /// The addresses of an exchange, named or itself an address; none and a diagnostic if there is
    /// no such exchange.
    fn addresses(&self, table: &Table<'_>, named: &Spanned<String>) -> Vec<IpAddr> {
        let text = named.get_ref();
        let exchanges = || self.receivers.values().flat_map(|spec| &spec.exchanges);
        if let Ok(address) = text.parse::<IpAddr>() {
            if exchanges().any(|exchange| exchange.addresses.contains(&address)) {
                return vec![address];
            }
            table.diagnostics().error(named.span(), format!("no exchange is at {address}"));
            return Vec::new();
        }
        if let Some(exchange) = exchanges().find(|exchange| *exchange.host == **text) {
            return exchange.addresses.clone();
        }
        let message = format!("there is no exchange `{text}`");
        let known = exchanges().map(|exchange| &*exchange.host);
        table.diagnostics().unknown(named.span(), message, text, known);
        Vec::new()
    }

    /// The receiver named by `key`, or a diagnostic.
    fn receiver<'n>(&'n self, table: &Table<'_>, key: &'static str) -> Option<&'n ReceiverSpec> {
        let name = table.text(key)?;
        let found = self.receivers.get(name.get_ref());
        if found.is_none() {
            let message = format!("there is no receiver `{}`", name.get_ref());
            let known = self.receivers.keys().map(String::as_str);
            table.diagnostics().unknown(name.span(), message, name.get_ref(), known);
        }
        found
    }
}

/// Some of our addresses, as `source` names them.
fn read_prefix(table: &Table<'_>, text: &Spanned<String>) -> Option<Spanned<Prefix>> {
    match text.get_ref().parse() {
        Ok(prefix) => Some(Spanned::new(text.span(), prefix)),
        Err(why) => {
            let why: PrefixError = why;
            table.diagnostics().error(text.span(), format!("`source`: {why}"));
            None
        }
    }
}

/// A prefix as people write it.
fn show_prefix(prefix: Prefix) -> String {
    let text = prefix.to_string();
    let single = text.strip_suffix("/32").or_else(|| text.strip_suffix("/128"));
    single.map_or_else(|| text.clone(), str::to_owned)
}

/// Longest horizon: beyond it a scenario is a mistake.
const HORIZON_MAX: Duration = Duration::from_secs(366 * 86_400);
