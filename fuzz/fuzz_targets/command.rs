//! Any bytes as commands of a client.

#![no_main]

#[path = "../bodies/command.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
