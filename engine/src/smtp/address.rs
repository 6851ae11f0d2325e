//! Mailboxes and paths (RFC 5321 section 4.1.2).

use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};

/// `local-part@domain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mailbox {
    /// As written by the client, quotes included; its case is significant.
    pub local: Arc<str>,
    /// A domain in lower case without a trailing dot, or an address literal with its brackets.
    pub domain: Arc<str>,
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// The sender of an envelope; `None` is the null reverse-path `<>` of bounces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReversePath(pub Option<Mailbox>);

impl fmt::Display for ReversePath {
    /// With the angle brackets of MAIL FROM.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(mailbox) => write!(f, "<{mailbox}>"),
            None => f.write_str("<>"),
        }
    }
}
