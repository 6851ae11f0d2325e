//! Events: what the operator does to the server while mail is under way.

use std::time::Duration;

use crate::scenario::ConfigSource;

/// One `[[event]]` of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSpec {
    /// When, from the start of the scenario.
    pub at: Duration,
    /// What happens.
    pub what: EventKind,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Another configuration comes into force, as with SIGHUP.
    Reload(ConfigSource),
    /// The process drains and ends, as with SIGTERM, and a new one recovers the spool.
    Restart {
        /// How long there is no process.
        down: Duration,
    },
}
