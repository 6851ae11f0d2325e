//! Any bytes as replies of a server.

#![no_main]

#[path = "../bodies/reply.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
