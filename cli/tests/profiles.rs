//! `traject profiles` as a user meets it.

use std::process::{Command, Output};

use insta::assert_snapshot;

fn profiles(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_traject")).arg("profiles").args(args).output().unwrap()
}

fn page(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_list_and_one_with_its_sources() {
    let listed = profiles(&[]);
    assert_eq!(listed.status.code(), Some(0));
    assert_snapshot!(page(&listed));
    let shown = profiles(&["comcast"]);
    assert_eq!(shown.status.code(), Some(0));
    assert_snapshot!(page(&shown));
}

#[test]
fn json_has_every_value_with_its_source() {
    let output = profiles(&["--json"]);
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = all.as_array().unwrap();
    assert!(all.len() >= 20);
    for value in all.iter().flat_map(|one| one["values"].as_array().unwrap()) {
        for key in ["what", "does", "source", "as_of", "confidence"] {
            assert!(value[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {value}");
        }
    }
    let one: serde_json::Value =
        serde_json::from_slice(&profiles(&["--json", "orange"]).stdout).unwrap();
    assert_eq!(one["values"][0]["value"], "1 to 3");
}

#[test]
fn an_unknown_name_is_answered_with_those_there_are() {
    let output = profiles(&["gogle"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no profile `gogle`; there are 163, apple,"), "{said}");
}
