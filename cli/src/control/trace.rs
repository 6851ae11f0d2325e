//! The dialogues with one domain's exchanges, as they are spoken.
//!
//! An observer of the driver sees what goes over connections in clear, also where the wire is under
//! TLS: handshakes never come by here. Bodies do not either. What belongs to AUTH is not shown.
//! While nobody traces, a connection costs an entry in a map.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use traject_engine::control::Selector;
use traject_engine::ids::ConnId;
use traject_engine::record::{Event, Pair};
use traject_engine::smtp::date::utc_date;
use traject_engine::{Input, Output, Timestamp};
use traject_net::driver::Observer;

use super::answer::{Params, Problem};
use super::{Daemon, domain_name};

/// Everybody who traces.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// How many there are, to be seen without the lock.
    count: AtomicUsize,
    watches: Mutex<Vec<Watch>>,
}

/// One who traces.
#[derive(Debug)]
struct Watch {
    of: Selector,
    lines: mpsc::Sender<Line>,
    /// Lines that he was too slow for.
    lost: u64,
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    at: Timestamp,
    conn: ConnId,
    #[serde(flatten)]
    pair: Pair,
    what: What,
    text: String,
    /// Lines that were left out before this one.
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// We said it.
    Sent,
    /// The exchange said it.
    Heard,
    /// It happened.
    Event,
}

/// The driver's side: who owns which connection, and what is secret on it.
#[derive(Debug)]
pub(crate) struct Tracer {
    traces: Arc<Traces>,
    conns: BTreeMap<ConnId, Talk>,
}

#[derive(Debug)]
struct Talk {
    pair: Pair,
    dialogue: Dialogue,
}

/// What is known of a dialogue, for what must not be shown of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dialogue {
    in_auth: bool,
}

impl Dialogue {
    /// A line of ours, fit to be shown.
    fn sent(&mut self, line: &str) -> String {
        if self.in_auth {
            return HIDDEN.to_owned();
        }
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        if verb.eq_ignore_ascii_case("AUTH") {
            self.in_auth = true;
            let mechanism = words.next().unwrap_or_default();
            return format!("AUTH {mechanism} {HIDDEN}");
        }
        shown(line)
    }

    /// A line of the exchange, fit to be shown.
    fn heard(&mut self, line: &str) -> String {
        if self.in_auth && line.starts_with("334") {
            return format!("334 {HIDDEN}");
        }
        self.in_auth = false;
        shown(line)
    }
}

/// No control characters, and no more than a line.
fn shown(line: &str) -> String {
    let visible = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    line.chars().take(LINE_CHARS_MAX).map(visible).collect()
}

impl Traces {
    /// What the driver is to be observed with.
    pub(crate) fn observer(self: &Arc<Self>) -> Tracer {
        Tracer { traces: Arc::clone(self), conns: BTreeMap::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when enough people trace already.
    fn begin(&self, of: Selector) -> Option<mpsc::Receiver<Line>> {
        let mut watches = self.lock();
        watches.retain(|watch| !watch.lines.is_closed());
        if watches.len() >= TRACES_MAX {
            return None;
        }
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        watches.push(Watch { of, lines, lost: 0 });
        self.count.store(watches.len(), Ordering::Relaxed);
        Some(receiver)
    }

    fn is_watched(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Hands a line to those who want it. Whoever does not keep up misses lines, and is told so.
    fn tell(&self, (at, conn, pair): (Timestamp, ConnId, &Pair), what: What, text: String) {
        let mut watches = self.lock();
        for watch in watches.iter_mut().filter(|watch| watch.of.may_be_in(pair)) {
            let (pair, text, lost) = (pair.clone(), text.clone(), watch.lost);
            match watch.lines.try_send(Line { at, conn, pair, what, text, lost }) {
                Ok(()) => watch.lost = 0,
                Err(_) => watch.lost += 1,
            }
        }
        if watches.iter().any(|watch| watch.lines.is_closed()) {
            watches.retain(|watch| !watch.lines.is_closed());
            self.count.store(watches.len(), Ordering::Relaxed);
        }
    }
}

impl Tracer {
    fn said(&mut self, at: Timestamp, conn: ConnId, what: What, bytes: &[u8]) {
        let Some(Talk { pair, dialogue }) = self.conns.get_mut(&conn) else { return };
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines() {
            let text = match what {
                What::Sent => dialogue.sent(line),
                What::Heard | What::Event => dialogue.heard(line),
            };
            self.traces.tell((at, conn, pair), what, text);
        }
    }

    fn happened(&self, at: Timestamp, conn: ConnId, pair: &Pair, text: String) {
        if self.traces.is_watched() {
            self.traces.tell((at, conn, pair), What::Event, text);
        }
    }

    fn record(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::ConnectionOpened { conn, pair, remote, exchange, .. } => {
                let talk = Talk { pair: pair.clone(), dialogue: Dialogue::default() };
                self.conns.insert(*conn, talk);
                self.happened(at, *conn, pair, format!("connected to {exchange} [{remote}]"));
            }
            Event::ConnectionFailed { conn, pair, remote, exchange, error, .. } => {
                let text = format!("not connected to {exchange} [{remote}]: {}", error.text());
                self.happened(at, *conn, pair, text);
            }
            Event::ConnectionMigrated { conn, to, .. } => {
                if let Some(talk) = self.conns.get_mut(conn) {
                    talk.pair = to.clone();
                }
                self.happened(at, *conn, to, format!("passes to {}", to.domain));
            }
            Event::TlsEstablished { conn, pair, info, .. } => {
                let text = format!("{} with {}", info.version, info.cipher.openssl_name());
                self.happened(at, *conn, pair, text);
            }
            Event::TlsFailed { conn, pair, reply, .. } => {
                self.happened(at, *conn, pair, format!("no TLS: {reply}"));
            }
            Event::ConnectionClosed { conn, pair, reason, deliveries, .. } => {
                self.conns.remove(conn);
                let text = format!("closed after {deliveries} deliveries: {reason:?}");
                self.happened(at, *conn, pair, text);
            }
            _ => {}
        }
    }
}

impl Observer for Tracer {
    fn input(&mut self, now: Timestamp, input: &Input<'_>) {
        match input {
            Input::Received { conn, bytes } if conn.is_by_engine() && self.traces.is_watched() => {
                self.said(now, *conn, What::Heard, bytes);
            }
            Input::BodyDone { conn, result: Ok(info) } if conn.is_by_engine() => {
                if let Some(talk) = self.conns.get(conn) {
                    let text = format!("(a body of {} bytes)", info.size_bytes);
                    self.happened(now, *conn, &talk.pair, text);
                }
            }
            _ => {}
        }
    }

    fn output(&mut self, now: Timestamp, output: &Output) {
        match output {
            Output::Write { conn, bytes } if conn.is_by_engine() && self.traces.is_watched() => {
                self.said(now, *conn, What::Sent, bytes);
            }
            Output::Record(record) => self.record(now, &record.event),
            _ => {}
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    domain: Option<String>,
    binding: Option<String>,
}

/// Lines until the client leaves.
pub(super) async fn stream(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    let Some(domain) = &wanted.domain else {
        return Err(Problem::bad("the dialogues with whom?").hint("`domain`, and `binding`"));
    };
    let domain = Some(domain_name(domain)?);
    let of = Selector { binding: wanted.binding.map(Into::into), domain, message: None };
    let lines = daemon
        .traces
        .begin(of)
        .ok_or_else(|| Problem::unavailable(format!("{TRACES_MAX} traces are under way")))?;
    let plain = super::answer::wants_text(&headers);
    let format = if plain { "text/plain; charset=utf-8" } else { "application/x-ndjson" };
    let body = Body::new(Stream { lines, plain });
    Ok(([(header::CONTENT_TYPE, format)], body).into_response())
}

/// The body of an answer without an end.
struct Stream {
    lines: mpsc::Receiver<Line>,
    plain: bool,
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let plain = self.plain;
        self.lines.poll_recv(cx).map(|line| {
            let line = line?;
            let text = match plain {
                true => line.for_people(),
                // Unwrap is OK because a line has no map.
                false => serde_json::to_string(&line).unwrap() + "\n",
            };
            Some(Ok(Frame::data(text.into())))
        })
    }
}

impl Line {
    fn for_people(&self) -> String {
        let Self { at, conn, pair, what, text, lost } = self;
        let mark = match what {
            What::Sent => '>',
            What::Heard => '<',
            What::Event => '*',
        };
        let lost = match lost {
            0 => String::new(),
            lost => format!("({lost} lines are missing here)\n"),
        };
        let (date, millis) = (utc_date(*at), at.as_micros() / 1000 % 1000);
        // The time of the day is enough of it.
        let time = date.split(' ').next_back().unwrap_or_default();
        format!("{lost}{time}.{millis:03} {conn} {} {mark} {text}\n", pair.binding)
    }
}

const HIDDEN: &str = "(not shown)";

/// Longest line that is shown.
const LINE_CHARS_MAX: usize = 1000;

/// Lines that wait for one who traces.
const LINES_WAITING_MAX: usize = 4096;

/// People who trace at a time.
const TRACES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut dialogue = Dialogue::default();
        for (sent, line, expected) in [
            (true, "EHLO us.test", "EHLO us.test"),
            (false, "250-AUTH PLAIN LOGIN", "250-AUTH PLAIN LOGIN"),
            (true, "AUTH PLAIN AGFubgBzZWNyZXQ=", "AUTH PLAIN (not shown)"),
            (false, "235 2.7.0 in", "235 2.7.0 in"),
            (true, "MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>"),
            (true, "auth LOGIN", "AUTH LOGIN (not shown)"),
            (false, "334 VXNlcm5hbWU6", "334 (not shown)"),
            (true, "YW5u", "(not shown)"),
            (false, "334 UGFzc3dvcmQ6", "334 (not shown)"),
            (true, "c2VjcmV0", "(not shown)"),
            (false, "535 5.7.8 no", "535 5.7.8 no"),
            (true, "QUIT", "QUIT"),
            (false, "221 \u{1b}[2Jbye", "221 \u{fffd}[2Jbye"),
        ] {
            let found = if sent { dialogue.sent(line) } else { dialogue.heard(line) };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn who_is_too_slow_misses_lines_and_who_leaves_is_forgotten() {
        let traces = Traces::default();
        let of = Selector { domain: Some("x.test".into()), ..Selector::default() };
        let mut lines = traces.begin(of.clone()).unwrap();
        let pair = Pair { binding: "b".into(), domain: "x.test".into() };
        let other = Pair { binding: "b".into(), domain: "y.test".into() };
        let tell = |pair: &Pair| {
            traces.tell((Timestamp(1), ConnId(2), pair), What::Sent, "QUIT".to_owned());
        };
        (0..LINES_WAITING_MAX + 3).for_each(|_| tell(&pair));
        tell(&other);
        for _ in 0..LINES_WAITING_MAX {
            assert_eq!(lines.try_recv().unwrap().lost, 0);
        }
        assert!(lines.try_recv().is_err());
        tell(&pair);
        let late = lines.try_recv().unwrap();
        assert_eq!(late.lost, 3);
        assert_eq!(late.for_people(), "(3 lines are missing here)\n00:00:00.000 2 b > QUIT\n");
        let _more: Vec<_> = (1..TRACES_MAX).map(|_| traces.begin(of.clone()).unwrap()).collect();
        assert!(traces.begin(of.clone()).is_none());
        drop(lines);
        tell(&pair);
        assert_eq!(traces.count.load(Ordering::Relaxed), TRACES_MAX - 1);
        assert!(traces.begin(of).is_some());
    }
}
