//! How much may happen in one world.
//!
//! With a second between tries of mail that nobody will ever take, a world lasts for weeks and
//! shows nothing that its first hours did not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use traject_engine::Timestamp;
use traject_engine::record::Record;
use traject_engine::waits::WaitChange;

use crate::receiver::smtp::Excess;
use crate::runner::Observer;

/// Ends a run when too much has happened in it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    records: AtomicU64,
    /// Set when it is used up.
    pub(super) spent: Arc<AtomicBool>,
}

impl Observer for Budget {
    fn record(&self, _: &Record) {
        if self.records.fetch_add(1, Ordering::Relaxed) >= RECORDS_MAX {
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    fn waits(&self, _: Timestamp, _: &WaitChange) {}

    fn exceeded(&self, _: Timestamp, _: &Excess<'_>) {}
}

/// Records of a world; most have a few hundred.
const RECORDS_MAX: u64 = 30_000;
