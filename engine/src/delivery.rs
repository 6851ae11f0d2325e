//! Outbound connections: from the first SYN to the last result.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::config::effective::{DeliveryOptions, EhloName};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::io::{NetError, Output};
use crate::marks::Mark;
use crate::message::RecipientState;
use crate::mx::plan::Choice;
use crate::notice::Outcome;
use crate::queue::retry::{Verdict, after_transient_failure, give_up_reply};
use crate::queue::{Batch, Indexes};
use crate::record::{Attempt, ClearReason, CloseReason, Event, Transport};
use crate::sched::tls::Asked;
use crate::sched::turns::Passed;
use crate::securing::TlsAt;
use crate::shaping::gates::{GateKey, Place};
use crate::smtp::client::{
    ClientInput, ClientOutput, ClientSession, RecipientResult, SessionOptions, Transaction,
};
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::timers::{TimerHandle, WakeupReason};
use crate::tls::policy::TlsMode;

/// A connection to an exchange, of one queue at a time.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The queue's slot.
    pub(crate) queue: usize,
    exchange: Arc<str>,
    remote: SocketAddr,
    since: Timestamp,
    phase: Phase,
    timer: Option<TimerHandle>,
    deliveries: u32,
    recipients_sent: u32,
    close_reason: CloseReason,
    pub(crate) passed: Passed,
    /// It was begun with options that a connection keeps and that have changed since.
    outdated: bool,
    /// What protects it.
    transport: Transport,
    /// What it asks for of TLS, if it is to try.
    asked: Option<Asked>,
    flight: Option<Flight>,
}

#[derive(Debug)]
enum Phase {
    Connecting { deadline: Timestamp, options: Box<SessionOptions> },
    Open { session: Box<ClientSession>, ready: bool },
}

/// A batch in a transaction.
#[derive(Debug)]
struct Flight {
    batch: Batch,
    begun_at: Timestamp,
    /// Its places in `outbound_throttle_messages`.
    charged: Option<Place>,
    /// The configuration has changed since: what comes back may belong to another queue.
    stray: bool,
    results: Vec<Option<(Stage, RecipientResult)>>,
    missing: usize,
}

/// How an attempt was made.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) conn: Option<ConnId>,
    pub(crate) remote: Option<SocketAddr>,
    /// The name of the exchange.
    pub(crate) exchange: Option<Arc<str>>,
    pub(crate) transport: Transport,
    pub(crate) took: Duration,
    /// By its end the batch may belong to another queue.
    pub(crate) stray: bool,
}

impl Outbound {
    /// The recipients in a transaction, for recounts.
    pub(crate) fn in_flight(&self) -> Option<&Batch> {
        self.flight.as_ref().map(|flight| &flight.batch)
    }

    /// How far the dialogue has come.
    pub(crate) fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Connecting { .. } => Stage::Connect,
            Phase::Open { session, .. } => session.stage(),
        }
    }

    /// The exchange's name.
    pub(crate) const fn exchange(&self) -> &Arc<str> {
        &self.exchange
    }

    /// Whether it counts towards a cap.
    pub(crate) fn is_counted_by(&self, cap: &GateKey) -> bool {
        self.passed.caps.contains(cap)
    }

    /// What it asks for of TLS, if it is to try.
    pub(crate) const fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// What protects it from now on.
    pub(crate) fn set_transport(&mut self, transport: Transport) {
        self.transport = transport;
    }

    /// Whether it may have one more transaction under these options.
    pub(crate) fn has_room(&self, options: &DeliveryOptions) -> bool {
        !self.outdated
            && !reached(options.max_deliveries_per_connection, self.deliveries)
            && !reached(options.max_recipients_per_connection, self.recipients_sent)
    }

    /// The address talked to.
    pub(crate) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// When it was begun.
    pub(crate) const fn since(&self) -> Timestamp {
        self.since
    }

    /// Messages delivered over it.
    pub(crate) const fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// Whether it is under TLS.
    pub(crate) const fn is_under_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Whether the dialogue has got past EHLO.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Open { ready: true, .. })
    }

    /// Whether the TCP handshake is done.
    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }
}

impl Engine {
    /// Begins a connection for a queue that has mail waiting.
    pub(crate) fn connect(&mut self, slot: usize, choice: Choice) {
        let conn = self.ids.conn();
        let mut options = self.session_options(slot);
        let (why_clear, asked) = match self.tls_at(slot, choice.address) {
            TlsAt::Try(asked) | TlsAt::Wait(asked) => (ClearReason::NotOffered, Some(asked)),
            TlsAt::Clear(why) => (why, None),
            // Nobody chooses such an address.
            TlsAt::Unfit(_) => (ClearReason::NotWanted, None),
        };
        match &asked {
            Some(asked) => self.tls.trying(asked, conn),
            None if options.tls.mode == TlsMode::IfAvailable => options.tls.mode = TlsMode::No,
            None => {}
        }
        let passed = self.pass_connection_gates(slot, &choice.exchange);
        let queue = &mut self.queues[slot];
        let port = choice.port.unwrap_or_else(|| queue.options.port());
        let remote = SocketAddr::new(choice.address, port);
        self.hosts.connecting(&queue.pair.binding, choice.address, conn, self.now);
        queue.connections += 1;
        queue.connects += 1;
        if queue.ready == 0 && queue.trying_since.is_none() {
            queue.trying_since = Some(self.now);
        }
        let since = self.now;
        let deadline = since + queue.options.connect_timeout;
        let source = queue.options.bind_address;
        let timer = self.timers.set(deadline, WakeupReason::Connection(conn));
        let outbound = Outbound {
            queue: slot,
            exchange: choice.exchange,
            remote,
            since,
            phase: Phase::Connecting { deadline, options: Box::new(options) },
            timer: Some(timer),
            deliveries: 0,
            recipients_sent: 0,
            close_reason: CloseReason::Lost,
            passed,
            outdated: false,
            transport: Transport::Clear { why: why_clear },
            asked,
            flight: None,
        };
        self.outbound.insert(conn, outbound);
        self.emit(Output::Connect { conn, source, peer: remote });
    }

    fn session_options(&self, slot: usize) -> SessionOptions {
        let queue = &self.queues[slot];
        let options = &*queue.options;
        let sender = || {
            let message = self.messages.get(queue.front()?.message);
            message.reverse_path.0.as_ref().map(|mailbox| mailbox.domain.clone())
        };
        let ehlo_hostname = match &options.ehlo_hostname {
            EhloName::Literal(name) => name.clone(),
            EhloName::OfMessage => {
                sender().unwrap_or_else(|| self.config.server_options().hostname.clone())
            }
        };
        session_options(options, ehlo_hostname)
    }

    /// The configuration has changed: connections that are to end as soon as they are free are
    /// told so, and what is in a transaction may belong to another queue by its end.
    pub(crate) fn renew_connections(&mut self, ends: impl Fn(&Outbound) -> bool) {
        let mut ending = Vec::new();
        for (conn, outbound) in &mut self.outbound {
            if let Some(flight) = &mut outbound.flight {
                flight.stray = true;
            }
            if ends(outbound) {
                outbound.outdated = true;
                ending.push(*conn);
            }
        }
        for conn in ending {
            self.leave_idle(conn);
            // One that does not stand yet is told when it does.
            self.drive_outbound(conn, ClientInput::Quit(CloseReason::Reconfigured));
        }
    }

    /// Connections count towards the caps there are now, and no longer towards others.
    pub(crate) fn recount_caps(&mut self) {
        let conns: Vec<ConnId> = self.outbound.keys().copied().collect();
        for conn in conns {
            let Some(outbound) = self.outbound.get_mut(&conn) else { continue };
            let (slot, exchange) = (outbound.queue, outbound.exchange.clone());
            for key in core::mem::take(&mut outbound.passed.caps) {
                // Every queue looks anew after this: nobody need be told.
                self.gates.leave(&key);
            }
            let caps = self.enter_caps(slot, &exchange);
            if let Some(outbound) = self.outbound.get_mut(&conn) {
                outbound.passed.caps = caps;
            }
        }
        self.gates.reload();
    }

    pub(crate) fn outbound_connected(&mut self, conn: ConnId, local: SocketAddr) {
        let now = self.now;
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        let Phase::Connecting { options, .. } = &outbound.phase else { return };
        let took = now.saturating_since(outbound.since);
        let session = Box::new(ClientSession::new((**options).clone(), now));
        outbound.phase = Phase::Open { session, ready: false };
        let (slot, remote, exchange) = (outbound.queue, outbound.remote, outbound.exchange.clone());
        let outdated = outbound.outdated;
        let queue = &mut self.queues[slot];
        queue.connected += 1;
        let (pair, open) = (queue.pair.clone(), queue.connected);
        self.record(Event::ConnectionOpened { conn, pair, local, remote, exchange, open, took });
        self.adjust_outbound_timer(conn);
        if self.draining {
            self.drive_outbound(conn, ClientInput::Quit(CloseReason::Draining));
        } else if outdated {
            self.marks.hit(Mark::OutdatedOnArrival);
            self.drive_outbound(conn, ClientInput::Quit(CloseReason::Reconfigured));
        }
    }

    pub(crate) fn outbound_connect_failed(&mut self, conn: ConnId, error: NetError) {
        let Some(outbound) = self.outbound.remove(&conn) else { return };
        if let Some(timer) = outbound.timer {
            self.timers.cancel(timer);
        }
        let slot = outbound.queue;
        let queue = &mut self.queues[slot];
        queue.connection_gone();
        let pair = queue.pair.clone();
        let (remote, exchange, asked) = (outbound.remote, outbound.exchange, outbound.asked);
        let took = match outbound.phase {
            Phase::Connecting { .. } => self.now.saturating_since(outbound.since),
            Phase::Open { .. } => Duration::ZERO,
        };
        self.record(Event::ConnectionFailed {
            conn,
            pair,
            remote,
            exchange: exchange.clone(),
            error,
            took,
        });
        self.release_connection_gates(outbound.passed);
        // Our own shutdown is nobody's failure.
        if !(self.draining && error == NetError::TimedOut) {
            let reply = Reply::local(451, EnhancedCode(4, 4, 1), error.text());
            self.host_failed(slot, conn, remote.ip(), exchange, Stage::Connect, reply);
        }
        self.connection_gone(slot, conn, remote.ip());
        self.tls_try_gone(conn, asked.as_ref());
    }

    /// Hands an input to a session and does what it wants, giving it work as long as it asks.
    pub(crate) fn drive_outbound(&mut self, conn: ConnId, input: ClientInput<'_>) {
        let mut outputs = core::mem::take(&mut self.client_outputs);
        let mut input = Some(input);
        while let Some(next) = input.take() {
            let now = self.now;
            let Some(Outbound { phase: Phase::Open { session, .. }, .. }) =
                self.outbound.get_mut(&conn)
            else {
                break;
            };
            session.handle(now, next, &mut outputs);
            for output in outputs.drain(..) {
                if let Some(work) = self.perform_outbound(conn, output) {
                    input = Some(work);
                }
            }
        }
        self.client_outputs = outputs;
        self.adjust_outbound_timer(conn);
    }

    /// Does one thing a session wants; answers with the session's next input when it is ready for
    /// one.
    fn perform_outbound(
        &mut self,
        conn: ConnId,
        output: ClientOutput,
    ) -> Option<ClientInput<'static>> {
        match output {
            ClientOutput::Write(bytes) => self.emit(Output::Write { conn, bytes }),
            ClientOutput::WriteBody(message) => self.emit(Output::WriteBody { conn, message }),
            ClientOutput::Ready => return self.session_ready(conn),
            ClientOutput::StartTls => self.start_tls(conn),
            ClientOutput::Secured(info) => self.tls_established(conn, info),
            ClientOutput::TlsFailed { stage, failure } => self.tls_failed(conn, stage, &failure),
            ClientOutput::Recipient { index, stage, result } => {
                self.recipient_result(conn, index, stage, result);
            }
            ClientOutput::NotAttempted => self.not_attempted(conn),
            ClientOutput::HostFailed { stage, reply } => {
                if let Some(outbound) = self.outbound.get(&conn) {
                    let (slot, address) = (outbound.queue, outbound.remote.ip());
                    let exchange = outbound.exchange.clone();
                    self.host_failed(slot, conn, address, exchange, stage, reply);
                }
            }
            ClientOutput::Violation(what) => {
                if let Some(peer) = self.outbound.get(&conn).map(Outbound::remote) {
                    self.record(Event::ProtocolViolation { conn, peer, what: what.into() });
                }
            }
            ClientOutput::Close { abort, reason } => {
                if let Some(outbound) = self.outbound.get_mut(&conn) {
                    outbound.close_reason = reason;
                    self.leave_idle(conn);
                }
                self.emit(Output::Close { conn, abort });
            }
        }
        None
    }

    /// A session is free: more work, or none, or the end.
    fn session_ready(&mut self, conn: ConnId) -> Option<ClientInput<'static>> {
        let outbound = self.outbound.get_mut(&conn)?;
        let slot = outbound.queue;
        if let Phase::Open { ready, .. } = &mut outbound.phase
            && !*ready
        {
            *ready = true;
            let (address, asked) = (outbound.remote.ip(), outbound.asked.clone());
            self.address_works(slot, address);
            if let Some(asked) = asked {
                self.tls_settled(&asked);
            }
        }
        let input = self.next_input(conn);
        if input.is_none() {
            // Perhaps there is mail that has to wait for something else now.
            self.touch(slot);
        }
        input
    }

    fn address_works(&mut self, slot: usize, address: IpAddr) {
        let queue = &mut self.queues[slot];
        queue.ready += 1;
        queue.trying_since = None;
        let waiting = self.hosts.succeeded(&queue.pair.binding, address);
        self.touch_all(waiting);
        self.touch(slot);
    }

    /// The next input for a session that is free; `None` leaves it idle. Where its own queue has
    /// nothing, a sibling's may.
    fn next_input(&mut self, conn: ConnId) -> Option<ClientInput<'static>> {
        let mut input = self.own_input(conn);
        while input.is_none() {
            let Some(sibling) = self.help_sibling(conn) else {
                self.enter_idle(conn);
                return None;
            };
            input = self.own_input(conn);
            self.leave_line(sibling);
        }
        input
    }

    /// What the queue of a free session has for it.
    fn own_input(&mut self, conn: ConnId) -> Option<ClientInput<'static>> {
        let outbound = self.outbound.get(&conn)?;
        let slot = outbound.queue;
        let (deliveries, sent) = (outbound.deliveries, outbound.recipients_sent);
        let queue = &self.queues[slot];
        let options = queue.options.clone();
        if self.draining {
            return Some(ClientInput::Quit(CloseReason::Draining));
        }
        if reached(options.max_deliveries_per_connection, deliveries)
            || reached(options.max_recipients_per_connection, sent)
        {
            return Some(ClientInput::Quit(CloseReason::LimitReached));
        }
        let work = !self.is_suspended(slot) && self.queues[slot].has_active();
        let batch = work.then(|| self.permitted_batch(conn, slot, batch_limit(&options, sent)));
        let (batch, charged) = batch.flatten()?;
        Some(ClientInput::Start(self.begin_flight(conn, batch, charged)))
    }

    /// Takes the next batch, or what of it `outbound_throttle_messages` lets pass.
    fn permitted_batch(
        &mut self,
        conn: ConnId,
        slot: usize,
        max: u32,
    ) -> Option<(Batch, Option<Place>)> {
        let reserved = self.outbound.get_mut(&conn)?.passed.reserved.take();
        let place = reserved.as_ref().map(|reserved| reserved.place.clone());
        let budget = self.message_budget(slot, place);
        if budget == 0
            && let Some(reserved) = reserved
            && let Some(window) = self.turn_was_lost(slot, &reserved)
            && let Some(Outbound { phase: Phase::Open { session, .. }, .. }) =
                self.outbound.get_mut(&conn)
        {
            session.wait_longer(window);
        }
        let max = match max {
            0 => budget,
            max => max.min(budget),
        };
        let mut batch = (budget > 0).then(|| self.next_batch(slot, max)).flatten()?;
        self.hold_open(&mut batch);
        let charged = self.charge_messages(slot, batch.recipients.len() as u32);
        Some((batch, charged))
    }

    /// Takes the next batch that may be attempted from a queue.
    fn next_batch(&mut self, slot: usize, max: u32) -> Option<Batch> {
        loop {
            let batch = self.queues[slot].take_front(max)?;
            match self.expired_before_attempt(slot, &batch) {
                None => return Some(batch),
                Some(why) => self.expire_unattempted(slot, &batch, why),
            }
        }
    }

    fn begin_flight(&mut self, conn: ConnId, batch: Batch, charged: Option<Place>) -> Transaction {
        let message = self.messages.get(batch.message);
        let mailbox = |index: &u32| message.recipients[*index as usize].mailbox.clone();
        let transaction = Transaction {
            message: batch.message,
            reverse_path: message.reverse_path.clone(),
            recipients: batch.recipients.iter().map(mailbox).collect(),
            size_bytes: message.size_bytes,
            eight_bit: message.eight_bit,
            origin: message.origin.clone(),
        };
        // Unwrap is OK because the caller has just seen the connection.
        let outbound = self.outbound.get_mut(&conn).expect("the connection");
        self.queues[outbound.queue].begin_flight(&batch);
        let recipients = batch.recipients.len();
        outbound.recipients_sent = outbound.recipients_sent.saturating_add(recipients as u32);
        let results = alloc::vec![None; recipients];
        let (begun_at, missing) = (self.now, recipients);
        outbound.flight = Some(Flight { batch, begun_at, charged, stray: false, results, missing });
        transaction
    }

    /// Has an idle session look for work, as there is some. False when it may not have it.
    pub(crate) fn wake_idle(&mut self, conn: ConnId) -> bool {
        let input = self.next_input(conn);
        let woken = input.is_some();
        if let Some(input) = input {
            self.drive_outbound(conn, input);
        }
        woken
    }

    fn not_attempted(&mut self, conn: ConnId) {
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        let slot = outbound.queue;
        if let Some(flight) = outbound.flight.take() {
            self.marks.hit(Mark::NotAttempted);
            let queue = &mut self.queues[slot];
            let recipients = flight.batch.recipients.len();
            queue.end_flight(recipients);
            match flight.stray {
                false => queue.give_back(flight.batch),
                true => self.send_home(flight.batch, None),
            }
            if let Some(place) = flight.charged {
                self.refund_messages(&place, recipients as u32);
            }
            self.touch(slot);
        }
    }

    fn recipient_result(
        &mut self,
        conn: ConnId,
        index: u32,
        stage: Stage,
        result: RecipientResult,
    ) {
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        let Some(flight) = &mut outbound.flight else { return };
        let result = match &self.queues[outbound.queue].options.response_transcode {
            Some(transcode) => transcode.apply(result),
            None => result,
        };
        let place = &mut flight.results[index as usize];
        debug_assert!(place.is_none(), "two results for one recipient");
        flight.missing -= usize::from(place.is_none());
        *place = Some((stage, result));
        if flight.missing == 0
            && let Some(flight) = outbound.flight.take()
        {
            self.land(conn, flight);
        }
    }

    /// All results of a transaction are in: records, the spool, and the next attempt of those that
    /// failed for now.
    fn land(&mut self, conn: ConnId, flight: Flight) {
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        let (slot, remote) = (outbound.queue, outbound.remote);
        let took = self.now.saturating_since(flight.begun_at);
        let transport = outbound.transport.clone();
        let stray = flight.stray;
        let exchange = Some(outbound.exchange.clone());
        let over =
            Over { conn: Some(conn), remote: Some(remote), exchange, transport, took, stray };
        self.queues[slot].end_flight(flight.batch.recipients.len());
        let delivered = self.settle_attempt(slot, flight.batch, flight.results, &over);
        if let Some(outbound) = self.outbound.get_mut(&conn) {
            outbound.deliveries += u32::from(delivered);
        }
        self.touch(slot);
    }

    /// Draws the consequences of an attempt with a batch, one result for each recipient. Returns
    /// whether any of them got the message.
    pub(crate) fn settle_attempt(
        &mut self,
        slot: usize,
        batch: Batch,
        results: Vec<Option<(Stage, RecipientResult)>>,
        over: &Over,
    ) -> bool {
        let (attempts, open) = (batch.attempts.saturating_add(1), batch.open);
        let message = self.messages.get(batch.message);
        let queue = &self.queues[slot];
        let (pair, options) = (queue.pair.clone(), queue.options.clone());
        let age = self.now.saturating_since(message.received_at);
        let mut updates = Vec::with_capacity(results.len());
        let mut failures = Vec::new();
        let mut retry: Option<(Timestamp, Indexes)> = None;
        let mut delivered = false;
        for (recipient, result) in batch.recipients.into_iter().zip(results) {
            let Some((stage, result)) = result else { continue };
            let attempt = |reply| Attempt {
                message: message.id,
                recipient,
                mailbox: message.recipients[recipient as usize].mailbox.clone(),
                reverse_path: message.reverse_path.clone(),
                size_bytes: message.size_bytes,
                pair: pair.clone(),
                attempts,
                age,
                took: over.took,
                conn: over.conn,
                remote: over.remote,
                transport: over.transport.clone(),
                stage,
                reply,
                class: None,
                quiet: false,
            };
            let (event, wait) = outcome(&options, attempts, age, result, attempt);
            delivered |= matches!(event, Event::Delivery(_));
            let state = match wait {
                None => RecipientState::Done,
                Some(wait) => {
                    let next_attempt_at = self.now + wait;
                    retry
                        .get_or_insert_with(|| (next_attempt_at, Indexes::new()))
                        .1
                        .push(recipient);
                    RecipientState::Pending { attempts, next_attempt_at }
                }
            };
            updates.push((recipient, state));
            failures.extend(Outcome::of(&event, over.exchange.as_ref(), self.now));
            let event = match event {
                Event::TransientFailure { attempt, .. } => {
                    self.note_delay(&attempt, over.exchange.as_ref());
                    let next_attempt_at = retry.as_ref().map_or(self.now, |(due, _)| *due);
                    Event::TransientFailure { attempt, next_attempt_at }
                }
                event => event,
            };
            self.record(event);
        }
        self.settle_recipients(slot, message.id, updates, failures);
        match retry {
            Some((due, recipients)) => {
                let batch = Batch { message: message.id, recipients, attempts, open };
                match over.stray {
                    false => self.enqueue_delayed(slot, due, batch),
                    true => self.send_home(batch, Some(due)),
                }
            }
            None if open => self.messages.release(message.id),
            None => {}
        }
        delivered
    }

    /// The deadline timer of a session fired.
    pub(crate) fn outbound_deadline(&mut self, conn: ConnId) {
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        outbound.timer = None;
        match &outbound.phase {
            Phase::Connecting { deadline, .. } => {
                debug_assert!(*deadline <= self.now, "a connect deadline never moves");
                // The driver answers with ConnectFailed.
                self.emit(Output::Close { conn, abort: true });
            }
            Phase::Open { session, .. } => {
                if session.deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.leave_idle(conn);
                    self.drive_outbound(conn, ClientInput::Timeout);
                } else {
                    self.adjust_outbound_timer(conn);
                }
            }
        }
    }

    pub(crate) fn outbound_received(&mut self, conn: ConnId, bytes: &[u8]) {
        // Whatever an exchange says while nothing is asked of it ends the idling.
        self.leave_idle(conn);
        self.drive_outbound(conn, ClientInput::Received(bytes));
    }

    pub(crate) fn outbound_closed(&mut self, conn: ConnId, error: Option<NetError>) {
        self.leave_idle(conn);
        self.drive_outbound(conn, ClientInput::Closed(error));
        self.not_attempted(conn);
        let Some(outbound) = self.outbound.remove(&conn) else { return };
        if let Some(timer) = outbound.timer {
            self.timers.cancel(timer);
        }
        let slot = outbound.queue;
        let queue = &mut self.queues[slot];
        queue.connection_gone();
        queue.connected -= 1;
        queue.ready -= u32::from(outbound.is_ready());
        let pair = queue.pair.clone();
        self.record(Event::ConnectionClosed {
            conn,
            pair,
            remote: outbound.remote,
            reason: outbound.close_reason,
            deliveries: outbound.deliveries,
        });
        self.release_connection_gates(outbound.passed);
        self.connection_gone(slot, conn, outbound.remote.ip());
        self.tls_try_gone(conn, outbound.asked.as_ref());
    }

    /// Whoever waited for a connection to end looks for work.
    fn connection_gone(&mut self, slot: usize, conn: ConnId, address: IpAddr) {
        let binding = self.queues[slot].pair.binding.clone();
        let waiting = self.hosts.gone(&binding, address, conn);
        self.touch_all(waiting);
        self.touch(slot);
    }

    pub(crate) fn drain_outbound(&mut self) {
        let conns: Vec<ConnId> = self.outbound.keys().copied().collect();
        for conn in conns {
            if self.outbound.get(&conn).is_some_and(Outbound::is_connected) {
                self.leave_idle(conn);
                self.drive_outbound(conn, ClientInput::Quit(CloseReason::Draining));
            } else {
                self.emit(Output::Close { conn, abort: true });
            }
        }
    }

    pub(crate) fn touch_all(&mut self, slots: BTreeSet<usize>) {
        for slot in slots {
            self.touch(slot);
        }
    }

    fn adjust_outbound_timer(&mut self, conn: ConnId) {
        if let Some(outbound) = self.outbound.get_mut(&conn)
            && let Phase::Open { session, .. } = &outbound.phase
        {
            let deadline = session.deadline();
            self.timers.defer(&mut outbound.timer, deadline, WakeupReason::Connection(conn));
        }
    }
}

fn session_options(options: &DeliveryOptions, ehlo_hostname: Arc<str>) -> SessionOptions {
    SessionOptions {
        ehlo_hostname,
        method: options.delivery_method,
        xclient: options.xclient,
        tls: options.tls,
        send_8bitmime: options.send_8bitmime,
        transform_8bitmime_content: options.transform_8bitmime_content,
        ehlo_timeout: options.ehlo_timeout,
        mailfrom_timeout: options.mailfrom_timeout,
        rcptto_timeout: options.rcptto_timeout,
        body_timeout: options.body_timeout,
        rset_timeout: options.rset_timeout,
        idle_timeout: options.idle_timeout,
    }
}

/// Whether connections begun with either of two sets of options are alike for all their life.
pub(crate) fn alike_for_life(a: &DeliveryOptions, b: &DeliveryOptions) -> bool {
    let unnamed: Arc<str> = "".into();
    session_options(a, unnamed.clone()) == session_options(b, unnamed)
        && a.same_tls(b)
        && (&a.ehlo_hostname, a.bind_address, a.port())
            == (&b.ehlo_hostname, b.bind_address, b.port())
}

/// What a result means: its record, and the wait before the next attempt if there is one. The
/// instant in a transient failure's record is the caller's to fill in.
fn outcome(
    options: &DeliveryOptions,
    attempts: u16,
    age: Duration,
    result: RecipientResult,
    attempt: impl FnOnce(Reply) -> Attempt,
) -> (Event, Option<Duration>) {
    match result {
        RecipientResult::Delivered(reply) => (Event::Delivery(attempt(reply)), None),
        RecipientResult::Permanent(reply) => (Event::PermanentFailure(attempt(reply)), None),
        RecipientResult::Transient(reply) => {
            match after_transient_failure(options, attempts, age) {
                Verdict::Final => (Event::PermanentFailure(attempt(reply)), None),
                Verdict::GiveUp(why) => {
                    let attempt = attempt(give_up_reply(why));
                    (Event::Expiry { attempt, why, last_reply: Some(reply) }, None)
                }
                Verdict::Retry(wait) => {
                    let attempt = attempt(reply);
                    let next_attempt_at = Timestamp::default();
                    (Event::TransientFailure { attempt, next_attempt_at }, Some(wait))
                }
            }
        }
    }
}

/// Whether a limit, 0 being none, is reached.
const fn reached(limit: u32, count: u32) -> bool {
    limit != 0 && count >= limit
}

/// How many recipients the next transaction may have; 0: any number.
fn batch_limit(options: &DeliveryOptions, sent: u32) -> u32 {
    let left = match options.max_recipients_per_connection {
        0 => 0,
        limit => limit.saturating_sub(sent).max(1),
    };
    match (options.max_recipients_per_batch, left) {
        (0, limit) | (limit, 0) => limit,
        (a, b) => a.min(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_next_transaction_keeps_to_both_limits() {
        let mut options = Config::from_text("").unwrap().delivery_options("default", "x.test");
        for (per_batch, per_connection, sent, limit) in
            [(0, 0, 9, 0), (5, 0, 9, 5), (0, 10, 9, 1), (5, 10, 9, 1), (5, 10, 2, 5), (9, 10, 2, 8)]
        {
            options.max_recipients_per_batch = per_batch;
            options.max_recipients_per_connection = per_connection;
            assert_eq!(batch_limit(&options, sent), limit, "{per_batch} {per_connection} {sent}");
        }
    }
}
