//! The engine: routes one input, then lets every queue it touched look for work.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use slab::Slab;

use crate::bookkeeping::{Bookkeeping, Note};
use crate::bounce;
use crate::config::Config;
use crate::config::memo::OptionsMemo;
use crate::control::holds::Holds;
use crate::delivery::Outbound;
use crate::ids::{ConnId, MessageId, QueryId, SpoolOp};
use crate::io::{Input, Output, SpoolWrite};
use crate::limits;
use crate::marks::Marks;
use crate::mx::routes::Routes;
use crate::notice::{Delays, Notices};
use crate::queue::Queue;
use crate::queue::messages::Messages;
use crate::reception::{Inbound, PendingBounce, SpoolPurpose};
use crate::record::{Event, Pair, Record};
use crate::reload::Listeners;
use crate::rng::Seed;
use crate::sched::host::HostHealth;
use crate::sched::reserve::Reserve;
use crate::sched::siblings::Siblings;
use crate::sched::tls::TlsHealth;
use crate::shaping::gates::Gates;
use crate::smtp::client::{ClientInput, ClientOutput};
use crate::smtp::server::{ServerInput, ServerOutput};
use crate::time::Timestamp;
use crate::timers::{TimerHandle, Timers, Wakeup, WakeupReason};
use crate::waits::WaitChange;

/// A mail transfer agent as one value.
///
/// The contract: call [`Engine::handle`] with one input, then [`Engine::poll`] until it answers
/// `None`, performing each output in order; then the next input. Instants never go backwards. When
/// nothing else happens before [`Engine::next_wakeup`], hand in [`Input::Wakeup`] at that instant.
///
/// `handle` never fails and never blocks. What peers, DNS and disks do wrong is data; a panic is a
/// bug of the engine or of a driver that breaks the contract of [`io`](crate::io).
///
/// ```text
/// loop {
///     engine.handle(now, input);
///     while let Some(output) = engine.poll() { perform(output) }
///     input = next event, or Input::Wakeup at engine.next_wakeup()
/// }
/// ```
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Arc<Config>,
    pub(crate) options: OptionsMemo,
    pub(crate) seed: Seed,
    /// The instant of the input being handled.
    pub(crate) now: Timestamp,
    outputs: VecDeque<Output>,
    pub(crate) timers: Timers,
    /// Of failures, for the records.
    classes: bounce::Memo,
    pub(crate) ids: Ids,
    pub(crate) messages: Messages,
    pub(crate) queues: Slab<Queue>,
    pub(crate) queue_of: BTreeMap<Pair, usize>,
    pub(crate) routes: Routes,
    /// When the next look-up in line has its turn.
    pub(crate) lookups_timer: Option<TimerHandle>,
    pub(crate) hosts: HostHealth,
    pub(crate) tls: TlsHealth,
    pub(crate) outbound: BTreeMap<ConnId, Outbound>,
    pub(crate) inbound: BTreeMap<ConnId, Inbound>,
    pub(crate) spooling: BTreeMap<SpoolOp, SpoolPurpose>,
    /// What messages say that are bounces and not durable yet.
    pub(crate) bounces: BTreeMap<MessageId, Vec<PendingBounce>>,
    pub(crate) bookkeeping: Bookkeeping,
    /// Queues to look at before the input is done with.
    dirty: BTreeSet<usize>,
    /// Senders to be told of failures and delays.
    pub(crate) notices: Notices,
    /// Messages whose senders are told while they wait.
    pub(crate) delays: Delays,
    /// Limits that several queues share.
    pub(crate) gates: Gates,
    pub(crate) reserve: Reserve,
    pub(crate) siblings: Siblings,
    /// What operators suspended.
    pub(crate) holds: Holds,
    pub(crate) draining: bool,
    /// A timer is set to write down what throttles have let pass.
    pub(crate) shaping_to_be_written: bool,
    pub(crate) listeners: Listeners,
    /// What queues wait for, as it changed; kept only when somebody watches.
    pub(crate) wait_changes: Option<Vec<WaitChange>>,
    /// Rare branches that were taken.
    pub(crate) marks: Marks,
    /// Buffers used again and again.
    pub(crate) client_outputs: Vec<ClientOutput>,
    pub(crate) server_outputs: Vec<ServerOutput>,
}

/// Counters ids are allocated from.
#[derive(Debug)]
pub(crate) struct Ids {
    conns: u64,
    messages: u64,
    queries: u64,
    spool_ops: u64,
}

impl Engine {
    /// An engine without mail at the instant `now`.
    pub fn new(config: Arc<Config>, seed: Seed, now: Timestamp) -> Self {
        let listeners = Listeners::opened_by(&config);
        Self {
            config,
            options: OptionsMemo::default(),
            seed,
            now,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            classes: bounce::Memo::default(),
            ids: Ids::starting_at(now),
            messages: Messages::default(),
            queues: Slab::new(),
            queue_of: BTreeMap::new(),
            routes: Routes::default(),
            lookups_timer: None,
            hosts: HostHealth::default(),
            tls: TlsHealth::default(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            spooling: BTreeMap::new(),
            bounces: BTreeMap::new(),
            bookkeeping: Bookkeeping::default(),
            dirty: BTreeSet::new(),
            notices: Notices::default(),
            delays: Delays::default(),
            gates: Gates::default(),
            reserve: Reserve::default(),
            siblings: Siblings::default(),
            holds: Holds::default(),
            draining: false,
            shaping_to_be_written: false,
            listeners,
            wait_changes: None,
            marks: Marks::default(),
            client_outputs: Vec::new(),
            server_outputs: Vec::new(),
        }
    }

    /// Takes one input at the instant `now`. After [`Input::Drain`] no new connection is opened,
    /// clients are told to come back later, and what is under way is finished; the snapshot says
    /// when that is done.
    ///
    /// After [`Input::Reload`] another configuration is in force for everything that waits. No
    /// connection is cut: one over a lowered cap, or with an option of its own that has changed,
    /// ends when it is next free. Throttles keep their history, mail its attempts and due times.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        debug_assert!(now >= self.now, "time goes backwards");
        self.now = self.now.max(now);
        match input {
            Input::Wakeup => self.fire_timers(),
            Input::Submitted(submission) => self.submitted(*submission),
            Input::RecoveredShaping(history) => self.gates.restore(&history, self.now),
            Input::Recovered(message) => self.recovered(*message),
            Input::Drain => self.drain(),
            Input::Reload(config) => self.reload(config),
            Input::Control(control) => self.control(*control),
            Input::Accepted { conn, listener, local, peer } => {
                self.accepted(conn, listener, [local, peer]);
            }
            Input::Connected { conn, local } => self.outbound_connected(conn, local),
            Input::ConnectFailed { conn, error } => self.outbound_connect_failed(conn, error),
            // The engine opens the outbound connections, the driver accepts the others.
            Input::Received { conn, bytes } if conn.is_by_engine() => {
                self.outbound_received(conn, bytes);
            }
            Input::Received { conn, bytes } => {
                self.drive_inbound(conn, ServerInput::Received(bytes));
            }
            Input::BodyProgress { conn, .. } if conn.is_by_engine() => {
                self.drive_outbound(conn, ClientInput::BodyProgress);
            }
            Input::BodyProgress { conn, .. } => {
                self.drive_inbound(conn, ServerInput::BodyProgress);
            }
            Input::BodyDone { conn, result } if conn.is_by_engine() => {
                self.drive_outbound(conn, ClientInput::BodyDone(result));
            }
            Input::BodyDone { conn, result } => {
                self.drive_inbound(conn, ServerInput::BodyDone(result));
            }
            Input::Secured { conn, result } if conn.is_by_engine() => {
                self.drive_outbound(conn, ClientInput::Secured(result));
            }
            Input::Secured { conn, result } => {
                self.drive_inbound(conn, ServerInput::Secured(result));
            }
            Input::Closed { conn, error } if conn.is_by_engine() => {
                self.outbound_closed(conn, error);
            }
            Input::Closed { conn, error } => self.inbound_closed(conn, error),
            Input::Resolved { query, result } => self.resolved(query, result),
            Input::Composed { message, result } => self.composed(message, result),
            Input::Spooled { op, result } => self.spooled(op, result),
        }
        while let Some(slot) = self.dirty.pop_first() {
            self.maintain(slot);
        }
        self.schedule_sweep();
        if self.gates.take_charged() && !self.shaping_to_be_written {
            self.write_shaping_soon();
        }
    }

    /// Throttles must not start afresh with the next process. What they let pass is written a while
    /// after the first event that is not written yet: so rarely that it costs nothing.
    pub(crate) fn write_shaping_soon(&mut self) {
        self.shaping_to_be_written = true;
        self.timers.set(self.now + limits::SHAPING_WRITTEN_AFTER, WakeupReason::Shaping);
    }

    /// Writes down what throttles have let pass, if that is still to be done.
    fn write_shaping(&mut self) {
        if core::mem::take(&mut self.shaping_to_be_written) {
            let history = Arc::new(self.gates.history(self.now));
            self.spool_for(SpoolPurpose::Shaping, SpoolWrite::Shaping(history));
        }
    }

    /// The next thing to be done, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the engine wants to be called if nothing happens before; `None` when it waits for
    /// others only.
    pub fn next_wakeup(&self) -> Option<Wakeup> {
        self.timers.first()
    }

    /// Which rare branches were taken so far.
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    fn fire_timers(&mut self) {
        while let Some(why) = self.timers.pop_due(self.now) {
            match why {
                WakeupReason::Connection(conn) if conn.is_by_engine() => {
                    self.outbound_deadline(conn);
                }
                WakeupReason::Connection(conn) => self.inbound_deadline(conn),
                WakeupReason::Reserve => self.sweep_reserve(),
                WakeupReason::Shaping => self.write_shaping(),
                WakeupReason::Bookkeeping => self.repeat_notes(),
                WakeupReason::Notice(id) => self.repeat_notice(id),
                WakeupReason::DelayNotice(id) => self.delay_notice_due(id),
                WakeupReason::Suspension => self.end_suspensions(),
                WakeupReason::Queue(slot) => {
                    self.queues[slot].timer = None;
                    self.touch(slot);
                }
                WakeupReason::Lookups => {
                    self.lookups_timer = None;
                    self.take_lookup_turns();
                }
            }
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        // From here on nothing is charged.
        self.write_shaping();
        self.repeat_all_notes();
        self.drain_inbound();
        self.drain_outbound();
        self.touch_every_queue();
    }

    pub(crate) fn touch_every_queue(&mut self) {
        self.dirty.extend(self.queues.iter().map(|(slot, _)| slot));
    }

    /// Has a queue look for work before this input is done with.
    pub(crate) fn touch(&mut self, slot: usize) {
        self.dirty.insert(slot);
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn record(&mut self, mut event: Event) {
        event.classify(|stage, reply| self.classes.class(stage, reply));
        let record = Box::new(Record { at: self.now, event });
        self.outputs.push_back(Output::Record(record));
    }

    /// Starts a spool write that nobody waits for. What a message has come to is written again if
    /// it has to be.
    pub(crate) fn spool(&mut self, message: MessageId, write: SpoolWrite) {
        match write {
            SpoolWrite::Update { recipients, .. } => self.note(message, Note::states(recipients)),
            SpoolWrite::Reroute { recipients, to, .. } => {
                self.note(message, Note::routes(recipients, &to));
            }
            SpoolWrite::Remove(_) => self.note(message, Note::Remove),
            write => self.spool_for(SpoolPurpose::Forgotten(message), write),
        }
    }

    pub(crate) fn spool_for(&mut self, purpose: SpoolPurpose, write: SpoolWrite) {
        let op = self.ids.spool_op();
        self.spooling.insert(op, purpose);
        self.emit(Output::Spool { op, write });
    }
}

impl Ids {
    fn starting_at(now: Timestamp) -> Self {
        Self { conns: 0, messages: MessageId::first(now.as_micros()), queries: 0, spool_ops: 0 }
    }

    pub(crate) fn conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId::by_engine(self.conns)
    }

    pub(crate) fn message(&mut self) -> MessageId {
        self.messages += 1;
        MessageId::by_engine(self.messages)
    }

    pub(crate) fn query(&mut self) -> QueryId {
        self.queries += 1;
        QueryId::by_engine(self.queries)
    }

    fn spool_op(&mut self) -> SpoolOp {
        self.spool_ops += 1;
        SpoolOp::by_engine(self.spool_ops)
    }
}
