//! Traffic shaping: limits that several queues share.

pub(crate) mod gates;
pub mod throttle;
