//! `traject test` as a user meets it: lines, results for a CI server, exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;
use tempfile::TempDir;

const KEEPS: &str = r#"
title = "Greylisting costs one retry"
horizon = "1d"
config_text = "retry_interval = 360"
traffic = [{ from = "news@brand.example", to = "grey.example", messages = 100 }]
receiver = [{ name = "grey", domains = ["grey.example"], greylist = { hold = "5m" } }]
expect = [{ that = "t100 <= 10m" }, { that = "delivered == 100%" }]
"#;

/// Scenarios in a folder of their own.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn traject_test(folder: &Path, more: &[&str]) -> Output {
    let traject = env!("CARGO_BIN_EXE_traject");
    Command::new(traject).current_dir(folder).args(["test", "."]).args(more).output().unwrap()
}

/// What was printed, without the time it took.
fn page(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let masked = |line: &str| match line.strip_suffix(')').and_then(|line| line.rsplit_once(" (")) {
        Some((line, took)) if took.ends_with(" s") => line.to_owned(),
        _ => {
            let took = |(_, took): &(&str, &str)| took.ends_with(" s");
            line.rsplit_once(" in ").filter(took).map_or(line, |(line, _)| line).to_owned()
        }
    };
    text.lines().map(masked).collect::<Vec<_>>().join("\n")
}

#[test]
fn scenarios_that_keep_their_expectations() {
    let folder = folder(&[("a.toml", KEEPS), ("b.toml", KEEPS), ("profile.toml", "x = 1")]);
    let output = traject_test(folder.path(), &["--jobs", "2"]);
    assert_snapshot!(page(&output), @r"
    ok    ./a.toml  2 expectations held, settled after 6m5s
    ok    ./b.toml  2 expectations held, settled after 6m5s

    2 scenarios: all passed
    ");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn one_fails_and_one_cannot_be_used() {
    let fails = KEEPS.replace("<= 10m", "<= 5m");
    let broken = KEEPS.replace("horizon", "horizont");
    let files = [("a.toml", KEEPS), ("b.toml", &*fails), ("c.toml", &*broken)];
    let folder = folder(&files);
    let output = traject_test(folder.path(), &["--junit", "results.xml"]);
    assert_snapshot!(page(&output), @r#"
    ok    ./a.toml  2 expectations held, settled after 6m5s
    FAIL  ./b.toml  1 of 2 expectations did not hold
            t100 <= 5m (line 7)
              actual: t100 = 6m
              broken at 6m by: message c8e908c408001 to user0@grey.example delivered: 250 2.0.0 Ok
                00:00:00.170  attempt 1 failed at RCPT TO: 451 4.7.1 Greylisted, please try again later
                  the next attempt is due 6m later
                  retry_interval = 360 (set in global)
                00:00:00.000  accepted
            replay: traject sim ./b.toml --seed 1
    FAIL  ./c.toml  cannot be used
            error: `horizon` is missing
             --> ./c.toml:1:1
              |
            1 |
              | ^
              |
              = help: how long to simulate at most: `horizon = "1d"`

            error: unknown key `horizont`
             --> ./c.toml:3:1
              |
            3 | horizont = "1d"
              | ^^^^^^^^
              |
              = help: did you mean `horizon`?

    3 scenarios: 1 passed, 2 failed
    "#);
    assert_eq!(output.status.code(), Some(3));
    let xml = fs::read_to_string(folder.path().join("results.xml")).unwrap();
    for part in [
        r#"tests="3" skipped="0" failures="1" errors="1""#,
        r#"<failure message="1 of 2 expectations did not hold">"#,
        r#"<error message="cannot be used">"#,
    ] {
        assert!(xml.contains(part), "no {part} in {xml}");
    }
    fs::remove_file(folder.path().join("c.toml")).unwrap();
    assert_eq!(traject_test(folder.path(), &[]).status.code(), Some(1));
}

#[test]
fn another_configuration() {
    let folder = folder(&[("a.toml", KEEPS), ("slow.conf", "retry_interval = 7200")]);
    let output = traject_test(folder.path(), &["--config", "slow.conf"]);
    assert_snapshot!(page(&output), @r"
    FAIL  ./a.toml  1 of 2 expectations did not hold
            t100 <= 10m (line 7)
              actual: t100 = 2h
              broken at 2h by: message c8e908c408001 to user0@grey.example delivered: 250 2.0.0 Ok
                00:00:00.170  attempt 1 failed at RCPT TO: 451 4.7.1 Greylisted, please try again later
                  the next attempt is due 2h later
                  retry_interval = 7200 (set in global)
                00:00:00.000  accepted
            replay: traject sim ./a.toml --config slow.conf --seed 1

    1 scenario: 0 passed, 1 failed
    ");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn nothing_to_test_is_an_error() {
    let folder = folder(&[("profile.toml", "x = 1")]);
    let output = traject_test(folder.path(), &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: no scenario below .\n");
    assert_eq!(output.status.code(), Some(3));
}
