//! The book: where every recipient is. Conservation is its own law: each accepted recipient is in
//! exactly one place, and leaves the books exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::config::effective::DeliveryOptions;
use traject_engine::ids::MessageId;
use traject_engine::record::{Attempt, Event, Pair, Record};
use traject_engine::rng::entity;
use traject_engine::smtp::address::Mailbox;

use super::{Finding, ensure, mailbox_name};

/// Position of a pair in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairId(pub u32);

/// How far a recipient has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not done.
    Pending,
    /// A receiver has it.
    Delivered,
    /// Failed for good.
    Bounced,
    /// Given up.
    Expired,
}

/// One recipient of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name of its mailbox, hashed.
    mailbox: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When its next attempt is due.
    pub due_at: Timestamp,
    /// Its queue.
    pub pair: PairId,
    /// Attempts made.
    pub attempts: u16,
    /// Attempts whose end nobody knows: the connection died while the receiver had the content.
    pub lost: u16,
    /// Copies that receivers took.
    pub copies: u16,
    /// What a receiver said last to its content; 0: nothing yet.
    pub answered: u16,
    /// How far it has come.
    pub state: State,
}

/// Every recipient that was ever accepted.
#[derive(Debug)]
pub struct Book {
    config: Arc<Config>,
    rows: Vec<Row>,
    messages: Vec<Segment>,
    pairs: Vec<(Pair, DeliveryOptions)>,
    pair_ids: BTreeMap<Pair, PairId>,
    /// The queue of mail of a binding to a domain: with a `gateway`, the gateway's.
    queues: BTreeMap<Pair, PairId>,
    pending: u64,
    pending_messages: u64,
}

/// Messages with neighbouring ids: a message's place is its id, counted from the segment's first.
#[derive(Debug)]
struct Segment {
    first: u64,
    /// Bit 0 of the ids (which side allocated them).
    side: u64,
    messages: Vec<Place>,
}

/// Where the rows of a message are, and how many of them are pending.
#[derive(Clone, Copy, Debug)]
struct Place {
    first_row: u32,
    rows: u32,
    pending: u32,
}

impl Book {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            rows: Vec::new(),
            messages: Vec::new(),
            pairs: Vec::new(),
            pair_ids: BTreeMap::new(),
            queues: BTreeMap::new(),
            pending: 0,
            pending_messages: 0,
        }
    }

    /// The configuration of the run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Recipients not done.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Messages with recipients that are not done.
    pub fn pending_messages(&self) -> u64 {
        self.pending_messages
    }

    /// Every recipient, in the order of acceptance.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Every pair, in the order of appearance.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().map(|(pair, _)| pair)
    }

    /// The id of a pair, new or not.
    pub fn pair_id(&mut self, pair: &Pair) -> PairId {
        if let Some(id) = self.pair_ids.get(pair) {
            return *id;
        }
        let id = PairId(self.pairs.len() as u32);
        let options = self.config.delivery_options(&pair.binding, &pair.domain);
        self.pairs.push((pair.clone(), options));
        self.pair_ids.insert(pair.clone(), id);
        id
    }

    fn queue_of(&mut self, pair: Pair) -> PairId {
        if let Some(id) = self.queues.get(&pair) {
            return *id;
        }
        let options = self.config.delivery_options(&pair.binding, &pair.domain);
        let id = match options.gateway {
            None => self.pair_id(&pair),
            Some(gateway) => self.pair_id(&Pair { domain: gateway, binding: pair.binding.clone() }),
        };
        self.queues.insert(pair, id);
        id
    }

    /// The name of a pair.
    pub fn pair(&self, id: PairId) -> &Pair {
        &self.pairs[id.0 as usize].0
    }

    /// The domain whose queue mail of a binding to a domain is in: its own, unless there is a
    /// `gateway`. Known for what was accepted.
    pub fn queue_domain<'a>(&'a self, binding: &Arc<str>, domain: &'a Arc<str>) -> &'a Arc<str> {
        let pair = Pair { binding: Arc::clone(binding), domain: Arc::clone(domain) };
        self.queues.get(&pair).map_or(domain, |queue| &self.pair(*queue).domain)
    }

    /// The options of a pair.
    pub fn options(&self, id: PairId) -> &DeliveryOptions {
        &self.pairs[id.0 as usize].1
    }

    /// The options of a pair, if the book knows it.
    pub fn find_options(&self, pair: &Pair) -> Option<&DeliveryOptions> {
        self.pair_ids.get(pair).map(|id| self.options(*id))
    }

    /// The recipient a record is about, as the book knows it before the record.
    pub(super) fn look_up(&self, record: &Record) -> Result<Option<Row>, Finding> {
        match &record.event {
            Event::Delivery(attempt)
            | Event::TransientFailure { attempt, .. }
            | Event::PermanentFailure(attempt)
            | Event::Expiry { attempt, .. } => self.check_attempt(record, attempt).map(Some),
            _ => Ok(None),
        }
    }

    /// Enters what a record says; it was looked up before.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), Finding> {
        match &record.event {
            Event::Reception { message, recipients, binding, .. } => {
                self.accept(*message, record.at, recipients, binding)
            }
            Event::Delivery(attempt) => self.end(attempt, State::Delivered),
            Event::PermanentFailure(attempt) => self.end(attempt, State::Bounced),
            Event::Expiry { attempt, .. } => self.end(attempt, State::Expired),
            Event::TransientFailure { attempt, next_attempt_at } => {
                let lost = super::copies::is_lost(attempt);
                let row = self.row_mut(attempt.message, attempt.recipient)?;
                row.attempts = attempt.attempts;
                row.due_at = *next_attempt_at;
                row.lost += u16::from(lost);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The row of a message's recipient by the mailbox's name.
    pub(super) fn row_named(
        &mut self,
        message: MessageId,
        mailbox: &str,
    ) -> Result<&mut Row, Finding> {
        let place = self.place(message)?;
        let name = entity(mailbox.as_bytes());
        let rows = &mut self.rows[place.first_row as usize..][..place.rows as usize];
        rows.iter_mut().find(|row| row.mailbox == name).ok_or_else(|| Finding {
            invariant: "conservation",
            details: format!("{mailbox} is no recipient of message {message}"),
        })
    }

    /// Any recipient of a message.
    pub(super) fn first_row(&self, message: MessageId) -> Result<&Row, Finding> {
        let place = self.place(message)?;
        Ok(&self.rows[place.first_row as usize])
    }

    fn accept(
        &mut self,
        message: MessageId,
        at: Timestamp,
        recipients: &[Mailbox],
        binding: &Arc<str>,
    ) -> Result<(), Finding> {
        ensure(LAW, self.place(message).is_err(), || format!("message {message} came twice"))?;
        ensure(LAW, !recipients.is_empty(), || format!("message {message} is for nobody"))?;
        let first_row = self.rows.len() as u32;
        for mailbox in recipients {
            let pair = Pair { binding: Arc::clone(binding), domain: Arc::clone(&mailbox.domain) };
            let row = Row {
                mailbox: entity(mailbox_name(mailbox).as_bytes()),
                accepted_at: at,
                due_at: at,
                pair: self.queue_of(pair),
                attempts: 0,
                lost: 0,
                copies: 0,
                answered: 0,
                state: State::Pending,
            };
            self.rows.push(row);
        }
        let rows = recipients.len() as u32;
        self.pending += u64::from(rows);
        self.pending_messages += 1;
        self.enter(message, Place { first_row, rows, pending: rows });
        Ok(())
    }

    /// Whether a record about an attempt fits what is known of its recipient.
    fn check_attempt(&self, record: &Record, attempt: &Attempt) -> Result<Row, Finding> {
        let (message, index) = (attempt.message, attempt.recipient);
        let row = *self.row(message, index)?;
        let who = || format!("{} of message {message}", attempt.mailbox);
        ensure(LAW, row.state == State::Pending, || {
            format!("{} is {:?}, and another result came for it", who(), row.state)
        })?;
        ensure(LAW, *self.pair(row.pair) == attempt.pair, || {
            format!("{} belongs to another queue than {:?}", who(), attempt.pair)
        })?;
        let is_new = attempt.attempts == row.attempts + 1;
        let is_verdict = attempt.attempts == row.attempts && attempt.conn.is_none();
        ensure(LAW, is_new || is_verdict, || {
            let (then, now) = (row.attempts, attempt.attempts);
            format!("{} had {then} attempts, and now has {now}", who())
        })?;
        let age = record.at.saturating_since(row.accepted_at);
        ensure(LAW, attempt.age == age, || {
            format!("{} is {age:?} old, not {:?}", who(), attempt.age)
        })?;
        Ok(row)
    }

    fn end(&mut self, attempt: &Attempt, state: State) -> Result<(), Finding> {
        let row = self.row_mut(attempt.message, attempt.recipient)?;
        row.state = state;
        row.attempts = attempt.attempts;
        self.pending -= 1;
        let (segment, n) = self.find(attempt.message).ok_or_else(|| unknown(attempt.message))?;
        let place = &mut self.messages[segment].messages[n];
        place.pending -= 1;
        self.pending_messages -= u64::from(place.pending == 0);
        Ok(())
    }

    fn row(&self, message: MessageId, index: u32) -> Result<&Row, Finding> {
        let place = self.place(message)?;
        ensure(LAW, index < place.rows, || {
            format!("message {message} has {} recipients, and no number {index}", place.rows)
        })?;
        Ok(&self.rows[(place.first_row + index) as usize])
    }

    fn row_mut(&mut self, message: MessageId, index: u32) -> Result<&mut Row, Finding> {
        let place = self.place(message)?;
        Ok(&mut self.rows[(place.first_row + index) as usize])
    }

    fn place(&self, message: MessageId) -> Result<Place, Finding> {
        let (segment, n) = self.find(message).ok_or_else(|| unknown(message))?;
        Ok(self.messages[segment].messages[n])
    }

    fn find(&self, message: MessageId) -> Option<(usize, usize)> {
        let number = message.0 >> 1;
        self.messages.iter().enumerate().rev().find_map(|(at, segment)| {
            let n = number.checked_sub(segment.first)? as usize;
            let known = segment.side == message.0 & 1
                && segment.messages.get(n).is_some_and(|place| place.rows > 0);
            known.then_some((at, n))
        })
    }

    fn enter(&mut self, message: MessageId, place: Place) {
        let (number, side) = (message.0 >> 1, message.0 & 1);
        let near = |segment: &&mut Segment| {
            let end = segment.first + segment.messages.len() as u64;
            segment.side == side && (segment.first..end + GAP_MAX).contains(&number)
        };
        match self.messages.iter_mut().rev().find(near) {
            Some(segment) => {
                let n = (number - segment.first) as usize;
                let nobody = Place { first_row: 0, rows: 0, pending: 0 };
                if segment.messages.len() <= n {
                    segment.messages.resize(n + 1, nobody);
                }
                segment.messages[n] = place;
            }
            None => self.messages.push(Segment { first: number, side, messages: vec![place] }),
        }
    }
}

fn unknown(message: MessageId) -> Finding {
    Finding { invariant: LAW, details: format!("message {message} was never accepted") }
}

const LAW: &str = "conservation";

/// Ids that may be missing within a segment: messages that were refused.
const GAP_MAX: u64 = 1024;
