//! Every invariant counted anew, from scratch.
//!
//! The engine keeps its counters as it goes; here each is recomputed from what it counts. Slow, and
//! meant to be: simulations call it, a disagreement is a bug of ours.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::delivery::Outbound;
use crate::engine::Engine;
use crate::ids::MessageId;
use crate::queue::reason::QueueReason;
use crate::record::Pair;
use crate::timers::TimerHandle;

/// An invariant that does not hold: a bug of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What was found.
    pub details: String,
}

/// What is recounted. `planted` shows of each that it can be found broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// Recipients are in one place each.
    Conservation,
    /// Envelopes are ready as long as somebody holds them.
    Residency,
    /// Mail waits only for bindings that there are.
    Bindings,
    /// Counters of a queue.
    Counters,
    /// Caps, and who counts towards them.
    Caps,
    /// Who tries TLS anew.
    Tls,
    /// Notes for the spool.
    Bookkeeping,
    /// Who is to be told.
    Notices,
    /// Whoever waits is woken.
    Liveness,
}

impl Invariant {
    const fn name(self) -> &'static str {
        match self {
            Self::Conservation => "conservation",
            Self::Residency => "residency",
            Self::Bindings => "bindings",
            Self::Counters => "counters",
            Self::Caps => "caps",
            Self::Tls => "tls",
            Self::Bookkeeping => "bookkeeping",
            Self::Notices => "notices",
            Self::Liveness => "liveness",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.details)
    }
}

impl Engine {
    /// Recounts every invariant.
    ///
    /// # Errors
    ///
    /// The first one that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_conservation()?;
        self.check_bindings()?;
        self.check_connections()?;
        self.check_shared_caps()?;
        self.check_tls_probes()?;
        self.check_bookkeeping()?;
        self.check_notices()?;
        self.check_liveness()
    }

    /// Each recipient of a message in care is in exactly one place.
    fn check_conservation(&self) -> Result<(), Violation> {
        let mut found: BTreeMap<MessageId, (Vec<u32>, u32)> = BTreeMap::new();
        let waiting = self.queues.iter().flat_map(|(_, queue)| queue.waiting());
        let in_flight = self.outbound.values().filter_map(Outbound::in_flight);
        for batch in waiting.chain(in_flight) {
            ensure(self.messages.contains(batch.message), Invariant::Conservation, || {
                format!("message {} is queued but not in care", batch.message)
            })?;
            ensure(!batch.recipients.is_empty(), Invariant::Conservation, || {
                format!("an empty batch of message {}", batch.message)
            })?;
            let (recipients, holders) = found.entry(batch.message).or_default();
            recipients.extend(&batch.recipients);
            *holders += u32::from(batch.open);
        }
        for (message, recipients) in self.notices.held() {
            found.entry(message).or_default().0.extend(recipients);
        }
        for (message, remaining, holders) in self.messages.counts() {
            let (mut recipients, found) = found.remove(&message).unwrap_or_default();
            ensure(holders == found, Invariant::Residency, || {
                format!("message {message} is held open by {holders}, found {found}")
            })?;
            let count = recipients.len();
            recipients.sort_unstable();
            recipients.dedup();
            ensure(count == recipients.len(), Invariant::Conservation, || {
                format!("a recipient of message {message} is in two places: {recipients:?}")
            })?;
            ensure(count == remaining as usize, Invariant::Conservation, || {
                format!("message {message} has {remaining} recipients left, {count} are queued")
            })?;
        }
        let (kept, found) = (self.messages.open(), self.messages.recount_open());
        ensure(kept == found, Invariant::Residency, || {
            format!("{kept} envelopes are counted open, found {found}")
        })?;
        Ok(())
    }

    /// No mail waits where nothing would send it: its binding is configured.
    fn check_bindings(&self) -> Result<(), Violation> {
        for (_, queue) in &self.queues {
            let known = self.config.has_binding(&queue.pair.binding);
            ensure(known || !queue.has_waiting(), Invariant::Bindings, || {
                let Pair { binding, domain } = &queue.pair;
                format!("mail to {domain} waits for {binding}, which is not configured")
            })?;
        }
        Ok(())
    }

    /// Counters agree with the connections there are, and no cap is exceeded.
    fn check_connections(&self) -> Result<(), Violation> {
        for (slot, queue) in &self.queues {
            let of_queue = || self.outbound.values().filter(move |out| out.queue == slot);
            let name = || format!("{}/{}", queue.pair.binding, queue.pair.domain);
            let counted = [
                ("connections", queue.connections, of_queue().count()),
                ("connected", queue.connected, of_queue().filter(|o| o.is_connected()).count()),
                ("ready", queue.ready, of_queue().filter(|o| o.is_ready()).count()),
                ("busy", queue.busy, of_queue().filter(|o| o.in_flight().is_some()).count()),
            ];
            for (what, kept, found) in counted {
                ensure(kept as usize == found, Invariant::Counters, || {
                    format!("{}: {what} is {kept}, found {found}", name())
                })?;
            }
            let recipients = queue.recipients();
            let in_flight: usize =
                of_queue().filter_map(Outbound::in_flight).map(|b| b.recipients.len()).sum();
            let (active, delayed) = queue.recount();
            let found = (active, delayed, in_flight as u64);
            let kept = (recipients.active, recipients.delayed, recipients.in_flight);
            ensure(kept == found, Invariant::Counters, || {
                format!("{}: (active, delayed, in flight) is {kept:?}, found {found:?}", name())
            })?;
            let max = queue.options.max_outbound_connections.max(queue.from_before);
            ensure(queue.connections <= max, Invariant::Caps, || {
                format!("{}: {} connections, cap {max}", name(), queue.connections)
            })?;
        }
        Ok(())
    }

    /// Caps that several queues share are counted right and kept.
    fn check_shared_caps(&self) -> Result<(), Violation> {
        for (key, found, max) in self.count_at_caps() {
            let kept = self.gates.open(&key);
            let ceiling = self.ceiling(&key, max);
            let allowed = self.gates.allowed(&key, ceiling);
            ensure(kept == found && found <= allowed, Invariant::Caps, || {
                format!("{key:?}: counted {kept}, found {found}, cap {ceiling}")
            })?;
        }
        Ok(())
    }

    /// Who tries TLS anew is a connection that exists.
    fn check_tls_probes(&self) -> Result<(), Violation> {
        for conn in self.tls.probes() {
            ensure(self.outbound.contains_key(&conn), Invariant::Tls, || {
                format!("{conn} is to try TLS anew and does not exist")
            })?;
        }
        Ok(())
    }

    /// Senders are told of mail there is, and whoever waits to be told is.
    fn check_notices(&self) -> Result<(), Violation> {
        ensure(self.notices.is_sound(), Invariant::Notices, || {
            "notices wait in line though none is under way".into()
        })?;
        for (message, at, mut recipients) in self.delays.watched() {
            let in_care = self.messages.contains(message);
            ensure(
                in_care && at >= self.now && recipients.next().is_some(),
                Invariant::Notices,
                || format!("a delay of message {message} is to be told at {at}"),
            )?;
        }
        Ok(())
    }

    /// Whoever waits, waits for something that will come.
    fn check_liveness(&self) -> Result<(), Violation> {
        ensure(self.is_sweep_scheduled(), Invariant::Liveness, || {
            "the timer of the reserve does not fit the line at the cap of the server".into()
        })?;
        ensure(
            self.routes.in_line() == 0 || self.lookups_timer.is_some(),
            Invariant::Liveness,
            || format!("{} look-ups in line, and nothing will wake them", self.routes.in_line()),
        )?;
        let forgotten = self.routes.forgotten();
        ensure(forgotten.is_none(), Invariant::Liveness, || {
            format!("{forgotten:?} is looked up, and nobody will tell it what it waits for")
        })?;
        ensure(
            self.holds.timer.map(TimerHandle::at) == self.holds.next_end(),
            Invariant::Liveness,
            || "the timer of suspensions does not fit the first that ends".into(),
        )?;
        ensure(self.knows_siblings(), Invariant::Liveness, || {
            "idle sessions, or queues that wait for one, are not known to their siblings".into()
        })?;
        for (slot, queue) in &self.queues {
            let stuck = |what: &str| {
                let Pair { binding, domain } = &queue.pair;
                let first = queue.waiting().next().map(|batch| batch.message);
                let first = first.map(|id| format!(", message {id} first")).unwrap_or_default();
                let details =
                    format!("{binding}/{domain}: {what}{first}, and nothing will wake the queue");
                Err(Violation { invariant: Invariant::Liveness.name(), details })
            };
            if let Some(due) = queue.next_due()
                && queue.timer.is_none_or(|timer| timer.at() > due)
                && !self.draining
            {
                return stuck("delayed mail");
            }
            if !queue.has_active() {
                continue;
            }
            let woken = match queue.reason {
                QueueReason::Suspended
                | QueueReason::DefaultBindingSuspended
                | QueueReason::Draining => true,
                // It is written again and again.
                QueueReason::SpoolBehind => self.bookkeeping.is_behind(),
                QueueReason::SuspendedByOperator { until } => self.held(slot) == Some(until),
                QueueReason::Resolving | QueueReason::LookupInLine => self.is_resolving(slot),
                // Caps open when a connection ends, throttles with time; whoever is not first in
                // line is woken by who is.
                QueueReason::ServerMaxOutboundConnections
                | QueueReason::ScopeMaxOutboundConnections => queue.ticket.is_some(),
                QueueReason::ThrottledMessages { .. }
                | QueueReason::ThrottledConnections { .. } => queue
                    .ticket
                    .as_ref()
                    .is_some_and(|ticket| queue.timer.is_some() || !self.gates.is_first(ticket)),
                QueueReason::ConnectionGoal => queue.connections > 0,
                QueueReason::MaxOutboundConnections => {
                    queue.connections > 0 || queue.options.max_outbound_connections == 0
                }
                QueueReason::HostsSetAside { .. } | QueueReason::DnsFailed { .. } => {
                    queue.timer.is_some()
                }
                // Another queue's connection probes; its end wakes those who wait.
                QueueReason::Probing => !self.outbound.is_empty(),
                QueueReason::HostMaxOutboundConnections => self.is_capped_at_an_exchange(slot),
                QueueReason::Empty | QueueReason::Delayed { .. } => false,
            };
            if !woken {
                return stuck(&format!("active mail ({})", queue.reason));
            }
        }
        Ok(())
    }

    /// Whether an exchange of a queue has no room: the end of a connection there wakes it. As with
    /// other caps, one of 0 opens when the configuration changes.
    fn is_capped_at_an_exchange(&self, slot: usize) -> bool {
        let plan = self.queues[slot].plan.as_ref();
        plan.is_some_and(|plan| {
            let caps = plan.exchanges.iter().filter_map(|one| self.host_cap(slot, &one.name));
            caps.into_iter().any(|(key, max)| self.gates.open(&key) >= max)
        })
    }
}

pub(crate) fn ensure(
    holds: bool,
    invariant: Invariant,
    details: impl FnOnce() -> String,
) -> Result<(), Violation> {
    match holds {
        true => Ok(()),
        false => Err(Violation { invariant: invariant.name(), details: details() }),
    }
}

#[cfg(test)]
mod planted;
