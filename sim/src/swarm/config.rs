//! Random configurations: any option that works, in any scope it may be set in, with values from
//! the harmless to the extreme.
//!
//! Some values stop mail for good: they are drawn only where a later configuration without them
//! comes into force, and shows that mail goes on.

use traject_engine::config::explain::find_option;
use traject_engine::config::options::OptionSpec;
use traject_engine::config::scope::ScopeKind;

use super::dice::Dice;
use super::node::Node;

/// What a configuration may name.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Destination domains.
    pub(super) domains: Vec<String>,
    /// Exchanges.
    pub(super) hosts: Vec<String>,
    /// Bindings, each with its address.
    pub(super) bindings: Vec<String>,
    /// Domains that speak LMTP.
    pub(super) lmtp: Vec<String>,
}

/// What sort of configuration to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taste {
    /// An option is set in a stanza so many times in a thousand.
    pub(super) density: u64,
    /// Values that stop mail are among the choices.
    pub(super) stops: bool,
    /// There is a listener.
    pub(super) listens: bool,
    /// Mail goes elsewhere than to its domain's exchanges.
    pub(super) routes: bool,
    /// Options that mean little alone are set together.
    pub(super) sets: Sets,
}

/// Options that need each other, or a receiver that goes with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sets {
    /// TLS where it is offered.
    pub(super) tls: bool,
    /// Look-ups wait in line.
    pub(super) lookups: bool,
    /// Clients get TLS.
    pub(super) clients_tls: bool,
    /// Mail to some domains is for bounces.
    pub(super) bounces: bool,
}

/// Draws a configuration.
pub(super) fn draw(dice: &mut Dice, names: &Names, taste: Taste) -> Vec<Node> {
    let mut drawing = Drawing { dice, names, taste };
    let mut nodes = drawing.settings(ScopeKind::Global);
    nodes.extend(drawing.sets(&nodes));
    nodes.extend(drawing.domains());
    nodes.extend(drawing.hosts(25));
    nodes.extend(drawing.bindings());
    if taste.listens {
        nodes.push(drawing.listener());
    }
    nodes
}

/// A configuration that is being drawn.
struct Drawing<'a> {
    dice: &'a mut Dice,
    names: &'a Names,
    taste: Taste,
}

impl Drawing<'_> {
    /// Options of the global scope that are set together, unless they are set already.
    fn sets(&mut self, nodes: &[Node]) -> Vec<Node> {
        let Sets { tls, lookups, bounces, .. } = self.taste.sets;
        let mut lines = Vec::new();
        if tls {
            lines.push(("tls", self.dice.pick(&["ifavailable", "required"]).to_owned()));
        }
        if lookups {
            lines.extend(LOOKUPS.iter().map(|(name, value)| (*name, (*value).to_owned())));
        }
        if bounces {
            let domain = self.dice.pick_one(&self.names.domains);
            lines.push(("bounce_domains", format!("( \"{domain}\" )")));
        }
        let text = Node::text(nodes);
        lines.retain(|(name, _)| !text.lines().any(|line| line.starts_with(&format!("{name} = "))));
        lines.into_iter().map(|(name, value)| Node::Lines(format!("{name} = {value}\n"))).collect()
    }

    /// Stanzas of destinations in the global scope.
    fn domains(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for domain in &self.names.domains {
            let mut children = Vec::new();
            if self.names.lmtp.contains(domain) {
                children.push(Node::Lines("delivery_method = LMTP\n".into()));
            }
            if self.taste.routes && self.dice.percent(25) {
                children.push(self.route(domain));
            }
            if self.dice.percent(40) || !children.is_empty() {
                children.extend(self.settings(ScopeKind::Domain));
                nodes.push(stanza("domain", domain, children));
            }
        }
        for pattern in PATTERNS {
            if self.dice.percent(10) {
                nodes.push(stanza("domain", pattern, self.settings(ScopeKind::Domain)));
            }
        }
        nodes
    }

    /// Mail goes to another domain's exchanges, to an exchange of another, or there first.
    fn route(&mut self, domain: &str) -> Node {
        let other = self.dice.pick_one(&self.names.domains);
        let host = self.dice.pick_one(&self.names.hosts);
        let line = match self.dice.below(5) {
            0 | 1 if other != domain => format!("gateway = \"{other}\"\n"),
            0 | 1 => "routes = ( \"__mx__\" )\n".to_owned(),
            2 => format!("routes = ( {host} __mx__ )\n"),
            3 => format!("routes = ( \"smtp://{host}?pref=1\" \"smtp://__mx__?pref=1\" )\n"),
            _ => format!("routes = ( \"smtp://{other}?type=mx\" )\n"),
        };
        Node::Lines(line)
    }

    fn hosts(&mut self, percent: u64) -> Vec<Node> {
        let mut nodes = Vec::new();
        for host in &self.names.hosts {
            if self.dice.percent(percent) {
                let taste = Taste { density: 200, ..self.taste };
                let children = settings(self.dice, ScopeKind::Host, taste);
                nodes.push(stanza("host", host, children));
            }
        }
        nodes
    }

    /// The bindings, in a group or in none.
    fn bindings(&mut self) -> Vec<Node> {
        let grouped = self.dice.percent(50);
        let mut nodes = Vec::new();
        for (n, name) in (1..).zip(&self.names.bindings) {
            let mut children = vec![Node::Lines(format!("bind_address = \"10.9.0.{n}\"\n"))];
            children.extend(self.settings(ScopeKind::Binding));
            children.extend(self.inner());
            nodes.push(stanza("binding", name, children));
        }
        if !grouped || nodes.is_empty() {
            return nodes;
        }
        let mut children = self.settings(ScopeKind::BindingGroup);
        children.extend(self.inner());
        children.extend(nodes);
        vec![stanza("binding_group", "pool", children)]
    }

    /// Stanzas of destinations inside of a binding or a group.
    fn inner(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        if self.dice.percent(30) {
            let domain = self.dice.pick_one(&self.names.domains).clone();
            let taste = Taste { density: self.taste.density * 2, ..self.taste };
            let children = settings(self.dice, ScopeKind::Domain, taste);
            nodes.push(stanza("domain", &domain, children));
        }
        if self.dice.percent(10) {
            let pattern = self.dice.pick(PATTERNS);
            nodes.push(stanza("domain", pattern, self.settings(ScopeKind::Domain)));
        }
        nodes.extend(self.hosts(8));
        nodes
    }

    /// Where mail comes in by SMTP, from anybody.
    fn listener(&mut self) -> Node {
        let mut children = Vec::new();
        for (name, values) in OF_LISTENERS {
            if self.dice.below(1000) < self.taste.density {
                let value = self.dice.pick(values);
                children.push(Node::Lines(format!("{name} = {value}\n")));
            }
        }
        if self.taste.sets.clients_tls {
            children.push(Node::Lines(CLIENTS_TLS.to_owned()));
            if self.dice.percent(30) {
                children.push(Node::Lines(DEMANDS_CERTIFICATE.to_owned()));
            }
        }
        let mut open = String::from("esmtp_listener {\n");
        open +=
            &format!("listen \"{LISTENER}\" {{\npeer \"0.0.0.0/0\" {{\nopen_relay = true\n}}\n");
        Node::Block { open, children, close: "}\n}\n".into() }
    }

    fn settings(&mut self, scope: ScopeKind) -> Vec<Node> {
        settings(self.dice, scope, self.taste)
    }
}

/// Look-ups one after the other, each long after the one before.
const LOOKUPS: [(&str, &str); 3] = [
    ("dns_rate_limit_enabled", "true"),
    ("dns_rate_limit_mx_queries", "1"),
    ("dns_rate_limit_period", "10"),
];

/// A listener that offers TLS. No file is read in these worlds.
const CLIENTS_TLS: &str = "tls_certificate = \"/in.pem\"\n\
    smtp_extensions = ( \"PIPELINING\" \"8BITMIME\" \"STARTTLS\" )\n";

/// A listener that speaks only with those who have a certificate.
const DEMANDS_CERTIFICATE: &str = "tls_client_ca = \"/ca.pem\"\ntls_verify_mode = require\n";

/// Where clients find us.
const LISTENER: &str = "10.9.1.1:25";

/// Patterns of domains.
const PATTERNS: &[&str] = &["/\\.example$/", "/^d0/", "/r1/", "/\\.r0\\.example$/"];

fn stanza(kind: &str, name: &str, children: Vec<Node>) -> Node {
    Node::Block { open: format!("{kind} \"{name}\" {{\n"), children, close: "}\n".into() }
}

fn settings(dice: &mut Dice, scope: ScopeKind, taste: Taste) -> Vec<Node> {
    let mut lines = Vec::new();
    for (spec, values) in choices(CHOICES) {
        if spec.scopes.iter().any(|one| one == scope) && dice.below(1000) < taste.density {
            let value = dice.pick(values);
            lines.push(Node::Lines(format!("{} = {value}\n", spec.name)));
        }
    }
    for (spec, values) in choices(STOPS).filter(|_| taste.stops) {
        if spec.scopes.iter().any(|one| one == scope) && dice.percent(10) {
            let value = dice.pick(values);
            lines.push(Node::Lines(format!("{} = {value}\n", spec.name)));
        }
    }
    lines
}

type Choice = (&'static str, &'static [&'static str]);

fn choices(
    of: &'static [Choice],
) -> impl Iterator<Item = (&'static OptionSpec, &'static [&'static str])> {
    of.iter().filter_map(|(name, values)| Some((find_option(name)?.spec(), *values)))
}

/// Every option that may be drawn.
pub(super) fn drawn() -> impl Iterator<Item = &'static str> {
    let routing = ["gateway", "routes", "delivery_method", "bind_address", "open_relay"];
    let of_listeners = [
        "tls_certificate",
        "smtp_extensions",
        "tls_client_ca",
        "tls_verify_mode",
        "bounce_domains",
    ];
    let routing = routing.into_iter().chain(of_listeners);
    let tables = [CHOICES, STOPS, OF_LISTENERS].into_iter().flatten();
    tables.map(|(name, _)| *name).chain(routing)
}

/// Values under which mail never ends, or connections do not.
const STOPS: &[Choice] = &[
    ("max_outbound_connections", &["0"]),
    ("suspend_delivery", &["true"]),
    ("blackhole", &["true", "inline", "internal"]),
    ("idle_timeout", &["0"]),
];

/// Options of listeners.
const OF_LISTENERS: &[Choice] = &[
    ("idle_time", &["1", "60", "300"]),
    ("max_receptions_per_connection", &["0", "1", "3"]),
    ("max_recipients_per_connection", &["0", "1", "5"]),
    ("max_recipients_per_message", &["0", "1", "5"]),
    ("max_message_size", &["0", "2000", "1000000"]),
    ("banner_hostname", &["\"in.mta.example\""]),
    ("received_hostname", &["\"by.mta.example\""]),
    ("starttls_injection_policy", &["reject", "ignore", "allow"]),
    ("listen_backlog", &["1", "500"]),
];

/// Options of outbound mail, and what they are set to.
const CHOICES: &[Choice] = &[
    ("retry_interval", &["1", "30", "60", "300", "1200", "3600"]),
    ("max_retry_interval", &["1", "60", "600", "3600", "43200"]),
    ("max_retries", &["auto", "none", "1", "2", "5"]),
    ("never_retry", BOOL),
    ("mx_failures_to_delay", &["0", "1", "2", "50"]),
    ("connect_timeout_to_delay", &["1", "30", "900"]),
    ("message_expiration", &["1", "29", "600", "7200", "86400"]),
    ("never_attempt_expired_messages", BOOL),
    ("max_outbound_connections", &["1", "2", "3", "10", "100", "100000"]),
    ("max_deliveries_per_connection", &["0", "1", "2", "10"]),
    ("connection_allocation_aggressiveness", &["normal", "high", "0.01", "1.5"]),
    ("idle_timeout", &["1", "5", "60"]),
    ("host_failure_retry", &["0", "1", "120", "3600"]),
    ("server_max_outbound_connections", &["1", "2", "5", "20000"]),
    ("server_reserve_outbound_connections", &["0", "1", "200"]),
    ("reserve_maintenance_interval", &["1", "15", "300"]),
    ("scope_max_outbound_connections", &["1", "2", "5"]),
    ("migrate_connections_between_sibling_domains", BOOL),
    ("address_metrics_lifetime", &["0", "60", "1800"]),
    ("bounce_pattern", &["\"^user[0-4]\""]),
    ("bounce_behavior", &["pass", "blackhole"]),
    ("outbound_throttle_connections", &["\"1/10\"", "\"5/60\"", "\"100/60\"", "1"]),
    ("outbound_throttle_messages", &["\"1/5\"", "\"10/60\"", "\"3/1\"", "\"600/60\""]),
    ("max_recipients_per_batch", &["0", "1", "2", "100"]),
    ("max_recipients_per_connection", &["0", "1", "3"]),
    ("generate_bounces", BOOL),
    ("bounces_inline_original", &["none", "headers", "all"]),
    ("mailerdaemon", &["\"md@brand.example\""]),
    ("mdn_failures_notify", &["\"postmaster@brand.example\""]),
    ("generate_delay_dsn", BOOL),
    ("delay_dsn_retry_interval", &["1", "600", "3600"]),
    ("delay_dsn_max_retry_interval", &["0", "60", "43200"]),
    ("connect_timeout", &["1", "5", "30", "300"]),
    ("ehlo_timeout", &["1", "5", "30", "300"]),
    ("mailfrom_timeout", &["1", "5", "30", "300"]),
    ("rcptto_timeout", &["1", "5", "30", "300"]),
    ("body_timeout", &["1", "10", "60", "600"]),
    ("rset_timeout", &["1", "30"]),
    ("fully_resolve_before_smtp", BOOL),
    ("mx_failures_fallback_to_a", &["-1", "0", "1", "3"]),
    ("dns_failures_to_purge", &["0", "1", "2", "10"]),
    ("only_use_best_mx_for_relay_domains", BOOL),
    ("ehlo_hostname", &["\"one.mta.example\"", "\"two.mta.example\""]),
    ("send_8bitmime", &["no", "ifavailable"]),
    ("transform_8bitmime_content", &["no", "ifneeded", "strict", "strip"]),
    ("xclient", &["no", "ifavailable"]),
    ("max_resident_active_queue", &["-1", "0", "1", "250"]),
    ("max_resident_messages", &["0", "1", "10", "32768"]),
    ("drop_body_after_trans_fail", &["0", "1", "3"]),
    ("delayed_binding_domain_fuzz", &["0", "1", "600"]),
    ("match_cache_size", &["1", "16384"]),
    ("min_dns_ttl", &["0", "60"]),
    ("max_dns_ttl", &["1", "60", "4294967295"]),
    ("use_ipv6", BOOL),
    ("prefer_ipv6_mxs", BOOL),
    ("dns_rate_limit_enabled", BOOL),
    ("dns_rate_limit_mx_queries", &["1", "100"]),
    ("dns_rate_limit_period", &["1", "10"]),
    ("dns_rate_limit_max_queue", &["1", "100000"]),
    ("tls", &["no", "ifavailable", "required"]),
    ("tls_ifavailable_fallback", BOOL),
    ("tls_verify", &["no", "ca", "host", "optional"]),
    ("tls_protocols", &["\"+ALL\"", "\"+ALL:-TLSv1.3\"", "\"+ALL:-TLSv1.2\""]),
];

const BOOL: &[&str] = &["true", "false"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use traject_engine::config::options::{OptionId, Status};

    use super::*;

    /// Options of outbound mail that are not drawn, and why.
    const LEFT_OUT: &[(&str, &str)] = &[
        ("remote_smtp_port", "nobody listens there"),
        ("lmtp_port", "nobody listens there"),
        ("response_transcode_pattern", "needs its other half"),
        ("response_transcode_replace", "needs its other half"),
        ("tls_ca", "every authority is the one"),
        ("tls_key", "is in the file of the certificate"),
        ("tls_ciphers", "the receivers' are drawn"),
    ];

    #[test]
    fn every_option_that_works_is_drawn_or_left_out_for_a_reason() {
        let outbound = [ScopeKind::Domain, ScopeKind::Binding];
        let drawn: BTreeSet<&str> = drawn().collect();
        let left: BTreeSet<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
        assert!(drawn.is_disjoint(&left));
        let mut known = BTreeSet::new();
        for id in OptionId::all() {
            let spec = id.spec();
            known.insert(spec.name);
            let is_outbound = spec.scopes.iter().any(|scope| outbound.contains(&scope));
            if spec.status == Status::Works && is_outbound {
                let name = spec.name;
                assert!(drawn.contains(name) || left.contains(name), "{name} is forgotten");
            }
        }
        for name in drawn.union(&left) {
            assert!(known.contains(name), "{name} is no option");
        }
    }

    #[test]
    fn every_value_is_right() {
        let all = choices(CHOICES).chain(choices(STOPS)).chain(choices(OF_LISTENERS));
        for (spec, values) in all {
            for value in values {
                let word = value.trim_matches('"');
                assert!(spec.kind.read_word(word).is_some(), "{} = {value}", spec.name);
            }
        }
    }
}
