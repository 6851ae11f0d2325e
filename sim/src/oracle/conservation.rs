//! Conservation, at rest: the engine, the spool and the book hold the same mail. What each record
//! does to it the [`Book`] judges.

use super::{Book, Finding, Law, ensure};

/// What the engine and the spool say they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtRest {
    /// Recipients in queues and transactions.
    pub queued: u64,
    /// Messages in the spool.
    pub spooled: u64,
    /// Changes of the spool that are under way.
    pub writes: u64,
}

pub(super) fn judge(held: AtRest, book: &Book) -> Result<(), Finding> {
    let AtRest { queued, spooled, writes } = held;
    let (recipients, messages) = (book.pending(), book.pending_messages());
    ensure(Law::Conservation, queued == recipients, || {
        format!("{queued} recipients are queued, and {recipients} are not done")
    })?;
    // A message is in the spool before the engine hears that it is, and accepts it.
    ensure(Law::Conservation, (messages..=messages + writes).contains(&spooled), || {
        format!("{spooled} messages are spooled, and {messages} are not done")
    })
}
