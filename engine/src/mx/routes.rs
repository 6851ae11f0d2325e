//! Destinations and their exchanges, as far as the DNS has told us.
//!
//! A destination is looked up when somebody wants to connect to it. Exchanges' addresses are
//! shared between destinations. Positive answers live for their TTL; a definite "no" for its own;
//! a failure of the DNS itself for the hold the asker gives, so that a queue of any length asks
//! once and counts one failure.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::dns::{DnsAnswer, DnsData, DnsError, DnsErrorKind, MxRecord, Question};
use crate::ids::QueryId;
use crate::limits;
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
}

/// What is known about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Connect there.
    Ready(Arc<Plan>),
    /// Being asked; the asker is told when it is known.
    Pending,
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

/// Who asked: the slot of a queue.
pub(crate) type Asker = usize;

/// All destinations in use.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    routes: BTreeMap<Arc<str>, Route>,
    hosts: BTreeMap<Arc<str>, Host>,
    /// How many destinations are left after the last cleaning.
    left: usize,
    queries: BTreeMap<QueryId, Question>,
}

#[derive(Debug)]
struct Route {
    state: RouteState,
    policy: DnsPolicy,
    askers: Vec<Asker>,
    /// Consecutive failures of the DNS; cleared by an answer.
    failures: u32,
    /// Those of them that were MX look-ups.
    mx_failures: u32,
}

#[derive(Debug)]
enum RouteState {
    AskingMx,
    AskingHosts { records: Vec<MxRecord>, expires: Timestamp },
    Ready { plan: Arc<Plan>, expires: Timestamp },
    Failed { until: Timestamp, reply: Reply },
    Refused { expires: Timestamp, reply: Reply },
}

#[derive(Debug)]
struct Host {
    state: HostState,
    /// Destinations that wait for it.
    waiting: Vec<Arc<str>>,
}

#[derive(Debug)]
enum HostState {
    Asking,
    Known {
        addresses: Vec<IpAddr>,
        expires: Timestamp,
    },
    /// It has no address; perhaps not even its name exists.
    Missing {
        expires: Timestamp,
        exists: bool,
    },
    /// The DNS failed; only those who waited are told, the next one asks again.
    Failed {
        text: &'static str,
    },
}

impl Routes {
    /// What is known about `destination`; asks the DNS when nothing is, or no longer.
    pub(crate) fn lookup(
        &mut self,
        destination: &Arc<str>,
        asker: Asker,
        now: Timestamp,
        policy: DnsPolicy,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) -> Lookup {
        if let Some(address) = address_literal(destination) {
            return Lookup::Ready(Arc::new(Plan::literal(destination, address)));
        }
        self.make_room(now);
        let route = self.routes.entry(destination.clone()).or_insert_with(|| Route {
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
        if !route.askers.contains(&asker) {
            route.askers.push(asker);
        }
        if matches!(route.state, RouteState::AskingMx | RouteState::AskingHosts { .. }) {
            return Lookup::Pending;
        }
        if route.asks_mx() {
            route.state = RouteState::AskingMx;
            let question = Question::Mx(destination.clone());
            self.queries.insert(ask(question.clone()), question);
        } else {
            self.ask_hosts(destination, implicit_mx(destination), Timestamp::NEVER, now, ask);
        }
        // Every address may have been known already.
        match self.settle(destination, now) {
            Some(_) => self.routes[destination].known(now).unwrap_or(Lookup::Pending),
            None => Lookup::Pending,
        }
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
        let question = self.queries.remove(&query)?;
        let mut askers = Vec::new();
        match &question {
            Question::Mx(destination) => {
                self.mx_answer(destination, result, now, ask);
                askers.extend(self.settle(destination, now).into_iter().flatten());
            }
            Question::Addresses(name) => {
                for destination in self.host_answer(name, result, now) {
                    askers.extend(self.settle(&destination, now).into_iter().flatten());
                }
            }
        }
        Some((question, askers))
    }

    /// Forgets what was answered: the options it was judged by have changed. What failed stays
    /// failed for its time.
    pub(crate) fn forget_answers(&mut self) {
        self.routes.retain(|_, route| {
            !matches!(route.state, RouteState::Ready { .. } | RouteState::Refused { .. })
        });
        self.hosts.retain(|_, host| matches!(host.state, HostState::Asking));
    }

    /// Questions under way.
    pub(crate) fn outstanding(&self) -> usize {
        self.queries.len()
    }

    /// Whether `destination` is being looked up on behalf of `asker`.
    pub(crate) fn is_pending(&self, destination: &str, asker: Asker) -> bool {
        self.routes.get(destination).is_some_and(|route| route.askers.contains(&asker))
    }

    fn mx_answer(
        &mut self,
        destination: &Arc<str>,
        result: Result<DnsAnswer, DnsError>,
        now: Timestamp,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) {
        // Unwrap is OK because a route with an MX question under way is never dropped.
        let route = self.routes.get_mut(destination).expect("the route that asked");
        match result {
            Ok(DnsAnswer { data: DnsData::Mx(records), ttl }) => {
                let expires = now + route.policy.clamp(ttl);
                (route.failures, route.mx_failures) = (0, 0);
                if is_null_mx(&records) {
                    let text = "the domain does not accept mail (null MX)";
                    let reply = Reply::local(550, EnhancedCode(5, 4, 4), text);
                    route.state = RouteState::Refused { expires, reply };
                } else {
                    self.ask_hosts(destination, ranked(records), expires, now, ask);
                }
            }
            Err(DnsError { kind: DnsErrorKind::NoData, .. }) => {
                (route.failures, route.mx_failures) = (0, 0);
                self.ask_hosts(destination, implicit_mx(destination), Timestamp::NEVER, now, ask);
            }
            Err(DnsError { kind: DnsErrorKind::NxDomain, ttl, .. }) => {
                (route.failures, route.mx_failures) = (0, 0);
                let reply = Reply::local(554, EnhancedCode(5, 4, 4), "no such domain");
                let expires = now + route.policy.clamp(ttl);
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
        destination: &Arc<str>,
        records: Vec<MxRecord>,
        expires: Timestamp,
        now: Timestamp,
        ask: &mut dyn FnMut(Question) -> QueryId,
    ) {
        for record in &records {
            let host = self.hosts.entry(record.exchange.clone()).or_insert_with(|| Host {
                state: HostState::Failed { text: "" },
                waiting: Vec::new(),
            });
            if host.is_fresh(now) {
                continue;
            }
            if !matches!(host.state, HostState::Asking) {
                host.state = HostState::Asking;
                let question = Question::Addresses(record.exchange.clone());
                self.queries.insert(ask(question.clone()), question);
            }
            host.waiting.push(destination.clone());
        }
        // Unwrap is OK because callers hold the route.
        let route = self.routes.get_mut(destination).expect("the route that asks");
        route.state = RouteState::AskingHosts { records, expires };
    }

    fn host_answer(
        &mut self,
        name: &Arc<str>,
        result: Result<DnsAnswer, DnsError>,
        now: Timestamp,
    ) -> Vec<Arc<str>> {
        // Unwrap is OK because a host with a question under way is never dropped.
        let host = self.hosts.get_mut(name).expect("the host that was asked for");
        // All who wait share one clamp: the TTL bounds are options of the whole process.
        let clamp = |ttl| match host.waiting.first().and_then(|first| self.routes.get(first)) {
            Some(route) => route.policy.clamp(ttl),
            None => ttl,
        };
        host.state = match result {
            Ok(DnsAnswer { data: DnsData::Addresses(mut addresses), ttl }) => {
                addresses.truncate(limits::ADDRESSES_PER_EXCHANGE_MAX);
                HostState::Known { addresses, expires: now + clamp(ttl) }
            }
            Err(DnsError { kind: DnsErrorKind::NxDomain, ttl, .. }) => {
                HostState::Missing { expires: now + clamp(ttl), exists: false }
            }
            Err(DnsError { kind: DnsErrorKind::NoData, ttl, .. }) => {
                HostState::Missing { expires: now + clamp(ttl), exists: true }
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

    /// Makes a plan once every exchange of a destination is known. Returns those who waited when
    /// the destination is settled, whatever the result.
    fn settle(&mut self, destination: &Arc<str>, now: Timestamp) -> Option<Vec<Asker>> {
        let route = self.routes.get_mut(destination)?;
        if let RouteState::AskingHosts { records, expires } = &route.state {
            let hosts = &self.hosts;
            let asking = |record: &MxRecord| {
                hosts.get(&record.exchange).is_some_and(|h| matches!(h.state, HostState::Asking))
            };
            if records.iter().any(asking) {
                return None;
            }
            let (records, expires) = (records.clone(), *expires);
            route.make_plan(&records, expires, hosts, now);
        }
        match route.state {
            RouteState::AskingMx | RouteState::AskingHosts { .. } => None,
            _ => Some(core::mem::take(&mut route.askers)),
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
        self.hosts.retain(|name, host| host.is_fresh(now) || needed.contains(name));
        self.left = self.routes.len();
    }
}

impl Route {
    /// What is known and still believed.
    fn known(&self, now: Timestamp) -> Option<Lookup> {
        match &self.state {
            RouteState::AskingMx | RouteState::AskingHosts { .. } => None,
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

    fn make_plan(
        &mut self,
        records: &[MxRecord],
        mx_expires: Timestamp,
        hosts: &BTreeMap<Arc<str>, Host>,
        now: Timestamp,
    ) {
        let mut plan = Plan::default();
        let mut expires = mx_expires;
        let mut failed = None;
        for record in records {
            match hosts.get(&record.exchange).map(|host| &host.state) {
                Some(HostState::Known { addresses, expires: until }) => {
                    expires = expires.min(*until);
                    let mut addresses = addresses.clone();
                    addresses.retain(|address| address.is_ipv4() || self.policy.use_ipv6);
                    if !addresses.is_empty() {
                        plan.exchanges.push(Exchange {
                            name: record.exchange.clone(),
                            preference: record.preference,
                            addresses,
                        });
                    }
                }
                // Asked because the MX records could not be had: a name without addresses may
                // well have exchanges.
                Some(HostState::Missing { exists: true, .. }) if self.mx_failures > 0 => {
                    failed = Some("no address, and no answer about its exchanges");
                }
                Some(HostState::Missing { expires: until, .. }) => expires = expires.min(*until),
                Some(HostState::Failed { text }) => failed = Some(*text),
                Some(HostState::Asking) | None => {}
            }
        }
        match (plan.exchanges.is_empty(), failed) {
            (false, _) => {
                (self.failures, self.mx_failures) = (0, 0);
                self.state = RouteState::Ready { plan: Arc::new(plan), expires };
            }
            (true, Some(text)) => self.fail(now, false, text),
            (true, None) => {
                (self.failures, self.mx_failures) = (0, 0);
                let text = "no exchange of the domain has an address";
                let reply = Reply::local(554, EnhancedCode(5, 4, 4), text);
                self.state = RouteState::Refused { expires, reply };
            }
        }
    }
}

impl Host {
    fn is_fresh(&self, now: Timestamp) -> bool {
        match self.state {
            HostState::Known { expires, .. } | HostState::Missing { expires, .. } => now <= expires,
            HostState::Asking | HostState::Failed { .. } => false,
        }
    }
}

impl DnsPolicy {
    fn clamp(&self, ttl: Duration) -> Duration {
        ttl.max(self.ttl_min).min(self.ttl_max)
    }
}

/// A domain without MX records is its own exchange (RFC 5321 section 5.1).
fn implicit_mx(destination: &Arc<str>) -> Vec<MxRecord> {
    [MxRecord { preference: 0, exchange: destination.clone() }].to_vec()
}

fn lookup_failed(text: &str) -> Reply {
    Reply::local(451, EnhancedCode(4, 4, 3), &alloc::format!("domain look-up failed: {text}"))
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
