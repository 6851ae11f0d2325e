//! The schema of scenarios has every key that the reader knows, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use traject_sim::scenario::parse;

/// Tables of every kind, each with where the schema describes it. Each gets a key that nobody
/// knows: what the reader says about it names all that it does know.
const TABLES: &[(&str, &str)] = &[
    ("", "title = \"T\"\nhorizon = \"9h\"\nconfig_text = \"\"\n"),
    ("/$defs/dns", "[dns]\n"),
    ("/$defs/dns/properties/name/items", "[[dns.name]]\nname = \"x.example\"\n"),
    (
        "/$defs/traffic",
        "[[traffic]]\nfrom = \"n@brand.example\"\nto = \"a.example\"\nmessages = 1\n",
    ),
    ("/$defs/traffic", "[[traffic]]\ntrace = \"recorded.csv\"\n"),
    ("/$defs/receiver", "[[receiver]]\nname = \"a\"\ndomains = [\"a.example\"]\n"),
    ("/$defs/rule", "[[receiver.reply]]\nstage = \"rcpt\"\nreply = \"450 No\"\n"),
    ("/$defs/rule", "[[receiver.reply]]\nstage = \"rcpt\"\naction = \"tarpit\"\ndelay = \"1s\"\n"),
    ("/$defs/limit", "[[receiver.limit]]\nwhat = \"connections\"\nmax = 1\nreply = \"421 No\"\n"),
    (
        "/$defs/limit/properties/escalation",
        "[receiver.limit.escalation]\noffences = 1\nwithin = \"1m\"\nblock = \"1h\"\n\
         reply = \"421 No\"\n",
    ),
    ("/$defs/unknown", "[receiver.unknown]\nshare = 0.1\n"),
    (
        "/$defs/unknown/properties/trip",
        "[receiver.unknown.trip]\nshare = 0.1\nof = 10\nwithin = \"1h\"\nblock = \"1h\"\n\
         reply = \"421 No\"\n",
    ),
    ("/$defs/greylist", "[receiver.greylist]\n"),
    ("/$defs/tls", "[receiver.tls]\n"),
    ("/$defs/receiver", "[[receiver]]\nname = \"b\"\ndomains = [\"b.example\"]\n"),
    (
        "/$defs/limit",
        "[[receiver.limit]]\nwhat = \"messages\"\nmax = \"1/s\"\naction = \"reset\"\n",
    ),
    (
        "/$defs/limit/properties/escalation",
        "[receiver.limit.escalation]\noffences = 1\nwithin = \"1m\"\nblock = \"1h\"\n\
         action = \"reset\"\n",
    ),
    ("/$defs/unknown", "[receiver.unknown]\nshare = 0.1\n"),
    (
        "/$defs/unknown/properties/trip",
        "[receiver.unknown.trip]\nshare = 0.1\nof = 10\nwithin = \"1h\"\nblock = \"1h\"\n\
         action = \"reset\"\n",
    ),
    (
        "/$defs/fault",
        "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nwhat = \"host_down\"\nreceiver = \"a\"\n",
    ),
    (
        "/$defs/fault",
        "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nwhat = \"partition\"\nsource = \"10.0.0.1\"\n",
    ),
    (
        "/$defs/fault",
        "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nwhat = \"slow\"\nreceiver = \"a\"\nplus = \"1s\"\n",
    ),
    (
        "/$defs/fault",
        "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nwhat = \"dns_failure\"\ndomain = \"a.example\"\n",
    ),
    ("/$defs/event", "[[event]]\nat = \"1s\"\nwhat = \"reload\"\nconfig_text = \"\"\n"),
    ("/$defs/event", "[[event]]\nat = \"1s\"\nwhat = \"restart\"\n"),
    ("/$defs/event", "[[event]]\nat = \"1s\"\nwhat = \"suspend\"\ndomain = \"a.example\"\n"),
    ("/$defs/event", "[[event]]\nat = \"1s\"\nwhat = \"fail\"\ndomain = \"a.example\"\n"),
    (
        "/$defs/event",
        "[[event]]\nat = \"1s\"\nwhat = \"reroute\"\ndomain = \"a.example\"\n\
         to_domain = \"b.example\"\n",
    ),
    ("/$defs/expect", "[[expect]]\nthat = \"delivered == 1\"\n"),
];

/// The keys that the reader knows, by where the schema describes their table.
fn known_to_the_reader() -> BTreeMap<&'static str, BTreeSet<String>> {
    let strange = |n: usize| format!("xqxqxqxqxqxqxq{n:02}");
    let mut text = String::new();
    for (n, (_, table)) in TABLES.iter().enumerate() {
        text.push_str(&format!("{table}{} = 1\n", strange(n)));
    }
    let error = parse(Path::new("all.toml"), &text).expect_err("unknown keys");
    let mut known: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (n, (pointer, _)) in TABLES.iter().enumerate() {
        let message = format!("unknown key `{}`", strange(n));
        let found = error.diagnostics.iter().find(|found| found.message == message);
        let hint = found.and_then(|found| found.hint.as_deref());
        let keys = hint.and_then(|hint| hint.strip_prefix("one of: "));
        let keys = keys.unwrap_or_else(|| panic!("nothing about {} in {error}", strange(n)));
        known.entry(*pointer).or_default().extend(keys.split(", ").map(str::to_owned));
    }
    known
}

#[test]
fn the_schema_has_the_keys_of_the_reader() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenario.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (pointer, known) in known_to_the_reader() {
        let table = schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        assert_eq!(table["additionalProperties"], false, "{pointer}");
        let described: BTreeSet<String> =
            table["properties"].as_object().unwrap().keys().cloned().collect();
        let lacking: Vec<_> = known.difference(&described).collect();
        let too_much: Vec<_> = described.difference(&known).collect();
        assert!(
            lacking.is_empty() && too_much.is_empty(),
            "docs/scenario.schema.json, {pointer}: lacks {lacking:?}, and the reader does not \
             know {too_much:?}"
        );
    }
}
