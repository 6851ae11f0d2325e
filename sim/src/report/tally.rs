//! Counts a run domain by domain while it goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::dns::Question;
use traject_engine::record::{Event, Pair, Record};
use traject_engine::smtp::reply::Reply;
use traject_engine::smtp::stage::Stage;

use super::flow::{Flow, Totals};
use super::timeline::Timeline;
use crate::counts::{Counts, attempt_of};
use crate::oracle::{Book, Row};

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
    domains: BTreeMap<Arc<str>, DomainTally>,
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
    /// Time recipients waited while their queue was in such a state, added up.
    pub held: Totals,
    /// Time recipients waited without being held back: for their turn and in the dialogue.
    pub flowing: Duration,
    /// By binding.
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
}

impl Tally {
    /// Nothing yet.
    pub fn new(start: Timestamp) -> Self {
        Self { start, messages: 0, delivered: 0, accepted: 0, failed: 0, domains: BTreeMap::new() }
    }

    /// The domains, in order.
    pub fn domains(&self) -> &BTreeMap<Arc<str>, DomainTally> {
        &self.domains
    }

    /// Counts a record, given the pair it is about and what the book knew of its recipient before.
    pub fn record(
        &mut self,
        record: &Record,
        pair: Option<&Pair>,
        before: Option<&Row>,
        book: &Book,
    ) {
        let start = self.start;
        match &record.event {
            Event::Reception { recipients, binding, .. } => {
                self.messages += 1;
                self.accepted += recipients.len() as u64;
                for mailbox in recipients {
                    let queue = book.queue_domain(binding, &mailbox.domain);
                    self.domain(queue).flow(start, binding, queue, book);
                    // Behind a gateway mail has no connections of its own, but the gateway's cap.
                    let domain = self.domain(&mailbox.domain);
                    domain.flow(start, binding, queue, book);
                    domain.counts.accept();
                }
                return;
            }
            Event::ConnectionMigrated { from, to, .. } => {
                return self.connection_migrated(record.at, from, to, book);
            }
            Event::Delivery(_) => self.delivered += 1,
            Event::PermanentFailure(_) | Event::Expiry { .. } => self.failed += 1,
            Event::DnsFailure { question: Question::Mx(name), text, .. } => {
                if let Some(domain) = self.domains.get_mut(name) {
                    for (_, flow) in domain.flows.values_mut() {
                        flow.troubled(record.at, text);
                    }
                }
                return;
            }
            _ => {}
        }
        let Some(pair) = pair else { return };
        let flow = self.domain(&pair.domain).flow(start, &pair.binding, &pair.domain, book);
        flow.apply(record.at, &record.event);
        if let Event::HostSetAside { reply, .. } = &record.event {
            flow.troubled(record.at, &reply.to_string());
        }
        let totals = before.map(|row| flow.between(row.due_at, record.at));
        // Behind a gateway the queue and its connections are the gateway's, the mail is not.
        let attempt = attempt_of(&record.event);
        let domain = self.domain(attempt.map_or(&pair.domain, |attempt| &attempt.mailbox.domain));
        if let (Some(row), Some(totals)) = (before, totals) {
            let waited = record.at.saturating_since(row.due_at);
            domain.held.at_cap += totals.at_cap;
            domain.held.down += totals.down;
            domain.flowing += waited.saturating_sub(totals.at_cap + totals.down);
        }
        domain.counts.apply(record, before);
        domain.note(start, record);
    }

    /// Another configuration is in force.
    pub fn reload(&mut self, at: Timestamp, config: &Config) {
        for (domain, tally) in &mut self.domains {
            for (binding, (_, flow)) in &mut tally.flows {
                let options = config.delivery_options(binding, domain);
                flow.set_cap(at, options.max_outbound_connections);
            }
        }
    }

    fn connection_migrated(&mut self, at: Timestamp, from: &Pair, to: &Pair, book: &Book) {
        let start = self.start;
        let domain = self.domain(&from.domain);
        domain.counts.connection_went();
        domain.flow(start, &from.binding, &from.domain, book).connection_went(at);
        let domain = self.domain(&to.domain);
        domain.counts.connection_came();
        domain.flow(start, &to.binding, &to.domain, book).connection_came(at);
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

    /// What was the matter longest when no connection could be made, until `now`.
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        let mut all: BTreeMap<String, Duration> = BTreeMap::new();
        for (_, flow) in self.flows.values() {
            for (trouble, lasted) in flow.troubles(now) {
                *all.entry(trouble).or_default() += lasted;
            }
        }
        all.into_iter().max_by_key(|(_, lasted)| *lasted).map(|(trouble, _)| trouble)
    }

    /// The bindings that sent here.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<str>> {
        self.flows.keys()
    }

    /// The flow of a binding to this domain, which is called `name`.
    fn flow(
        &mut self,
        start: Timestamp,
        binding: &Arc<str>,
        name: &Arc<str>,
        book: &Book,
    ) -> &mut Flow {
        if !self.flows.contains_key(binding) {
            let pair = Pair { binding: Arc::clone(binding), domain: Arc::clone(name) };
            let options = book.find_options(&pair);
            let cap = options.map_or(0, |options| options.max_outbound_connections);
            self.flows.insert(Arc::clone(binding), (cap, Flow::new(start, cap)));
        }
        // Unwrap is OK because it was inserted above if it was not there.
        let (_, flow) = self.flows.get_mut(binding).unwrap();
        flow
    }

    fn note(&mut self, start: Timestamp, record: &Record) {
        match &record.event {
            Event::Delivery(attempt) => {
                self.timeline.count(record.at.saturating_since(start));
                self.reply(attempt.stage, &attempt.reply, Duration::ZERO);
            }
            Event::TransientFailure { attempt, next_attempt_at } => {
                let wait = next_attempt_at.saturating_since(record.at);
                self.reply(attempt.stage, &attempt.reply, wait);
            }
            Event::PermanentFailure(attempt) => {
                self.reply(attempt.stage, &attempt.reply, Duration::ZERO);
            }
            Event::Expiry { attempt, last_reply, .. } => {
                let reply = last_reply.as_ref().unwrap_or(&attempt.reply);
                self.reply(attempt.stage, reply, Duration::ZERO);
            }
            // A connection that could not be made is counted as such.
            Event::HostSetAside { stage, reply, .. } if *stage != Stage::Connect => {
                self.reply(*stage, reply, Duration::ZERO);
            }
            _ => {}
        }
    }

    fn reply(&mut self, stage: Stage, reply: &Reply, waited: Duration) {
        let same = |known: &&mut ReplyTally| known.stage == stage && known.reply == *reply;
        if let Some(known) = self.replies.iter_mut().find(same) {
            known.count += 1;
            known.waited += waited;
        } else if self.replies.len() < REPLIES_MAX {
            self.replies.push(ReplyTally { stage, reply: reply.clone(), count: 1, waited });
        } else {
            self.other_replies += 1;
        }
    }
}

/// Different replies of one domain that are counted one by one.
const REPLIES_MAX: usize = 64;
