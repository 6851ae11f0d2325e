//! Destinations and their exchanges, as far as the DNS has told us.
//!
//! A destination is looked up when somebody wants to connect to it. Exchanges' addresses are
//! shared between destinations. Positive answers live for their TTL; a definite "no" for its own;
//! a failure of the DNS itself for the hold the asker gives, so that a queue of any length asks
//! once and counts one failure.
//!
//! An eager asker (`fully_resolve_before_smtp = false`) is told each time an exchange becomes
//! known, and may go on with those that are.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::config::effective::MxRateLimit;
use crate::dns::{DnsAnswer, DnsData, DnsError, DnsErrorKind, MxRecord, Question};
use crate::ids::QueryId;
use crate::limits;
use crate::mx::line::MxLine;
use crate::mx::plan::{Exchange, Plan, address_literal, is_null_mx, ranked};
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::time::Timestamp;

/// What the asker's options say about look-ups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsPolicy {
    /// `mx_failures_fallback_to_a`.
    pub(crate) mx_failures_fallback_to_a: i32,
    /// How long a failure of the DNS itself is believed.
    pub(crate) failure_hold: Duration,
    /// `min_dns_ttl`.
    pub(crate) ttl_min: Duration,
    /// `max_dns_ttl`.
    pub(crate) ttl_max: Duration,
    /// `use_ipv6`.
    pub(crate) use_ipv6: bool,
    /// `fully_resolve_before_smtp`.
    pub(crate) all_first: bool,
    /// `dns_rate_limit_*`.
    pub(crate) mx_rate_limit: Option<MxRateLimit>,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// A name, or an address literal.
    pub(crate) name: Arc<str>,
    /// What of it.
    pub(crate) by: By,
    /// How long an answer is kept, instead of its TTL.
    pub(crate) lifetime: Option<Duration>,
    /// Shortest time that an answer is believed, whatever else says: where several names are looked
    /// up together. Who does not ask for them together does not believe them for so long.
    pub(crate) life_min: Duration,
}

/// What of a name leads to addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// Its exchanges, or itself when it has none.
    Exchanges,
    /// The same, but of the exchanges only those of best preference.
    BestExchanges,
    /// Itself.
    Addresses,
}

impl Target {
    /// A name whose answers live for their TTL.
    pub(crate) fn new(name: &Arc<str>, by: By) -> Self {
        Self { name: name.clone(), by, lifetime: None, life_min: Duration::ZERO }
    }
}

/// What is known about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Connect there.
    Ready(Arc<Plan>),
    /// The same, but some exchanges are still being asked about; only for eager askers.
    Partial(Arc<Plan>),
    /// Being asked; the asker is told when it is known.
    Pending,
    /// The same, but the question waits for its turn.
    InLine,
    /// The DNS failed.
    Failed {
        /// When to ask again.
        until: Timestamp,
        /// Consecutive failures so far.
        failures: u32,
        /// In the form of a reply.
        reply: Reply,
    },
    /// The destination takes no mail: it does not exist, says so, or has no address.
    Refused(Reply),
}

/// Who asks: the slot of a queue.
pub(crate) type Asker = usize;

/// All targets in use.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    routes: BTreeMap<Target, Route>,
    hosts: BTreeMap<Arc<str>, Host>,
    /// How many targets are left after the last cleaning.
    left: usize,
    queries: BTreeMap<QueryId, Asked>,
    line: MxLine,
}

/// Whom a question is for.
#[derive(Debug)]
enum Asked {
    /// The exchanges of a target.
    Mx(Target),
    /// The addresses of a host.
    Addresses(Arc<str>),
}

#[derive(Debug)]
struct Route {
    state: RouteState,
    policy: DnsPolicy,
    askers: Vec<Waiting>,
    /// Consecutive failures of the DNS; cleared by an answer.
    failures: u32,
    /// Those of them that were MX look-ups.
    mx_failures: u32,
}

/// An asker who waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    asker: Asker,
    eager: bool,
}

#[derive(Debug)]
enum RouteState {
    /// In line until its exchanges may be asked for.
    InLine,
    AskingMx,
    AskingHosts {
        records: Vec<MxRecord>,
        expires: Timestamp,
    },
    Ready {
        plan: Arc<Plan>,
        expires: Timestamp,
    },
    Failed {
        until: Timestamp,
        reply: Reply,
    },
    Refused {
        expires: Timestamp,
        reply: Reply,
    },
}

#[derive(Debug)]
struct Host {
    state: HostState,
    /// Targets that wait for it.
    waiting: BTreeSet<Target>,
}

#[derive(Debug)]
enum HostState {
    Asking,
    Known {
        addresses: Vec<IpAddr>,
        answered_at: Timestamp,
        ttl: Duration,
    },
    /// It has no address; perhaps not even its name exists.
    Missing {
        answered_at: Timestamp,
        ttl: Duration,
        exists: bool,
    },
    /// The DNS failed; only those who waited are told, the next one asks again.
    Failed {
        text: &'static str,
    },
}

impl Routes {
    /// What is known about `target`; asks the DNS when nothing is, or no longer.
    pub(crate) fn lookup(
        &mut self,
        target: &Target,
        asker: Asker,
        now: Timestamp,
        policy: DnsPolicy,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) -> Lookup {
        if let Some(address) = address_literal(&target.name) {
            return Lookup::Ready(Arc::new(Plan::literal(&target.name, address)));
        }
        self.make_room(now);
        let route = self.routes.entry(target.clone()).or_insert_with(|| Route {
            state: RouteState::Failed { until: now, reply: lookup_failed("") },
            policy,
            askers: Vec::new(),
            failures: 0,
            mx_failures: 0,
        });
        route.policy = policy;
        if let Some(known) = route.known(now) {
            return known;
        }
        route.wait(Waiting { asker, eager: !policy.all_first });
        match &route.state {
            RouteState::InLine => {
                // A reload may have changed it.
                self.line.limit(policy.mx_rate_limit);
                return Lookup::InLine;
            }
            RouteState::AskingMx => return Lookup::Pending,
            RouteState::AskingHosts { .. } => return self.known_so_far(target, policy),
            _ if target.by == By::Addresses || !route.asks_mx() => {
                self.ask_hosts(target, implicit_mx(&target.name), Timestamp::NEVER, now, ask);
            }
            _ if self.line.admits(target, policy.mx_rate_limit, now) => self.ask_mx(target, ask),
            _ => {
                route.state = RouteState::InLine;
                return Lookup::InLine;
            }
        }
        // Every address may have been known already.
        match self.settle(target, now) {
            Some(_) => self.routes[target].known(now).unwrap_or(Lookup::Pending),
            None => self.known_so_far(target, policy),
        }
    }

    /// What is known about `target`; asks nobody.
    pub(crate) fn known(&self, target: &Target, now: Timestamp) -> Lookup {
        if let Some(address) = address_literal(&target.name) {
            return Lookup::Ready(Arc::new(Plan::literal(&target.name, address)));
        }
        let known = self.routes.get(target).and_then(|route| route.known(now));
        known.unwrap_or_else(|| match self.routes.get(target) {
            Some(route) => self.known_so_far(target, route.policy),
            None => Lookup::Pending,
        })
    }

    /// Takes an answer. Returns the question it answers and those who waited for it and can go on
    /// now.
    pub(crate) fn resolved(
        &mut self,
        query: QueryId,
        result: Result<DnsAnswer, DnsError>,
        now: Timestamp,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) -> Option<(Question, Vec<Asker>)> {
        let asked = self.queries.remove(&query)?;
        let mut askers = Vec::new();
        let targets = match &asked {
            Asked::Mx(target) => {
                self.mx_answer(target, result, now, ask);
                BTreeSet::from([target.clone()])
            }
            Asked::Addresses(name) => self.host_answer(name, result, now),
        };
        for target in targets {
            match self.settle(&target, now) {
                Some(settled) => askers.extend(settled),
                None => askers.extend(self.eager_askers(&target)),
            }
        }
        Some((asked.question(), askers))
    }

    /// Asks for the exchanges of those in line whose turn has come.
    pub(crate) fn take_turns(&mut self, now: Timestamp, ask: &mut dyn FnMut(Question) -> QueryId) {
        while let Some(target) = self.line.next(now) {
            self.ask_mx(&target, ask);
        }
    }

    /// When [`Routes::take_turns`] has something to do next.
    pub(crate) fn next_turn(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.line.next_turn(now)
    }

    /// How many targets stand in line.
    pub(crate) fn in_line(&self) -> usize {
        self.line.len()
    }

    /// Forgets what was answered: the options it was judged by have changed. What failed stays
    /// failed for its time.
    pub(crate) fn forget_answers(&mut self) {
        self.routes.retain(|_, route| {
            !matches!(route.state, RouteState::Ready { .. } | RouteState::Refused { .. })
        });
    }

    /// Questions under way.
    pub(crate) fn outstanding(&self) -> usize {
        self.queries.len()
    }

    /// Whether `target` is being looked up on behalf of `asker`.
    pub(crate) fn is_pending(&self, target: &Target, asker: Asker) -> bool {
        let waits = |route: &Route| route.askers.iter().any(|one| one.asker == asker);
        self.routes.get(target).is_some_and(waits)
    }

    /// A target that nobody will tell what it waits for; there must be none.
    pub(crate) fn forgotten(&self) -> Option<&Target> {
        let asking = self.hosts.values().filter(|host| matches!(host.state, HostState::Asking));
        let told: BTreeSet<&Target> = asking.flat_map(|host| &host.waiting).collect();
        let waits = |route: &Route| matches!(route.state, RouteState::AskingHosts { .. });
        let mut waiting = self.routes.iter().filter(|(_, route)| waits(route));
        waiting.find(|(target, _)| !told.contains(target)).map(|(target, _)| target)
    }

    /// Every target waits, and nobody will tell it.
    #[cfg(test)]
    pub(crate) fn plant(&mut self) {
        for route in self.routes.values_mut() {
            let expires = Timestamp::NEVER;
            route.state = RouteState::AskingHosts { records: Vec::new(), expires };
        }
    }

    fn ask_mx(&mut self, target: &Target, ask: &mut dyn FnMut(Question) -> QueryId) {
        if let Some(route) = self.routes.get_mut(target) {
            route.state = RouteState::AskingMx;
            let asked = Asked::Mx(target.clone());
            self.queries.insert(ask(asked.question()), asked);
        }
    }

    /// The part of a plan that is known while the rest is being asked for.
    fn known_so_far(&self, target: &Target, policy: DnsPolicy) -> Lookup {
        let Some(RouteState::AskingHosts { records, .. }) =
            self.routes.get(target).map(|route| &route.state)
        else {
            return Lookup::Pending;
        };
        let exchanges: Vec<Exchange> = records
            .iter()
            .filter_map(|record| self.hosts.get(&record.exchange)?.exchange(record, policy))
            .collect();
        match policy.all_first || exchanges.is_empty() {
            true => Lookup::Pending,
            false => Lookup::Partial(Arc::new(Plan { exchanges })),
        }
    }

    /// Those who go on with what is known of a target so far.
    fn eager_askers(&self, target: &Target) -> Vec<Asker> {
        let askers = self.routes.get(target).map_or(&[][..], |route| &route.askers);
        askers.iter().filter(|one| one.eager).map(|one| one.asker).collect()
    }

    fn mx_answer(
        &mut self,
        target: &Target,
        result: Result<DnsAnswer, DnsError>,
        now: Timestamp,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) {
        // Unwrap is OK because a route with an MX question under way is never dropped.
        let route = self.routes.get_mut(target).expect("the route that asked");
        match result {
            Ok(DnsAnswer { data: DnsData::Mx(records), ttl }) => {
                let expires = now + route.policy.life(target, ttl);
                (route.failures, route.mx_failures) = (0, 0);
                if is_null_mx(&records) {
                    let text = "the domain does not accept mail (null MX)";
                    let reply = Reply::local(550, EnhancedCode(5, 4, 4), text);
                    route.state = RouteState::Refused { expires, reply };
                } else {
                    let mut records = ranked(records);
                    if target.by == By::BestExchanges {
                        let best = records.first().map(|record| record.preference);
                        records.retain(|record| Some(record.preference) == best);
                    }
                    self.ask_hosts(target, records, expires, now, ask);
                }
            }
            Err(DnsError { kind: DnsErrorKind::NoData, .. }) => {
                (route.failures, route.mx_failures) = (0, 0);
                self.ask_hosts(target, implicit_mx(&target.name), Timestamp::NEVER, now, ask);
            }
            Err(DnsError { kind: DnsErrorKind::NxDomain, ttl, .. }) => {
                (route.failures, route.mx_failures) = (0, 0);
                let reply = Reply::local(554, EnhancedCode(5, 4, 4), "no such domain");
                let expires = now + route.policy.life(target, ttl);
                route.state = RouteState::Refused { expires, reply };
            }
            // An answer to another question than ours is a failure of the resolver.
            Ok(_) => route.fail(now, true, "nonsense"),
            Err(DnsError { kind: DnsErrorKind::ServFail, .. }) => route.fail(now, true, "SERVFAIL"),
            Err(DnsError { kind: DnsErrorKind::Timeout, .. }) => route.fail(now, true, "time-out"),
        }
    }

    fn ask_hosts(
        &mut self,
        target: &Target,
        records: Vec<MxRecord>,
        expires: Timestamp,
        now: Timestamp,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) {
        // Unwrap is OK because callers hold the route.
        let route = self.routes.get_mut(target).expect("the route that asks");
        for record in &records {
            let host = self.hosts.entry(record.exchange.clone()).or_insert_with(|| Host {
                state: HostState::Failed { text: "" },
                waiting: BTreeSet::new(),
            });
            if host.expires(route.policy, target).is_some_and(|expires| now <= expires) {
                continue;
            }
            if !matches!(host.state, HostState::Asking) {
                host.state = HostState::Asking;
                let asked = Asked::Addresses(record.exchange.clone());
                self.queries.insert(ask(asked.question()), asked);
            }
            host.waiting.insert(target.clone());
        }
        route.state = RouteState::AskingHosts { records, expires };
    }

    fn host_answer(
        &mut self,
        name: &Arc<str>,
        result: Result<DnsAnswer, DnsError>,
        answered_at: Timestamp,
    ) -> BTreeSet<Target> {
        // Unwrap is OK because a host with a question under way is never dropped.
        let host = self.hosts.get_mut(name).expect("the host that was asked for");
        host.state = match result {
            Ok(DnsAnswer { data: DnsData::Addresses(mut addresses), ttl }) => {
                addresses.truncate(limits::ADDRESSES_PER_EXCHANGE_MAX);
                HostState::Known { addresses, answered_at, ttl }
            }
            Err(DnsError { kind: DnsErrorKind::NxDomain, ttl, .. }) => {
                HostState::Missing { answered_at, ttl, exists: false }
            }
            Err(DnsError { kind: DnsErrorKind::NoData, ttl, .. }) => {
                HostState::Missing { answered_at, ttl, exists: true }
            }
            Ok(_) => HostState::Failed { text: "nonsense" },
            Err(DnsError { kind: DnsErrorKind::ServFail, .. }) => {
                HostState::Failed { text: "SERVFAIL" }
            }
            Err(DnsError { kind: DnsErrorKind::Timeout, .. }) => {
                HostState::Failed { text: "time-out" }
            }
        };
        core::mem::take(&mut host.waiting)
    }

    /// Makes a plan once every exchange of a target is known. Returns those who waited when the
    /// target is settled, whatever the result.
    fn settle(&mut self, target: &Target, now: Timestamp) -> Option<Vec<Asker>> {
        let route = self.routes.get_mut(target)?;
        if let RouteState::AskingHosts { records, expires } = &route.state {
            let mut all_known = true;
            for record in records {
                if let Some(host) = self.hosts.get_mut(&record.exchange)
                    && matches!(host.state, HostState::Asking)
                {
                    all_known = false;
                    // What was known of a host when this look-up began may have expired since, and
                    // another look-up may have asked again.
                    if !host.waiting.contains(target) {
                        host.waiting.insert(target.clone());
                    }
                }
            }
            if !all_known {
                return None;
            }
            let (records, expires) = (records.clone(), *expires);
            route.make_plan(target, &records, expires, &self.hosts, now);
        }
        match route.state {
            RouteState::InLine | RouteState::AskingMx | RouteState::AskingHosts { .. } => None,
            _ => Some(core::mem::take(&mut route.askers).iter().map(|one| one.asker).collect()),
        }
    }

    /// Forgets what has expired once a great many destinations are known, and twice as many as the
    /// last cleaning left: so its cost is shared by all that were looked up since.
    fn make_room(&mut self, now: Timestamp) {
        if self.routes.len() < limits::ROUTES_KEPT.max(2 * self.left) {
            return;
        }
        self.routes.retain(|_, route| !route.askers.is_empty() || route.known(now).is_some());
        if self.routes.len() >= limits::ROUTES_MAX {
            self.routes.retain(|_, route| !route.askers.is_empty());
        }
        // A plan that is being made needs what was learnt for it, expired or not.
        let asking = self.routes.values().flat_map(|route| match &route.state {
            RouteState::AskingHosts { records, .. } => records.as_slice(),
            _ => &[],
        });
        let needed: BTreeSet<Arc<str>> = asking.map(|record| record.exchange.clone()).collect();
        self.hosts.retain(|name, host| host.may_be_believed(now) || needed.contains(name));
        self.left = self.routes.len();
    }
}

impl Route {
    /// What is known and still believed.
    fn known(&self, now: Timestamp) -> Option<Lookup> {
        match &self.state {
            RouteState::InLine | RouteState::AskingMx | RouteState::AskingHosts { .. } => None,
            // The instant of expiry itself still counts, so that an answer with TTL 0 serves those
            // who waited for it.
            RouteState::Ready { plan, expires } => {
                (now <= *expires).then(|| Lookup::Ready(plan.clone()))
            }
            RouteState::Refused { expires, reply } => {
                (now <= *expires).then(|| Lookup::Refused(reply.clone()))
            }
            RouteState::Failed { until, reply } => (now < *until).then(|| Lookup::Failed {
                until: *until,
                failures: self.failures,
                reply: reply.clone(),
            }),
        }
    }

    /// Whether the next look-up is for MX records: after `mx_failures_fallback_to_a` failures of
    /// those, addresses are asked for instead.
    fn asks_mx(&self) -> bool {
        let tries = u32::try_from(self.policy.mx_failures_fallback_to_a).unwrap_or(1).max(1);
        self.mx_failures < tries
    }

    fn fail(&mut self, now: Timestamp, mx: bool, text: &str) {
        self.failures += 1;
        self.mx_failures += u32::from(mx);
        let until = now + self.policy.failure_hold;
        self.state = RouteState::Failed { until, reply: lookup_failed(text) };
    }

    fn wait(&mut self, waiting: Waiting) {
        match self.askers.iter_mut().find(|one| one.asker == waiting.asker) {
            Some(known) => *known = waiting,
            None => self.askers.push(waiting),
        }
    }

    fn make_plan(
        &mut self,
        target: &Target,
        records: &[MxRecord],
        mx_expires: Timestamp,
        hosts: &BTreeMap<Arc<str>, Host>,
        now: Timestamp,
    ) {
        let mut plan = Plan::default();
        let mut expires = mx_expires;
        let mut failed = None;
        for record in records {
            let Some(host) = hosts.get(&record.exchange) else { continue };
            expires = expires.min(host.expires(self.policy, target).unwrap_or(expires));
            match &host.state {
                HostState::Known { .. } => {
                    plan.exchanges.extend(host.exchange(record, self.policy));
                }
                // Asked because the MX records could not be had: a name without addresses may
                // well have exchanges.
                HostState::Missing { exists: true, .. } if self.mx_failures > 0 => {
                    failed = Some("no address, and no answer about its exchanges");
                }
                HostState::Failed { text } => failed = Some(*text),
                HostState::Missing { .. } | HostState::Asking => {}
            }
        }
        match (plan.exchanges.is_empty(), failed) {
            (false, _) => {
                (self.failures, self.mx_failures) = (0, 0);
                // However short its TTL, an answer serves those who waited for it.
                let expires = expires.max(now);
                self.state = RouteState::Ready { plan: Arc::new(plan), expires };
            }
            (true, Some(text)) => self.fail(now, false, text),
            (true, None) => {
                (self.failures, self.mx_failures) = (0, 0);
                let text = "no exchange of the domain has an address";
                let reply = Reply::local(554, EnhancedCode(5, 4, 4), text);
                let expires = expires.max(now);
                self.state = RouteState::Refused { expires, reply };
            }
        }
    }
}

impl Host {
    /// Until when what is known may be believed; `None` when nothing is.
    fn expires(&self, policy: DnsPolicy, target: &Target) -> Option<Timestamp> {
        match self.state {
            HostState::Known { answered_at, ttl, .. }
            | HostState::Missing { answered_at, ttl, .. } => {
                Some(answered_at + policy.life(target, ttl))
            }
            HostState::Asking | HostState::Failed { .. } => None,
        }
    }

    /// The host as an exchange, if it has an address that is used.
    fn exchange(&self, record: &MxRecord, policy: DnsPolicy) -> Option<Exchange> {
        let HostState::Known { addresses, .. } = &self.state else { return None };
        let used = addresses.iter().filter(|address| address.is_ipv4() || policy.use_ipv6);
        let addresses: Vec<IpAddr> = used.copied().collect();
        let preference = u32::from(record.preference);
        let name = record.exchange.clone();
        (!addresses.is_empty()).then_some(Exchange { name, preference, port: None, addresses })
    }

    /// Whether it is asked about, or its TTL says that an answer still counts.
    fn may_be_believed(&self, now: Timestamp) -> bool {
        match self.state {
            HostState::Known { answered_at, ttl, .. }
            | HostState::Missing { answered_at, ttl, .. } => now <= answered_at + ttl,
            HostState::Asking => true,
            HostState::Failed { .. } => false,
        }
    }
}

impl Asked {
    fn question(&self) -> Question {
        match self {
            Self::Mx(target) => Question::Mx(target.name.clone()),
            Self::Addresses(name) => Question::Addresses(name.clone()),
        }
    }
}

impl DnsPolicy {
    /// How long an answer is believed.
    fn life(&self, target: &Target, ttl: Duration) -> Duration {
        let life = target.lifetime.unwrap_or_else(|| ttl.max(self.ttl_min).min(self.ttl_max));
        life.max(target.life_min)
    }
}

/// A domain without MX records is its own exchange (RFC 5321 section 5.1).
fn implicit_mx(name: &Arc<str>) -> Vec<MxRecord> {
    [MxRecord { preference: 0, exchange: name.clone() }].to_vec()
}

fn lookup_failed(text: &str) -> Reply {
    Reply::local(451, EnhancedCode(4, 4, 3), &alloc::format!("domain look-up failed: {text}"))
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
