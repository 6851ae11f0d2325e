//! Siblings: queues of one binding whose domains share an exchange pass connections on
//! (`migrate_connections_between_sibling_domains`).
//!
//! A session without mail of its own takes that of a sibling that waits for a connection; and a
//! queue that would open a connection takes over one that idles at a sibling first. Either way
//! whatever would have to allow the queue a new connection must allow this one. Limits that both
//! share need no room, as nothing changes there; but whoever stands in line at them is not
//! overtaken.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::delivery::alike_for_life;
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::limits;
use crate::mx::plan::{Exchange, Plan};
use crate::queue::reason::QueueReason;
use crate::record::Event;
use crate::sched::goal::connection_goal;
use crate::securing::TlsAt;

/// Where a connection leads, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    binding: Arc<str>,
    exchange: Arc<str>,
    address: IpAddr,
}

/// Who could help whom.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    /// Sessions without work.
    idle: BTreeMap<Spot, BTreeSet<ConnId>>,
    /// Queues that wait for a connection, longest waiting first.
    seeking: BTreeMap<Spot, BTreeMap<u64, usize>>,
    next_number: u64,
}

/// A queue's entry among those that wait for a connection.
#[derive(Debug)]
pub(crate) struct Seeking {
    number: u64,
    spots: Vec<Spot>,
}

impl Siblings {
    fn enter_idle(&mut self, spot: Spot, conn: ConnId) {
        self.idle.entry(spot).or_default().insert(conn);
    }

    fn leave_idle(&mut self, spot: &Spot, conn: ConnId) {
        if let Some(conns) = self.idle.get_mut(spot) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.idle.remove(spot);
            }
        }
    }

    /// Sessions without work, youngest first.
    fn idle_at(&self, spot: &Spot) -> Vec<ConnId> {
        let conns = self.idle.get(spot).into_iter().flatten().rev();
        conns.copied().take(limits::SIBLINGS_TRIED_MAX).collect()
    }

    /// Queues that wait for a connection there, longest waiting first.
    fn seeking_at(&self, spot: &Spot) -> Vec<usize> {
        let slots = self.seeking.get(spot).into_iter().flat_map(BTreeMap::values);
        slots.copied().take(limits::SIBLINGS_TRIED_MAX).collect()
    }

    /// Has a queue wait at so many places, or at none; keeps its seniority as long as it waits.
    fn seek(&mut self, slot: usize, entry: &mut Option<Seeking>, spots: Vec<Spot>) {
        let number = match entry.take() {
            Some(old) if old.spots == spots => {
                *entry = Some(old);
                return;
            }
            Some(old) => {
                self.forget(&old);
                old.number
            }
            None => {
                self.next_number += 1;
                self.next_number
            }
        };
        if spots.is_empty() {
            return;
        }
        for spot in &spots {
            self.seeking.entry(spot.clone()).or_default().insert(number, slot);
        }
        *entry = Some(Seeking { number, spots });
    }

    fn forget(&mut self, entry: &Seeking) {
        for spot in &entry.spots {
            if let Some(slots) = self.seeking.get_mut(spot) {
                slots.remove(&entry.number);
                if slots.is_empty() {
                    self.seeking.remove(spot);
                }
            }
        }
    }
}

impl Engine {
    /// Enters a queue among those that wait for a connection if that is what it does.
    pub(crate) fn seek_siblings(&mut self, slot: usize, reason: QueueReason) {
        let wanted = self.config.server_options().migrate_connections_between_sibling_domains
            && waits_for_connection(reason);
        let mut entry = self.queues[slot].seeking.take();
        if wanted || entry.is_some() {
            let plan = if wanted { self.known_plan(slot) } else { None };
            let binding = &self.queues[slot].pair.binding;
            // A plan may lead to one place twice: by a route, and by the exchanges of the domain.
            let spots: BTreeSet<Spot> =
                plan.map(|plan| spots_of(&plan, binding).collect()).unwrap_or_default();
            self.siblings.seek(slot, &mut entry, spots.into_iter().collect());
            self.queues[slot].seeking = entry;
        }
    }

    /// Gives a free session that has no mail of its own to a sibling that waits for one. Answers
    /// with the sibling.
    pub(crate) fn help_sibling(&mut self, conn: ConnId) -> Option<usize> {
        let slot = self.outbound.get(&conn)?.queue;
        if !self.config.server_options().migrate_connections_between_sibling_domains
            || self.queues[slot].has_active()
        {
            return None;
        }
        let spot = self.spot_of(conn, slot)?;
        let seeking = self.siblings.seeking_at(&spot);
        let to = seeking.into_iter().find(|to| self.may_migrate(conn, *to))?;
        self.migrate(conn, to);
        Some(to)
    }

    /// Takes over a session that idles at a sibling, for a queue that wants one more connection.
    /// False when there is none.
    pub(crate) fn take_over_idle(&mut self, slot: usize, plan: &Plan) -> bool {
        let server = self.config.server_options();
        if !server.migrate_connections_between_sibling_domains || self.siblings.idle.is_empty() {
            return false;
        }
        let binding = self.queues[slot].pair.binding.clone();
        for spot in spots_of(plan, &binding) {
            for conn in self.siblings.idle_at(&spot) {
                if self.may_migrate(conn, slot) {
                    self.leave_idle(conn);
                    self.migrate(conn, slot);
                    self.wake_idle(conn);
                    self.leave_line(slot);
                    return true;
                }
            }
        }
        false
    }

    /// Notes that a session has no work.
    pub(crate) fn enter_idle(&mut self, conn: ConnId) {
        let Some(outbound) = self.outbound.get(&conn) else { return };
        let slot = outbound.queue;
        if let Some(spot) = self.spot_of(conn, slot) {
            self.queues[slot].idle.push(conn);
            self.siblings.enter_idle(spot, conn);
        }
    }

    /// Notes that a session is idle no more, if it was.
    pub(crate) fn leave_idle(&mut self, conn: ConnId) {
        let Some(outbound) = self.outbound.get(&conn) else { return };
        let slot = outbound.queue;
        let idle = &mut self.queues[slot].idle;
        let Some(place) = idle.iter().rposition(|idle| *idle == conn) else { return };
        idle.remove(place);
        if let Some(spot) = self.spot_of(conn, slot) {
            self.siblings.leave_idle(&spot, conn);
        }
    }

    /// Where a connection leads.
    fn spot_of(&self, conn: ConnId, slot: usize) -> Option<Spot> {
        let outbound = self.outbound.get(&conn)?;
        Some(Spot {
            binding: self.queues[slot].pair.binding.clone(),
            exchange: outbound.exchange().clone(),
            address: outbound.remote().ip(),
        })
    }

    /// Whether a free session may become one of queue `to`.
    fn may_migrate(&mut self, conn: ConnId, to: usize) -> bool {
        let Some(outbound) = self.outbound.get(&conn) else { return false };
        let (from, queue) = (&self.queues[outbound.queue], &self.queues[to]);
        let options = &queue.options;
        let max = options.max_outbound_connections;
        let aggressiveness = options.connection_allocation_aggressiveness;
        let wanted = queue.has_active()
            && !self.is_suspended(to)
            && queue.connections < connection_goal(max, aggressiveness, queue.demand());
        // Mail that waits for a throttle has a claim to its own session; two queues that took it
        // from each other would never come to an end.
        wanted
            && outbound.queue != to
            && !from.has_active()
            && from.pair.binding == queue.pair.binding
            && alike_for_life(&from.options, options)
            && outbound.has_room(options)
            && self.leads_to(conn, to)
            && self.is_protected_for(conn, to)
            && self.may_take_over(conn, to)
    }

    /// Whether a connection leads where a queue's mail may go now.
    fn leads_to(&self, conn: ConnId, to: usize) -> bool {
        let Some(outbound) = self.outbound.get(&conn) else { return false };
        let (remote, own_port) = (outbound.remote(), self.queues[to].options.port());
        let same = |exchange: &Exchange| {
            exchange.name == *outbound.exchange()
                && exchange.port.unwrap_or(own_port) == remote.port()
        };
        let usable = |exchange: &Exchange, address| self.usable(to, exchange, address);
        let admits = |plan: Arc<Plan>| plan.admits(same, remote.ip(), usable);
        self.known_plan(to).is_some_and(admits)
    }

    /// Whether it is known of exactly those that idle or wait for a connection, for recounts.
    pub(crate) fn knows_siblings(&self) -> bool {
        let idle_at = |conn: &ConnId, slot| {
            let spot = self.spot_of(*conn, slot);
            spot.and_then(|spot| self.siblings.idle.get(&spot)).is_some_and(|at| at.contains(conn))
        };
        let seeking_at = |entry: &Seeking, slot: usize| {
            entry.spots.iter().all(|spot| {
                let at = self.siblings.seeking.get(spot);
                at.and_then(|at| at.get(&entry.number)) == Some(&slot)
            })
        };
        let (mut idle, mut seeking) = (0, 0);
        for (slot, queue) in &self.queues {
            if !queue.idle.iter().all(|conn| idle_at(conn, slot))
                || !queue.seeking.iter().all(|entry| seeking_at(entry, slot))
            {
                return false;
            }
            idle += queue.idle.len();
            seeking += queue.seeking.as_ref().map_or(0, |entry| entry.spots.len());
        }
        idle == self.siblings.idle.values().map(BTreeSet::len).sum::<usize>()
            && seeking == self.siblings.seeking.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Whether a connection is protected as a new one of that queue would be: the same was asked
    /// for, names of certificates included, and would be now.
    fn is_protected_for(&self, conn: ConnId, to: usize) -> bool {
        let Some(outbound) = self.outbound.get(&conn) else { return false };
        match self.tls_at(to, outbound.remote().ip()) {
            TlsAt::Try(asked) | TlsAt::Wait(asked) => outbound.asked() == Some(&asked),
            TlsAt::Clear(_) => outbound.asked().is_none(),
            TlsAt::Unfit(_) => false,
        }
    }

    /// Makes a free session one of another queue: all that counts for it moves along. The queue
    /// keeps its place in line until it has taken its turn with the session.
    fn migrate(&mut self, conn: ConnId, to: usize) {
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        let from = core::mem::replace(&mut outbound.queue, to);
        let (remote, exchange) = (outbound.remote(), outbound.exchange().clone());
        self.move_to_gates_of(conn, to);
        let queue = &mut self.queues[from];
        queue.connection_gone();
        queue.connected -= 1;
        queue.ready -= 1;
        let from_pair = queue.pair.clone();
        let queue = &mut self.queues[to];
        queue.connections += 1;
        queue.connected += 1;
        queue.ready += 1;
        queue.trying_since = None;
        let (to_pair, open) = (queue.pair.clone(), queue.connected);
        let (from_slot, from, to_slot, to) = (from, from_pair, to, to_pair);
        self.record(Event::ConnectionMigrated { conn, from, to, remote, exchange, open });
        self.touch(from_slot);
        self.touch(to_slot);
    }
}

/// Every place a plan leads to, best first.
fn spots_of<'a>(plan: &'a Plan, binding: &'a Arc<str>) -> impl Iterator<Item = Spot> + 'a {
    plan.exchanges.iter().flat_map(move |exchange| {
        exchange.addresses.iter().map(move |address| Spot {
            binding: binding.clone(),
            exchange: exchange.name.clone(),
            address: *address,
        })
    })
}

/// Whether what a queue waits for is a connection, and a sibling's would do.
fn waits_for_connection(reason: QueueReason) -> bool {
    match reason {
        QueueReason::ServerMaxOutboundConnections
        | QueueReason::ScopeMaxOutboundConnections
        | QueueReason::HostMaxOutboundConnections
        | QueueReason::ThrottledConnections { .. } => true,
        // Nothing to send, nothing to be sent now, or nowhere to send it.
        QueueReason::Empty
        | QueueReason::Delayed { .. }
        | QueueReason::Suspended
        | QueueReason::SuspendedByOperator { .. }
        | QueueReason::DefaultBindingSuspended
        | QueueReason::SpoolBehind
        | QueueReason::Draining
        | QueueReason::Resolving
        | QueueReason::LookupInLine
        | QueueReason::DnsFailed { .. }
        | QueueReason::ThrottledMessages { .. }
        | QueueReason::HostsSetAside { .. }
        | QueueReason::Probing
        // As many connections as the queue wants or may have.
        | QueueReason::ConnectionGoal
        | QueueReason::MaxOutboundConnections => false,
    }
}
