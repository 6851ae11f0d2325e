//! The table of options against the facts of the original's manual.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::options::{OptionId, OptionSpec};
use super::scope::{ScopeKind, Scopes};
use super::value::Kind;

const FACTS: &str = include_str!("testdata/options.txt");

/// Where we differ, what in, and why.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("adaptive_alert_email_sender", "default", "NULL is how the manual prints no value"),
    ("apn_expiry", "default", "`yes` slipped in from another column"),
    ("bind_address", "default", "the manual says in words that unset is `*`"),
    ("delivery_method", "default", "two generations of the original in one cell"),
    ("force_fsync", "default", "what is acknowledged is durable here"),
    ("group", "default", "an account of the original that is not made here"),
    ("hostname", "default", "the system's name is no constant"),
    ("banner_hostname", "default", "the host name is no constant"),
    ("received_hostname", "default", "the host name is no constant"),
    ("idle_time", "default", "the shipped value: a stalled client must not stay for ever"),
    ("inbound_throttle_messages", "default", "unset is unlimited"),
    ("lone_lf_in_body", "default", "relaying bare line feeds is SMTP smuggling"),
    ("max_retries", "default", "the manual says in words that unset is `auto`"),
    ("resolv_conf", "type", "`address:port` of an upstream is our extension"),
    ("spoolbase", "default", "our own directory"),
    ("user", "default", "an account of the original that is not made here"),
    ("tls_protocols", "default", "the manual says in words that unset is `+ALL`"),
    ("tls_verify", "type", "`optional` came later"),
];

/// One line of the facts.
struct Fact<'a> {
    name: &'a str,
    kind: &'a str,
    default: &'a str,
    scopes: Scopes,
    listed: &'a str,
}

fn facts() -> impl Iterator<Item = Fact<'static>> {
    let lines = FACTS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let fields: Vec<_> = line.split('|').collect();
        let [name, kind, default, scopes, listed] = fields[..] else { panic!("{line}") };
        let scope = |name: &str| {
            let mut kinds = ScopeKind::ALL.iter().copied();
            kinds.find(|kind| kind.name() == name).unwrap_or_else(|| panic!("{name}"))
        };
        let scopes: Vec<_> = scopes.split_whitespace().map(scope).collect();
        Fact { name, kind, default, scopes: Scopes::of(&scopes), listed }
    })
}

/// The type of an option in the words of the facts.
fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Bool => "bool".to_string(),
        Kind::Int(..) => "int".to_string(),
        Kind::Word(words) => format!("enum {}", words.join("/")),
        Kind::WordOrInt(words, ..) => format!("enum/int {}", words.join("/")),
        Kind::WordOrFloat(words) => format!("enum/float {}", words.join("/")),
        Kind::Rate => "rate".to_string(),
        Kind::Bounds => "bounds".to_string(),
        Kind::Duration => "duration".to_string(),
        Kind::Text => "string".to_string(),
        Kind::Path => "path".to_string(),
        Kind::Regex => "regex".to_string(),
        Kind::Octal => "octal".to_string(),
        Kind::Words | Kind::WordsOf(_) => "words".to_string(),
        Kind::Cidrs => "networks".to_string(),
        Kind::Domains => "domains".to_string(),
        Kind::Map => "map".to_string(),
        Kind::Flag => "flag".to_string(),
        Kind::Property => "property".to_string(),
        Kind::Senders => "senders".to_string(),
    }
}

fn sorted_words(kind: &str) -> BTreeSet<&str> {
    kind.split(['/', ' ']).collect()
}

/// The row a fact is about: of that name, and of that type where a name has two.
fn row(fact: &Fact<'_>) -> Option<&'static OptionSpec> {
    let mut named: Vec<_> = OptionId::all()
        .map(OptionId::spec)
        .filter(|spec| {
            let mut names = core::iter::once(&spec.name).chain(spec.aliases);
            names.any(|name| name.eq_ignore_ascii_case(fact.name))
        })
        .collect();
    named.sort_by_key(|spec| kind_name(spec.kind) != fact.kind);
    named.first().copied()
}

/// The default as a value, so that `1` and `true` are the same.
fn normal(spec: &OptionSpec, default: &str) -> String {
    match spec.kind.read_word(default) {
        Some(value) => value.to_string(),
        None => default.to_string(),
    }
}

#[test]
fn the_table_has_every_option_of_the_manual() {
    let mut differences = BTreeSet::new();
    for fact in facts() {
        let name = fact.name.to_ascii_lowercase();
        if fact.kind == "stanza" {
            let kind = ScopeKind::from_name(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(kind.parents(), fact.scopes, "{name}");
            continue;
        }
        let spec = row(&fact).unwrap_or_else(|| panic!("no row for {name}"));
        let fact_kind = if fact.kind == "port" { "int" } else { fact.kind };
        if sorted_words(&kind_name(spec.kind)) != sorted_words(fact_kind) {
            differences.insert((name.clone(), "type"));
        }
        let unset = matches!(fact.default, "absent" | "unset");
        let default = if unset { "" } else { fact.default };
        let absent_flag = fact.default == "absent" && spec.default == "false";
        let property = spec.kind == Kind::Property;
        if normal(spec, default) != normal(spec, spec.default) && !absent_flag && !property {
            differences.insert((name.clone(), "default"));
        }
        // The places of the list form are not in the manual's terms.
        let ours: Vec<_> = spec
            .scopes
            .iter()
            .filter(|kind| !matches!(kind, ScopeKind::AclEntry | ScopeKind::Personality))
            .collect();
        if Scopes::of(&ours) != fact.scopes && !fact.scopes.is_empty() {
            differences.insert((name.clone(), "scopes"));
        }
    }
    let allowed: BTreeSet<_> =
        DEVIATIONS.iter().map(|&(name, what, _)| (name.to_ascii_lowercase(), what)).collect();
    let unexpected: Vec<_> = differences.difference(&allowed).collect();
    let vanished: Vec<_> = allowed.difference(&differences).collect();
    assert!(unexpected.is_empty() && vanished.is_empty(), "{unexpected:#?}\n{vanished:#?}");
}

#[test]
fn the_tables_of_domains_and_groups_name_124_options() {
    assert_eq!(facts().filter(|fact| fact.listed == "seed").count(), 124);
}
