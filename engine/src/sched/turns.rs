//! How a queue gets its turn at the limits it shares with others.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;

use crate::config::effective::{DeliveryOptions, SharedThrottle};
use crate::engine::Engine;
use crate::queue::reason::QueueReason;
use crate::shaping::gates::{GateKey, GateKind};
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
            let turn = self.gates.is_turn_of(&key, self.queues[slot].ticket.as_ref());
            if !turn || self.gates.open(&key) >= max {
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
    /// `outbound_throttle_messages` is kept for it. Answers with the instant of that place.
    pub(crate) fn pass_connection_gates(
        &mut self,
        slot: usize,
        exchange: &str,
    ) -> Option<Timestamp> {
        if let Some((key, _)) = self.host_cap(slot, exchange) {
            self.gates.enter(&key);
        }
        let options = self.queues[slot].options.clone();
        for (key, _) in caps(&options) {
            self.gates.enter(&key);
        }
        if let Some(throttle) = &options.outbound_throttle_connections {
            self.gates.charge(&key(GateKind::ConnectionThrottle, &throttle.scope), self.now, 1);
        }
        let reserved = options.outbound_throttle_messages.as_ref().map(|throttle| {
            self.gates.charge(&key(GateKind::MessageThrottle, &throttle.scope), self.now, 1);
            self.now
        });
        self.leave_line(slot);
        reserved
    }

    /// A connection is gone, and with it a place kept for a message that was never sent.
    pub(crate) fn release_connection_gates(
        &mut self,
        slot: usize,
        exchange: &str,
        reserved: Option<Timestamp>,
    ) {
        if let Some((key, _)) = self.host_cap(slot, exchange) {
            self.gates.leave(&key);
            let watchers = self.gates.take_watchers(&key);
            self.touch_all(watchers);
        }
        let options = self.queues[slot].options.clone();
        for (key, _) in caps(&options) {
            if let Some(first) = self.gates.leave(&key) {
                self.touch(first);
            }
        }
        if let Some(at) = reserved {
            self.refund_messages(slot, at, 1);
        }
    }

    /// How many recipients a session may send to now. 0 gets the queue in line.
    pub(crate) fn message_budget(&mut self, slot: usize, reserved: Option<Timestamp>) -> u32 {
        let options = self.queues[slot].options.clone();
        let Some(throttle) = &options.outbound_throttle_messages else { return u32::MAX };
        let key = key(GateKind::MessageThrottle, &throttle.scope);
        // The place kept for the first message moves from the opening of the connection to now,
        // when the message is sent. If it has left the window meanwhile, it is lost.
        if let Some(at) = reserved
            && self.gates.refund(&key, at, self.now).is_some()
        {
            let (_, room) = self.gates.throttle(&key, throttle.rate, self.now);
            return room.max(1);
        }
        match self.throttle_shut(slot, GateKind::MessageThrottle, throttle) {
            Some(_) => 0,
            None => self.gates.throttle(&key, throttle.rate, self.now).1,
        }
    }

    /// So many recipients are being sent to.
    pub(crate) fn charge_messages(&mut self, slot: usize, recipients: u32) {
        if let Some(throttle) = &self.queues[slot].options.outbound_throttle_messages {
            let key = key(GateKind::MessageThrottle, &throttle.scope);
            self.gates.charge(&key, self.now, recipients);
            self.leave_line(slot);
        }
    }

    /// So many recipients were not sent to after all.
    pub(crate) fn refund_messages(&mut self, slot: usize, at: Timestamp, recipients: u32) {
        let Some(throttle) = &self.queues[slot].options.outbound_throttle_messages else { return };
        let key = key(GateKind::MessageThrottle, &throttle.scope);
        for _ in 0..recipients {
            if let Some(Some(first)) = self.gates.refund(&key, at, self.now) {
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

    /// Until when a throttle is shut for a queue, which is in line then.
    fn throttle_shut(
        &mut self,
        slot: usize,
        kind: GateKind,
        throttle: &SharedThrottle,
    ) -> Option<Timestamp> {
        let key = key(kind, &throttle.scope);
        let (until, _) = self.gates.throttle(&key, throttle.rate, self.now);
        if until <= self.now && self.gates.is_turn_of(&key, self.queues[slot].ticket.as_ref()) {
            return None;
        }
        self.line_up(slot, &key);
        Some(until)
    }

    fn line_up(&mut self, slot: usize, key: &GateKey) {
        let mut ticket = self.queues[slot].ticket.take();
        if let Some(elsewhere) = ticket.take_if(|ticket| !ticket.is_for(key))
            && let Some(first) = self.gates.give_up(elsewhere)
        {
            self.touch(first);
        }
        self.gates.line_up(key, slot, &mut ticket);
        self.queues[slot].ticket = ticket;
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

/// The caps a pair shares with others.
fn caps(options: &DeliveryOptions) -> impl Iterator<Item = (GateKey, u32)> {
    let server = options.server_max_outbound_connections.iter();
    let scope = options.scope_max_outbound_connections.iter();
    server
        .map(|cap| (key(GateKind::ServerMax, &cap.scope), cap.max))
        .chain(scope.map(|cap| (key(GateKind::ScopeMax, &cap.scope), cap.max)))
}

fn key(kind: GateKind, scope: &Arc<str>) -> GateKey {
    GateKey { kind, scope: scope.clone() }
}
