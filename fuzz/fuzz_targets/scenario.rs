//! Any bytes as a scenario.

#![no_main]

#[path = "../bodies/scenario.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
