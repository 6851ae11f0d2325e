//! From the tally to the report.

use std::time::Duration;

use super::backlog::Backlog;
use super::tally::{DomainTally, ReplyTally, Tally};
use super::timeline::{Gauge, Timeline};
use super::waiting::waits;
use super::{
    CapReport, DomainFacts, DomainReport, Facts, FailureTimeline, ReplyReport, Report,
    SourceReport, TimelineReport, Totals, VERSION,
};
use crate::counts::Counts;
use crate::expect::judge::ExpectationResult;

impl Report {
    /// A report of what was tallied. `of_domain` tells what else is known of a domain.
    pub fn new(
        facts: Facts,
        tally: &Tally,
        of_domain: impl Fn(&str) -> DomainFacts,
        expectations: Vec<ExpectationResult>,
    ) -> Self {
        let (mut sum, mut delivered) = (Counts::default(), Timeline::default());
        for domain in tally.domains().values() {
            sum.add(&domain.counts);
            delivered.add(&domain.timeline);
        }
        let over_time = OverTime::new(facts.simulated, tally);
        let series = (&delivered, &tally.backlog, &tally.connections);
        let domains = tally.domains().iter();
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
                duplicates: sum.duplicates,
                t50_s: seconds_to(&sum, 50),
                t95_s: seconds_to(&sum, 95),
                t99_s: seconds_to(&sum, 99),
                t100_s: seconds_to(&sum, 100),
                connections: sum.opened,
                connection_failures: sum.connection_failures,
                transports: sum.transports,
                notices: tally.notices,
            },
            timeline: over_time.report(series),
            domains: domains
                .map(|(name, domain)| over_time.domain(name, domain, of_domain(name)))
                .collect(),
            receivers: facts.receivers,
            happenings: facts.happenings,
            expectations,
            replay: facts.replay,
        }
    }
}

/// Seconds within which so many percent of the recipients that did not bounce were delivered.
fn seconds_to(counts: &Counts, percent: u8) -> Option<f64> {
    counts.delivered_within(percent).map(|delay| delay.as_secs_f64())
}

/// The buckets of a report.
struct OverTime {
    end: Duration,
    width: Duration,
}

impl OverTime {
    /// The least width that all series of a run can have.
    fn new(end: Duration, tally: &Tally) -> Self {
        let mut until_end = Gauge::default();
        until_end.set(end, 0);
        let series = tally.domains().values().map(|domain| domain.timeline.width());
        let width = series.max().unwrap_or_default().max(until_end.width());
        Self { end, width }
    }

    fn report(&self, series: (&Timeline, &Backlog, &Gauge)) -> TimelineReport {
        let (delivered, backlog, connections) = series;
        let (active, delayed) = backlog.clone().gauges(self.end);
        let peaks = |gauge: Gauge| gauge.peaks_until(self.end, self.width);
        TimelineReport {
            bucket_s: self.width.as_secs(),
            delivered: self.counts(delivered),
            connections: peaks(connections.clone()),
            active: peaks(active),
            delayed: peaks(delayed),
        }
    }

    fn counts(&self, timeline: &Timeline) -> Vec<u64> {
        timeline.clone().widened_to(self.width).counts().to_vec()
    }

    fn domain(&self, name: &str, domain: &DomainTally, facts: DomainFacts) -> DomainReport {
        let counts = &domain.counts;
        let caps = domain.caps();
        let waits = waits(domain);
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
            duplicates: counts.duplicates,
            t50_s: seconds_to(counts, 50),
            t95_s: seconds_to(counts, 95),
            t99_s: seconds_to(counts, 99),
            t100_s: seconds_to(counts, 100),
            peak_connections: counts.peak_connections,
            max_connections: caps.iter().map(|(_, max)| *max).max().unwrap_or_default(),
            connection_caps: caps
                .into_iter()
                .map(|(from, max)| CapReport { from_s: from.as_secs_f64(), max })
                .collect(),
            sources: source_reports(domain),
            connections: counts.opened,
            connection_failures: counts.connection_failures,
            transports: counts.transports,
            replies: reply_reports(domain),
            limited_by: waits.first().cloned(),
            waits,
            pending_because: facts.pending_because,
            timeline: self.report((&domain.timeline, &domain.backlog, &domain.connections)),
            failures: self.failures(domain),
        }
    }

    /// The replies most attempts failed with one by one, and the others together.
    fn failures(&self, domain: &DomainTally) -> Vec<FailureTimeline> {
        let total = |tally: &ReplyTally| tally.failures.counts().iter().sum::<u64>();
        let mut failed: Vec<&ReplyTally> =
            domain.replies.iter().filter(|tally| total(tally) > 0).collect();
        failed.sort_by_key(|tally| std::cmp::Reverse(total(tally)));
        let (shown, others) = failed.split_at(failed.len().min(FAILURES_MAX));
        let mut all: Vec<FailureTimeline> = shown
            .iter()
            .map(|tally| FailureTimeline {
                stage: Some(tally.stage),
                reply: tally.reply.to_string(),
                counts: self.counts(&tally.failures),
            })
            .collect();
        let mut rest = domain.other_failures.clone();
        for tally in others {
            rest.add(&tally.failures);
        }
        if !rest.counts().is_empty() {
            let (stage, reply) = (None, OTHER_REPLIES.to_owned());
            all.push(FailureTimeline { stage, reply, counts: self.counts(&rest) });
        }
        all
    }
}

fn source_reports(domain: &DomainTally) -> Vec<SourceReport> {
    let report = |(address, tally): (&std::net::IpAddr, &super::tally::SourceTally)| SourceReport {
        address: *address,
        peak_connections: tally.peak,
        connections: tally.opened,
    };
    domain.sources.iter().map(report).collect()
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
            reply: OTHER_REPLIES.to_owned(),
            local: false,
            count: domain.other_replies,
            waited_s: 0.0,
        });
    }
    replies.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reply.cmp(&b.reply)));
    replies
}

/// Replies whose failures are shown over time one by one.
const FAILURES_MAX: usize = 7;

/// What replies beyond those that are counted one by one are called.
const OTHER_REPLIES: &str = "other replies";
