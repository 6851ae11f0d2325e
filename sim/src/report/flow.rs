//! What the mail of a pair waited for, integrated over time: the answer to "why did it wait".
//!
//! The engine says what each queue waits for, and the records say what came of connections. A limit
//! the engine names is what holds mail back; while it only waits for a connection, it is what the
//! last one failed with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::ids::ConnId;
use traject_engine::queue::reason::QueueReason;
use traject_engine::record::{CloseReason, Event};
use traject_engine::tls::policy::Consequence;
use traject_engine::waits::{Allows, Limit, WaitChange};

use super::LimiterKind;
use crate::counts::attempt_of;
use crate::scenario::units::show_duration;

/// What holds mail back: a kind, and which of that kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// What sort of thing.
    pub kind: LimiterKind,
    /// The option and its stanza, the reply, the trouble. Empty while it is not known whether
    /// anything is the matter: a connection is being opened or secured.
    pub detail: Arc<str>,
}

impl Cause {
    fn new(kind: LimiterKind, detail: impl Into<Arc<str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// Nothing may be the matter.
    fn unknown(kind: LimiterKind) -> Self {
        Self { kind, detail: Arc::default() }
    }
}

/// What the mail of a pair waits for, over time.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What the engine says.
    waits: Waits,
    open: u32,
    /// Connections that may be on their way to TLS.
    securing: BTreeSet<ConnId>,
    /// Whether the pair asks for TLS.
    wants_tls: bool,
    /// Addresses where TLS failed, and until when it is not tried again.
    tls_given_up: BTreeMap<IpAddr, Timestamp>,
    /// Why the last attempt to connect failed; `None` when it did not.
    trouble: Option<Cause>,
    /// Every cause there was, in the order of appearance.
    held: Vec<Held>,
    /// The one in force, by its position, and since when.
    current: Option<(usize, Timestamp)>,
}

/// What the engine says that mail waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Waits {
    /// It does not.
    No,
    /// An answer of the DNS.
    Answer,
    /// A connection, or a turn on one.
    Connection,
    /// `max_outbound_connections` of the pair.
    Cap(Cause),
    /// Something else that must change first.
    Limit(Cause),
}

/// A cause, and when it was in force.
#[derive(Clone, Debug)]
struct Held {
    cause: Cause,
    /// Stretches of time, in order, with the time it was in force before each.
    stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Timestamp,
    to: Timestamp,
    before: Duration,
}

impl Flow {
    /// A pair without connections, that asks for TLS or not.
    pub fn new(wants_tls: bool) -> Self {
        Self {
            waits: Waits::No,
            open: 0,
            securing: BTreeSet::new(),
            wants_tls,
            tls_given_up: BTreeMap::new(),
            trouble: None,
            held: Vec::new(),
            current: None,
        }
    }

    /// Another configuration is in force.
    pub fn set_wants_tls(&mut self, wants_tls: bool) {
        self.wants_tls = wants_tls;
    }

    /// The engine says that mail waits for something else now.
    pub fn waits_for(&mut self, at: Timestamp, change: &WaitChange) {
        self.waits = waits(change.reason, change.limit.as_ref());
        self.look(at);
    }

    /// There is no process: nothing moves.
    pub fn process_gone(&mut self, at: Timestamp) {
        self.waits = Waits::Limit(Cause::new(LimiterKind::NoProcess, "the process is down"));
        self.open = 0;
        self.securing.clear();
        self.trouble = None;
        self.look(at);
    }

    /// There is a process again, which knows nothing yet.
    pub fn process_came(&mut self, at: Timestamp) {
        self.waits = Waits::No;
        self.look(at);
    }

    /// Follows a record of the pair.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::ConnectionOpened { conn, remote, .. } => {
                self.open += 1;
                self.trouble = None;
                let given_up = self.tls_given_up.get(&remote.ip()).is_some_and(|until| *until > at);
                if self.wants_tls && !given_up {
                    self.securing.insert(*conn);
                }
            }
            Event::ConnectionFailed { error, .. } => {
                self.trouble = Some(Cause::new(LimiterKind::Unreachable, error.text()));
            }
            Event::TlsEstablished { conn, .. } => {
                self.securing.remove(conn);
            }
            Event::TlsFailed { conn, remote, reply, consequence, until, .. } => {
                self.securing.remove(conn);
                if *consequence != Consequence::Unfit {
                    self.tls_given_up.insert(remote.ip(), *until);
                }
                let cause = Cause::new(LimiterKind::Tls, reply.to_string());
                self.position(&cause);
                self.trouble = Some(cause);
            }
            Event::ConnectionClosed { conn, reason, deliveries, .. } => {
                self.open = self.open.saturating_sub(1);
                self.securing.remove(conn);
                if *deliveries == 0 && is_trouble(*reason) && self.trouble.is_none() {
                    let text = "connections break off";
                    self.trouble = Some(Cause::new(LimiterKind::Unreachable, text));
                }
            }
            other => match attempt_of(other).and_then(|attempt| attempt.conn) {
                Some(conn) if self.securing.remove(&conn) => {}
                _ => return,
            },
        }
        self.look(at);
    }

    /// A sibling passed a connection on.
    pub fn connection_came(&mut self, at: Timestamp) {
        self.open += 1;
        self.trouble = None;
        self.look(at);
    }

    /// A connection passed on to a sibling.
    pub fn connection_went(&mut self, at: Timestamp) {
        self.open = self.open.saturating_sub(1);
        self.look(at);
    }

    /// Something is the matter: the DNS does not tell where to connect to, or an exchange refuses
    /// us before any message.
    pub fn troubled(&mut self, at: Timestamp, what: &str) {
        self.trouble = Some(Cause::new(LimiterKind::Unreachable, what));
        self.look(at);
    }

    /// What held mail back between two instants, and for how long; `to` is not in the past.
    pub fn between(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = (&Cause, Duration)> {
        self.held.iter().enumerate().filter_map(move |(n, held)| {
            let total = |at| held.until(at) + self.current_until(n, at);
            let lasted = total(to).saturating_sub(total(from));
            (!lasted.is_zero()).then_some((&held.cause, lasted))
        })
    }

    /// Every cause that was ever known.
    pub fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.held.iter().map(|held| &held.cause)
    }

    fn current_until(&self, position: usize, at: Timestamp) -> Duration {
        match self.current {
            Some((current, since)) if current == position => at.saturating_since(since),
            _ => Duration::ZERO,
        }
    }

    /// What holds mail back now.
    fn cause(&self) -> Option<Cause> {
        let unsecured = self.open > 0 && self.open as usize == self.securing.len();
        match (&self.waits, &self.trouble) {
            (Waits::Limit(cause), _) => Some(cause.clone()),
            (_, Some(trouble)) if self.open == 0 => Some(trouble.clone()),
            (Waits::No, _) => None,
            (Waits::Answer, _) if self.open == 0 => Some(Cause::new(LimiterKind::Dns, "answers")),
            _ if self.open == 0 => Some(Cause::unknown(LimiterKind::Unreachable)),
            _ if unsecured => Some(Cause::unknown(LimiterKind::Tls)),
            (Waits::Cap(cause), _) => Some(cause.clone()),
            (Waits::Answer | Waits::Connection, _) => None,
        }
    }

    /// Something has happened: the cause may be another from now on.
    fn look(&mut self, at: Timestamp) {
        let cause = self.cause();
        let same = match (&self.current, &cause) {
            (Some((n, _)), Some(cause)) => self.held[*n].cause == *cause,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some((n, since)) = self.current.take() {
            self.held[n].close(since, at);
        }
        self.current = cause.map(|cause| (self.position(&cause), at));
    }

    fn position(&mut self, cause: &Cause) -> usize {
        if let Some(known) = self.held.iter().position(|held| held.cause == *cause) {
            return known;
        }
        // What receivers say may differ each time.
        let others = Cause::new(cause.kind, OTHERS);
        if self.held.len() >= CAUSES_MAX && *cause != others {
            return self.position(&others);
        }
        self.held.push(Held { cause: cause.clone(), stretches: Vec::new() });
        self.held.len() - 1
    }
}

impl Held {
    fn close(&mut self, from: Timestamp, to: Timestamp) {
        if from == to {
            return;
        }
        let before = self.stretches.last().map_or(Duration::ZERO, Stretch::total);
        self.stretches.push(Stretch { from, to, before });
    }

    /// How long it was in force until `at`, the stretch that still lasts left out.
    fn until(&self, at: Timestamp) -> Duration {
        let next = self.stretches.partition_point(|stretch| stretch.from <= at);
        let Some(last) = self.stretches[..next].last() else { return Duration::ZERO };
        last.before + at.min(last.to).saturating_since(last.from)
    }
}

impl Stretch {
    fn total(&self) -> Duration {
        self.before + self.to.saturating_since(self.from)
    }
}

/// What a queue's reason says about its mail.
fn waits(reason: QueueReason, limit: Option<&Limit>) -> Waits {
    let because = |kind| Waits::Limit(Cause::new(kind, limit.map(limit_words).unwrap_or_default()));
    match reason {
        QueueReason::Empty | QueueReason::Draining => Waits::No,
        QueueReason::Resolving => Waits::Answer,
        QueueReason::Delayed { .. }
        | QueueReason::DnsFailed { .. }
        | QueueReason::ConnectionGoal
        | QueueReason::HostsSetAside { .. }
        | QueueReason::Probing => Waits::Connection,
        QueueReason::MaxOutboundConnections => {
            let words = limit.map(limit_words).unwrap_or_default();
            Waits::Cap(Cause::new(LimiterKind::ConnectionCap, words))
        }
        QueueReason::ServerMaxOutboundConnections
        | QueueReason::ScopeMaxOutboundConnections
        | QueueReason::HostMaxOutboundConnections => because(LimiterKind::SharedConnectionCap),
        QueueReason::ThrottledMessages { .. } | QueueReason::ThrottledConnections { .. } => {
            because(LimiterKind::Throttle)
        }
        QueueReason::LookupInLine => {
            Waits::Limit(Cause::new(LimiterKind::LookupLimit, "dns_rate_limit_mx_queries"))
        }
        QueueReason::Suspended => {
            Waits::Limit(Cause::new(LimiterKind::Suspended, "suspend_delivery"))
        }
        QueueReason::SpoolBehind => Waits::Limit(Cause::new(LimiterKind::Spool, "notes")),
        QueueReason::SuspendedByOperator { .. } => {
            Waits::Limit(Cause::new(LimiterKind::Operator, "suspend"))
        }
        QueueReason::DefaultBindingSuspended => {
            Waits::Limit(Cause::new(LimiterKind::Suspended, "default_binding = suspended"))
        }
    }
}

fn limit_words(limit: &Limit) -> String {
    let allows = match limit.allows {
        Allows::Connections(max) => max.to_string(),
        Allows::Rate(rate) => format!("{} in {}", rate.events, show_duration(rate.per)),
    };
    let stanza = match limit.stanza.as_deref() {
        None => String::new(),
        Some("") => ", set in the global scope".to_owned(),
        Some(stanza) => format!(", set in {stanza}"),
    };
    format!("{} = {allows}{stanza}", limit.option)
}

/// Whether a connection that delivered nothing ended because something is wrong.
fn is_trouble(reason: CloseReason) -> bool {
    match reason {
        CloseReason::ServiceUnavailable
        | CloseReason::Refused
        | CloseReason::TlsFailed
        | CloseReason::Lost
        | CloseReason::TimedOut
        | CloseReason::ProtocolViolation
        | CloseReason::LocalError => true,
        CloseReason::Idle
        | CloseReason::LimitReached
        | CloseReason::Draining
        | CloseReason::Reconfigured => false,
    }
}

/// Different causes of one pair that are told apart.
const CAUSES_MAX: usize = 64;

/// What the causes of a kind beyond those are called.
const OTHERS: &str = "various";

#[cfg(test)]
mod tests;
