//! What throttles have let pass, in the form that outlives the process.
//!
//! A throttle must not start afresh with each restart, or every one would be a burst. Its history
//! is kept beside the mail: coarse, since it is written again and again, and on the safe side: the
//! events of a bucket count as if all had happened with its last.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::throttle::Rate;
use crate::time::Timestamp;

/// What all throttles have let pass that still counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapingHistory {
    /// One for each throttle with something in its window.
    pub throttles: Vec<ThrottleHistory>,
}

/// What one throttle has let pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleHistory {
    /// The option.
    pub kind: ThrottleKind,
    /// The stanza that sets it; empty for the global scope.
    pub scope: Arc<str>,
    /// The limit it had.
    pub rate: Rate,
    /// (instant, events), oldest first, at most [`BUCKETS_MAX`] and one.
    pub passed: Vec<(Timestamp, u32)>,
}

/// The options that are throttles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleKind {
    /// `outbound_throttle_messages`.
    Messages,
    /// `outbound_throttle_connections`.
    Connections,
}

/// Buckets of a history: after a restart a throttle waits at most such a part of its window longer
/// than it must.
pub const BUCKETS_MAX: u32 = 64;
