//! Counts a run domain by domain while it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::dns::Question;
use traject_engine::ids::ConnId;
use traject_engine::notice::NoticeKind;
use traject_engine::record::{Event, Pair, Record, Via};
use traject_engine::smtp::reply::Reply;
use traject_engine::smtp::stage::Stage;
use traject_engine::tls::policy::TlsMode;
use traject_engine::waits::WaitChange;

use super::backlog::Backlog;
use super::flow::{Cause, Flow};
use super::timeline::{Gauge, Timeline};
use crate::counts::{Counts, attempt_of};
use crate::oracle::{Book, Row, State};

/// The numbers of a run.
#[derive(Debug)]
pub struct Tally {
    start: Timestamp,
    /// Messages accepted.
    pub messages: u64,
    /// Recipients delivered so far.
    pub delivered: u64,
    /// Recipients accepted so far.
    pub accepted: u64,
    /// Recipients that failed or were given up so far.
    pub failed: u64,
    /// Recipients that wait, over time.
    pub backlog: Backlog,
    /// Connections, over time.
    pub connections: Gauge,
    /// Notices to senders.
    pub notices: Notices,
    domains: BTreeMap<Arc<str>, DomainTally>,
    /// The domains that notices go to.
    of_notices: BTreeSet<Arc<str>>,
    /// Our address of each connection.
    source_of: BTreeMap<ConnId, IpAddr>,
}

/// Notices to senders, counted apart from the mail they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Notices {
    /// About recipients that failed (`generate_bounces`).
    pub of_failures: u64,
    /// About recipients that waited (`generate_delay_dsn`).
    pub of_delays: u64,
    /// Of both: taken by a receiver.
    pub delivered: u64,
    /// Of both: failed or given up.
    pub failed: u64,
}

impl Notices {
    /// How many were sent.
    pub const fn sent(&self) -> u64 {
        self.of_failures + self.of_delays
    }
}

/// The numbers of one domain.
#[derive(Clone, Debug, Default)]
pub struct DomainTally {
    /// Recipients and connections.
    pub counts: Counts,
    /// Deliveries over time.
    pub timeline: Timeline,
    /// Replies that decided attempts, in the order of their first appearance.
    pub replies: Vec<ReplyTally>,
    /// Attempts decided by replies beyond [`REPLIES_MAX`] different ones.
    pub other_replies: u64,
    /// Those of them that failed, over time.
    pub other_failures: Timeline,
    /// Recipients that wait, over time.
    pub backlog: Backlog,
    /// Connections, over time.
    pub connections: Gauge,
    /// By our address.
    pub sources: BTreeMap<IpAddr, SourceTally>,
    /// Time recipients waited because of something, added up.
    pub held: BTreeMap<Cause, Duration>,
    /// Time recipients waited without being held back: for their turn and in the dialogue.
    pub flowing: Duration,
    /// The connections that were allowed until a reload changed them, and when that was.
    caps: Vec<(Duration, u64)>,
    /// By binding, with `max_outbound_connections`.
    flows: BTreeMap<Arc<str>, (u32, Flow)>,
}

/// One reply at one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTally {
    /// How far the dialogue had come.
    pub stage: Stage,
    /// The reply.
    pub reply: Reply,
    /// How often it decided: an attempt, or before any message that the exchange is set aside.
    pub count: u64,
    /// Time that recipients waited for the retry it led to, added up.
    pub waited: Duration,
    /// The attempts that failed with it, over time.
    pub failures: Timeline,
}

/// The connections of one of our addresses to a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// Open now.
    pub open: u64,
    /// The most that were open at once.
    pub peak: u64,
    /// Connections that were opened.
    pub opened: u64,
}

impl SourceTally {
    fn came(&mut self) {
        self.open += 1;
        self.peak = self.peak.max(self.open);
    }
}

impl Tally {
    /// Nothing yet.
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            messages: 0,
            delivered: 0,
            accepted: 0,
            failed: 0,
            backlog: Backlog::default(),
            connections: Gauge::default(),
            notices: Notices::default(),
            domains: BTreeMap::new(),
            of_notices: BTreeSet::new(),
            source_of: BTreeMap::new(),
        }
    }

    /// The domains, in order.
    pub fn domains(&self) -> &BTreeMap<Arc<str>, DomainTally> {
        &self.domains
    }

    /// A receiver took a copy of what it, or another, had already.
    pub fn duplicate(&mut self, pair: &Pair) {
        self.domain(&pair.domain).counts.duplicates += 1;
    }

    /// Counts a record, given the pair it is about and what the book knew of its recipient before.
    pub fn record(
        &mut self,
        record: &Record,
        pair: Option<&Pair>,
        before: Option<&Row>,
        book: &Book,
    ) {
        let (start, since) = (self.start, record.at.saturating_since(self.start));
        match &record.event {
            Event::Reception { recipients, binding, .. } => {
                self.messages += 1;
                self.accepted += recipients.len() as u64;
                self.backlog.accepted(since, recipients.len() as u64);
                for mailbox in recipients {
                    let queue = book.queue_domain(binding, &mailbox.domain);
                    self.domain(queue).flow(binding, queue, book);
                    // Behind a gateway mail has no connections of its own, but the gateway's cap.
                    let domain = self.domain(&mailbox.domain);
                    domain.flow(binding, queue, book);
                    domain.counts.accept();
                    domain.backlog.accepted(since, 1);
                }
                return;
            }
            Event::ConnectionMigrated { conn, from, to, .. } => {
                return self.connection_migrated(record.at, *conn, from, to, book);
            }
            Event::DnsFailure { question: Question::Mx(name), text, .. } => {
                if let Some(domain) = self.domains.get_mut(name) {
                    for (_, flow) in domain.flows.values_mut() {
                        flow.troubled(record.at, text);
                    }
                }
                return;
            }
            Event::Delivery(_) => self.delivered += 1,
            Event::PermanentFailure(_) | Event::Expiry { .. } => self.failed += 1,
            _ => {}
        }
        let Some(pair) = pair else { return };
        // Behind a gateway the queue and its connections are the gateway's, the mail is not.
        let attempt = attempt_of(&record.event);
        let queue = attempt.map_or(pair, |attempt| &attempt.pair);
        let flow = self.domain(&queue.domain).flow(&queue.binding, &queue.domain, book);
        flow.apply(record.at, &record.event);
        if let Event::HostSetAside { reply, .. } = &record.event {
            flow.troubled(record.at, &reply.to_string());
        }
        if let (Some(row), Some(attempt)) = (before, attempt) {
            let begun = Timestamp(record.at.0.saturating_sub(attempt.took.as_micros() as u64));
            self.charge(row.due_at, begun.max(row.due_at), queue, &attempt.mailbox.domain);
            self.domain(&attempt.mailbox.domain).flowing += record.at.saturating_since(begun);
        }
        self.follow(&record.event, since);
        let domain = self.domain(attempt.map_or(&pair.domain, |attempt| &attempt.mailbox.domain));
        domain.counts.apply(record, before);
        domain.note(start, record);
        self.count_connection(&record.event, pair, since);
    }

    /// A record about a notice: these are counted apart from the scenario's mail.
    pub fn notice(&mut self, event: &Event, book: &Book) {
        if let Event::Reception { recipients, binding, .. } = event {
            for mailbox in recipients {
                let queue = book.queue_domain(binding, &mailbox.domain);
                self.of_notices.extend([Arc::clone(queue), Arc::clone(&mailbox.domain)]);
            }
        }
        let notices = &mut self.notices;
        match event {
            Event::Reception { via: Via::Notice { kind: NoticeKind::Delayed, .. }, .. } => {
                notices.of_delays += 1;
            }
            Event::Reception { .. } => notices.of_failures += 1,
            Event::Delivery(_) => notices.delivered += 1,
            Event::PermanentFailure(_) | Event::Expiry { .. } => notices.failed += 1,
            _ => {}
        }
    }

    /// Whether nothing but notices goes to a domain: it is none of the scenario's.
    pub fn is_elsewhere(&self, domain: &str) -> bool {
        self.of_notices.contains(domain) && !self.domains.contains_key(domain)
    }

    /// The mail of a queue waits for something else from now on.
    pub fn waits(&mut self, at: Timestamp, change: &WaitChange, book: &Book) {
        let pair = &change.pair;
        if self.is_elsewhere(&pair.domain) {
            return;
        }
        self.domain(&pair.domain).flow(&pair.binding, &pair.domain, book).waits_for(at, change);
    }

    /// There is no process any more.
    pub fn process_gone(&mut self, at: Timestamp) {
        self.each_flow(|flow| flow.process_gone(at));
    }

    /// There is a process, the first or one after another.
    pub fn process_came(&mut self, at: Timestamp) {
        self.each_flow(|flow| flow.process_came(at));
    }

    /// The run is over: what is due and not done has waited until now.
    pub fn finish(&mut self, at: Timestamp, book: &Book) {
        for row in book.rows() {
            if row.state == State::Pending && row.due_at < at && !row.notice {
                let mail = book.pair(row.pair);
                let domain = Arc::clone(book.queue_domain(&mail.binding, &mail.domain));
                let queue = Pair { binding: Arc::clone(&mail.binding), domain };
                self.charge(row.due_at, at, &queue, &mail.domain);
            }
        }
    }

    /// Another configuration is in force.
    pub fn reload(&mut self, at: Timestamp, config: &Config) {
        let start = self.start;
        for (domain, tally) in &mut self.domains {
            let before = tally.cap();
            for (binding, (cap, flow)) in &mut tally.flows {
                let options = config.delivery_options(binding, domain);
                *cap = options.max_outbound_connections;
                flow.set_wants_tls(options.tls.mode != TlsMode::No);
            }
            tally.caps.push((at.saturating_since(start), before));
        }
    }

    /// A recipient of mail to `domain` waited in a queue from when it was due until its attempt.
    fn charge(&mut self, due: Timestamp, until: Timestamp, queue: &Pair, domain: &Arc<str>) {
        let flow =
            self.domains.get(&queue.domain).and_then(|tally| tally.flows.get(&queue.binding));
        let told: Vec<(Cause, Duration)> = flow
            .map(|(_, flow)| flow.between(due, until))
            .into_iter()
            .flatten()
            .map(|(cause, lasted)| (cause.clone(), lasted))
            .collect();
        let domain = self.domain(domain);
        let held: Duration = told.iter().map(|(_, lasted)| *lasted).sum();
        domain.flowing += until.saturating_since(due).saturating_sub(held);
        for (cause, lasted) in told {
            *domain.held.entry(cause).or_default() += lasted;
        }
    }

    /// Keeps the queue sizes of everything together.
    fn follow(&mut self, event: &Event, since: Duration) {
        match event {
            Event::Delivery(_) | Event::PermanentFailure(_) | Event::Expiry { .. } => {
                self.backlog.done(since);
            }
            Event::TransientFailure { next_attempt_at, .. } => {
                self.backlog.delayed(since, 1, next_attempt_at.saturating_since(self.start));
            }
            Event::QueueDelayed { recipients, next_attempt_at, .. } => {
                let due = next_attempt_at.saturating_since(self.start);
                self.backlog.delayed(since, u64::from(*recipients), due);
            }
            _ => {}
        }
    }

    fn count_connection(&mut self, event: &Event, pair: &Pair, since: Duration) {
        match event {
            Event::ConnectionOpened { conn, local, .. } => {
                let source = local.ip();
                self.source_of.insert(*conn, source);
                let domain = self.domain(&pair.domain);
                let tally = domain.sources.entry(source).or_default();
                tally.opened += 1;
                tally.came();
                domain.connections.set(since, domain.counts.connections);
                self.connections.set(since, self.connections.now() + 1);
            }
            Event::ConnectionClosed { conn, .. } => {
                let source = self.source_of.remove(conn);
                let domain = self.domain(&pair.domain);
                if let Some(tally) = source.and_then(|source| domain.sources.get_mut(&source)) {
                    tally.open = tally.open.saturating_sub(1);
                }
                domain.connections.set(since, domain.counts.connections);
                self.connections.set(since, self.connections.now().saturating_sub(1));
            }
            _ => {}
        }
    }

    fn connection_migrated(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        from: &Pair,
        to: &Pair,
        book: &Book,
    ) {
        let since = at.saturating_since(self.start);
        let source = self.source_of.get(&conn).copied();
        let domain = self.domain(&from.domain);
        domain.counts.connection_went();
        domain.connections.set(since, domain.counts.connections);
        if let Some(tally) = source.and_then(|source| domain.sources.get_mut(&source)) {
            tally.open = tally.open.saturating_sub(1);
        }
        domain.flow(&from.binding, &from.domain, book).connection_went(at);
        let domain = self.domain(&to.domain);
        domain.counts.connection_came();
        domain.connections.set(since, domain.counts.connections);
        if let Some(source) = source {
            domain.sources.entry(source).or_default().came();
        }
        domain.flow(&to.binding, &to.domain, book).connection_came(at);
    }

    fn each_flow(&mut self, mut tell: impl FnMut(&mut Flow)) {
        for (_, flow) in self.domains.values_mut().flat_map(|domain| domain.flows.values_mut()) {
            tell(flow);
        }
    }

    fn domain(&mut self, name: &Arc<str>) -> &mut DomainTally {
        if !self.domains.contains_key(name) {
            self.domains.insert(Arc::clone(name), DomainTally::default());
        }
        // Unwrap is OK because it was inserted above if it was not there.
        self.domains.get_mut(name).unwrap()
    }
}

impl DomainTally {
    /// Connections the configuration allows: the sum over the bindings that sent here.
    pub fn cap(&self) -> u64 {
        self.flows.values().map(|(cap, _)| u64::from(*cap)).sum()
    }

    /// Connections the configuration allowed over time: since when, and how many.
    pub fn caps(&self) -> Vec<(Duration, u64)> {
        let begins = std::iter::once(Duration::ZERO).chain(self.caps.iter().map(|(at, _)| *at));
        let maxima = self.caps.iter().map(|(_, max)| *max).chain([self.cap()]);
        begins.zip(maxima).collect()
    }

    /// Everything that was ever the matter.
    pub fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.flows.values().flat_map(|(_, flow)| flow.causes())
    }

    /// The bindings that sent here.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<str>> {
        self.flows.keys()
    }

    /// The flow of a binding to this domain, which is called `name`.
    fn flow(&mut self, binding: &Arc<str>, name: &Arc<str>, book: &Book) -> &mut Flow {
        if !self.flows.contains_key(binding) {
            let pair = Pair { binding: Arc::clone(binding), domain: Arc::clone(name) };
            let options = book.find_options(&pair);
            let cap = options.map_or(0, |options| options.max_outbound_connections);
            let wants_tls = options.is_some_and(|options| options.tls.mode != TlsMode::No);
            self.flows.insert(Arc::clone(binding), (cap, Flow::new(wants_tls)));
        }
        // Unwrap is OK because it was inserted above if it was not there.
        let (_, flow) = self.flows.get_mut(binding).unwrap();
        flow
    }

    fn note(&mut self, start: Timestamp, record: &Record) {
        let since = record.at.saturating_since(start);
        match &record.event {
            Event::Delivery(attempt) => {
                self.timeline.count(since);
                self.backlog.done(since);
                self.reply(attempt.stage, &attempt.reply);
            }
            Event::TransientFailure { attempt, next_attempt_at } => {
                self.backlog.delayed(since, 1, next_attempt_at.saturating_since(start));
                if let Some(tally) = self.reply(attempt.stage, &attempt.reply) {
                    tally.waited += next_attempt_at.saturating_since(record.at);
                    tally.failures.count(since);
                } else {
                    self.other_failures.count(since);
                }
            }
            Event::PermanentFailure(attempt) => self.ended(since, attempt.stage, &attempt.reply),
            Event::Expiry { attempt, last_reply, .. } => {
                let reply = last_reply.as_ref().unwrap_or(&attempt.reply);
                self.ended(since, attempt.stage, reply);
            }
            Event::QueueDelayed { recipients, next_attempt_at, .. } => {
                let due = next_attempt_at.saturating_since(start);
                self.backlog.delayed(since, u64::from(*recipients), due);
            }
            // A connection that could not be made is counted as such.
            Event::HostSetAside { stage, reply, .. } if *stage != Stage::Connect => {
                self.reply(*stage, reply);
            }
            _ => {}
        }
    }

    /// A recipient is given up or refused for good.
    fn ended(&mut self, since: Duration, stage: Stage, reply: &Reply) {
        self.backlog.done(since);
        match self.reply(stage, reply) {
            Some(tally) => tally.failures.count(since),
            None => self.other_failures.count(since),
        }
    }

    /// Counts a reply; `None` when it is one of too many.
    fn reply(&mut self, stage: Stage, reply: &Reply) -> Option<&mut ReplyTally> {
        let same = |known: &ReplyTally| known.stage == stage && known.reply == *reply;
        let position = match self.replies.iter().position(same) {
            Some(known) => known,
            None if self.replies.len() < REPLIES_MAX => {
                let (waited, failures) = (Duration::ZERO, Timeline::default());
                let reply = reply.clone();
                self.replies.push(ReplyTally { stage, reply, count: 0, waited, failures });
                self.replies.len() - 1
            }
            None => {
                self.other_replies += 1;
                return None;
            }
        };
        let tally = &mut self.replies[position];
        tally.count += 1;
        Some(tally)
    }
}

/// Different replies of one domain that are counted one by one.
const REPLIES_MAX: usize = 64;
