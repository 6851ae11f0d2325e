//! Shared caps: connections added up over everything that shares a limit.
//!
//! Who shares what is asked of the configuration, pair by pair; the counting is done here, from the
//! records alone. Connections that are only being made are in no record: so nothing is called too
//! many that is not, and the engine, which counts those too, must come out below.

use std::collections::BTreeMap;
use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::ids::ConnId;
use traject_engine::record::{Event, Pair, Record};

use super::{Book, Finding, Law, ensure};

/// A limit on connections: the option and the stanza that sets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cap {
    /// `server_max_outbound_connections`.
    Server(Arc<str>),
    /// `scope_max_outbound_connections`.
    Scope(Arc<str>),
    /// `max_outbound_connections` of a `host` stanza, for each exchange by itself.
    Host { stanza: Arc<str>, exchange: Arc<str> },
}

/// Connections that stand, by what they count towards.
#[derive(Debug, Default)]
pub(super) struct SharedCaps {
    open: BTreeMap<ConnId, Open>,
    counts: BTreeMap<Cap, u32>,
    /// Connections from before a reload, that may exceed a limit it lowered.
    from_before: BTreeMap<Cap, u32>,
}

/// A connection, and what it counts towards.
#[derive(Debug)]
struct Open {
    pair: Pair,
    exchange: Arc<str>,
    caps: Vec<Cap>,
}

impl SharedCaps {
    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::ConnectionOpened { conn, pair, exchange, took, .. } => {
                let limits = limits_of(book, pair, exchange);
                // One begun before a reload kept to the limits of that time.
                let begun_at = Timestamp(record.at.0.saturating_sub(took.as_micros() as u64));
                let judged = book.configs(begun_at, record.at).len() == 1;
                self.enter(*conn, pair, exchange, limits, judged)
            }
            Event::ConnectionMigrated { conn, to, exchange, .. } => {
                self.leave(*conn);
                let limits = limits_of(book, to, exchange);
                self.enter(*conn, to, exchange, limits, true)
            }
            Event::ConnectionClosed { conn, .. } => {
                self.leave(*conn);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Another configuration is in force: every connection counts towards its limits now.
    pub(super) fn reload(&mut self, book: &mut Book) {
        self.counts.clear();
        for open in self.open.values_mut() {
            let limits = limits_of(book, &open.pair, &open.exchange);
            open.caps = limits.into_iter().map(|(cap, _)| cap).collect();
            for cap in &open.caps {
                *self.counts.entry(cap.clone()).or_insert(0) += 1;
            }
        }
        self.from_before = self.counts.clone();
    }

    fn enter(
        &mut self,
        conn: ConnId,
        pair: &Pair,
        exchange: &Arc<str>,
        limits: Vec<(Cap, u32)>,
        judged: bool,
    ) -> Result<(), Finding> {
        let caps = limits.iter().map(|(cap, _)| cap.clone()).collect();
        let open = Open { pair: pair.clone(), exchange: Arc::clone(exchange), caps };
        self.open.insert(conn, open);
        for (cap, max) in limits {
            let count = self.counts.entry(cap.clone()).or_insert(0);
            *count += 1;
            let allowed = self.from_before.entry(cap.clone()).or_insert(0);
            if !judged {
                *allowed = (*allowed).max(*count);
            }
            ensure(LAW, *count <= max.max(*allowed), || {
                format!("{count} connections share a limit of {max}: {}", cap.describe())
            })?;
        }
        Ok(())
    }

    fn leave(&mut self, conn: ConnId) {
        for cap in self.open.remove(&conn).into_iter().flat_map(|open| open.caps) {
            if let Some(count) = self.counts.get_mut(&cap) {
                *count -= 1;
                let allowed = self.from_before.entry(cap).or_insert(0);
                *allowed = (*allowed).min(*count);
            }
        }
    }
}

impl Cap {
    fn describe(&self) -> String {
        match self {
            Self::Server(stanza) => format!("server_max_outbound_connections of {}", name(stanza)),
            Self::Scope(stanza) => format!("scope_max_outbound_connections of {}", name(stanza)),
            Self::Host { stanza, exchange } => {
                format!("max_outbound_connections of {}, for {exchange}", name(stanza))
            }
        }
    }
}

fn name(stanza: &str) -> &str {
    if stanza.is_empty() { "the global scope" } else { stanza }
}

/// What a connection of a pair to an exchange counts towards, and how many each allows at most.
fn limits_of(book: &mut Book, pair: &Pair, exchange: &Arc<str>) -> Vec<(Cap, u32)> {
    let pair_id = book.pair_id(pair);
    let options = book.options(pair_id);
    let reserve = book.config().server_options().server_reserve_outbound_connections;
    let server = options.server_max_outbound_connections.iter().map(|cap| {
        // Only the cap of the whole server has a reserve.
        let extra = if cap.scope.is_empty() { reserve } else { 0 };
        (Cap::Server(Arc::clone(&cap.scope)), cap.max.saturating_add(extra))
    });
    let scope = options.scope_max_outbound_connections.iter();
    let scope = scope.map(|cap| (Cap::Scope(Arc::clone(&cap.scope)), cap.max));
    server.chain(scope).chain(host_limit(book.config(), pair, exchange)).collect()
}

fn host_limit(config: &Config, pair: &Pair, exchange: &Arc<str>) -> Option<(Cap, u32)> {
    let cap = config.host_cap(&pair.binding, exchange)?;
    Some((Cap::Host { stanza: cap.scope, exchange: Arc::clone(exchange) }, cap.max))
}

const LAW: Law = Law::SharedCaps;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test_records::{record, remote};

    /// Binding, domain, exchange.
    type Opening = (&'static str, &'static str, &'static str);

    /// The first opening that a limit forbids, counted from 1, and what is said about it.
    fn first_too_many(config: &str, openings: &[Opening]) -> Option<(usize, String)> {
        let config = Config::from_text(config).unwrap();
        let mut book = Book::new(Arc::new(config));
        let mut caps = SharedCaps::default();
        openings.iter().zip(1..).find_map(|((binding, domain, exchange), n)| {
            let pair = Pair { binding: (*binding).into(), domain: (*domain).into() };
            let record = record(0, opened(n as u64, pair, exchange));
            caps.judge(&record, &mut book).err().map(|finding| (n, finding.details))
        })
    }

    fn opened(conn: u64, pair: Pair, exchange: &str) -> Event {
        Event::ConnectionOpened {
            conn: ConnId(2 * conn),
            pair,
            local: remote(9),
            remote: remote(1),
            exchange: exchange.into(),
            open: 1,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn each_row_of_the_table_of_caps() {
        const MX: &str = "mx.test";
        let table: &[(&str, &[Opening], usize, &str)] = &[
            // The process, reserve included.
            (
                "server_max_outbound_connections = 1 server_reserve_outbound_connections = 1",
                &[("default", "a.test", MX), ("red", "b.test", MX), ("blue", "c.test", MX)],
                3,
                "share a limit of 2: server_max_outbound_connections of the global scope",
            ),
            // A binding has no reserve.
            (
                "binding \"red\" { server_max_outbound_connections = 1 }",
                &[("default", "a.test", MX), ("red", "a.test", MX), ("red", "b.test", MX)],
                3,
                "share a limit of 1: server_max_outbound_connections of",
            ),
            (
                "scope_max_outbound_connections = 1",
                &[("default", "a.test", MX), ("red", "b.test", MX)],
                2,
                "scope_max_outbound_connections of the global scope",
            ),
            // A domain over all bindings.
            (
                "domain \"a.test\" { scope_max_outbound_connections = 1 }",
                &[("red", "a.test", MX), ("red", "b.test", MX), ("blue", "a.test", MX)],
                3,
                "share a limit of 1",
            ),
            // A domain over the group.
            (
                "binding_group \"g\" { domain \"a.test\" { scope_max_outbound_connections = 1 }
                   binding \"red\" { } binding \"blue\" { } }",
                &[("default", "a.test", MX), ("red", "a.test", MX), ("blue", "a.test", MX)],
                3,
                "share a limit of 1",
            ),
            // A pair.
            (
                "binding \"red\" { domain \"a.test\" { scope_max_outbound_connections = 1 } }
                 binding \"blue\" { }",
                &[("blue", "a.test", MX), ("red", "a.test", MX), ("red", "a.test", MX)],
                3,
                "share a limit of 1",
            ),
            // All domains that a pattern matches, together.
            (
                "domain \"/[.]test$/\" { scope_max_outbound_connections = 2 }",
                &[("red", "a.test", MX), ("red", "b.test", MX), ("blue", "c.test", MX)],
                3,
                "share a limit of 2",
            ),
            // An exchange, whatever the domain; each that a pattern matches by itself.
            (
                "host \"/^mx/\" { max_outbound_connections = 1 }",
                &[("red", "a.test", "mx1.test"), ("red", "a.test", MX), ("blue", "b.test", MX)],
                3,
                "max_outbound_connections of",
            ),
        ];
        for (config, openings, nth, what) in table {
            let all = "binding \"red\" { } binding \"blue\" { }";
            let config = if config.contains("\"blue\"") || config.contains("\"red\"") {
                (*config).to_owned()
            } else {
                format!("{config} {all}")
            };
            let (n, details) = first_too_many(&config, openings)
                .unwrap_or_else(|| panic!("nothing was caught under {config}"));
            assert_eq!(n, *nth, "{config}: {details}");
            assert!(details.contains(what), "{config}: {details}");
        }
    }

    #[test]
    fn what_is_closed_counts_no_more() {
        let config = "server_max_outbound_connections = 1 server_reserve_outbound_connections = 0";
        let mut book = Book::new(Arc::new(Config::from_text(config).unwrap()));
        let mut caps = SharedCaps::default();
        let pair = Pair { binding: "default".into(), domain: "a.test".into() };
        let mut see = |event| caps.judge(&record(0, event), &mut book);
        assert_eq!(see(opened(1, pair.clone(), "mx.test")), Ok(()));
        let closed = crate::test_records::closed(0, 2, 0).event;
        assert_eq!(see(closed), Ok(()));
        assert_eq!(see(opened(2, pair.clone(), "mx.test")), Ok(()));
        assert!(see(opened(3, pair, "mx.test")).is_err());
    }

    #[test]
    fn a_lowered_limit_lets_connections_from_before_end_and_no_more_begin() {
        let limit = |max: u32| {
            let text = format!(
                "server_max_outbound_connections = {max} server_reserve_outbound_connections = 0"
            );
            Arc::new(Config::from_text(&text).unwrap())
        };
        let mut book = Book::new(limit(3));
        let mut caps = SharedCaps::default();
        let pair = Pair { binding: "default".into(), domain: "a.test".into() };
        for conn in 1..=3 {
            let opening = record(0, opened(conn, pair.clone(), "mx.test"));
            assert_eq!(caps.judge(&opening, &mut book), Ok(()));
        }
        book.reload(crate::test_records::at(1), limit(1));
        caps.reload(&mut book);
        let closed = |conn: u64| crate::test_records::closed(2, 2 * conn, 0);
        let mut see = |record: Record| caps.judge(&record, &mut book);
        assert_eq!(see(closed(1)), Ok(()));
        // Two are left, and the limit is one.
        assert!(see(record(2, opened(4, pair.clone(), "mx.test"))).is_err());
        for conn in [2, 3, 4] {
            assert_eq!(see(closed(conn)), Ok(()));
        }
        assert_eq!(see(record(2, opened(5, pair.clone(), "mx.test"))), Ok(()));
        assert!(see(record(2, opened(6, pair, "mx.test"))).is_err());
    }
}
