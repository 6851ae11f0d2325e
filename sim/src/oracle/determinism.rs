//! Determinism: the same world twice is the same run, to the last byte.

use traject_engine::Timestamp;

use super::{Entity, Law, Violation, ensure};

/// Judges the hashes of the traces of two runs of one world.
///
/// # Errors
///
/// When they differ.
pub fn judge(one: &str, other: &str, at: Timestamp) -> Result<(), Violation> {
    let judged = ensure(Law::Determinism, one == other, || {
        format!("two runs of one world, two traces: {one} and {other}")
    });
    judged.map_err(|finding| finding.at(at, Entity::Run))
}
