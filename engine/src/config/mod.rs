//! The configuration language of `ecelerity.conf`: its grammar, its options, its scopes and
//! fallback.
//!
//! ```text
//! text ─ lexer, parser ─► ast ─ loader ─► files with includes ─ tree ─► merged, typed stanzas
//!      ─ compile ─► Config ─ resolve ─► DeliveryOptions, ReceptionOptions, ServerOptions
//! ```
//!
//! Nothing stops at the first mistake: every step reports [`Diagnostic`]s and goes on.

mod acl;
mod amend;
pub mod ast;
mod checks;
mod cidr;
mod compile;
pub mod diagnostic;
mod domain;
pub mod effective;
mod endpoint;
pub mod explain;
mod groups;
mod lexer;
pub mod lint;
mod loader;
#[cfg(test)]
mod manual_tests;
pub mod memo;
mod names;
pub mod options;
mod parser;
mod pattern;
pub mod print;
#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
mod resolution_tests;
mod resolve;
pub mod routes;
pub mod scope;
pub mod source;
mod suggest;
#[cfg(test)]
mod syntax_tests;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
mod tree;
pub mod value;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

pub use amend::Amendment;
pub use cidr::{Cidr, CidrError};
pub use diagnostic::{Diagnostic, Severity};
pub use source::{ConfigFiles, FileError, FileId, SourceFile, Sources, Span};

use self::compile::Compiled;
use self::diagnostic::Findings;
use self::effective::{
    Blackhole, BounceBehavior, DefaultBinding, DeliveryOptions, GroupMember, ListenEndpoint,
    LogFile, LogKind, ReceptionOptions, SecurityOptions, ServerOptions, SharedCap,
};
use self::groups::Groups;
use self::resolve::{Chain, Defaults};
use self::scope::ScopeKind;
use crate::ids::ListenerId;
use crate::smtp::address::Mailbox;
use crate::smtp::server::relay::matches;
use crate::tls::params::TlsParams;

/// The binding of mail that nothing assigns to another, and the group it is in.
pub const DEFAULT_BINDING: &str = tree::DEFAULT;

/// A configuration that can be used: without errors, compiled for look-ups.
#[derive(Debug)]
pub struct Config {
    compiled: Compiled,
    defaults: Defaults,
    server: ServerOptions,
    listeners: Vec<ListenEndpoint>,
    groups: Groups,
    /// `blackhole` is set somewhere.
    discards_mail: bool,
}

/// What the machine contributes to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// The system's own name, used where the configuration sets no `hostname`.
    pub hostname: String,
}

/// The outcome of [`Config::load`].
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless there are errors.
    pub config: Option<Config>,
    /// What was found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that [`Span`]s point into.
    pub sources: Sources,
}

impl Config {
    /// Reads the configuration that starts with the file `entry`.
    pub fn load(entry: &str, files: &mut dyn ConfigFiles, host: &HostFacts) -> Loaded {
        Self::load_amended(entry, files, host, &[])
    }

    /// Reads the configuration that starts with the file `entry`, with some options set otherwise.
    pub fn load_amended(
        entry: &str,
        files: &mut dyn ConfigFiles,
        host: &HostFacts,
        amendments: &[Amendment],
    ) -> Loaded {
        let mut findings = Findings::default();
        let (trees, mut sources) = loader::load(entry, files, &mut findings);
        let changes = amend::read(amendments, &mut sources, &mut findings);
        let root = tree::build(&trees, &changes, &mut findings);
        let compiled = compile::compile(root, &mut findings);
        let config = (!findings.has_errors()).then(|| Self::new(compiled, host));
        if let Some(config) = &config {
            lint::run(&config.compiled, &config.defaults, &mut findings);
        }
        Loaded { config, diagnostics: findings.finish(), sources }
    }

    /// Reads a configuration that is one text and includes nothing, on a machine called
    /// `localhost.test`. Warnings are dropped.
    pub fn from_text(text: &str) -> Result<Self, Vec<Diagnostic>> {
        struct OneText<'a>(&'a str);
        impl ConfigFiles for OneText<'_> {
            fn read(
                &mut self,
                path: &str,
                from: Option<&str>,
            ) -> Result<Vec<SourceFile>, FileError> {
                if from.is_some() {
                    return Err(FileError::NotFound);
                }
                Ok([SourceFile { name: path.to_owned(), text: self.0.to_owned() }].into())
            }
        }
        let host = HostFacts { hostname: "localhost.test".to_owned() };
        let loaded = Self::load("inline.conf", &mut OneText(text), &host);
        loaded.config.ok_or(loaded.diagnostics)
    }

    /// The options of mail of `binding` to `domain`. An unknown binding is resolved as `default`.
    pub fn delivery_options(&self, binding: &str, domain: &str) -> DeliveryOptions {
        let chain = Chain::of_pair(&self.compiled, &self.defaults, binding, domain);
        let mut options = resolve::delivery(&chain, &self.server.hostname, domain);
        let unassigned = binding == DEFAULT_BINDING || !self.has_binding(binding);
        options.suspend_delivery |= unassigned && self.holds_default_binding();
        if self.relays_for(domain) {
            options.fully_resolve_before_smtp = true;
            options.only_best_mx = self.server.only_use_best_mx_for_relay_domains;
        }
        options
    }

    /// Whether mail of `binding` to `domain` is discarded. With a `gateway`, the gateway's options
    /// say so.
    pub fn blackhole(&self, binding: &str, domain: &str) -> Blackhole {
        if !self.discards_mail {
            return Blackhole::No;
        }
        let chain = Chain::of_pair(&self.compiled, &self.defaults, binding, domain);
        match resolve::gateway(&chain) {
            None => resolve::blackhole(&chain),
            Some(gateway) => {
                let chain = Chain::of_pair(&self.compiled, &self.defaults, binding, &gateway);
                resolve::blackhole(&chain)
            }
        }
    }

    /// What becomes of mail to an address if it is taken for a bounce; `None` if it is mail like
    /// any other.
    pub fn bounce_behavior(&self, mailbox: &Mailbox) -> Option<BounceBehavior> {
        let domains = &self.server.bounce_domains;
        if !domains.iter().any(|pattern| matches(pattern, &mailbox.domain)) {
            return None;
        }
        let (compiled, defaults) = (&self.compiled, &self.defaults);
        let chain = Chain::of_pair(compiled, defaults, DEFAULT_BINDING, &mailbox.domain);
        resolve::bounce(&chain, &mailbox.to_string())
    }

    /// The cap on connections to the exchange `host` for mail of `binding`, if a `host` stanza sets
    /// one.
    pub fn host_cap(&self, binding: &str, host: &str) -> Option<SharedCap> {
        if !self.compiled.has_hosts() {
            return None;
        }
        resolve::host_cap(&Chain::of_host(&self.compiled, &self.defaults, binding, host))
    }

    /// The options of a client at `peer` that connected to `listener`. A listener that this
    /// configuration does not have gives its clients the options of the global scope.
    pub fn reception_options(&self, listener: ListenerId, peer: IpAddr) -> ReceptionOptions {
        let chain = match self.compiled.endpoints.get(listener.0 as usize) {
            Some(endpoint) => Chain::of_client(&self.compiled, &self.defaults, endpoint, peer),
            None => Chain::of_server(&self.compiled, &self.defaults),
        };
        resolve::reception(&chain, &self.server, peer)
    }

    /// Every handshake the configuration can ask for, as far as files and offers go: what a process
    /// should try to load before it begins. Names of exchanges are left empty.
    pub fn tls_params(&self) -> Vec<TlsParams> {
        lint::View { compiled: &self.compiled, defaults: &self.defaults }.tls_params()
    }

    /// The options of the process.
    pub const fn server_options(&self) -> &ServerOptions {
        &self.server
    }

    /// Who the process is to run as.
    pub fn security_options(&self) -> SecurityOptions {
        resolve::security(&Chain::of_security(&self.compiled, &self.defaults))
    }

    /// The log files that `ec_logger` and `bounce_logger` name.
    pub fn log_files(&self) -> Vec<LogFile> {
        let kinds = [LogKind::Main, LogKind::Reject, LogKind::Bounce];
        let of = |kind: LogKind| self.loggers_of(kind).map(move |chain| resolve::log(kind, &chain));
        kinds.into_iter().flat_map(of).filter(|file| file.path.is_some()).collect()
    }

    /// What the first stanza says about files of a kind; the built-in values if there is none.
    pub fn log_file(&self, kind: LogKind) -> LogFile {
        let nothing = || Chain::new(Vec::new(), &self.defaults);
        resolve::log(kind, &self.loggers_of(kind).next().unwrap_or_else(nothing))
    }

    fn loggers_of(&self, kind: LogKind) -> impl Iterator<Item = Chain<'_>> {
        let scope = match kind {
            LogKind::Main | LogKind::Reject => ScopeKind::EcLogger,
            LogKind::Bounce => ScopeKind::BounceLogger,
        };
        let stanzas = self.compiled.loggers.iter().filter(move |(kind, _)| *kind == scope);
        let chains = stanzas.map(|(_, layer)| Chain::new([layer].into(), &self.defaults));
        chains.filter(Chain::is_enabled)
    }

    /// The sockets to listen on; the position of each is its [`ListenerId`].
    pub fn listeners(&self) -> &[ListenEndpoint] {
        &self.listeners
    }

    /// Whether there is a binding of that name. `default` is always there.
    pub fn has_binding(&self, name: &str) -> bool {
        name == DEFAULT_BINDING || self.compiled.bindings.contains_key(name)
    }

    /// The bindings that are configured; `default` may be one of them.
    pub fn bindings(&self) -> impl Iterator<Item = &str> {
        self.compiled.bindings.keys().map(|name| &**name)
    }

    /// The bindings of a group, in the order of their names; none if there is no such group.
    pub fn group_members(&self, group: &str) -> &[GroupMember] {
        self.groups.get(group).map_or(&[], |members| &members[..])
    }

    /// The names of all `domain` stanzas that are no patterns, wherever they stand.
    pub fn domain_names(&self) -> BTreeSet<&str> {
        self.compiled
            .containers()
            .flat_map(|one| one.domains.exact())
            .map(|(name, _)| name)
            .collect()
    }

    /// The patterns of all `domain` stanzas, wherever they stand, each with a name it matches: one
    /// of `known` if it can be, else one that is made up. `None` where neither is found.
    pub fn domain_patterns(&self, known: &[&str]) -> BTreeMap<&str, Option<String>> {
        let patterns = self.compiled.containers().flat_map(|one| one.domains.patterns());
        let named = patterns.map(|(regex, _)| {
            let known = known.iter().find(|name| regex.is_match(name));
            (regex.as_str(), known.map(ToString::to_string).or_else(|| pattern::sample(regex)))
        });
        named.collect()
    }

    /// Whether a domain is in `relay_domains`.
    fn relays_for(&self, domain: &str) -> bool {
        let domain = domain::key(domain);
        self.server.relay_domains.iter().any(|pattern| matches(pattern, &domain))
    }

    /// Whether the binding `default` is held (`default_binding = suspended`).
    pub(crate) fn holds_default_binding(&self) -> bool {
        self.server.default_binding == DefaultBinding::Suspended
    }

    fn new(compiled: Compiled, host: &HostFacts) -> Self {
        let defaults = resolve::defaults();
        let hostname = Arc::from(host.hostname.as_str());
        let server = resolve::server(&Chain::of_server(&compiled, &defaults), &hostname);
        let listeners = compiled.endpoints.iter().map(|endpoint| endpoint.public.clone()).collect();
        let groups = groups::members(&compiled, &defaults, server.default_binding);
        let discards_mail = compiled.sets(const { options::id("blackhole") });
        Self { compiled, defaults, server, listeners, groups, discards_mail }
    }
}
