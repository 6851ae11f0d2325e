//! The book: where every recipient is. Conservation is its own law: each accepted recipient is in
//! exactly one place, and leaves the books exactly once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::config::effective::DeliveryOptions;
use traject_engine::config::{Config, DEFAULT_BINDING};
use traject_engine::control::{Action, Selector};
use traject_engine::ids::MessageId;
use traject_engine::message::{RecipientState, StoredMessage};
use traject_engine::record::{Attempt, Event, Pair, Record, Via};
use traject_engine::rng::entity;
use traject_engine::smtp::address::Mailbox;
use traject_engine::tls::policy::TlsMode;

use super::notes::Notes;
use super::{Finding, Law, ensure, mailbox_name};

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
    /// Whose mail it is: its message's binding and its domain. Its queue is another while the
    /// binding is not configured, and with a gateway.
    pub pair: PairId,
    /// Whose mail it is now: another pair's once an operator has rerouted it.
    pub home: PairId,
    /// An operator has made it due before its time, which the spool does not know.
    pub flushed: bool,
    /// Attempts made.
    pub attempts: u16,
    /// Attempts whose end nobody knows: the connection died while the receiver had the content.
    pub lost: u16,
    /// When the last of those was given up; the epoch if there is none.
    pub lost_at: Timestamp,
    /// Copies that receivers took.
    pub copies: u16,
    /// What a receiver said last to its content; 0: nothing yet.
    pub answered: u16,
    /// How far it has come.
    pub state: State,
    /// It had come to its end, and a crash took the note of that.
    pub redone: bool,
    /// Whether it is of a notice, and not of the scenario's mail.
    pub notice: bool,
}

/// Every recipient that was ever accepted.
#[derive(Debug)]
pub struct Book {
    /// The configurations, each in force from an instant on; never empty.
    configs: Vec<(Timestamp, Arc<Config>)>,
    /// Bindings of messages that were not configured when the message came in.
    strangers: BTreeMap<MessageId, Arc<str>>,
    rows: Vec<Row>,
    /// Indexes of recipients that were done when their message came: they have no row.
    done: BTreeMap<MessageId, Box<[u32]>>,
    messages: Vec<Segment>,
    /// Each pair with what it is under each configuration.
    pairs: Vec<(Pair, Vec<Phase>)>,
    pair_ids: BTreeMap<Pair, PairId>,
    pending: u64,
    pending_messages: u64,
    pub(super) notes: Notes,
}

/// What a pair is under one configuration.
#[derive(Debug)]
pub(super) struct Phase {
    /// Its options.
    pub(super) options: DeliveryOptions,
    /// The queue its mail is in.
    queue: Pair,
    /// `tls` of that queue: what its connections go by.
    queue_tls: TlsMode,
    /// `max_recipients_per_batch` of that queue.
    pub(super) queue_batch: u32,
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
            configs: vec![(Timestamp::default(), config)],
            strangers: BTreeMap::new(),
            rows: Vec::new(),
            done: BTreeMap::new(),
            messages: Vec::new(),
            pairs: Vec::new(),
            pair_ids: BTreeMap::new(),
            pending: 0,
            pending_messages: 0,
            notes: Notes::default(),
        }
    }

    /// Another configuration is in force from now on.
    pub(super) fn reload(&mut self, at: Timestamp, config: Arc<Config>) {
        for (pair, phases) in &mut self.pairs {
            phases.push(Phase::new(pair, &config));
        }
        self.configs.push((at, config));
    }

    /// A message of a binding that may not be configured is on its way.
    pub(super) fn submitted(&mut self, message: MessageId, binding: &Arc<str>) {
        let known = self.configs.last().is_some_and(|(_, config)| config.has_binding(binding));
        if !known {
            self.strangers.insert(message, Arc::clone(binding));
        }
    }

    /// The process broke off with transactions under way: whether a receiver has what it was sent,
    /// nobody knows. What was not due was in none.
    pub(super) fn broke_off(&mut self, at: Timestamp) {
        let perhaps = |row: &&mut Row| row.state == State::Pending && row.due_at <= at;
        for row in self.rows.iter_mut().filter(perhaps) {
            row.lost += 1;
            row.lost_at = at;
        }
    }

    /// Whether a message was ever accepted.
    pub fn knows(&self, message: MessageId) -> bool {
        self.find(message).is_some()
    }

    /// The configurations that were in force at some time between two instants, both included, and
    /// since when.
    pub(super) fn configs(&self, from: Timestamp, to: Timestamp) -> &[(Timestamp, Arc<Config>)] {
        &self.configs[self.in_force(from, to)]
    }

    /// The configuration in force at an instant: the last of them, if there was a reload just then.
    pub fn config_at(&self, at: Timestamp) -> &Config {
        let place = self.configs.partition_point(|(since, _)| *since <= at);
        &self.configs[place.saturating_sub(1)].1
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        // Unwrap is OK because a configuration is always in force.
        &self.configs.last().expect("a configuration").1
    }

    /// Since when the configuration in force is so.
    pub(super) fn in_force_since(&self) -> Timestamp {
        self.configs.last().map_or_else(Timestamp::default, |(since, _)| *since)
    }

    /// When the last configuration up to `at` came into force before which a pair's options were
    /// as asked; the start when there is none.
    pub(super) fn last_reload(
        &self,
        id: PairId,
        at: Timestamp,
        asked: impl Fn(&DeliveryOptions) -> bool,
    ) -> Timestamp {
        let phases = &self.pairs[id.0 as usize].1;
        let reloads = phases.iter().zip(self.configs.iter().skip(1));
        let reloads = reloads.take_while(|(_, (since, _))| *since <= at);
        let last = reloads.filter(|(before, _)| asked(&before.options)).last();
        last.map_or_else(Timestamp::default, |(_, (since, _))| *since)
    }

    /// What `tls` was for a pair's mail at some time between two instants, both included.
    pub(super) fn tls_within(
        &self,
        id: PairId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = TlsMode> {
        let phases = &self.pairs[id.0 as usize].1;
        phases[self.in_force(from, to)].iter().map(|phase| phase.queue_tls)
    }

    /// The positions of these configurations.
    fn in_force(&self, from: Timestamp, to: Timestamp) -> RangeInclusive<usize> {
        let last = |place: usize| place.saturating_sub(1);
        let first = last(self.configs.partition_point(|(since, _)| *since < from));
        first..=last(self.configs.partition_point(|(since, _)| *since <= to)).max(first)
    }

    /// Recipients not done.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Recipients of a message that are not done; none of one that was never accepted.
    pub(super) fn pending_of(&self, message: MessageId) -> u32 {
        self.place(message).map_or(0, |place| place.pending)
    }

    /// Messages with recipients that are not done.
    pub fn pending_messages(&self) -> u64 {
        self.pending_messages
    }

    /// Every recipient, in the order of acceptance.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The first message that is not done, with its first recipient that is not.
    pub fn first_pending(&self) -> Option<(MessageId, &Row)> {
        let messages = self.messages.iter().flat_map(|segment| {
            let number = |(n, place)| ((segment.first + n as u64) << 1 | segment.side, place);
            (0..).zip(&segment.messages).map(number)
        });
        let (id, place) =
            messages.into_iter().find(|(_, place): &(u64, &Place)| place.pending > 0)?;
        let rows = &self.rows[place.first_row as usize..][..place.rows as usize];
        let row = rows.iter().find(|row| row.state == State::Pending)?;
        Some((MessageId(id), row))
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
        let phases = self.configs.iter().map(|(_, config)| Phase::new(pair, config));
        self.pairs.push((pair.clone(), phases.collect()));
        self.pair_ids.insert(pair.clone(), id);
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
        let phases = self.pair_ids.get(&pair).map(|id| &self.pairs[id.0 as usize].1);
        phases.and_then(|phases| phases.last()).map_or(domain, |phase| &phase.queue.domain)
    }

    /// The options of a pair that are in force.
    pub fn options(&self, id: PairId) -> &DeliveryOptions {
        // Unwrap is OK because a configuration is always in force.
        &self.pairs[id.0 as usize].1.last().expect("a configuration").options
    }

    /// What a pair was at some time between two instants, both included; never empty.
    pub(super) fn phases(&self, id: PairId, from: Timestamp, to: Timestamp) -> &[Phase] {
        &self.pairs[id.0 as usize].1[self.in_force(from, to)]
    }

    /// What a pair was under one configuration, as [`Self::last_config`] counts them.
    pub(super) fn phase(&self, id: PairId, config: usize) -> &Phase {
        &self.pairs[id.0 as usize].1[config]
    }

    /// Which configuration is in force, counted from 0.
    pub(super) fn last_config(&self) -> usize {
        self.configs.len() - 1
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
    pub(super) fn apply(&mut self, record: &Record, notice: bool) -> Result<(), Finding> {
        match &record.event {
            // All of it was bounces that are read and dropped (`bounce_behavior`).
            Event::Reception { via: Via::Smtp { .. }, recipients, .. } if recipients.is_empty() => {
                Ok(())
            }
            Event::Reception { message, recipients, done, binding, .. } => {
                let binding = self.strangers.remove(message).unwrap_or_else(|| Arc::clone(binding));
                self.accept((*message, notice), record.at, (recipients, done), &binding)
            }
            Event::Delivery(attempt) => self.end(attempt, State::Delivered),
            Event::PermanentFailure(attempt) => {
                self.note_lost(record.at, attempt)?;
                self.end(attempt, State::Bounced)
            }
            Event::Expiry { attempt, .. } => {
                self.note_lost(record.at, attempt)?;
                self.end(attempt, State::Expired)
            }
            Event::TransientFailure { attempt, next_attempt_at } => {
                let lost = super::copies::is_lost(attempt);
                let row = self.row_mut(attempt.message, attempt.recipient)?;
                row.attempts = attempt.attempts;
                row.due_at = *next_attempt_at;
                row.flushed = false;
                row.lost += u16::from(lost);
                row.lost_at = if lost { record.at } else { row.lost_at };
                Ok(())
            }
            Event::Rerouted { message, recipients, to, .. } => {
                let home = self.pair_id(to);
                recipients
                    .iter()
                    .try_for_each(|index| self.row_mut(*message, *index).map(|row| row.home = home))
            }
            Event::Control { action: Action::Flush { of }, refusal: None, .. } => {
                self.flush(record.at, of)
            }
            _ => Ok(()),
        }
    }

    /// An operator wants mail to be due now.
    fn flush(&mut self, at: Timestamp, of: &Selector) -> Result<(), Finding> {
        let rows = match of.message {
            None => 0..self.rows.len(),
            Some(message) => {
                let place = self.place(message)?;
                place.first_row as usize..(place.first_row + place.rows) as usize
            }
        };
        let meant = |(_, phases): &(Pair, Vec<Phase>)| {
            phases.last().is_some_and(|phase| of.may_be_in(&phase.queue))
        };
        let meant: Vec<bool> = self.pairs.iter().map(meant).collect();
        for row in &mut self.rows[rows] {
            if row.state == State::Pending && meant[row.home.0 as usize] {
                row.flushed |= row.due_at > at;
                row.due_at = row.due_at.min(at);
            }
        }
        Ok(())
    }

    /// A last attempt may have been given up while the receiver was at it.
    fn note_lost(&mut self, at: Timestamp, attempt: &Attempt) -> Result<(), Finding> {
        if super::copies::is_lost(attempt) {
            self.row_mut(attempt.message, attempt.recipient)?.lost_at = at;
        }
        Ok(())
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
            law: LAW,
            details: format!("{mailbox} is no recipient of message {message}"),
        })
    }

    fn accept(
        &mut self,
        (message, notice): (MessageId, bool),
        at: Timestamp,
        (recipients, done): (&[Mailbox], &[u32]),
        binding: &Arc<str>,
    ) -> Result<(), Finding> {
        ensure(LAW, self.place(message).is_err(), || format!("message {message} came twice"))?;
        ensure(LAW, !recipients.is_empty(), || format!("message {message} is for nobody"))?;
        let first_row = self.rows.len() as u32;
        let at = self.notes.received_at(message).unwrap_or(at);
        if !done.is_empty() {
            self.done.insert(message, done.into());
        }
        for mailbox in recipients {
            let pair = Pair { binding: Arc::clone(binding), domain: Arc::clone(&mailbox.domain) };
            let pair = self.pair_id(&pair);
            let row = Row {
                mailbox: entity(mailbox_name(mailbox).as_bytes()),
                accepted_at: at,
                due_at: at,
                pair,
                home: pair,
                flushed: false,
                attempts: 0,
                lost: 0,
                lost_at: Timestamp::default(),
                copies: 0,
                answered: 0,
                state: State::Pending,
                redone: false,
                notice,
            };
            self.rows.push(row);
        }
        let rows = recipients.len() as u32;
        self.pending += u64::from(rows);
        self.pending_messages += 1;
        self.enter(message, Place { first_row, rows, pending: rows });
        Ok(())
    }

    /// A message is found in the spool at a start. What became of it is what the spool says, if the
    /// last that was noted of it may have been lost, or nobody has heard (`unheard`) of a failure
    /// that was not to be noted before; else it is what the book says.
    pub(super) fn found(
        &mut self,
        at: Timestamp,
        message: &StoredMessage,
        unheard: bool,
    ) -> Result<(), Finding> {
        if !self.knows(message.id) {
            // Durable, and the process died before it knew.
            self.notes.is_new(message.id, message.received_at);
            return Ok(());
        }
        let uncertain = self.notes.is_uncertain(message.id) || unheard;
        let mut back = 0;
        for (index, recipient) in (0..).zip(&message.recipients) {
            let RecipientState::Pending { attempts, next_attempt_at } = recipient.state else {
                continue;
            };
            let rerouted = message.rerouted(index).map(|to| self.pair_id(to));
            let row = self.row_mut(message.id, index)?;
            if std::mem::take(&mut row.flushed) {
                // The spool knows nothing of that.
                row.due_at = next_attempt_at;
            }
            let home = rerouted.unwrap_or(row.pair);
            if uncertain {
                row.home = home;
            }
            ensure(LAW, row.home == home, || {
                format!("{} of message {} is in another queue now", recipient.mailbox, message.id)
            })?;
            if uncertain {
                if row.state != State::Pending {
                    back += 1;
                    row.redone = true;
                    row.lost += 1;
                    row.lost_at = at;
                }
                row.state = State::Pending;
                row.attempts = attempts;
                row.due_at = if attempts == 0 { row.accepted_at } else { next_attempt_at };
            }
            let known = (row.attempts, row.attempts == 0 || row.due_at == next_attempt_at);
            ensure(LAW, known == (attempts, true), || {
                let (mailbox, then) = (&recipient.mailbox, row.attempts);
                format!(
                    "{mailbox} of message {} had {then} attempts, the spool knows {attempts}",
                    message.id
                )
            })?;
        }
        self.pending += u64::from(back);
        if back > 0 {
            let (segment, n) = self.find(message.id).ok_or_else(|| unknown(message.id))?;
            let place = &mut self.messages[segment].messages[n];
            self.pending_messages += u64::from(place.pending == 0);
            place.pending += back;
        }
        Ok(())
    }

    /// After a restart the spool gives back every recipient that is not done, and no other.
    pub(super) fn recover(
        &self,
        message: MessageId,
        recipients: &[Mailbox],
    ) -> Result<(), Finding> {
        let place = self.place(message)?;
        let rows = &self.rows[place.first_row as usize..][..place.rows as usize];
        let pending = rows.iter().filter(|row| row.state == State::Pending);
        let names = recipients.iter().map(|mailbox| entity(mailbox_name(mailbox).as_bytes()));
        ensure(LAW, pending.map(|row| row.mailbox).eq(names), || {
            let (then, now) = (place.pending, recipients.len());
            format!("{now} recipients of message {message} came back, {then} were pending")
        })
    }

    /// Whether a record about an attempt fits what is known of its recipient.
    fn check_attempt(&self, record: &Record, attempt: &Attempt) -> Result<Row, Finding> {
        let (message, index) = (attempt.message, attempt.recipient);
        let row = *self.row(message, index)?;
        let who = || format!("{} of message {message}", attempt.mailbox);
        ensure(LAW, row.state == State::Pending, || {
            format!("{} is {:?}, and another result came for it", who(), row.state)
        })?;
        // What is in a transaction when a configuration comes into force ends where it began.
        let begun_at = Timestamp(record.at.0.saturating_sub(attempt.took.as_micros() as u64));
        let mut phases = self.phases(row.home, begun_at, record.at).iter();
        let belongs = phases.any(|phase| phase.queue == attempt.pair);
        ensure(LAW, belongs, || {
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

    /// Whether a message is a notice.
    pub(super) fn is_notice(&self, message: MessageId) -> bool {
        self.place(message).is_ok_and(|place| self.rows[place.first_row as usize].notice)
    }

    pub(super) fn row(&self, message: MessageId, index: u32) -> Result<&Row, Finding> {
        Ok(&self.rows[self.position(message, index)?])
    }

    fn row_mut(&mut self, message: MessageId, index: u32) -> Result<&mut Row, Finding> {
        let position = self.position(message, index)?;
        Ok(&mut self.rows[position])
    }

    /// Where the row is of a recipient with an index in the message's envelope.
    fn position(&self, message: MessageId, index: u32) -> Result<usize, Finding> {
        let place = self.place(message)?;
        let done = self.done.get(&message).map_or(&[][..], |done| done);
        let before = done.binary_search(&index).err();
        let row = before.map(|before| index - before as u32).filter(|row| *row < place.rows);
        row.map(|row| (place.first_row + row) as usize).ok_or_else(|| Finding {
            law: LAW,
            details: format!("message {message} came for {}, not for number {index}", place.rows),
        })
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

impl Phase {
    /// Mail of a binding that is not configured is sent by `default`, and a gateway's customers
    /// share its queue.
    fn new(mail: &Pair, config: &Config) -> Self {
        let options = config.delivery_options(&mail.binding, &mail.domain);
        let binding = match config.has_binding(&mail.binding) {
            true => Arc::clone(&mail.binding),
            false => DEFAULT_BINDING.into(),
        };
        let domain = options.gateway.clone().unwrap_or_else(|| Arc::clone(&mail.domain));
        let queue = Pair { binding, domain };
        let of = |options: &DeliveryOptions| (options.tls.mode, options.max_recipients_per_batch);
        let (queue_tls, queue_batch) = match queue == *mail {
            true => of(&options),
            false => of(&config.delivery_options(&queue.binding, &queue.domain)),
        };
        Self { options, queue, queue_tls, queue_batch }
    }
}

fn unknown(message: MessageId) -> Finding {
    Finding { law: LAW, details: format!("message {message} was never accepted") }
}

const LAW: Law = Law::Conservation;

/// Ids that may be missing within a segment: messages that were refused.
const GAP_MAX: u64 = 1024;
