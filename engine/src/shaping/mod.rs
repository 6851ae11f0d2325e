//! Traffic shaping: limits that several queues share.

pub(crate) mod gates;
pub mod history;
pub mod throttle;
