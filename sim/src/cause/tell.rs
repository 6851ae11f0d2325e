//! The chain of causes in words: what happened before, the options that decided, and the faults of
//! the scenario that were in force.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::config::explain::{Question, find_option};
use traject_engine::io::NetError;
use traject_engine::record::{Attempt, ClearReason, Event, GiveUp, Pair, Record, Transport};
use traject_engine::smtp::reply::Severity;

use super::{Note, What};
use crate::counts::attempt_of;
use crate::describe::{event, instant};
use crate::event::{EventKind, EventSpec};
use crate::fault::{FaultKind, FaultSpec, Ours};
use crate::receiver::spec::ReceiverSpec;
use crate::scenario::units::show_duration;

/// Tells why a record came about.
pub struct Teller<'a> {
    /// When the scenario begins.
    pub start: Timestamp,
    /// What breaks in it.
    pub faults: &'a [FaultSpec],
    /// What the operator does in it.
    pub events: &'a [EventSpec],
    /// Who receives in it.
    pub receivers: &'a [ReceiverSpec],
    /// The configuration in force at an instant.
    pub config_at: &'a dyn Fn(Timestamp) -> &'a Config,
}

/// What a fault can be the cause of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// A connection that is not made, breaks off or is slow.
    Connection,
    /// TLS that does not come about.
    Tls,
    /// A name that is not answered for.
    Name,
}

impl Teller<'_> {
    /// The chain back from `record`, the nearest first: a line each, those about options and faults
    /// indented below what they explain. `about_tls`: it matters how the mail was protected.
    pub fn tell(&self, record: &Record, because: &[Arc<Note>], about_tls: bool) -> Vec<String> {
        let mut story = Story { teller: self, lines: Vec::new() };
        let pair = pair_of(&record.event);
        story.facts(record, pair, about_tls);
        if let Some(attempt) = attempt_of(&record.event) {
            story.wait(record.at, attempt, because);
        }
        for note in because {
            story.note(note, pair);
        }
        if let Some(attempt) = attempt_of(&record.event)
            && (!story.lines.is_empty() || attempt.age >= WAIT_MIN)
        {
            let accepted = before(record.at, attempt.age);
            story.add(format!("{}  accepted", instant(self.start, accepted)));
        }
        story.lines.truncate(LINES_MAX);
        story.lines
    }

    /// Why a receiver took a copy at `at` of what it, or another, had already: the answer to the
    /// first was lost, with the connection or with the process.
    pub fn tell_of_copy(&self, at: Timestamp, because: &[Arc<Note>]) -> Vec<String> {
        let mut story = Story { teller: self, lines: Vec::new() };
        for note in because {
            story.note(note, None);
        }
        if because.is_empty() {
            let ended = self.events.iter().filter(|event| event.what.ends_process());
            let last = ended.map(|event| self.start + event.at).rfind(|ended| *ended <= at);
            let shown = last.map(|ended| self.events_between(ended, ended)).unwrap_or_default();
            shown.into_iter().for_each(|line| story.add(line));
        }
        story.lines
    }

    /// The value of an option and where it comes from.
    fn option(&self, at: Timestamp, pair: &Pair, name: &str) -> Option<String> {
        let Pair { binding, domain } = pair;
        let question = Question { binding, binding_group: None, domain, host: None };
        let explained = (self.config_at)(at).explain(question, find_option(name)?).ok()?;
        let value = explained.value?;
        let origin = match explained.origin {
            Some(origin) => format!("set in {}", origin.scope),
            None => "built in".to_owned(),
        };
        Some(format!("{name} = {value} ({origin})"))
    }

    /// The faults of a kind that were in force at some time between two instants and hit mail of a
    /// pair, at an address if one is known.
    fn faults(
        &self,
        (from, to): (Timestamp, Timestamp),
        concern: Concern,
        pair: Option<&Pair>,
        address: Option<IpAddr>,
    ) -> Vec<String> {
        let (from, to) = (from.saturating_since(self.start), to.saturating_since(self.start));
        let in_force = |fault: &&FaultSpec| fault.at <= to && from <= fault.at + fault.length;
        let hits = |fault: &&FaultSpec| self.hits(fault, concern, (to, pair, address));
        let show = |fault: &FaultSpec| {
            let begin = instant(self.start, self.start + fault.at);
            let end = instant(self.start, self.start + fault.at + fault.length);
            match fault.length.is_zero() {
                true => format!("fault: {fault} at {begin}"),
                false => format!("fault: {fault} from {begin} to {end}"),
            }
        };
        self.faults.iter().filter(in_force).filter(hits).map(show).collect()
    }

    /// What the operator did meanwhile.
    fn events_between(&self, from: Timestamp, to: Timestamp) -> Vec<String> {
        let meanwhile = |event: &&EventSpec| (from..=to).contains(&(self.start + event.at));
        let show = |event: &EventSpec| {
            let at = instant(self.start, self.start + event.at);
            match &event.what {
                EventKind::Reload(_) => format!("event: reload at {at}"),
                EventKind::Control { length: Some(length), .. } => {
                    let (words, length) = (event.what.words(), show_duration(*length));
                    format!("event: {words} at {at}, for {length}")
                }
                EventKind::Control { length: None, .. } => {
                    format!("event: {} at {at}", event.what.words())
                }
                EventKind::Restart { down }
                | EventKind::Crash { down }
                | EventKind::PowerCut { down } => {
                    let (name, down) = (event.what.name(), show_duration(*down));
                    format!("event: {name} at {at}, no process for {down}")
                }
            }
        };
        self.events.iter().filter(meanwhile).map(show).collect()
    }

    fn hits(
        &self,
        fault: &FaultSpec,
        concern: Concern,
        (at, pair, address): (Duration, Option<&Pair>, Option<IpAddr>),
    ) -> bool {
        let domain = pair.map(|pair| &*pair.domain);
        let receiver = self.receivers.iter().find(|spec| {
            let owns = |domain: &str| spec.domains.iter().any(|one| **one == *domain);
            let has = |address| spec.exchanges.iter().any(|one| one.addresses.contains(&address));
            domain.is_some_and(owns) || address.is_some_and(has)
        });
        let at_one_of = |hit: &[IpAddr]| match (address, receiver) {
            (Some(address), _) => hit.contains(&address),
            (None, Some(spec)) => {
                spec.exchanges.iter().flat_map(|one| &one.addresses).any(|one| hit.contains(one))
            }
            (None, None) => false,
        };
        match &fault.what {
            FaultKind::HostDown { addresses, .. }
            | FaultKind::Reset { addresses }
            | FaultKind::Slow { addresses, .. } => {
                concern == Concern::Connection && at_one_of(addresses)
            }
            FaultKind::Partition { ours, theirs, .. } => {
                concern == Concern::Connection
                    && theirs.as_deref().is_none_or(at_one_of)
                    && pair.is_some_and(|pair| self.leaves_from(ours, at, pair))
            }
            FaultKind::Dns { names, .. } => concern == Concern::Name && knows(Some(names), domain),
            FaultKind::DnsSlow { names, .. } => {
                concern == Concern::Name && knows(names.as_deref(), domain)
            }
            FaultKind::StartTlsOff { receiver: name } => {
                concern == Concern::Tls && receiver.is_some_and(|spec| spec.name == *name)
            }
            // It is behind no attempt.
            FaultKind::Disk(_) => false,
        }
    }

    /// Whether mail of a pair leaves from some of our addresses.
    fn leaves_from(&self, ours: &Ours, at: Duration, pair: &Pair) -> bool {
        match ours {
            Ours::Binding(binding) => *binding == pair.binding,
            Ours::Addresses(prefixes) => {
                let config = (self.config_at)(self.start + at);
                let bound = config.delivery_options(&pair.binding, &pair.domain).bind_address;
                bound.is_none_or(|bound| prefixes.iter().any(|one| one.contains(bound)))
            }
        }
    }
}

/// A chain that is being told.
struct Story<'t, 'a> {
    teller: &'t Teller<'a>,
    lines: Vec<String>,
}

impl Story<'_, '_> {
    /// A line, unless it was said already.
    fn add(&mut self, line: String) {
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    fn option(&mut self, at: Timestamp, pair: Option<&Pair>, name: &str) {
        let told = pair.and_then(|pair| self.teller.option(at, pair, name));
        if let Some(told) = told {
            self.add(format!("  {told}"));
        }
    }

    fn fault(
        &mut self,
        times: (Timestamp, Timestamp),
        concern: Concern,
        pair: Option<&Pair>,
        address: Option<IpAddr>,
    ) {
        for told in self.teller.faults(times, concern, pair, address) {
            self.add(format!("  {told}"));
        }
    }

    /// What led to a record, with what led to that.
    fn note(&mut self, note: &Note, pair: Option<&Pair>) {
        let when = instant(self.teller.start, note.at);
        match &note.what {
            What::Failed { attempts, stage, reply, due } => {
                let stage = stage.text();
                self.add(format!("{when}  attempt {attempts} failed at {stage}: {reply}"));
                let wait = show_duration(due.saturating_since(note.at));
                self.add(format!("  the next attempt is due {wait} later"));
                self.option(note.at, pair, "retry_interval");
                if *attempts > 1 {
                    self.option(note.at, pair, "max_retry_interval");
                }
                if reply.local {
                    let times = (before(note.at, SLACK), note.at);
                    self.fault(times, Concern::Connection, pair, None);
                }
            }
            What::Record(record) => {
                self.add(format!("{when}  {}", event(self.teller.start, record)));
                self.facts(record, pair_of(&record.event).or(pair), false);
            }
        }
        if let Some(because) = &note.because {
            self.note(because, pair);
        }
    }

    /// The options and faults that a record itself is about.
    fn facts(&mut self, record: &Record, pair: Option<&Pair>, about_tls: bool) {
        let at = record.at;
        let just_now = (before(at, SLACK), at);
        match &record.event {
            Event::ConnectionFailed { remote, error, took, .. } => {
                if *error == NetError::TimedOut {
                    self.option(at, pair, "connect_timeout");
                }
                let times = (before(at, (*took).max(SLACK)), at);
                self.fault(times, Concern::Connection, pair, Some(remote.ip()));
            }
            Event::HostSetAside { address, .. } => {
                self.option(at, pair, "host_failure_retry");
                self.fault(just_now, Concern::Connection, pair, Some(*address));
            }
            Event::TlsFailed { remote, .. } => {
                self.option(at, pair, "tls");
                self.option(at, pair, "tls_ifavailable_fallback");
                self.fault(just_now, Concern::Tls, pair, Some(remote.ip()));
                self.fault(just_now, Concern::Connection, pair, Some(remote.ip()));
            }
            Event::ConnectionOpened { .. } => {
                self.option(at, pair, "max_outbound_connections");
            }
            Event::QueueDelayed { .. } => self.fault(just_now, Concern::Name, pair, None),
            Event::DnsFailure { question, .. } => {
                let name = Pair { binding: "".into(), domain: question.name().into() };
                self.fault(just_now, Concern::Name, Some(&name), None);
            }
            event => self.attempt(record, event, pair, about_tls),
        }
    }

    fn attempt(&mut self, record: &Record, event: &Event, pair: Option<&Pair>, about_tls: bool) {
        let at = record.at;
        let Some(attempt) = attempt_of(event) else { return };
        let address = attempt.remote.map(|remote| remote.ip());
        if attempt.reply.local && attempt.conn.is_some() {
            let times = (before(at, attempt.took.max(SLACK)), at);
            self.fault(times, Concern::Connection, pair, address);
        }
        match event {
            Event::Expiry { why: GiveUp::MaxRetries, .. } => self.option(at, pair, "max_retries"),
            Event::Expiry { why: GiveUp::MaxTime, .. } => {
                self.option(at, pair, "message_expiration");
            }
            Event::PermanentFailure(_) if attempt.reply.severity() == Severity::Transient => {
                self.option(at, pair, "never_retry");
            }
            _ => {}
        }
        if !about_tls {
            return;
        }
        match &attempt.transport {
            Transport::Clear { why: ClearReason::NotWanted } => self.option(at, pair, "tls"),
            Transport::Clear { why: ClearReason::NotOffered } => {
                self.add("  the exchange did not offer STARTTLS".to_owned());
                self.option(at, pair, "tls");
                self.fault((before(at, attempt.took), at), Concern::Tls, pair, address);
            }
            Transport::Clear { why: ClearReason::Refused | ClearReason::NegotiationFailed } => {
                self.option(at, pair, "tls");
                self.option(at, pair, "tls_ifavailable_fallback");
            }
            Transport::Tls(_) | Transport::Nothing => {}
        }
    }

    /// How long the attempt waited although it was due.
    fn wait(&mut self, at: Timestamp, attempt: &Attempt, because: &[Arc<Note>]) {
        let due = |note: &Arc<Note>| match &note.what {
            What::Failed { due, .. } => Some(*due),
            What::Record(record) => match record.event {
                Event::QueueDelayed { next_attempt_at, .. } => Some(next_attempt_at),
                _ => None,
            },
        };
        let accepted = before(at, attempt.age);
        let due = because.iter().filter_map(due).max().unwrap_or(accepted);
        let begun = before(at, attempt.took);
        let waited = begun.saturating_since(due);
        if waited >= WAIT_MIN {
            let start = self.teller.start;
            self.add(format!(
                "{}  the attempt begins, {} after it was due",
                instant(start, begun),
                show_duration(Duration::from_millis(waited.as_millis() as u64))
            ));
            for event in &self.teller.events_between(due, begun) {
                self.add(format!("  {event}"));
            }
            let domain = &attempt.pair.domain;
            let asked =
                show_duration(Duration::from_secs(due.saturating_since(start).as_secs() + 1));
            self.add(format!("  what it waited for: --why {domain} --at {asked}"));
        }
    }
}

/// Whose mail a record is about, as far as it says so itself.
fn pair_of(event: &Event) -> Option<&Pair> {
    match event {
        Event::ConnectionOpened { pair, .. }
        | Event::ConnectionMigrated { to: pair, .. }
        | Event::ConnectionFailed { pair, .. }
        | Event::ConnectionClosed { pair, .. }
        | Event::TlsEstablished { pair, .. }
        | Event::TlsFailed { pair, .. }
        | Event::QueueDelayed { pair, .. } => Some(pair),
        other => attempt_of(other).map(|attempt| &attempt.pair),
    }
}

fn knows(names: Option<&[Arc<str>]>, domain: Option<&str>) -> bool {
    let known = |domain: &str| names.is_none_or(|all| all.iter().any(|one| **one == *domain));
    domain.is_some_and(known)
}

fn before(at: Timestamp, time: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(time.as_micros() as u64))
}

/// What breaks is noticed later.
const SLACK: Duration = Duration::from_secs(1);

/// A shorter wait is nothing to speak of.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Lines of a chain at most.
const LINES_MAX: usize = 16;
