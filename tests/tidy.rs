//! House rules that a machine can check: sizes of files and lines, and words that mean unfinished
//! work.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 900;
const COLUMNS_MAX: usize = 100;

/// Every Rust file of the workspace.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut sources = Vec::new();
    for member in ["engine", "net", "sim", "cli", "tests", "bench"] {
        collect(&root.join(member), &mut sources);
    }
    sources.sort();
    assert!(sources.len() > 40, "where are the sources? {sources:?}");
    sources
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

#[test]
fn files_and_lines_are_of_readable_size() {
    let mut found = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a readable file");
        if text.lines().count() > LINES_MAX {
            found.push(format!("{}: more than {LINES_MAX} lines", path.display()));
        }
        for (number, line) in (1..).zip(text.lines()) {
            // The formatter sees to code; comments and long strings it leaves alone.
            if line.trim_start().starts_with("//") && line.chars().count() > COLUMNS_MAX {
                found.push(format!("{}:{number}: over {COLUMNS_MAX} columns", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here so that this file does not find itself.
    let words =
        ["to".to_owned() + "do!(", "unimple".to_owned() + "mented!(", "TO".to_owned() + "DO"];
    let mut found = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a readable file");
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
