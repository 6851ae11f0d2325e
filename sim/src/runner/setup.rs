//! What a scenario's world is built from.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::rng::Seed;

use super::{START, senders};
use crate::body::BodyFactory;
use crate::dns::Zones;
use crate::fault::{self, Disturbance};
use crate::network::Link;
use crate::receiver::model::Receiver;
use crate::receiver::smtp::{Site, Witness};
use crate::receiver::spec::{Drawn, ReceiverSpec};
use crate::report::{DrawnReport, ReceiverReport};
use crate::scenario::Scenario;
use crate::tls::Pki;
use crate::traffic::{Through, TrafficSpec};

/// The parts of a world, before it exists.
pub(super) struct Setup {
    pub(super) seed: Seed,
    pub(super) bodies: BodyFactory,
    pub(super) pki: Arc<Pki>,
    pub(super) zones: Zones,
    /// Our addresses, the default ones first.
    pub(super) sources: Vec<IpAddr>,
    /// The addresses of all exchanges.
    pub(super) addresses: Vec<ExchangeAddress>,
    /// What faults do to links, each with when it begins and how long it lasts.
    pub(super) disturbances: Vec<(Timestamp, Duration, Disturbance)>,
    receivers: Vec<Arc<ReceiverSpec>>,
}

/// One address of an exchange.
pub(super) struct ExchangeAddress {
    pub(super) host: Arc<str>,
    pub(super) socket: SocketAddr,
    pub(super) link: Link,
    /// Position of its receiver.
    receiver: usize,
}

impl Setup {
    pub(super) fn new<'c>(
        scenario: &Scenario,
        configs: impl Iterator<Item = &'c Arc<Config>> + Clone,
        seed: Seed,
    ) -> Self {
        let outages = fault::outages(START, &scenario.faults);
        let with_faults = |spec: &ReceiverSpec| {
            let tls = fault::tls_postures(&scenario.faults, spec);
            Arc::new(ReceiverSpec { tls, ..spec.drawn(seed).0 })
        };
        let told = configs.clone().flat_map(|config| senders::domains(scenario, config)).collect();
        let of_senders = senders::receiver(scenario, told);
        let receivers: Vec<_> = scenario.receivers.iter().cloned().chain(of_senders).collect();
        let zones = Zones::new(scenario.dns.clone(), START, &receivers, outages);
        let mut addresses = Vec::new();
        for (receiver, spec) in receivers.iter().enumerate() {
            let link = Link {
                latency: spec.latency.base,
                jitter: spec.latency.jitter,
                bandwidth: spec.bandwidth.address,
                connection_bandwidth: spec.bandwidth.connection,
            };
            for exchange in &spec.exchanges {
                addresses.extend(exchange.addresses.iter().map(|address| ExchangeAddress {
                    host: Arc::clone(&exchange.host),
                    socket: SocketAddr::new(*address, spec.port),
                    link,
                    receiver,
                }));
            }
        }
        let bound = |binding: &str| {
            let of_config = |config: &'c Arc<Config>| sources_of(scenario, config, binding);
            configs.clone().flat_map(of_config).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let disturbances = scenario
            .faults
            .iter()
            .filter_map(|fault| {
                Some((START + fault.at, fault.length, fault::disturbance(fault, bound)?))
            })
            .collect();
        Self {
            seed,
            bodies: BodyFactory::new(seed),
            pki: Arc::new(Pki::new(seed, START)),
            zones,
            sources: all_sources(scenario, configs.clone()),
            addresses,
            disturbances,
            receivers: receivers.iter().map(with_faults).collect(),
        }
    }
}

impl Setup {
    /// What the exchanges of each receiver share, in the order of the receivers.
    pub(super) fn sites<W: Witness>(&self, witness: &Arc<W>) -> Vec<Arc<Site<W>>> {
        let site = |spec: &Arc<ReceiverSpec>| {
            let receiver = Receiver::new(Arc::clone(spec), self.seed, START);
            let (bodies, pki) = (self.bodies.clone(), Arc::clone(&self.pki));
            Arc::new(Site::new(receiver, bodies, Arc::clone(witness), pki))
        };
        self.receivers.iter().map(site).collect()
    }
}

impl ExchangeAddress {
    /// Position of its receiver.
    pub(super) const fn receiver(&self) -> usize {
        self.receiver
    }
}

/// Our addresses under any of the configurations, the default ones first.
fn all_sources<'c>(
    scenario: &Scenario,
    configs: impl Iterator<Item = &'c Arc<Config>>,
) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for address in configs.flat_map(|config| sources(scenario, config)) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Our addresses: the defaults, and every `bind_address` the scenario's mail can use.
pub(crate) fn sources(scenario: &Scenario, config: &Config) -> Vec<IpAddr> {
    let mut bound = BTreeSet::new();
    let told = senders::domains(scenario, config);
    for traffic in &scenario.traffic {
        for binding in traffic.bindings(config) {
            let to = traffic.to.iter().map(|(pattern, _)| pattern.domain());
            for domain in to.chain(&told) {
                let options = config.delivery_options(&binding, domain);
                bound.extend(options.bind_address);
            }
        }
    }
    if listens(scenario) {
        let endpoints = config.listeners().iter().flat_map(|one| one.addresses.iter());
        let listened = endpoints.map(SocketAddr::ip);
        bound.extend(listened.filter(|ip| !ip.is_unspecified() && !ip.is_loopback()));
    }
    let defaults = [IpAddr::V4(DEFAULT_SOURCE_V4), IpAddr::V6(DEFAULT_SOURCE_V6)];
    bound.retain(|address| !defaults.contains(address));
    defaults.into_iter().chain(bound).collect()
}

/// Whether mail comes through listeners.
pub(super) fn listens(scenario: &Scenario) -> bool {
    scenario.traffic.iter().any(|one| one.through != Through::Queue)
}

/// Where a client reaches a listener: one that listens everywhere at our default address.
pub(super) fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(DEFAULT_SOURCE_V4),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(DEFAULT_SOURCE_V6),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Our addresses that mail of a binding leaves from.
fn sources_of(scenario: &Scenario, config: &Config, binding: &str) -> BTreeSet<IpAddr> {
    let traffic = scenario.traffic.iter();
    let sends = |one: &&TrafficSpec| one.bindings(config).iter().any(|name| **name == *binding);
    let domains = traffic.filter(sends).flat_map(|one| one.to.iter().map(|(to, _)| to.domain()));
    domains
        .flat_map(|domain| match config.delivery_options(binding, domain).bind_address {
            Some(address) => vec![address],
            None => vec![IpAddr::V4(DEFAULT_SOURCE_V4), IpAddr::V6(DEFAULT_SOURCE_V6)],
        })
        .collect()
}

/// The receivers as a run with this seed has them.
pub(super) fn receiver_reports(scenario: &Scenario, seed: Seed) -> Vec<ReceiverReport> {
    let report = |spec: &ReceiverSpec| {
        let drawn = spec.drawn(seed).1.into_iter();
        ReceiverReport {
            receiver: spec.name.to_string(),
            profile: spec.profile.as_ref().map(ToString::to_string),
            drawn: drawn.map(|Drawn { what, value }| DrawnReport { what, value }).collect(),
        }
    };
    scenario.receivers.iter().map(report).collect()
}

/// The receiver a domain belongs to.
pub(super) fn receiver_of(scenario: &Scenario, domain: &str) -> Option<String> {
    let owns = |spec: &&ReceiverSpec| spec.domains.iter().any(|one| **one == *domain);
    scenario.receivers.iter().find(owns).map(|spec| spec.name.to_string())
}

/// Our address where the configuration binds none.
const DEFAULT_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The same for IPv6.
const DEFAULT_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
