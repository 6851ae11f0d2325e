//! The simulated world: a scenario's traffic, receivers and faults around the engine and driver
//! that deliver for real, and what is made of the records: oracles, expectations, reports.

#![forbid(unsafe_code)]

pub mod bands;
pub mod body;
pub mod cause;
pub mod counts;
pub mod coverage;
pub mod describe;
pub mod diff;
pub mod disk;
pub mod dns;
pub mod event;
pub mod expect;
pub mod fault;
pub mod glob;
pub mod network;
pub mod notices;
pub mod oracle;
pub mod profile;
pub mod receiver;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod schema;
pub mod spool;
pub mod swarm;
#[cfg(test)]
mod test_records;
pub mod tls;
pub mod tls_matrix;
pub mod trace;
pub mod traffic;
