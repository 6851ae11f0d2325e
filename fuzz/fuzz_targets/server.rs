//! Any order of things on a connection of a client.

#![no_main]

#[path = "../bodies/server.rs"]
mod body;
#[allow(dead_code, reason = "each target takes what it needs")]
#[path = "../bodies/source.rs"]
mod source;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
