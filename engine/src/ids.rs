//! Names of the things that cross the boundary.
//!
//! An id is allocated by whoever starts the thing and never used again. The low bit tells who
//! that was, so that engine and driver can both allocate without asking each other.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct $name(pub u64);

        impl $name {
            /// The `n`-th id the engine allocates.
            pub const fn by_engine(n: u64) -> Self {
                Self(n << 1)
            }

            /// The `n`-th id the driver allocates.
            pub const fn by_driver(n: u64) -> Self {
                Self((n << 1) | 1)
            }

            /// Whether the engine allocated it.
            pub const fn is_by_engine(self) -> bool {
                self.0 & 1 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    )+};
}

ids! {
    /// A connection, inbound (started by the driver's accept) or outbound (by the engine).
    ConnId
    /// A message and its body. Ids start from the clock (see [`MessageId::first`]) so that those
    /// of a restarted process do not meet the ones in its spool.
    MessageId
    /// A DNS question under way.
    QueryId
    /// A spool write under way.
    SpoolOp
}

impl MessageId {
    /// The counter to start allocating from at `start_micros`, the start of the process in
    /// microseconds since the epoch. A process that takes fewer than a million messages a second
    /// never overtakes the clock, so a later process starts beyond every id in the spool.
    pub const fn first(start_micros: u64) -> u64 {
        start_micros
    }
}

/// Position of a listening socket in the configuration's list of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerId(pub u32);
