//! Conservation, at rest: the engine, the spool and the book hold the same mail. What each record
//! does to it the [`Book`] judges. And on its way in: nobody is left out.

use traject_engine::config::Config;
use traject_engine::config::effective::BounceBehavior;
use traject_engine::message::{RecipientState, StoredMessage};

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

/// A message is on its way to the disk: every recipient is still to be delivered to, but those
/// whose bounces are read and dropped.
pub(super) fn judge_new(message: &StoredMessage, config: &Config) -> Result<(), Finding> {
    for recipient in &message.recipients {
        let dropped = || {
            let behavior = config.bounce_behavior(&recipient.mailbox);
            behavior == Some(BounceBehavior::Blackhole)
        };
        ensure(Law::Conservation, recipient.state != RecipientState::Done || dropped(), || {
            format!("{} of message {} is done before it came", recipient.mailbox, message.id)
        })?;
    }
    Ok(())
}
