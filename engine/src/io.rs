//! The boundary: everything that can happen to the engine, everything it can want.
//!
//! The driver hands in one [`Input`] at a time and then drains every [`Output`] before the next.
//! Both sides keep to these rules:
//!
//! - Outputs are performed strictly in the order given, connection by connection.
//! - Each [`Output::Connect`] is answered by exactly one [`Input::Connected`] or
//!   [`Input::ConnectFailed`]; each [`Output::Resolve`] and each [`Output::Spool`] by exactly one
//!   [`Input::Resolved`] / [`Input::Spooled`], each [`Output::Compose`] by one
//!   [`Input::Composed`]; each [`Output::StartTls`] by one [`Input::Secured`],
//!   unless [`Output::Close`] or the end of the connection comes first.
//! - [`Input::Closed`] is the last input for a connection, and comes exactly once for each one
//!   that was accepted or connected, also after [`Output::Close`].
//! - Flow control is the driver's: it writes before it reads. As long as bytes the engine wrote
//!   wait for a slow peer, nothing is read from that peer, so the engine holds at most one read's
//!   worth of input and its replies.
//! - While a body is being transferred on a connection the driver reads for the body alone, and
//!   after [`Input::BodyDone`] of a received body it hands in nothing more from that peer until
//!   the engine has written to it: the reply to the body always precedes the next command.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::control::Control;
use crate::dns::{DnsAnswer, DnsError, Question};
use crate::ids::{ConnId, ListenerId, MessageId, QueryId, SpoolOp};
use crate::message::{RecipientState, StoredMessage, Submission};
use crate::record::{Pair, Record};
use crate::shaping::history::ShapingHistory;
use crate::smtp::data::{BodyError, BodyInfo, BodyRules};
use crate::tls::info::{TlsError, TlsInfo};
use crate::tls::params::TlsParams;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The instant of [`Engine::next_wakeup`](crate::Engine::next_wakeup) was reached.
    Wakeup,
    /// A message from something other than an SMTP client; see [`Submission`].
    Submitted(Box<Submission>),
    /// What throttles had let pass before the process began, from the spool: before every
    /// [`Input::Recovered`].
    RecoveredShaping(Arc<ShapingHistory>),
    /// A message found in the spool at start-up.
    Recovered(Box<StoredMessage>),
    /// Stop taking on work: see [`Engine::handle`](crate::Engine::handle).
    Drain,
    /// Go on with another configuration: see [`Engine::handle`](crate::Engine::handle).
    Reload(Arc<Config>),
    /// An operator wants something done with waiting mail. Its record is the answer.
    Control(Box<Control>),
    /// A peer connected to one of our listeners.
    Accepted {
        /// Allocated by the driver.
        conn: ConnId,
        /// Which endpoint.
        listener: ListenerId,
        /// Our address.
        local: SocketAddr,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// An [`Output::Connect`] succeeded.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The source address in use.
        local: SocketAddr,
    },
    /// An [`Output::Connect`] failed.
    ConnectFailed {
        /// The connection that is not to be.
        conn: ConnId,
        /// Why.
        error: NetError,
    },
    /// Bytes from the peer; empty at the orderly end of its stream.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Part of a body went over the connection, in whichever direction it goes. Sent from time to
    /// time during long bodies, so that a slow transfer can be told from a stalled one.
    BodyProgress {
        /// The connection.
        conn: ConnId,
        /// Body bytes transferred so far.
        total_bytes: u64,
    },
    /// [`Output::ReceiveBody`] or [`Output::WriteBody`] came to its end.
    BodyDone {
        /// The connection.
        conn: ConnId,
        /// What was transferred, or why not.
        result: Result<BodyInfo, BodyError>,
    },
    /// Answer to [`Output::StartTls`]. After a failure the connection is of no use: whatever is
    /// still written is thrown away, and the engine closes it.
    Secured {
        /// The connection.
        conn: ConnId,
        /// What was agreed on, or why nothing was.
        result: Result<TlsInfo, TlsError>,
    },
    /// The connection is gone. Nothing follows for it.
    Closed {
        /// The connection.
        conn: ConnId,
        /// `None` for an orderly end or our own [`Output::Close`].
        error: Option<NetError>,
    },
    /// Answer to [`Output::Resolve`].
    Resolved {
        /// Which question.
        query: QueryId,
        /// The answer.
        result: Result<DnsAnswer, DnsError>,
    },
    /// Answer to [`Output::Compose`].
    Composed {
        /// The id it is staged under.
        message: MessageId,
        /// What it is like, or why it is not there.
        result: Result<BodyInfo, ComposeError>,
    },
    /// Answer to [`Output::Spool`]: from here on the write survives a crash (or did not happen).
    Spooled {
        /// Which write.
        op: SpoolOp,
        /// Whether it is durable.
        result: Result<(), SpoolError>,
    },
}

/// What a message that the engine makes itself consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyPart {
    /// These bytes.
    Text(Vec<u8>),
    /// Some of another message's body.
    Quote {
        /// Which message's.
        message: MessageId,
        /// How much.
        quote: Quote,
    },
}

/// How much of a body is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quote {
    /// The header section, with the end of its last line, up to
    /// [`QUOTED_HEADERS_BYTES_MAX`](crate::limits::QUOTED_HEADERS_BYTES_MAX).
    Headers,
    /// Everything.
    All,
}

/// Why a message of our own was not put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComposeError {
    /// What was to be quoted cannot be read.
    Original(SpoolError),
    /// The new body cannot be written.
    Spool(SpoolError),
}

/// Something the engine wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a connection.
    Connect {
        /// Allocated by the engine.
        conn: ConnId,
        /// The source address to bind; `None` lets the system choose.
        source: Option<IpAddr>,
        /// Where to.
        peer: SocketAddr,
    },
    /// Send these bytes: commands and replies, never bodies.
    Write {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Stream a body from the spool to the peer through
    /// [`DotWriter`](crate::smtp::data::DotWriter), the final dot included.
    WriteBody {
        /// The connection.
        conn: ConnId,
        /// Whose body.
        message: MessageId,
    },
    /// Stream a body from the peer to the spool through
    /// [`DotReader`](crate::smtp::data::DotReader), up to and including the final dot.
    ReceiveBody {
        /// The connection.
        conn: ConnId,
        /// The id the body is staged under; it becomes durable with [`SpoolWrite::Insert`] or goes
        /// away with [`SpoolWrite::Discard`].
        message: MessageId,
        /// Trace header to store in front of the body.
        prefix: Vec<u8>,
        /// What the body may be.
        rules: BodyRules,
    },
    /// Begin TLS after everything written before has been sent. Bytes of the peer from here on
    /// belong to the handshake; until [`Input::Secured`] the engine writes nothing.
    StartTls {
        /// The connection.
        conn: ConnId,
        /// What the handshake must be like.
        params: TlsParams,
    },
    /// End a connection.
    Close {
        /// The connection.
        conn: ConnId,
        /// `false`: what was written is sent first, then an orderly close. `true`: drop everything.
        abort: bool,
    },
    /// Ask the DNS.
    Resolve {
        /// Allocated by the engine.
        query: QueryId,
        /// The question.
        question: Question,
    },
    /// Put a body together and stage it in the spool, as if it had been received.
    Compose {
        /// The id it is staged under.
        message: MessageId,
        /// What it consists of, in order.
        parts: Vec<BodyPart>,
    },
    /// Change the spool. Writes for one message take effect in the order given.
    Spool {
        /// Allocated by the engine.
        op: SpoolOp,
        /// The change.
        write: SpoolWrite,
    },
    /// Something worth remembering happened: the one source of logs, reports and expectations.
    Record(Box<Record>),
}

/// A change of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolWrite {
    /// Make a message and its staged body durable.
    Insert(Arc<StoredMessage>),
    /// Make the state of some recipients durable after an attempt.
    Update {
        /// Whose.
        message: MessageId,
        /// (index of the recipient, its new state).
        recipients: Vec<(u32, RecipientState)>,
    },
    /// Some recipients of a message are sent by another queue from now on.
    Reroute {
        /// Whose.
        message: MessageId,
        /// Their positions.
        recipients: Vec<u32>,
        /// By which.
        to: Pair,
    },
    /// Forget a message and its body: every recipient is done.
    Remove(MessageId),
    /// Forget a body that was staged and not accepted.
    Discard(MessageId),
    /// What throttles have let pass, instead of what was written before.
    Shaping(Arc<ShapingHistory>),
}

/// Why a connection failed, in terms every network has.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum NetError {
    /// The peer refused (RST to a SYN).
    Refused,
    /// No answer in time.
    TimedOut,
    /// No route, host or network unreachable.
    Unreachable,
    /// The peer reset an established connection.
    Reset,
    /// The source address cannot be used on this machine.
    SourceUnavailable,
    /// Out of sockets, ports or memory on our side.
    Exhausted,
    /// Anything else.
    Other,
}

impl NetError {
    /// The words of logs and internal replies.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "connection timed out",
            Self::Unreachable => "host unreachable",
            Self::Reset => "connection reset by peer",
            Self::SourceUnavailable => "source address not available",
            Self::Exhausted => "out of local resources",
            Self::Other => "network error",
        }
    }
}

/// Why a spool write did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SpoolError {
    /// No space left.
    Full,
    /// The device failed; the words of the system.
    Io(Box<str>),
}
