//! The published schemas: every shipped scenario is as one says, reports and records are as the
//! others do, and all of them notice what is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use traject_tests::{binary, violations, workspace};

fn schema(name: &str) -> Value {
    let file = workspace().join("docs").join(format!("{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(file).expect("a schema")).expect("JSON")
}

/// The scenario as JSON.
fn as_json(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(table).expect("JSON")
}

/// Every scenario below a folder: a file with a title.
fn scenarios(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            scenarios(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let table: toml::Table =
                fs::read_to_string(&path).expect("a file").parse().expect("TOML");
            if table.contains_key("title") {
                found.push(path);
            }
        }
    }
}

#[test]
fn every_scenario_is_as_its_schema_says() {
    let schema = schema("scenario");
    let mut files = Vec::new();
    scenarios(&workspace().join("scenarios"), &mut files);
    assert!(files.len() > 60, "{} scenarios", files.len());
    for file in files {
        let scenario = as_json(&fs::read_to_string(&file).expect("a file"));
        let found = violations(&schema, &scenario);
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}

#[test]
fn what_no_scenario_can_say_is_noticed() {
    let schema = schema("scenario");
    let good = "title = \"T\"\nhorizon = \"1d\"\nconfig_text = \"\"\n\
                [[traffic]]\nfrom = \"a@b.example\"\nto = { \"c.example\" = 2 }\nmessages = 1\n";
    assert_eq!(violations(&schema, &as_json(good)), [""; 0]);
    for (instead_of, write) in [
        ("title = \"T\"\n", ""),
        ("\"1d\"", "\"1 day\""),
        ("\"1d\"", "1"),
        ("config_text = \"\"\n", ""),
        ("messages = 1", "messages = 0"),
        ("messages = 1", "messages = 1\nsubject = \"x\""),
        ("{ \"c.example\" = 2 }", "{ \"c.example\" = \"2\" }"),
        ("messages = 1\n", "messages = 1\n[[fault]]\nat = \"1h\"\nwhat = \"flood\"\n"),
        ("messages = 1\n", "messages = 1\n[[expect]]\nby = \"1h\"\n"),
    ] {
        assert!(good.contains(instead_of));
        let bad = as_json(&good.replace(instead_of, write));
        assert!(!violations(&schema, &bad).is_empty(), "{write}");
    }
}

#[test]
fn a_report_is_as_its_schema_says() {
    let schema = schema("report");
    for name in ["basics/undeliverable", "basics/expiry", "tls/opportunistic"] {
        let output = Command::new(binary())
            .current_dir(workspace())
            .args(["sim", &format!("scenarios/{name}.toml"), "--json", "-"])
            .output()
            .expect("the program runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let found = violations(&schema, &report);
        assert!(found.is_empty(), "{name}: {found:#?}");
        for (pointer, wrong) in [
            ("/version", json!(1)),
            ("/domains/0/accepted", json!(-1)),
            ("/domains/0/t50_s", json!("soon")),
            ("/end", json!("over")),
        ] {
            let mut changed = report.clone();
            *changed.pointer_mut(pointer).expect("a value") = wrong;
            assert!(!violations(&schema, &changed).is_empty(), "{pointer}");
        }
    }
}

/// The records of a few scenarios that between them have most kinds there are.
fn records() -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut records = Vec::new();
    for name in [
        "basics/expiry",
        "basics/undeliverable",
        "delivery/a-full-disk-turns-mail-away",
        "delivery/an-operator-at-work",
        "delivery/sibling-domains",
        "delivery/trouble-before-mail",
        "regressions/put-off-for-ever",
        "tls/opportunistic",
    ] {
        let trace = folder.path().join("records");
        let output = Command::new(binary())
            .current_dir(workspace())
            .args(["sim", &format!("scenarios/{name}.toml"), "--trace"])
            .arg(&trace)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{name}: {output:?}");
        let text = fs::read_to_string(trace).expect("records");
        records.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line)));
    }
    records
}

#[test]
fn records_are_as_their_schema_says() {
    let schema = schema("record");
    let mut first_of_kind = BTreeMap::new();
    for record in records() {
        let found = violations(&schema, &record);
        assert!(found.is_empty(), "{record}: {found:#?}");
        let kind = record["type"].as_str().expect("a type").to_owned();
        first_of_kind.entry(kind).or_insert(record);
    }
    assert!(first_of_kind.len() >= 20, "{:?}", first_of_kind.keys());
    for (kind, record) in first_of_kind {
        for (pointer, wrong) in [("/at", json!("noon")), ("/type", json!("something"))] {
            let mut changed = record.clone();
            *changed.pointer_mut(pointer).expect("a value") = wrong;
            assert!(!violations(&schema, &changed).is_empty(), "{kind} {pointer}");
        }
        for key in ["message", "conn", "binding", "reply", "stage"] {
            let mut changed = record.clone();
            let optional = kind == "control";
            if changed.as_object_mut().expect("an object").remove(key).is_some() && !optional {
                assert!(!violations(&schema, &changed).is_empty(), "{kind} without {key}");
            }
        }
    }
}

#[test]
fn the_program_prints_all() {
    for name in ["scenario", "report", "record"] {
        let output =
            Command::new(binary()).args(["schema", name]).output().expect("the program runs");
        let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(printed, schema(name));
    }
}
