//! What fuzzing does with any bytes, a file for each target: it comes back, whatever the bytes,
//! and what must hold holds.
//!
//! The targets beside this folder run them for as long as somebody likes, `tests/fuzz.rs` for a
//! moment with every test run.

pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod dots;
pub(crate) mod reply;
pub(crate) mod scenario;
pub(crate) mod server;
mod source;
pub(crate) mod spool;

/// Does what a target does with some bytes.
pub(crate) type Body = fn(&[u8]);

/// Every target.
pub(crate) const ALL: &[(&str, Body)] = &[
    ("client", client::run),
    ("command", command::run),
    ("config", config::run),
    ("dots", dots::run),
    ("reply", reply::run),
    ("scenario", scenario::run),
    ("server", server::run),
    ("spool", spool::run),
];
