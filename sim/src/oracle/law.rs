//! The laws by name. [`planted`](super::planted) shows of each that breaking it is noticed.

use std::fmt;

/// What must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Each accepted recipient is in one place and ends once.
    Conservation,
    /// What is accepted is durable before anybody is told, and forgotten only when it is done.
    Durability,
    /// Results fit replies.
    Outcome,
    /// What is delivered a receiver has, once.
    Copies,
    /// Attempts come on the schedule and end at its end.
    Retry,
    /// Caps of a pair, a connection, a transaction.
    Caps,
    /// Caps that several queues share.
    SharedCaps,
    /// Rates in every window.
    Throttles,
    /// Where connections go.
    Route,
    /// What may go in clear, what under TLS.
    Tls,
    /// Whoever is to hear of a failure does, once.
    Notices,
    /// Suspended mail is not sent.
    Suspension,
    /// The configuration's resolver agrees with a slow one.
    Config,
    /// What our client says on the wire.
    Grammar,
    /// Each request of the engine has one answer.
    Boundary,
    /// Whoever waits, waits for something that comes.
    Liveness,
    /// Time goes on.
    Spin,
    /// The same world twice is the same run.
    Determinism,
}

impl Law {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Conservation,
        Self::Durability,
        Self::Outcome,
        Self::Copies,
        Self::Retry,
        Self::Caps,
        Self::SharedCaps,
        Self::Throttles,
        Self::Route,
        Self::Tls,
        Self::Notices,
        Self::Suspension,
        Self::Config,
        Self::Grammar,
        Self::Boundary,
        Self::Liveness,
        Self::Spin,
        Self::Determinism,
    ];

    /// Its name in reports of failures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conservation => "conservation",
            Self::Durability => "durability",
            Self::Outcome => "outcome",
            Self::Copies => "copies",
            Self::Retry => "retry",
            Self::Caps => "caps",
            Self::SharedCaps => "shared caps",
            Self::Throttles => "throttles",
            Self::Route => "route",
            Self::Tls => "tls",
            Self::Notices => "notices",
            Self::Suspension => "suspension",
            Self::Config => "config",
            Self::Grammar => "grammar",
            Self::Boundary => "boundary",
            Self::Liveness => "liveness",
            Self::Spin => "spin",
            Self::Determinism => "determinism",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
