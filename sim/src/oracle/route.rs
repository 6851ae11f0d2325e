//! Route: connections go to exchanges of the domain, a worse preference only while every better
//! exchange is set aside, and never to an address that the configuration forbids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::effective::DeliveryOptions;
use traject_engine::config::{Cidr, Config};
use traject_engine::dns::Question;
use traject_engine::record::{Event, Pair, Record};

use super::{Book, Finding, ensure};

/// What the DNS says of a name for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// When.
    pub during: Range<Timestamp>,
    /// Its MX records: (preference, exchange).
    pub mx: Vec<(u16, Arc<str>)>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How long that may be believed.
    pub ttl: Duration,
}

/// What the DNS says of each name, in the order of time.
pub type Names = BTreeMap<Arc<str>, Vec<Saying>>;

/// Where mail may go, and which addresses are set aside.
#[derive(Debug, Default)]
pub struct Routes {
    names: Names,
    /// The targets of destinations of which the DNS always says the same.
    steady: BTreeMap<Arc<str>, Arc<[Target]>>,
    /// (binding, address) → until when it is set aside.
    aside: BTreeMap<(Arc<str>, IpAddr), Timestamp>,
    /// Names whose addresses could not be looked up at some time.
    unresolved: BTreeSet<Arc<str>>,
    /// Names whose exchanges could not be looked up at some time: their own addresses may stand in.
    without_mx: BTreeSet<Arc<str>>,
}

/// One address that mail may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// Lower is to be tried first.
    preference: u32,
    /// The exchange.
    exchange: Arc<str>,
    /// Its address.
    address: IpAddr,
    /// Every answer that may still be believed has it.
    certain: bool,
}

impl Routes {
    /// The law where the DNS says this.
    pub fn new(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::HostSetAside { binding, address, until, .. } => {
                self.aside.insert((Arc::clone(binding), *address), *until);
                Ok(())
            }
            Event::DnsFailure { question: Question::Addresses(host), .. } => {
                self.unresolved.insert(Arc::clone(host));
                Ok(())
            }
            Event::DnsFailure { question: Question::Mx(name), .. } => {
                self.without_mx.insert(Arc::clone(name));
                Ok(())
            }
            Event::ConnectionOpened { pair, remote, .. }
            | Event::ConnectionFailed { pair, remote, .. } => {
                let pair_id = book.pair_id(pair);
                let (options, config) = (book.options(pair_id), book.config());
                self.judge_address(record.at, pair, remote.ip(), options, config)
            }
            _ => Ok(()),
        }
    }

    /// A connection to `address` stands or failed at `at`.
    fn judge_address(
        &mut self,
        at: Timestamp,
        pair: &Pair,
        address: IpAddr,
        options: &DeliveryOptions,
        config: &Config,
    ) -> Result<(), Finding> {
        ensure(LAW, may_be_used(address, options, config), || {
            format!("{address} is an address that must not be used for {}", pair.domain)
        })?;
        // It began that much earlier.
        let took = options.connect_timeout;
        let targets = self.targets(&pair.domain, at - took..at, config);
        let chosen = targets.iter().filter(|target| target.address == address);
        let Some(chosen) = chosen.min_by_key(|target| target.preference) else {
            return ensure(LAW, self.stands_in(&pair.domain, address), || {
                format!("{address} is no exchange of {}", pair.domain)
            });
        };
        let better = targets.iter().filter(|other| {
            other.preference < chosen.preference
                && other.certain
                && !self.unresolved.contains(&other.exchange)
                && may_be_used(other.address, options, config)
                // An exchange at a cap of its own is passed over.
                && config.host_cap(&pair.binding, &other.exchange).is_none()
        });
        for other in better {
            let until = self.aside.get(&(Arc::clone(&pair.binding), other.address));
            ensure(LAW, until.is_some_and(|until| *until + took >= at), || {
                format!(
                    "{address} (preference {}) was chosen while {} ({}) was not set aside",
                    chosen.preference, other.address, other.preference
                )
            })?;
        }
        Ok(())
    }

    /// Whether an address of the domain itself may be used since its exchanges are not known.
    fn stands_in(&self, domain: &str, address: IpAddr) -> bool {
        let said = self.names.get(domain).into_iter().flatten();
        self.without_mx.contains(domain)
            && said.flat_map(|one| &one.addresses).any(|one| *one == address)
    }

    /// Where mail for a destination may have gone to at any time of `during`.
    fn targets(
        &mut self,
        destination: &Arc<str>,
        during: Range<Timestamp>,
        config: &Config,
    ) -> Arc<[Target]> {
        if let Some(known) = self.steady.get(destination) {
            return Arc::clone(known);
        }
        let mut view = View { names: &self.names, during, config, steady: true };
        let targets: Arc<[Target]> = view.of_domain(destination).into();
        if view.steady {
            self.steady.insert(Arc::clone(destination), Arc::clone(&targets));
        }
        targets
    }
}

/// The DNS as it may have been known at some time.
struct View<'a> {
    names: &'a Names,
    during: Range<Timestamp>,
    config: &'a Config,
    /// It would look the same at any other time.
    steady: bool,
}

impl<'a> View<'a> {
    /// The exchanges of a domain with their addresses.
    fn of_domain(&mut self, domain: &Arc<str>) -> Vec<Target> {
        if let Some(address) = literal(domain) {
            let exchange = Arc::clone(domain);
            return vec![Target { preference: 0, exchange, address, certain: true }];
        }
        let said = self.said(domain);
        let mut exchanges: BTreeMap<(u16, Arc<str>), usize> = BTreeMap::new();
        for one in &said {
            let records = match one.mx.is_empty() {
                true => &[(0, Arc::clone(domain))][..],
                false => &one.mx[..],
            };
            for record in records {
                *exchanges.entry(record.clone()).or_insert(0) += 1;
            }
        }
        let mut targets = Vec::new();
        for ((preference, exchange), times) in exchanges {
            for (address, certain) in self.addresses(&exchange) {
                targets.push(Target {
                    preference: u32::from(preference),
                    exchange: Arc::clone(&exchange),
                    address,
                    certain: certain && times == said.len(),
                });
            }
        }
        targets
    }

    /// The addresses of a host, and whether every answer has them.
    fn addresses(&mut self, host: &str) -> Vec<(IpAddr, bool)> {
        let said = self.said(host);
        let mut times: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let use_ipv6 = self.config.server_options().use_ipv6;
        let addresses = said.iter().flat_map(|one| &one.addresses);
        for address in addresses.filter(|address| address.is_ipv4() || use_ipv6) {
            *times.entry(*address).or_insert(0) += 1;
        }
        times.into_iter().map(|(address, n)| (address, n == said.len())).collect()
    }

    /// Everything said of a name that may have been believed.
    fn said(&mut self, name: &str) -> Vec<&'a Saying> {
        let all = self.names.get(name).map_or(&[][..], |all| all);
        self.steady &= all.len() <= 1;
        let server = self.config.server_options();
        let life = all.iter().map(|one| one.ttl.max(server.min_dns_ttl).min(server.max_dns_ttl));
        let from = self.during.start - life.max().unwrap_or_default();
        let believed =
            |one: &&Saying| one.during.start <= self.during.end && from <= one.during.end;
        all.iter().filter(believed).collect()
    }
}

/// Whether the configuration lets mail go there at all.
fn may_be_used(address: IpAddr, options: &DeliveryOptions, config: &Config) -> bool {
    let server = config.server_options();
    let within = |networks: &[Cidr]| networks.iter().any(|network| network.contains(address));
    options.bind_address.is_none_or(|ours| ours.is_ipv4() == address.is_ipv4())
        && !within(&server.skip_hosts)
        && !within(&server.prohibited_hosts)
}

/// The address of a domain that is one.
fn literal(domain: &str) -> Option<IpAddr> {
    let bare = domain.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.strip_prefix("ipv6:").unwrap_or(bare);
    bare.parse().ok()
}

const LAW: &str = "route";
