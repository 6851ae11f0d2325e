//! Causes: which record led to which.
//!
//! Each record has a number, its place in the run. What led to it is told by the records before it
//! alone: an attempt follows the one that failed before it, or the acceptance of its message; a
//! delivery in clear follows the failure of STARTTLS; an exchange is set aside since a connection
//! to it failed. [`Teller`] makes words of that.

mod tell;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{Attempt, ClearReason, Event, Pair, Record, Transport, Via};
use traject_engine::smtp::reply::Reply;
use traject_engine::smtp::stage::Stage;
use traject_engine::tls::policy::Consequence;

use crate::counts::attempt_of;

pub use self::tell::Teller;

/// Follows the records of a run.
#[derive(Debug, Default)]
pub struct Causes {
    /// Records so far.
    seen: u64,
    /// Whether the acceptance of each message is remembered.
    keeps_receptions: bool,
    receptions: BTreeMap<MessageId, u64>,
    /// The last failure of each message, when acceptances are remembered: notices follow it.
    ends: BTreeMap<MessageId, u64>,
    /// The last record of each open connection.
    conns: BTreeMap<ConnId, u64>,
    /// The last failure of each recipient that waits.
    recipients: BTreeMap<(MessageId, u32), Arc<Note>>,
    addresses: BTreeMap<(Arc<str>, IpAddr), Address>,
    pairs: BTreeMap<Pair, Trouble>,
    /// What the DNS said no to last, by name.
    names: BTreeMap<Arc<str>, Arc<Note>>,
    last_name: Option<Arc<Note>>,
    /// Replies are few, and remembered once.
    replies: BTreeMap<String, Arc<Reply>>,
}

/// An exchange's address as one binding knows it.
#[derive(Debug, Default)]
struct Address {
    /// The last connection to it that was made, or was not.
    contact: Option<u64>,
    failed: Option<Arc<Note>>,
    /// It was set aside.
    aside: Option<Arc<Note>>,
    /// It was, and nobody has connected since.
    look: Option<u64>,
    /// It has no TLS that works.
    no_tls: Option<Arc<Note>>,
}

/// What is the matter with a queue.
#[derive(Debug, Default)]
struct Trouble {
    /// Why it could not connect.
    last: Option<Arc<Note>>,
    /// It was moved to delayed.
    delayed: Option<Arc<Note>>,
}

/// A record that led to others.
#[derive(Clone, Debug)]
pub struct Note {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    what: What,
    because: Option<Arc<Self>>,
}

#[derive(Clone, Debug)]
enum What {
    /// An attempt that failed for now: there may be millions.
    Failed { attempts: u16, stage: Stage, reply: Arc<Reply>, due: Timestamp },
    /// Anything else.
    Record(Box<Record>),
}

/// What led to a record.
#[derive(Clone, Debug, Default)]
pub struct Lead {
    /// The record's number.
    pub id: u64,
    /// The number of the record that led to it.
    pub cause: Option<u64>,
    /// What is known of those that did, the nearest first.
    pub because: Vec<Arc<Note>>,
}

impl Causes {
    /// Follows a run from its first record. To know the acceptance of every message takes memory
    /// for each.
    pub fn new(keeps_receptions: bool) -> Self {
        Self { keeps_receptions, ..Self::default() }
    }

    /// A record, and the pair it is about.
    pub fn note(&mut self, record: &Record, pair: Option<&Pair>) -> Lead {
        self.seen += 1;
        let id = self.seen;
        let (cause, because) = match &record.event {
            Event::Reception { message, via, .. } => {
                let first = self.accepted(id, *message);
                let end = match via {
                    Via::Notice { of, .. } => self.ends.get(of).copied(),
                    _ => None,
                };
                (first.or(end), Vec::new())
            }
            Event::Delivery(_)
            | Event::TransientFailure { .. }
            | Event::PermanentFailure(_)
            | Event::Expiry { .. } => self.attempted(id, record),
            Event::DnsFailure { question, .. } => {
                let note = Arc::new(Note::new(id, record, None));
                self.names.insert(question.name().into(), Arc::clone(&note));
                self.last_name = Some(note);
                (None, Vec::new())
            }
            Event::QueueDelayed { .. } => self.delayed(id, record, pair),
            Event::HostSetAside { binding, address, .. } => {
                self.set_aside(id, record, (binding, *address), pair)
            }
            other => (self.connection(id, record, other), Vec::new()),
        };
        Lead { id, cause, because }
    }

    /// What is known of the last failure of a message that ended without the receiver's word.
    pub fn lost(&self, message: MessageId) -> Vec<Arc<Note>> {
        let of_message = self.recipients.range((message, 0)..=(message, u32::MAX));
        let lost =
            |note: &&Arc<Note>| matches!(&note.what, What::Failed { reply, .. } if reply.local);
        of_message.map(|(_, note)| note).find(lost).cloned().into_iter().collect()
    }

    fn accepted(&mut self, id: u64, message: MessageId) -> Option<u64> {
        if !self.keeps_receptions {
            return None;
        }
        // Back from the spool it was accepted before.
        let first = *self.receptions.entry(message).or_insert(id);
        (first != id).then_some(first)
    }

    fn attempted(&mut self, id: u64, record: &Record) -> (Option<u64>, Vec<Arc<Note>>) {
        let Some(attempt) = attempt_of(&record.event) else { return (None, Vec::new()) };
        if self.keeps_receptions && !matches!(record.event, Event::Delivery(_)) {
            self.ends.insert(attempt.message, id);
        }
        let key = (attempt.message, attempt.recipient);
        let before = self.recipients.remove(&key);
        let because = self.reasons(record.at, attempt, before);
        let accepted = self.receptions.get(&attempt.message).copied();
        let cause = because.first().map(|note| note.id).or(accepted);
        if let Some(last) = attempt.conn.and_then(|conn| self.conns.get_mut(&conn)) {
            *last = id;
        }
        if let Event::TransientFailure { next_attempt_at, .. } = &record.event {
            let what = What::Failed {
                attempts: attempt.attempts,
                stage: attempt.stage,
                reply: self.known(&attempt.reply),
                due: *next_attempt_at,
            };
            // One failure of a recipient is remembered, not all.
            let other = |note: &&Arc<Note>| matches!(note.what, What::Record(_));
            let because = because.iter().find(other).cloned();
            self.recipients.insert(key, Arc::new(Note { id, at: record.at, what, because }));
        }
        (cause, because)
    }

    /// Why an attempt came out as it did, and why it was made then.
    fn reasons(
        &self,
        at: Timestamp,
        attempt: &Attempt,
        before: Option<Arc<Note>>,
    ) -> Vec<Arc<Note>> {
        let due = match before.as_deref() {
            Some(Note { what: What::Failed { due, .. }, .. }) => *due,
            _ => Timestamp(at.0.saturating_sub(attempt.age.as_micros() as u64)),
        };
        let address = attempt.remote.and_then(|remote| {
            self.addresses.get(&(Arc::clone(&attempt.pair.binding), remote.ip()))
        });
        let without_tls = matches!(
            attempt.transport,
            Transport::Clear { why: ClearReason::NegotiationFailed | ClearReason::Refused }
        );
        let no_tls = address.and_then(|address| address.no_tls.clone()).filter(|_| without_tls);
        let trouble = self.pairs.get(&attempt.pair);
        let since_due = |note: &Arc<Note>| note.at >= due;
        let delayed = trouble.and_then(|trouble| trouble.delayed.clone()).filter(since_due);
        let aside = address.and_then(|address| address.aside.clone()).filter(since_due);
        let unreached = attempt.conn.is_none();
        let name = self.names.get(&attempt.pair.domain).or(self.last_name.as_ref());
        let name = name.filter(|name| unreached && name.at == at).cloned();
        // Delayed since it was set aside: that is said already.
        let delayed_since = delayed.as_ref().and_then(|note| note.because.as_ref());
        let aside = aside.filter(|note| delayed_since.is_none_or(|since| since.id != note.id));
        [no_tls, name, delayed, aside, before].into_iter().flatten().collect()
    }

    fn delayed(
        &mut self,
        id: u64,
        record: &Record,
        pair: Option<&Pair>,
    ) -> (Option<u64>, Vec<Arc<Note>>) {
        let Some(pair) = pair else { return (None, Vec::new()) };
        let name = self.names.get(&pair.domain).or(self.last_name.as_ref());
        let name = name.filter(|name| name.at == record.at).cloned();
        let trouble = self.pairs.entry(pair.clone()).or_default();
        let because = name.or_else(|| trouble.last.clone());
        trouble.delayed = Some(Arc::new(Note::new(id, record, because.clone())));
        (because.as_ref().map(|note| note.id), because.into_iter().collect())
    }

    fn set_aside(
        &mut self,
        id: u64,
        record: &Record,
        (binding, address): (&Arc<str>, IpAddr),
        pair: Option<&Pair>,
    ) -> (Option<u64>, Vec<Arc<Note>>) {
        let known = self.addresses.entry((Arc::clone(binding), address)).or_default();
        let because = known.failed.take();
        let cause = known.contact;
        let note = Arc::new(Note::new(id, record, because.clone()));
        known.aside = Some(Arc::clone(&note));
        known.look = Some(id);
        if let Some(pair) = pair {
            self.pairs.entry(pair.clone()).or_default().last = Some(note);
        }
        (cause, because.into_iter().collect())
    }

    fn connection(&mut self, id: u64, record: &Record, event: &Event) -> Option<u64> {
        match event {
            Event::ConnectionOpened { conn, pair, remote, .. } => {
                self.conns.insert(*conn, id);
                let known = self.address(pair, remote.ip());
                known.contact = Some(id);
                known.failed = None;
                known.look.take()
            }
            Event::ConnectionFailed { pair, remote, .. } => {
                let known = self.address(pair, remote.ip());
                known.contact = Some(id);
                let note = Arc::new(Note::new(id, record, None));
                known.failed = Some(Arc::clone(&note));
                let look = known.look.take();
                self.pairs.entry(pair.clone()).or_default().last = Some(note);
                look
            }
            Event::TlsFailed { conn, pair, remote, consequence, .. } => {
                let note = Arc::new(Note::new(id, record, None));
                let known = self.address(pair, remote.ip());
                match consequence {
                    Consequence::InClear | Consequence::Fallback => known.no_tls = Some(note),
                    Consequence::Unfit => known.aside = Some(note),
                }
                self.conns.insert(*conn, id)
            }
            Event::TlsEstablished { conn, .. } | Event::ConnectionMigrated { conn, .. } => {
                self.conns.insert(*conn, id)
            }
            Event::ConnectionClosed { conn, .. } => self.conns.remove(conn),
            _ => None,
        }
    }

    fn address(&mut self, pair: &Pair, address: IpAddr) -> &mut Address {
        self.addresses.entry((Arc::clone(&pair.binding), address)).or_default()
    }

    fn known(&mut self, reply: &Reply) -> Arc<Reply> {
        let words = reply.to_string();
        if let Some(known) = self.replies.get(&words).filter(|known| known.local == reply.local) {
            return Arc::clone(known);
        }
        let new = Arc::new(reply.clone());
        if self.replies.len() < REPLIES_MAX {
            self.replies.insert(words, Arc::clone(&new));
        }
        new
    }
}

impl Note {
    fn new(id: u64, record: &Record, because: Option<Arc<Self>>) -> Self {
        let what = What::Record(Box::new(record.clone()));
        Self { id, at: record.at, what, because }
    }
}

/// Different replies that are remembered once.
const REPLIES_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
