//! Metrics in Prometheus' text format, counted from records.
//!
//! A series costs memory in whatever scrapes it, so a label never takes more than a fixed number of
//! values. Domains are named as long as they are among the busiest; all others are `other`. Every
//! series only ever rises: who loses its name vanishes, and who gets one begins at zero.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use traject_engine::record::{Event, Record, Via};

use super::Daemon;
use super::answer::Problem;
use super::health::state;
use super::summary::Now;

/// Everything that is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    totals: Totals,
    domains: Domains,
    /// Deliveries by their age.
    ages: Ages,
}

/// Counts of everything. Of recipients, where it does not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Messages.
    pub(crate) received: u64,
    /// Commands and connections of clients.
    pub(crate) rejected: u64,
    pub(crate) delivered: u64,
    pub(crate) deferred: u64,
    pub(crate) failed: u64,
    pub(crate) expired: u64,
    pub(crate) connections_opened: u64,
    pub(crate) connections_failed: u64,
    pub(crate) tls_failed: u64,
    pub(crate) hosts_set_aside: u64,
    pub(crate) queues_delayed: u64,
    pub(crate) dns_failures: u64,
    pub(crate) spool_failures: u64,
    pub(crate) protocol_violations: u64,
    pub(crate) reloads: u64,
    pub(crate) control_actions: u64,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    Deferred,
    Failed,
    Expired,
}

impl Outcome {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Delivered, "delivered"),
        (Self::Deferred, "deferred"),
        (Self::Failed, "failed"),
        (Self::Expired, "expired"),
    ];
}

type Outcomes = [u64; 4];

/// Outcomes by domain, with names for the busiest.
#[derive(Debug, Default)]
struct Domains {
    named: BTreeMap<Arc<str>, Busy>,
    others: Outcomes,
    /// Domains without a name, and how much came of them lately; bounded.
    candidates: BTreeMap<Arc<str>, u64>,
    events: u64,
}

#[derive(Debug, Default)]
struct Busy {
    outcomes: Outcomes,
    /// What came of it lately.
    lately: u64,
}

/// A histogram of deliveries by the time since reception.
#[derive(Debug, Default)]
struct Ages {
    buckets: [u64; AGE_BOUNDS_S.len()],
    count: u64,
    sum: Duration,
}

impl Metrics {
    /// Counts a record.
    pub(crate) fn count(&self, record: &Record) {
        self.lock().count(&record.event);
    }

    /// The counts so far.
    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn count(&mut self, event: &Event) {
        let totals = &mut self.totals;
        let outcome = match event {
            // What comes back from the spool was received by a process before.
            Event::Reception { via: Via::Spool, .. } => None,
            Event::Reception { .. } => {
                totals.received += 1;
                None
            }
            Event::Rejection { .. } => {
                totals.rejected += 1;
                None
            }
            Event::Delivery(attempt) => {
                totals.delivered += 1;
                self.ages.count(attempt.age);
                Some((&attempt.pair.domain, Outcome::Delivered))
            }
            Event::TransientFailure { attempt, .. } => {
                totals.deferred += 1;
                Some((&attempt.pair.domain, Outcome::Deferred))
            }
            Event::PermanentFailure(attempt) => {
                totals.failed += 1;
                Some((&attempt.pair.domain, Outcome::Failed))
            }
            Event::Expiry { attempt, .. } => {
                totals.expired += 1;
                Some((&attempt.pair.domain, Outcome::Expired))
            }
            event => {
                if let Some(total) = totals.of(event) {
                    *total += 1;
                }
                None
            }
        };
        if let Some((domain, outcome)) = outcome {
            self.domains.count(domain, outcome);
        }
    }
}

impl Totals {
    /// What counts events that are about no recipient.
    const fn of(&mut self, event: &Event) -> Option<&mut u64> {
        Some(match event {
            Event::ConnectionOpened { .. } => &mut self.connections_opened,
            Event::ConnectionFailed { .. } => &mut self.connections_failed,
            Event::TlsFailed { .. } => &mut self.tls_failed,
            Event::HostSetAside { .. } => &mut self.hosts_set_aside,
            Event::QueueDelayed { .. } => &mut self.queues_delayed,
            Event::DnsFailure { .. } => &mut self.dns_failures,
            Event::SpoolFailure { .. } => &mut self.spool_failures,
            Event::ProtocolViolation { .. } => &mut self.protocol_violations,
            Event::Reconfigured { .. } => &mut self.reloads,
            Event::Control { .. } => &mut self.control_actions,
            _ => return None,
        })
    }
}

impl Domains {
    fn count(&mut self, domain: &Arc<str>, outcome: Outcome) {
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_A_REVIEW) {
            self.review();
        }
        if let Some(busy) = self.named.get_mut(domain) {
            busy.outcomes[outcome as usize] += 1;
            busy.lately += 1;
            return;
        }
        if self.named.len() < DOMAINS_NAMED {
            let busy = self.named.entry(Arc::clone(domain)).or_default();
            busy.outcomes[outcome as usize] += 1;
            busy.lately += 1;
            return;
        }
        self.others[outcome as usize] += 1;
        let has_room = self.candidates.len() < CANDIDATES_MAX;
        match self.candidates.get_mut(domain) {
            Some(lately) => *lately += 1,
            None if has_room => {
                self.candidates.insert(Arc::clone(domain), 1);
            }
            None => {}
        }
    }

    /// Gives names to domains that are much busier than one that has a name, and forgets half of
    /// what was.
    fn review(&mut self) {
        let mut candidates: Vec<_> = std::mem::take(&mut self.candidates).into_iter().collect();
        candidates.sort_by_key(|(_, lately)| std::cmp::Reverse(*lately));
        for (domain, lately) in candidates {
            let idlest = self.named.iter().min_by_key(|(_, busy)| busy.lately);
            match idlest.map(|(name, busy)| (Arc::clone(name), busy.lately)) {
                Some((name, least)) if lately > 2 * least => {
                    self.named.remove(&name);
                    self.named.insert(domain, Busy { outcomes: Outcomes::default(), lately });
                }
                _ => break,
            }
        }
        self.named.values_mut().for_each(|busy| busy.lately /= 2);
    }
}

impl Ages {
    fn count(&mut self, age: Duration) {
        let at = AGE_BOUNDS_S.iter().position(|bound| age <= Duration::from_secs(*bound));
        if let Some(at) = at {
            self.buckets[at] += 1;
        }
        self.count += 1;
        self.sum += age;
    }
}

/// The text that Prometheus reads.
pub(super) async fn exposition(State(daemon): State<Arc<Daemon>>) -> Result<Response, Problem> {
    let now = daemon.look(Now::of).await?;
    let started = daemon.started.as_secs();
    let text = render(&daemon.metrics.lock(), &now, state(&daemon), started);
    let format = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, format)], text).into_response())
}

fn render(counts: &Counts, now: &Now, state: &str, started: u64) -> String {
    let mut page = Page(String::new());
    let version = env!("CARGO_PKG_VERSION");
    page.family("traject_info", "gauge", "The program that runs.");
    page.sample("traject_info", &[("version", version), ("state", state)], 1);
    page.one("traject_start_time_seconds", "gauge", "When the process began.", started);
    let gauges = [
        ("traject_messages", "Messages in care.", now.messages as u64),
        (
            "traject_resident_messages",
            "Messages whose envelopes lie open in memory.",
            u64::from(now.resident_messages),
        ),
        ("traject_queues", "Queues with mail or connections.", now.queues),
        ("traject_spool_writes", "Spool writes under way.", now.spool_writes as u64),
        ("traject_dns_questions", "DNS questions under way.", now.dns_questions as u64),
    ];
    for (name, help, value) in gauges {
        page.one(name, "gauge", help, value);
    }
    page.family("traject_recipients", "gauge", "Recipients not done, by where they wait.");
    for (place, value) in
        [("active", now.active), ("delayed", now.delayed), ("in_flight", now.in_flight)]
    {
        page.sample("traject_recipients", &[("place", place)], value);
    }
    page.family("traject_connections", "gauge", "Open connections.");
    for (direction, value) in [("out", now.outbound), ("in", now.inbound)] {
        page.sample("traject_connections", &[("direction", direction)], value as u64);
    }
    let help = "Queues by why nothing more goes out.";
    page.family("traject_queues_waiting", "gauge", help);
    for (reason, value) in &now.reasons {
        page.sample("traject_queues_waiting", &[("reason", reason)], *value);
    }
    render_totals(&mut page, &counts.totals);
    render_domains(&mut page, &counts.domains);
    render_ages(&mut page, &counts.ages);
    page.0
}

fn render_totals(page: &mut Page, totals: &Totals) {
    let counters = [
        ("traject_received_total", "Messages received.", totals.received),
        ("traject_rejected_total", "Refusals to clients.", totals.rejected),
        ("traject_connections_opened_total", "Connections made.", totals.connections_opened),
        (
            "traject_connections_failed_total",
            "Connections that could not be made.",
            totals.connections_failed,
        ),
        ("traject_tls_failed_total", "Connections without the TLS wanted.", totals.tls_failed),
        ("traject_hosts_set_aside_total", "Addresses set aside.", totals.hosts_set_aside),
        ("traject_queues_delayed_total", "Queues moved to delayed.", totals.queues_delayed),
        ("traject_dns_failures_total", "Questions without an answer.", totals.dns_failures),
        ("traject_spool_failures_total", "Writes the spool refused.", totals.spool_failures),
        (
            "traject_protocol_violations_total",
            "Peers that broke the protocol.",
            totals.protocol_violations,
        ),
        ("traject_reloads_total", "Configurations put in force.", totals.reloads),
        ("traject_control_actions_total", "Actions of operators.", totals.control_actions),
    ];
    for (name, help, value) in counters {
        page.one(name, "counter", help, value);
    }
    let name = "traject_recipients_total";
    page.family(name, "counter", "What became of recipients; each deferral counts.");
    let values = [totals.delivered, totals.deferred, totals.failed, totals.expired];
    for ((_, outcome), value) in Outcome::ALL.into_iter().zip(values) {
        page.sample(name, &[("outcome", outcome)], value);
    }
}

fn render_domains(page: &mut Page, domains: &Domains) {
    let name = "traject_domain_recipients_total";
    page.family(name, "counter", "The same for the busiest domains; `other` is all the rest.");
    let named = domains.named.iter().map(|(domain, busy)| (&**domain, &busy.outcomes));
    // No domain is called so: it would need a dot or brackets to be one that mail goes to, and one
    // that is has the same label, which Prometheus would refuse.
    let named = named.filter(|(domain, _)| *domain != OTHER);
    for (domain, outcomes) in named.chain([(OTHER, &domains.others)]) {
        for (outcome, word) in Outcome::ALL {
            let labels = [("domain", domain), ("outcome", word)];
            page.sample(name, &labels, outcomes[outcome as usize]);
        }
    }
}

fn render_ages(page: &mut Page, ages: &Ages) {
    let name = "traject_delivery_age_seconds";
    page.family(name, "histogram", "Time from reception to delivery.");
    let mut below = 0;
    for (bound, count) in AGE_BOUNDS_S.iter().zip(ages.buckets) {
        below += count;
        page.sample(&format!("{name}_bucket"), &[("le", &bound.to_string())], below);
    }
    page.sample(&format!("{name}_bucket"), &[("le", "+Inf")], ages.count);
    // Unwrap is OK because writing to a String cannot fail.
    writeln!(page.0, "{name}_sum {}", ages.sum.as_secs_f64()).unwrap();
    page.sample(&format!("{name}_count"), &[], ages.count);
}

/// A text in the making.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Unwrap is OK because writing to a String cannot fail.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap();
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' | '"' => self.0.extend(['\\', character]),
                    '\n' => self.0.push_str("\\n"),
                    character => self.0.push(character),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Unwrap is OK because writing to a String cannot fail.
        writeln!(self.0, " {value}").unwrap();
    }
}

/// Domains that have a name of their own.
const DOMAINS_NAMED: usize = 50;

/// Domains without one that are watched.
const CANDIDATES_MAX: usize = 1000;

/// How many results there are between two reviews of the names.
const EVENTS_A_REVIEW: u64 = 10_000;

const OTHER: &str = "other";

/// From a second to five days.
const AGE_BOUNDS_S: [u64; 12] = [1, 2, 5, 10, 30, 60, 300, 1_800, 7_200, 28_800, 86_400, 432_000];

#[cfg(test)]
mod tests {
    use super::*;

    fn count(domains: &mut Domains, domain: &str, times: u64) {
        for _ in 0..times {
            domains.count(&domain.into(), Outcome::Delivered);
        }
    }

    #[test]
    fn the_busiest_have_names_and_their_number_is_bounded() {
        let mut domains = Domains::default();
        for n in 0..10_000 {
            count(&mut domains, &format!("d{n}.test"), 1);
        }
        assert_eq!((domains.named.len(), domains.candidates.len()), (DOMAINS_NAMED, 1));
        count(&mut domains, "busy.test", 9_000);
        assert!(!domains.named.contains_key("busy.test"));
        let before = domains.others[0];
        count(&mut domains, "busy.test", 2_000);
        assert!(domains.named.contains_key("busy.test"));
        assert_eq!(domains.named.len(), DOMAINS_NAMED);
        // Series only rise: what was counted as `other` stays there.
        assert!(domains.others[0] >= before);
        let named: u64 = domains.named.values().map(|busy| busy.outcomes[0]).sum();
        assert!(named + domains.others[0] <= 21_000);
        for n in 0..5_000 {
            count(&mut domains, &format!("e{n}.test"), 1);
        }
        assert!(domains.candidates.len() <= CANDIDATES_MAX);
        assert!(domains.named.contains_key("busy.test"));
    }

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let mut counts = Counts::default();
        count(&mut counts.domains, "x.test", 2);
        count(&mut counts.domains, "a\"b\\c\nd", 1);
        counts.ages.count(Duration::from_millis(1500));
        counts.ages.count(Duration::from_secs(900_000));
        counts.totals.delivered = 2;
        let now = Now { active: 7, reasons: [("resolving", 3)].into(), ..Now::default() };
        let text = render(&counts, &now, "running", 99);
        for line in [
            "traject_recipients{place=\"active\"} 7",
            "traject_queues_waiting{reason=\"resolving\"} 3",
            "traject_recipients_total{outcome=\"delivered\"} 2",
            "traject_domain_recipients_total{domain=\"x.test\",outcome=\"delivered\"} 2",
            "traject_domain_recipients_total{domain=\"a\\\"b\\\\c\\nd\",outcome=\"delivered\"} 1",
            "traject_domain_recipients_total{domain=\"other\",outcome=\"failed\"} 0",
            "traject_delivery_age_seconds_bucket{le=\"1\"} 0",
            "traject_delivery_age_seconds_bucket{le=\"2\"} 1",
            "traject_delivery_age_seconds_bucket{le=\"432000\"} 1",
            "traject_delivery_age_seconds_bucket{le=\"+Inf\"} 2",
            "traject_delivery_age_seconds_sum 900001.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    /// The document names every metric, and no other.
    #[test]
    fn every_metric_is_described() {
        let text = render(&Counts::default(), &Now::default(), "running", 0);
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut written: Vec<&str> = kinds.filter_map(|line| line.split(' ').next()).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/control.md");
        let document = std::fs::read_to_string(path).unwrap();
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `traject_"));
        let mut described: Vec<String> = rows
            .filter_map(|row| row.split(['`', '{']).next())
            .map(|name| format!("traject_{name}"))
            .collect();
        written.sort_unstable();
        described.sort_unstable();
        assert_eq!(written, described);
    }
}
