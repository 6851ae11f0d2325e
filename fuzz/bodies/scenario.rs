//! Any bytes as a scenario, and as the profile of a receiver.

use std::path::Path;

use traject_sim::scenario::{parse, parse_profile};

/// Reads the bytes as both.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = parse(Path::new("fuzz.toml"), &text) {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = parse_profile("fuzz", Path::new("fuzz.toml"), &text) {
        assert!(!error.to_string().is_empty());
    }
}
