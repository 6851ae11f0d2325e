//! Simulated receivers: what they are ([`spec`]), how they decide ([`model`]) and how they speak
//! SMTP ([`smtp`]).

mod content;
pub mod grammar;
pub mod model;
pub mod smtp;
pub mod spec;
pub mod tls;
