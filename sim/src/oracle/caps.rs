//! Caps: connections of a pair, deliveries of a connection, recipients of a transaction.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{CloseReason, Event, Pair, Record};

use super::{Book, Death, Finding, Law, PairId, ensure};

/// Connections that stand.
#[derive(Debug, Default)]
pub(super) struct Caps {
    open: BTreeMap<ConnId, Open>,
    per_pair: BTreeMap<PairId, u32>,
}

#[derive(Debug)]
struct Open {
    pair: PairId,
    remote: SocketAddr,
    /// The message delivered last, and when: its recipients count as one delivery.
    last: Option<(MessageId, Timestamp)>,
    /// The fewest deliveries it can have been.
    deliveries: u32,
    /// The most.
    deliveries_max: u32,
}

impl Caps {
    /// The end of every connection that stands, as a record would tell it.
    pub(super) fn all_closed(&self, book: &Book, how: Death) -> Vec<Event> {
        let reason = match how {
            Death::Ended => CloseReason::Draining,
            Death::Killed => CloseReason::LocalError,
        };
        let closed = |(conn, open): (&ConnId, &Open)| Event::ConnectionClosed {
            conn: *conn,
            pair: book.pair(open.pair).clone(),
            remote: open.remote,
            reason,
            deliveries: open.deliveries,
        };
        self.open.iter().map(closed).collect()
    }

    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::ConnectionOpened { conn, pair, open, remote, took, .. } => {
                let pair_id = book.pair_id(pair);
                self.count(pair_id, *open, before(record.at, *took)..=record.at, book)?;
                let known = Open {
                    pair: pair_id,
                    remote: *remote,
                    last: None,
                    deliveries: 0,
                    deliveries_max: 0,
                };
                let twice = self.open.insert(*conn, known).is_some();
                ensure(LAW, !twice, || format!("connection {conn} was opened twice"))
            }
            Event::ConnectionMigrated { conn, from, to, open, .. } => {
                self.migrate(record.at, *conn, (from, to), *open, book)
            }
            Event::ConnectionClosed { conn, deliveries, .. } => {
                let open = self.open.remove(conn);
                let open = open.ok_or_else(|| Finding {
                    law: LAW,
                    details: format!("connection {conn} was closed, and never opened"),
                })?;
                if let Some(count) = self.per_pair.get_mut(&open.pair) {
                    *count -= 1;
                }
                let (least, most) = (open.deliveries, open.deliveries_max);
                ensure(LAW, (least..=most).contains(deliveries), || {
                    format!("{least} to {most} deliveries, the record says {deliveries}")
                })
            }
            Event::Delivery(attempt) => {
                let conn = attempt.conn.and_then(|conn| self.open.get_mut(&conn));
                let open = conn.ok_or_else(|| Finding {
                    law: LAW,
                    details: format!("message {} went over no connection", attempt.message),
                })?;
                if open.last != Some((attempt.message, record.at)) {
                    open.last = Some((attempt.message, record.at));
                    open.deliveries += 1;
                    open.deliveries_max += 1;
                } else if attempt.took.is_zero() {
                    // What took no time may be a transaction of its own, or belong to the last.
                    open.deliveries_max += 1;
                }
                let begun_at = before(record.at, attempt.took);
                let phases = book.phases(open.pair, begun_at, record.at);
                let cap =
                    loosest(phases.iter().map(|one| one.options.max_deliveries_per_connection));
                ensure(LAW, cap == 0 || open.deliveries <= cap, || {
                    let count = open.deliveries;
                    format!("{count} deliveries, max_deliveries_per_connection = {cap}")
                })
            }
            _ => Ok(()),
        }
    }
}

impl Caps {
    /// A connection more of a pair, which has `open` of them now. It was begun within `times`.
    fn count(
        &mut self,
        pair_id: PairId,
        open: u32,
        times: RangeInclusive<Timestamp>,
        book: &Book,
    ) -> Result<(), Finding> {
        let count = self.per_pair.entry(pair_id).or_insert(0);
        *count += 1;
        // One begun under another configuration kept to the cap of that.
        let phases = book.phases(pair_id, *times.start(), *times.end());
        let caps = phases.iter().map(|phase| phase.options.max_outbound_connections);
        let cap = caps.max().unwrap_or_default();
        ensure(LAW, *count <= cap, || {
            let Pair { binding, domain } = book.pair(pair_id);
            let name = format!("{binding}/{domain}");
            format!("{name} has {count} connections, max_outbound_connections = {cap}")
        })?;
        ensure(LAW, open == *count, || format!("{count} are open, the record says {open}"))
    }

    fn migrate(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        (from, to): (&Pair, &Pair),
        open: u32,
        book: &mut Book,
    ) -> Result<(), Finding> {
        let (from_id, to_id) = (book.pair_id(from), book.pair_id(to));
        let known = self.open.get_mut(&conn).filter(|known| known.pair == from_id);
        let known = known.ok_or_else(|| Finding {
            law: LAW,
            details: format!("connection {conn} is none of {}/{}", from.binding, from.domain),
        })?;
        known.pair = to_id;
        // The same message for the other domain is another transaction.
        known.last = None;
        if let Some(count) = self.per_pair.get_mut(&from_id) {
            *count -= 1;
        }
        ensure(LAW, from.binding == to.binding, || {
            format!("connection {conn} of {} passed to {}", from.binding, to.binding)
        })?;
        self.count(to_id, open, at..=at, book)
    }
}

/// Judges how many recipients a transaction had.
pub(super) fn judge_batch(
    book: &mut Book,
    at: Timestamp,
    message: MessageId,
    recipients: &[String],
) -> Result<(), Finding> {
    // All recipients of a transaction are of one queue.
    let Some(first) = recipients.first() else { return Ok(()) };
    let (home, recipients) = (book.row_named(message, first)?.home, recipients.len());
    // When the transaction began the receiver does not tell.
    let phases = book.phases(home, before(at, TRANSACTION_MAX), at);
    let cap = loosest(phases.iter().map(|phase| phase.queue_batch));
    ensure(LAW, cap == 0 || recipients <= cap as usize, || {
        format!("{recipients} recipients in one transaction, max_recipients_per_batch = {cap}")
    })
}

fn before(at: Timestamp, time: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(time.as_micros() as u64))
}

/// The loosest of some limits, 0 being none.
fn loosest(limits: impl Iterator<Item = u32> + Clone) -> u32 {
    if limits.clone().any(|limit| limit == 0) { 0 } else { limits.max().unwrap_or_default() }
}

/// Longest time a transaction takes.
const TRANSACTION_MAX: Duration = Duration::from_secs(3600);

const LAW: Law = Law::Caps;
