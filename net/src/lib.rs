//! What runs the engine: one driver, generic over the network it talks to.

#![forbid(unsafe_code)]

pub mod config_files;
pub mod spool;
pub mod world;
