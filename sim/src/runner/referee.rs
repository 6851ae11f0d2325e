//! The referee: sees everything that crosses the engine's boundary and everything receivers take,
//! keeps the books of the run, and stops it when a law is broken.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::marks::Marks;
use traject_engine::message::StoredMessage;
use traject_engine::record::{Event, Record};
use traject_engine::waits::WaitChange;
use traject_engine::{Input, Output, Timestamp};

use super::observer::Observer;
use crate::cause::{Causes, Lead};
use crate::counts::PairFinder;
use crate::coverage::Coverage;
use crate::expect::judge::ExpectationJudge;
use crate::oracle::{Answer, Death, Entity, Law, Oracles, Violation};
use crate::receiver::smtp::{Breach, Excess, Witness};
use crate::report::tally::Tally;
use crate::trace::Trace;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The present instant of the simulated world.
    pub now: Timestamp,
    /// Messages that were planned.
    pub planned: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Recipients accepted.
    pub accepted: u64,
    /// Recipients that are done, whatever became of them.
    pub done: u64,
}

/// Told about the progress of a run from time to time.
pub type ProgressSink = Box<dyn FnMut(Progress) + Send>;

/// Everything that is known of a run.
pub(super) struct Referee {
    state: Mutex<State>,
    /// Woken when the run may have come to its end.
    changed: Notify,
    /// Woken when mail on its way in may have been lost.
    lost: Notify,
    /// Set from outside to end the run.
    interrupt: Arc<AtomicBool>,
}

pub(super) struct State {
    pub(super) trace: Trace,
    pub(super) oracles: Oracles,
    pub(super) tally: Tally,
    pairs: PairFinder,
    causes: Causes,
    clients: Clients,
    pub(super) expectations: Option<ExpectationJudge>,
    /// The last records, for the story of a violation.
    pub(super) recent: VecDeque<Record>,
    pub(super) violation: Option<Violation>,
    pub(super) coverage: Coverage,
    pub(super) now: Timestamp,
    records: Option<Box<dyn Write + Send>>,
    /// Why the records can no longer be written.
    pub(super) write_error: Option<std::io::Error>,
    progress: Option<ProgressSink>,
    observer: Option<Arc<dyn Observer>>,
    records_seen: u64,
    open_connections: u64,
    /// Messages planned, submitted so far, and whether these are all.
    planned: u64,
    submitted: u64,
    all_submitted: bool,
    /// Messages on their way into the queue, if they can get lost there.
    handed_in: Option<BTreeMap<MessageId, HandedIn>>,
}

/// A message on its way into the queue.
struct HandedIn {
    message: StoredMessage,
    /// It did not get there.
    returned: bool,
}

/// What the run is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For messages to arrive or to be delivered.
    Busy,
    /// Everything is settled; connections are still open.
    Closing,
    /// Everything is settled.
    Settled,
    /// A law was broken.
    Failed,
    /// Somebody interrupted the run.
    Interrupted,
}

/// What a referee is made of.
pub(super) struct Parts {
    pub(super) start: Timestamp,
    pub(super) oracles: Oracles,
    pub(super) expectations: ExpectationJudge,
    pub(super) records: Option<Box<dyn Write + Send>>,
    pub(super) progress: Option<ProgressSink>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) interrupt: Arc<AtomicBool>,
    pub(super) planned: u64,
    /// Whether mail on its way into the queue can get lost, with a disk or a process.
    pub(super) loses_mail: bool,
}

impl Referee {
    pub(super) fn new(parts: Parts) -> Self {
        let state = State {
            trace: Trace::default(),
            oracles: parts.oracles,
            tally: Tally::new(parts.start),
            pairs: PairFinder::default(),
            causes: Causes::new(parts.records.is_some()),
            clients: Clients::default(),
            expectations: Some(parts.expectations),
            recent: VecDeque::with_capacity(RECENT_RECORDS_MAX),
            violation: None,
            coverage: Coverage::default(),
            now: parts.start,
            records: parts.records,
            write_error: None,
            progress: parts.progress,
            observer: parts.observer,
            records_seen: 0,
            open_connections: 0,
            planned: parts.planned,
            submitted: 0,
            all_submitted: false,
            handed_in: parts.loses_mail.then(BTreeMap::new),
        };
        let (changed, lost, interrupt) = (Notify::new(), Notify::new(), parts.interrupt);
        Self { state: Mutex::new(state), changed, lost, interrupt }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine is handed this.
    pub(super) fn input(&self, now: Timestamp, input: &Input<'_>) {
        let mut state = self.state();
        state.now = now;
        state.trace.input(now, input);
        if let Err(violation) = state.oracles.input(now, input) {
            state.violated(violation);
            self.changed.notify_one();
        }
        match input {
            Input::Accepted { conn, peer, .. } => state.clients.came(*conn, *peer),
            Input::Closed { conn, .. } => state.clients.went(*conn),
            Input::Submitted(submission) => {
                let message = &submission.message;
                state.oracles.submitted(message.id, &message.binding);
            }
            Input::Reload(config) => {
                state.oracles.reload(now, Arc::clone(config));
                state.tally.reload(now, config);
            }
            _ => {}
        }
        if self.interrupt.load(Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }

    /// The engine wants this.
    pub(super) fn output(&self, now: Timestamp, output: &Output) {
        let mut state = self.state();
        state.trace.output(now, output);
        if let Err(violation) = state.oracles.output(now, output) {
            state.violated(violation);
            self.changed.notify_one();
        }
        if let Output::ReceiveBody { conn, message, .. } = output {
            state.clients.receives(*conn, *message);
        }
        if let Output::Record(record) = output {
            if let Event::SpoolFailure { message, .. } = &record.event {
                state.returned(*message);
                self.lost.notify_one();
            }
            state.record(record);
            if state.phase() != Phase::Busy {
                self.changed.notify_one();
            }
        }
    }

    /// The mail of queues waits for something else now.
    pub(super) fn waits(&self, at: Timestamp, changes: &[WaitChange]) {
        let mut state = self.state();
        let State { tally, oracles, coverage, observer, .. } = &mut *state;
        for change in changes {
            if let Some(observer) = observer {
                observer.waits(at, change);
            }
            coverage.wait(change.reason);
            tally.waits(at, change, oracles.book());
        }
    }

    /// There is a process, the first or one after another.
    pub(super) fn process_came(&self, at: Timestamp) {
        self.state().tally.process_came(at);
    }

    /// The process is gone.
    pub(super) fn process_gone(&self, at: Timestamp, how: Death) {
        let mut state = self.state();
        for record in state.oracles.process_gone(at, how) {
            state.record(&record);
        }
        state.tally.process_gone(at);
        for one in state.handed_in.iter_mut().flat_map(BTreeMap::values_mut) {
            one.returned = true;
        }
        self.changed.notify_one();
        self.lost.notify_one();
    }

    /// The engine has been there.
    pub(super) fn marks(&self, marks: Marks) {
        self.state().coverage.mark(marks);
    }

    /// A law was broken.
    pub(super) fn violated(&self, violation: Violation) {
        self.state().violated(violation);
        self.changed.notify_one();
    }

    /// The client at `peer` is about to hand in the body of that name.
    pub(super) fn hands_in(&self, peer: SocketAddr, body: MessageId) {
        self.state().clients.hands_in(peer, body);
    }

    /// One more message was submitted.
    pub(super) fn submitted(&self) {
        self.state().submitted += 1;
    }

    /// Somebody hands in this message, and will do so again if it gets lost.
    pub(super) fn keeps(&self, message: &StoredMessage) {
        let handed_in = HandedIn { message: message.clone(), returned: false };
        if let Some(all) = &mut self.state().handed_in {
            all.insert(message.id, handed_in);
        }
    }

    /// A message did not even reach the process.
    pub(super) fn returned(&self, message: MessageId) {
        self.state().returned(message);
        self.lost.notify_one();
    }

    /// Waits until messages may have been lost.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// The messages that are to be handed in again.
    pub(super) fn take_returned(&self) -> Vec<StoredMessage> {
        let mut state = self.state();
        let State { handed_in, oracles, .. } = &mut *state;
        let all = handed_in.iter_mut().flat_map(BTreeMap::values_mut);
        let lost = all.filter(|one| one.returned && !oracles.book().knows(one.message.id));
        lost.map(|one| {
            one.returned = false;
            one.message.clone()
        })
        .collect()
    }

    /// No further message will be submitted.
    pub(super) fn all_submitted(&self) {
        self.state().all_submitted = true;
        self.changed.notify_one();
    }

    /// Waits until the phase may have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn phase(&self) -> Phase {
        if self.interrupt.load(Ordering::Relaxed) {
            return Phase::Interrupted;
        }
        self.state().phase()
    }
}

impl Witness for Referee {
    fn answered(&self, at: Timestamp, message: MessageId, recipients: &[String], answer: Answer) {
        let judged = self.state().answered(at, message, recipients, answer);
        if let Err(violation) = judged {
            self.violated(violation);
        }
    }

    fn breach(&self, at: Timestamp, breach: Breach) {
        let Breach { client, exchange, what } = breach;
        self.violated(Violation {
            at,
            invariant: Law::Grammar.name(),
            details: format!("our client {client} at {exchange}: {what}"),
            entity: Entity::Run,
        });
    }

    fn exceeded(&self, at: Timestamp, excess: &Excess<'_>) {
        if let Some(observer) = &self.state().observer {
            observer.exceeded(at, excess);
        }
    }
}

impl State {
    fn answered(
        &mut self,
        at: Timestamp,
        message: MessageId,
        recipients: &[String],
        answer: Answer,
    ) -> Result<(), Violation> {
        let message = self.clients.message(message);
        self.oracles.transaction(at, message, recipients)?;
        for recipient in recipients {
            if let Some(pair) = self.oracles.answered(at, message, recipient, answer)?
                && !self.tally.is_elsewhere(&pair.domain)
            {
                self.tally.duplicate(&pair);
                if let Some(expectations) = &mut self.expectations {
                    let because = self.causes.lost(message);
                    expectations.duplicate(at, &pair, (message, recipient), &because);
                }
            }
        }
        Ok(())
    }

    fn returned(&mut self, message: MessageId) {
        let all = self.handed_in.as_mut();
        if let Some(one) = all.and_then(|all| all.get_mut(&message)) {
            one.returned = true;
        }
    }

    fn record(&mut self, record: &Record) {
        if let (Event::Reception { message, .. }, Some(all)) = (&record.event, &mut self.handed_in)
        {
            all.remove(message);
        }
        self.coverage.record(record);
        if let Some(observer) = &self.observer {
            observer.record(record);
        }
        let again = matches!(&record.event,
            Event::Reception { message, .. } if self.oracles.book().knows(*message));
        let about_notice = self.oracles.is_about_notice(&record.event);
        let found = self.pairs.find(&record.event);
        let lead = self.causes.note(record, found);
        // A domain that nothing but notices goes to is none of the scenario's.
        let elsewhere = found.is_some_and(|pair| self.tally.is_elsewhere(&pair.domain));
        match self.oracles.record(record) {
            // Mail that is back after a restart was counted when it came, and what was done and
            // is done again when it was done first: what is new are the copies.
            Ok(_) if again => {}
            Ok(Some(before)) if before.redone => {}
            Ok(_) if about_notice => self.tally.notice(&record.event, self.oracles.book()),
            Ok(_) if elsewhere => {}
            Ok(before) => {
                // A result counts where its recipient was accepted for.
                let book = self.oracles.book();
                let pair = before.as_ref().map(|row| book.pair(row.pair)).or(found);
                self.tally.record(record, pair, before.as_ref(), self.oracles.book());
                if let Some(expectations) = &mut self.expectations {
                    expectations.record(record, pair, before.as_ref(), &lead.because);
                }
            }
            Err(violation) => self.violated(violation),
        }
        match &record.event {
            Event::ConnectionOpened { .. } => self.open_connections += 1,
            Event::ConnectionClosed { .. } => {
                self.open_connections = self.open_connections.saturating_sub(1);
            }
            _ => {}
        }
        if self.recent.len() == RECENT_RECORDS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(record.clone());
        self.write(record, &lead);
        self.records_seen += 1;
        if self.records_seen.is_multiple_of(RECORDS_A_PROGRESS) {
            self.tell_progress();
        }
    }

    /// Messages that were submitted are all received, and every recipient is done.
    fn phase(&self) -> Phase {
        if self.violation.is_some() {
            return Phase::Failed;
        }
        let received = self.all_submitted
            && self.tally.messages >= self.submitted
            && self.oracles.owes_nothing();
        match (received && self.oracles.book().pending() == 0, self.open_connections) {
            (false, _) => Phase::Busy,
            (true, 0) => Phase::Settled,
            (true, _) => Phase::Closing,
        }
    }

    /// Only the first violation counts: the others may be its consequences.
    fn violated(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// Writes a record with its number and that of its cause.
    fn write(&mut self, record: &Record, lead: &Lead) {
        let Some(out) = &mut self.records else { return };
        let Lead { id, cause, .. } = *lead;
        let written = serde_json::to_writer(&mut *out, &Line { id, cause, record })
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        if let Err(error) = written {
            self.records = None;
            self.write_error = Some(error);
        }
    }

    /// The run is over.
    pub(super) fn finish(&mut self, at: Timestamp) {
        self.tally.finish(at, self.oracles.book());
    }

    /// Everything is written.
    pub(super) fn close_records(&mut self) {
        if let Some(mut out) = self.records.take()
            && let Err(error) = out.flush()
        {
            self.write_error = Some(error);
        }
    }

    fn tell_progress(&mut self) {
        let tally = &self.tally;
        let progress = Progress {
            now: self.now,
            planned: self.planned,
            messages: tally.messages,
            accepted: tally.accepted,
            done: tally.delivered + tally.failed,
        };
        if let Some(tell) = &mut self.progress {
            tell(progress);
        }
    }
}

/// What came through listeners: bodies have names of their own, which clients gave them before
/// there was a message.
#[derive(Debug, Default)]
struct Clients {
    /// The body that a client hands in next.
    next: BTreeMap<SocketAddr, MessageId>,
    peers: BTreeMap<ConnId, SocketAddr>,
    /// Body → message.
    messages: BTreeMap<MessageId, MessageId>,
}

impl Clients {
    fn came(&mut self, conn: ConnId, peer: SocketAddr) {
        self.peers.insert(conn, peer);
    }

    fn went(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.remove(&conn) {
            self.next.remove(&peer);
        }
    }

    fn hands_in(&mut self, peer: SocketAddr, body: MessageId) {
        self.next.insert(peer, body);
    }

    fn receives(&mut self, conn: ConnId, message: MessageId) {
        let body = self.peers.get(&conn).and_then(|peer| self.next.remove(peer));
        if let Some(body) = body {
            self.messages.insert(body, message);
        }
    }

    /// The message whose content a body is.
    fn message(&self, body: MessageId) -> MessageId {
        self.messages.get(&body).copied().unwrap_or(body)
    }
}

/// A line of the records' file.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<u64>,
    #[serde(flatten)]
    record: &'a Record,
}

impl fmt::Debug for Referee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Referee").finish_non_exhaustive()
    }
}

/// Records kept for the story of a violation.
const RECENT_RECORDS_MAX: usize = 4096;

/// Records between two reports of progress.
const RECORDS_A_PROGRESS: u64 = 1000;
