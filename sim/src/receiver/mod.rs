//! Simulated receivers: what they are ([`spec`]), how they decide ([`model`]) and how they speak
//! SMTP ([`smtp`]).

pub mod spec;
