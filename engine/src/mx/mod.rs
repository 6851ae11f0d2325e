//! From a destination to addresses: look-ups, their answers kept for their TTL, and the choice
//! of where to connect to.

pub(crate) mod hops;
pub(crate) mod line;
pub mod plan;
pub(crate) mod routes;
