//! Why the mail of a queue waits, with every number that decides.
//!
//! [`QueueReason`] is what the engine goes by: one word and one instant. For people that is the
//! beginning of an answer; the rest of it, who else draws on a throttle, who holds a cap, what an
//! exchange said, is gathered here when somebody asks.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::Serialize;

use crate::config::effective::{DeliveryOptions, SharedThrottle};
use crate::engine::Engine;
use crate::mx::plan::Usable;
use crate::queue::reason::QueueReason;
use crate::record::Pair;
use crate::sched::goal::connection_goal;
use crate::shaping::gates::{GateKey, GateKind};
use crate::shaping::throttle::Rate;
use crate::smtp::reply::Reply;
use crate::snapshot::QueueSnapshot;
use crate::time::Timestamp;

/// Why the mail of one queue waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The queue, and the reason.
    #[serde(flatten)]
    pub queue: QueueSnapshot,
    /// The numbers behind the reason.
    pub behind: Behind,
}

/// The numbers behind a [`QueueReason`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Behind {
    /// The reason says it all.
    Nothing,
    /// The length of the queue asks for no more connections.
    Goal {
        /// Connections wanted.
        goal: u32,
        /// Transactions waiting or under way, from which that follows.
        transactions: u64,
        /// `max_outbound_connections`.
        max: u32,
    },
    /// A cap on connections is reached.
    Cap(CapStory),
    /// A throttle lets nothing pass.
    Throttle(ThrottleStory),
    /// No exchange can be used.
    Hosts {
        /// Each address of each exchange, best preference first.
        hosts: Vec<HostStory>,
    },
    /// The DNS failed.
    Dns {
        /// Look-ups in a row that failed.
        failures: u32,
        /// What came of the last one.
        reply: Reply,
    },
}

/// A cap that is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapStory {
    /// The option.
    pub option: &'static str,
    /// The stanza that sets it, if it counts for more than this pair; empty for the global scope.
    pub stanza: Option<Arc<str>>,
    /// The cap.
    pub max: u32,
    /// Who holds connections under it, those with most first.
    pub holders: Vec<Holder>,
    /// Queues that wait for it and come first.
    pub ahead: u32,
}

/// A queue that holds connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holder {
    /// Which queue.
    #[serde(flatten)]
    pub pair: Pair,
    /// How many.
    pub connections: u32,
}

/// A throttle that is shut.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThrottleStory {
    /// The option.
    pub option: &'static str,
    /// The stanza that sets it; empty for the global scope.
    pub stanza: Arc<str>,
    /// The limit.
    pub rate: Rate,
    /// When it lets the next event pass.
    pub clears_at: Timestamp,
    /// Other queues that draw on it now, with the recipients that wait in them to be sent.
    pub shared_with: Vec<Sharer>,
    /// Queues that wait for it and come first.
    pub ahead: u32,
}

/// A queue that draws on the same throttle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sharer {
    /// Which queue.
    #[serde(flatten)]
    pub pair: Pair,
    /// Recipients that could be sent to now.
    pub active: u64,
}

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostStory {
    /// The exchange's name.
    pub exchange: Arc<str>,
    /// The address.
    pub address: IpAddr,
    /// In a word.
    pub state: HostState,
    /// Until when it is set aside, if it is.
    pub until: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// The words of the last one.
    pub reply: Option<Box<Reply>>,
}

/// Whether an address can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// It can.
    Usable,
    /// It failed, and is tried again with one connection.
    Probing,
    /// It failed (`host_failure_retry`), or the configuration rules it out.
    SetAside,
    /// `max_outbound_connections` of a `host` stanza is reached.
    AtCap,
    /// It does not protect mail as it must be.
    UnfitForTls,
}

impl Engine {
    /// Why mail to a domain waits, for each binding that has any, or for the one asked for. Mail
    /// that goes over a gateway is found in the gateway's queue.
    pub fn why(&self, domain: &str, binding: Option<&str>) -> Vec<Why> {
        let asked = |pair: &Pair| binding.is_none_or(|binding| *pair.binding == *binding);
        let holds = |pair: &Pair| {
            let gateway = || self.config.delivery_options(&pair.binding, domain).gateway;
            *pair.domain == *domain || gateway().is_some_and(|gateway| gateway == pair.domain)
        };
        let queues = self.queue_of.iter().filter(|(pair, _)| asked(pair) && holds(pair));
        queues.map(|(_, slot)| self.why_of(*slot)).collect()
    }

    pub(crate) fn why_of(&self, slot: usize) -> Why {
        let queue = self.queue_snapshot(slot);
        let behind = self.behind(slot, queue.reason);
        Why { queue, behind }
    }

    fn behind(&self, slot: usize, reason: QueueReason) -> Behind {
        let queue = &self.queues[slot];
        let options = &*queue.options;
        match reason {
            QueueReason::Empty
            | QueueReason::Delayed { .. }
            | QueueReason::Suspended
            | QueueReason::DefaultBindingSuspended
            | QueueReason::SuspendedByOperator { .. }
            | QueueReason::SpoolBehind
            | QueueReason::Draining
            | QueueReason::Resolving
            | QueueReason::LookupInLine => Behind::Nothing,
            QueueReason::ConnectionGoal => {
                let (max, transactions) = (options.max_outbound_connections, queue.demand());
                let slope = options.connection_allocation_aggressiveness;
                Behind::Goal { goal: connection_goal(max, slope, transactions), transactions, max }
            }
            QueueReason::MaxOutboundConnections => Behind::Cap(CapStory {
                option: "max_outbound_connections",
                stanza: None,
                max: options.max_outbound_connections,
                holders: [Holder { pair: queue.pair.clone(), connections: queue.connections }]
                    .into(),
                ahead: 0,
            }),
            QueueReason::ServerMaxOutboundConnections
            | QueueReason::ScopeMaxOutboundConnections => self.shared_cap(slot),
            QueueReason::ThrottledMessages { until } => {
                let throttle = options.outbound_throttle_messages.as_ref();
                let of = |options: &DeliveryOptions| options.outbound_throttle_messages.clone();
                self.throttle(slot, GateKind::MessageThrottle, throttle, until, &of)
            }
            QueueReason::ThrottledConnections { until } => {
                let throttle = options.outbound_throttle_connections.as_ref();
                let of = |options: &DeliveryOptions| options.outbound_throttle_connections.clone();
                self.throttle(slot, GateKind::ConnectionThrottle, throttle, until, &of)
            }
            QueueReason::HostsSetAside { .. }
            | QueueReason::Probing
            | QueueReason::HostMaxOutboundConnections => {
                Behind::Hosts { hosts: self.hosts_of(slot) }
            }
            QueueReason::DnsFailed { .. } => match queue.dns_failure.as_deref() {
                Some((failures, reply)) => {
                    Behind::Dns { failures: *failures, reply: reply.clone() }
                }
                None => Behind::Nothing,
            },
        }
    }

    fn shared_cap(&self, slot: usize) -> Behind {
        let queue = &self.queues[slot];
        let Some(key) = queue.ticket.as_ref().map(|ticket| ticket.key()) else {
            return Behind::Nothing;
        };
        let (option, caps) = match key.kind {
            GateKind::ScopeMax => {
                ("scope_max_outbound_connections", &queue.options.scope_max_outbound_connections)
            }
            _ => {
                ("server_max_outbound_connections", &queue.options.server_max_outbound_connections)
            }
        };
        let max = caps.iter().find(|cap| cap.scope == key.scope).map_or(0, |cap| cap.max);
        let mut held: BTreeMap<&Pair, u32> = BTreeMap::new();
        for outbound in self.outbound.values().filter(|outbound| outbound.is_counted_by(key)) {
            *held.entry(&self.queues[outbound.queue].pair).or_default() += 1;
        }
        let holder = |(pair, connections): (&Pair, u32)| Holder { pair: pair.clone(), connections };
        let mut holders: Vec<Holder> = held.into_iter().map(holder).collect();
        holders.sort_by_key(|holder| core::cmp::Reverse(holder.connections));
        let (stanza, ahead) = (Some(key.scope.clone()), self.ahead(slot, key));
        Behind::Cap(CapStory { option, stanza, max, holders, ahead })
    }

    fn throttle(
        &self,
        slot: usize,
        kind: GateKind,
        throttle: Option<&SharedThrottle>,
        clears_at: Timestamp,
        of: &dyn Fn(&DeliveryOptions) -> Option<SharedThrottle>,
    ) -> Behind {
        let Some(throttle) = throttle else { return Behind::Nothing };
        let option = match kind {
            GateKind::MessageThrottle => "outbound_throttle_messages",
            _ => "outbound_throttle_connections",
        };
        let shares = |queue: &crate::queue::Queue| {
            of(&queue.options).is_some_and(|other| other.scope == throttle.scope)
        };
        let others = self.queue_of.values().filter(|other| **other != slot);
        let others = others.map(|other| &self.queues[*other]).filter(|queue| shares(queue));
        let shared_with = others
            .map(|queue| Sharer { pair: queue.pair.clone(), active: queue.recipients().active })
            .collect();
        let key = GateKey { kind, scope: throttle.scope.clone() };
        let (stanza, rate) = (throttle.scope.clone(), throttle.rate);
        let ahead = self.ahead(slot, &key);
        Behind::Throttle(ThrottleStory { option, stanza, rate, clears_at, shared_with, ahead })
    }

    /// How many come before a queue in a line.
    fn ahead(&self, slot: usize, key: &GateKey) -> u32 {
        self.gates.line(key).take_while(|other| *other != slot).count() as u32
    }

    fn hosts_of(&self, slot: usize) -> Vec<HostStory> {
        let queue = &self.queues[slot];
        let Some(plan) = &queue.plan else { return Vec::new() };
        let mut hosts = Vec::new();
        for exchange in &plan.exchanges {
            for address in exchange.addresses.iter().copied() {
                let health = self.hosts.story(&queue.pair.binding, address, self.now);
                hosts.push(HostStory {
                    exchange: exchange.name.clone(),
                    address,
                    state: match self.usable(slot, exchange, address) {
                        Usable::Yes => HostState::Usable,
                        Usable::Busy => HostState::Probing,
                        Usable::SetAside => HostState::SetAside,
                        Usable::AtCap => HostState::AtCap,
                        Usable::Unfit => HostState::UnfitForTls,
                    },
                    until: self.hosts.aside_until(&queue.pair.binding, address, self.now),
                    failures: health.map_or(0, |(failures, _)| failures),
                    reply: health.and_then(|(_, reply)| reply.map(|reply| Box::new(reply.clone()))),
                });
            }
        }
        hosts
    }
}
