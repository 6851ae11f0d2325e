//! The simulated DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::dns::{DnsAnswer, DnsData, DnsError, DnsErrorKind, MxRecord, Question};
use traject_engine::rng::{Purpose, Seed, entity};
use traject_net::world::{Clock, Resolver};

use crate::oracle::{Names, Saying};
use crate::receiver::spec::ReceiverSpec;

/// `[dns]` of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSpec {
    /// TTL of answers whose zone does not say.
    pub ttl: Duration,
    /// TTL of negative answers.
    pub negative_ttl: Duration,
    /// Least time of an answer.
    pub latency: Duration,
    /// Added to it: uniform in `0..jitter`.
    pub jitter: Duration,
    /// Time after which an unanswered question fails.
    pub timeout: Duration,
    /// What receivers do not say already. A name given here replaces a receiver's while it is in
    /// force; of several the last counts.
    pub names: Vec<NameSpec>,
}

impl Default for DnsSpec {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(300),
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(10),
            names: Vec::new(),
        }
    }
}

/// What the DNS knows of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSpec {
    /// The name, in lower case.
    pub name: Arc<str>,
    /// Its MX records: (preference, exchange); an empty exchange is the null MX (RFC 7505).
    pub mx: Vec<(u16, Arc<str>)>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// TTL of its answers.
    pub ttl: Option<Duration>,
    /// Every question about it fails so.
    pub failure: Option<DnsFailure>,
    /// Questions for its exchanges fail so; its addresses can be had.
    pub mx_failure: Option<DnsFailure>,
    /// From when all this holds, counted from the start.
    pub from: Duration,
    /// Until when; `None` for ever.
    pub until: Option<Duration>,
}

/// How a question fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFailure {
    /// The servers fail.
    ServFail,
    /// The name is said not to exist.
    NxDomain,
    /// Nobody answers.
    Timeout,
}

impl DnsFailure {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 3] =
        [("servfail", Self::ServFail), ("nxdomain", Self::NxDomain), ("timeout", Self::Timeout)];

    const fn kind(self) -> DnsErrorKind {
        match self {
            Self::ServFail => DnsErrorKind::ServFail,
            Self::NxDomain => DnsErrorKind::NxDomain,
            Self::Timeout => DnsErrorKind::Timeout,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::ServFail => "server failure",
            Self::NxDomain => "no such domain",
            Self::Timeout => "no answer",
        }
    }
}

/// Everything the simulated DNS knows.
#[derive(Debug)]
pub struct Zones {
    spec: DnsSpec,
    /// What is said of each name and when; of several at a time the last counts.
    names: BTreeMap<Arc<str>, Vec<(Range<Timestamp>, NameSpec)>>,
    /// Names that fail for a while.
    outages: Vec<Outage>,
}

/// Something is wrong with some names for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When.
    pub during: Range<Timestamp>,
    /// What.
    pub trouble: Trouble,
    /// Which; `None` is every name.
    pub names: Option<Vec<Arc<str>>>,
}

/// What is wrong with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Questions fail.
    Fails(DnsFailure),
    /// Answers take so much longer. One that would come after the time-out does not come.
    Slow(Duration),
}

impl Outage {
    fn hits(&self, at: Timestamp, name: &str) -> bool {
        let concerns = |names: &Vec<Arc<str>>| names.iter().any(|one| **one == *name);
        self.during.contains(&at) && self.names.as_ref().is_none_or(concerns)
    }
}

impl Zones {
    /// The zones of a scenario that begins at `start`: what its receivers say, then what `[dns]`
    /// says.
    pub fn new(
        spec: DnsSpec,
        start: Timestamp,
        receivers: &[ReceiverSpec],
        outages: Vec<Outage>,
    ) -> Self {
        let mut base: BTreeMap<Arc<str>, NameSpec> = BTreeMap::new();
        for receiver in receivers {
            let records = receiver.exchanges.iter();
            let mx: Vec<_> = records.map(|one| (one.preference, Arc::clone(&one.host))).collect();
            for domain in &receiver.domains {
                base.entry(Arc::clone(domain)).or_default().mx.clone_from(&mx);
            }
            for exchange in &receiver.exchanges {
                let host = base.entry(Arc::clone(&exchange.host)).or_default();
                host.addresses.extend(&exchange.addresses);
            }
        }
        let always = Timestamp(0)..Timestamp::NEVER;
        let mut names: BTreeMap<Arc<str>, Vec<_>> =
            base.into_iter().map(|(name, one)| (name, vec![(always.clone(), one)])).collect();
        for name in &spec.names {
            let until = name.until.map_or(Timestamp::NEVER, |until| start + until);
            let from = if name.from.is_zero() { Timestamp(0) } else { start + name.from };
            names.entry(Arc::clone(&name.name)).or_default().push((from..until, name.clone()));
        }
        Self { spec, names, outages }
    }

    fn known(&self, now: Timestamp, name: &str) -> Option<&NameSpec> {
        let said = self.names.get(name)?.iter().rev();
        said.filter(|(during, _)| during.contains(&now)).map(|(_, one)| one).next()
    }

    /// All that is said, in the order of time, for whoever judges where mail went.
    pub fn history(&self) -> Names {
        let of_name = |(name, said): (&Arc<str>, &Vec<(Range<Timestamp>, NameSpec)>)| {
            let ends = said.iter().flat_map(|(during, _)| [during.start, during.end]);
            let mut instants: Vec<Timestamp> = ends.chain([Timestamp(0)]).collect();
            instants.sort_unstable();
            instants.dedup();
            instants.retain(|at| *at < Timestamp::NEVER);
            let next = instants.iter().copied().skip(1).chain([Timestamp::NEVER]);
            let sayings = instants.iter().zip(next).map(|(from, until)| {
                let known = self.known(*from, name).cloned().unwrap_or_default();
                Saying {
                    during: *from..until,
                    mx: known.mx,
                    addresses: known.addresses,
                    ttl: known.ttl.unwrap_or(self.spec.ttl),
                }
            });
            (Arc::clone(name), sayings.collect())
        };
        let said = self.names.iter().map(of_name).collect();
        let spec = &self.spec;
        Names { said, look_up: (spec.latency + spec.jitter) * 2 + self.longest_wait() }
    }

    /// How much longer two answers may take, one after the other, when something is wrong.
    fn longest_wait(&self) -> Duration {
        let mut names = self.names.values().flatten().map(|(_, name)| name);
        let silent = |failure| failure == Some(DnsFailure::Timeout);
        let any = names.any(|name| silent(name.failure) || silent(name.mx_failure))
            || self.outages.iter().any(|one| one.trouble == Trouble::Fails(DnsFailure::Timeout));
        if any {
            return self.spec.timeout * 2;
        }
        let slow = |outage: &Outage| match outage.trouble {
            Trouble::Slow(by) => by,
            Trouble::Fails(_) => Duration::ZERO,
        };
        let more: Duration = self.outages.iter().map(slow).sum();
        more.min(self.spec.timeout) * 2
    }

    /// The answer to a question at `now`.
    pub fn answer(&self, now: Timestamp, question: &Question) -> Result<DnsAnswer, DnsError> {
        let name = question.name();
        if let Some(failure) = self.failure(now, question) {
            return Err(self.error(failure.kind(), failure.text(), question));
        }
        let Some(known) = self.known(now, name) else {
            return Err(self.error(DnsErrorKind::NxDomain, "no such domain", question));
        };
        let ttl = known.ttl.unwrap_or(self.spec.ttl);
        let data = match question {
            Question::Mx(_) if !known.mx.is_empty() => {
                let record = |(preference, exchange): &(u16, Arc<str>)| MxRecord {
                    preference: *preference,
                    exchange: Arc::clone(exchange),
                };
                DnsData::Mx(known.mx.iter().map(record).collect())
            }
            Question::Addresses(_) if !known.addresses.is_empty() => {
                DnsData::Addresses(known.addresses.clone())
            }
            _ => return Err(self.error(DnsErrorKind::NoData, "no such record", question)),
        };
        Ok(DnsAnswer { data, ttl })
    }

    fn failure(&self, now: Timestamp, question: &Question) -> Option<DnsFailure> {
        let name = question.name();
        let mut outages = self.outages.iter().filter(|outage| outage.hits(now, name));
        let out = outages.find_map(|outage| match outage.trouble {
            Trouble::Fails(failure) => Some(failure),
            Trouble::Slow(_) => None,
        });
        let lasting = || {
            let known = self.known(now, name)?;
            let of_mx = known.mx_failure.filter(|_| matches!(question, Question::Mx(_)));
            known.failure.or(of_mx)
        };
        out.or_else(lasting)
    }

    /// How much longer than usual the answer to a question of `now` takes.
    fn slowness(&self, now: Timestamp, name: &str) -> Duration {
        let hits = self.outages.iter().filter(|outage| outage.hits(now, name));
        hits.filter_map(|outage| match outage.trouble {
            Trouble::Slow(by) => Some(by),
            Trouble::Fails(_) => None,
        })
        .sum()
    }

    fn error(&self, kind: DnsErrorKind, text: &str, question: &Question) -> DnsError {
        let ttl = match kind {
            DnsErrorKind::NxDomain | DnsErrorKind::NoData => self.spec.negative_ttl,
            DnsErrorKind::ServFail | DnsErrorKind::Timeout => Duration::ZERO,
        };
        DnsError { kind, ttl, text: format!("{question}: {text}").into() }
    }
}

/// Answers questions from [`Zones`], after some time.
#[derive(Clone, Debug)]
pub struct SimResolver<C> {
    zones: Arc<Zones>,
    clock: C,
    seed: Seed,
    /// Questions so far about each name, to key the draws of their latency.
    asked: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl<C: Clock> SimResolver<C> {
    /// A resolver over `zones`.
    pub fn new(zones: Zones, clock: C, seed: Seed) -> Self {
        Self { zones: Arc::new(zones), clock, seed, asked: Arc::default() }
    }

    /// How long the next answer about `name` takes.
    fn delay(&self, name: &str) -> Duration {
        let spec = &self.zones.spec;
        let jitter = spec.jitter.as_micros() as u64;
        if jitter == 0 {
            return spec.latency;
        }
        let entity = entity(name.as_bytes());
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let n = asked.entry(entity).or_insert(0);
        *n += 1;
        let extra = self.seed.draw_below(Purpose::Dns, entity, *n, jitter);
        spec.latency + Duration::from_micros(extra)
    }
}

impl<C: Clock> Resolver for SimResolver<C> {
    async fn resolve(&self, question: Question) -> Result<DnsAnswer, DnsError> {
        let asked_at = self.clock.now();
        let delay = self.delay(question.name()) + self.zones.slowness(asked_at, question.name());
        let timeout = self.zones.spec.timeout;
        self.clock.sleep_until(asked_at + delay.min(timeout)).await;
        if delay > timeout {
            let silence = DnsFailure::Timeout;
            return Err(self.zones.error(silence.kind(), silence.text(), &question));
        }
        let answer = self.zones.answer(self.clock.now(), &question);
        if matches!(&answer, Err(error) if error.kind == DnsErrorKind::Timeout) {
            self.clock.sleep_until(asked_at + timeout).await;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{SimWorld, WorldOptions};
    use crate::receiver::spec::{Bandwidth, Exchange, Extensions, Latency, Protocol};

    fn receiver() -> ReceiverSpec {
        let exchange = |host: &str, preference, last: u8| Exchange {
            host: host.into(),
            preference,
            addresses: vec![IpAddr::from([198, 18, 0, last])],
        };
        ReceiverSpec {
            name: "r".into(),
            profile: None,
            domains: vec!["a.test".into(), "b.test".into()],
            exchanges: vec![exchange("mx1.a.test", 10, 1), exchange("mx2.a.test", 20, 2)],
            protocol: Protocol::Smtp,
            port: 25,
            latency: Latency { base: Duration::ZERO, jitter: Duration::ZERO },
            extensions: Extensions::default(),
            limits: Vec::new(),
            unknown: None,
            bandwidth: Bandwidth::default(),
            greylist: None,
            rules: Vec::new(),
            tls: Vec::new(),
        }
    }

    const START: Timestamp = Timestamp(0);

    fn zones() -> Zones {
        let name = |name: &str| NameSpec { name: name.into(), ..NameSpec::default() };
        let spec = DnsSpec {
            names: vec![
                NameSpec { mx: vec![(0, "".into())], ..name("dead.test") },
                NameSpec { failure: Some(DnsFailure::ServFail), ..name("broken.test") },
                NameSpec { addresses: vec!["192.0.2.9".parse().unwrap()], ..name("mx2.a.test") },
                NameSpec {
                    mx_failure: Some(DnsFailure::ServFail),
                    addresses: vec!["192.0.2.8".parse().unwrap()],
                    ..name("half.test")
                },
                NameSpec {
                    mx: vec![(5, "mx3.a.test".into())],
                    from: Duration::from_secs(50),
                    until: Some(Duration::from_secs(90)),
                    ..name("a.test")
                },
            ],
            ..DnsSpec::default()
        };
        let outage = Outage {
            during: Timestamp::from_secs(100)..Timestamp::from_secs(200),
            trouble: Trouble::Fails(DnsFailure::Timeout),
            names: Some(vec!["b.test".into()]),
        };
        let slow = |from: u64, seconds| Outage {
            during: Timestamp::from_secs(from)..Timestamp::from_secs(from + 10),
            trouble: Trouble::Slow(Duration::from_secs(seconds)),
            names: None,
        };
        Zones::new(spec, START, &[receiver()], vec![outage, slow(300, 4), slow(305, 7)])
    }

    #[test]
    fn answers_come_from_receivers_overrides_and_outages() {
        let zones = zones();
        let mx = |name: &str| Question::Mx(name.into());
        let addresses = |name: &str| Question::Addresses(name.into());
        let show = |second, question: &Question| match zones
            .answer(Timestamp::from_secs(second), question)
        {
            Ok(answer) => match answer.data {
                DnsData::Mx(records) => records
                    .iter()
                    .map(|record| format!("{} {}", record.preference, record.exchange))
                    .collect::<Vec<_>>()
                    .join(", "),
                DnsData::Addresses(all) => format!("{all:?}"),
            },
            Err(error) => format!("{:?}", error.kind),
        };
        for (second, question, expected) in [
            (0, mx("a.test"), "10 mx1.a.test, 20 mx2.a.test"),
            (0, mx("b.test"), "10 mx1.a.test, 20 mx2.a.test"),
            (0, addresses("mx1.a.test"), "[198.18.0.1]"),
            (0, addresses("mx2.a.test"), "[192.0.2.9]"),
            (0, addresses("a.test"), "NoData"),
            (0, mx("dead.test"), "0 "),
            (0, mx("broken.test"), "ServFail"),
            (0, mx("nowhere.test"), "NxDomain"),
            (0, mx("half.test"), "ServFail"),
            (0, addresses("half.test"), "[192.0.2.8]"),
            (49, mx("a.test"), "10 mx1.a.test, 20 mx2.a.test"),
            (50, mx("a.test"), "5 mx3.a.test"),
            (90, mx("a.test"), "10 mx1.a.test, 20 mx2.a.test"),
            (99, mx("b.test"), "10 mx1.a.test, 20 mx2.a.test"),
            (100, mx("b.test"), "Timeout"),
            (200, mx("b.test"), "10 mx1.a.test, 20 mx2.a.test"),
        ] {
            assert_eq!(show(second, &question), expected, "{question} at {second}");
        }
    }

    #[test]
    fn the_history_has_every_change() {
        let history = zones().history();
        assert_eq!(history.look_up, Duration::from_millis(20_010));
        let history = history.said;
        let told: Vec<_> = history["a.test"]
            .iter()
            .map(|one| (one.during.start.as_secs(), one.mx[0].0, one.mx.len()))
            .collect();
        assert_eq!(told, [(0, 10, 2), (50, 5, 1), (90, 10, 2)]);
        assert_eq!(history["a.test"][2].during.end, Timestamp::NEVER);
        assert_eq!(history["b.test"].len(), 1);
        assert_eq!(history["mx2.a.test"][0].addresses.len(), 1);
    }

    #[test]
    fn answers_take_their_time_and_silence_takes_longer() {
        let mut world = SimWorld::new(WorldOptions::default());
        let clock = world.clock();
        let resolver = SimResolver::new(zones(), clock.clone(), Seed::from_u64(1));
        let elapsed = world.run(async move {
            let mut instants = Vec::new();
            resolver.resolve(Question::Mx("a.test".into())).await.unwrap();
            instants.push(clock.now());
            clock.sleep_until(Timestamp::from_secs(100)).await;
            resolver.resolve(Question::Mx("b.test".into())).await.unwrap_err();
            instants.push(clock.now());
            // 4 s longer, then 4 s and 7 s: longer than anybody waits.
            for (second, kind) in [(300, None), (306, Some(DnsErrorKind::Timeout)), (315, None)] {
                clock.sleep_until(Timestamp::from_secs(second)).await;
                let answer = resolver.resolve(Question::Mx("a.test".into())).await;
                assert_eq!(answer.err().map(|error| error.kind), kind);
                instants.push(clock.now());
            }
            instants
        });
        let instants = [5_000, 110_000_000, 304_005_000, 316_000_000, 316_005_000];
        assert_eq!(elapsed.unwrap(), instants.map(Timestamp));
    }
}
