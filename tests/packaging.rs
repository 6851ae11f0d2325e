//! What is under `packaging/` fits the program it starts.

use std::fs;
use std::process::{Command, Output};

use regex::Regex;
use traject_tests::{binary, workspace};

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The part of a file that a pattern's group stands for.
fn part(path: &str, pattern: &str) -> String {
    let text = read(path);
    let found = Regex::new(pattern).unwrap().captures(&text);
    found.unwrap_or_else(|| panic!("{path} has no {pattern}"))[1].to_owned()
}

fn traject<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    Command::new(binary()).args(arguments).current_dir(workspace()).output().unwrap()
}

/// The seconds of `--drain` in a command line that the program understands.
fn drain_seconds(arguments: &[&str]) -> u64 {
    let at = arguments.iter().position(|argument| *argument == "--drain").expect("--drain");
    // What is wrong with it is the configuration alone, which does not exist here.
    let mut arguments = arguments.to_vec();
    arguments.retain(|argument| !argument.ends_with(".conf") && !argument.contains("/var/log"));
    arguments.retain(|argument| *argument != "--records");
    let output = traject(arguments.iter().copied().chain(["nowhere/traject.conf"]));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{arguments:?}: {words}");
    arguments[at + 1].parse().unwrap()
}

#[test]
fn the_configuration_is_without_findings() {
    let output = traject(["check", "packaging/ecelerity.conf"]);
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && words.contains(" 0 errors, 0 warnings "), "{words}");
}

#[test]
fn the_unit_gives_the_daemon_time_to_drain() {
    let unit = "packaging/traject.service";
    let command = part(unit, r"(?m)^ExecStart=/usr/bin/traject (.*)$");
    let stop: u64 = part(unit, r"(?m)^TimeoutStopSec=(\d+)$").parse().unwrap();
    let drain = drain_seconds(&command.split(' ').collect::<Vec<_>>());
    assert!(drain < stop, "{drain} s of draining, and {stop} s until it is killed");
}

#[test]
fn the_container_ends_before_it_is_killed() {
    let entry = part("packaging/Containerfile", r"(?m)^ENTRYPOINT \[(.*)\]$").replace('"', "");
    let arguments: Vec<_> = entry.split(", ").skip(1).collect();
    // Container engines wait ten seconds.
    assert!(drain_seconds(&arguments) < 10);
}

#[test]
fn the_debian_package_has_what_it_names() {
    let manifest = read("cli/Cargo.toml");
    let named =
        Regex::new(r#"(?m)^ +\["\.\./([^"]+)"|^(?:unit|maintainer)-scripts = "\.\./([^"]+)""#);
    let mut count = 0;
    for found in named.unwrap().captures_iter(&manifest) {
        let path = found.get(1).or_else(|| found.get(2)).unwrap().as_str().trim_end_matches("*.md");
        assert!(workspace().join(path).exists(), "{path}");
        count += 1;
    }
    assert_eq!(count, 6);
}
