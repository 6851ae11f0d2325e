//! What a configuration promises, and what a run shows of promises that are broken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use traject_engine::Timestamp;
use traject_engine::config::explain::find_option;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{
    Attempt, ClearReason, Event, GiveUp, Pair, Record, Transport, Via, numbered,
};
use traject_engine::waits::WaitChange;

use crate::receiver::smtp::Excess;
use crate::receiver::spec::Limited;
use crate::runner::{Observer, START};
use crate::scenario::units::show_duration;

/// Something that whoever wrote a configuration counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// What the user wrote down holds.
    Expectation,
    /// Mail to a domain that is to have TLS does not go in clear.
    InClear,
    /// Nobody's limit is exceeded.
    LimitExceeded,
    /// Mail is given up only after it was tried.
    ExpiredUntried,
    /// Mail is not given up: all trouble has an end.
    Expired,
    /// No mail fails that no receiver has refused.
    FailedByUs,
    /// Limits of our own let mail go on.
    Starved,
    /// Long after all trouble is over no mail is left.
    Left,
}

impl Promise {
    /// What became of the mail where it is broken, in a few words.
    pub const fn broken(self) -> &'static str {
        match self {
            Self::Expectation => "an expectation does not hold",
            Self::InClear => "mail goes in clear",
            Self::LimitExceeded => "a receiver's limit is exceeded",
            Self::ExpiredUntried => "mail expires untried",
            Self::Expired => "mail expires",
            Self::FailedByUs => "mail fails that nobody refused",
            Self::Starved => "mail starves at a limit of our own",
            Self::Left => "mail is left",
        }
    }

    /// A word for names of files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expectation => "expectation",
            Self::InClear => "in-clear",
            Self::LimitExceeded => "limit",
            Self::ExpiredUntried => "untried",
            Self::Expired => "expired",
            Self::FailedByUs => "failed",
            Self::Starved => "starved",
            Self::Left => "left",
        }
    }
}

/// A promise that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// Whose mail it is about; `None` for an expectation.
    pub pair: Option<Pair>,
    /// The option that decided, if one did.
    pub option: Option<&'static str>,
    /// The stanza that sets a limit which several queues share; empty for the global scope.
    pub stanza: Option<String>,
    /// How it came about the first time.
    pub because: String,
    /// What the receiver said about it, if it is known and matters.
    pub said: Option<String>,
    /// How often: recipients, or excesses.
    pub times: u64,
    /// When it first was, counted from the start.
    pub at: Duration,
}

impl Broken {
    /// Whether it is the same promise, broken for the same mail by the same option.
    pub fn is_like(&self, other: &Self) -> bool {
        self.key() == other.key()
            && (self.promise != Promise::Expectation || self.because == other.because)
    }

    fn key(&self) -> (Promise, Option<&Pair>, Option<&'static str>) {
        (self.promise, self.pair.as_ref(), self.option)
    }
}

/// Sees promises broken.
#[derive(Debug, Default)]
pub(super) struct Watcher(Mutex<Watch>);

/// What is known so far.
#[derive(Debug, Default)]
struct Watch {
    /// Notices to senders: not the user's mail.
    notices: BTreeSet<MessageId>,
    /// Recipients that are not done, and whose mail it is.
    open: BTreeMap<(MessageId, u32), Pair>,
    /// Whose mail came in at all.
    accepted: BTreeSet<Pair>,
    ends: BTreeMap<ConnId, Ends>,
    /// Whose mail goes over a connection.
    pairs: BTreeMap<Ends, Pair>,
    /// Excesses by the connection they came over.
    excesses: Vec<(Ends, Broken)>,
    held: BTreeMap<Pair, Held>,
    found: Vec<Broken>,
}

/// The addresses and ports of a connection, ours first.
type Ends = (SocketAddr, SocketAddr);

/// The mail of a queue waits for a limit of ours.
#[derive(Clone, Debug)]
struct Held {
    /// Since when nothing of it could be tried.
    since: Timestamp,
    option: &'static str,
    stanza: Option<String>,
}

impl Watcher {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose mail came in at all.
    pub(super) fn accepted(&self) -> BTreeSet<Pair> {
        self.watch().accepted.clone()
    }

    /// What was broken until the run ended.
    pub(super) fn finish(&self, end: Timestamp) -> Vec<Broken> {
        let mut watch = self.watch();
        let held: Vec<Pair> = watch.held.keys().cloned().collect();
        for pair in held {
            watch.settle(&pair, end);
        }
        for (ends, mut excess) in std::mem::take(&mut watch.excesses) {
            // Nobody heard it where no connection came about.
            if let Some(pair) = watch.pairs.get(&ends) {
                excess.pair = Some(pair.clone());
                watch.note(excess);
            }
        }
        for pair in std::mem::take(&mut watch.open).into_values() {
            let held = watch.held.get(&pair).cloned();
            let because = "long after all trouble was over".to_owned();
            let left = Broken::of(Promise::Left, Some(pair), end, because);
            watch.note(match held {
                Some(Held { option, stanza, .. }) => {
                    Broken { option: Some(option), stanza, ..left }
                }
                None => left,
            });
        }
        std::mem::take(&mut watch.found)
    }
}

impl Observer for Watcher {
    fn record(&self, record: &Record) {
        self.watch().record(record);
    }

    fn waits(&self, at: Timestamp, change: &WaitChange) {
        self.watch().waits(at, change);
    }

    fn exceeded(&self, at: Timestamp, excess: &Excess<'_>) {
        let Excess { client, exchange, receiver, limit, said } = excess;
        let said = said.map(|reply| format!("{} {}", reply.code, reply.text));
        let words =
            said.as_ref().map_or_else(|| limit.response.to_string(), |said| format!("says {said}"));
        let because = format!("{}: {} {words}", limit.name(), receiver.name);
        let broken = Broken {
            option: Some(option_against(limit.what)),
            said,
            ..Broken::of(Promise::LimitExceeded, None, at, because)
        };
        self.watch().excesses.push(((*client, *exchange), broken));
    }
}

/// The option that keeps us from exceeding a limit.
const fn option_against(limit: Limited) -> &'static str {
    match limit {
        Limited::Connections { .. } => "max_outbound_connections",
        Limited::ConnectionRate { .. } => "outbound_throttle_connections",
        Limited::MessageRate { .. } => "outbound_throttle_messages",
        Limited::MessagesPerConnection { .. } => "max_deliveries_per_connection",
        Limited::RecipientsPerMessage { .. } => "max_recipients_per_batch",
    }
}

impl Broken {
    fn of(promise: Promise, pair: Option<Pair>, at: Timestamp, because: String) -> Self {
        let at = at.saturating_since(START);
        Self { promise, pair, option: None, stanza: None, because, said: None, times: 1, at }
    }
}

impl Watch {
    fn note(&mut self, broken: Broken) {
        match self.found.iter_mut().find(|one| one.is_like(&broken)) {
            Some(one) => one.times += broken.times,
            None => self.found.push(broken),
        }
    }

    fn record(&mut self, record: &Record) {
        let at = record.at;
        match &record.event {
            Event::Reception { message, via: Via::Notice { .. }, .. } => {
                self.notices.insert(*message);
            }
            // What is read back came before.
            Event::Reception { via: Via::Spool, .. } => {}
            Event::Reception { message, recipients, done, binding, .. } => {
                for (n, mailbox) in numbered(recipients, done) {
                    let (binding, domain) = (binding.clone(), mailbox.domain.clone());
                    let pair = Pair { binding, domain };
                    self.accepted.insert(pair.clone());
                    self.open.insert((*message, n), pair);
                }
            }
            Event::ConnectionOpened { conn, pair, local, remote, .. } => {
                self.ends.insert(*conn, (*local, *remote));
                self.pairs.insert((*local, *remote), pair.clone());
            }
            Event::ConnectionMigrated { conn, to, .. } => {
                if let Some(ends) = self.ends.get(conn) {
                    self.pairs.insert(*ends, to.clone());
                }
            }
            Event::ConnectionClosed { conn, .. } => {
                self.ends.remove(conn);
            }
            Event::Delivery(attempt) => {
                if let Some(broken) = in_clear(at, attempt) {
                    self.found_of(attempt, broken);
                }
                self.tried(at, attempt, true);
            }
            Event::TransientFailure { attempt, .. } => self.tried(at, attempt, false),
            Event::PermanentFailure(attempt) => {
                if attempt.reply.local {
                    self.found_of(attempt, failed(at, attempt));
                }
                self.tried(at, attempt, true);
            }
            Event::Expiry { attempt, why, last_reply } => {
                let last = last_reply.as_ref().map(ToString::to_string);
                self.found_of(attempt, expired(at, attempt, *why, last));
                self.tried(at, attempt, true);
            }
            _ => {}
        }
    }

    fn found_of(&mut self, attempt: &Attempt, broken: Broken) {
        if !self.notices.contains(&attempt.message) {
            self.note(broken);
        }
    }

    /// Something became of an attempt, and the queue goes on.
    fn tried(&mut self, at: Timestamp, attempt: &Attempt, done: bool) {
        if done {
            self.open.remove(&(attempt.message, attempt.recipient));
        }
        self.settle(&attempt.pair, at);
        if let Some(held) = self.held.get_mut(&attempt.pair) {
            held.since = at;
        }
    }

    fn waits(&mut self, at: Timestamp, change: &WaitChange) {
        let Some(limit) = &change.limit else {
            self.settle(&change.pair, at);
            self.held.remove(&change.pair);
            return;
        };
        let since = self.held.get(&change.pair).map_or(at, |held| held.since);
        let stanza = limit.stanza.as_deref().map(str::to_owned);
        let held = Held { since, option: limit.option, stanza };
        self.held.insert(change.pair.clone(), held);
    }

    /// Judges how long the mail of a queue has waited for a limit by now.
    fn settle(&mut self, pair: &Pair, now: Timestamp) {
        let Some(held) = self.held.get(pair).cloned() else { return };
        let waited = now.saturating_since(held.since);
        if waited < STARVED_MIN {
            return;
        }
        let because = format!("nothing could be tried for {}", show_duration(waited));
        self.note(Broken {
            option: Some(held.option),
            stanza: held.stanza,
            ..Broken::of(Promise::Starved, Some(pair.clone()), held.since, because)
        });
    }
}

/// What a delivery in clear would break.
fn in_clear(at: Timestamp, attempt: &Attempt) -> Option<Broken> {
    let Transport::Clear { why } = &attempt.transport else { return None };
    let (option, because) = match why {
        ClearReason::NotWanted => ("tls", "TLS is not wanted"),
        ClearReason::NotOffered => ("tls", "STARTTLS was not offered"),
        ClearReason::Refused => ("tls_ifavailable_fallback", "STARTTLS was refused"),
        ClearReason::NegotiationFailed => ("tls_ifavailable_fallback", "the handshake failed"),
    };
    let pair = Some(attempt.pair.clone());
    let broken = Broken::of(Promise::InClear, pair, at, because.to_owned());
    Some(Broken { option: Some(option), ..broken })
}

/// A failure in our own words, which name the option behind them, if there is one, at their end.
fn failed(at: Timestamp, attempt: &Attempt) -> Broken {
    let words = attempt.reply.to_string();
    let named = words.strip_suffix(')').and_then(|words| words.rsplit_once('('));
    let option = named.and_then(|(_, name)| find_option(name)).map(|option| option.spec().name);
    let pair = Some(attempt.pair.clone());
    Broken { option, ..Broken::of(Promise::FailedByUs, pair, at, words) }
}

fn expired(at: Timestamp, attempt: &Attempt, why: GiveUp, last: Option<String>) -> Broken {
    let option = match why {
        GiveUp::MaxRetries => "max_retries",
        GiveUp::MaxTime => "message_expiration",
    };
    let age = show_duration(Duration::from_secs(attempt.age.as_secs()));
    let (promise, tries) = match attempt.attempts {
        0 => (Promise::ExpiredUntried, "without an attempt".to_owned()),
        1 => (Promise::Expired, "after 1 attempt".to_owned()),
        n => (Promise::Expired, format!("after {n} attempts")),
    };
    let last = last.unwrap_or_else(|| attempt.reply.to_string());
    let broken =
        Broken::of(promise, Some(attempt.pair.clone()), at, format!("{tries}, {age} old: {last}"));
    Broken { option: Some(option), ..broken }
}

/// Who could try nothing for so long starves.
const STARVED_MIN: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use traject_engine::config::Config;
    use traject_engine::queue::reason::QueueReason;
    use traject_engine::smtp::reply::{EnhancedCode, Reply};
    use traject_engine::smtp::stage::Stage;
    use traject_engine::waits::{Allows, Limit};

    use super::*;
    use crate::receiver::spec::ReceiverSpec;
    use crate::scenario;
    use crate::test_records::{
        at, bounce, deferral, delivery, expiry, lost, opened, pair, reception, record, remote,
        reply,
    };

    /// What the records show, in words.
    fn found(records: &[Record]) -> Vec<String> {
        let watcher = Watcher::default();
        for record in records {
            watcher.record(record);
        }
        told(&watcher, 90_000)
    }

    fn told(watcher: &Watcher, end: u64) -> Vec<String> {
        let of = |one: Broken| {
            let option = one.option.unwrap_or("nothing");
            format!("{} x{}: {}, by {option}", one.promise.word(), one.times, one.because)
        };
        watcher.finish(at(end)).into_iter().map(of).collect()
    }

    #[test]
    fn what_becomes_of_mail_keeps_or_breaks_promises() {
        let mail = reception(0, 2, &["x@a.test"]);
        let local = Reply::local(554, EnhancedCode(5, 4, 4), "gone (dns_failures_to_purge)");
        let untried = expiry(600, 0, GiveUp::MaxTime);
        let Event::Delivery(attempt) = delivery(1, 1).event else { panic!() };
        let transport = Transport::Clear { why: ClearReason::Refused };
        let refused = record(1, Event::Delivery(Attempt { transport, ..attempt }));
        let cases: [(&[Record], &[&str]); 7] = [
            (&[delivery(1, 1)], &["in-clear x1: TLS is not wanted, by tls"]),
            (&[refused], &["in-clear x1: STARTTLS was refused, by tls_ifavailable_fallback"]),
            (&[bounce(5, 1, Stage::RcptTo, reply("550 No"))], &[]),
            (
                &[bounce(5, 0, Stage::RcptTo, local)],
                &["failed x1: 554 5.4.4 gone (dns_failures_to_purge), by dns_failures_to_purge"],
            ),
            (
                &[expiry(600, 2, GiveUp::MaxRetries)],
                &["expired x1: after 2 attempts, 10m old: 450 Later, by max_retries"],
            ),
            (
                &[untried],
                &["untried x1: without an attempt, 10m old: 450 Later, by message_expiration"],
            ),
            (
                &[deferral(5, 1, Stage::RcptTo, lost(), 60)],
                &["left x1: long after all trouble was over, by nothing"],
            ),
        ];
        for (records, expected) in cases {
            let records: Vec<Record> = [&mail].into_iter().chain(records).cloned().collect();
            assert_eq!(found(&records), expected);
        }
    }

    #[test]
    fn notices_to_senders_are_nobody_s_promise() {
        let Event::Reception { message, .. } = reception(0, 2, &["x@a.test"]).event else {
            panic!()
        };
        let mut notice = reception(0, 2, &["x@a.test"]);
        if let Event::Reception { via, .. } = &mut notice.event {
            let kind = traject_engine::notice::NoticeKind::Failed;
            *via = Via::Notice { of: message, kind, told: vec![0] };
        }
        assert_eq!(found(&[notice, expiry(600, 2, GiveUp::MaxRetries)]), [""; 0]);
    }

    fn throttled(second: u64) -> (Timestamp, WaitChange) {
        let option = "outbound_throttle_messages";
        let limit = Limit { option, stanza: None, allows: Allows::Connections(1) };
        let reason = QueueReason::ThrottledMessages { until: at(second) };
        (at(second), WaitChange { pair: pair("a.test"), reason, limit: Some(limit) })
    }

    #[test]
    fn who_can_try_nothing_for_an_hour_starves() {
        let starves = |tried: Option<u64>, until: u64| {
            let watcher = Watcher::default();
            let (from, change) = throttled(100);
            watcher.waits(from, &change);
            if let Some(second) = tried {
                watcher.record(&deferral(second, 1, Stage::RcptTo, reply("450 Later"), 9000));
            }
            let free = WaitChange { reason: QueueReason::Probing, limit: None, ..change };
            watcher.waits(at(until), &free);
            told(&watcher, 90_000)
        };
        let hour = ["starved x1: nothing could be tried for 1h, by outbound_throttle_messages"];
        assert_eq!(starves(None, 3700), hour);
        assert_eq!(starves(None, 3699), [""; 0]);
        assert_eq!(starves(Some(2000), 5000), [""; 0]);
        assert_eq!(starves(Some(2000), 5600), hour);
    }

    #[test]
    fn an_excess_is_of_whose_mail_goes_over_the_connection() {
        let text = "title = \"t\"\nhorizon = \"1d\"\nconfig_text = \"\"\n\
                    [[receiver]]\nname = \"r\"\ndomains = [\"a.test\"]\n\
                    [[receiver.limit]]\nwhat = \"connections\"\nmax = 1\nreply = \"421 Too many\"\n\
                    [[traffic]]\nfrom = \"a@b.test\"\nto = \"a.test\"\nmessages = 1\n";
        let scenario = scenario::parse(std::path::Path::new("t.toml"), text).unwrap();
        scenario.check_config(&Config::from_text("").unwrap()).unwrap();
        let receiver: &ReceiverSpec = &scenario.receivers[0];
        let client = "192.0.2.1:50000".parse().unwrap();
        let excess = |exchange| Excess {
            client,
            exchange,
            receiver,
            limit: &receiver.limits[0],
            said: None,
        };
        let watcher = Watcher::default();
        watcher.exceeded(at(1), &excess(remote(1)));
        watcher.exceeded(at(1), &excess(remote(1)));
        // Nobody of ours has that connection.
        watcher.exceeded(at(1), &excess(remote(2)));
        watcher.record(&opened(2, 7, 1, 1));
        let expected =
            "limit x2: connections per address: r says 421 Too many, by max_outbound_connections";
        assert_eq!(told(&watcher, 10), [expected]);
    }
}
