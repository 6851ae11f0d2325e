//! `traject diff` as a user meets it: what changes, what it does, and the exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;
use tempfile::TempDir;

const SCENARIO: &str = r#"
title = "Two receivers, one of which greylists"
horizon = "1d"
config_text = ""
traffic = [{ from = "a@brand.example", to = ["grey.example", "open.example"], messages = 100 }]
receiver = [
    { name = "grey", domains = ["grey.example"], greylist = { hold = "5m" } },
    { name = "open", domains = ["open.example"] },
]
expect = [{ that = "t100 <= 15m" }]
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("scenario.toml", SCENARIO),
        ("old.conf", "retry_interval = 600\n"),
        (
            "slow.conf",
            "retry_interval = 600
domain grey.example { retry_interval = 1200 }
",
        ),
        ("quick.conf", "retry_interval = 600\ndomain grey.example { retry_interval = 310 }\n"),
        ("broken.conf", "retry_intervall = 5\n"),
        ("generous.toml", "t50 = \"any\"\nt95 = \"any\"\nt99 = \"any\"\nt100 = \"200% or 1h\"\n"),
        ("odd.toml", "t96 = \"1s\"\n"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn diff(folder: &Path, head: &str, more: &[&str]) -> Output {
    let traject = env!("CARGO_BIN_EXE_traject");
    let args = ["diff", "--base", "old.conf", "--head", head, "scenario.toml"];
    Command::new(traject).current_dir(folder).args(args).args(more).output().unwrap()
}

fn page(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_change_for_the_worse() {
    let folder = folder();
    let output =
        diff(folder.path(), "slow.conf", &["--markdown", "diff.md", "--json", "diff.json"]);
    assert_snapshot!(page(&output), @r"
    old.conf → slow.conf

    Options
      retry_interval  600 (old.conf:1)  →  1200 (slow.conf:2)  default to grey.example

    scenario.toml
      grey.example  t50   10m  →  20m  WORSE
      grey.example  t95   10m  →  20m  WORSE
      grey.example  t99   10m  →  20m  WORSE
      grey.example  t100  10m  →  20m  WORSE
      BROKEN  t100 <= 15m
              t100 = 10m  →  t100 = 20m

    1 scenario: 5 differences are worse than the thresholds allow
    ");
    assert_eq!(output.status.code(), Some(1));
    let markdown = fs::read_to_string(folder.path().join("diff.md")).unwrap();
    assert_snapshot!(markdown, @r"
    ### `old.conf` → `slow.conf`

    **1 scenario: 5 differences are worse than the thresholds allow**

    | option | before | after | mail |
    | --- | --- | --- | --- |
    | `retry_interval` | 600 (old.conf:1) | 1200 (slow.conf:2) | default to grey.example |

    `scenario.toml`

    | | | before | after | |
    | --- | --- | --- | --- | --- |
    | grey.example | t50 | 10m | 20m | WORSE |
    | grey.example | t95 | 10m | 20m | WORSE |
    | grey.example | t99 | 10m | 20m | WORSE |
    | grey.example | t100 | 10m | 20m | WORSE |
    | expectation | t100 <= 15m | t100 = 10m | t100 = 20m | BROKEN |
    ");
    let json = fs::read_to_string(folder.path().join("diff.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["beyond"], 5);
    assert_eq!(json["options"][0]["head"]["set_at"], "slow.conf:2");
    // What the change does not touch does not move.
    let changes = json["scenarios"][0]["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["domain"] == "grey.example"), "{changes:?}");
}

#[test]
fn a_change_for_the_better() {
    let folder = folder();
    let output = diff(folder.path(), "quick.conf", &[]);
    assert_snapshot!(page(&output), @r"
    old.conf → quick.conf

    Options
      retry_interval  600 (old.conf:1)  →  310 (quick.conf:2)  default to grey.example

    scenario.toml
      grey.example  t50   10m  →  5m10s  better
      grey.example  t95   10m  →  5m10s  better
      grey.example  t99   10m  →  5m10s  better
      grey.example  t100  10m  →  5m10s  better

    1 scenario: nothing is worse than the thresholds allow
    ");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn no_change() {
    let folder = folder();
    let output = diff(folder.path(), "old.conf", &[]);
    assert_snapshot!(page(&output), @r"
    old.conf → old.conf

    No option differs for the mail of these scenarios.

    1 scenario, 1 without any difference: nothing is worse than the thresholds allow
    ");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn thresholds_decide_but_expectations_are_kept() {
    let folder = folder();
    let output = diff(folder.path(), "slow.conf", &["--thresholds", "generous.toml"]);
    assert!(
        page(&output).ends_with("1 scenario: 1 difference is worse than the thresholds allow\n")
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_cannot_be_used_is_said() {
    let folder = folder();
    for (head, more, words) in [
        ("broken.conf", &[][..], "did you mean `retry_interval`"),
        ("gone.conf", &[], "gone.conf"),
        ("slow.conf", &["--thresholds", "odd.toml"], "`t96` is not compared"),
    ] {
        let output = diff(folder.path(), head, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{head}: {said}");
        assert_eq!(output.status.code(), Some(3), "{head}");
    }
}
