//! Whoever watches a run from the side, without a say in it.

use traject_engine::Timestamp;
use traject_engine::record::Record;
use traject_engine::waits::WaitChange;

use crate::receiver::smtp::Excess;

/// Sees what happens in a run, in the order of time.
pub trait Observer: Send + Sync {
    /// A record was made.
    fn record(&self, record: &Record);

    /// The mail of a queue waits for something else now.
    fn waits(&self, at: Timestamp, change: &WaitChange);

    /// Our client went beyond what a receiver allows.
    fn exceeded(&self, at: Timestamp, excess: &Excess<'_>);
}
