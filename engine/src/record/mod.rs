//! Records: the one log.
//!
//! Reports, expectations, diffs and log files are made of records and of nothing else, in the
//! simulator and on the daemon alike. One record says one thing that happened, with every fact
//! needed to understand it without the others.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounce::BounceClass;
use crate::config::effective::BounceBehavior;
use crate::control::{Action, Reach, Refusal};
use crate::dns::{DnsErrorKind, Question};
use crate::ids::{ConnId, MessageId};
use crate::io::{NetError, SpoolError};
use crate::notice::NoticeKind;
use crate::smtp::address::{Mailbox, ReversePath};
use crate::smtp::reply::Reply;
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::tls::info::{TlsError, TlsInfo};
use crate::tls::policy::{Consequence, TlsFault, TlsMode};

/// One event with its instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A queue's name: the binding that sends and the domain that receives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pair {
    /// The binding.
    pub binding: Arc<str>,
    /// The destination domain, in lower case.
    pub domain: Arc<str>,
}

/// One attempt to deliver to one recipient, as far as its result is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attempt {
    /// The message.
    pub message: MessageId,
    /// Index of the recipient in the message's envelope.
    pub recipient: u32,
    /// The recipient.
    pub mailbox: Mailbox,
    /// Envelope sender.
    pub reverse_path: ReversePath,
    /// Size of the body.
    pub size_bytes: u64,
    /// Its queue.
    #[serde(flatten)]
    pub pair: Pair,
    /// How many attempts there have been, this one included; 0 when it failed without one.
    pub attempts: u16,
    /// Time since reception.
    pub age: Duration,
    /// Time since the transaction began; zero when there was none.
    #[serde(default)]
    pub took: Duration,
    /// The connection used; `None` when there was none.
    pub conn: Option<ConnId>,
    /// The address talked to.
    pub remote: Option<SocketAddr>,
    /// What protected the connection.
    pub transport: Transport,
    /// How far the dialogue had come.
    pub stage: Stage,
    /// The decisive reply: the peer's, or ours where [`Reply::local`] says so.
    pub reply: Reply,
    /// What sort of failure it was; `None` for a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<BounceClass>,
    /// Nobody is told of the failure: an operator wanted it so.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub quiet: bool,
}

/// What protected a connection to an exchange. With [`Event::TlsFailed`] this is everything that
/// the original's `tls_macros` know of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "over", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Transport {
    /// There was no connection, or none that had got past EHLO.
    Nothing,
    /// The connection was in clear.
    Clear {
        /// Why.
        why: ClearReason,
    },
    /// The connection was under TLS.
    Tls(Arc<TlsInfo>),
}

/// Why a connection is in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ClearReason {
    /// `tls = no`.
    NotWanted,
    /// `tls = ifavailable`, and STARTTLS was not offered.
    NotOffered,
    /// `tls_ifavailable_fallback`: STARTTLS was refused there.
    Refused,
    /// `tls_ifavailable_fallback`: the handshake failed there.
    NegotiationFailed,
}

/// How a message came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Via {
    /// Over an SMTP connection of a listener.
    Smtp {
        /// The connection.
        conn: ConnId,
        /// The client.
        peer: SocketAddr,
    },
    /// Handed over by the driver: simulated traffic.
    Submission,
    /// Read back from the spool at start-up.
    Spool,
    /// Made here: a notice to a sender.
    Notice {
        /// The message it is about.
        of: MessageId,
        /// What it says.
        kind: NoticeKind,
        /// The recipients it tells of, by their indexes in that message's envelope.
        told: Vec<u32>,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Event {
    /// A message is ours: durable, and acknowledged if it came over SMTP.
    Reception {
        /// The message.
        message: MessageId,
        /// Where it came from.
        via: Via,
        /// Envelope sender.
        reverse_path: ReversePath,
        /// Envelope recipients still to be delivered, in the order of their indexes.
        recipients: Vec<Mailbox>,
        /// Indexes of the envelope's other recipients, in order: they are done already. See
        /// [`numbered`].
        #[serde(default, skip_serializing_if = "<[u32]>::is_empty")]
        done: Box<[u32]>,
        /// Its binding.
        binding: Arc<str>,
        /// Size of the body.
        size_bytes: u64,
    },
    /// A message that came in is a bounce of another one (`bounce_domains`). Comes after its
    /// reception, once for each of its recipients that is an address for bounces.
    OutOfBandBounce {
        /// The message.
        message: MessageId,
        /// Index of the recipient in the message's envelope.
        recipient: u32,
        /// The connection it came by.
        conn: ConnId,
        /// The client.
        peer: SocketAddr,
        /// The address for bounces: most often the sender of the message that failed.
        mailbox: Mailbox,
        /// Who could not be delivered to; `None` if it does not say.
        about: Option<Mailbox>,
        /// The binding of the bounce.
        binding: Arc<str>,
        /// Size of the bounce.
        size_bytes: u64,
        /// What the receiver said, or what stands for it.
        reply: Reply,
        /// What sort of failure it was.
        class: BounceClass,
        /// What becomes of the bounce itself.
        behavior: BounceBehavior,
    },
    /// A client was refused something, or misbehaved.
    Rejection {
        /// The connection.
        conn: ConnId,
        /// The client.
        peer: SocketAddr,
        /// Our address.
        local: SocketAddr,
        /// What the client had asked for: the command's verb, `connect` or `data`.
        phase: Box<str>,
        /// Our reply.
        reply: Reply,
    },
    /// A recipient's message was taken by the receiver.
    Delivery(Attempt),
    /// An attempt failed and will be repeated.
    TransientFailure {
        /// The attempt.
        #[serde(flatten)]
        attempt: Attempt,
        /// When the next one is due.
        next_attempt_at: Timestamp,
    },
    /// A recipient failed for good: refused with 5xx, or undeliverable.
    PermanentFailure(Attempt),
    /// A recipient was given up: too old, or too many retries.
    Expiry {
        /// The last attempt, or the lack of one; its reply is our verdict.
        #[serde(flatten)]
        attempt: Attempt,
        /// Which limit was reached.
        why: GiveUp,
        /// What the last attempt failed with; `None` when no attempt was made now.
        last_reply: Option<Reply>,
    },
    /// An outbound connection stands.
    ConnectionOpened {
        /// The connection.
        conn: ConnId,
        /// Its queue.
        #[serde(flatten)]
        pair: Pair,
        /// Our address.
        local: SocketAddr,
        /// The exchange's address.
        remote: SocketAddr,
        /// The exchange's name.
        exchange: Arc<str>,
        /// Connections of the pair, this one included.
        open: u32,
        /// Time since the connection was begun.
        #[serde(default)]
        took: Duration,
    },
    /// An outbound connection is under TLS now.
    TlsEstablished {
        /// The connection.
        conn: ConnId,
        /// Its queue.
        #[serde(flatten)]
        pair: Pair,
        /// The exchange's address.
        remote: SocketAddr,
        /// The exchange's name.
        exchange: Arc<str>,
        /// `tls` of the pair.
        mode: TlsMode,
        /// What was agreed on.
        info: Arc<TlsInfo>,
    },
    /// There is no TLS on an outbound connection that wanted it. The connection ends.
    TlsFailed {
        /// The connection.
        conn: ConnId,
        /// Its queue.
        #[serde(flatten)]
        pair: Pair,
        /// The exchange's address.
        remote: SocketAddr,
        /// The exchange's name.
        exchange: Arc<str>,
        /// `tls` of the pair.
        mode: TlsMode,
        /// How far it came.
        stage: Stage,
        /// What happened, as far as it decides anything.
        fault: TlsFault,
        /// What happened, in words.
        reply: Reply,
        /// What follows from it.
        consequence: Consequence,
        /// How long it is remembered (`host_failure_retry`).
        until: Timestamp,
    },
    /// A client's connection is under TLS now.
    ClientSecured {
        /// The connection.
        conn: ConnId,
        /// The client.
        peer: SocketAddr,
        /// What was agreed on.
        info: Arc<TlsInfo>,
    },
    /// A client began TLS and did not get there. The connection ends.
    ClientTlsFailed {
        /// The connection.
        conn: ConnId,
        /// The client.
        peer: SocketAddr,
        /// Why.
        error: TlsError,
    },
    /// An outbound connection could not be made.
    ConnectionFailed {
        /// The connection that never was.
        conn: ConnId,
        /// Its queue.
        #[serde(flatten)]
        pair: Pair,
        /// The exchange's address.
        remote: SocketAddr,
        /// The exchange's name.
        exchange: Arc<str>,
        /// Why.
        error: NetError,
        /// Time since the connection was begun.
        #[serde(default)]
        took: Duration,
    },
    /// An outbound connection without work passed to another domain of the binding
    /// (`migrate_connections_between_sibling_domains`): it counts for that from now on.
    ConnectionMigrated {
        /// The connection.
        conn: ConnId,
        /// Its queue so far.
        from: Pair,
        /// Its queue from now on.
        to: Pair,
        /// The exchange's address.
        remote: SocketAddr,
        /// The exchange's name.
        exchange: Arc<str>,
        /// Connections of the new pair, this one included.
        open: u32,
    },
    /// An outbound connection ended.
    ConnectionClosed {
        /// The connection.
        conn: ConnId,
        /// Its queue.
        #[serde(flatten)]
        pair: Pair,
        /// The exchange's address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
        /// Messages delivered over it.
        deliveries: u32,
    },
    /// An address will not be used by a binding for a while (`host_failure_retry`).
    HostSetAside {
        /// The binding.
        binding: Arc<str>,
        /// The address.
        address: IpAddr,
        /// The exchange's name.
        exchange: Arc<str>,
        /// Until when.
        until: Timestamp,
        /// What it did: a stage of the dialogue and our or its words.
        stage: Stage,
        /// The reply that decided, the peer's or ours.
        reply: Reply,
    },
    /// All waiting mail of a queue was moved from active to delayed (`mx_failures_to_delay`,
    /// `connect_timeout_to_delay`, DNS trouble): no attempt was charged to anybody.
    QueueDelayed {
        /// The queue.
        #[serde(flatten)]
        pair: Pair,
        /// Recipients moved.
        recipients: u32,
        /// Why.
        reply: Reply,
        /// When the first of them is due again.
        next_attempt_at: Timestamp,
    },
    /// Another configuration is in force from now on.
    Reconfigured {
        /// Queues whose options changed.
        queues: u32,
        /// Recipients that wait in another queue than before: their binding is no longer
        /// configured, or their gateway is another.
        moved: u64,
    },
    /// An operator did something with waiting mail, or was refused it.
    Control {
        /// Who.
        by: Arc<str>,
        /// What.
        #[serde(flatten)]
        action: Action,
        /// How much mail that was about; nothing when it was refused.
        #[serde(flatten)]
        reach: Reach,
        /// Why nothing was done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
    },
    /// An operator gave recipients of a message to another queue.
    Rerouted {
        /// The message.
        message: MessageId,
        /// Which recipients of its envelope.
        recipients: Box<[u32]>,
        /// Their queue so far.
        from: Pair,
        /// Their queue from now on; with a `gateway` they follow that.
        to: Pair,
    },
    /// The DNS did not answer, or said no.
    DnsFailure {
        /// The question.
        question: Question,
        /// What came instead of an answer.
        error: DnsErrorKind,
        /// The resolver's words.
        text: Box<str>,
    },
    /// The spool refused a write.
    SpoolFailure {
        /// The message concerned.
        message: MessageId,
        /// Why.
        error: SpoolError,
    },
    /// The peer broke the protocol: its connection is closed, or the command refused. Or its
    /// message bears the name of a binding that does not exist: the name does not count.
    ProtocolViolation {
        /// The connection.
        conn: ConnId,
        /// The peer.
        peer: SocketAddr,
        /// What it did.
        what: Box<str>,
    },
}

impl Event {
    /// Has a failure say what sort it is. An expiry is of the sort that the last attempt was.
    pub(crate) fn classify(&mut self, class: impl FnOnce(Stage, &Reply) -> BounceClass) {
        match self {
            Self::TransientFailure { attempt, .. } | Self::PermanentFailure(attempt) => {
                attempt.class = Some(class(attempt.stage, &attempt.reply));
            }
            Self::Expiry { attempt, last_reply, .. } => {
                let reply = last_reply.as_ref().unwrap_or(&attempt.reply);
                attempt.class = Some(class(attempt.stage, reply));
            }
            _ => {}
        }
    }
}

/// The recipients of a reception, each with its index in the message's envelope, by which every
/// other record names it: some of the envelope may be `done`.
pub fn numbered<'a>(
    recipients: &'a [Mailbox],
    done: &'a [u32],
) -> impl Iterator<Item = (u32, &'a Mailbox)> {
    let open = (0_u32..).filter(|index| done.binary_search(index).is_err());
    open.zip(recipients)
}

/// Why a recipient is given up after a transient failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum GiveUp {
    /// `max_retries` retries were made.
    MaxRetries,
    /// The message is older than `message_expiration`.
    MaxTime,
}

/// Why an outbound connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CloseReason {
    /// Nothing was left to send for `idle_timeout`.
    Idle,
    /// `max_deliveries_per_connection` or `max_recipients_per_connection` was reached.
    LimitReached,
    /// The peer said 421.
    ServiceUnavailable,
    /// The peer refused us before any message: banner or EHLO.
    Refused,
    /// TLS was wanted and did not come about.
    TlsFailed,
    /// The peer closed or reset the connection.
    Lost,
    /// The peer did not answer in time.
    TimedOut,
    /// The peer broke the protocol.
    ProtocolViolation,
    /// The body could not be read from our spool, or another failure on our side.
    LocalError,
    /// The engine is draining.
    Draining,
    /// The configuration has changed, and with it an option that a connection keeps for its life.
    Reconfigured,
}
