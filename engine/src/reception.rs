//! How mail comes into the queues: from clients, from the driver, from the spool at start-up.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::binding;
use crate::bounce::inbound::{self, Report};
use crate::config::effective::{BindingSource, BounceBehavior};
use crate::config::{Config, DEFAULT_BINDING};
use crate::control::ClientSession;
use crate::control::holds::Holds;
use crate::engine::{Engine, Ids};
use crate::ids::{ConnId, ListenerId, MessageId, SpoolOp};
use crate::io::{NetError, Output, SpoolError, SpoolWrite};
use crate::message::{RecipientState, StoredMessage, Submission};
use crate::queue::{Batch, Indexes, Queue};
use crate::record::{Event, Pair, Via};
use crate::rng::Seed;
use crate::smtp::address::Mailbox;
use crate::smtp::server::{self, ServerInput, ServerOutput, ServerSession};
use crate::time::Timestamp;
use crate::timers::{TimerHandle, WakeupReason};
use crate::tls::params::TlsParams;

/// A connection from a client.
#[derive(Debug)]
pub(crate) struct Inbound {
    session: ServerSession,
    peer: SocketAddr,
    local: SocketAddr,
    since: Timestamp,
    timer: Option<TimerHandle>,
}

impl Inbound {
    /// What operators see of it.
    pub(crate) const fn describe(&self, conn: ConnId) -> ClientSession {
        let Self { session, peer, local, since, .. } = self;
        let tls = session.is_secured();
        ClientSession { conn, peer: *peer, local: *local, since: *since, tls }
    }
}

/// What a spool write under way is for.
#[derive(Debug)]
pub(crate) enum SpoolPurpose {
    /// A message from a client, who waits for its 250.
    Accept { conn: ConnId, peer: SocketAddr, message: Arc<StoredMessage> },
    /// A message from the driver.
    Submit { message: Arc<StoredMessage> },
    /// A notice to a sender.
    Notice(MessageId),
    /// What became of a message; see [`Bookkeeping`](crate::bookkeeping::Bookkeeping).
    Bookkeeping(MessageId),
    /// Nobody waits.
    Forgotten(MessageId),
    /// What throttles have let pass.
    Shaping,
}

/// What a message says that is a bounce and not durable yet.
#[derive(Debug)]
pub(crate) struct PendingBounce {
    recipient: u32,
    behavior: BounceBehavior,
    report: Report,
}

/// What sessions ask of the engine.
struct Owner<'a> {
    config: &'a Config,
    seed: &'a Seed,
    ids: &'a mut Ids,
    holds: &'a Holds,
}

impl server::Owner for Owner<'_> {
    fn message_id(&mut self) -> MessageId {
        self.ids.message()
    }

    fn refuses(&mut self, source: &BindingSource, may_name: bool, domain: &str) -> bool {
        binding::refuses(self.config, source, may_name, domain)
    }

    fn bounce_behavior(&mut self, mailbox: &Mailbox) -> Option<BounceBehavior> {
        self.config.bounce_behavior(mailbox)
    }

    fn read_bounce(&mut self, head: &[u8]) -> Report {
        inbound::read(head, &self.config.server_options().bounce_suppress_list)
    }

    fn knows_binding(&mut self, name: &str) -> bool {
        binding::is_known(self.config, name)
    }

    fn binding(
        &mut self,
        message: MessageId,
        source: &BindingSource,
        named: Option<&str>,
    ) -> Option<Arc<str>> {
        let held = |binding: &Arc<str>| self.holds.on_binding(binding);
        binding::assign(self.config, &held, (self.seed, message), source, named)
    }
}

impl Engine {
    pub(crate) fn accepted(
        &mut self,
        conn: ConnId,
        listener: ListenerId,
        [local, peer]: [SocketAddr; 2],
    ) {
        let listener = self.listeners.now(listener);
        let options = self.config.reception_options(listener, peer.ip());
        let mut session = ServerSession::new(Arc::new(options), peer, self.now);
        let mut outputs = core::mem::take(&mut self.server_outputs);
        session.start(&mut outputs);
        self.inbound.insert(conn, Inbound { session, peer, local, since: self.now, timer: None });
        self.perform_inbound(conn, &mut outputs);
        self.server_outputs = outputs;
        if self.draining {
            self.drive_inbound(conn, ServerInput::Drain);
        }
    }

    /// Hands an input to a client's session and does what it wants.
    pub(crate) fn drive_inbound(&mut self, conn: ConnId, input: ServerInput<'_>) {
        let now = self.now;
        let mut outputs = core::mem::take(&mut self.server_outputs);
        let (config, seed, holds) = (&self.config, &self.seed, &self.holds);
        let mut owner = Owner { config, seed, ids: &mut self.ids, holds };
        if let Some(inbound) = self.inbound.get_mut(&conn) {
            inbound.session.handle(now, input, &mut owner, &mut outputs);
        }
        self.perform_inbound(conn, &mut outputs);
        self.server_outputs = outputs;
    }

    fn perform_inbound(&mut self, conn: ConnId, outputs: &mut Vec<ServerOutput>) {
        for output in outputs.drain(..) {
            self.perform_inbound_one(conn, output);
        }
        if let Some(inbound) = self.inbound.get_mut(&conn) {
            let deadline = inbound.session.deadline();
            let why = WakeupReason::Connection(conn);
            self.timers.defer(&mut inbound.timer, deadline, why);
        }
    }

    fn perform_inbound_one(&mut self, conn: ConnId, output: ServerOutput) {
        match output {
            ServerOutput::Write(bytes) => self.emit(Output::Write { conn, bytes }),
            ServerOutput::ReceiveBody { message, prefix, rules } => {
                self.emit(Output::ReceiveBody { conn, message, prefix, rules });
            }
            ServerOutput::StartTls(params) => {
                self.emit(Output::StartTls { conn, params: TlsParams::Server(params) });
            }
            ServerOutput::Tls(result) => {
                let Some(peer) = self.inbound.get(&conn).map(|inbound| inbound.peer) else {
                    return;
                };
                self.record(match result {
                    Ok(info) => Event::ClientSecured { conn, peer, info: Arc::new(info) },
                    Err(error) => Event::ClientTlsFailed { conn, peer, error },
                });
            }
            ServerOutput::Accept(message) => {
                let Some(inbound) = self.inbound.get(&conn) else { return };
                let (peer, message) = (inbound.peer, Arc::new(*message));
                let purpose = SpoolPurpose::Accept { conn, peer, message: message.clone() };
                self.spool_for(purpose, SpoolWrite::Insert(message));
            }
            ServerOutput::Bounce { message, recipient, behavior, report } => {
                let bounce = PendingBounce { recipient, behavior, report: *report };
                self.bounces.entry(message).or_default().push(bounce);
            }
            ServerOutput::Discard(message) => self.spool(message, SpoolWrite::Discard(message)),
            ServerOutput::Rejected { phase, reply } => {
                let Some(Inbound { peer, local, .. }) = self.inbound.get(&conn) else { return };
                let (peer, local, phase) = (*peer, *local, phase.into());
                self.record(Event::Rejection { conn, peer, local, phase, reply });
            }
            ServerOutput::Violation(what) => {
                if let Some(peer) = self.inbound.get(&conn).map(|inbound| inbound.peer) {
                    self.record(Event::ProtocolViolation { conn, peer, what: what.into() });
                }
            }
            ServerOutput::Close { abort } => self.emit(Output::Close { conn, abort }),
        }
    }

    /// The deadline timer of a client's session fired.
    pub(crate) fn inbound_deadline(&mut self, conn: ConnId) {
        let Some(inbound) = self.inbound.get_mut(&conn) else { return };
        inbound.timer = None;
        let due = inbound.session.deadline().is_some_and(|deadline| deadline <= self.now);
        if due {
            self.drive_inbound(conn, ServerInput::Timeout);
        } else {
            let deadline = inbound.session.deadline();
            self.timers.defer(&mut inbound.timer, deadline, WakeupReason::Connection(conn));
        }
    }

    pub(crate) fn inbound_closed(&mut self, conn: ConnId, error: Option<NetError>) {
        self.drive_inbound(conn, ServerInput::Closed(error));
        if let Some(timer) = self.inbound.remove(&conn).and_then(|inbound| inbound.timer) {
            self.timers.cancel(timer);
        }
    }

    pub(crate) fn drain_inbound(&mut self) {
        let conns: Vec<ConnId> = self.inbound.keys().copied().collect();
        for conn in conns {
            self.drive_inbound(conn, ServerInput::Drain);
        }
    }

    pub(crate) fn submitted(&mut self, submission: Submission) {
        let message = Arc::new(submission.message);
        let purpose = SpoolPurpose::Submit { message: message.clone() };
        self.spool_for(purpose, SpoolWrite::Insert(message));
    }

    pub(crate) fn recovered(&mut self, message: StoredMessage) {
        self.take_into_care(Arc::new(message), Via::Spool);
    }

    pub(crate) fn spooled(&mut self, op: SpoolOp, result: Result<(), SpoolError>) {
        let Some(purpose) = self.spooling.remove(&op) else { return };
        match (purpose, result) {
            (SpoolPurpose::Accept { conn, peer, message }, Ok(())) => {
                // A client that left before its 250 is no reason to drop the message: it is
                // complete and durable. If the client tries again it makes a second one.
                self.drive_inbound(conn, ServerInput::Spooled(Ok(())));
                let bounces = self.bounces.remove(&message.id).unwrap_or_default();
                self.take_into_care(message.clone(), Via::Smtp { conn, peer });
                self.record_bounces(&message, (conn, peer), bounces);
            }
            (SpoolPurpose::Accept { conn, message, .. }, Err(error)) => {
                self.bounces.remove(&message.id);
                self.record(Event::SpoolFailure { message: message.id, error: error.clone() });
                self.drive_inbound(conn, ServerInput::Spooled(Err(error)));
                self.spool(message.id, SpoolWrite::Discard(message.id));
            }
            (SpoolPurpose::Submit { message }, Ok(())) => {
                self.take_into_care(message, Via::Submission);
            }
            (SpoolPurpose::Submit { message }, Err(error)) => {
                self.record(Event::SpoolFailure { message: message.id, error });
                self.spool(message.id, SpoolWrite::Discard(message.id));
            }
            (SpoolPurpose::Notice(id), result) => self.notice_spooled(id, result),
            (SpoolPurpose::Bookkeeping(message), result) => self.noted(message, result),
            (SpoolPurpose::Forgotten(_) | SpoolPurpose::Shaping, Ok(())) => {}
            // The spool has said what is the matter with it.
            (SpoolPurpose::Shaping, Err(_)) if self.draining || self.shaping_to_be_written => {}
            (SpoolPurpose::Shaping, Err(_)) => self.write_shaping_soon(),
            (SpoolPurpose::Forgotten(message), Err(error)) => {
                self.record(Event::SpoolFailure { message, error });
            }
        }
    }

    /// A message that is ours by now is a bounce of another one.
    fn record_bounces(
        &mut self,
        message: &StoredMessage,
        (conn, peer): (ConnId, SocketAddr),
        bounces: Vec<PendingBounce>,
    ) {
        for PendingBounce { recipient, behavior, report } in bounces {
            self.record(Event::OutOfBandBounce {
                message: message.id,
                recipient,
                conn,
                peer,
                mailbox: message.recipients[recipient as usize].mailbox.clone(),
                about: report.recipient,
                binding: message.binding.clone(),
                size_bytes: message.size_bytes,
                reply: report.reply,
                class: report.class,
                behavior,
            });
        }
    }

    /// A durable message becomes ours: each recipient still to be delivered enters a queue. Mail of
    /// a binding that is no longer configured is sent by `default`.
    pub(crate) fn take_into_care(&mut self, message: Arc<StoredMessage>, via: Via) {
        let (mut waiting, mut done) = (Vec::new(), Vec::new());
        for (index, recipient) in (0..).zip(&message.recipients) {
            match recipient.state {
                RecipientState::Pending { attempts, next_attempt_at } => {
                    waiting.push((index, attempts, next_attempt_at));
                }
                RecipientState::Done => done.push(index),
            }
        }
        let recipients = waiting.iter().map(|(index, ..)| *index);
        let binding = self.configured(&message.binding);
        self.record(Event::Reception {
            message: message.id,
            via,
            reverse_path: message.reverse_path.clone(),
            recipients: recipients
                .map(|index: u32| message.recipients[index as usize].mailbox.clone())
                .collect(),
            done: done.into(),
            binding: binding.clone(),
            size_bytes: message.size_bytes,
        });
        if waiting.is_empty() {
            return self.spool(message.id, SpoolWrite::Remove(message.id));
        }
        // Unwrap is OK because limits bound the recipients of a message.
        let remaining = u32::try_from(waiting.len()).expect("a bounded number of recipients");
        let batches = self.batches(&message, waiting);
        let id = message.id;
        self.watch_delays(&message, batches.iter().map(|(fate, one)| (fate.queue, one)));
        self.messages.insert(message, remaining, batches.len() as u32);
        for (key, recipients) in batches {
            let Fate { queue, attempts, due } = key;
            let batch = Batch { message: id, recipients, attempts, open: true };
            if due > self.now {
                self.enqueue_delayed(queue, due, batch);
            } else {
                self.enqueue_active(queue, batch);
            }
            self.touch(queue);
        }
    }

    /// A binding, or `default` when it is no longer configured.
    fn configured(&self, binding: &Arc<str>) -> Arc<str> {
        match self.config.has_binding(binding) {
            true => binding.clone(),
            false => DEFAULT_BINDING.into(),
        }
    }

    /// Recipients that wait together.
    fn batches(
        &mut self,
        message: &StoredMessage,
        waiting: Vec<(u32, u16, Timestamp)>,
    ) -> BTreeMap<Fate, Indexes> {
        let mut batches: BTreeMap<Fate, Indexes> = BTreeMap::new();
        for (index, attempts, due) in waiting {
            let queue = self.queue_for(message, index);
            // Whatever is due by now is due alike.
            let due = due.max(self.now);
            batches.entry(Fate { queue, attempts, due }).or_default().push(index);
        }
        batches
    }

    /// The queue of a recipient. With a `gateway`, mail queues under the gateway's name and the
    /// gateway's options apply.
    pub(crate) fn queue_for(&mut self, message: &StoredMessage, recipient: u32) -> usize {
        let own_domain = &message.recipients[recipient as usize].mailbox.domain;
        let (binding, domain) = match message.rerouted(recipient) {
            None => (&message.binding, own_domain),
            Some(Pair { binding, domain }) => (binding, domain),
        };
        let slot = self.queue_of_pair(&self.configured(binding), domain);
        let queue = &mut self.queues[slot];
        let own = message.binding == queue.pair.binding && *own_domain == queue.pair.domain;
        queue.has_guests |= !own;
        slot
    }

    fn queue_of_pair(&mut self, binding: &Arc<str>, domain: &Arc<str>) -> usize {
        let pair = Pair { binding: binding.clone(), domain: domain.clone() };
        // A queue from before a reload may have a gateway by now.
        if let Some(slot) = self.queue_of.get(&pair)
            && self.queues[*slot].options.gateway.is_none()
        {
            return *slot;
        }
        let options = self.options.delivery_options(&self.config, &pair);
        let (pair, options) = match &options.gateway {
            None => (pair, options),
            Some(gateway) => {
                let pair = Pair { binding: binding.clone(), domain: gateway.clone() };
                let options = self.options.delivery_options(&self.config, &pair);
                (pair, options)
            }
        };
        if let Some(slot) = self.queue_of.get(&pair) {
            return *slot;
        }
        let slot = self.queues.insert(Queue::new(pair.clone(), options));
        self.queue_of.insert(pair, slot);
        slot
    }
}

/// Where and when a recipient goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    queue: usize,
    attempts: u16,
    due: Timestamp,
}
