//! How a queue gets its turn at the limits it shares with others.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::effective::{DeliveryOptions, SharedThrottle};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::marks::Mark;
use crate::queue::reason::QueueReason;
use crate::shaping::gates::{GateKey, GateKind, Place, Ticket, Turn};
use crate::time::Timestamp;

impl Engine {
    /// Why no message of a queue may be sent now, if `outbound_throttle_messages` says so. The
    /// queue is in line then.
    pub(crate) fn message_throttle_shut(&mut self, slot: usize) -> Option<QueueReason> {
        let throttle = self.queues[slot].options.outbound_throttle_messages.clone()?;
        let until = self.throttle_shut(slot, GateKind::MessageThrottle, &throttle)?;
        Some(QueueReason::ThrottledMessages { until })
    }

    /// The cap on connections to an exchange that a `host` stanza sets.
    pub(crate) fn host_cap(&self, slot: usize, exchange: &str) -> Option<(GateKey, u32)> {
        let cap = self.config.host_cap(&self.queues[slot].pair.binding, exchange)?;
        // A stanza with a pattern caps each exchange that matches by itself.
        let scope = format!("{} {exchange}", cap.scope).into();
        Some((GateKey { kind: GateKind::HostMax, scope }, cap.max))
    }

    /// Has a queue told when an exchange has room again.
    pub(crate) fn watch_host(&mut self, slot: usize, exchange: &str) {
        if let Some((key, _)) = self.host_cap(slot, exchange) {
            self.gates.watch(&key, slot);
        }
    }

    /// Why no connection may be opened for a queue now, if a cap or throttle that it shares says
    /// so. The queue is in line then.
    pub(crate) fn connection_gate_shut(&mut self, slot: usize) -> Option<QueueReason> {
        let options = self.queues[slot].options.clone();
        for (key, max) in caps(&options) {
            let ticket = self.queues[slot].ticket.as_ref();
            let (turn, kept, max) = match self.reserved_for(slot, &key) {
                Some(reserved) => (true, 0, reserved),
                None => {
                    (self.gates.is_turn_of(&key, ticket), self.gates.kept_from(&key, ticket), max)
                }
            };
            if !turn || self.gates.open(&key).saturating_add(kept) >= max {
                self.line_up(slot, &key);
                return Some(match key.kind {
                    GateKind::ScopeMax => QueueReason::ScopeMaxOutboundConnections,
                    _ => QueueReason::ServerMaxOutboundConnections,
                });
            }
        }
        if let Some(reason) = self.message_throttle_shut(slot) {
            return Some(reason);
        }
        let throttle = options.outbound_throttle_connections.as_ref()?;
        let until = self.throttle_shut(slot, GateKind::ConnectionThrottle, throttle)?;
        Some(QueueReason::ThrottledConnections { until })
    }

    /// A connection is opened: it counts towards every cap, and its first message's place in
    /// `outbound_throttle_messages` is kept for it.
    pub(crate) fn pass_connection_gates(&mut self, slot: usize, exchange: &str) -> Passed {
        let caps = self.enter_caps(slot, exchange);
        let options = self.queues[slot].options.clone();
        if let Some(throttle) = &options.outbound_throttle_connections {
            self.gates.charge(&key(GateKind::ConnectionThrottle, &throttle.scope), self.now, 1);
        }
        let queue = &mut self.queues[slot];
        let ticket = queue.ticket.as_ref().map(Ticket::turn);
        let turn = ticket.or_else(|| queue.lost_turns.pop_first());
        let turn = turn.unwrap_or_else(|| self.gates.new_turn());
        let place = self.charge_messages(slot, 1);
        self.leave_line(slot);
        Passed { caps, reserved: place.map(|place| Reserved { place, turn }) }
    }

    /// A connection of a queue to an exchange counts towards every cap there is now; these it will
    /// have to leave, whatever the options are by then.
    pub(crate) fn enter_caps(&mut self, slot: usize, exchange: &str) -> Vec<GateKey> {
        let of_host = self.host_cap(slot, exchange);
        let keys = caps(&self.queues[slot].options).chain(of_host).map(|(key, _)| key);
        let keys: Vec<GateKey> = keys.collect();
        for key in &keys {
            self.gates.enter(key);
        }
        keys
    }

    /// Whether a session of a sibling may count for a queue. At a cap that it counts towards
    /// already nothing changes, at others there must be room; it must be the queue's turn at all of
    /// them, and a message must be allowed to pass.
    pub(crate) fn may_take_over(&mut self, conn: ConnId, slot: usize) -> bool {
        let Some(outbound) = self.outbound.get(&conn) else { return false };
        let ticket = self.queues[slot].ticket.as_ref();
        let options = self.queues[slot].options.clone();
        let of_host = self.host_cap(slot, outbound.exchange());
        let allowed = caps(&options).chain(of_host).all(|(key, max)| {
            let counts_already = u32::from(outbound.passed.caps.contains(&key));
            let others = self.gates.open(&key).saturating_sub(counts_already);
            let kept = self.gates.kept_from(&key, ticket);
            others.saturating_add(kept) < max && self.gates.is_turn_of(&key, ticket)
        });
        allowed && self.may_message_pass(slot)
    }

    fn may_message_pass(&mut self, slot: usize) -> bool {
        let queue = &self.queues[slot];
        let Some(throttle) = &queue.options.outbound_throttle_messages else { return true };
        let key = key(GateKind::MessageThrottle, &throttle.scope);
        let (_, room) = self.gates.throttle(&key, throttle.rate, self.now);
        let ticket = queue.ticket.as_ref();
        room > self.gates.kept_from(&key, ticket) && self.gates.is_turn_of(&key, ticket)
    }

    /// A connection counts for another queue from now on. A place kept for its first message is
    /// given back.
    pub(crate) fn move_to_gates_of(&mut self, conn: ConnId, slot: usize) {
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        let exchange = outbound.exchange().clone();
        let left = core::mem::take(&mut outbound.passed);
        let caps = self.enter_caps(slot, &exchange);
        if let Some(outbound) = self.outbound.get_mut(&conn) {
            outbound.passed = Passed { caps, reserved: None };
        }
        self.release_connection_gates(left);
    }

    /// A connection is gone, and with it a place kept for a message that was never sent.
    pub(crate) fn release_connection_gates(&mut self, passed: Passed) {
        for key in &passed.caps {
            let first = self.gates.leave(key);
            let watchers = self.gates.take_watchers(key);
            self.touch_all(watchers);
            if let Some(first) = first {
                self.touch(first);
            }
        }
        if let Some(reserved) = passed.reserved {
            self.refund_messages(&reserved.place, 1);
        }
    }

    /// How many recipients a session may send to now. 0 gets the queue in line.
    pub(crate) fn message_budget(&mut self, slot: usize, reserved: Option<Place>) -> u32 {
        let options = self.queues[slot].options.clone();
        let throttle = options.outbound_throttle_messages.as_ref();
        let key_now = throttle.map(|throttle| key(GateKind::MessageThrottle, &throttle.scope));
        // A place at a throttle that is another's by now is of no use.
        let (mine, foreign): (Option<Place>, _) = match reserved {
            Some(place) if Some(&place.key) == key_now.as_ref() => (Some(place), None),
            other => (None, other),
        };
        if let Some(place) = foreign {
            self.refund_messages(&place, 1);
        }
        let (Some(throttle), Some(key)) = (throttle, key_now) else { return u32::MAX };
        // The place kept for the first message moves from the opening of the connection to now,
        // when the message is sent. If it has left the window meanwhile, or the limit was lowered,
        // it is lost.
        if let Some(place) = mine
            && self.gates.refund(&key, place.at, self.now).is_some()
            && let (_, room @ 1..) = self.gates.throttle(&key, throttle.rate, self.now)
        {
            return room.saturating_sub(self.kept_from(slot, &key)).max(1);
        }
        match self.throttle_shut(slot, GateKind::MessageThrottle, throttle) {
            Some(_) => 0,
            None => {
                let (_, room) = self.gates.throttle(&key, throttle.rate, self.now);
                room.saturating_sub(self.kept_from(slot, &key))
            }
        }
    }

    /// So many recipients are being sent to. Answers with the places they took.
    pub(crate) fn charge_messages(&mut self, slot: usize, recipients: u32) -> Option<Place> {
        let throttle = self.queues[slot].options.outbound_throttle_messages.as_ref()?;
        let key = key(GateKind::MessageThrottle, &throttle.scope);
        self.gates.charge(&key, self.now, recipients);
        // A turn at this gate is over; a place in line at another is kept.
        if self.queues[slot].ticket.as_ref().is_some_and(|ticket| ticket.is_for(&key)) {
            self.leave_line(slot);
            self.touch(slot);
        }
        Some(Place { key, at: self.now })
    }

    /// So many recipients were not sent to after all.
    pub(crate) fn refund_messages(&mut self, place: &Place, recipients: u32) {
        self.marks.hit(Mark::Refunded);
        for _ in 0..recipients {
            if let Some(Some(first)) = self.gates.refund(&place.key, place.at, self.now) {
                self.touch(first);
            }
        }
    }

    /// A queue that has passed, or wants nothing any more, makes room for the next in line.
    pub(crate) fn leave_line(&mut self, slot: usize) {
        if let Some(ticket) = self.queues[slot].ticket.take()
            && let Some(first) = self.gates.give_up(ticket)
        {
            self.touch(first);
        }
    }

    /// A queue that must ask the DNS anew lets others go before it, and keeps its turn.
    pub(crate) fn step_aside(&mut self, slot: usize) {
        if let Some(ticket) = &self.queues[slot].ticket
            && let Some(first) = self.gates.step_aside(ticket)
        {
            self.marks.hit(Mark::SteppedAside);
            self.touch(first);
        }
    }

    fn kept_from(&self, slot: usize, key: &GateKey) -> u32 {
        self.gates.kept_from(key, self.queues[slot].ticket.as_ref())
    }

    /// Until when a throttle is shut for a queue, which is in line then.
    fn throttle_shut(
        &mut self,
        slot: usize,
        kind: GateKind,
        throttle: &SharedThrottle,
    ) -> Option<Timestamp> {
        let key = key(kind, &throttle.scope);
        let (until, room) = self.gates.throttle(&key, throttle.rate, self.now);
        let ticket = self.queues[slot].ticket.as_ref();
        if room > self.gates.kept_from(&key, ticket) && self.gates.is_turn_of(&key, ticket) {
            return None;
        }
        self.line_up(slot, &key);
        Some(until)
    }

    fn line_up(&mut self, slot: usize, key: &GateKey) {
        let queue = &mut self.queues[slot];
        let next = self.gates.line_up(key, slot, &mut queue.ticket);
        if key.kind == GateKind::MessageThrottle
            && let Some(ticket) = &mut queue.ticket
            && let Some(turn) =
                queue.lost_turns.first().copied().filter(|lost| *lost < ticket.turn())
        {
            // The turn it waited for so far comes after that one.
            queue.lost_turns.remove(&turn);
            queue.lost_turns.insert(ticket.turn());
            self.gates.move_forward(ticket, turn);
        }
        if let Some(next) = next {
            self.touch(next);
        }
    }

    /// A session that may send nothing, although a place was kept for its first message: it took
    /// longer to come up than the window is long. The queue gets that turn again, and the session
    /// waits for it, however short `idle_timeout` is. Answers with how much longer that may take;
    /// after a reload that made the window longer, no longer than the connection took.
    pub(crate) fn turn_was_lost(&mut self, slot: usize, reserved: &Reserved) -> Option<Duration> {
        let queue = &mut self.queues[slot];
        let throttle = queue.options.outbound_throttle_messages.as_ref()?;
        let (key, window) = (key(GateKind::MessageThrottle, &throttle.scope), throttle.rate.per);
        queue.lost_turns.insert(reserved.turn);
        self.line_up(slot, &key);
        self.marks.hit(Mark::TurnLost);
        Some(window.min(self.now.saturating_since(reserved.place.at)))
    }

    /// Whether the counters of caps agree with the connections there are, for recounts.
    pub(crate) fn count_at_caps(&self) -> impl Iterator<Item = (GateKey, u32, u32)> {
        let mut found: BTreeMap<GateKey, (u32, u32)> = BTreeMap::new();
        for outbound in self.outbound.values() {
            let of_host = self.host_cap(outbound.queue, outbound.exchange());
            for (key, max) in caps(&self.queues[outbound.queue].options).chain(of_host) {
                let place = found.entry(key).or_insert((0, max));
                *place = (place.0 + 1, place.1.min(max));
            }
        }
        found.into_iter().map(|(key, (count, max))| (key, count, max))
    }
}

/// The gates a connection has passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The caps it counts towards until it is gone.
    pub(crate) caps: Vec<GateKey>,
    /// What is kept for its first message.
    pub(crate) reserved: Option<Reserved>,
}

/// A place in `outbound_throttle_messages`, kept for the first message of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    /// The place.
    pub(crate) place: Place,
    /// The turn at which the queue got it.
    turn: Turn,
}

/// The caps a pair shares with others, the narrow ones first: who waits at one of those is not in
/// the way of others at the cap of the server.
fn caps(options: &DeliveryOptions) -> impl Iterator<Item = (GateKey, u32)> {
    let server = options.server_max_outbound_connections.iter();
    let scope = options.scope_max_outbound_connections.iter();
    scope
        .map(|cap| (key(GateKind::ScopeMax, &cap.scope), cap.max))
        .chain(server.map(|cap| (key(GateKind::ServerMax, &cap.scope), cap.max)))
}

fn key(kind: GateKind, scope: &Arc<str>) -> GateKey {
    GateKey { kind, scope: scope.clone() }
}
