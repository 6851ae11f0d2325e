//! `traject sim --why`: each reason for waiting, with its numbers.

use std::fs;
use std::process::{Command, Output};

use insta::assert_snapshot;
use tempfile::TempDir;

/// Nothing takes any time here but what is said to, so that instants are round.
const SCENARIO: &str = r#"
title = "A domain for each reason to wait"
horizon = "1h"
dns = { latency = "0s", name = [{ name = "lost.example", failure = "servfail" }] }
config_text = """
domain "throttled.example" { outbound_throttle_messages = "1/60" }
domain "held.example"      { suspend_delivery = true }
domain "full.example"      { max_outbound_connections = 1 }
domain "/[.]capped[.]example$/" { scope_max_outbound_connections = 1 }
"""
traffic = [
    { from = "a@brand.example", to = "throttled.example", messages = 3 },
    { from = "a@brand.example", to = "held.example", messages = 2 },
    { from = "a@brand.example", to = "down.example", messages = 2 },
    { from = "a@brand.example", to = "lost.example", messages = 2 },
    { from = "a@brand.example", to = "full.example", messages = 3 },
    { from = "a@brand.example", to = "two.example", messages = 2 },
    { from = "a@brand.example", to = "a.capped.example", messages = 1 },
    { from = "a@brand.example", to = "b.capped.example", messages = 1, start = "1s" },
    { from = "a@brand.example", to = "later.example", messages = 1 },
]
receiver = [
    { name = "open", domains = ["throttled.example", "held.example"], latency = "0s" },
    { name = "down", domains = ["down.example"], latency = "0s" },
    { name = "silent", latency = "0s", reply = [{ stage = "banner", action = "stall" }], domains = [
        "full.example", "two.example", "a.capped.example", "b.capped.example",
    ] },
    { name = "later", domains = ["later.example"], latency = "0s", reply = [
        { stage = "rcpt", reply = "451 4.7.1 Later" },
    ] },
]
fault = [{ at = "0s", for = "1h", what = "host_down", receiver = "down" }]
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scenario.toml"), SCENARIO).unwrap();
    folder
}

fn sim(folder: &TempDir, args: &[&str]) -> Output {
    let traject = env!("CARGO_BIN_EXE_traject");
    let mut command = Command::new(traject);
    command.current_dir(folder.path()).args(["sim", "scenario.toml"]).args(args);
    command.output().unwrap()
}

#[test]
fn every_reason_has_its_numbers() {
    let folder = folder();
    let domains = [
        "throttled.example",
        "held.example",
        "down.example",
        "lost.example",
        "full.example",
        "two.example",
        "b.capped.example",
        "later.example",
        "nobody.example",
    ];
    let mut answers = String::new();
    for domain in domains {
        let output = sim(&folder, &["--why", domain, "--at", "30s"]);
        assert_eq!(output.status.code(), Some(0), "{domain}");
        answers += &String::from_utf8_lossy(&output.stdout);
        answers.push('\n');
    }
    assert_snapshot!(answers);
}

#[test]
fn the_answer_as_json() {
    let folder = folder();
    let args = ["--why", "throttled.example", "--binding", "default", "--at", "30s", "--json", "-"];
    let output = sim(&folder, &args);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer[0]["domain"], "throttled.example");
    assert_eq!(answer[0]["active"], 2);
    assert_eq!(answer[0]["behind"]["kind"], "throttle");
    assert_eq!(answer[0]["behind"]["rate"]["events"], 1);
    let other = sim(&folder, &["--why", "throttled.example", "--binding", "other"]);
    assert_eq!(
        String::from_utf8_lossy(&other.stdout),
        "Nothing waits for throttled.example at 01:00:00.000.\n"
    );
}
