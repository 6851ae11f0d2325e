//! Route: connections go to exchanges of the domain, or to what its `routes` name, a worse
//! preference only while everything better is set aside, and never to an address that the
//! configuration forbids.
//!
//! A queue behind a `gateway` is the gateway's, so its connections are judged like any other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::effective::DeliveryOptions;
use traject_engine::config::routes::{Hop, NextHop};
use traject_engine::config::{Cidr, Config};
use traject_engine::dns::Question;
use traject_engine::ids::{ConnId, QueryId};
use traject_engine::record::{Event, Pair, Record};
use traject_engine::tls::policy::TlsMode;

use super::{Book, Finding, Law, ensure};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By name.
    pub said: BTreeMap<Arc<str>, Vec<Saying>>,
    /// How long a look-up takes at most, from its first question to its last answer.
    pub look_up: Duration,
}

/// Where mail may go, and which addresses are set aside.
#[derive(Debug, Default)]
pub struct Routes {
    names: Names,
    /// The targets of destinations of which the DNS always says the same.
    steady: BTreeMap<Arc<str>, Arc<[Target]>>,
    /// When connections began that neither stand nor failed yet.
    begun: BTreeMap<ConnId, Timestamp>,
    /// What is being asked.
    under_way: BTreeMap<QueryId, (Question, Timestamp)>,
    /// When names were being asked about, the last few times.
    asked: BTreeMap<Arc<str>, VecDeque<Range<Timestamp>>>,
    /// (binding, address) → until when it is set aside.
    aside: BTreeMap<(Arc<str>, IpAddr), Timestamp>,
    /// (binding, address) → until when it may be unfit for mail that wants TLS.
    unfit: BTreeMap<(Arc<str>, IpAddr), Timestamp>,
    /// Names whose addresses could not be looked up at some time.
    unresolved: BTreeSet<Arc<str>>,
    /// Names whose exchanges could not be looked up at some time: their own addresses may stand in.
    without_mx: BTreeSet<Arc<str>>,
}

/// One address that mail may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// The preference of the entry of `routes` that leads there.
    place: u16,
    /// The position of that entry.
    entry: usize,
    /// Among those of the entry, lower is to be tried first.
    preference: u16,
    /// Whose exchange it is.
    owner: Arc<str>,
    /// The port, if it is another than the pair's.
    port: Option<u16>,
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
            Event::TlsFailed { pair, remote, until, .. } => {
                // Each demand has a memory of its own, and the record does not say which it was.
                let key = (Arc::clone(&pair.binding), remote.ip());
                let longest = self.unfit.entry(key).or_default();
                *longest = (*longest).max(*until);
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
            Event::ConnectionOpened { conn, pair, remote, .. }
            | Event::ConnectionFailed { conn, pair, remote, .. } => {
                let pair_id = book.pair_id(pair);
                let earliest = record.at - book.options(pair_id).connect_timeout;
                let begun = self.begun.remove(conn).unwrap_or(earliest);
                // Before a reload another configuration chose, at its very instant either.
                let phases = book.phases(pair_id, begun, begun).iter();
                let configs = book.configs(begun, begun).iter();
                let mut judged = Ok(());
                for (phase, (since, config)) in phases.zip(configs) {
                    if *since != book.in_force_since() {
                        self.steady.clear();
                    }
                    judged = self.judge_connection(begun, pair, *remote, &phase.options, config);
                    if *since != book.in_force_since() {
                        self.steady.clear();
                    }
                    if judged.is_ok() {
                        break;
                    }
                }
                judged
            }
            Event::ConnectionMigrated { to, remote, .. } => {
                let pair_id = book.pair_id(to);
                let (options, config) = (book.options(pair_id), book.config());
                self.judge_connection(record.at, to, *remote, options, config)
            }
            _ => Ok(()),
        }
    }

    /// Another configuration names other targets.
    pub(super) fn reload(&mut self) {
        self.steady.clear();
    }

    /// A connection begins.
    pub(super) fn connects(&mut self, at: Timestamp, conn: ConnId) {
        self.begun.insert(conn, at);
    }

    /// The DNS is asked.
    pub(super) fn asks(&mut self, at: Timestamp, query: QueryId, question: &Question) {
        self.under_way.insert(query, (question.clone(), at));
    }

    /// The DNS answers.
    pub(super) fn hears(&mut self, at: Timestamp, query: QueryId) {
        let Some((question, since)) = self.under_way.remove(&query) else { return };
        let times = self.asked.entry(question.name().into()).or_default();
        if times.len() == TIMES_KEPT {
            times.pop_front();
        }
        times.push_back(since..at);
    }

    /// Whether a name may not have been known at an instant, because it was being asked about.
    fn was_asked_about(&self, name: &str, at: Timestamp) -> bool {
        let open =
            self.under_way.values().any(|(asked, since)| asked.name() == name && *since <= at);
        let Some(times) = self.asked.get(name) else { return open };
        let forgotten = times.len() == TIMES_KEPT && at < times[0].start;
        open || forgotten || times.iter().any(|time| time.start <= at && at <= time.end)
    }

    /// A connection that began at `at` goes to `remote`.
    fn judge_connection(
        &mut self,
        at: Timestamp,
        pair: &Pair,
        remote: SocketAddr,
        options: &DeliveryOptions,
        config: &Config,
    ) -> Result<(), Finding> {
        let address = remote.ip();
        ensure(LAW, may_be_used(address, options, config), || {
            format!("{address} is an address that must not be used for {}", pair.domain)
        })?;
        let targets = self.targets(&pair.domain, at, options, config);
        let is_port = |port: Option<u16>| port.unwrap_or_else(|| options.port()) == remote.port();
        let is_chosen = |one: &&Target| one.address == address && is_port(one.port);
        let mut verdict = ensure(LAW, self.stands_in(&pair.domain, address), || {
            format!("{remote} is no exchange of {}", pair.domain)
        });
        // One address may be several exchanges: any of them may have been meant.
        for chosen in targets.iter().filter(is_chosen) {
            let better = targets.iter().filter(|other| {
                other.is_better_than(chosen)
                    && other.certain
                    && !self.unresolved.contains(&other.exchange)
                    && !self.without_mx.contains(&other.owner)
                    && may_be_used(other.address, options, config)
                    // An exchange at a cap of its own is passed over.
                    && config.host_cap(&pair.binding, &other.exchange).is_none()
            });
            verdict = self.judge_better(at, pair, chosen, better, options);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    /// Everything better than what was chosen must have been set aside, or with
    /// `fully_resolve_before_smtp = false` not known yet.
    fn judge_better<'a>(
        &self,
        at: Timestamp,
        pair: &Pair,
        chosen: &Target,
        better: impl Iterator<Item = &'a Target>,
        options: &DeliveryOptions,
    ) -> Result<(), Finding> {
        for other in better {
            let known = options.fully_resolve_before_smtp
                || !(self.was_asked_about(&other.exchange, at)
                    || self.was_asked_about(&other.owner, at));
            let key = (Arc::clone(&pair.binding), other.address);
            let unfit = self.unfit.get(&key).filter(|_| options.tls.mode != TlsMode::No);
            let until = self.aside.get(&key).max(unfit);
            ensure(LAW, !known || until.is_some_and(|until| *until >= at), || {
                format!(
                    "{} (preference {}) was chosen while {} ({}) was not set aside",
                    chosen.address, chosen.preference, other.address, other.preference
                )
            })?;
        }
        Ok(())
    }

    /// Whether an address of the domain itself may be used since its exchanges are not known.
    fn stands_in(&self, domain: &str, address: IpAddr) -> bool {
        let said = self.names.said.get(domain).into_iter().flatten();
        self.without_mx.contains(domain)
            && said.flat_map(|one| &one.addresses).any(|one| *one == address)
    }

    /// Where mail for a domain may have gone to at `at`.
    fn targets(
        &mut self,
        domain: &Arc<str>,
        at: Timestamp,
        options: &DeliveryOptions,
        config: &Config,
    ) -> Arc<[Target]> {
        if let Some(known) = self.steady.get(domain) {
            return Arc::clone(known);
        }
        let (names, at_least) = (&self.names, Duration::ZERO);
        let mut view = View { names, at, lifetime: None, at_least, config, steady: true };
        let targets: Arc<[Target]> = view.of_domain(domain, options).into();
        if view.steady {
            self.steady.insert(Arc::clone(domain), Arc::clone(&targets));
        }
        targets
    }
}

impl Target {
    /// Whether it must be tried before another. Entries of equal preference share the load.
    fn is_better_than(&self, other: &Self) -> bool {
        let same_entry = self.entry == other.entry;
        self.place < other.place || (same_entry && self.preference < other.preference)
    }
}

/// The DNS as it may have been known at some time.
struct View<'a> {
    names: &'a Names,
    at: Timestamp,
    /// How long answers are believed, if not for their TTL.
    lifetime: Option<Duration>,
    /// How long they are believed at least.
    at_least: Duration,
    config: &'a Config,
    /// It would look the same at any other time.
    steady: bool,
}

impl<'a> View<'a> {
    /// Where mail for a domain may go.
    fn of_domain(&mut self, domain: &Arc<str>, options: &DeliveryOptions) -> Vec<Target> {
        if options.routes.is_empty() {
            return self.exchanges(domain, options.only_best_mx);
        }
        if options.routes.len() > 1 {
            self.at_least = TOGETHER;
        }
        let hops = options.routes.iter().enumerate();
        hops.flat_map(|(entry, hop)| {
            let targets = self.of_hop(hop, domain, options).into_iter();
            targets.map(move |target| Target {
                place: hop.preference,
                entry,
                port: hop.port,
                ..target
            })
        })
        .collect()
    }

    fn of_hop(&mut self, hop: &Hop, domain: &Arc<str>, options: &DeliveryOptions) -> Vec<Target> {
        self.lifetime = hop.ttl;
        match &hop.to {
            NextHop::OwnExchanges => self.exchanges(domain, options.only_best_mx),
            NextHop::Exchanges(name) => self.exchanges(name, false),
            NextHop::Host(name) => self.exchange(name, name, 0, true),
            NextHop::Address(address) => {
                let name: Arc<str> = address.to_string().into();
                vec![target(&name, &name, 0, *address, true)]
            }
        }
    }

    /// The exchanges of a name with their addresses.
    fn exchanges(&mut self, name: &Arc<str>, only_best: bool) -> Vec<Target> {
        if let Some(address) = literal(name) {
            return vec![target(name, name, 0, address, true)];
        }
        let said = self.said(name);
        let mut exchanges: BTreeMap<(u16, Arc<str>), usize> = BTreeMap::new();
        for one in &said {
            let records = match one.mx.is_empty() {
                true => &[(0, Arc::clone(name))][..],
                false => &one.mx[..],
            };
            let best = records.iter().map(|(preference, _)| *preference).min();
            for record in records.iter().filter(|one| !only_best || Some(one.0) == best) {
                *exchanges.entry(record.clone()).or_insert(0) += 1;
            }
        }
        let all = exchanges.into_iter();
        all.flat_map(|((preference, exchange), times)| {
            self.exchange(name, &exchange, preference, times == said.len())
        })
        .collect()
    }

    fn exchange(
        &mut self,
        owner: &Arc<str>,
        name: &Arc<str>,
        preference: u16,
        certain: bool,
    ) -> Vec<Target> {
        let addresses = self.addresses(name).into_iter();
        addresses
            .map(|(address, always)| target(owner, name, preference, address, certain && always))
            .collect()
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
        let all = self.names.said.get(name).map_or(&[][..], |all| all);
        self.steady &= all.len() <= 1;
        let server = self.config.server_options();
        let life = all.iter().map(|one| one.ttl.max(server.min_dns_ttl).min(server.max_dns_ttl));
        let life = self.lifetime.or_else(|| life.max()).unwrap_or_default().max(self.at_least);
        let (from, to) = (self.at - life - self.names.look_up, self.at);
        let believed = |one: &&Saying| one.during.start <= to && from <= one.during.end;
        all.iter().filter(believed).collect()
    }
}

fn target(
    owner: &Arc<str>,
    exchange: &Arc<str>,
    preference: u16,
    address: IpAddr,
    certain: bool,
) -> Target {
    let (owner, exchange) = (Arc::clone(owner), Arc::clone(exchange));
    Target { place: 0, entry: 0, preference, owner, port: None, exchange, address, certain }
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

const LAW: Law = Law::Route;

/// What is looked up together is believed for so long at least (decision R12).
const TOGETHER: Duration = Duration::from_secs(60);

/// Times of asking that are remembered of each name.
const TIMES_KEPT: usize = 16;
