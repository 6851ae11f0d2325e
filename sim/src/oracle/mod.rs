//! Oracles: what must hold in every run, whatever the scenario.
//!
//! They see what everybody could see: the engine's records, and what receivers say they took. They
//! keep their own books, share no code with the engine, and each knows one law.
//!
//! ```text
//! records ──► Book (who is where) ──► outcome · retry · caps · route · tls …  after each record
//! copies  ──► Book                ──► copies · in clear                    after each copy
//! inputs, outputs                 ──► boundary · durability · spin         after each
//! engine.check(), spool, Book     ──► conservation                         now and then
//! records ──► Book (options)      ──► throttle                             at the end
//! a random world's text           ──► config                               before a run
//! ```
//!
//! [`Law`] names them all, and for each a test plants a bug and sees it caught.

pub mod book;
mod boundary;
mod caps;
pub mod config;
mod conservation;
mod copies;
pub mod determinism;
mod durability;
mod held;
mod in_clear;
mod law;
mod notes;
mod notices;
mod outcome;
mod retry;
mod route;
mod shared;
mod spin;
mod throttle;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::config::Config;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::io::SpoolWrite;
use traject_engine::notice::NoticeKind;
use traject_engine::record::{Event, Pair, Record, Via};
use traject_engine::smtp::address::Mailbox;
use traject_engine::{Input, Output, Timestamp};

use crate::counts::attempt_of;

pub use self::book::{Book, PairId, Row, State};
pub use self::conservation::AtRest;
pub use self::law::Law;
pub use self::route::{Names, Routes, Saying};

use self::boundary::Requests;
use self::caps::Caps;
use self::durability::Durability;
use self::held::Held;
use self::notices::NoticeLaw;
use self::shared::SharedCaps;
use self::spin::Spin;
use self::throttle::Throttles;
use self::tls::TlsLaw;

/// A law that was broken: a bug of the engine or of the simulator, never of the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it showed.
    pub at: Timestamp,
    /// Which law.
    pub invariant: &'static str,
    /// What was found.
    pub details: String,
    /// Whose doing it was.
    pub entity: Entity,
}

/// What a violation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    /// One message.
    Message(MessageId),
    /// One connection.
    Connection(ConnId),
    /// The whole run.
    Run,
}

impl Entity {
    /// Whether a record is about the same thing.
    pub fn concerns(self, record: &Record) -> bool {
        match self {
            Self::Message(message) => message_of(&record.event) == Some(message),
            Self::Connection(conn) => connection_of(&record.event) == Some(conn),
            Self::Run => true,
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "message {message}"),
            Self::Connection(conn) => write!(f, "connection {conn}"),
            Self::Run => f.write_str("the run"),
        }
    }
}

/// All oracles and their book.
#[derive(Debug)]
pub struct Oracles {
    book: Book,
    caps: Caps,
    shared: SharedCaps,
    routes: Routes,
    throttles: Throttles,
    tls: TlsLaw,
    notices: NoticeLaw,
    held: Held,
    requests: Requests,
    durability: Durability,
    spin: Spin,
}

impl Oracles {
    /// The oracles of one run under `config`, with the exchanges that `routes` knows.
    pub fn new(config: Arc<Config>, routes: Routes) -> Self {
        Self {
            book: Book::new(config),
            caps: Caps::default(),
            shared: SharedCaps::default(),
            routes,
            throttles: Throttles::default(),
            tls: TlsLaw::default(),
            notices: NoticeLaw::default(),
            held: Held::default(),
            requests: Requests::default(),
            durability: Durability::default(),
            spin: Spin::default(),
        }
    }

    /// Who is where.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Another configuration is in force from now on.
    pub fn reload(&mut self, at: Timestamp, config: Arc<Config>) {
        self.book.reload(at, config);
        self.shared.reload(&mut self.book);
        self.routes.reload();
    }

    /// A message is on its way, and names its binding.
    pub fn submitted(&mut self, message: MessageId, binding: &Arc<str>) {
        self.book.submitted(message, binding);
    }

    /// The process is gone, and with it the connections it had: these records say so.
    pub fn process_gone(&mut self, at: Timestamp, how: Death) -> Vec<Record> {
        let closed = self.caps.all_closed(&self.book, how);
        self.requests.forget();
        self.durability.forget();
        if !closed.is_empty() {
            self.book.broke_off(at);
        }
        self.held.process_gone(at);
        self.tls.process_gone();
        self.notices.process_gone();
        self.throttles.process_gone();
        match (how, self.book.notes.process_gone()) {
            (Death::Ended, None) => {}
            (_, durable) => self.throttles.forgotten(at, durable),
        }
        closed.into_iter().map(|event| Record { at, event }).collect()
    }

    /// Judges a record. On success: what the book knew of its recipient before, when it is about
    /// one.
    ///
    /// # Errors
    ///
    /// The first law it breaks.
    pub fn record(&mut self, record: &Record) -> Result<Option<Row>, Violation> {
        let before = self.book.look_up(record);
        let judged = (|| {
            let before = before?;
            if let (Some(row), Some(attempt)) = (&before, attempt_of(&record.event)) {
                let queue = self.book.pair_id(&attempt.pair);
                let options = self.book.options(queue);
                outcome::judge(&record.event, row, options)?;
                retry::judge(record, row, options)?;
                copies::judge_result(&record.event, row)?;
            }
            self.durability.record(record)?;
            self.spin.record(record);
            self.caps.judge(record, &mut self.book)?;
            self.shared.judge(record, &mut self.book)?;
            self.routes.judge(record, &mut self.book)?;
            self.tls.judge(record, &mut self.book)?;
            self.held.judge(record)?;
            self.throttles.note(record, &mut self.book);
            self.notices.judge(record, &mut self.book)?;
            self.take_in(record)?;
            if let Some(attempt) = attempt_of(&record.event) {
                self.book.notes.changed(attempt.message);
            }
            // Not before this are the recipients it tells of done.
            if let Event::Reception { via: Via::Notice { of, kind, .. }, .. } = &record.event
                && *kind == NoticeKind::Failed
            {
                self.book.notes.changed(*of);
            }
            if let Event::Rerouted { message, .. } = &record.event {
                self.book.notes.changed(*message);
            }
            Ok(before)
        })();
        judged.map_err(|finding: Finding| finding.at(record.at, entity_of(&record.event)))
    }

    /// Enters a record into the book.
    fn take_in(&mut self, record: &Record) -> Result<(), Finding> {
        if let Event::Reception { message, via: Via::Spool, recipients, .. } = &record.event
            && self.book.knows(*message)
        {
            return self.book.recover(*message, recipients);
        }
        let notice = matches!(&record.event, Event::Reception { message, via, .. }
            if matches!(via, Via::Notice { .. }) || self.notices.is_begun(*message));
        self.book.apply(record, notice)
    }

    /// Whether a record is about a notice rather than about mail of the scenario.
    pub fn is_about_notice(&self, event: &Event) -> bool {
        match event {
            Event::Reception { via: Via::Notice { .. }, .. } => true,
            Event::Reception { message, .. } if self.notices.is_begun(*message) => true,
            event => message_of(event).is_some_and(|message| self.book.is_notice(message)),
        }
    }

    /// Whether all who are to hear of a failure have.
    pub fn owes_nothing(&self) -> bool {
        self.notices.is_settled()
    }

    /// Judges what the engine wants.
    ///
    /// # Errors
    ///
    /// The law it breaks.
    pub fn output(&mut self, at: Timestamp, output: &Output) -> Result<(), Violation> {
        match output {
            Output::Connect { conn, peer, .. } => {
                self.routes.connects(at, *conn);
                self.tls.connects(*conn, peer.ip());
                self.throttles.connects(*conn, &self.book);
            }
            Output::Compose { message, .. } => self.notices.begins(*message),
            Output::Resolve { query, question } => self.routes.asks(at, *query, question),
            Output::Spool { op, write } => {
                self.book.notes.writes(at, *op, write);
                if let SpoolWrite::Insert(message) = write {
                    let judged = conservation::judge_new(message, self.book.config());
                    judged.map_err(|finding| finding.at(at, Entity::Message(message.id)))?;
                }
            }
            _ => {}
        }
        self.requests.output(at, output);
        let judged = self.durability.output(output, &self.book);
        judged.map_err(|finding| finding.at(at, Entity::Run))
    }

    /// Judges what the engine is told.
    ///
    /// # Errors
    ///
    /// The law it breaks: one that whoever runs the engine keeps, or that the spool has another
    /// idea of a message than the records.
    pub fn input(&mut self, at: Timestamp, input: &Input<'_>) -> Result<(), Violation> {
        match input {
            Input::Resolved { query, .. } => self.routes.hears(at, *query),
            Input::Spooled { op, result } => self.book.notes.written(*op, result.is_ok()),
            Input::Recovered(message) => {
                let unheard = self.notices.forgive(message.id);
                let found = self.book.found(at, message, unheard);
                found.map_err(|finding| finding.at(at, Entity::Message(message.id)))?;
            }
            _ => {}
        }
        self.durability.input(input);
        let judged = self.requests.input(input);
        let judged = judged.and_then(|()| self.spin.input(at, input, self.book.pending()));
        judged.map_err(|finding| finding.at(at, Entity::Run))
    }

    /// The disk begins a sync that takes so long.
    pub fn disk_syncs(&mut self, at: Timestamp, takes: Duration) {
        self.requests.disk_syncs(at, takes);
    }

    /// Judges whether the engine has waited for an answer for too long.
    ///
    /// # Errors
    ///
    /// When it has.
    pub fn overdue(&self, now: Timestamp) -> Result<(), Violation> {
        self.requests.overdue(now).map_err(|finding| finding.at(now, Entity::Run))
    }

    /// Judges whether all hold the same mail, at rest.
    ///
    /// # Errors
    ///
    /// When they do not.
    pub fn at_rest(&self, now: Timestamp, held: AtRest) -> Result<(), Violation> {
        conservation::judge(held, &self.book).map_err(|finding| finding.at(now, Entity::Run))
    }

    /// Judges that a receiver answered the content of a message, for one recipient.
    /// Tells whose mail it is when a receiver took a copy that it or another had already.
    ///
    /// # Errors
    ///
    /// The law it breaks.
    pub fn answered(
        &mut self,
        at: Timestamp,
        message: MessageId,
        recipient: &str,
        answer: Answer,
    ) -> Result<Option<Pair>, Violation> {
        in_clear::judge_answer(at, message, recipient, answer, &mut self.book)
            .and_then(|()| copies::judge_answer(at, message, recipient, answer, &mut self.book))
            .map(|again| again.map(|pair| self.book.pair(pair).clone()))
            .map_err(|finding| finding.at(at, Entity::Message(message)))
    }

    /// Judges what can be judged only when all records are there.
    ///
    /// # Errors
    ///
    /// When a window of a throttle held more than its limit.
    pub fn finish(&mut self) -> Result<(), Violation> {
        self.throttles.judge().map_err(|(at, finding)| finding.at(at, Entity::Run))
    }

    /// Judges how many recipients one transaction had.
    ///
    /// # Errors
    ///
    /// When it had more than `max_recipients_per_batch` allows.
    pub fn transaction(
        &mut self,
        at: Timestamp,
        message: MessageId,
        recipients: &[String],
    ) -> Result<(), Violation> {
        caps::judge_batch(&mut self.book, at, message, recipients)
            .map_err(|finding| finding.at(at, Entity::Message(message)))
    }
}

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It was asked to end, and wrote down what a new one must know.
    Ended,
    /// It was killed: a new one knows what was in the spool.
    Killed,
}

/// What a receiver said to the content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the receiver took responsibility.
    pub taken: bool,
    /// The code of its reply; `None` when it gave none.
    pub code: Option<u16>,
    /// Whether the message came under TLS.
    pub secured: bool,
    /// When the connection reached the receiver.
    pub connected_at: Timestamp,
}

/// What one oracle found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    law: Law,
    details: String,
}

impl Finding {
    fn at(self, at: Timestamp, entity: Entity) -> Violation {
        Violation { at, invariant: self.law.name(), details: self.details, entity }
    }
}

/// `Err` unless it holds.
fn ensure(law: Law, holds: bool, details: impl FnOnce() -> String) -> Result<(), Finding> {
    if holds { Ok(()) } else { Err(Finding { law, details: details() }) }
}

/// The bytes that name a mailbox in the books.
fn mailbox_name(mailbox: &Mailbox) -> String {
    mailbox.to_string()
}

fn entity_of(event: &Event) -> Entity {
    match (message_of(event), connection_of(event)) {
        (Some(message), _) => Entity::Message(message),
        (None, Some(conn)) => Entity::Connection(conn),
        (None, None) => Entity::Run,
    }
}

fn message_of(event: &Event) -> Option<MessageId> {
    match event {
        Event::Reception { message, .. }
        | Event::Rerouted { message, .. }
        | Event::OutOfBandBounce { message, .. }
        | Event::SpoolFailure { message, .. } => Some(*message),
        Event::Delivery(attempt)
        | Event::TransientFailure { attempt, .. }
        | Event::PermanentFailure(attempt)
        | Event::Expiry { attempt, .. } => Some(attempt.message),
        _ => None,
    }
}

fn connection_of(event: &Event) -> Option<ConnId> {
    match event {
        Event::ConnectionOpened { conn, .. }
        | Event::ConnectionMigrated { conn, .. }
        | Event::ConnectionFailed { conn, .. }
        | Event::ConnectionClosed { conn, .. }
        | Event::ProtocolViolation { conn, .. }
        | Event::Rejection { conn, .. } => Some(*conn),
        Event::Delivery(attempt)
        | Event::TransientFailure { attempt, .. }
        | Event::PermanentFailure(attempt)
        | Event::Expiry { attempt, .. } => attempt.conn,
        _ => None,
    }
}

#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;
