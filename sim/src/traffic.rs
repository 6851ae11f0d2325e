//! Simulated traffic: which messages arrive when.
//!
//! The plan is streamed: one arrival at a time, each a function of (seed, traffic, number), so that
//! a million messages cost no memory and a change of one traffic leaves the others as they were.

pub mod curve;
pub mod recorded;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::config::{Config, DEFAULT_BINDING};
use traject_engine::ids::MessageId;
use traject_engine::rng::{Purpose, Seed, entity};
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::{Timestamp, binding_of_group};

use self::curve::Curve;
use self::recorded::Row;

/// One `[[traffic]]` of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficSpec {
    /// Its name; all its draws are keyed by it.
    pub name: Arc<str>,
    /// Envelope sender; `None` is the null sender of bounces.
    pub from: Option<MailboxPattern>,
    /// Recipients, each with its weight; never empty.
    pub to: Vec<(MailboxPattern, u32)>,
    /// How many messages.
    pub messages: u64,
    /// When the first may arrive.
    pub start: Duration,
    /// Within what time they arrive.
    pub over: Duration,
    /// How they are spread over that time.
    pub shape: Shape,
    /// Sizes of bodies in bytes, drawn uniformly.
    pub size_bytes: RangeInclusive<u64>,
    /// Whether bodies hold bytes above 127.
    pub eight_bit: bool,
    /// Recipients of each message.
    pub recipients: Fanout,
    /// What sends them.
    pub sent_by: SentBy,
    /// How they come in.
    pub through: Through,
    /// The client that hands them in.
    pub client: Option<IpAddr>,
}

/// How messages come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Straight into the queue.
    Queue,
    /// By SMTP, through a listener: that at an address, or the first there is.
    Listener(Option<SocketAddr>),
}

impl Through {
    /// Where a listener of `config` can be reached. The inner `None`: there is no such listener;
    /// the outer one: mail does not come through any.
    pub fn address(self, config: &Config) -> Option<Option<SocketAddr>> {
        let Self::Listener(wanted) = self else { return None };
        let mut all = config.listeners().iter().flat_map(|one| one.addresses.iter().copied());
        Some(match wanted {
            None => all.next(),
            Some(wanted) => all
                .any(|one| {
                    let everywhere = one.ip().is_unspecified() && one.is_ipv4() == wanted.is_ipv4();
                    one == wanted || (everywhere && one.port() == wanted.port())
                })
                .then_some(wanted),
        })
    }
}

impl TrafficSpec {
    /// The bindings that may send its messages. Who comes through a listener may get any.
    pub fn bindings(&self, config: &Config) -> Vec<Arc<str>> {
        match self.through {
            Through::Queue => self.sent_by.bindings(config),
            Through::Listener(_) => SentBy::Listener.bindings(config),
        }
    }
}

/// What sends the messages of a traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentBy {
    /// A binding.
    Binding(Arc<str>),
    /// The members of a binding group, as the group shares them out.
    Group(Arc<str>),
    /// What the listener says.
    Listener,
}

impl SentBy {
    /// The bindings that may send a message.
    pub fn bindings(&self, config: &Config) -> Vec<Arc<str>> {
        match self {
            Self::Binding(name) => vec![Arc::clone(name)],
            Self::Group(name) => {
                config.group_members(name).iter().map(|member| Arc::clone(&member.name)).collect()
            }
            Self::Listener => {
                let mut all: BTreeSet<Arc<str>> = config.bindings().map(Arc::from).collect();
                all.insert(DEFAULT_BINDING.into());
                all.into_iter().collect()
            }
        }
    }

    /// The binding that sends a message; `None` if the group has no members.
    pub fn binding(&self, config: &Config, seed: &Seed, message: MessageId) -> Option<Arc<str>> {
        match self {
            Self::Binding(name) => Some(Arc::clone(name)),
            Self::Group(name) => binding_of_group(config, seed, message, name),
            Self::Listener => None,
        }
    }
}

/// How arrivals are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All at the start.
    Burst,
    /// At equal distances.
    Constant,
    /// At random: a Poisson process that is known to bring that many.
    Poisson,
    /// As dense as the hours of the day are heavy.
    Daily(Curve),
    /// As they were recorded, in the order of their times.
    Recorded(Arc<[Row]>),
}

/// How many recipients a message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fanout {
    /// So many, each drawn by weight.
    Drawn(RangeInclusive<u32>),
    /// One for each entry of `to`.
    All,
}

/// A mailbox in which `{n}` stands for a running number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxPattern {
    local_before: Arc<str>,
    /// What follows the number; `None`: there is no number.
    local_after: Option<Arc<str>>,
    domain: Arc<str>,
}

impl MailboxPattern {
    /// Reads `news@a.test`, `user{n}@a.test`, or a bare domain, which stands for `user{n}` there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (local, domain) = text.rsplit_once('@').unwrap_or((DEFAULT_LOCAL, text));
        let domain = destination(domain)?;
        let plain =
            |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || LOCAL.contains(&b));
        let (before, after) = match local.split_once("{n}") {
            Some((before, after)) => (before, Some(after)),
            None => (local, None),
        };
        if local.is_empty() || !plain(before) || !after.is_none_or(plain) {
            return Err(format!("`{local}` cannot stand before the @ of a mailbox"));
        }
        if local.len() > LOCAL_BYTES_MAX {
            return Err(format!("more than {LOCAL_BYTES_MAX} characters before the @"));
        }
        Ok(Self { local_before: before.into(), local_after: after.map(Into::into), domain })
    }

    /// The domain of every mailbox of this pattern.
    pub fn domain(&self) -> &Arc<str> {
        &self.domain
    }

    fn mailbox(&self, n: u64) -> Mailbox {
        let local = match &self.local_after {
            Some(after) => format!("{}{n}{after}", self.local_before).into(),
            None => Arc::clone(&self.local_before),
        };
        Mailbox { local, domain: Arc::clone(&self.domain) }
    }
}

/// What may stand behind the `@`: a domain, or an address literal (RFC 5321 section 4.1.3).
fn destination(text: &str) -> Result<Arc<str>, String> {
    match address_of_literal(&text.to_ascii_lowercase()) {
        Some(_) => Ok(text.to_ascii_lowercase().into()),
        None => domain_name(text),
    }
}

/// The address of `[192.0.2.1]` or `[ipv6:2001:db8::1]`.
pub fn address_of_literal(domain: &str) -> Option<IpAddr> {
    let inside = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inside.strip_prefix("ipv6:") {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => inside.parse().ok().map(IpAddr::V4),
    }
}

/// A domain in lower case: letters, digits and hyphens between dots.
pub fn domain_name(text: &str) -> Result<Arc<str>, String> {
    let lower = text.to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if lower.len() > 253 || !lower.split('.').all(label) {
        return Err(format!("`{text}` is not a domain"));
    }
    Ok(lower.into())
}

/// A message about to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// Envelope sender.
    pub reverse_path: ReversePath,
    /// Envelope recipients: at least one, all different.
    pub recipients: Vec<Mailbox>,
    /// Size of the body.
    pub size_bytes: u64,
    /// Whether the body holds bytes above 127.
    pub eight_bit: bool,
    /// What sends it.
    pub sent_by: SentBy,
    /// How it comes in.
    pub through: Through,
    /// The client that hands it in.
    pub client: Option<IpAddr>,
}

/// Every arrival of a scenario, in order of time.
#[derive(Debug)]
pub struct Plan {
    streams: Vec<Stream>,
    /// (instant of the next arrival, position of its stream).
    next: BTreeSet<(Timestamp, usize)>,
}

impl Plan {
    /// The plan of `traffic` for a world that starts at `start`.
    pub fn new(seed: Seed, start: Timestamp, traffic: &[TrafficSpec]) -> Self {
        let mut streams: Vec<Stream> =
            traffic.iter().map(|spec| Stream::new(seed, start, spec.clone())).collect();
        let next = streams
            .iter_mut()
            .enumerate()
            .filter_map(|(n, stream)| stream.next_instant().map(|at| (at, n)))
            .collect();
        Self { streams, next }
    }

    /// When the next message arrives.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.next.first().map(|(at, _)| *at)
    }
}

impl Iterator for Plan {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let (at, n) = self.next.pop_first()?;
        let stream = &mut self.streams[n];
        let arrival = stream.arrival(at);
        if let Some(next) = stream.next_instant() {
            self.next.insert((next, n));
        }
        Some(arrival)
    }
}

/// The arrivals of one traffic.
#[derive(Debug)]
struct Stream {
    spec: TrafficSpec,
    seed: Seed,
    entity: u64,
    start: Timestamp,
    /// Messages given out.
    arrived: u64,
    /// Poisson: how far into `over` the last arrival was, from 0 to 1.
    progress: f64,
    weight_total: u64,
    /// Numbers set aside for the `{n}` of one message.
    numbers_per_message: u64,
}

impl Stream {
    fn new(seed: Seed, world_start: Timestamp, spec: TrafficSpec) -> Self {
        let numbers_per_message = match &spec.recipients {
            Fanout::Drawn(range) => u64::from(*range.end()),
            Fanout::All => 1,
        };
        Self {
            seed,
            entity: entity(spec.name.as_bytes()),
            start: world_start + spec.start,
            arrived: 0,
            progress: 0.0,
            weight_total: spec.to.iter().map(|(_, weight)| u64::from(*weight)).sum(),
            numbers_per_message,
            spec,
        }
    }

    /// The instant of the next arrival; draws it.
    fn next_instant(&mut self) -> Option<Timestamp> {
        let left = self.spec.messages.checked_sub(self.arrived).filter(|left| *left > 0)?;
        let over = self.spec.over.as_micros() as u64;
        let offset = match &self.spec.shape {
            Shape::Burst => 0,
            Shape::Constant => scale(over, self.arrived, self.spec.messages),
            Shape::Poisson => {
                // The least of `left` uniform instants in what remains of the time.
                let unit = self.draw_unit(Draw::Arrival, 0);
                let step = 1.0 - libm::pow(1.0 - unit, 1.0 / left as f64);
                self.progress += (1.0 - self.progress) * step;
                (self.progress * over as f64) as u64
            }
            Shape::Daily(curve) => {
                curve.offset(self.arrived, self.spec.messages).as_micros() as u64
            }
            Shape::Recorded(rows) => rows.get(self.arrived as usize)?.at.as_micros() as u64,
        };
        Some(self.start + Duration::from_micros(offset))
    }

    fn arrival(&mut self, at: Timestamp) -> Arrival {
        let recorded = match &self.spec.shape {
            Shape::Recorded(rows) => rows.get(self.arrived as usize),
            Shape::Burst | Shape::Constant | Shape::Poisson | Shape::Daily(_) => None,
        };
        let (least, most) = (*self.spec.size_bytes.start(), *self.spec.size_bytes.end());
        let size_bytes = recorded
            .and_then(|row| row.size_bytes)
            .unwrap_or_else(|| least + self.draw_below(Draw::Size, 0, most - least + 1));
        let recipients = match recorded.and_then(|row| row.to.as_deref()) {
            Some(to) => self.recorded_recipients(to),
            None => self.recipients(),
        };
        let from = recorded.and_then(|row| row.from.as_ref()).unwrap_or(&self.spec.from);
        let reverse_path = ReversePath(from.as_ref().map(|p| p.mailbox(self.arrived)));
        self.arrived += 1;
        Arrival {
            at,
            reverse_path,
            recipients,
            size_bytes,
            eight_bit: self.spec.eight_bit,
            sent_by: self.spec.sent_by.clone(),
            through: self.spec.through,
            client: self.spec.client,
        }
    }

    fn recorded_recipients(&self, to: &[MailboxPattern]) -> Vec<Mailbox> {
        let mut recipients: Vec<Mailbox> = Vec::with_capacity(to.len());
        for pattern in to {
            let mailbox = pattern.mailbox(self.arrived);
            if !recipients.contains(&mailbox) {
                recipients.push(mailbox);
            }
        }
        recipients
    }

    fn recipients(&self) -> Vec<Mailbox> {
        let first_number = self.arrived * self.numbers_per_message;
        match &self.spec.recipients {
            Fanout::All => self.spec.to.iter().map(|(to, _)| to.mailbox(first_number)).collect(),
            Fanout::Drawn(range) => {
                let (least, most) = (*range.start(), *range.end());
                let spread = u64::from(most - least + 1);
                let count = u64::from(least) + self.draw_below(Draw::Fanout, 0, spread);
                let mut recipients: Vec<Mailbox> = Vec::with_capacity(count as usize);
                for n in 0..count {
                    let mailbox = self.target(n).mailbox(first_number + n);
                    if !recipients.contains(&mailbox) {
                        recipients.push(mailbox);
                    }
                }
                recipients
            }
        }
    }

    /// Where the `n`-th recipient of the present message lives, by weight.
    fn target(&self, n: u64) -> &MailboxPattern {
        if let [(only, _)] = &self.spec.to[..] {
            return only;
        }
        let mut at = self.draw_below(Draw::Target, n, self.weight_total);
        for (pattern, weight) in &self.spec.to {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return pattern,
            }
        }
        &self.spec.to[self.spec.to.len() - 1].0
    }

    fn draw_below(&self, draw: Draw, n: u64, bound: u64) -> u64 {
        self.seed.draw_below(
            Purpose::Traffic,
            self.entity ^ draw as u64,
            self.draw_number(n),
            bound,
        )
    }

    fn draw_unit(&self, draw: Draw, n: u64) -> f64 {
        self.seed.draw_unit(Purpose::Traffic, self.entity ^ draw as u64, self.draw_number(n))
    }

    fn draw_number(&self, n: u64) -> u64 {
        (self.arrived << RECIPIENTS_BITS) | n
    }
}

/// What a draw decides: each a family of its own, mixed into the entity.
#[derive(Clone, Copy)]
enum Draw {
    Arrival = 1,
    Fanout = 2,
    Target = 3,
    Size = 4,
}

/// `whole * part / parts` without overflow.
fn scale(whole: u64, part: u64, parts: u64) -> u64 {
    (u128::from(whole) * u128::from(part) / u128::from(parts.max(1))) as u64
}

/// Bytes of a local part (RFC 5321 section 4.5.3.1.1), its pattern here.
const LOCAL_BYTES_MAX: usize = 48;

/// Bytes other than letters and digits that a local part may hold here, all legal without quotes.
const LOCAL: &[u8] = b".+-_=/#!%&'*?^`|~$";

/// The local part of a bare domain.
const DEFAULT_LOCAL: &str = "user{n}";

/// Bits of a draw's number that tell recipients of one message apart.
const RECIPIENTS_BITS: u32 = 16;

/// Most recipients a message of a scenario may have.
pub const RECIPIENTS_PER_MESSAGE_MAX: u64 = 1 << RECIPIENTS_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: Shape, to: &[(&str, u32)]) -> TrafficSpec {
        TrafficSpec {
            name: "t".into(),
            from: Some(MailboxPattern::parse("news@brand.test").unwrap()),
            to: to.iter().map(|(p, w)| (MailboxPattern::parse(p).unwrap(), *w)).collect(),
            messages: 1000,
            start: Duration::from_secs(10),
            over: Duration::from_secs(100),
            shape,
            size_bytes: 1000..=2000,
            eight_bit: false,
            recipients: Fanout::Drawn(1..=1),
            sent_by: SentBy::Binding("default".into()),
            through: Through::Queue,
            client: None,
        }
    }

    fn plan(traffic: &[TrafficSpec]) -> Vec<Arrival> {
        Plan::new(Seed::from_u64(1), Timestamp::from_secs(1000), traffic).collect()
    }

    #[test]
    fn patterns_of_mailboxes() {
        let name = |text: &str, n| MailboxPattern::parse(text).map(|p| p.mailbox(n).to_string());
        assert_eq!(name("User{n}.x@A.test", 7), Ok("User7.x@a.test".into()));
        assert_eq!(name("a.test", 7), Ok("user7@a.test".into()));
        assert_eq!(name("fix@a.test", 7), Ok("fix@a.test".into()));
        for broken in ["", "@a.test", "a b@c.test", "x@", "x@a..test", "x@-a.test", "\"q\"@a.test"]
        {
            assert!(MailboxPattern::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn shapes_bring_every_message_within_their_time() {
        for shape in [Shape::Burst, Shape::Constant, Shape::Poisson] {
            let arrivals = plan(&[spec(shape.clone(), &[("a.test", 1)])]);
            assert_eq!(arrivals.len(), 1000, "{shape:?}");
            assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
            let (first, last) = (arrivals[0].at, arrivals[999].at);
            assert!(first >= Timestamp::from_secs(1010) && last < Timestamp::from_secs(1110));
            match shape {
                Shape::Burst => assert_eq!(last, first),
                Shape::Constant => assert_eq!(last, first + Duration::from_micros(99_900_000)),
                Shape::Poisson => {
                    let half = arrivals[500].at.saturating_since(first).as_secs();
                    assert!((45..55).contains(&half), "{half}");
                }
                Shape::Daily(_) | Shape::Recorded(_) => {}
            }
        }
    }

    #[test]
    fn a_recording_is_followed_and_the_traffic_says_the_rest() {
        let rows =
            recorded::read("time,to,from,size\n5,x@b.test x@b.test y@c.test,<>,70\n").unwrap();
        let mut of_file = spec(Shape::Recorded(rows.into()), &[("a.test", 1)]);
        of_file.messages = 1;
        let arrivals = plan(&[of_file]);
        let [arrival] = &arrivals[..] else { panic!("{arrivals:?}") };
        assert_eq!(arrival.at, Timestamp::from_secs(1015));
        assert_eq!((arrival.size_bytes, &arrival.reverse_path), (70, &ReversePath(None)));
        let names: Vec<String> = arrival.recipients.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["x@b.test", "y@c.test"]);

        let rows = recorded::read("time\n5\n6\n").unwrap();
        let mut of_spec = spec(Shape::Recorded(rows.into()), &[("a.test", 1)]);
        of_spec.messages = 2;
        let arrivals = plan(&[of_spec]);
        assert_eq!(arrivals[1].recipients[0].to_string(), "user1@a.test");
        assert_eq!(arrivals[1].reverse_path.to_string(), "<news@brand.test>");
    }

    #[test]
    fn weights_share_the_recipients() {
        let arrivals = plan(&[spec(Shape::Burst, &[("a.test", 3), ("b.test", 1)])]);
        let a =
            arrivals.iter().filter(|arrival| &*arrival.recipients[0].domain == "a.test").count();
        assert!((700..800).contains(&a), "{a}");
        assert!(arrivals.iter().all(|arrival| (1000..=2000).contains(&arrival.size_bytes)));
    }

    #[test]
    fn a_message_to_all_has_one_recipient_of_each_and_never_one_twice() {
        let mut all = spec(Shape::Burst, &[("x@a.test", 1), ("{n}@b.test", 1)]);
        all.recipients = Fanout::All;
        let names: Vec<String> =
            plan(&[all])[5].recipients.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["x@a.test", "5@b.test"]);

        let mut drawn = spec(Shape::Burst, &[("x@a.test", 1)]);
        drawn.recipients = Fanout::Drawn(3..=3);
        assert_eq!(plan(&[drawn])[0].recipients.len(), 1);
    }

    #[test]
    fn one_traffic_does_not_shift_another() {
        let a = spec(Shape::Poisson, &[("a.test", 1), ("b.test", 2)]);
        let mut b = spec(Shape::Poisson, &[("c.test", 1)]);
        b.name = "other".into();
        let alone = plan(std::slice::from_ref(&a));
        let mut together = plan(&[b, a]);
        together.retain(|arrival| &*arrival.recipients[0].domain != "c.test");
        assert_eq!(alone, together);
    }
}
