//! The delivering end of an SMTP dialogue.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::MessageId;
use crate::io::NetError;
use crate::record::CloseReason;
use crate::smtp::address::{Mailbox, ReversePath};
use crate::smtp::data::{BodyError, BodyInfo};
use crate::smtp::reply::Reply;
use crate::smtp::stage::Stage;

/// How one session behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// Argument of EHLO and HELO.
    pub ehlo_hostname: Arc<str>,
    /// Whether to try EHLO first.
    pub esmtp: bool,
    /// Wait for the banner and for the reply to EHLO and HELO.
    pub ehlo_timeout: Duration,
    /// Wait for the reply to MAIL FROM.
    pub mailfrom_timeout: Duration,
    /// Wait for the reply to RCPT TO and to DATA.
    pub rcptto_timeout: Duration,
    /// Wait for the reply to the final dot, and for progress while sending the body.
    pub body_timeout: Duration,
    /// Wait for the reply to RSET and to QUIT.
    pub rset_timeout: Duration,
    /// How long to wait for work; zero waits for ever.
    pub idle_timeout: Duration,
}

/// One message to some recipients of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whose body to send.
    pub message: MessageId,
    /// For MAIL FROM.
    pub reverse_path: ReversePath,
    /// For RCPT TO; never empty.
    pub recipients: Vec<Mailbox>,
    /// For SIZE.
    pub size_bytes: u64,
    /// For BODY=8BITMIME.
    pub eight_bit: bool,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum ClientInput<'a> {
    /// Bytes from the peer; empty at the orderly end of its stream.
    Received(&'a [u8]),
    /// The body is being sent and moves on.
    BodyProgress,
    /// The body is sent, final dot included, or not.
    BodyDone(Result<BodyInfo, BodyError>),
    /// The instant of the session's deadline was reached.
    Timeout,
    /// The connection is gone.
    Closed(Option<NetError>),
    /// Here is work. Only after [`ClientOutput::Ready`].
    Start(Transaction),
    /// No more work: say QUIT as soon as the transaction under way has ended.
    Quit(CloseReason),
}

/// What a session wants or says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientOutput {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Send this body, final dot included, after everything written before.
    WriteBody(MessageId),
    /// End the connection. Nothing but the final `Closed` input follows.
    Close {
        /// Drop what is unsent.
        abort: bool,
        /// For the record.
        reason: CloseReason,
    },
    /// The dialogue is open and free: ready for a transaction. Comes once after EHLO and once
    /// after each transaction.
    Ready,
    /// The result for one recipient of the transaction. Comes exactly once for each, before
    /// `Ready` or `Close`, unless `Close` follows with the recipients given back by
    /// [`ClientOutput::NotAttempted`].
    Recipient {
        /// Its index in [`Transaction::recipients`].
        index: u32,
        /// How far the dialogue had come.
        stage: Stage,
        /// What became of it.
        result: RecipientResult,
    },
    /// The transaction given with `Start` was never begun (the connection ended first): its
    /// recipients go back to the queue as they were.
    NotAttempted,
    /// The exchange is unusable for a while: no banner, refused, EHLO refused, silence. No
    /// message is to blame. `Close` follows.
    HostFailed {
        /// How far it came.
        stage: Stage,
        /// The peer's words, or ours.
        reply: Reply,
    },
    /// The peer broke the protocol. `Close` follows, after the results.
    Violation(&'static str),
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientResult {
    /// The receiver took the message.
    Delivered(Reply),
    /// Try again later.
    Transient(Reply),
    /// Do not try again.
    Permanent(Reply),
}
