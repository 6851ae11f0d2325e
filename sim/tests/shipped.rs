//! Every scenario that ships with Traject runs, keeps its expectations, and can fail them; and the
//! document that describes the format is about the format there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use traject_engine::config::Config;
use traject_sim::expect::Metric;
use traject_sim::report::Report;
use traject_sim::runner::{RunOptions, run};
use traject_sim::scenario::{Scenario, parse};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All scenario files, in order.
fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join("scenarios")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Scenario {
    let text = fs::read_to_string(path).unwrap();
    parse(path, &text).unwrap_or_else(|error| panic!("{error}"))
}

fn play(scenario: &Scenario, config: Config) -> Report {
    scenario.check_config(&config).unwrap_or_else(|error| panic!("{error}"));
    let outcome = run(scenario, Arc::new(config), RunOptions::default());
    if let Some(failure) = outcome.failure {
        panic!("{}: {failure}", scenario.path.display());
    }
    outcome.report
}

fn config(scenario: &Scenario) -> Config {
    let loaded = scenario.load_config(None);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    loaded.config.unwrap()
}

#[test]
fn every_shipped_scenario_keeps_its_expectations() {
    let paths = shipped();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let scenario = read(&path);
        let report = play(&scenario, config(&scenario));
        let failed: Vec<_> =
            report.expectations.iter().filter(|one| one.passed != Some(true)).collect();
        assert!(failed.is_empty(), "{}: {failed:#?}", path.display());
        assert!(!report.expectations.is_empty(), "{} expects nothing", path.display());
    }
}

#[test]
fn the_tour_notices_a_worse_configuration() {
    let scenario = read(&repository().join("scenarios/tour.toml"));
    let text = fs::read_to_string(repository().join("scenarios/configs/tour.conf")).unwrap();
    let worse = text.replace("max_outbound_connections = 5", "max_outbound_connections = 20");
    assert_ne!(text, worse);
    let report = play(&scenario, Config::from_text(&worse).unwrap());
    let failed: Vec<&str> = report
        .expectations
        .iter()
        .filter(|one| one.passed != Some(true))
        .map(|one| one.expectation.as_str())
        .collect();
    let expected =
        ["t95 <= 30m, receiver strict", "always connections <= 5, receiver strict, binding bulk"];
    assert_eq!(failed, expected);
}

#[test]
fn the_examples_of_the_document_can_be_read_and_its_tables_are_complete() {
    let document = fs::read_to_string(repository().join("docs/scenarios.md")).unwrap();
    let blocks: Vec<&str> = document.split("```toml\n").skip(1).collect();
    let mut whole = 0;
    let examples = blocks.iter().map(|block| block.split("```").next().unwrap());
    for example in examples.filter(|example| example.contains("title =")) {
        parse(Path::new("docs/scenarios.md"), example).unwrap_or_else(|error| panic!("{error}"));
        whole += 1;
    }
    assert!(whole > 0, "no whole scenario in the document");
    for (metric, _) in Metric::NAMES {
        assert!(document.contains(&format!("`{metric}`")), "{metric} is not described");
    }
}
