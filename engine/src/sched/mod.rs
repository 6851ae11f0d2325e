//! Scheduling: what a queue does next, and if nothing, why.

mod blackhole;
mod dns;
pub(crate) mod goal;
pub(crate) mod host;
pub(crate) mod reserve;
pub(crate) mod siblings;
pub(crate) mod tls;
pub(crate) mod turns;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::config::effective::DeliveryOptions;
use crate::config::{Cidr, DEFAULT_BINDING};
use crate::engine::Engine;
use crate::ids::{ConnId, MessageId};
use crate::limits;
use crate::marks::Mark;
use crate::message::RecipientState;
use crate::mx::plan::{Exchange, Plan, Usable};
use crate::mx::routes::Lookup;
use crate::notice::Outcome;
use crate::queue::Batch;
use crate::queue::reason::QueueReason;
use crate::queue::retry::{give_up_reply, is_too_old, limit_reached, wait_before_retry};
use crate::record::{Attempt, Event, GiveUp, Transport};
use crate::rng::Purpose;
use crate::sched::goal::connection_goal;
use crate::securing::TlsAt;
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::timers::WakeupReason;

/// Whether all exchanges of a plan are known, or some are still being asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    All,
    Part,
}

impl Engine {
    /// Looks after one queue: what is due becomes active, sessions without work take it up, and
    /// connections are opened as far as everything allows.
    pub(crate) fn maintain(&mut self, slot: usize) {
        let now = self.now;
        if !self.queues.contains(slot) {
            return;
        }
        self.fail_blackholed(slot);
        self.activate_due(slot, now);
        let suspended = self.is_suspended(slot);
        let queue = &mut self.queues[slot];
        // Whoever is suspended does not try.
        if !queue.has_active() || suspended {
            queue.trying_since = None;
        }
        if !queue.has_active() {
            queue.lost_turns.clear();
        }
        if !suspended && !self.draining {
            self.feed_idle_sessions(slot);
        }
        let reason = self.open_connections(slot);
        match reason {
            QueueReason::Resolving => self.step_aside(slot),
            reason if reason.is_in_line() => {}
            _ => self.leave_line(slot),
        }
        self.seek_siblings(slot, reason);
        let queue = &mut self.queues[slot];
        let before = core::mem::replace(&mut queue.reason, reason);
        self.note_wait(slot, before);
        let queue = &mut self.queues[slot];
        if queue.is_unused() {
            return self.remove_queue(slot);
        }
        let first = queue.ticket.as_ref().is_some_and(|ticket| match reason {
            // What room there is is left for somebody else, who tells when it is free.
            QueueReason::ThrottledMessages { until }
            | QueueReason::ThrottledConnections { until }
                if until <= self.now =>
            {
                self.gates.is_first(ticket)
            }
            _ => self.gates.is_turn_of(ticket.key(), Some(ticket)),
        });
        // It may go on trying beyond that, until all exchanges are known: the look-up wakes it.
        let trying_until = queue.trying_until().filter(|until| *until > self.now);
        let at = wake_at(reason, first, queue.next_due(), trying_until);
        self.timers.adjust(&mut queue.timer, at, WakeupReason::Queue(slot));
    }

    fn feed_idle_sessions(&mut self, slot: usize) {
        while self.queues[slot].has_active()
            && let Some(conn) = self.queues[slot].idle.last().copied()
        {
            self.leave_idle(conn);
            if !self.wake_idle(conn) {
                break;
            }
        }
    }

    fn remove_queue(&mut self, slot: usize) {
        // A look-up under way tells its asker by slot: the slot must not be another's by then.
        if self.is_resolving(slot) {
            return;
        }
        if let Some(timer) = self.queues[slot].timer.take() {
            self.timers.cancel(timer);
        }
        let queue = self.queues.remove(slot);
        self.queue_of.remove(&queue.pair);
    }

    /// Opens connections until something forbids the next; answers with what that is.
    fn open_connections(&mut self, slot: usize) -> QueueReason {
        let queue = &self.queues[slot];
        if !queue.has_active() {
            return self.nothing_active(slot);
        }
        if self.draining {
            return QueueReason::Draining;
        }
        if queue.options.suspend_delivery {
            let unassigned = &*queue.pair.binding == DEFAULT_BINDING;
            return match unassigned && self.config.holds_default_binding() {
                true => QueueReason::DefaultBindingSuspended,
                false => QueueReason::Suspended,
            };
        }
        if let Some(until) = self.held(slot) {
            return QueueReason::SuspendedByOperator { until };
        }
        if self.bookkeeping.is_behind() {
            return QueueReason::SpoolBehind;
        }
        match self.look_up(slot) {
            Lookup::Ready(plan) => self.connect_to(slot, &plan, Known::All),
            Lookup::Partial(plan) => self.connect_to(slot, &plan, Known::Part),
            Lookup::Pending => QueueReason::Resolving,
            Lookup::InLine => QueueReason::LookupInLine,
            Lookup::Refused(reply) => {
                self.fail_active(slot, &reply);
                QueueReason::Empty
            }
            Lookup::Failed { until, failures, reply } => {
                self.dns_failed(slot, until, failures, reply)
            }
        }
    }

    fn nothing_active(&self, slot: usize) -> QueueReason {
        match self.queues[slot].next_due() {
            Some(until) => QueueReason::Delayed { until },
            None => QueueReason::Empty,
        }
    }

    fn connect_to(&mut self, slot: usize, plan: &Arc<Plan>, known: Known) -> QueueReason {
        self.queues[slot].plan = Some(plan.clone());
        if known == Known::All && self.tried_in_vain(slot, plan) {
            let text = "no exchange of the domain could be reached";
            let reply = Reply::local(421, EnhancedCode(4, 4, 0), text);
            self.delay_active(slot, reply, self.now);
            return self.nothing_active(slot);
        }
        let prohibited = &self.config.server_options().prohibited_hosts;
        if plan.addresses().any(|address| contains(prohibited, address)) {
            let text = "an exchange of the domain is at a prohibited address (prohibited_hosts)";
            self.fail_active(slot, &Reply::local(551, EnhancedCode(5, 4, 6), text));
            return QueueReason::Empty;
        }
        if known == Known::All
            && let Some(incident) = self.unfit_everywhere(slot, plan)
        {
            self.charge_for_tls(slot, &incident);
            return self.nothing_active(slot);
        }
        // Connections are of no use while no message may pass.
        if let Some(reason) = self.message_throttle_shut(slot) {
            return reason;
        }
        loop {
            let queue = &self.queues[slot];
            let max = queue.options.max_outbound_connections;
            if queue.connections >= max {
                return QueueReason::MaxOutboundConnections;
            }
            let aggressiveness = queue.options.connection_allocation_aggressiveness;
            if queue.connections >= connection_goal(max, aggressiveness, queue.demand()) {
                return QueueReason::ConnectionGoal;
            }
            if self.take_over_idle(slot, plan) {
                continue;
            }
            if let Some(reason) = self.connection_gate_shut(slot) {
                return reason;
            }
            let queue = &self.queues[slot];
            let ipv6_first = self.config.server_options().prefer_ipv6_mxs;
            let usable = |exchange: &Exchange, address| self.usable(slot, exchange, address);
            let domain = &queue.pair.domain;
            // A queue that was empty for a while begins to count anew; its choices must not.
            let n = self.now.as_micros().wrapping_add(queue.connects);
            match plan.choose(&self.seed, domain, n, ipv6_first, usable) {
                Some(choice) => self.connect(slot, choice),
                None if known == Known::Part => return QueueReason::Resolving,
                None => return self.nowhere_to_go(slot, plan),
            }
        }
    }

    /// Whether a queue may ever connect to an address: not to one in `skip_hosts`, nor to one of
    /// another family than its `bind_address`.
    fn may_use(&self, slot: usize, address: IpAddr) -> bool {
        let source = self.queues[slot].options.bind_address;
        !contains(&self.config.server_options().skip_hosts, address)
            && source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }

    /// Whether a queue may connect to an address now.
    pub(crate) fn usable(&self, slot: usize, exchange: &Exchange, address: IpAddr) -> Usable {
        let binding = &self.queues[slot].pair.binding;
        if !self.may_use(slot, address) {
            return Usable::SetAside;
        }
        match self.host_cap(slot, &exchange.name) {
            Some((key, max)) if self.gates.open(&key) >= max => Usable::AtCap,
            _ => match self.hosts.usable(binding, address, self.now) {
                Usable::Yes => self.usable_with_tls(slot, address),
                other => other,
            },
        }
    }

    /// Why no address of a plan can be used now.
    fn nowhere_to_go(&mut self, slot: usize, plan: &Plan) -> QueueReason {
        let binding = self.queues[slot].pair.binding.clone();
        let mut until: Option<Timestamp> = None;
        let (mut probing, mut capped, mut skipped, mut unfit) = (false, false, true, false);
        for exchange in &plan.exchanges {
            for address in exchange.addresses.iter().copied() {
                match self.usable(slot, exchange, address) {
                    Usable::Busy => {
                        self.hosts.wait(&binding, address, slot);
                        if let TlsAt::Wait(asked) = self.tls_at(slot, address) {
                            self.tls.wait(&asked, slot);
                        }
                        probing = true;
                    }
                    Usable::SetAside => {
                        let free = self.hosts.aside_until(&binding, address, self.now);
                        skipped &= free.is_none();
                        until = until.into_iter().chain(free).min();
                    }
                    Usable::AtCap => {
                        self.watch_host(slot, &exchange.name);
                        capped = true;
                    }
                    Usable::Unfit => unfit = true,
                    Usable::Yes => {}
                }
            }
        }
        // Waiting for addresses that failed is trying in vain, whoever tries them.
        let queue = &mut self.queues[slot];
        if queue.ready == 0 && (probing || until.is_some()) {
            queue.trying_since.get_or_insert(self.now);
        }
        match until {
            _ if probing => QueueReason::Probing,
            Some(until) => QueueReason::HostsSetAside { until },
            None if capped => QueueReason::HostMaxOutboundConnections,
            // Connections from before TLS failed there go on.
            None if unfit => QueueReason::ConnectionGoal,
            None if skipped => self.all_skipped(slot),
            None => QueueReason::Probing,
        }
    }

    /// No address of a domain may be used, and nothing will change that.
    fn all_skipped(&mut self, slot: usize) -> QueueReason {
        let text = "no address of the domain may be used (skip_hosts, bind_address)";
        self.fail_active(slot, &Reply::local(554, EnhancedCode(5, 4, 4), text));
        QueueReason::Empty
    }

    /// Whether the queue has tried long or often enough without reaching anybody
    /// (`connect_timeout_to_delay`, `mx_failures_to_delay`).
    fn tried_in_vain(&self, slot: usize, plan: &Plan) -> bool {
        let queue = &self.queues[slot];
        if queue.ready > 0 {
            return false;
        }
        if queue.trying_until().is_some_and(|until| until <= self.now) {
            return true;
        }
        // Failures from before it began to try say nothing about now: what is due gets its chance.
        let Some(since) = queue.trying_since else { return false };
        let limit = queue.options.mx_failures_to_delay;
        let binding = &queue.pair.binding;
        let failures = |address| self.hosts.failures_since(binding, address, self.now, since);
        let addresses = plan.addresses().filter(|address| self.may_use(slot, *address));
        // `nowhere_to_go` sees to a plan without any.
        let least = addresses.map(failures).min();
        limit > 0 && least.is_some_and(|failures| failures >= limit)
    }

    /// An address failed before any message: it is set aside, and nobody is charged.
    pub(crate) fn host_failed(
        &mut self,
        slot: usize,
        conn: ConnId,
        address: IpAddr,
        exchange: Arc<str>,
        stage: Stage,
        reply: Reply,
    ) {
        let queue = &self.queues[slot];
        let binding = queue.pair.binding.clone();
        let until = self.now + queue.options.host_failure_retry.max(limits::HOST_ASIDE_MIN);
        let forgotten_at = self.now + self.config.server_options().address_metrics_lifetime;
        let (aside, waiting) =
            self.hosts.failed(&binding, address, conn, self.now, until, forgotten_at);
        self.touch_all(waiting);
        self.touch(slot);
        if let Some(until) = aside {
            self.hosts.said(&binding, address, reply.clone());
            let event = Event::HostSetAside { binding, address, exchange, until, stage, reply };
            self.record(event);
        }
    }

    /// Moves everything active to delayed, not due before `not_before`. This is no attempt and
    /// charges nobody, but what is too old goes no further.
    fn delay_active(&mut self, slot: usize, reply: Reply, not_before: Timestamp) {
        let queue = &mut self.queues[slot];
        queue.trying_since = None;
        let (pair, options) = (queue.pair.clone(), queue.options.clone());
        let mut moved = 0;
        for batch in queue.take_active() {
            let age = self.age(batch.message);
            if is_too_old(&options, age) {
                self.marks.hit(Mark::TooOldToWait);
                self.give_up(slot, &batch, GiveUp::MaxTime, Some(reply.clone()));
                continue;
            }
            moved += batch.recipients.len() as u32;
            let due = self.now + wait_before_retry(&options, batch.attempts.max(1));
            let due = due.max(not_before) + self.fuzz(&options, batch.message);
            self.enqueue_delayed(slot, due, batch);
        }
        if moved > 0
            && let Some(next_attempt_at) = self.queues[slot].next_due()
        {
            let recipients = moved;
            self.record(Event::QueueDelayed { pair, recipients, reply, next_attempt_at });
        }
    }

    /// How much later than the others a message of a bulk move is due
    /// (`delayed_binding_domain_fuzz`).
    fn fuzz(&self, options: &DeliveryOptions, message: MessageId) -> Duration {
        let spread = u64::from(options.delayed_binding_domain_fuzz) * 1_000_000;
        let moved_at = self.now.as_micros();
        Duration::from_micros(self.seed.draw_below(
            Purpose::DelayedFuzz,
            message.0,
            moved_at,
            spread,
        ))
    }

    /// Fails everything active for good.
    fn fail_active(&mut self, slot: usize, reply: &Reply) {
        self.fail_active_at(slot, Stage::Dns, reply);
    }

    fn fail_active_at(&mut self, slot: usize, stage: Stage, reply: &Reply) {
        for batch in self.queues[slot].take_active() {
            self.fail_batch(slot, &batch, stage, reply, false);
        }
    }

    /// Fails a batch that was taken out of a queue, for good and without an attempt; nobody hears
    /// of a `quiet` failure.
    pub(crate) fn fail_batch(
        &mut self,
        slot: usize,
        batch: &Batch,
        stage: Stage,
        reply: &Reply,
        quiet: bool,
    ) {
        let mut failures = Vec::with_capacity(batch.recipients.len());
        for recipient in &batch.recipients {
            let attempt = self.no_attempt(slot, batch, *recipient, stage, reply.clone());
            let event = Event::PermanentFailure(Attempt { quiet, ..attempt });
            if !quiet {
                failures.extend(Outcome::of(&event, None, self.now));
            }
            self.record(event);
        }
        self.all_failed(slot, batch, failures);
    }

    /// The limit that forbids attempting a batch now (`never_attempt_expired_messages`).
    pub(crate) fn expired_before_attempt(&self, slot: usize, batch: &Batch) -> Option<GiveUp> {
        let options = &self.queues[slot].options;
        options
            .never_attempt_expired_messages
            .then(|| limit_reached(options, batch.attempts, self.age(batch.message)))
            .flatten()
    }

    /// Gives up a batch without a further attempt.
    pub(crate) fn expire_unattempted(&mut self, slot: usize, batch: &Batch, why: GiveUp) {
        self.give_up(slot, batch, why, None);
    }

    fn give_up(&mut self, slot: usize, batch: &Batch, why: GiveUp, last_reply: Option<Reply>) {
        let mut failures = Vec::with_capacity(batch.recipients.len());
        for recipient in &batch.recipients {
            let reply = give_up_reply(why);
            let attempt = self.no_attempt(slot, batch, *recipient, Stage::Queue, reply);
            let event = Event::Expiry { attempt, why, last_reply: last_reply.clone() };
            failures.extend(Outcome::of(&event, None, self.now));
            self.record(event);
        }
        self.all_failed(slot, batch, failures);
    }

    fn all_failed(&mut self, slot: usize, batch: &Batch, failures: Vec<Outcome>) {
        let done = batch.recipients.iter().map(|index| (*index, RecipientState::Done));
        self.settle_recipients(slot, batch.message, done.collect(), failures);
        self.let_go(batch);
    }

    fn age(&self, message: MessageId) -> Duration {
        self.now.saturating_since(self.messages.received_at(message))
    }

    /// The result of a recipient without an attempt of its own.
    fn no_attempt(
        &self,
        slot: usize,
        batch: &Batch,
        recipient: u32,
        stage: Stage,
        reply: Reply,
    ) -> Attempt {
        let message = self.messages.get(batch.message);
        Attempt {
            message: batch.message,
            recipient,
            mailbox: message.recipients[recipient as usize].mailbox.clone(),
            reverse_path: message.reverse_path.clone(),
            size_bytes: message.size_bytes,
            pair: self.queues[slot].pair.clone(),
            attempts: batch.attempts,
            age: self.now.saturating_since(message.received_at),
            took: Duration::ZERO,
            conn: None,
            remote: None,
            transport: Transport::Nothing,
            stage,
            reply,
            class: None,
            quiet: false,
        }
    }
}

pub(crate) fn contains(networks: &[Cidr], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// When a queue must be looked at again if nothing else happens: when delayed mail is due, when an
/// address or the DNS may be tried again, or when trying has lasted `connect_timeout_to_delay`.
fn wake_at(
    reason: QueueReason,
    first_in_line: bool,
    next_due: Option<Timestamp>,
    trying_until: Option<Timestamp>,
) -> Option<Timestamp> {
    let own = match reason {
        QueueReason::Delayed { .. } | QueueReason::Empty => return next_due,
        QueueReason::HostsSetAside { until } => {
            Some(trying_until.map_or(until, |trying| until.min(trying)))
        }
        QueueReason::DnsFailed { until } => Some(until),
        // Whoever is not first in line is woken when it is.
        QueueReason::ThrottledMessages { until } | QueueReason::ThrottledConnections { until } => {
            first_in_line.then_some(until)
        }
        QueueReason::Probing
        | QueueReason::ConnectionGoal
        | QueueReason::MaxOutboundConnections
        | QueueReason::ServerMaxOutboundConnections
        | QueueReason::ScopeMaxOutboundConnections
        | QueueReason::HostMaxOutboundConnections => trying_until,
        // Operators wake what they resume, a timer of the engine what they forget, and the spool
        // all that waits for it.
        QueueReason::Suspended
        | QueueReason::SpoolBehind
        | QueueReason::SuspendedByOperator { .. }
        | QueueReason::DefaultBindingSuspended
        | QueueReason::Draining
        | QueueReason::Resolving
        | QueueReason::LookupInLine => None,
    };
    own.into_iter().chain(next_due).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_wakes_for_the_first_thing_that_can_change() {
        let at = Timestamp;
        let aside = QueueReason::HostsSetAside { until: at(50) };
        for (reason, next_due, trying_until, wake) in [
            (QueueReason::Empty, None, Some(at(9)), None),
            (QueueReason::Delayed { until: at(7) }, Some(at(7)), Some(at(3)), Some(at(7))),
            (aside, None, None, Some(at(50))),
            (aside, None, Some(at(40)), Some(at(40))),
            (aside, Some(at(30)), Some(at(40)), Some(at(30))),
            (QueueReason::Probing, Some(at(30)), Some(at(20)), Some(at(20))),
            (QueueReason::Resolving, Some(at(30)), Some(at(20)), Some(at(30))),
            (QueueReason::Suspended, None, Some(at(20)), None),
            (QueueReason::SuspendedByOperator { until: Some(at(8)) }, None, None, None),
            (QueueReason::DnsFailed { until: at(8) }, Some(at(9)), None, Some(at(8))),
        ] {
            assert_eq!(wake_at(reason, true, next_due, trying_until), wake, "{reason:?}");
        }
        let throttled = QueueReason::ThrottledMessages { until: at(60) };
        assert_eq!(wake_at(throttled, true, Some(at(90)), None), Some(at(60)));
        assert_eq!(wake_at(throttled, false, Some(at(90)), None), Some(at(90)));
    }
}
