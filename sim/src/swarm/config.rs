//! Random configurations: any option that works, in any scope it may be set in, with values from
//! the harmless to the extreme.

use traject_engine::config::options::{OptionId, OptionSpec};
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

/// Draws a configuration; an option is set in a stanza so many times in a thousand.
pub(super) fn draw(dice: &mut Dice, names: &Names, density: u64) -> Vec<Node> {
    let mut nodes = settings(dice, ScopeKind::Global, density);
    for domain in &names.domains {
        let mut children = Vec::new();
        if names.lmtp.contains(domain) {
            children.push(Node::Lines("delivery_method = LMTP\n".into()));
        }
        if dice.percent(40) || !children.is_empty() {
            children.extend(settings(dice, ScopeKind::Domain, density));
            nodes.push(stanza("domain", domain, children));
        }
    }
    if dice.percent(20) {
        let children = settings(dice, ScopeKind::Domain, density);
        nodes.push(stanza("domain", "/\\.example$/", children));
    }
    for host in &names.hosts {
        if dice.percent(25) {
            nodes.push(stanza("host", host, settings(dice, ScopeKind::Host, 200)));
        }
    }
    let grouped = dice.percent(50);
    let bindings: Vec<Node> = (1..)
        .zip(&names.bindings)
        .map(|(n, name)| {
            let mut children = vec![Node::Lines(format!("bind_address = \"10.9.0.{n}\"\n"))];
            children.extend(settings(dice, ScopeKind::Binding, density));
            if dice.percent(30) {
                let domain = dice.pick_one(&names.domains).clone();
                let inner = settings(dice, ScopeKind::Domain, density * 2);
                children.push(stanza("domain", &domain, inner));
            }
            stanza("binding", name, children)
        })
        .collect();
    match grouped && !bindings.is_empty() {
        true => {
            let mut children = settings(dice, ScopeKind::BindingGroup, density);
            children.extend(bindings);
            nodes.push(stanza("binding_group", "pool", children));
        }
        false => nodes.extend(bindings),
    }
    nodes
}

fn stanza(kind: &str, name: &str, children: Vec<Node>) -> Node {
    Node::Block { open: format!("{kind} \"{name}\" {{\n"), children, close: "}\n".into() }
}

fn settings(dice: &mut Dice, scope: ScopeKind, density: u64) -> Vec<Node> {
    let mut lines = Vec::new();
    for (spec, values) in choices() {
        if spec.scopes.iter().any(|one| one == scope) && dice.below(1000) < density {
            let value = dice.pick(values);
            lines.push(Node::Lines(format!("{} = {value}\n", spec.name)));
        }
    }
    lines
}

fn choices() -> impl Iterator<Item = (&'static OptionSpec, &'static [&'static str])> {
    CHOICES.iter().filter_map(|(name, values)| {
        let id = OptionId::all().find(|id| id.spec().name == *name)?;
        Some((id.spec(), *values))
    })
}

/// Options that are drawn, and what they are set to. Values under which mail never ends are left
/// out: a cap of 0, a connection that idles for ever.
const CHOICES: &[(&str, &[&str])] = &[
    ("retry_interval", &["30", "60", "300", "1200", "3600"]),
    ("max_retry_interval", &["60", "600", "3600", "43200"]),
    ("max_retries", &["auto", "none", "1", "2", "5"]),
    ("never_retry", BOOL),
    ("mx_failures_to_delay", &["0", "1", "2", "50"]),
    ("connect_timeout_to_delay", &["1", "30", "900"]),
    ("message_expiration", &["1", "600", "7200", "86400"]),
    ("never_attempt_expired_messages", BOOL),
    ("max_outbound_connections", &["1", "2", "3", "10", "100"]),
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

    use traject_engine::config::options::Status;

    use super::*;

    /// Options of outbound mail that are not drawn, and why.
    const LEFT_OUT: &[(&str, &str)] = &[
        ("suspend_delivery", "mail would wait for ever"),
        ("blackhole", "mail ends without a receiver: the books of the swarm do not know that"),
        ("bounce_pattern", "is about mail that comes in, to domains of ours"),
        ("bounce_behavior", "is about mail that comes in, to domains of ours"),
        ("gateway", "needs an exchange that takes everybody's mail"),
        ("routes", "needs an exchange that takes everybody's mail"),
        ("remote_smtp_port", "nobody listens there"),
        ("lmtp_port", "nobody listens there"),
        ("delivery_method", "set where the receiver speaks LMTP"),
        ("bind_address", "set for each binding"),
        ("response_transcode_pattern", "needs its other half"),
        ("response_transcode_replace", "needs its other half"),
        ("tls_ca", "every authority is the one"),
        ("tls_certificate", "needs its other half"),
        ("tls_key", "needs its other half"),
        ("tls_ciphers", "the receivers' are drawn"),
    ];

    #[test]
    fn every_option_that_works_is_drawn_or_left_out_for_a_reason() {
        let outbound = [ScopeKind::Domain, ScopeKind::Binding];
        let drawn: BTreeSet<&str> = CHOICES.iter().map(|(name, _)| *name).collect();
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
        for (spec, values) in choices() {
            for value in values {
                let word = value.trim_matches('"');
                assert!(spec.kind.read_word(word).is_some(), "{} = {value}", spec.name);
            }
        }
    }
}
