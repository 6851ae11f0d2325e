//! From merged stanzas to the structures of a [`Config`](super::Config).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use regex::Regex;

use super::cidr::Cidr;
use super::diagnostic::{Diagnostic, Findings};
use super::effective::ListenEndpoint;
use super::endpoint::{self, Families};
use super::options::id;
use super::scope::ScopeKind;
use super::source::Span;
use super::suggest::did_you_mean;
use super::tree::{DEFAULT, Settings, Stanza};
use super::value::Value;
use super::{domain, pattern};
use crate::ids::ListenerId;

/// The global scope, a group or a binding.
#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) settings: Settings,
    pub(super) domains: Domains,
}

/// The domain stanzas of a container.
#[derive(Debug, Default)]
pub(super) struct Domains {
    /// By the domain's key.
    exact: BTreeMap<Arc<str>, Settings>,
    /// In file order.
    patterns: Vec<(Regex, Settings)>,
}

impl Domains {
    /// The settings that apply to a domain (in the form of [`domain::key`]), most specific first.
    pub(super) fn matching<'a>(&'a self, domain: &str) -> impl Iterator<Item = &'a Settings> {
        let exact = self.exact.get(domain);
        let patterns = self.patterns.iter().filter(move |(regex, _)| regex.is_match(domain));
        exact.into_iter().chain(patterns.map(|(_, settings)| settings))
    }
}

/// A binding and the group it is in.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) group: Option<Arc<str>>,
    pub(super) container: Container,
    heading: Span,
}

/// One endpoint of the ESMTP listener.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) public: ListenEndpoint,
    pub(super) settings: Settings,
    /// Entries of the list form, in order.
    pub(super) entries: Vec<Block>,
    /// `Peer` stanzas of the endpoint.
    pub(super) peers: Vec<Block>,
    /// The listener it belongs to.
    pub(super) listener: usize,
}

/// Settings for the clients of a network.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) network: Cidr,
    pub(super) settings: Settings,
}

/// What the endpoints of one `ESMTP_Listener` have in common.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) settings: Settings,
    pub(super) peers: Vec<Block>,
}

/// Everything, compiled.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) global: Container,
    pub(super) groups: BTreeMap<Arc<str>, Container>,
    pub(super) bindings: BTreeMap<Arc<str>, Binding>,
    pub(super) listeners: Vec<Listener>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// Compiles the tree. What is found wrong goes to `findings`; the result then counts for nothing.
pub(super) fn compile(root: Stanza, findings: &mut Findings) -> Compiled {
    let mut compiler = Compiler { out: Compiled::default(), findings };
    let (container, rest) = container(root);
    compiler.out.global = container;
    for stanza in rest {
        match stanza.kind {
            ScopeKind::BindingGroup => compiler.group(stanza),
            ScopeKind::Binding => compiler.binding(stanza, None),
            ScopeKind::EsmtpListener => compiler.listener(stanza),
            _ => {}
        }
    }
    compiler.check_contexts();
    compiler.out
}

struct Compiler<'a> {
    out: Compiled,
    findings: &'a mut Findings,
}

impl Compiler<'_> {
    fn group(&mut self, stanza: Stanza) {
        let name = stanza.name.clone();
        let (container, rest) = container(stanza);
        for binding in rest.into_iter().filter(|stanza| stanza.kind == ScopeKind::Binding) {
            self.binding(binding, Some(name.clone()));
        }
        self.out.groups.insert(name, container);
    }

    fn binding(&mut self, stanza: Stanza, group: Option<Arc<str>>) {
        let (name, heading) = (stanza.name.clone(), stanza.heading);
        if let Some(other) = self.out.bindings.get(&name) {
            let place = |group: &Option<Arc<str>>| match group {
                Some(group) => format!("in group `{group}`"),
                None => "in no group".into(),
            };
            self.findings.push(
                Diagnostic::error(heading, format!("binding `{name}` belongs to two groups"))
                    .label(place(&group))
                    .related(other.heading, place(&other.group))
                    .help("a binding is in one group or in none; use another name for one of them"),
            );
            return;
        }
        let (container, _) = container(stanza);
        self.out.bindings.insert(name, Binding { group, container, heading });
    }

    fn listener(&mut self, stanza: Stanza) {
        let listener = self.out.listeners.len();
        let (children, peers) = split_peers(stanza.children, self.findings);
        self.out.listeners.push(Listener { settings: stanza.settings, peers });
        for listen in children.into_iter().filter(|child| child.kind == ScopeKind::Listen) {
            self.endpoint(listen, listener);
        }
    }

    fn endpoint(&mut self, listen: Stanza, listener: usize) {
        let word = |name| match listen.settings.get(&name).map(|setting| &setting.value) {
            Some(Value::Word(word)) => *word,
            _ => "both",
        };
        let families = Families::from_proto(word(const { id("proto") }));
        let addresses = match endpoint::addresses(&listen.name, families) {
            Ok(addresses) => addresses,
            Err(why) => return self.findings.push(endpoint::error(listen.heading, &why)),
        };
        let inherited = &self.out.listeners[listener].settings;
        let own_or_inherited = |id| {
            let setting = listen.settings.get(&id).or_else(|| inherited.get(&id));
            setting.map(|setting| &setting.value)
        };
        if own_or_inherited(const { id("enable") }) == Some(&Value::Bool(false)) {
            return;
        }
        let backlog = match own_or_inherited(const { id("listen_backlog") }) {
            // The type's range fits.
            Some(Value::Int(backlog)) => *backlog as u32,
            _ => DEFAULT_BACKLOG,
        };
        self.report_double_use(&addresses, listen.heading);
        let (children, peers) = split_peers(listen.children, self.findings);
        let entries =
            children.into_iter().filter_map(|entry| block(entry, self.findings)).collect();
        let id = ListenerId(self.out.endpoints.len() as u32);
        let public = ListenEndpoint { id, addresses: addresses.into(), backlog };
        let settings = listen.settings;
        self.out.endpoints.push(Endpoint { public, settings, entries, peers, listener });
    }

    /// Two endpoints cannot have one address, unless the system chooses the port.
    fn report_double_use(&mut self, addresses: &[SocketAddr], heading: Span) {
        let used = |address: &&SocketAddr| {
            let mut others = self.out.endpoints.iter().flat_map(|other| &*other.public.addresses);
            address.port() != 0 && others.any(|other| other == *address)
        };
        if let Some(address) = addresses.iter().find(used) {
            let message = format!("another endpoint listens on {address} already");
            self.findings.push(Diagnostic::error(heading, message));
        }
    }

    /// The binding that a listener's context names must exist.
    fn check_contexts(&mut self) {
        let Compiled { bindings, listeners, endpoints, .. } = &self.out;
        let of_listeners = listeners.iter().flat_map(|listener| {
            let blocks = listener.peers.iter().map(|block| &block.settings);
            core::iter::once(&listener.settings).chain(blocks)
        });
        let of_endpoints = endpoints.iter().flat_map(|endpoint| {
            let blocks = endpoint.entries.iter().chain(&endpoint.peers);
            core::iter::once(&endpoint.settings).chain(blocks.map(|block| &block.settings))
        });
        for settings in of_listeners.chain(of_endpoints) {
            let Some(setting) = settings.get(&const { id("context") }) else { continue };
            let Value::Map(map) = &setting.value else { continue };
            let Some(name) = map.get("binding") else { continue };
            if &**name != DEFAULT && !bindings.contains_key(name) {
                let message = format!("there is no binding `{name}`");
                let mut finding = Diagnostic::error(setting.span, message);
                finding.help = did_you_mean(name, bindings.keys().map(|name| &**name));
                self.findings.push(finding);
            }
        }
    }
}

/// Backlog of an endpoint that sets none.
const DEFAULT_BACKLOG: u32 = 500;

/// A container, and the stanzas inside that are not domains.
fn container(stanza: Stanza) -> (Container, Vec<Stanza>) {
    let mut domains = Domains::default();
    let mut rest = Vec::new();
    for child in stanza.children {
        match (child.kind, domain::regex_of(&child.name)) {
            (ScopeKind::Domain, None) => {
                domains.exact.insert(child.name, child.settings);
            }
            (ScopeKind::Domain, Some(regex)) => {
                // What does not compile was reported and has no stanza.
                if let Ok(regex) = pattern::compile(regex) {
                    domains.patterns.push((regex, child.settings));
                }
            }
            _ => rest.push(child),
        }
    }
    (Container { settings: stanza.settings, domains }, rest)
}

fn split_peers(children: Vec<Stanza>, findings: &mut Findings) -> (Vec<Stanza>, Vec<Block>) {
    let (peers, rest): (Vec<_>, Vec<_>) =
        children.into_iter().partition(|child| child.kind == ScopeKind::Peer);
    (rest, peers.into_iter().filter_map(|peer| block(peer, findings)).collect())
}

fn block(stanza: Stanza, findings: &mut Findings) -> Option<Block> {
    match Cidr::parse(&stanza.name) {
        Ok(network) => Some(Block { network, settings: stanza.settings }),
        Err(why) => {
            let message = format!("`{}`: {why}", stanza.name);
            let help = "write an address, a slash and a number of bits: `192.0.2.0/24`";
            findings.push(Diagnostic::error(stanza.heading, message).help(help));
            None
        }
    }
}
