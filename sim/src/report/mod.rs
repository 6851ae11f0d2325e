//! What a run came to: one value, shown as text or as JSON.
//!
//! The unit of counting is the recipient: a message to three recipients counts three times.

pub mod flow;
pub mod tally;
pub mod text;
pub mod timeline;
pub mod why;

use std::time::Duration;

use serde::Serialize;
use traject_engine::Timestamp;
use traject_engine::smtp::stage::Stage;

use self::tally::{DomainTally, Tally};
use crate::counts::{Counts, Transports};
use crate::expect::judge::ExpectationResult;
use crate::trace::TraceHash;

/// A report. Its JSON form is stable within [`VERSION`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form.
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
    pub trace_hash: TraceHash,
    /// Why the run ended.
    pub end: End,
    /// Simulated seconds from the start to the end.
    pub simulated_s: f64,
    /// Everything together.
    pub totals: Totals,
    /// Domain by domain, in the order of their names.
    pub domains: Vec<DomainReport>,
    /// What the scenario said must hold.
    pub expectations: Vec<ExpectationResult>,
    /// The command that runs it again.
    pub replay: String,
}

/// Version of the JSON form.
pub const VERSION: u32 = 1;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that could not be made.
    pub connection_failures: u64,
}

/// The numbers of one domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// The most the configuration allows.
    pub max_connections: u64,
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
    /// Why what is pending does not go out, in the engine's words.
    pub pending_because: Option<String>,
    /// Deliveries over time.
    pub timeline: TimelineReport,
}

/// One reply and what it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplyReport {
    /// How far the dialogue had come. Before MAIL FROM no message was concerned: the exchange was
    /// set aside.
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimiterKind {
    /// The wait for the retry after a receiver's reply.
    RetryAfterReply,
    /// The wait for the retry after a connection broke or stalled.
    RetryAfterTrouble,
    /// `max_outbound_connections`: all of them were open.
    ConnectionCap,
    /// No connection could be made.
    Unreachable,
    /// Nothing: the dialogues themselves, and turns on few connections.
    Dialogue,
}

/// Deliveries over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelineReport {
    /// Length of a bucket in seconds.
    pub bucket_s: u64,
    /// Recipients delivered in each bucket since the start.
    pub delivered: Vec<u64>,
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
    /// When the run ended.
    pub ended_at: Timestamp,
}

impl Report {
    /// A report of what was tallied. `of_domain` tells what else is known of a domain.
    pub fn new(
        facts: Facts,
        tally: &Tally,
        of_domain: impl Fn(&str) -> DomainFacts,
        expectations: Vec<ExpectationResult>,
    ) -> Self {
        let mut sum = Counts::default();
        for domain in tally.domains().values() {
            sum.add(&domain.counts);
        }
        let width = tally.domains().values().map(|domain| domain.timeline.width()).max();
        let width = width.unwrap_or_default();
        let domains = tally
            .domains()
            .iter()
            .map(|(name, domain)| domain_report(name, domain, of_domain(name), width))
            .collect();
        Self {
            version: VERSION,
            title: facts.title,
            scenario: facts.scenario,
            config: facts.config,
            seed: facts.seed,
            trace_hash: facts.trace_hash,
            end: facts.end,
            simulated_s: facts.simulated.as_secs_f64(),
            totals: Totals {
                messages: tally.messages,
                accepted: sum.accepted,
                delivered: sum.delivered,
                bounced: sum.bounced,
                expired: sum.expired,
                pending: sum.pending(),
                attempts: sum.attempts,
                deferrals: sum.deferrals,
                connections: sum.opened,
                connection_failures: sum.connection_failures,
            },
            domains,
            expectations,
            replay: facts.replay,
        }
    }

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

fn domain_report(
    name: &str,
    domain: &DomainTally,
    facts: DomainFacts,
    width: Duration,
) -> DomainReport {
    let counts = &domain.counts;
    let within =
        |percent| counts.delivered_within(percent).map(|delay: Duration| delay.as_secs_f64());
    let timeline = domain.timeline.clone().widened_to(width);
    DomainReport {
        domain: name.to_owned(),
        receiver: facts.receiver,
        accepted: counts.accepted,
        delivered: counts.delivered,
        bounced: counts.bounced,
        expired: counts.expired,
        pending: counts.pending(),
        deferred_now: facts.deferred_now,
        attempts: counts.attempts,
        deferrals: counts.deferrals,
        t50_s: within(50),
        t95_s: within(95),
        t99_s: within(99),
        t100_s: within(100),
        peak_connections: counts.peak_connections,
        max_connections: domain.cap(),
        connections: counts.opened,
        connection_failures: counts.connection_failures,
        transports: counts.transports,
        replies: reply_reports(domain),
        limited_by: limiter(domain, facts.ended_at),
        pending_because: facts.pending_because,
        timeline: TimelineReport {
            bucket_s: timeline.width().as_secs(),
            delivered: timeline.counts().to_vec(),
        },
    }
}

fn reply_reports(domain: &DomainTally) -> Vec<ReplyReport> {
    let mut replies: Vec<ReplyReport> = domain
        .replies
        .iter()
        .map(|tally| ReplyReport {
            stage: Some(tally.stage),
            reply: tally.reply.to_string(),
            local: tally.reply.local,
            count: tally.count,
            waited_s: tally.waited.as_secs_f64(),
        })
        .collect();
    if domain.other_replies > 0 {
        replies.push(ReplyReport {
            stage: None,
            reply: "other replies".to_owned(),
            local: false,
            count: domain.other_replies,
            waited_s: 0.0,
        });
    }
    replies.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reply.cmp(&b.reply)));
    replies
}

/// The greatest part of all waiting; `None` when nobody waited.
fn limiter(domain: &DomainTally, end: Timestamp) -> Option<Limiter> {
    let mut causes: Vec<(LimiterKind, String, Duration)> = domain
        .replies
        .iter()
        .map(|tally| {
            let kind = if tally.reply.local {
                LimiterKind::RetryAfterTrouble
            } else {
                LimiterKind::RetryAfterReply
            };
            (kind, tally.reply.to_string(), tally.waited)
        })
        .collect();
    let cap = format!("max_outbound_connections = {}", domain.cap());
    let trouble = domain.trouble(end).unwrap_or_default();
    causes.push((LimiterKind::ConnectionCap, cap, domain.held.at_cap));
    causes.push((LimiterKind::Unreachable, trouble, domain.held.down));
    causes.push((LimiterKind::Dialogue, String::new(), domain.flowing));
    let total: Duration = causes.iter().map(|(_, _, waited)| *waited).sum();
    let (kind, detail, waited) = causes.into_iter().max_by_key(|(_, _, waited)| *waited)?;
    (!total.is_zero()).then(|| Limiter {
        kind,
        detail,
        share: waited.as_secs_f64() / total.as_secs_f64(),
        seconds_per_recipient: waited.as_secs_f64() / domain.counts.accepted.max(1) as f64,
    })
}
