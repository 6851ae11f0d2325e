//! Generated message bodies: a function of (seed, message, size), so that a million messages need
//! no storage and the receiving end can tell whether every byte arrived.

/// Smallest body: it holds at least the header line that names the message.
pub const SIZE_BYTES_MIN: u64 = 64;
