//! What runs the engine: one driver, generic over the network it talks to.

#![forbid(unsafe_code)]

pub mod clock;
pub mod config_files;
pub mod driver;
pub mod log_lines;
pub mod memory_spool;
mod net_error;
mod pump;
pub mod resolve;
pub mod spool;
#[cfg(test)]
mod test_world;
pub mod tls;
pub mod tokio_net;
pub mod world;

pub use net_error::net_error;
