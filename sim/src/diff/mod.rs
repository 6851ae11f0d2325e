//! What a change of the configuration does: two runs of one scenario, compared.
//!
//! Both runs have the same seed, and every draw is keyed by what it is for. So only what the change
//! touches differs, and a difference is never noise.

pub mod thresholds;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use self::thresholds::Thresholds;
use crate::report::{DomainReport, Report};
use crate::scenario::units::show_duration;

/// What differs between two runs of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioDiff {
    /// The scenario's file.
    pub scenario: String,
    /// Whether anything at all happened differently.
    pub same_trace: bool,
    /// Numbers that differ, domain by domain.
    pub changes: Vec<Change>,
    /// Expectations that hold in one run only.
    pub expectations: Vec<ExpectationChange>,
}

/// A number that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The domain.
    pub domain: String,
    /// Which number.
    pub metric: Metric,
    /// With the old configuration; `None`: such a share was never delivered.
    pub base: Option<f64>,
    /// With the new one.
    pub head: Option<f64>,
    /// What to think of it.
    pub judgement: Judgement,
}

/// An expectation that one run keeps and the other does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectationChange {
    /// The expectation, as reports show it.
    pub expectation: String,
    /// What was found with the old configuration.
    pub base: String,
    /// What was found with the new one.
    pub head: String,
    /// Whether the new one keeps it.
    pub held: bool,
}

/// What to think of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It is no worse.
    Better,
    /// It is worse, and no more than the thresholds allow.
    Within,
    /// It is worse than that.
    Beyond,
}

/// The numbers that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Recipients delivered.
    Delivered,
    /// Recipients that failed for good.
    Bounced,
    /// Recipients given up.
    Expired,
    /// Recipients not done.
    Pending,
    /// Copies that receivers took of what they, or others, had already.
    Duplicates,
    /// How many in a hundred of those delivered got their mail in clear.
    Plaintext,
    /// Attempts for each accepted recipient.
    Tries,
    /// The time within which half was delivered.
    T50,
    /// The same for 95 %.
    T95,
    /// The same for 99 %.
    T99,
    /// The same for all.
    T100,
    /// The most connections open at once.
    PeakConnections,
}

impl Metric {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Delivered,
        Self::Bounced,
        Self::Expired,
        Self::Pending,
        Self::Duplicates,
        Self::Plaintext,
        Self::Tries,
        Self::T50,
        Self::T95,
        Self::T99,
        Self::T100,
        Self::PeakConnections,
    ];

    /// Its name in tables and in files of thresholds.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Expired => "expired",
            Self::Pending => "pending",
            Self::Duplicates => "duplicates",
            Self::Plaintext => "plaintext",
            Self::Tries => "tries",
            Self::T50 => "t50",
            Self::T95 => "t95",
            Self::T99 => "t99",
            Self::T100 => "t100",
            Self::PeakConnections => "peak_connections",
        }
    }

    /// Whether it is a time, in seconds.
    pub const fn is_time(self) -> bool {
        matches!(self, Self::T50 | Self::T95 | Self::T99 | Self::T100)
    }

    /// A value as people read it.
    pub fn show(self, value: Option<f64>) -> String {
        match (self, value) {
            (_, None) => "never".to_owned(),
            (Self::Tries, Some(tries)) => format!("{tries:.2}"),
            (Self::Plaintext, Some(share)) => format!("{share:.2}%"),
            (_, Some(time)) if self.is_time() => show_duration(Duration::from_secs_f64(time)),
            (_, Some(count)) => format!("{count:.0}"),
        }
    }

    /// Its value for a domain; `None`: such a share was never delivered.
    pub fn of(self, domain: &DomainReport) -> Option<f64> {
        match self {
            Self::Delivered => Some(domain.delivered as f64),
            Self::Bounced => Some(domain.bounced as f64),
            Self::Expired => Some(domain.expired as f64),
            Self::Pending => Some(domain.pending as f64),
            Self::Duplicates => Some(domain.duplicates as f64),
            Self::Plaintext => {
                Some(100.0 * domain.transports.clear() as f64 / domain.delivered.max(1) as f64)
            }
            Self::Tries => Some(domain.attempts as f64 / domain.accepted.max(1) as f64),
            Self::T50 => domain.t50_s,
            Self::T95 => domain.t95_s,
            Self::T99 => domain.t99_s,
            Self::T100 => domain.t100_s,
            Self::PeakConnections => Some(domain.peak_connections as f64),
        }
    }

    /// Its value for all domains together.
    pub fn of_all(self, report: &Report) -> Option<f64> {
        let totals = &report.totals;
        match self {
            Self::Delivered => Some(totals.delivered as f64),
            Self::Bounced => Some(totals.bounced as f64),
            Self::Expired => Some(totals.expired as f64),
            Self::Pending => Some(totals.pending as f64),
            Self::Duplicates => Some(totals.duplicates as f64),
            Self::Plaintext => {
                Some(100.0 * totals.transports.clear() as f64 / totals.delivered.max(1) as f64)
            }
            Self::Tries => Some(totals.attempts as f64 / totals.accepted.max(1) as f64),
            Self::T50 => totals.t50_s,
            Self::T95 => totals.t95_s,
            Self::T99 => totals.t99_s,
            Self::T100 => totals.t100_s,
            Self::PeakConnections => {
                let peaks = report.timeline.connections.iter();
                Some(peaks.copied().max().unwrap_or_default() as f64)
            }
        }
    }

    /// How much worse `head` is than `base`; negative when it is better. A share that is never
    /// delivered is infinitely late.
    fn worsening(self, base: Option<f64>, head: Option<f64>) -> f64 {
        let late = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        match self {
            Self::Delivered => late(base) - late(head),
            _ => late(head) - late(base),
        }
    }
}

impl ScenarioDiff {
    /// Compares two runs of a scenario.
    pub fn new(base: &Report, head: &Report, thresholds: &Thresholds) -> Self {
        let domain = |report: &Report, name: &str| {
            report.domains.iter().find(|domain| domain.domain == name).cloned()
        };
        let both = base.domains.iter().chain(&head.domains);
        let names: BTreeSet<&String> = both.map(|domain| &domain.domain).collect();
        let mut changes = Vec::new();
        for name in names {
            let (Some(base), Some(head)) = (domain(base, name), domain(head, name)) else {
                continue;
            };
            changes.extend(compare(&base, &head, thresholds));
        }
        Self {
            scenario: base.scenario.clone(),
            same_trace: base.trace_hash == head.trace_hash,
            changes,
            expectations: expectation_changes(base, head),
        }
    }

    /// What is worse than the thresholds allow, or an expectation that no longer holds.
    pub fn beyond(&self) -> usize {
        let changes =
            self.changes.iter().filter(|change| change.judgement == Judgement::Beyond).count();
        changes + self.expectations.iter().filter(|change| !change.held).count()
    }
}

fn compare<'a>(
    base: &'a DomainReport,
    head: &'a DomainReport,
    thresholds: &'a Thresholds,
) -> impl Iterator<Item = Change> + 'a {
    Metric::ALL.iter().copied().filter_map(move |metric| {
        let (before, after) = (metric.of(base), metric.of(head));
        let differs = metric.show(before) != metric.show(after);
        differs.then(|| Change {
            domain: base.domain.clone(),
            metric,
            base: before,
            head: after,
            judgement: judge(metric, before, after, thresholds),
        })
    })
}

fn judge(
    metric: Metric,
    base: Option<f64>,
    head: Option<f64>,
    thresholds: &Thresholds,
) -> Judgement {
    let worsening = metric.worsening(base, head);
    if worsening <= 0.0 {
        Judgement::Better
    } else if thresholds.allows(metric, base, worsening) {
        Judgement::Within
    } else {
        Judgement::Beyond
    }
}

/// Runs of one scenario have the same expectations, in the same order.
fn expectation_changes(base: &Report, head: &Report) -> Vec<ExpectationChange> {
    let pairs = base.expectations.iter().zip(&head.expectations);
    let changed = pairs.filter(|(base, head)| base.passed != head.passed);
    changed
        .map(|(base, head)| ExpectationChange {
            expectation: head.expectation.clone(),
            base: base.actual.clone(),
            head: head.actual.clone(),
            held: head.passed == Some(true),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_judged_by_its_direction_and_its_size() {
        use Judgement::{Better, Beyond, Within};
        let thresholds = Thresholds::default();
        let some = Some;
        for (metric, base, head, judgement) in [
            (Metric::Delivered, some(100.0), some(101.0), Better),
            (Metric::Delivered, some(100.0), some(99.0), Beyond),
            (Metric::Bounced, some(1.0), some(0.0), Better),
            (Metric::Bounced, some(0.0), some(1.0), Beyond),
            (Metric::Plaintext, some(0.0), some(1.0), Beyond),
            (Metric::Tries, some(1.0), some(1.1), Within),
            (Metric::Tries, some(1.0), some(1.2), Beyond),
            (Metric::T95, some(100.0), some(110.0), Within),
            (Metric::T95, some(100.0), some(110.1), Beyond),
            (Metric::T95, some(0.5), some(1.5), Within),
            (Metric::T95, some(100.0), None, Beyond),
            (Metric::T95, None, some(100.0), Better),
            (Metric::PeakConnections, some(5.0), some(500.0), Within),
        ] {
            let found = judge(metric, base, head, &thresholds);
            assert_eq!(found, judgement, "{metric:?} {base:?} {head:?}");
        }
    }

    #[test]
    fn values_as_people_read_them() {
        for (metric, value, text) in [
            (Metric::T95, Some(4680.0), "1h18m"),
            (Metric::T100, None, "never"),
            (Metric::Tries, Some(1.0), "1.00"),
            (Metric::Pending, Some(12.0), "12"),
            (Metric::Plaintext, Some(12.5), "12.50%"),
        ] {
            assert_eq!(metric.show(value), text);
        }
    }
}
