//! Caps: connections of a pair, deliveries of a connection, recipients of a transaction.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{CloseReason, Event, Record};

use super::{Book, Finding, PairId, ensure};

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
    deliveries: u32,
}

impl Caps {
    /// The end of every connection that stands, as a record would tell it.
    pub(super) fn all_closed(&self, book: &Book) -> Vec<Event> {
        let closed = |(conn, open): (&ConnId, &Open)| Event::ConnectionClosed {
            conn: *conn,
            pair: book.pair(open.pair).clone(),
            remote: open.remote,
            reason: CloseReason::Draining,
            deliveries: open.deliveries,
        };
        self.open.iter().map(closed).collect()
    }

    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::ConnectionOpened { conn, pair, open, remote, took, .. } => {
                let pair_id = book.pair_id(pair);
                let count = self.per_pair.entry(pair_id).or_insert(0);
                *count += 1;
                // One begun under another configuration kept to the cap of that.
                let phases = book.phases(pair_id, before(record.at, *took), record.at);
                let caps = phases.iter().map(|phase| phase.options.max_outbound_connections);
                let cap = caps.max().unwrap_or_default();
                ensure(LAW, *count <= cap, || {
                    let name = format!("{}/{}", pair.binding, pair.domain);
                    format!("{name} has {count} connections, max_outbound_connections = {cap}")
                })?;
                ensure(LAW, open == count, || format!("{count} are open, the record says {open}"))?;
                let known = Open { pair: pair_id, remote: *remote, last: None, deliveries: 0 };
                let twice = self.open.insert(*conn, known).is_some();
                ensure(LAW, !twice, || format!("connection {conn} was opened twice"))
            }
            Event::ConnectionClosed { conn, deliveries, .. } => {
                let open = self.open.remove(conn);
                let open = open.ok_or_else(|| Finding {
                    invariant: LAW,
                    details: format!("connection {conn} was closed, and never opened"),
                })?;
                if let Some(count) = self.per_pair.get_mut(&open.pair) {
                    *count -= 1;
                }
                ensure(LAW, open.deliveries == *deliveries, || {
                    format!("{} deliveries, the record says {deliveries}", open.deliveries)
                })
            }
            Event::Delivery(attempt) => {
                let conn = attempt.conn.and_then(|conn| self.open.get_mut(&conn));
                let open = conn.ok_or_else(|| Finding {
                    invariant: LAW,
                    details: format!("message {} went over no connection", attempt.message),
                })?;
                if open.last != Some((attempt.message, record.at)) {
                    open.last = Some((attempt.message, record.at));
                    open.deliveries += 1;
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

/// Judges how many recipients a transaction had.
pub(super) fn judge_batch(
    book: &Book,
    at: Timestamp,
    message: MessageId,
    recipients: usize,
) -> Result<(), Finding> {
    let row = book.first_row(message)?;
    // When the transaction began the receiver does not tell.
    let phases = book.phases(row.pair, before(at, TRANSACTION_MAX), at);
    let cap = loosest(phases.iter().map(|phase| phase.options.max_recipients_per_batch));
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

const LAW: &str = "caps";
