//! The SMTP protocol: grammar, and the two ends of a dialogue as state machines without I/O.
//!
//! [`mod@line`], [`reply`], [`command`], [`address`], [`ehlo`] and [`data`] are the grammar of RFC
//! 5321; [`client`] delivers, [`server`] receives.

pub mod address;
pub mod client;
pub mod command;
pub mod data;
pub mod date;
pub mod ehlo;
pub mod eight_bit;
mod header;
pub mod line;
pub mod reply;
pub mod server;
pub mod stage;
pub mod transcode;
