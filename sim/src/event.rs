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
    /// The process dies at once, as with SIGKILL, and a new one recovers the spool.
    Crash {
        /// How long there is no process.
        down: Duration,
    },
    /// The machine loses its power: of what was not synced the disk has a part or nothing.
    PowerCut {
        /// How long there is no process.
        down: Duration,
    },
}

impl EventKind {
    /// Whether another process is there afterwards.
    pub const fn ends_process(&self) -> bool {
        match self {
            Self::Reload(_) => false,
            Self::Restart { .. } | Self::Crash { .. } | Self::PowerCut { .. } => true,
        }
    }

    /// Its name in scenarios.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reload(_) => "reload",
            Self::Restart { .. } => "restart",
            Self::Crash { .. } => "crash",
            Self::PowerCut { .. } => "power_cut",
        }
    }
}
