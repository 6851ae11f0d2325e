//! The body codecs (RFC 5321 section 4.5.2): dot-stuffing on the way out, its reverse and the
//! search for the end of data on the way in. Pure, so that the driver can stream bodies that
//! never pass through the engine.

use alloc::boxed::Box;

use serde::{Deserialize, Serialize};

use crate::io::{NetError, SpoolError};

/// What a body being received may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRules {
    /// Largest size in bytes, before dot-stuffing, without the prefix.
    pub size_bytes_max: u64,
    /// What to do with a CR or LF that stands alone, and with NUL.
    pub stray: StrayPolicy,
}

/// What to do with a bare CR, a bare LF or a NUL in a body: the inbound half of SMTP smuggling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrayPolicy {
    /// Refuse the message.
    Refuse,
    /// Make each bare CR and bare LF a CRLF; NUL is dropped.
    Fix,
}

/// What a transferred body was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyInfo {
    /// Bytes in the spool: prefix included, without dot-stuffing and without the final dot.
    pub size_bytes: u64,
    /// Whether a byte above 127 occurs.
    pub eight_bit: bool,
    /// `Received:` lines in the header section, the prefix not counted (loop detection, RFC 5321
    /// section 6.3).
    pub received_headers: u32,
}

/// Why a body was not transferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyError {
    /// More bytes than the rules allow. The body was read to its end, so the dialogue can go on.
    TooLarge,
    /// A bare CR, bare LF or NUL where the rules refuse them. Read to its end.
    StrayControl,
    /// The spool failed. When receiving, the body was read to its end; when sending, the
    /// dialogue is broken off inside the body and the connection is useless.
    Spool(SpoolError),
    /// The message's body is not in the spool.
    Missing(Box<str>),
    /// The connection ended inside the body; [`Closed`](crate::Input::Closed) follows.
    Lost(Option<NetError>),
}
