//! Throttles: in every window of a throttle's length at most so many events, counted from the
//! records alone, over everything that falls back to the stanza that sets it (decision D11).
//!
//! Messages count when their transaction begins, connections when the first packet is sent. Records
//! tell of both only when they are over, so events come here in another order than they happened;
//! they are put in order and judged at the end of the run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use traject_engine::Timestamp;
use traject_engine::config::effective::{DeliveryOptions, SharedThrottle};
use traject_engine::ids::ConnId;
use traject_engine::record::{Event, Pair, Record};

use super::{Book, Finding, Law};
use crate::counts::attempt_of;

/// What was throttled, by option and stanza.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    seen: BTreeMap<(&'static str, Arc<str>), Vec<Seen>>,
    /// Connections that are coming up, with the configuration under which each was begun.
    begun: BTreeMap<ConnId, usize>,
    /// When processes were killed.
    killed: Vec<Kill>,
}

/// One event, and the limit that applied to it; at the instant of a reload, those of which one did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    at: Timestamp,
    limits: SmallVec<[Limit; 1]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Limit {
    events_max: u32,
    window: Duration,
    /// Earlier events are not remembered.
    since: Timestamp,
}

impl Throttles {
    /// The engine begins a connection.
    pub(super) fn connects(&mut self, conn: ConnId, book: &Book) {
        self.begun.insert(conn, book.last_config());
    }

    /// Notes what a record tells.
    pub(super) fn note(&mut self, record: &Record, book: &mut Book) {
        match &record.event {
            Event::ConnectionOpened { conn, pair, took, .. }
            | Event::ConnectionFailed { conn, pair, took, .. } => {
                let throttle = |of: &DeliveryOptions| of.outbound_throttle_connections.clone();
                let begun = self.begun.remove(conn);
                let when = (record.at, *took, begun);
                self.count(CONNECTIONS, when, pair, throttle, book);
            }
            event => {
                // Without a connection there was no transaction.
                let Some(attempt) = attempt_of(event).filter(|one| one.conn.is_some()) else {
                    return;
                };
                let throttle = |of: &DeliveryOptions| of.outbound_throttle_messages.clone();
                let when = (record.at, attempt.took, None);
                self.count(MESSAGES, when, &attempt.pair, throttle, book);
            }
        }
    }

    fn count(
        &mut self,
        option: &'static str,
        (ended_at, took, begun): (Timestamp, Duration, Option<usize>),
        pair: &Pair,
        throttle: impl Fn(&DeliveryOptions) -> Option<SharedThrottle>,
        book: &mut Book,
    ) {
        let pair = book.pair_id(pair);
        let at = Timestamp(ended_at.as_micros().saturating_sub(took.as_micros() as u64));
        let phases = match begun {
            Some(config) => std::slice::from_ref(book.phase(pair, config)),
            // At the very instant of a reload either configuration may have let it pass.
            None => book.phases(pair, at, at),
        };
        let throttles: Option<Vec<SharedThrottle>> =
            phases.iter().map(|phase| throttle(&phase.options)).collect();
        let Some(throttles) = throttles else { return };
        let Some(SharedThrottle { scope, .. }) = throttles.last() else { return };
        // It may have passed where there was no limit, or at the limit of another stanza.
        let elsewhere = |one: &SharedThrottle| !one.rate.is_limit() || one.scope != *scope;
        if throttles.iter().any(elsewhere) {
            return;
        }
        let mut limits = SmallVec::new();
        for SharedThrottle { rate, .. } in &throttles {
            // A window that has become longer remembers no more than the shorter one did; how long
            // that of a stanza was that counted for others alone, nobody asks here.
            let may_forget = |options: &DeliveryOptions| {
                throttle(options)
                    .is_none_or(|before| before.scope != *scope || before.rate.per < rate.per)
            };
            let since = book.last_reload(pair, at, may_forget);
            limits.push(Limit { events_max: rate.events, window: rate.per, since });
        }
        self.seen.entry((option, Arc::clone(scope))).or_default().push(Seen { at, limits });
    }

    /// The process is killed: what it let pass in its last second it may not have written down
    /// (decision L7), nor what came after `durable` where a later write came to nothing.
    pub(super) fn forgotten(&mut self, at: Timestamp, durable: Option<Timestamp>) {
        let written = Timestamp(at.0.saturating_sub(UNWRITTEN_MAX.as_micros() as u64));
        let known_until = durable.map_or(written, |durable| durable.min(written));
        self.killed.push(Kill { at, known_until });
    }

    /// The process is gone, with the connections that were coming up.
    pub(super) fn process_gone(&mut self) {
        self.begun.clear();
    }

    /// Judges everything noted. A violation comes with its instant.
    pub(super) fn judge(&mut self) -> Result<(), (Timestamp, Finding)> {
        for ((option, scope), seen) in &mut self.seen {
            seen.sort_unstable();
            let late =
                lives(&self.killed).find_map(|life| first_excess(&known(seen, &life), life.from));
            if let Some((at, Limit { events_max, window, .. })) = late {
                let stanza = if scope.is_empty() { "global scope" } else { scope };
                let details = format!(
                    "{option} of the {stanza}: more than {events_max} in {} s",
                    window.as_secs_f64()
                );
                return Err((at, Finding { law: LAW, details }));
            }
        }
        Ok(())
    }
}

/// The life of a process, and when those before it were killed.
struct Life<'k> {
    from: Timestamp,
    until: Timestamp,
    killed_before: &'k [Kill],
}

/// The end of a process, and up to when it was bound to have written down what passed.
#[derive(Clone, Copy, Debug)]
struct Kill {
    at: Timestamp,
    known_until: Timestamp,
}

/// The lives that ended by being killed, and the last one.
fn lives(killed: &[Kill]) -> impl Iterator<Item = Life<'_>> {
    (0..=killed.len()).map(|n| Life {
        from: n.checked_sub(1).map_or(Timestamp(0), |before| killed[before].at),
        until: killed.get(n).map_or(Timestamp::NEVER, |kill| kill.at),
        killed_before: &killed[..n],
    })
}

/// Those of the events, in order, that a process was bound to know of until its end.
fn known<'s>(seen: &'s [Seen], life: &Life<'_>) -> Cow<'s, [Seen]> {
    if life.killed_before.is_empty() {
        let end = seen.partition_point(|one| one.at <= life.until);
        return Cow::Borrowed(&seen[..end]);
    }
    let unwritten = |at: Timestamp, kill: &Kill| at <= kill.at && at > kill.known_until;
    let knows = |one: &&Seen| {
        one.at <= life.until && !life.killed_before.iter().any(|end| unwritten(one.at, end))
    };
    Cow::Owned(seen.iter().filter(knows).cloned().collect())
}

/// The first event after `from`, of those in order, with which a window holds more than its limit,
/// and that limit: the event that many places earlier is less than a window older.
fn first_excess(seen: &[Seen], from: Timestamp) -> Option<(Timestamp, Limit)> {
    let exceeds = |place: usize, at: Timestamp, limit: &Limit| {
        let earlier = place.checked_sub(limit.events_max as usize).map(|earlier| seen[earlier].at);
        earlier.is_some_and(|earlier| {
            at.saturating_since(earlier) < limit.window && earlier >= limit.since
        })
    };
    seen.iter().enumerate().filter(|(_, one)| one.at >= from).find_map(|(place, one)| {
        let all = one.limits.iter().all(|limit| exceeds(place, one.at, limit));
        one.limits.first().filter(|_| all).map(|limit| (one.at, *limit))
    })
}

/// How long what a throttle let pass may be known to the process alone (decision L7).
const UNWRITTEN_MAX: Duration = Duration::from_secs(1);

const MESSAGES: &str = "outbound_throttle_messages";
const CONNECTIONS: &str = "outbound_throttle_connections";
const LAW: Law = Law::Throttles;

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    #[test]
    fn a_window_is_as_long_as_it_says() {
        let seen = |instants: &[u64]| -> Vec<Seen> {
            let window = Duration::from_micros(60);
            let since = Timestamp(0);
            let limit = Limit { events_max: 2, window, since };
            let seen = |at: &u64| Seen { at: Timestamp(*at), limits: smallvec![limit] };
            instants.iter().map(seen).collect()
        };
        for (instants, excess) in [
            (&[][..], None),
            (&[0, 0], None),
            (&[0, 0, 60, 60, 120], None),
            (&[0, 0, 59], Some(59)),
            (&[0, 30, 60, 89], Some(89)),
            (&[0, 30, 60, 90], None),
            (&[5, 5, 5], Some(5)),
        ] {
            let found = first_excess(&seen(instants), Timestamp(0));
            assert_eq!(found.map(|(at, _)| at.as_micros()), excess, "{instants:?}");
        }
    }

    #[test]
    fn at_the_instant_of_a_reload_what_either_limit_allows_may_pass() {
        let limit = |events_max, window| {
            let window = Duration::from_micros(window);
            Limit { events_max, window, since: Timestamp(0) }
        };
        let (slow, quick) = (limit(2, 60), limit(1, 1));
        let excess = |now: &[u64], limits: &[Limit]| {
            let only_slow = [slow];
            let before = [0, 30].iter().map(|at| (*at, &only_slow[..]));
            let all = before.chain(now.iter().map(|at| (*at, limits)));
            let seen = all.map(|(at, of)| Seen { at: Timestamp(at), limits: of.into() });
            let found = first_excess(&seen.collect::<Vec<_>>(), Timestamp(0));
            found.map(|(at, _)| at.as_micros())
        };
        assert_eq!(excess(&[50], &[slow]), Some(50));
        assert_eq!(excess(&[50], &[quick]), None);
        assert_eq!(excess(&[50], &[slow, quick]), None);
        assert_eq!(excess(&[50, 50], &[slow, quick]), Some(50));
    }

    #[test]
    fn what_a_killed_process_had_not_written_is_forgotten_and_nothing_else() {
        let seen = |seconds: &[u64]| -> Vec<Seen> {
            let (window, since) = (Duration::from_secs(60), Timestamp(0));
            let limit = Limit { events_max: 2, window, since };
            let seen = |at: &u64| Seen { at: Timestamp::from_secs(*at), limits: smallvec![limit] };
            seconds.iter().map(seen).collect()
        };
        let excess = |seconds: &[u64], killed: &[u64]| {
            let key = (MESSAGES, Arc::from(""));
            let seen = BTreeMap::from([(key, seen(seconds))]);
            let mut throttles = Throttles { seen, ..Throttles::default() };
            for at in killed.iter().copied().map(Timestamp::from_secs) {
                throttles.forgotten(at, None);
            }
            throttles.judge().err().map(|(at, _)| at.as_secs())
        };
        for (seconds, killed, expected) in [
            (&[10, 10, 30][..], &[][..], Some(30)),
            (&[10, 10, 30], &[10], None),
            (&[10, 10, 30], &[11], Some(30)),
            (&[10, 10, 10], &[10], Some(10)),
            (&[10, 10, 30, 30, 31], &[10], Some(31)),
            (&[10, 10, 30, 30, 50, 50], &[10, 30], None),
            (&[10, 10, 30, 30, 50, 50], &[10, 31], Some(50)),
        ] {
            assert_eq!(excess(seconds, killed), expected, "{seconds:?} {killed:?}");
        }
    }
}
