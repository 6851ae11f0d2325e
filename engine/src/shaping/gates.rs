//! Gates: what several queues share, and how they take turns at it.
//!
//! A cap that is added up over many pairs and a throttle that many pairs fall back to are both a
//! gate. Who finds a gate shut gets in line and waits at no other. The line is first come, first
//! served, one unit a turn: who has passed and wants more goes to its end. Who passes one gate and
//! finds the next one shut has waited since the first: it moves there with its number, and is
//! before all who came later. Who must ask the DNS anew before its turn steps aside: others go on,
//! but leave one unit for it. Who had its turn and could not use it in time, since its connection
//! took too long to come up, gets that turn again. So nobody starves, however long the queues of
//! others are, and however much sooner their answers come.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use super::history::{ShapingHistory, ThrottleHistory, ThrottleKind};
use super::throttle::{Rate, Throttle};
use crate::time::Timestamp;

/// Which gate: the option and the stanza that sets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GateKey {
    /// The kind of limit.
    pub(crate) kind: GateKind,
    /// The stanza.
    pub(crate) scope: Arc<str>,
}

/// The kinds of limits that are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GateKind {
    /// `server_max_outbound_connections`.
    ServerMax,
    /// `scope_max_outbound_connections`.
    ScopeMax,
    /// `max_outbound_connections` of a `host` stanza, for each exchange by itself.
    HostMax,
    /// `outbound_throttle_connections`.
    ConnectionThrottle,
    /// `outbound_throttle_messages`.
    MessageThrottle,
}

impl GateKind {
    /// The throttle it is, if it is one.
    const fn throttle(self) -> Option<ThrottleKind> {
        match self {
            Self::ServerMax | Self::ScopeMax | Self::HostMax => None,
            Self::ConnectionThrottle => Some(ThrottleKind::Connections),
            Self::MessageThrottle => Some(ThrottleKind::Messages),
        }
    }
}

/// A place that was taken in the window of a throttle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which throttle.
    pub(crate) key: GateKey,
    /// When.
    pub(crate) at: Timestamp,
}

/// When a queue's turn was, among those of all gates: lower numbers are before higher ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// A place in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    key: GateKey,
    number: u64,
}

impl Ticket {
    /// The gate.
    pub(crate) const fn key(&self) -> &GateKey {
        &self.key
    }

    /// Its turn.
    pub(crate) const fn turn(&self) -> Turn {
        Turn(self.number)
    }

    /// Whether it is a place in line at that gate.
    pub(crate) fn is_for(&self, key: &GateKey) -> bool {
        self.key == *key
    }
}

/// All gates that were ever asked for.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: BTreeMap<GateKey, Gate>,
    next_number: u64,
    /// A throttle was charged since this was asked last.
    charged: bool,
}

#[derive(Debug)]
struct Gate {
    /// Connections that count towards a cap.
    open: u32,
    /// Those of them from before the cap was lowered: so many may exceed it.
    from_before: u32,
    throttle: Throttle,
    /// Slots in line, by number.
    line: BTreeMap<u64, usize>,
    /// Numbers of those who stepped aside, and come back: a unit is left for each.
    aside: BTreeSet<u64>,
    /// Slots that want to know when a connection is gone, without a place in line: they may have
    /// other exchanges to go to.
    watchers: BTreeSet<usize>,
}

impl Gates {
    /// Connections that count towards a cap.
    pub(crate) fn open(&self, key: &GateKey) -> u32 {
        self.gates.get(key).map_or(0, |gate| gate.open)
    }

    /// Counts a connection towards a cap.
    pub(crate) fn enter(&mut self, key: &GateKey) {
        self.gate(key).open += 1;
    }

    /// A connection that counted is gone. Returns who is first in line.
    pub(crate) fn leave(&mut self, key: &GateKey) -> Option<usize> {
        let gate = self.gate(key);
        gate.open -= 1;
        gate.from_before = gate.from_before.min(gate.open);
        gate.first()
    }

    /// Limits may have changed: whatever is open is so rightly. Nobody watches any more, since
    /// everybody looks anew.
    pub(crate) fn reload(&mut self) {
        for gate in self.gates.values_mut() {
            gate.from_before = gate.open;
            gate.watchers.clear();
        }
    }

    /// How many connections may be open under a cap of `max`: those from before a reload may
    /// exceed it.
    pub(crate) fn allowed(&self, key: &GateKey, max: u32) -> u32 {
        self.gates.get(key).map_or(max, |gate| gate.from_before.max(max))
    }

    /// Has a queue told when a connection that counts is gone.
    pub(crate) fn watch(&mut self, key: &GateKey, slot: usize) {
        self.gate(key).watchers.insert(slot);
    }

    /// Those who wanted to know.
    pub(crate) fn take_watchers(&mut self, key: &GateKey) -> BTreeSet<usize> {
        core::mem::take(&mut self.gate(key).watchers)
    }

    /// When a throttle lets the next event pass, and how many may pass now.
    pub(crate) fn throttle(
        &mut self,
        key: &GateKey,
        rate: Rate,
        now: Timestamp,
    ) -> (Timestamp, u32) {
        let gate = self.gate(key);
        if gate.throttle.rate() != rate {
            gate.throttle.set_rate(rate);
        }
        (gate.throttle.ready_at(now), gate.throttle.room(now))
    }

    /// Notes events at a throttle.
    pub(crate) fn charge(&mut self, key: &GateKey, now: Timestamp, events: u32) {
        let gate = self.gate(key);
        for _ in 0..events {
            gate.throttle.charge(now);
        }
        self.charged = true;
    }

    /// Whether a throttle was charged since this was asked last.
    pub(crate) fn take_charged(&mut self) -> bool {
        core::mem::take(&mut self.charged)
    }

    /// What the throttles have let pass, to be [restored](Self::restore).
    pub(crate) fn history(&self, now: Timestamp) -> ShapingHistory {
        let throttles = self.gates.iter().filter_map(|(key, gate)| {
            let passed = gate.throttle.coarse(now);
            let (scope, rate) = (key.scope.clone(), gate.throttle.rate());
            let kind = key.kind.throttle().filter(|_| !passed.is_empty())?;
            Some(ThrottleHistory { kind, scope, rate, passed })
        });
        ShapingHistory { throttles: throttles.collect() }
    }

    /// Takes over what the throttles of an earlier process have let pass.
    pub(crate) fn restore(&mut self, history: &ShapingHistory, now: Timestamp) {
        for ThrottleHistory { kind, scope, rate, passed } in &history.throttles {
            let kind = match kind {
                ThrottleKind::Messages => GateKind::MessageThrottle,
                ThrottleKind::Connections => GateKind::ConnectionThrottle,
            };
            let key = GateKey { kind, scope: scope.clone() };
            self.gate(&key).throttle = Throttle::restored(*rate, passed, now);
        }
    }

    /// Takes back an event noted at `at` that did not happen after all. `None` when it has left
    /// the window already; else who is first in line.
    pub(crate) fn refund(
        &mut self,
        key: &GateKey,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<Option<usize>> {
        let gate = self.gate(key);
        gate.throttle.refund(at, now).then(|| gate.first())
    }

    /// Whether it is a queue's turn: nobody is in line, or nobody there has waited longer.
    pub(crate) fn is_turn_of(&self, key: &GateKey, ticket: Option<&Ticket>) -> bool {
        let Some(gate) = self.gates.get(key) else { return true };
        match gate.line.first_key_value() {
            None => true,
            Some((first, _)) => ticket.is_some_and(|ticket| ticket.number <= *first),
        }
    }

    /// How many units are to be left for those who stepped aside and were before the holder of a
    /// ticket, or before somebody without one.
    pub(crate) fn kept_from(&self, key: &GateKey, ticket: Option<&Ticket>) -> u32 {
        let number = ticket.map_or(u64::MAX, |ticket| ticket.number);
        self.gates.get(key).map_or(0, |gate| gate.aside.range(..number).count() as u32)
    }

    /// A queue in line cannot go on before the DNS has answered: it is in nobody's way meanwhile.
    /// Returns who is first in line now, if that has changed.
    pub(crate) fn step_aside(&mut self, ticket: &Ticket) -> Option<usize> {
        let gate = self.gates.get_mut(&ticket.key)?;
        let was_first = gate.is_first(ticket.number);
        gate.line.remove(&ticket.number)?;
        gate.aside.insert(ticket.number);
        if was_first { gate.first() } else { None }
    }

    /// Gets a queue in line, unless it is already. From another line it comes with its number;
    /// returns who is first there now, if that has changed.
    pub(crate) fn line_up(
        &mut self,
        key: &GateKey,
        slot: usize,
        ticket: &mut Option<Ticket>,
    ) -> Option<usize> {
        if let Some(ticket) = ticket.as_ref().filter(|ticket| ticket.key == *key) {
            let gate = self.gate(key);
            if gate.aside.remove(&ticket.number) {
                gate.line.insert(ticket.number, slot);
            }
            return None;
        }
        let number = ticket.as_ref().map_or(self.next_number + 1, |ticket| ticket.number);
        self.next_number = self.next_number.max(number);
        let next = ticket.take().and_then(|elsewhere| self.give_up(elsewhere));
        self.gate(key).line.insert(number, slot);
        *ticket = Some(Ticket { key: key.clone(), number });
        next
    }

    /// A turn for a queue that passed without being in line.
    pub(crate) fn new_turn(&mut self) -> Turn {
        self.next_number += 1;
        Turn(self.next_number)
    }

    /// Moves a queue in line forward to an earlier turn that it has had before.
    pub(crate) fn move_forward(&mut self, ticket: &mut Ticket, turn: Turn) {
        let Some(gate) = self.gates.get_mut(&ticket.key) else { return };
        if let Some(slot) = gate.line.remove(&ticket.number) {
            gate.line.insert(turn.0, slot);
            ticket.number = turn.0;
        }
    }

    /// Takes a queue out of its line. Returns who is first there now, if that has changed.
    pub(crate) fn give_up(&mut self, ticket: Ticket) -> Option<usize> {
        let gate = self.gates.get_mut(&ticket.key)?;
        let was_first = gate.is_first(ticket.number);
        gate.line.remove(&ticket.number);
        // The unit that was left for it is free.
        let was_aside = gate.aside.remove(&ticket.number);
        if was_first || was_aside { gate.first() } else { None }
    }

    /// Whether anybody is in line.
    pub(crate) fn has_line(&self, key: &GateKey) -> bool {
        self.gates.get(key).is_some_and(|gate| !gate.line.is_empty())
    }

    /// Who is in line, longest waiting first.
    pub(crate) fn line(&self, key: &GateKey) -> impl Iterator<Item = usize> {
        self.gates.get(key).into_iter().flat_map(|gate| gate.line.values().copied())
    }

    /// Whether nobody comes before the holder of a ticket: nobody in line, and nobody who stepped
    /// aside and will be heard of.
    pub(crate) fn is_first(&self, ticket: &Ticket) -> bool {
        self.is_turn_of(&ticket.key, Some(ticket)) && self.kept_from(&ticket.key, Some(ticket)) == 0
    }

    fn gate(&mut self, key: &GateKey) -> &mut Gate {
        self.gates.entry(key.clone()).or_insert_with(|| Gate {
            open: 0,
            from_before: 0,
            throttle: Throttle::new(Rate { events: 0, per: core::time::Duration::ZERO }),
            line: BTreeMap::new(),
            aside: BTreeSet::new(),
            watchers: BTreeSet::new(),
        })
    }
}

impl Gate {
    fn is_first(&self, number: u64) -> bool {
        self.line.first_key_value().is_some_and(|(first, _)| *first == number)
    }

    fn first(&self) -> Option<usize> {
        self.line.first_key_value().map(|(_, slot)| *slot)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn key(scope: &str) -> GateKey {
        GateKey { kind: GateKind::MessageThrottle, scope: scope.into() }
    }

    #[test]
    fn first_come_first_served() {
        let mut gates = Gates::default();
        let gate = key("global");
        let mut tickets = [None, None, None];
        assert!(gates.is_turn_of(&gate, None));
        for (slot, ticket) in tickets.iter_mut().enumerate() {
            gates.line_up(&gate, slot, ticket);
            gates.line_up(&gate, slot, ticket);
        }
        let [first, second, third] = tickets.map(Option::unwrap);
        assert!(gates.is_turn_of(&gate, Some(&first)));
        assert!(!gates.is_turn_of(&gate, Some(&second)));
        assert!(!gates.is_turn_of(&gate, None));
        // The second loses patience: nobody needs to be told. The first passes: the third is next.
        assert_eq!(gates.give_up(second), None);
        assert_eq!(gates.give_up(first), Some(2));
        assert_eq!(gates.give_up(third), None);
        assert!(gates.is_turn_of(&gate, None));
    }

    #[test]
    fn who_moves_to_another_line_keeps_its_number() {
        let mut gates = Gates::default();
        let (here, there) = (key("here"), key("there"));
        let mut tickets = [None, None, None];
        let [senior, other, junior] = &mut tickets;
        gates.line_up(&here, 1, senior);
        gates.line_up(&here, 2, other);
        gates.line_up(&there, 3, junior);
        assert!(gates.is_turn_of(&there, senior.as_ref()));
        assert!(!gates.is_turn_of(&here, junior.as_ref()));
        assert_eq!(gates.line_up(&there, 1, senior), Some(2));
        assert_eq!(gates.line(&there).collect::<alloc::vec::Vec<_>>(), [1, 3]);
        assert_eq!(gates.line_up(&there, 2, other), None);
        assert_eq!(gates.line(&there).collect::<alloc::vec::Vec<_>>(), [1, 2, 3]);
        assert!(!gates.is_turn_of(&there, None));
    }

    #[test]
    fn a_unit_is_left_for_each_who_stepped_aside_before() {
        let mut gates = Gates::default();
        let gate = key("global");
        let mut tickets = [None, None, None];
        for (slot, ticket) in tickets.iter_mut().enumerate() {
            gates.line_up(&gate, slot, ticket);
        }
        let [first, second, third] = tickets;
        let (one, two, three) = (first.unwrap(), second.unwrap(), third.unwrap());
        assert_eq!(gates.step_aside(&one), Some(1));
        assert_eq!(gates.step_aside(&one), None);
        assert_eq!(gates.step_aside(&two), Some(2));
        // The third may go on, but leaves two units.
        let kept = |gates: &Gates, ticket: Option<&Ticket>| gates.kept_from(&gate, ticket);
        assert!(gates.is_turn_of(&gate, Some(&three)) && !gates.is_first(&three));
        assert_eq!(kept(&gates, Some(&three)), 2);
        assert_eq!((kept(&gates, Some(&one)), kept(&gates, Some(&two))), (0, 1));
        // The second is back before the third, which hears when the first gives up.
        let mut two = Some(two);
        assert_eq!(gates.line_up(&gate, 1, &mut two), None);
        assert!(!gates.is_turn_of(&gate, Some(&three)));
        assert_eq!(gates.give_up(one), Some(1));
        assert_eq!(kept(&gates, None), 0);
        assert!(gates.is_first(&two.unwrap()));
    }

    #[test]
    fn a_turn_that_was_lost_is_had_again_before_those_who_came_later() {
        let mut gates = Gates::default();
        let gate = key("global");
        let lost = gates.new_turn();
        let mut tickets = [None, None];
        for (slot, ticket) in tickets.iter_mut().enumerate() {
            gates.line_up(&gate, slot, ticket);
        }
        let [first, slow] = tickets.map(Option::unwrap);
        let mut slow = slow;
        assert!(gates.is_turn_of(&gate, Some(&first)));
        gates.move_forward(&mut slow, lost);
        assert_eq!(slow.turn(), lost);
        assert!(!gates.is_turn_of(&gate, Some(&first)) && gates.is_turn_of(&gate, Some(&slow)));
        assert_eq!(gates.give_up(slow), Some(0));
    }

    #[test]
    fn caps_count_and_tell_the_first_in_line() {
        let mut gates = Gates::default();
        let gate = GateKey { kind: GateKind::ServerMax, scope: "".into() };
        gates.enter(&gate);
        gates.enter(&gate);
        assert_eq!(gates.open(&gate), 2);
        gates.line_up(&gate, 7, &mut None);
        assert_eq!(gates.leave(&gate), Some(7));
        assert_eq!(gates.open(&gate), 1);
    }

    #[test]
    fn a_throttle_of_the_same_stanza_keeps_its_history_when_its_rate_changes() {
        let mut gates = Gates::default();
        let rate = |events| Rate { events, per: Duration::from_secs(10) };
        let now = Timestamp::from_secs(5);
        assert_eq!(gates.throttle(&key("g"), rate(3), now), (now, 3));
        gates.charge(&key("g"), now, 3);
        assert_eq!(gates.throttle(&key("g"), rate(3), now), (Timestamp::from_secs(15), 0));
        assert_eq!(gates.throttle(&key("other"), rate(3), now), (now, 3));
        assert_eq!(gates.throttle(&key("g"), rate(5), now), (now, 2));
        assert_eq!(gates.refund(&key("g"), now, now), Some(None));
        assert_eq!(gates.throttle(&key("g"), rate(3), now), (now, 1));
    }
}
