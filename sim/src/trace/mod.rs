//! The trace of a run: everything that crossed the engine's boundary, with its time, boiled down
//! to one number. Two runs with the same trace hash were the same run.

mod encode;

use std::fmt;

use serde::{Serialize, Serializer};
use traject_engine::io::SpoolWrite;
use traject_engine::{Input, Output, Timestamp};
use twox_hash::xxhash3_128;

use self::encode::encode;

/// 128 bits that stand for a whole trace (XXH3; stable, made for speed and not against malice).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceHash(pub u128);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for TraceHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Digests a trace as it goes by.
#[derive(Default)]
pub struct Trace {
    hasher: xxhash3_128::Hasher,
    events: u64,
    /// The bytes of one event.
    event: Vec<u8>,
}

impl Trace {
    /// The engine is handed this.
    pub fn input(&mut self, now: Timestamp, input: &Input<'_>) {
        self.begin(now);
        write_input(input, &mut self.event);
        self.end();
    }

    /// The engine wants this.
    pub fn output(&mut self, now: Timestamp, output: &Output) {
        self.begin(now);
        write_output(output, &mut self.event);
        self.end();
    }

    /// Inputs and outputs so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash of what has gone by.
    pub fn hash(&self) -> TraceHash {
        TraceHash(self.hasher.finish_128())
    }

    fn begin(&mut self, now: Timestamp) {
        self.event.clear();
        self.event.extend_from_slice(&now.0.to_le_bytes());
    }

    fn end(&mut self) {
        self.events += 1;
        self.hasher.write(&self.event);
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("events", &self.events)
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}

fn write_input(input: &Input<'_>, out: &mut Vec<u8>) {
    match input {
        Input::Wakeup => out.push(1),
        Input::Submitted(submission) => tagged(2, &**submission, out),
        Input::Recovered(message) => tagged(3, &**message, out),
        Input::Drain => out.push(4),
        Input::Accepted { conn, listener, local, peer } => {
            tagged(5, &(conn, listener, local, peer), out);
        }
        Input::Connected { conn, local } => tagged(6, &(conn, local), out),
        Input::ConnectFailed { conn, error } => tagged(7, &(conn, error), out),
        Input::Received { conn, bytes } => {
            tagged(8, &(conn, bytes.len()), out);
            out.extend_from_slice(bytes);
        }
        Input::BodyProgress { conn, total_bytes } => tagged(9, &(conn, total_bytes), out),
        Input::BodyDone { conn, result } => tagged(10, &(conn, result), out),
        Input::Closed { conn, error } => tagged(11, &(conn, error), out),
        Input::Resolved { query, result } => tagged(12, &(query, result), out),
        Input::Spooled { op, result } => tagged(13, &(op, result), out),
        // What the configuration says shows in everything that follows.
        Input::Reload(_) => out.push(14),
        Input::RecoveredShaping(history) => tagged(16, &**history, out),
        Input::Composed { message, result } => tagged(17, &(message, result), out),
        Input::Control(control) => tagged(18, &**control, out),
        Input::Secured { conn, result } => tagged(15, &(conn, result), out),
    }
}

fn write_output(output: &Output, out: &mut Vec<u8>) {
    match output {
        Output::Connect { conn, source, peer } => tagged(33, &(conn, source, peer), out),
        Output::Write { conn, bytes } => {
            tagged(34, &(conn, bytes.len()), out);
            out.extend_from_slice(bytes);
        }
        Output::WriteBody { conn, message } => tagged(35, &(conn, message), out),
        Output::ReceiveBody { conn, message, prefix, rules } => {
            tagged(36, &(conn, message, prefix, rules.size_bytes_max, rules.stray), out);
        }
        Output::Close { conn, abort } => tagged(37, &(conn, abort), out),
        Output::Resolve { query, question } => tagged(38, &(query, question), out),
        Output::Spool { op, write } => {
            tagged(39, op, out);
            write_spool(write, out);
        }
        Output::Record(record) => tagged(40, &**record, out),
        Output::Compose { message, parts } => tagged(42, &(message, parts), out),
        Output::StartTls { conn, params } => tagged(41, &(conn, params), out),
    }
}

fn write_spool(write: &SpoolWrite, out: &mut Vec<u8>) {
    match write {
        SpoolWrite::Insert(message) => tagged(1, &**message, out),
        SpoolWrite::Update { message, recipients } => tagged(2, &(message, recipients), out),
        SpoolWrite::Remove(message) => tagged(3, message, out),
        SpoolWrite::Discard(message) => tagged(4, message, out),
        SpoolWrite::Shaping(history) => tagged(5, &**history, out),
        SpoolWrite::Reroute { message, recipients, to } => {
            tagged(6, &(message, recipients, to), out);
        }
    }
}

fn tagged<T: Serialize>(tag: u8, value: &T, out: &mut Vec<u8>) {
    out.push(tag);
    encode(value, out);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use traject_engine::dns::{DnsError, DnsErrorKind};
    use traject_engine::ids::{ConnId, MessageId, QueryId};
    use traject_engine::io::NetError;
    use traject_engine::record::{Event, Record};
    use traject_engine::tls::info::TlsError;
    use traject_engine::tls::params::{ClientTls, TlsOffer, TlsParams, TlsVerify};

    use super::*;

    fn hash(feed: impl Fn(&mut Trace)) -> TraceHash {
        let mut trace = Trace::default();
        feed(&mut trace);
        trace.hash()
    }

    fn received(conn: u64, bytes: &[u8]) -> Input<'_> {
        Input::Received { conn: ConnId(conn), bytes }
    }

    fn record(message: u64, text: &str) -> Output {
        let error = traject_engine::io::SpoolError::Io(text.into());
        let event = Event::SpoolFailure { message: MessageId(message), error };
        Output::Record(Box::new(Record { at: Timestamp(5), event }))
    }

    fn start_tls(server_name: &str) -> Output {
        let params = TlsParams::Client(Arc::new(ClientTls {
            server_name: server_name.into(),
            verify: TlsVerify::No,
            accepted_names: Arc::default(),
            ca: None,
            identity: None,
            offer: TlsOffer { versions: Arc::default(), suites: Arc::default() },
        }));
        Output::StartTls { conn: ConnId(2), params }
    }

    #[test]
    fn the_hash_depends_on_every_part_of_every_event() {
        let t = Timestamp(1);
        let error = |text: &str| {
            let kind = DnsErrorKind::Timeout;
            Err(DnsError { kind, ttl: std::time::Duration::ZERO, text: text.into() })
        };
        let mut hashes = vec![
            hash(|_| {}),
            hash(|trace| trace.input(t, &Input::Wakeup)),
            hash(|trace| trace.input(Timestamp(2), &Input::Wakeup)),
            hash(|trace| trace.input(t, &Input::Drain)),
            hash(|trace| {
                let config = traject_engine::config::Config::from_text("").unwrap();
                trace.input(t, &Input::Reload(config.into()));
            }),
            hash(|trace| trace.input(t, &received(2, b"ab"))),
            hash(|trace| trace.input(t, &received(4, b"ab"))),
            hash(|trace| trace.input(t, &received(2, b"ac"))),
            hash(|trace| {
                trace.input(t, &received(2, b"a"));
                trace.input(t, &received(2, b"b"));
            }),
            hash(|trace| trace.input(t, &Input::Closed { conn: ConnId(2), error: None })),
            hash(|trace| {
                let error = Some(NetError::Reset);
                trace.input(t, &Input::Closed { conn: ConnId(2), error });
            }),
            hash(|trace| {
                trace.input(t, &Input::Resolved { query: QueryId(2), result: error("a") });
            }),
            hash(|trace| {
                trace.input(t, &Input::Resolved { query: QueryId(2), result: error("b") });
            }),
            hash(|trace| {
                trace.input(t, &Input::Secured { conn: ConnId(2), result: Err(TlsError::Lost) });
            }),
            hash(|trace| {
                trace.input(t, &Input::Secured { conn: ConnId(2), result: Err(TlsError::Garbage) });
            }),
            hash(|trace| trace.output(t, &start_tls("mx.a.example"))),
            hash(|trace| trace.output(t, &start_tls("mx.b.example"))),
            hash(|trace| trace.output(t, &record(1, "x"))),
            hash(|trace| trace.output(t, &record(2, "x"))),
            hash(|trace| trace.output(t, &record(1, "y"))),
        ];
        let all = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
        let again = hash(|trace| trace.output(t, &record(1, "y")));
        assert!(hashes.contains(&again));
    }

    /// A trace hash is compared between machines and builds: the form must not change unnoticed.
    #[test]
    fn the_hash_is_pinned() {
        let pinned = hash(|trace| {
            trace.input(Timestamp(1), &received(2, b"250 Ok\r\n"));
            trace.output(Timestamp(2), &record(3, "full"));
        });
        assert_eq!(pinned.to_string(), "a35fb983a921fa813528148cf23df7af");
    }
}
