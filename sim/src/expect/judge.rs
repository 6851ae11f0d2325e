//! Judges expectations while a run goes on.

use std::collections::BTreeMap;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use traject_engine::Timestamp;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{Event, Pair, Record};
use traject_engine::smtp::reply::Reply;
use traject_engine::smtp::stage::Stage;

use super::measure::{Herd, Window};
use super::{Comparison, Condition, Expectation, Metric, Value, When};
use crate::cause::{Note, Teller};
use crate::counts::{Counts, attempt_of};
use crate::describe;
use crate::oracle::Row;
use crate::scenario::units::show_duration;

/// All expectations of a scenario.
#[derive(Debug)]
pub struct ExpectationJudge {
    cases: Vec<Case>,
    /// Which of our addresses each open connection goes from, if anybody wants to know.
    sources: Option<BTreeMap<ConnId, IpAddr>>,
    /// The next instant at which one is due.
    next_due: Timestamp,
}

/// How one expectation came out.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ExpectationResult {
    /// The expectation, as reports show it.
    pub expectation: String,
    /// The line of the scenario it stands on.
    pub line: usize,
    /// Whether it held; `None` when the run ended before that could be told.
    pub passed: Option<bool>,
    /// What was found, as reports show it.
    pub actual: String,
    /// Seconds from the start to the first event that broke it.
    pub broken_at_s: Option<f64>,
    /// That event.
    pub broken_by: Option<String>,
    /// What led to it, the nearest first, a line each; what is indented explains what is before it.
    pub because: Vec<String>,
}

/// One expectation being judged.
#[derive(Debug)]
struct Case {
    /// When the scenario begins.
    start: Timestamp,
    expectation: Expectation,
    counts: Counts,
    /// Matching replies.
    replies: u64,
    window: Option<Window>,
    herd: Option<Herd>,
    /// The last event made the fullest minute fuller.
    fuller: bool,
    /// Whether the condition was true after the last event.
    held: bool,
    /// The event after which the condition was first false (`never`: true); for a condition that
    /// must hold at an instant, the last time it became false.
    broken: Option<Broken>,
    settled: Option<(bool, String)>,
}

#[derive(Clone, Debug)]
struct Broken {
    at: Timestamp,
    by: By,
    because: Vec<Arc<Note>>,
    actual: String,
}

/// What broke a condition.
#[derive(Clone, Debug)]
enum By {
    Record(Box<Record>),
    /// A receiver took a copy that it, or another, had already.
    Copy {
        message: MessageId,
        recipient: String,
    },
}

impl Broken {
    fn by(record: &Record, because: &[Arc<Note>], actual: String) -> Self {
        let by = By::Record(Box::new(record.clone()));
        Self { at: record.at, by, because: because.to_vec(), actual }
    }
}

impl ExpectationJudge {
    /// The judge of `expectations` in a world that begins at `start`.
    pub fn new(start: Timestamp, expectations: &[Expectation]) -> Self {
        let cases = expectations.iter().cloned().map(|one| Case::new(start, one)).collect();
        let wanted = expectations.iter().any(|one| one.scope.sources.is_some());
        let sources = wanted.then(BTreeMap::new);
        let mut judge = Self { cases, sources, next_due: Timestamp::NEVER };
        judge.find_next_due();
        judge
    }

    /// A record, the pair it is about, what the book knew of its recipient before, and what led to
    /// it.
    pub fn record(
        &mut self,
        record: &Record,
        pair: Option<&Pair>,
        before: Option<&Row>,
        because: &[Arc<Note>],
    ) {
        if record.at > self.next_due {
            self.settle_due(record.at);
        }
        let source = self.source_of(&record.event);
        for case in &mut self.cases {
            let covered = case.expectation.scope.covers_source(source);
            if covered && case.settled.is_none() && case.count(record, pair, before) {
                case.look(record, because);
            }
        }
    }

    /// A receiver took a copy of what it, or another, had already. `because`: what is known of the
    /// loss of the answer to the first.
    pub fn duplicate(
        &mut self,
        at: Timestamp,
        pair: &Pair,
        (message, recipient): (MessageId, &str),
        because: &[Arc<Note>],
    ) {
        if at > self.next_due {
            self.settle_due(at);
        }
        for case in &mut self.cases {
            if case.settled.is_some() || !case.expectation.scope.covers(&pair.binding, &pair.domain)
            {
                continue;
            }
            case.counts.duplicates += 1;
            if case.turns() {
                let by = By::Copy { message, recipient: recipient.to_owned() };
                let (because, actual) = (because.to_vec(), case.actual());
                case.broken = Some(Broken { at, by, because, actual });
            }
        }
    }

    /// Which of our addresses it went from, if there is or was a connection.
    fn source_of(&mut self, event: &Event) -> Option<IpAddr> {
        let sources = self.sources.as_mut()?;
        match event {
            Event::ConnectionOpened { conn, local, .. } => {
                sources.insert(*conn, local.ip());
                Some(local.ip())
            }
            Event::ConnectionClosed { conn, .. } => sources.remove(conn),
            Event::ConnectionMigrated { conn, .. } => sources.get(conn).copied(),
            other => sources.get(&attempt_of(other)?.conn?).copied(),
        }
    }

    /// The run ended at `end`. Unless it was `complete`, more could have happened, and what is
    /// about a later time is not judged.
    pub fn finish(
        mut self,
        end: Timestamp,
        complete: bool,
        teller: &Teller<'_>,
    ) -> Vec<ExpectationResult> {
        self.settle_due(if complete { Timestamp::NEVER } else { end });
        self.cases.into_iter().map(|case| case.result(end, complete, teller)).collect()
    }

    fn settle_due(&mut self, now: Timestamp) {
        for case in &mut self.cases {
            if case.due().is_some_and(|due| due < now) && case.settled.is_none() {
                case.settle();
            }
        }
        self.find_next_due();
    }

    fn find_next_due(&mut self) {
        let open = self.cases.iter().filter(|case| case.settled.is_none());
        let next = open.filter_map(Case::due).min();
        self.next_due = next.unwrap_or(Timestamp::NEVER);
    }
}

impl Case {
    fn new(start: Timestamp, expectation: Expectation) -> Self {
        let window = expectation.window;
        let herd =
            expectation.since.zip(window).map(|(since, span)| Herd::new(start + since, span));
        let mut case = Self {
            start,
            expectation,
            counts: Counts::default(),
            replies: 0,
            window: window.filter(|_| herd.is_none()).map(Window::new),
            herd,
            fuller: false,
            held: true,
            broken: None,
            settled: None,
        };
        case.held = case.holds();
        case
    }

    fn due(&self) -> Option<Timestamp> {
        match self.expectation.when {
            When::By(by) => Some(self.start + by),
            When::AtEnd | When::Always | When::Never => None,
        }
    }

    /// Counts a record; tells whether it is in the scope.
    fn count(&mut self, record: &Record, pair: Option<&Pair>, before: Option<&Row>) -> bool {
        let scope = &self.expectation.scope;
        if let Event::Reception { recipients, binding, .. } = &record.event {
            let covered = recipients.iter().filter(|one| scope.covers(binding, &one.domain));
            let count = covered.count();
            self.counts.accepted += count as u64;
            return count > 0;
        }
        if let Event::ConnectionMigrated { from, to, remote, .. } = &record.event {
            return self.count_migrated(from, to, remote.ip());
        }
        let Some(pair) = pair else { return false };
        // Behind a gateway the queue is the gateway's, the mail is not.
        let mailbox = attempt_of(&record.event).map(|attempt| &attempt.mailbox.domain);
        if !scope.covers(&pair.binding, mailbox.unwrap_or(&pair.domain))
            || !scope.covers_address(address_of(&record.event))
        {
            return false;
        }
        let attempts_before = self.counts.attempts;
        self.counts.apply(record, before);
        let attempts = self.counts.attempts - attempts_before;
        if let Some(glob) = &self.expectation.reply {
            let matches = reply_of(&record.event).is_some_and(|one| glob.matches(&one.to_string()));
            self.replies += u64::from(matches);
        }
        if let Some(window) = &mut self.window {
            let metric = self.expectation.condition.metric;
            let number = number_in_window(metric, &record.event, attempts);
            if number > 0 {
                window.count(record.at, number);
            }
        }
        if let Some(herd) = &mut self.herd
            && attempts > 0
        {
            self.fuller |= herd.count(record.at, attempts);
        }
        true
    }

    /// Counts a connection that passes from one pair to another; tells whether that changes
    /// anything.
    fn count_migrated(&mut self, from: &Pair, to: &Pair, address: IpAddr) -> bool {
        let scope = &self.expectation.scope;
        let covers = |pair: &Pair| {
            scope.covers(&pair.binding, &pair.domain) && scope.covers_address(Some(address))
        };
        match (covers(from), covers(to)) {
            (true, false) => self.counts.connection_went(),
            (false, true) => self.counts.connection_came(),
            (true, true) | (false, false) => return false,
        }
        true
    }

    /// Looks whether the condition changed with this record.
    fn look(&mut self, record: &Record, because: &[Arc<Note>]) {
        let metric = self.expectation.condition.metric;
        let broke = if matches!(metric, Metric::DeliveredWithin(_)) {
            self.broken.is_none() && self.is_late(record)
        } else if metric.is_known_at_the_end() {
            // What made the fullest minute so full, as far as anybody knows by now.
            mem::take(&mut self.fuller)
        } else {
            self.turns()
        };
        if broke {
            self.broken = Some(Broken::by(record, because, self.actual()));
        }
    }

    /// Whether the condition is broken now, and was not before.
    fn turns(&mut self) -> bool {
        let (held, holds) = (self.held, self.holds());
        self.held = holds;
        match self.expectation.when {
            When::Always => !holds && self.broken.is_none(),
            When::Never => holds && self.broken.is_none(),
            When::By(_) | When::AtEnd => held && !holds,
        }
    }

    /// Whether this delivery took longer than a time that is to be kept.
    fn is_late(&self, record: &Record) -> bool {
        let (Value::Time(limit), Event::Delivery(attempt)) =
            (self.expectation.condition.value, &record.event)
        else {
            return false;
        };
        attempt.age > limit
    }

    fn settle(&mut self) {
        self.settled = Some((self.holds(), self.actual()));
    }

    fn result(mut self, end: Timestamp, complete: bool, teller: &Teller<'_>) -> ExpectationResult {
        let (passed, actual) = match (self.expectation.when, &self.broken) {
            (When::Always | When::Never, Some(broken)) => (Some(false), broken.actual.clone()),
            (When::Always | When::Never, None) => (complete.then_some(true), self.actual()),
            (When::By(_) | When::AtEnd, _) => match self.settled.take() {
                Some((passed, actual)) => (Some(passed), actual),
                None => (complete.then(|| self.holds()), self.actual()),
            },
        };
        let failed = passed == Some(false);
        let broken = self.broken.take().filter(|_| failed);
        let question = broken.as_ref().and_then(|broken| self.question(broken, end));
        // A condition that never came true is broken by nothing that happened.
        let since = |at: Timestamp| at.saturating_since(self.start).as_secs_f64();
        let deadline = match self.expectation.when {
            When::By(by) => Some(since((self.start + by).min(end))),
            _ => Some(since(end)),
        };
        ExpectationResult {
            expectation: self.expectation.to_string(),
            line: self.expectation.line,
            passed,
            actual,
            broken_at_s: match &broken {
                Some(broken) => Some(since(broken.at)),
                None if failed => deadline,
                None => None,
            },
            broken_by: broken.as_ref().map(|broken| match &broken.by {
                By::Record(record) => describe::event(self.start, record),
                By::Copy { message, recipient } => {
                    format!("message {message} to {recipient} is taken a second time")
                }
            }),
            because: broken.map_or_else(Vec::new, |broken| {
                let about_tls = self.expectation.condition.metric == Metric::Plaintext;
                let told = match &broken.by {
                    By::Record(record) => teller.tell(record, &broken.because, about_tls),
                    By::Copy { .. } => teller.tell_of_copy(broken.at, &broken.because),
                };
                told.into_iter().chain(question).collect()
            }),
        }
    }

    /// Mail that came broke what was to be true later, and nothing mended it: who wants to know why
    /// asks what mail waits for when it should be delivered.
    fn question(&self, broken: &Broken, end: Timestamp) -> Option<String> {
        let By::Record(record) = &broken.by else { return None };
        let Event::Reception { recipients, binding, .. } = &record.event else { return None };
        let waits =
            matches!(self.expectation.condition.metric, Metric::Delivered | Metric::Pending);
        let until = match self.expectation.when {
            When::By(by) => (self.start + by).min(end),
            When::AtEnd => end,
            When::Always | When::Never => return None,
        };
        let scope = &self.expectation.scope;
        let waiting = recipients.iter().find(|one| scope.covers(binding, &one.domain));
        let domain = &waiting.filter(|_| waits)?.domain;
        let seconds = until.saturating_since(self.start).as_secs();
        let at = show_duration(Duration::from_secs(seconds));
        Some(format!("what mail waits for then: --why {domain} --at {at}"))
    }

    fn holds(&self) -> bool {
        let Condition { comparison, value, .. } = self.expectation.condition;
        let wanted = match value {
            Value::Number(number) => number,
            Value::Percent(share) => share,
            Value::Time(length) => length.as_secs_f64(),
        };
        match self.amount() {
            Amount::Number(actual) => match value {
                // Shares are compared as counts, so that 99.5 % of 200 is exactly 199.
                Value::Percent(share) => {
                    comparison.holds(actual * 100.0, share * self.counts.accepted as f64)
                }
                _ => comparison.holds(actual, wanted),
            },
            Amount::Time(Some(actual)) => comparison.holds(actual.as_secs_f64(), wanted),
            // Never, so far: longer than any time.
            Amount::Time(None) => {
                matches!(comparison, Comparison::More | Comparison::AtLeast | Comparison::Different)
            }
        }
    }

    fn amount(&self) -> Amount {
        let counts = &self.counts;
        let number = match self.expectation.condition.metric {
            Metric::Accepted => counts.accepted,
            Metric::Delivered => counts.delivered,
            Metric::Plaintext => counts.transports.clear(),
            Metric::Bounced => counts.bounced,
            Metric::Expired => counts.expired,
            Metric::Pending => counts.pending(),
            Metric::Deferrals => counts.deferrals,
            Metric::Attempts => counts.attempts,
            Metric::Duplicates => counts.duplicates,
            Metric::Connections => counts.connections,
            Metric::PeakConnections => counts.peak_connections,
            Metric::ConnectionsOpened => counts.opened,
            Metric::ConnectionFailures => counts.connection_failures,
            Metric::DeliveriesInWindow | Metric::AttemptsInWindow | Metric::ConnectionsInWindow => {
                self.window.as_ref().map_or(0, Window::most)
            }
            Metric::HerdIndex => {
                return Amount::Number(self.herd.as_ref().map_or(0.0, Herd::index));
            }
            Metric::Replies => self.replies,
            Metric::AttemptsPerRecipient => {
                return Amount::Number(counts.attempts as f64 / counts.accepted.max(1) as f64);
            }
            Metric::DeliveredWithin(percent) => {
                return Amount::Time(counts.delivered_within(percent));
            }
        };
        Amount::Number(number as f64)
    }

    fn actual(&self) -> String {
        let metric = self.expectation.condition.metric;
        match (self.amount(), self.expectation.condition.value) {
            (Amount::Number(number), Value::Percent(_)) => {
                let accepted = self.counts.accepted;
                let share = 100.0 * number / accepted.max(1) as f64;
                format!("{} = {number} of {accepted} ({share:.2}%)", metric.name())
            }
            (Amount::Number(number), _) if number.fract() == 0.0 => {
                format!("{} = {number}", metric.name())
            }
            (Amount::Number(number), _) => format!("{} = {number:.3}", metric.name()),
            (Amount::Time(length), _) => {
                let length: Option<Duration> = length;
                let shown = length.map_or_else(|| "not reached".to_owned(), show_duration);
                format!("{} = {shown}", metric.name())
            }
        }
    }
}

/// How much an event is of what a quantity counts in windows.
fn number_in_window(metric: Metric, event: &Event, attempts: u64) -> u64 {
    match metric {
        Metric::DeliveriesInWindow => u64::from(matches!(event, Event::Delivery(_))),
        Metric::AttemptsInWindow => attempts,
        Metric::ConnectionsInWindow => u64::from(matches!(event, Event::ConnectionOpened { .. })),
        _ => 0,
    }
}

/// The exchange's address where something happened.
fn address_of(event: &Event) -> Option<IpAddr> {
    match event {
        Event::ConnectionOpened { remote, .. }
        | Event::ConnectionFailed { remote, .. }
        | Event::TlsEstablished { remote, .. }
        | Event::TlsFailed { remote, .. }
        | Event::ConnectionClosed { remote, .. } => Some(remote.ip()),
        Event::HostSetAside { address, .. } => Some(*address),
        other => attempt_of(other)?.remote.map(|remote| remote.ip()),
    }
}

/// The reply that decided an attempt, or before any message that an exchange is set aside.
fn reply_of(event: &Event) -> Option<&Reply> {
    match event {
        // An expiry's own reply is our verdict; the receiver's comes with it.
        Event::Expiry { last_reply, .. } => last_reply.as_ref(),
        Event::HostSetAside { reply, stage, .. } => (*stage != Stage::Connect).then_some(reply),
        other => attempt_of(other).map(|attempt| &attempt.reply),
    }
}

enum Amount {
    Number(f64),
    /// `None`: not reached.
    Time(Option<Duration>),
}

#[cfg(test)]
mod tests;
