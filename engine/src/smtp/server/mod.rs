//! The receiving end of an SMTP dialogue.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::ids::MessageId;
use crate::io::{NetError, SpoolError};
use crate::message::StoredMessage;
use crate::smtp::data::{BodyError, BodyInfo, BodyRules};
use crate::smtp::reply::Reply;

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum ServerInput<'a> {
    /// Bytes from the client; empty at the orderly end of its stream.
    Received(&'a [u8]),
    /// The body is being received and moves on.
    BodyProgress,
    /// The body is staged in the spool, or not.
    BodyDone(Result<BodyInfo, BodyError>),
    /// The message given out with [`ServerOutput::Accept`] is durable, or not.
    Spooled(Result<(), SpoolError>),
    /// The instant of the session's deadline was reached.
    Timeout,
    /// The connection is gone.
    Closed(Option<NetError>),
    /// We are shutting down: refuse the next command with 421 and close.
    Drain,
}

/// What a session wants or says.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerOutput {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Receive a body.
    ReceiveBody {
        /// The id to stage it under.
        message: MessageId,
        /// Trace header to put in front.
        prefix: Vec<u8>,
        /// What it may be.
        rules: BodyRules,
    },
    /// Make this message durable; `Spooled` answers, and only then the client gets its 250.
    Accept(Box<StoredMessage>),
    /// Forget a staged body.
    Discard(MessageId),
    /// For the record: the client was refused something.
    Rejected {
        /// Verb, `connect` or `data`.
        phase: &'static str,
        /// Our reply.
        reply: Reply,
    },
    /// For the record: the client broke the protocol.
    Violation(&'static str),
    /// End the connection. Nothing but the final `Closed` input follows.
    Close {
        /// Drop what is unsent.
        abort: bool,
    },
}
