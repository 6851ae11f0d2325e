//! Caps: connections of a pair, deliveries of a connection, recipients of a transaction.

use std::collections::BTreeMap;

use traject_engine::Timestamp;
use traject_engine::ids::{ConnId, MessageId};
use traject_engine::record::{Event, Record};

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
    /// The message delivered last, and when: its recipients count as one delivery.
    last: Option<(MessageId, Timestamp)>,
    deliveries: u32,
}

impl Caps {
    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::ConnectionOpened { conn, pair, open, .. } => {
                let pair_id = book.pair_id(pair);
                let count = self.per_pair.entry(pair_id).or_insert(0);
                *count += 1;
                let cap = book.options(pair_id).max_outbound_connections;
                ensure(LAW, *count <= cap, || {
                    let name = format!("{}/{}", pair.binding, pair.domain);
                    format!("{name} has {count} connections, max_outbound_connections = {cap}")
                })?;
                ensure(LAW, open == count, || format!("{count} are open, the record says {open}"))?;
                let known = Open { pair: pair_id, last: None, deliveries: 0 };
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
                let cap = book.options(open.pair).max_deliveries_per_connection;
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
    message: MessageId,
    recipients: usize,
) -> Result<(), Finding> {
    let row = book.first_row(message)?;
    let cap = book.options(row.pair).max_recipients_per_batch;
    ensure(LAW, cap == 0 || recipients <= cap as usize, || {
        format!("{recipients} recipients in one transaction, max_recipients_per_batch = {cap}")
    })
}

const LAW: &str = "caps";
