//! How a receiver decides. No sockets, no clock: (instant, connection, stage, argument) in, a
//! decision out, so that any world can use it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::rng::{Purpose, Seed, entity};

use super::spec::{Act, Greylist, Limited, ReceiverSpec, ReplyText, Rule, Stage};
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
    /// By the hash of what makes a sender known.
    greylist: BTreeMap<u64, Known>,
    /// How often a rule was drawn for an argument.
    draws: BTreeMap<(usize, u64), u64>,
}

/// What a receiver knows of one connection.
#[derive(Debug)]
pub struct Session {
    source: IpAddr,
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
    recipients: u32,
    /// A name for the message under way, to key draws with.
    transaction: u64,
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
}

impl Decision {
    /// To do this, whatever it is, and not to go along.
    pub(super) fn refusal(act: &Act) -> Self {
        Self { accepts: false, ..Self::of(act, Duration::ZERO) }
    }

    const YES: Self = Self { delay: Duration::ZERO, act: None, accepts: true };

    fn of(act: &Act, delay: Duration) -> Self {
        let accepts = matches!(act, Act::Reply(reply) if reply.code < 400);
        Self { delay, act: Some(act.clone()), accepts }
    }
}

impl Receiver {
    /// A receiver at the `start` of a scenario.
    pub fn new(spec: Arc<ReceiverSpec>, seed: Seed, start: Timestamp) -> Self {
        let counts = spec.limits.iter().map(|limit| Counts::of(limit.what)).collect();
        let entity = entity(spec.name.as_bytes());
        Self {
            spec,
            seed,
            entity,
            start,
            counts,
            greylist: BTreeMap::new(),
            draws: BTreeMap::new(),
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
            open.get(&limit.per.group(source)).copied().unwrap_or(0)
        });
        per_limit.max().unwrap_or(0)
    }

    /// A connection from `source`. Hand the session to [`Self::close`] in the end.
    pub fn connect(&mut self, now: Timestamp, source: IpAddr) -> Session {
        let limits = &self.spec.limits;
        let mut session = Session {
            source,
            counted: vec![false; limits.len()],
            exceeded: vec![false; limits.len()],
            ehlo: String::new(),
            client: None,
            messages: 0,
            sender: String::new(),
            announced: false,
            recipients: 0,
            transaction: 0,
        };
        for (n, (limit, counts)) in limits.iter().zip(&mut self.counts).enumerate() {
            let group = limit.per.group(source);
            match (limit.what, counts) {
                (Limited::Connections { max }, Counts::Open(open)) => {
                    let open = open.entry(group).or_insert(0);
                    session.exceeded[n] = *open >= max;
                    session.counted[n] = *open < max;
                    *open += u32::from(*open < max);
                }
                (Limited::ConnectionRate { max, window }, Counts::Window(log)) => {
                    let log = log.entry(group).or_default();
                    session.exceeded[n] = !log.has_room(now, max, window);
                    if !session.exceeded[n] {
                        log.0.push_back(now);
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
        let stage = event.stage();
        let mut exceeded = self.spec.limits.iter().zip(&session.exceeded);
        let over = exceeded.find(|(limit, over)| limit.stage == stage && **over);
        let decision = if let Some((limit, _)) = over {
            Decision::of(&limit.act, Duration::ZERO)
        } else if let Some(reply) = self.greylisted(now, session, event) {
            Decision::of(&Act::Reply(reply), Duration::ZERO)
        } else {
            self.by_rules(now, session, event)
        };
        if decision.accepts {
            self.commit(now, session, event);
        }
        decision
    }

    /// A connection ended.
    pub fn close(&mut self, session: &Session) {
        for (n, (limit, counts)) in self.spec.limits.iter().zip(&mut self.counts).enumerate() {
            if let (true, Counts::Open(open)) = (session.counted[n], counts) {
                let group = limit.per.group(session.source);
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
            Event::Mail { sender, eight_bit } => {
                session.announced = eight_bit;
                session.sender.clear();
                session.sender.push_str(sender);
                session.recipients = 0;
                session.transaction = entity(sender.as_bytes());
            }
            Event::Rcpt(recipient) => {
                session.transaction =
                    session.transaction.rotate_left(7) ^ entity(recipient.as_bytes());
            }
            _ => {}
        }
        for (n, (limit, counts)) in self.spec.limits.iter().zip(&mut self.counts).enumerate() {
            match (limit.what, counts, event) {
                (Limited::MessageRate { max, window }, Counts::Window(log), Event::Mail { .. }) => {
                    let log = log.entry(limit.per.group(session.source)).or_default();
                    session.exceeded[n] = !log.has_room(now, max, window);
                }
                (Limited::MessagesPerConnection { max }, _, Event::Mail { .. }) => {
                    session.exceeded[n] = session.messages >= max;
                }
                (Limited::RecipientsPerMessage { max }, _, Event::Rcpt(_)) => {
                    session.exceeded[n] = session.recipients >= max;
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
                    if let (Limited::MessageRate { .. }, Counts::Window(log)) = (limit.what, counts)
                        && !session.exceeded[n]
                    {
                        let group = limit.per.group(session.source);
                        log.entry(group).or_default().0.push_back(now);
                    }
                }
            }
            Event::Rcpt(_) => session.recipients += 1,
            _ => {}
        }
    }

    /// What a stranger hears; `None` for everybody else.
    fn greylisted(
        &mut self,
        now: Timestamp,
        session: &Session,
        event: Event<'_>,
    ) -> Option<ReplyText> {
        let (Some(greylist), Event::Rcpt(recipient)) = (&self.spec.greylist, event) else {
            return None;
        };
        let name = greylist_name(greylist, session, recipient);
        let known = self.greylist.get(&name).copied();
        let (admitted, next) = meet(greylist, known, now);
        self.greylist.insert(name, next);
        (!admitted).then(|| greylist.reply.clone())
    }

    fn by_rules(&mut self, now: Timestamp, session: &Session, event: Event<'_>) -> Decision {
        let elapsed = now.saturating_since(self.start);
        for (n, rule) in self.spec.rules.iter().enumerate() {
            if !applies(rule, session, event) || !rule.window.contains(&elapsed) {
                continue;
            }
            if rule.probability < 1.0 {
                let argument = argument(session, event);
                let draw_number = if is_lasting(&rule.act) {
                    0
                } else {
                    let drawn = self.draws.entry((n, argument)).or_insert(0);
                    *drawn += 1;
                    *drawn
                };
                let key = self.entity ^ argument ^ (n as u64).rotate_left(RULE_SHIFT);
                let drawn = self.seed.draw_unit(Purpose::Receiver, key, draw_number);
                if drawn >= rule.probability {
                    continue;
                }
            }
            let mut decision = Decision::of(&rule.act, rule.delay);
            decision.accepts |= rule.keeps_message;
            return decision;
        }
        Decision::YES
    }
}

impl Session {
    /// The transaction is over: accepted, refused, or reset.
    pub fn end_transaction(&mut self) {
        self.sender.clear();
        self.recipients = 0;
        self.transaction = 0;
    }

    /// Who connected.
    pub const fn source(&self) -> IpAddr {
        self.source
    }
}

/// What a limit counts.
#[derive(Debug)]
enum Counts {
    /// Open connections by group of sources.
    Open(BTreeMap<IpAddr, u32>),
    /// Instants by group of sources.
    Window(BTreeMap<IpAddr, Log>),
    /// The session counts.
    InSession,
}

impl Counts {
    const fn of(what: Limited) -> Self {
        match what {
            Limited::Connections { .. } => Self::Open(BTreeMap::new()),
            Limited::ConnectionRate { .. } | Limited::MessageRate { .. } => {
                Self::Window(BTreeMap::new())
            }
            Limited::MessagesPerConnection { .. } | Limited::RecipientsPerMessage { .. } => {
                Self::InSession
            }
        }
    }
}

/// The instants of the last window, oldest first; never more than the limit allows.
#[derive(Debug, Default)]
struct Log(VecDeque<Timestamp>);

impl Log {
    /// Whether one more event now leaves at most `max` in every stretch of `window`.
    fn has_room(&mut self, now: Timestamp, max: u32, window: Duration) -> bool {
        while self.0.front().is_some_and(|first| *first + window <= now) {
            self.0.pop_front();
        }
        self.0.len() < max as usize
    }
}

/// What a greylist knows of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// The first attempt; the last message once admitted.
    since: Timestamp,
    admitted: bool,
}

/// Whether somebody is let in now, and what is remembered.
fn meet(greylist: &Greylist, known: Option<Known>, now: Timestamp) -> (bool, Known) {
    let stranger = (false, Known { since: now, admitted: false });
    let friend = (true, Known { since: now, admitted: true });
    match known {
        None => stranger,
        Some(known) if known.admitted => {
            if now <= known.since + greylist.pass {
                friend
            } else {
                stranger
            }
        }
        Some(known) if now > known.since + greylist.window => stranger,
        Some(known) if now >= known.since + greylist.hold => friend,
        Some(known) => (false, known),
    }
}

fn greylist_name(greylist: &Greylist, session: &Session, recipient: &str) -> u64 {
    let key = greylist.key;
    let source = entity(key.source.group(session.source).to_string().as_bytes());
    let sender = if key.sender { entity(session.sender.as_bytes()) } else { 0 };
    let recipient = if key.recipient { entity(recipient.as_bytes()) } else { 0 };
    source ^ sender.rotate_left(21) ^ recipient.rotate_left(42)
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

/// Whether the same thing is judged alike every time.
fn is_lasting(act: &Act) -> bool {
    matches!(act, Act::Reply(reply) if reply.is_permanent())
}

/// Keeps the number of a rule away from the low bits of what it is mixed with.
const RULE_SHIFT: u32 = 48;

#[cfg(test)]
mod tests;
