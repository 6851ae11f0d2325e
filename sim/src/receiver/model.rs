//! How a receiver decides. No sockets, no clock: (instant, connection, stage, argument) in, a
//! decision out, so that any world can use it.

mod blocks;
mod greylist;
mod groups;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::rng::{Purpose, Seed, entity};

use self::blocks::{Named, Offences};
use self::greylist::{Known, meet};
use self::groups::{Counts, Group, Groups};
use super::spec::{
    Act, Block, CountedBy, Limit, Limited, Order, ReceiverSpec, ReplyText, Response, Rule, Stage,
};
use crate::glob::Glob;

/// A receiver and everything it remembers.
#[derive(Debug)]
pub struct Receiver {
    spec: Arc<ReceiverSpec>,
    seed: Seed,
    entity: u64,
    /// The start of the scenario: time windows count from it.
    start: Timestamp,
    /// One for each limit of the spec.
    counts: Vec<Counts>,
    /// One for each limit of the spec.
    offences: Vec<Offences>,
    /// Who named which recipients.
    named: Named,
    /// By the hash of what makes a sender known.
    greylist: Groups<Option<Known>, u64>,
    /// How often something was drawn for an argument.
    draws: BTreeMap<(u64, u64), u64>,
    /// How often each response with replies in turn was given.
    turns: BTreeMap<Site, usize>,
}

/// What a receiver knows of one connection.
#[derive(Debug)]
pub struct Session {
    source: IpAddr,
    /// The exchange.
    host: Arc<str>,
    /// Whether each limit counts this connection as open.
    counted: Vec<bool>,
    /// Whether each limit was exceeded when the connection (or its message) began.
    exceeded: Vec<bool>,
    /// What our client calls itself.
    ehlo: String,
    /// For whom it says it speaks (XCLIENT ADDR).
    client: Option<String>,
    /// Messages begun.
    messages: u32,
    /// The message under way.
    sender: String,
    /// Whether 8-bit content was announced for it.
    announced: bool,
    /// Its bytes as announced; once it is there, as they are. Zero while unknown.
    size: u64,
    recipients: u32,
    /// A name for the message under way, to key draws with.
    transaction: u64,
    /// What every reply waits.
    tarpit: Duration,
}

/// What a receiver is asked to decide about.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Someone connected.
    Banner,
    /// EHLO or LHLO, with the name given.
    Ehlo(&'a str),
    /// HELO.
    Helo(&'a str),
    /// XCLIENT, with the value of ADDR.
    Xclient(Option<&'a str>),
    /// MAIL FROM.
    Mail {
        /// The empty sender is the null one.
        sender: &'a str,
        /// Whether 8-bit content is announced.
        eight_bit: bool,
        /// How many bytes are announced (RFC 1870).
        size: Option<u64>,
    },
    /// RCPT TO.
    Rcpt(&'a str),
    /// DATA.
    Data,
    /// The message is complete.
    Body {
        /// Its name, as far as it has one.
        message: u64,
        /// Whose reply is wanted, where each recipient has one (LMTP).
        recipient: Option<&'a str>,
        /// Whether it holds bytes above 127.
        eight_bit: bool,
        /// How many bytes it has.
        size: u64,
    },
    /// RSET.
    Rset,
}

impl Event<'_> {
    /// The point of the dialogue.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Banner => Stage::Banner,
            Self::Ehlo(_) => Stage::Ehlo,
            Self::Helo(_) => Stage::Helo,
            Self::Xclient(_) => Stage::Xclient,
            Self::Mail { .. } => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::Body { .. } => Stage::Body,
            Self::Rset => Stage::Rset,
        }
    }
}

/// What a receiver decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Wait so long first.
    pub delay: Duration,
    /// Do this; `None` is the plain yes of the stage.
    pub act: Option<Act>,
    /// Whether the receiver goes along: at [`Stage::Body`] the message is its own from now on.
    pub accepts: bool,
    /// The position of the limit that is exceeded, unless something else is said about that.
    pub exceeds: Option<usize>,
}

impl Decision {
    /// To do this, whatever it is, and not to go along.
    pub(super) fn refusal(act: &Act) -> Self {
        Self { accepts: false, ..Self::of(act.clone(), Duration::ZERO) }
    }

    const YES: Self = Self { delay: Duration::ZERO, act: None, accepts: true, exceeds: None };

    fn of(act: Act, delay: Duration) -> Self {
        let accepts = act.goes_along();
        Self { delay, act: Some(act), accepts, exceeds: None }
    }
}

impl Receiver {
    /// A receiver at the `start` of a scenario.
    pub fn new(spec: Arc<ReceiverSpec>, seed: Seed, start: Timestamp) -> Self {
        let counts = spec.limits.iter().map(|limit| Counts::of(limit.what)).collect();
        let offences = spec.limits.iter().map(|_| Offences::default()).collect();
        let entity = entity(spec.name.as_bytes());
        Self {
            spec,
            seed,
            entity,
            start,
            counts,
            offences,
            named: Named::default(),
            greylist: Groups::default(),
            draws: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }

    /// What it is.
    pub fn spec(&self) -> &Arc<ReceiverSpec> {
        &self.spec
    }

    /// The start of the scenario: time windows count from it.
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// Connections open now, over all limits that count them; for reports and tests.
    pub fn open_connections(&self, source: IpAddr) -> u32 {
        let per_limit = self.spec.limits.iter().zip(&self.counts).map(|(limit, counts)| {
            let Counts::Open(open) = counts else { return 0 };
            let CountedBy::Source(per) = limit.per else { return 0 };
            open.get(&Group::Source(per.group(source))).copied().unwrap_or(0)
        });
        per_limit.max().unwrap_or(0)
    }

    /// A connection from `source` to the exchange `host`. Hand the session to [`Self::close`] in
    /// the end.
    pub fn connect(&mut self, now: Timestamp, source: IpAddr, host: &Arc<str>) -> Session {
        let elapsed = now.saturating_since(self.start);
        let limits = &self.spec.limits;
        let mut session = Session {
            source,
            host: Arc::clone(host),
            counted: vec![false; limits.len()],
            exceeded: vec![false; limits.len()],
            ehlo: String::new(),
            client: None,
            messages: 0,
            sender: String::new(),
            announced: false,
            size: 0,
            recipients: 0,
            transaction: 0,
            tarpit: Duration::ZERO,
        };
        for (n, (limit, counts)) in limits.iter().zip(&mut self.counts).enumerate() {
            let group = Group::of(limit.per, &session);
            match (limit.what, counts) {
                (Limited::Connections { max }, Counts::Open(open)) => {
                    let open = open.entry(group).or_insert(0);
                    let max = limit.allowed(max, elapsed);
                    session.exceeded[n] = *open >= max;
                    session.counted[n] = *open < max;
                    *open += u32::from(*open < max);
                }
                (Limited::ConnectionRate { max, window }, Counts::Window(logs)) => {
                    let log = logs.of(group, |log| log.is_spent(now, window));
                    session.exceeded[n] = !log.has_room(now, limit.allowed(max, elapsed), window);
                    if !session.exceeded[n] {
                        log.push(now);
                    }
                }
                _ => {}
            }
        }
        session
    }

    /// Decides. A transaction begins with [`Event::Mail`]; the caller ends it with
    /// [`Session::end_transaction`].
    pub fn decide(&mut self, now: Timestamp, session: &mut Session, event: Event<'_>) -> Decision {
        self.begin(now, session, event);
        let spec = Arc::clone(&self.spec);
        let act = self.by_blocks(&spec, now, session, event);
        let exceeds = if act.is_none() { session.excess(&spec, event.stage()) } else { None };
        let act = act.or_else(|| self.by_limits(&spec, now, session, event));
        let act = act.or_else(|| self.by_unknown(&spec, now, session, event).map(Act::Reply));
        let act = act.or_else(|| self.by_greylist(&spec, now, session, event).map(Act::Reply));
        let mut decision = match act {
            Some(act) => Decision::of(act, Duration::ZERO),
            None => self.by_rules(&spec, now, session, event),
        };
        decision.exceeds = exceeds;
        decision.delay += session.tarpit;
        if decision.accepts {
            self.commit(now, session, event);
        }
        decision
    }

    /// A connection ended.
    pub fn close(&mut self, session: &Session) {
        for (n, (limit, counts)) in self.spec.limits.iter().zip(&mut self.counts).enumerate() {
            if let (true, Counts::Open(open)) = (session.counted[n], counts) {
                let group = Group::of(limit.per, session);
                if let Some(count) = open.get_mut(&group) {
                    *count -= 1;
                    if *count == 0 {
                        open.remove(&group);
                    }
                }
            }
        }
    }

    /// Notes what the event changes before anything is decided.
    fn begin(&mut self, now: Timestamp, session: &mut Session, event: Event<'_>) {
        match event {
            Event::Ehlo(name) | Event::Helo(name) => {
                session.ehlo.clear();
                session.ehlo.push_str(name);
            }
            Event::Mail { sender, eight_bit, size } => {
                session.announced = eight_bit;
                session.size = size.unwrap_or(0);
                session.sender.clear();
                session.sender.push_str(sender);
                session.recipients = 0;
                session.transaction = entity(sender.as_bytes());
            }
            Event::Rcpt(recipient) => {
                session.transaction =
                    session.transaction.rotate_left(7) ^ entity(recipient.as_bytes());
            }
            Event::Body { size, .. } => session.size = size,
            _ => {}
        }
        let elapsed = now.saturating_since(self.start);
        for (n, (limit, counts)) in self.spec.limits.iter().zip(&mut self.counts).enumerate() {
            let allowed = |max| limit.allowed(max, elapsed);
            match (limit.what, counts, event) {
                (
                    Limited::MessageRate { max, window },
                    Counts::Window(logs),
                    Event::Mail { .. },
                ) => {
                    let group = Group::of(limit.per, session);
                    let log = logs.of(group, |log| log.is_spent(now, window));
                    session.exceeded[n] = !log.has_room(now, allowed(max), window);
                }
                (Limited::MessagesPerConnection { max }, _, Event::Mail { .. }) => {
                    session.exceeded[n] = session.messages >= allowed(max);
                }
                (Limited::RecipientsPerMessage { max }, _, Event::Rcpt(_)) => {
                    session.exceeded[n] = session.recipients >= allowed(max);
                }
                _ => {}
            }
        }
    }

    /// Counts what was agreed to.
    fn commit(&mut self, now: Timestamp, session: &mut Session, event: Event<'_>) {
        match event {
            Event::Xclient(client) => session.client = client.map(str::to_owned),
            Event::Mail { .. } => {
                session.messages += 1;
                for (n, (limit, counts)) in
                    self.spec.limits.iter().zip(&mut self.counts).enumerate()
                {
                    if let (Limited::MessageRate { window, .. }, Counts::Window(logs)) =
                        (limit.what, counts)
                        && !session.exceeded[n]
                    {
                        let group = Group::of(limit.per, session);
                        logs.of(group, |log| log.is_spent(now, window)).push(now);
                    }
                }
            }
            Event::Rcpt(_) => session.recipients += 1,
            _ => {}
        }
    }

    /// What those hear who went too far.
    fn by_blocks(
        &mut self,
        spec: &ReceiverSpec,
        now: Timestamp,
        session: &mut Session,
        event: Event<'_>,
    ) -> Option<Act> {
        let stage = event.stage();
        for (n, limit) in spec.limits.iter().enumerate() {
            let Some(Block { stage: at, response, .. }) =
                limit.escalation.as_ref().map(|e| &e.block)
            else {
                continue;
            };
            if *at == stage
                && self.offences[n].blocked.contains(&Group::of(limit.per, session), now)
            {
                let act = self.respond(Site::Escalation(n), response, session, event);
                if act.is_some() {
                    return act;
                }
            }
        }
        let trip = spec.unknown.as_ref()?.trip.as_ref()?;
        let group = Group::of(CountedBy::Source(trip.per), session);
        let is_blocked = trip.block.stage == stage && self.named.blocked.contains(&group, now);
        is_blocked.then(|| self.respond(Site::Trip, &trip.block.response, session, event))?
    }

    /// What those hear who exceed a limit.
    fn by_limits(
        &mut self,
        spec: &ReceiverSpec,
        now: Timestamp,
        session: &mut Session,
        event: Event<'_>,
    ) -> Option<Act> {
        for (n, limit) in spec.limits.iter().enumerate() {
            if limit.stage != event.stage() || !session.exceeded[n] {
                continue;
            }
            if let Some(escalation) = &limit.escalation {
                self.offences[n].note(escalation, Group::of(limit.per, session), now);
            }
            let act = self.respond(Site::Limit(n), &limit.response, session, event);
            if act.is_some() {
                return act;
            }
        }
        None
    }

    /// What is said about a mailbox that does not exist.
    fn by_unknown(
        &mut self,
        spec: &ReceiverSpec,
        now: Timestamp,
        session: &Session,
        event: Event<'_>,
    ) -> Option<ReplyText> {
        let (Some(unknown), Event::Rcpt(recipient)) = (&spec.unknown, event) else { return None };
        let key = self.entity ^ entity(recipient.as_bytes()) ^ UNKNOWN_KEY;
        let is_unknown = unknown.recipients.iter().any(|glob| glob.matches(recipient))
            || unknown.share > 0.0
                && self.seed.draw_unit(Purpose::Receiver, key, 0) < unknown.share;
        if let Some(trip) = &unknown.trip {
            let group = Group::of(CountedBy::Source(trip.per), session);
            self.named.note(trip, group, now, is_unknown);
        }
        is_unknown.then(|| unknown.reply.clone())
    }

    /// What a stranger hears; `None` for everybody else.
    fn by_greylist(
        &mut self,
        spec: &ReceiverSpec,
        now: Timestamp,
        session: &Session,
        event: Event<'_>,
    ) -> Option<ReplyText> {
        let (Some(greylist), Event::Rcpt(recipient)) = (&spec.greylist, event) else { return None };
        let name = greylist::name(greylist, session, recipient);
        let known =
            self.greylist.of(name, |known| known.is_none_or(|one| one.is_over(greylist, now)));
        let (admitted, next) = meet(greylist, *known, now);
        *known = Some(next);
        (!admitted).then(|| greylist.reply.clone())
    }

    fn by_rules(
        &mut self,
        spec: &ReceiverSpec,
        now: Timestamp,
        session: &mut Session,
        event: Event<'_>,
    ) -> Decision {
        let elapsed = now.saturating_since(self.start);
        for (n, rule) in spec.rules.iter().enumerate() {
            if !applies(rule, session, event) || !rule.window.contains(&elapsed) {
                continue;
            }
            let probability = rule.probability.at(elapsed);
            if probability < 1.0 {
                let lasting = rule.response.is_lasting();
                let drawn = self.draw(Site::Rule(n), argument(session, event), lasting);
                if drawn >= probability {
                    continue;
                }
            }
            if let Some(act) = self.respond(Site::Variant(n), &rule.response, session, event) {
                let mut decision = Decision::of(act, rule.delay);
                decision.accepts |= rule.keeps_message;
                return decision;
            }
        }
        Decision::YES
    }

    /// What is done in the end; `None` is to go along.
    fn respond(
        &mut self,
        site: Site,
        response: &Response,
        session: &mut Session,
        event: Event<'_>,
    ) -> Option<Act> {
        match response {
            Response::Act(act) => Some(act.clone()),
            Response::OneOf { replies, order } => {
                let n = match order {
                    Order::Turn => {
                        let turn = self.turns.entry(site).or_insert(0);
                        *turn += 1;
                        (*turn - 1) % replies.len()
                    }
                    Order::Random => {
                        let lasting = response.is_lasting();
                        let drawn = self.draw(site, argument(session, event), lasting);
                        (drawn * replies.len() as f64) as usize
                    }
                };
                replies.get(n).cloned().map(Act::Reply)
            }
            Response::Tarpit(delay) => {
                session.tarpit = session.tarpit.max(*delay);
                None
            }
        }
    }

    /// A number in `[0, 1)` for an argument: always the same where a judgement is `lasting`, else
    /// another each time.
    fn draw(&mut self, site: Site, argument: u64, lasting: bool) -> f64 {
        let n = if lasting {
            0
        } else {
            let drawn = self.draws.entry((site.key(), argument)).or_insert(0);
            *drawn += 1;
            *drawn
        };
        let key = self.entity ^ argument ^ site.key().rotate_left(SITE_SHIFT);
        self.seed.draw_unit(Purpose::Receiver, key, n)
    }
}

impl Limit {
    /// What the limit is so long after the start of the scenario.
    fn allowed(&self, max: u32, elapsed: Duration) -> u32 {
        let load = self.load.at(elapsed);
        if load == 1.0 { max } else { (f64::from(max) * load) as u32 }
    }
}

/// A place of a spec that draws or counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Site {
    /// Whether a rule acts.
    Rule(usize),
    /// Which reply of a rule.
    Variant(usize),
    /// Which reply of a limit.
    Limit(usize),
    /// Which reply after a limit was exceeded too often.
    Escalation(usize),
    /// Which reply after too many unknown recipients.
    Trip,
}

impl Site {
    /// A number of its own.
    const fn key(self) -> u64 {
        match self {
            Self::Rule(n) => n as u64,
            Self::Variant(n) => n as u64 | 1 << 12,
            Self::Limit(n) => n as u64 | 2 << 12,
            Self::Escalation(n) => n as u64 | 3 << 12,
            Self::Trip => 4 << 12,
        }
    }
}

impl Session {
    /// The transaction is over: accepted, refused, or reset.
    pub fn end_transaction(&mut self) {
        self.sender.clear();
        self.size = 0;
        self.recipients = 0;
        self.transaction = 0;
    }

    /// The first limit that is exceeded and shows at this stage.
    fn excess(&self, spec: &ReceiverSpec, stage: Stage) -> Option<usize> {
        let shows = |(limit, exceeded): (&Limit, &bool)| limit.stage == stage && *exceeded;
        spec.limits.iter().zip(&self.exceeded).position(shows)
    }

    /// Who connected.
    pub const fn source(&self) -> IpAddr {
        self.source
    }
}

fn applies(rule: &Rule, session: &Session, event: Event<'_>) -> bool {
    let fits = |glob: &Option<Glob>, text: Option<&str>| {
        glob.as_ref().is_none_or(|glob| text.is_some_and(|text| glob.matches(text)))
    };
    let recipient = match event {
        Event::Rcpt(recipient) => Some(recipient),
        Event::Body { recipient, .. } => recipient,
        _ => None,
    };
    let unannounced = matches!(event, Event::Body { eight_bit: true, .. }) && !session.announced;
    rule.stage == event.stage()
        && fits(&rule.exchange, Some(&session.host))
        && rule.larger_than.is_none_or(|size| session.size > size)
        && (rule.source.is_none() || fits(&rule.source, Some(&session.source.to_string())))
        && fits(&rule.ehlo, Some(&session.ehlo))
        && fits(&rule.client, session.client.as_deref())
        && fits(&rule.sender, Some(&session.sender))
        && fits(&rule.recipient, recipient)
        && (unannounced || !rule.unannounced_8bit)
}

/// What a rule's draw is about.
fn argument(session: &Session, event: Event<'_>) -> u64 {
    match event {
        Event::Banner | Event::Ehlo(_) | Event::Helo(_) | Event::Xclient(_) | Event::Rset => {
            entity(session.source.to_string().as_bytes())
        }
        Event::Mail { sender, .. } => entity(sender.as_bytes()),
        Event::Rcpt(recipient) => entity(recipient.as_bytes()),
        Event::Data => session.transaction,
        Event::Body { message, recipient, .. } => {
            message ^ recipient.map_or(0, |recipient| entity(recipient.as_bytes()))
        }
    }
}

/// Keeps the number of a site away from the low bits of what it is mixed with.
const SITE_SHIFT: u32 = 48;

/// Keeps draws about mailboxes apart from those of rules.
const UNKNOWN_KEY: u64 = 5 << 60;

#[cfg(test)]
mod tests;
