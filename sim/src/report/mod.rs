//! What a run came to: one value, shown as text or as JSON.
//!
//! The unit of counting is the recipient: a message to three recipients counts three times.

pub mod backlog;
mod build;
pub mod flow;
pub mod html;
pub mod tally;
pub mod text;
pub mod timeline;
mod waiting;
pub mod why;

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use traject_engine::smtp::stage::Stage;

use self::tally::Notices;
use crate::counts::Transports;
use crate::expect::judge::ExpectationResult;
use crate::trace::TraceHash;

/// What a run came to. Within a version of its JSON form, keys are only added.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// Version of this form.
    #[schemars(extend("const" = VERSION))]
    pub version: u32,
    /// What the scenario calls itself.
    pub title: String,
    /// The scenario's file.
    pub scenario: String,
    /// The configuration's file, or `inline`.
    pub config: String,
    /// The seed of the run.
    pub seed: u64,
    /// Stands for everything that happened.
    #[schemars(with = "String")]
    pub trace_hash: TraceHash,
    /// Why the run ended.
    pub end: End,
    /// Simulated seconds from the start to the end.
    pub simulated_s: f64,
    /// Everything together.
    pub totals: Totals,
    /// Everything together over time.
    pub timeline: TimelineReport,
    /// Domain by domain, in the order of their names.
    pub domains: Vec<DomainReport>,
    /// The receivers, in the order of the scenario.
    pub receivers: Vec<ReceiverReport>,
    /// What broke and what was done during the run, as the scenario says, in order of time.
    pub happenings: Vec<Happening>,
    /// What the scenario said must hold.
    pub expectations: Vec<ExpectationResult>,
    /// The command that runs it again.
    pub replay: String,
}

/// Version of the JSON form.
pub const VERSION: u32 = 2;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every recipient was done and nothing more was planned.
    Settled,
    /// The time was over (`horizon`, or `--until`).
    TimeOver,
    /// Somebody interrupted it: the numbers are those of a part.
    Interrupted,
    /// An invariant was violated, or nothing could move.
    Failed,
}

/// The numbers of a whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Messages accepted.
    pub messages: u64,
    /// Recipients accepted for delivery.
    pub accepted: u64,
    /// Recipients a receiver took the message for.
    pub delivered: u64,
    /// Recipients that failed for good.
    pub bounced: u64,
    /// Recipients given up as too old or tried too often.
    pub expired: u64,
    /// Recipients not done.
    pub pending: u64,
    /// Attempts, one for each recipient of a transaction.
    pub attempts: u64,
    /// Attempts that failed and were to be repeated.
    pub deferrals: u64,
    /// Copies that receivers took of what they, or others, had already.
    pub duplicates: u64,
    /// Seconds within which half of the recipients that did not bounce were delivered, each
    /// counted from its acceptance.
    pub t50_s: Option<f64>,
    /// The same for 95 %.
    pub t95_s: Option<f64>,
    /// The same for 99 %.
    pub t99_s: Option<f64>,
    /// The same for all.
    pub t100_s: Option<f64>,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that could not be made.
    pub connection_failures: u64,
    /// What protected the recipients delivered.
    pub transports: Transports,
    /// What senders were told. Nowhere else in the report is this mail counted.
    pub notices: Notices,
}

/// The numbers of one domain.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DomainReport {
    /// The domain.
    pub domain: String,
    /// The receiver of the scenario it belongs to; none for a domain that only the DNS knows.
    pub receiver: Option<String>,
    /// Recipients accepted for delivery.
    pub accepted: u64,
    /// Recipients a receiver took the message for.
    pub delivered: u64,
    /// Recipients that failed for good.
    pub bounced: u64,
    /// Recipients given up.
    pub expired: u64,
    /// Recipients not done.
    pub pending: u64,
    /// Recipients not done that were refused for now at least once.
    pub deferred_now: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that failed and were to be repeated.
    pub deferrals: u64,
    /// Copies that receivers took of what they, or others, had already.
    pub duplicates: u64,
    /// Seconds within which half of the recipients that did not bounce were delivered, each
    /// counted from its acceptance.
    pub t50_s: Option<f64>,
    /// The same for 95 %.
    pub t95_s: Option<f64>,
    /// The same for 99 %.
    pub t99_s: Option<f64>,
    /// The same for all.
    pub t100_s: Option<f64>,
    /// The most connections that were open at once.
    pub peak_connections: u64,
    /// The most the configuration allows, or allowed at some time.
    pub max_connections: u64,
    /// How many it allows from an instant on; several when a reload changed it.
    pub connection_caps: Vec<CapReport>,
    /// The connections of each of our addresses.
    pub sources: Vec<SourceReport>,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that could not be made.
    pub connection_failures: u64,
    /// What protected the recipients delivered.
    pub transports: Transports,
    /// Replies that decided attempts, most frequent first.
    pub replies: Vec<ReplyReport>,
    /// What mail waited for most.
    pub limited_by: Option<Limiter>,
    /// Everything mail waited for, the longest first.
    pub waits: Vec<Limiter>,
    /// Why what is pending does not go out, in the engine's words.
    pub pending_because: Option<String>,
    /// What happened over time.
    pub timeline: TimelineReport,
    /// Failed attempts over time by the reply that decided them, most frequent first; beyond the
    /// first few replies, added up.
    pub failures: Vec<FailureTimeline>,
}

/// How many connections are allowed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CapReport {
    /// Seconds from the start.
    pub from_s: f64,
    /// So many, added up over the bindings.
    pub max: u64,
}

/// The connections of one of our addresses to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SourceReport {
    /// Our address.
    pub address: IpAddr,
    /// The most connections that were open at once.
    pub peak_connections: u64,
    /// Connections that were opened.
    pub connections: u64,
}

/// One reply and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ReplyReport {
    /// How far the dialogue had come. Before MAIL FROM no message was concerned: the exchange was
    /// set aside.
    #[schemars(with = "Option<String>")]
    pub stage: Option<Stage>,
    /// Code and text.
    pub reply: String,
    /// Whether these are our own words about something no receiver said.
    pub local: bool,
    /// How often it decided.
    pub count: u64,
    /// Seconds that recipients waited for the retry it led to, added up.
    pub waited_s: f64,
}

/// What held a domain's mail back most.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Limiter {
    /// What sort of thing.
    pub kind: LimiterKind,
    /// The reply, the trouble, the option.
    pub detail: String,
    /// Its part of all waiting, from 0 to 1.
    pub share: f64,
    /// Seconds of waiting, divided by the recipients accepted.
    pub seconds_per_recipient: f64,
}

/// What can hold mail back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimiterKind {
    /// The wait for the retry after a receiver's reply.
    RetryAfterReply,
    /// The wait for the retry after a connection broke or stalled.
    RetryAfterTrouble,
    /// TLS did not come about: handshakes that failed, and the wait for the retry after them.
    Tls,
    /// `outbound_throttle_messages` or `outbound_throttle_connections`.
    Throttle,
    /// `max_outbound_connections` of the pair: all of them were open.
    ConnectionCap,
    /// A cap on connections that is shared with others.
    SharedConnectionCap,
    /// The line for a look-up in the DNS.
    LookupLimit,
    /// The DNS had not answered yet.
    Dns,
    /// No connection could be made.
    Unreachable,
    /// The configuration holds the mail.
    Suspended,
    /// An operator holds the mail.
    Operator,
    /// The spool had not taken what became of too many messages.
    Spool,
    /// The process was down.
    NoProcess,
    /// Nothing: the dialogues themselves, and turns on few connections.
    Dialogue,
}

/// What happened over time, in buckets of the same length since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineReport {
    /// Length of a bucket in seconds.
    pub bucket_s: u64,
    /// Recipients delivered in each bucket; buckets after the last delivery are left out.
    pub delivered: Vec<u64>,
    /// The most connections that were open in each bucket.
    pub connections: Vec<u64>,
    /// The most recipients that were to be sent, or being sent, in each bucket.
    pub active: Vec<u64>,
    /// The most recipients that waited for their next attempt in each bucket.
    pub delayed: Vec<u64>,
}

/// Failed attempts with one reply over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailureTimeline {
    /// How far the dialogue had come; none for several replies together.
    #[schemars(with = "Option<String>")]
    pub stage: Option<Stage>,
    /// The reply.
    pub reply: String,
    /// How many in each bucket of the timeline; buckets after the last one are left out.
    pub counts: Vec<u64>,
}

/// Something the scenario has happen.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Happening {
    /// What sort of thing.
    pub kind: HappeningKind,
    /// Seconds from the start to its begin.
    pub from_s: f64,
    /// Seconds from the start to its end; the same for something that takes no time.
    pub to_s: f64,
    /// What it is, in a few words.
    pub what: String,
}

/// Sorts of happenings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HappeningKind {
    /// A `[[fault]]`.
    Fault,
    /// An `[[event]]`.
    Event,
    /// A receiver behaves differently for a while.
    Receiver,
}

/// What a report says beside its numbers.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the scenario calls itself.
    pub title: String,
    /// The scenario's file.
    pub scenario: String,
    /// The configuration's file, or `inline`.
    pub config: String,
    /// The seed of the run.
    pub seed: u64,
    /// The trace hash.
    pub trace_hash: TraceHash,
    /// Why the run ended.
    pub end: End,
    /// How long it lasted.
    pub simulated: Duration,
    /// The command that runs it again.
    pub replay: String,
    /// What the scenario has happen.
    pub happenings: Vec<Happening>,
    /// The receivers.
    pub receivers: Vec<ReceiverReport>,
}

/// A receiver as this run had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReceiverReport {
    /// What the scenario calls it.
    pub receiver: String,
    /// The profile it was made from.
    pub profile: Option<String>,
    /// The numbers that are not known for sure, as the seed drew them.
    pub drawn: Vec<DrawnReport>,
}

/// A number that the seed drew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DrawnReport {
    /// What it is.
    pub what: String,
    /// What it came to.
    pub value: String,
}

/// What is known of a domain beside its numbers.
#[derive(Clone, Debug, Default)]
pub struct DomainFacts {
    /// The receiver it belongs to.
    pub receiver: Option<String>,
    /// Recipients that are pending and were refused for now.
    pub deferred_now: u64,
    /// Why nothing goes out.
    pub pending_because: Option<String>,
}

impl Report {
    /// How many expectations did not hold.
    pub fn failed_expectations(&self) -> usize {
        self.expectations.iter().filter(|one| one.passed == Some(false)).count()
    }

    /// The report as JSON, ending with a newline.
    pub fn to_json(&self) -> String {
        // Unwrap is OK because a report is plain data with text keys.
        serde_json::to_string_pretty(self).expect("a report can be written") + "\n"
    }
}
