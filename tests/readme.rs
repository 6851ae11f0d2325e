//! The README shows what the program prints.

use std::fs;
use std::process::Command;

use traject_tests::{binary, workspace};

#[test]
fn the_report_in_the_readme_is_the_tours() {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("a README");
    let (_, after) = readme.split_once("Tour: ").expect("the report");
    let (report, _) = after.split_once("```").expect("the end of the report");
    let run = Command::new(binary())
        .current_dir(workspace())
        .args(["sim", "scenarios/tour.toml"])
        .output()
        .expect("the program runs");
    let printed = String::from_utf8(run.stdout).expect("UTF-8");
    // The last line but one names the time the run took and a hash that changes with the program.
    let lasting = |line: &&str| !line.is_empty() && !line.starts_with("simulated ");
    for line in report.lines().filter(lasting) {
        assert!(printed.contains(line), "the tour does not print {line:?}:\n{printed}");
    }
}
