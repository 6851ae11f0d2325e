//! Messages and envelopes, as they are spooled and queued.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::record::Pair;
use crate::smtp::address::{Mailbox, ReversePath};
use crate::time::Timestamp;

/// Everything about a message but its body: what the spool keeps beside the body and what
/// start-up reads back.
///
/// A message is a body and one or more recipients. Its body never passes through the engine; the
/// driver keeps it in the spool under the message's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its id, and its body's.
    pub id: MessageId,
    /// The envelope sender (MAIL FROM), where failures are reported to.
    pub reverse_path: ReversePath,
    /// The envelope recipients (RCPT TO), in the order given. Positions never change: records and
    /// spool updates refer to them by index.
    pub recipients: Vec<StoredRecipient>,
    /// When the message was received: its age, and so its expiry, count from here.
    pub received_at: Timestamp,
    /// Bytes of the spooled body, trace header included, before dot-stuffing.
    pub size_bytes: u64,
    /// Whether the body holds bytes above 127 (RFC 6152).
    pub eight_bit: bool,
    /// The binding that sends it; `default` when none was assigned.
    pub binding: Arc<str>,
    /// The client that handed it in, for XCLIENT; `None` when there was none. The messages of one
    /// connection share it.
    pub origin: Option<Arc<Origin>>,
    /// Recipients that an operator gave to another queue than that of `binding` and their domain,
    /// in order of their positions.
    pub rerouted: Vec<(u32, Pair)>,
}

impl StoredMessage {
    /// Notes that some recipients are sent by another queue from now on.
    pub fn reroute(&mut self, recipients: &[u32], to: &Pair) {
        for recipient in recipients {
            match self.rerouted.binary_search_by_key(recipient, |(index, _)| *index) {
                Ok(at) => self.rerouted[at].1 = to.clone(),
                Err(at) => self.rerouted.insert(at, (*recipient, to.clone())),
            }
        }
    }

    /// The queue that an operator gave a recipient to.
    pub fn rerouted(&self, recipient: u32) -> Option<&Pair> {
        let at = self.rerouted.binary_search_by_key(&recipient, |(index, _)| *index).ok()?;
        Some(&self.rerouted[at].1)
    }
}

/// A client, as the listener knew it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What it called itself in EHLO or HELO; `None` when it said neither.
    pub helo: Option<Box<str>>,
    /// Whether it said EHLO.
    pub esmtp: bool,
}

/// One recipient and how far its delivery has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecipient {
    /// Where to deliver to.
    pub mailbox: Mailbox,
    /// How far it has come.
    pub state: RecipientState,
}

/// How far the delivery to one recipient has come; durable after each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipientState {
    /// Waiting for its first or next attempt.
    Pending {
        /// Attempts made so far that ended in a transient failure.
        attempts: u16,
        /// When the next one is due; the past means now.
        next_attempt_at: Timestamp,
    },
    /// Delivered, failed for good, or expired: nothing is left to do.
    Done,
}

impl RecipientState {
    /// A recipient of a message just received.
    pub const fn new(received_at: Timestamp) -> Self {
        Self::Pending { attempts: 0, next_attempt_at: received_at }
    }
}

/// A message handed over by the driver itself rather than by an SMTP client: simulated traffic,
/// later an HTTP injection. Its body is already staged in the spool under `message.id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The message; all recipients [`RecipientState::new`].
    pub message: StoredMessage,
}
