//! An engine for benches, exchanges that answer at once with constant bytes, and an allocator that
//! counts: what is measured is the engine.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use traject_engine::config::Config;
use traject_engine::dns::{DnsAnswer, DnsData, MxRecord, Question};
use traject_engine::ids::{ConnId, MessageId, QueryId, SpoolOp};
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient, Submission};
use traject_engine::record::Event;
use traject_engine::rng::Seed;
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::data::BodyInfo;
use traject_engine::{Engine, Input, Output, Timestamp};

/// Counts what the system's allocator is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(chunk_bytes(layout), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(chunk_bytes(layout), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of memory takes in glibc: a header, and whole 16 bytes.
fn chunk_bytes(layout: Layout) -> u64 {
    (layout.size() as u64 + 8).next_multiple_of(16).max(32)
}

/// Allocations so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

/// Bytes in use now.
pub(crate) fn live_bytes() -> u64 {
    LIVE_BYTES.load(Relaxed)
}

/// The instant at which a bench begins.
const START: Timestamp = Timestamp::from_secs(1_000_000_000);
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250)), 4000);

enum Due {
    Connected(ConnId),
    Received(ConnId, &'static [u8]),
    BodyDone(ConnId),
    Closed(ConnId),
    Resolved(QueryId, Question),
    Spooled(SpoolOp),
}

/// An engine and exchanges without latency.
pub(crate) struct Bench {
    engine: Engine,
    now: Timestamp,
    due: VecDeque<Due>,
    delivered: u64,
    next_message: u64,
    domains: Vec<Arc<str>>,
}

impl Bench {
    /// An engine whose new mail goes to so many domains in turn.
    pub(crate) fn new(config: &str, domains: usize) -> Self {
        let config = Config::from_text(config).expect("a valid configuration");
        Self {
            engine: Engine::new(Arc::new(config), Seed::from_u64(1), START),
            now: START,
            due: VecDeque::new(),
            delivered: 0,
            next_message: 0,
            domains: (0..domains).map(|n| format!("d{n}.test").into()).collect(),
        }
    }

    /// Fills the delayed queues of so many other domains: their mail has failed once and is due in
    /// some hours. Each envelope has strings of its own, as it has when it comes from outside.
    pub(crate) fn fill_delayed(&mut self, domains: u64, messages: u64) {
        for n in 0..messages {
            let domain = format!("waiting{}.test", n % domains);
            let due = self.now + Duration::from_secs(40_000 + n % 1000);
            let state = RecipientState::Pending { attempts: 1, next_attempt_at: due };
            let message = self.message(domain.as_str().into(), state);
            self.handle(Input::Recovered(Box::new(message)));
        }
    }

    /// Submits so many messages and runs until all are delivered, moving the clock when nothing
    /// else is to be done.
    pub(crate) fn relay(&mut self, messages: u64) {
        let goal = self.delivered + messages;
        for _ in 0..messages {
            let domain = self.domains[self.next_message as usize % self.domains.len()].clone();
            let message = self.message(domain, RecipientState::new(self.now));
            self.handle(Input::Submitted(Box::new(Submission { message })));
        }
        while self.delivered < goal {
            match self.due.pop_front() {
                Some(due) => self.deliver(due),
                None => self.wake(),
            }
        }
    }

    fn message(&mut self, domain: Arc<str>, state: RecipientState) -> StoredMessage {
        self.next_message += 1;
        let n = self.next_message;
        StoredMessage {
            id: MessageId::by_driver(n),
            reverse_path: ReversePath(Some(mailbox(&format!("bounce-{n}"), "brand.test".into()))),
            recipients: vec![StoredRecipient {
                mailbox: mailbox(&format!("user{n}"), domain),
                state,
            }],
            received_at: self.now,
            size_bytes: 4096,
            eight_bit: false,
            binding: "default".into(),
            origin: None,
            rerouted: Vec::new(),
        }
    }

    fn wake(&mut self) {
        let wakeup = self.engine.next_wakeup().expect("somebody waits for something");
        self.now = self.now.max(wakeup.at);
        self.handle(Input::Wakeup);
    }

    fn deliver(&mut self, due: Due) {
        self.now = self.now + Duration::from_micros(1);
        match due {
            Due::Connected(conn) => {
                self.handle(Input::Connected { conn, local: LOCAL });
                self.due.push_back(Due::Received(conn, b"220 mx.test ESMTP\r\n"));
            }
            Due::Received(conn, bytes) => self.handle(Input::Received { conn, bytes }),
            Due::BodyDone(conn) => {
                let info = BodyInfo {
                    size_bytes: 4096,
                    eight_bit: false,
                    received_headers: 0,
                    header: None,
                    head: None,
                };
                self.handle(Input::BodyDone { conn, result: Ok(info) });
                self.due.push_back(Due::Received(conn, b"250 2.0.0 queued as 4711\r\n"));
            }
            Due::Closed(conn) => self.handle(Input::Closed { conn, error: None }),
            Due::Resolved(query, question) => {
                let data = match question {
                    Question::Mx(name) => {
                        DnsData::Mx(vec![MxRecord { preference: 10, exchange: name }])
                    }
                    Question::Addresses(_) => DnsData::Addresses(vec![[192, 0, 2, 1].into()]),
                };
                let ttl = Duration::from_secs(86_400);
                self.handle(Input::Resolved { query, result: Ok(DnsAnswer { data, ttl }) });
            }
            Due::Spooled(op) => self.handle(Input::Spooled { op, result: Ok(()) }),
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Connect { conn, .. } => self.due.push_back(Due::Connected(conn)),
                Output::Write { conn, bytes } => self.due.push_back(answer(conn, &bytes)),
                Output::WriteBody { conn, .. } => self.due.push_back(Due::BodyDone(conn)),
                Output::Close { conn, .. } => self.due.push_back(Due::Closed(conn)),
                Output::Resolve { query, question } => {
                    self.due.push_back(Due::Resolved(query, question));
                }
                Output::Spool { op, .. } => self.due.push_back(Due::Spooled(op)),
                Output::Record(record) => {
                    self.delivered += u64::from(matches!(record.event, Event::Delivery(_)));
                    black_box(record);
                }
                Output::ReceiveBody { .. } => unreachable!("nobody sends us mail"),
                Output::StartTls { .. } => unreachable!("nobody here speaks TLS"),
                Output::Compose { .. } => unreachable!("nothing fails here"),
            }
        }
    }
}

fn answer(conn: ConnId, bytes: &[u8]) -> Due {
    let reply: &[u8] = match bytes.first() {
        Some(b'E') => b"250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n",
        Some(b'M') => b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n",
        _ => b"221 2.0.0 bye\r\n",
    };
    Due::Received(conn, reply)
}

fn mailbox(local: &str, domain: Arc<str>) -> Mailbox {
    Mailbox { local: local.into(), domain }
}
