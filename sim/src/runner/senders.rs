//! The senders' own mailboxes: where notices about failed mail go.
//!
//! A scenario is about receivers; where it says nothing of a sender's domain, there is one that
//! takes everything, near by and with TLS that pleases everybody.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use traject_engine::config::Config;
use traject_engine::smtp::address::literal_address;

use crate::receiver::spec::{
    Bandwidth, Exchange, Extensions, Latency, Protocol, ReceiverSpec, SMTP_PORT,
};
use crate::receiver::tls::TlsPosture;
use crate::scenario::Scenario;
use crate::traffic::TrafficSpec;

/// The domains that notices about a scenario's mail go to.
pub(super) fn domains(scenario: &Scenario, config: &Config) -> BTreeSet<Arc<str>> {
    let mut all = BTreeSet::new();
    for traffic in &scenario.traffic {
        all.extend(traffic.from.iter().map(|from| Arc::clone(from.domain())));
        for binding in traffic.bindings(config) {
            for domain in destinations(traffic) {
                let options = config.delivery_options(&binding, &domain);
                all.extend(options.notices.mdn_failures_notify.map(|mailbox| mailbox.domain));
            }
        }
    }
    all
}

/// Where the mail of a traffic goes, and the notices about it.
fn destinations(traffic: &TrafficSpec) -> impl Iterator<Item = Arc<str>> {
    let patterns = traffic.to.iter().map(|(to, _)| to).chain(&traffic.from);
    patterns.map(|pattern| Arc::clone(pattern.domain()))
}

/// The receiver of those of `domains` that the scenario does not know.
pub(super) fn receiver(scenario: &Scenario, domains: BTreeSet<Arc<str>>) -> Option<ReceiverSpec> {
    let of_receivers = scenario.receivers.iter().flat_map(|one| one.domains.iter());
    let known: BTreeSet<_> =
        of_receivers.chain(scenario.dns.names.iter().map(|one| &one.name)).cloned().collect();
    let unknown = |domain: &Arc<str>| !known.contains(domain) && literal_address(domain).is_none();
    let domains: Vec<_> = domains.into_iter().filter(unknown).collect();
    (!domains.is_empty()).then(|| ReceiverSpec {
        name: NAME.into(),
        profile: None,
        domains,
        exchanges: vec![Exchange {
            host: HOST.into(),
            preference: 10,
            addresses: ADDRESSES.into(),
        }],
        protocol: Protocol::Smtp,
        port: SMTP_PORT,
        latency: Latency { base: LATENCY, jitter: Duration::ZERO },
        bandwidth: Bandwidth::default(),
        extensions: Extensions::default(),
        limits: Vec::new(),
        unknown: None,
        greylist: None,
        rules: Vec::new(),
        tls: vec![TlsPosture::default()],
    })
}

const NAME: &str = "senders";

const HOST: &str = "mx.senders.invalid";

/// Of ranges that are nobody's (RFC 2544, RFC 5180); scenarios give addresses from its other end.
const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 19, 255, 253)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xffff, 0xfffd)),
];

const LATENCY: Duration = Duration::from_millis(1);
