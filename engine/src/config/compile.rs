//! From merged stanzas to the structures of a [`Config`](super::Config).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::cidr::Cidr;
use super::diagnostic::{Diagnostic, Findings};
use super::effective::ListenEndpoint;
use super::endpoint::{self, Families};
use super::names::Names;
use super::options::{OptionId, id};
use super::scope::ScopeKind;
use super::source::Span;
use super::suggest::did_you_mean;
use super::tree::{DEFAULT, Settings, Stanza};
use super::value::Value;
use crate::ids::ListenerId;

/// The options set in one place, and which place that is.
#[derive(Debug)]
pub(super) struct Layer {
    /// The stanzas it is in, from outside: `binding "red" domain "x.test"`. Empty for the global
    /// scope.
    pub(super) scope: Arc<str>,
    /// Where the stanza begins.
    pub(super) heading: Span,
    pub(super) settings: Settings,
}

/// The global scope, a group or a binding.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) layer: Layer,
    pub(super) domains: Names,
    pub(super) hosts: Names,
}

/// A binding and the group it is in.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) group: Option<Arc<str>>,
    pub(super) container: Container,
}

/// One endpoint of the ESMTP listener.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) public: ListenEndpoint,
    pub(super) layer: Layer,
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
    pub(super) layer: Layer,
}

/// What the endpoints of one `ESMTP_Listener` have in common.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) layer: Layer,
    pub(super) peers: Vec<Block>,
}

/// Everything, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) global: Container,
    pub(super) groups: BTreeMap<Arc<str>, Container>,
    pub(super) bindings: BTreeMap<Arc<str>, Binding>,
    pub(super) listeners: Vec<Listener>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) security: Option<Layer>,
    /// `ec_logger` and `bounce_logger`, in the order of the text.
    pub(super) loggers: Vec<(ScopeKind, Layer)>,
}

impl Compiled {
    /// A binding's own stanza and its group's. A binding that is not configured is the default one.
    pub(super) fn containers_of(&self, binding: &str) -> [Option<&Container>; 2] {
        let binding = self.bindings.get(binding).or_else(|| self.bindings.get(DEFAULT));
        let group = match binding {
            Some(binding) => binding.group.as_deref(),
            None => Some(DEFAULT),
        };
        let group = group.and_then(|group| self.groups.get(group));
        [binding.map(|binding| &binding.container), group]
    }

    /// Everything that may hold stanzas of domains and hosts.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container> {
        let bindings = self.bindings.values().map(|binding| &binding.container);
        [&self.global].into_iter().chain(self.groups.values()).chain(bindings)
    }

    /// Whether there is a `host` stanza anywhere.
    pub(super) fn has_hosts(&self) -> bool {
        self.containers().any(|container| !container.hosts.is_empty())
    }

    /// Whether an option is set anywhere outside of listeners.
    pub(super) fn sets(&self, id: OptionId) -> bool {
        self.containers().any(|container| {
            let exact = container.domains.exact().map(|(_, layer)| layer);
            let patterns = container.domains.patterns().map(|(_, layer)| layer);
            let mut layers = exact.chain(patterns).chain([&container.layer]);
            layers.any(|layer| layer.settings.contains_key(&id))
        })
    }
}

/// Compiles the tree. What is found wrong goes to `findings`; the result then counts for nothing.
pub(super) fn compile(root: Stanza, findings: &mut Findings) -> Compiled {
    let (global, rest) = container(root, "");
    let out = Compiled {
        global,
        groups: BTreeMap::new(),
        bindings: BTreeMap::new(),
        listeners: Vec::new(),
        endpoints: Vec::new(),
        security: None,
        loggers: Vec::new(),
    };
    let mut compiler = Compiler { out, findings };
    for mut stanza in rest {
        match stanza.kind {
            ScopeKind::BindingGroup => compiler.group(stanza),
            ScopeKind::Binding => compiler.binding(stanza, None),
            ScopeKind::EsmtpListener => compiler.listener(stanza),
            ScopeKind::Security => compiler.out.security = Some(layer(&mut stanza, "")),
            kind @ (ScopeKind::EcLogger | ScopeKind::BounceLogger) => {
                compiler.out.loggers.push((kind, layer(&mut stanza, "")));
            }
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
        let (container, rest) = container(stanza, "");
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
                    .related(other.container.layer.heading, place(&other.group))
                    .help("a binding is in one group or in none; use another name for one of them"),
            );
            return;
        }
        let outside = match &group {
            Some(group) if (&**group, &*name) != (DEFAULT, DEFAULT) => {
                format!("binding_group \"{group}\"")
            }
            _ => String::new(),
        };
        let (container, _) = container(stanza, &outside);
        self.out.bindings.insert(name, Binding { group, container });
    }

    fn listener(&mut self, mut stanza: Stanza) {
        let listener = self.out.listeners.len();
        let layer = layer(&mut stanza, "");
        let (children, peers) = split_peers(stanza.children, &layer.scope, self.findings);
        self.out.listeners.push(Listener { layer, peers });
        for listen in children.into_iter().filter(|child| child.kind == ScopeKind::Listen) {
            self.endpoint(listen, listener);
        }
    }

    fn endpoint(&mut self, mut listen: Stanza, listener: usize) {
        let word = |name| match listen.settings.get(&name).map(|setting| &setting.value) {
            Some(Value::Word(word)) => *word,
            _ => "both",
        };
        let families = Families::from_proto(word(const { id("proto") }));
        let addresses = match endpoint::addresses(&listen.name, families) {
            Ok(addresses) => addresses,
            Err(why) => return self.findings.push(endpoint::error(listen.heading, &why)),
        };
        let inherited = &self.out.listeners[listener].layer;
        let own_or_inherited = |id| {
            let setting = listen.settings.get(&id).or_else(|| inherited.settings.get(&id));
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
        let layer = layer(&mut listen, &self.out.listeners[listener].layer.scope);
        let (children, peers) = split_peers(listen.children, &layer.scope, self.findings);
        let entries = children
            .into_iter()
            .filter_map(|entry| block(entry, &layer.scope, self.findings))
            .collect();
        let id = ListenerId(self.out.endpoints.len() as u32);
        let public = ListenEndpoint { id, addresses: addresses.into(), backlog };
        self.out.endpoints.push(Endpoint { public, layer, entries, peers, listener });
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

    /// The binding that a listener's context names must exist, and the group must have one.
    fn check_contexts(&mut self) {
        let Compiled { bindings, groups, listeners, endpoints, .. } = &self.out;
        let mut problems = Vec::new();
        let of_listeners = listeners.iter().flat_map(|listener| {
            let blocks = listener.peers.iter().map(|block| &block.layer);
            core::iter::once(&listener.layer).chain(blocks)
        });
        let of_endpoints = endpoints.iter().flat_map(|endpoint| {
            let blocks = endpoint.entries.iter().chain(&endpoint.peers);
            core::iter::once(&endpoint.layer).chain(blocks.map(|block| &block.layer))
        });
        for layer in of_listeners.chain(of_endpoints) {
            let Some(setting) = layer.settings.get(&const { id("context") }) else { continue };
            let Value::Map(map) = &setting.value else { continue };
            if let Some(name) = map.get("binding")
                && &**name != DEFAULT
                && !bindings.contains_key(name)
            {
                let message = format!("there is no binding `{name}`");
                let near = did_you_mean(name, bindings.keys().map(|name| &**name));
                problems.push((setting.span, message, near));
            }
            if let Some(name) = map.get("binding_group")
                && &**name != DEFAULT
                && !bindings.values().any(|binding| binding.group.as_ref() == Some(name))
            {
                let (message, near) = match groups.contains_key(name) {
                    true => (format!("there is no binding in group `{name}`"), None),
                    false => (
                        format!("there is no binding group `{name}`"),
                        did_you_mean(name, groups.keys().map(|name| &**name)),
                    ),
                };
                problems.push((setting.span, message, near));
            }
        }
        for (span, message, near) in problems {
            let mut finding = Diagnostic::error(span, message);
            finding.help = near;
            self.findings.push(finding);
        }
    }
}

/// Backlog of an endpoint that sets none.
const DEFAULT_BACKLOG: u32 = 500;

/// A container, and the stanzas inside that are not about names.
fn container(mut stanza: Stanza, outside: &str) -> (Container, Vec<Stanza>) {
    let layer = layer(&mut stanza, outside);
    let mut container = Container { layer, domains: Names::default(), hosts: Names::default() };
    let mut rest = Vec::new();
    for mut child in stanza.children {
        let names = match child.kind {
            ScopeKind::Domain => &mut container.domains,
            ScopeKind::Host => &mut container.hosts,
            _ => {
                rest.push(child);
                continue;
            }
        };
        let layer = self::layer(&mut child, &container.layer.scope);
        names.add(child.name, child.pattern, layer);
    }
    (container, rest)
}

/// Takes the settings of a stanza that stands in `outside`.
fn layer(stanza: &mut Stanza, outside: &str) -> Layer {
    let (kind, name) = (stanza.kind, &*stanza.name);
    let own = match (kind, name) {
        (ScopeKind::Global, _) => String::new(),
        (ScopeKind::AclEntry, _) => String::from(name),
        (_, "") => String::from(kind.name()),
        _ => format!("{} \"{name}\"", kind.name()),
    };
    let blank = if outside.is_empty() || own.is_empty() { "" } else { " " };
    Layer {
        scope: format!("{outside}{blank}{own}").into(),
        heading: stanza.heading,
        settings: core::mem::take(&mut stanza.settings),
    }
}

fn split_peers(
    children: Vec<Stanza>,
    outside: &str,
    findings: &mut Findings,
) -> (Vec<Stanza>, Vec<Block>) {
    let (peers, rest): (Vec<_>, Vec<_>) =
        children.into_iter().partition(|child| child.kind == ScopeKind::Peer);
    (rest, peers.into_iter().filter_map(|peer| block(peer, outside, findings)).collect())
}

fn block(mut stanza: Stanza, outside: &str, findings: &mut Findings) -> Option<Block> {
    match Cidr::parse(&stanza.name) {
        Ok(network) => {
            let layer = layer(&mut stanza, outside);
            Some(Block { network, layer })
        }
        Err(why) => {
            let message = format!("`{}`: {why}", stanza.name);
            let help = "write an address, a slash and a number of bits: `192.0.2.0/24`";
            findings.push(Diagnostic::error(stanza.heading, message).help(help));
            None
        }
    }
}
