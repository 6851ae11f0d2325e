//! A world for the engine without any network: events in virtual time, exchanges that answer from
//! a closure. It knows nothing the engine decides, so tests say what must come out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use traject_engine::config::Config;
use traject_engine::control::{Action, Control};
use traject_engine::dns::{DnsAnswer, DnsData, DnsError, DnsErrorKind, MxRecord, Question};
use traject_engine::ids::{ConnId, ListenerId, MessageId};
use traject_engine::io::{BodyPart, ComposeError, NetError, Output, SpoolError, SpoolWrite};
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient, Submission};
use traject_engine::queue::reason::QueueReason;
use traject_engine::record::{Event, Pair, Record, Via};
use traject_engine::rng::Seed;
use traject_engine::shaping::history::ShapingHistory;
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::data::{BodyInfo, BodyRules};
use traject_engine::tls::info::{
    CertificateFault, CipherSuite, TlsError, TlsInfo, TlsVersion, Verification,
};
use traject_engine::tls::params::{ClientTls, TlsParams};
use traject_engine::{Engine, Input, QueueSnapshot, Timestamp};

/// One trip over the network.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// When the world begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_000_000);

/// What an exchange does with a command (or `banner`, or `.` for the end of a body).
pub(crate) enum Answer {
    /// Says this; `\n` separates lines, CRLF is added.
    Say(String),
    /// Says this and closes.
    Bye(String),
    /// Resets the connection.
    Reset,
    /// Says nothing.
    Silence,
}

/// `(connection's number at the exchange, command, now in seconds since the start)`.
pub(crate) type Script = Box<dyn FnMut(u32, &str, u64) -> Answer>;

pub(crate) struct Exchange {
    pub(crate) script: Script,
    pub(crate) refuses: bool,
    connections: u32,
    pub(crate) open: u32,
    pub(crate) peak: u32,
}

struct Session {
    address: IpAddr,
    number: u32,
    in_data: bool,
}

/// An input on its way.
enum Coming {
    Connected(ConnId, SocketAddr),
    ConnectFailed(ConnId, NetError),
    Received(ConnId, Vec<u8>),
    BodyDone(ConnId),
    Secured(ConnId, Result<TlsInfo, TlsError>),
    Closed(ConnId, Option<NetError>),
    Resolved(traject_engine::ids::QueryId, Result<DnsAnswer, DnsError>),
    Spooled(traject_engine::ids::SpoolOp, Result<(), SpoolError>),
    Composed(MessageId, Result<BodyInfo, ComposeError>),
    Submitted(Box<Submission>),
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    events: BTreeMap<(Timestamp, u64), Coming>,
    seq: u64,
    pub(crate) zones: BTreeMap<String, Result<Vec<(u16, String)>, DnsErrorKind>>,
    pub(crate) hosts: BTreeMap<String, IpAddr>,
    pub(crate) exchanges: BTreeMap<IpAddr, Exchange>,
    sessions: BTreeMap<ConnId, Session>,
    pub(crate) records: Vec<Record>,
    /// What the spool holds: recipients done are left out.
    pub(crate) spool: BTreeMap<MessageId, BTreeSet<u32>>,
    pub(crate) spool_error: Option<SpoolError>,
    /// The last state of recipients that were written after their messages.
    pub(crate) spool_states: BTreeMap<(MessageId, u32), RecipientState>,
    /// Where recipients go that were rerouted.
    pub(crate) spool_routes: BTreeMap<(MessageId, u32), Pair>,
    /// Trips over the network that a write of the spool lasts as long as.
    pub(crate) spool_trips: u32,
    pub(crate) spool_writes: u64,
    pub(crate) compose_error: Option<ComposeError>,
    /// The same of putting a notice together.
    pub(crate) compose_trips: u32,
    /// The texts of messages the engine made, with `[...]` where they quote.
    pub(crate) composed: Vec<String>,
    /// What throttles had let pass, each time it was written.
    pub(crate) shaping: Vec<(Timestamp, Arc<ShapingHistory>)>,
    /// Bytes written to clients.
    pub(crate) to_clients: BTreeMap<ConnId, String>,
    /// Bodies clients are asked for.
    pub(crate) bodies_wanted: Vec<(ConnId, MessageId, BodyRules)>,
    /// Recount every invariant after each input.
    pub(crate) checked: bool,
    /// Connections asked for: from where, if that was said, and to where.
    pub(crate) connects: Vec<(Option<IpAddr>, SocketAddr)>,
    messages: u64,
    pub(crate) inputs: u64,
    pub(crate) latency: Duration,
    /// What was asked of handshakes.
    pub(crate) handshakes: Vec<Arc<ClientTls>>,
}

fn handshake_result(word: &str) -> Result<TlsInfo, TlsError> {
    let version = match word {
        "1.2" => TlsVersion::Tls12,
        "1.3" => TlsVersion::Tls13,
        "expired" => return Err(TlsError::Certificate(CertificateFault::Expired)),
        "wrong name" => return Err(TlsError::Certificate(CertificateFault::WrongName)),
        "no file" => return Err(TlsError::Local("cannot read /ca.pem".into())),
        alert => return Err(TlsError::Alert(alert.into())),
    };
    Ok(TlsInfo {
        version,
        cipher: CipherSuite::Aes128GcmSha256,
        verification: Verification::NotChecked,
        issuer: None,
        subject: None,
        resumed: false,
    })
}

/// Answers as a receiver that takes everything.
pub(crate) fn accepting(command: &str) -> Answer {
    let verb = command.split(' ').next().unwrap_or_default();
    Answer::Say(
        match verb {
            "banner" => "220 mx.test ESMTP",
            "EHLO" => "250-mx.test\n250-PIPELINING\n250-8BITMIME\n250 SIZE 10000000",
            "DATA" => "354 go on",
            "QUIT" => return Answer::Bye("221 bye".into()),
            _ => "250 2.0.0 ok",
        }
        .into(),
    )
}

impl World {
    pub(crate) fn new(config: &str) -> Self {
        let config = configuration(config);
        Self {
            engine: Engine::new(config, Seed::from_u64(1), START),
            now: START,
            events: BTreeMap::new(),
            seq: 0,
            zones: BTreeMap::new(),
            hosts: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            sessions: BTreeMap::new(),
            records: Vec::new(),
            spool: BTreeMap::new(),
            spool_error: None,
            spool_states: BTreeMap::new(),
            spool_routes: BTreeMap::new(),
            spool_trips: 0,
            spool_writes: 0,
            compose_error: None,
            compose_trips: 1,
            composed: Vec::new(),
            shaping: Vec::new(),
            to_clients: BTreeMap::new(),
            bodies_wanted: Vec::new(),
            checked: true,
            connects: Vec::new(),
            messages: 0,
            inputs: 0,
            latency: LATENCY,
            handshakes: Vec::new(),
        }
    }

    /// A domain with one exchange of its own, `mx.<domain>`, that answers from a script.
    pub(crate) fn receiver(
        &mut self,
        domain: &str,
        script: impl FnMut(u32, &str, u64) -> Answer + 'static,
    ) -> IpAddr {
        let address = IpAddr::from([192, 0, 2, self.exchanges.len() as u8 + 1]);
        let host = format!("mx.{domain}");
        self.zones.insert(domain.into(), Ok(vec![(10, host.clone())]));
        self.hosts.insert(host, address);
        self.exchange(address, script);
        address
    }

    pub(crate) fn exchange(
        &mut self,
        address: IpAddr,
        script: impl FnMut(u32, &str, u64) -> Answer + 'static,
    ) {
        let script = Box::new(script);
        let exchange = Exchange { script, refuses: false, connections: 0, open: 0, peak: 0 };
        self.exchanges.insert(address, exchange);
    }

    /// Submits a message at an instant, in seconds since the start.
    pub(crate) fn submit(&mut self, at: u64, recipients: &[&str]) -> MessageId {
        self.submit_with(at, recipients, |_| {})
    }

    pub(crate) fn submit_from(&mut self, at: u64, binding: &str, recipients: &[&str]) -> MessageId {
        self.submit_with(at, recipients, |message| message.binding = binding.into())
    }

    /// Submits a message that is not like the others.
    pub(crate) fn submit_with(
        &mut self,
        at: u64,
        recipients: &[&str],
        change: impl FnOnce(&mut StoredMessage),
    ) -> MessageId {
        let message = self.message(at, recipients, change);
        let (id, at) = (message.id, message.received_at);
        self.schedule(at, Coming::Submitted(Box::new(Submission { message })));
        id
    }

    /// A message received at an instant, in seconds since the start.
    pub(crate) fn message(
        &mut self,
        at: u64,
        recipients: &[&str],
        change: impl FnOnce(&mut StoredMessage),
    ) -> StoredMessage {
        self.messages += 1;
        let id = MessageId::by_driver(self.messages);
        let at = START + Duration::from_secs(at);
        let recipient = |text: &&str| StoredRecipient {
            mailbox: mailbox(text),
            state: RecipientState::new(at),
        };
        let mut message = StoredMessage {
            id,
            reverse_path: ReversePath(Some(mailbox("sender@from.test"))),
            recipients: recipients.iter().map(recipient).collect(),
            received_at: at,
            size_bytes: 1000,
            eight_bit: false,
            binding: "default".into(),
            origin: None,
            rerouted: Vec::new(),
        };
        change(&mut message);
        message
    }

    /// Another configuration from now on.
    pub(crate) fn reload(&mut self, config: &str) {
        let config = configuration(config);
        self.handle(Input::Reload(config));
    }

    /// The operator does something.
    pub(crate) fn control(&mut self, action: Action) {
        let control = Control { by: "test".into(), action, portion: None };
        self.handle(Input::Control(Box::new(control)));
    }

    /// Why the queue of a pair waits; `None` when there is no such queue.
    pub(crate) fn reason(&self, binding: &str, domain: &str) -> Option<QueueReason> {
        let queues = self.engine.snapshot().queues;
        let named = |queue: &&QueueSnapshot| {
            (&*queue.pair.binding, &*queue.pair.domain) == (binding, domain)
        };
        queues.iter().find(named).map(|queue| queue.reason)
    }

    /// A client connects.
    pub(crate) fn accept(&mut self, n: u64) -> ConnId {
        let conn = ConnId::by_driver(n);
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000 + n as u16));
        let local = SocketAddr::from(([127, 0, 0, 1], 25));
        let listener = ListenerId(0);
        self.handle(Input::Accepted { conn, listener, local, peer });
        conn
    }

    /// A client hands in a message; answers with the last thing it is told.
    pub(crate) fn receive(&mut self, n: u64, commands: &str) -> String {
        self.receive_with_header(n, commands, None)
    }

    /// The same, with a header that is taken out of the message.
    pub(crate) fn receive_with_header(
        &mut self,
        n: u64,
        commands: &str,
        header: Option<&str>,
    ) -> String {
        let conn = self.accept(n);
        let mut said = self.client(conn, commands);
        if let Some((_, _, rules)) = self.bodies_wanted.pop() {
            let header = header.filter(|_| rules.take_header.is_some()).map(Into::into);
            let info = BodyInfo {
                size_bytes: 500,
                eight_bit: false,
                received_headers: 0,
                header,
                head: None,
            };
            self.handle(Input::BodyDone { conn, result: Ok(info) });
            said = self.heard(conn);
            while said.is_empty() && self.step(self.now) {
                said = self.heard(conn);
            }
        }
        said.lines().last().unwrap_or_default().into()
    }

    /// A client says something; answers with what it is told since the last time.
    pub(crate) fn client(&mut self, conn: ConnId, text: &str) -> String {
        self.handle(Input::Received { conn, bytes: text.as_bytes() });
        self.heard(conn)
    }

    pub(crate) fn heard(&mut self, conn: ConnId) -> String {
        std::mem::take(self.to_clients.entry(conn).or_default())
    }

    /// Runs to an instant, in seconds since the start.
    pub(crate) fn run_to(&mut self, second: u64) {
        let end = START + Duration::from_secs(second);
        while self.step(end) {}
        self.now = end;
    }

    /// Does the next thing before `end`, if there is one.
    pub(crate) fn step(&mut self, end: Timestamp) -> bool {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let wakeup = self.engine.next_wakeup().map(|wakeup| wakeup.at.max(self.now));
        let Some(at) = event.into_iter().chain(wakeup).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = at;
        if event == Some(at) {
            let (_, event) = self.events.pop_first().expect("an event");
            self.deliver(event);
        } else {
            self.handle(Input::Wakeup);
        }
        true
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.inputs += 1;
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll() {
            self.perform(output);
        }
        if self.checked {
            self.engine.check().unwrap();
        }
    }

    fn schedule(&mut self, at: Timestamp, event: Coming) {
        self.seq += 1;
        self.events.insert((at, self.seq), event);
    }

    fn soon(&mut self, trips: u32, event: Coming) {
        self.schedule(self.now + self.latency * trips, event);
    }

    fn deliver(&mut self, event: Coming) {
        match event {
            Coming::Connected(conn, local) => {
                self.handle(Input::Connected { conn, local });
                self.answer(conn, "banner");
            }
            Coming::ConnectFailed(conn, error) => self.handle(Input::ConnectFailed { conn, error }),
            Coming::Received(conn, bytes) if self.sessions.contains_key(&conn) => {
                self.handle(Input::Received { conn, bytes: &bytes });
            }
            Coming::Received(..) => {}
            Coming::BodyDone(conn) => {
                self.handle(Input::BodyDone { conn, result: Ok(info(1000)) });
                self.answer(conn, ".");
            }
            Coming::Closed(conn, error) => {
                if let Some(session) = self.sessions.remove(&conn) {
                    let exchange = self.exchanges.get_mut(&session.address).expect("it");
                    exchange.open -= 1;
                    self.handle(Input::Closed { conn, error });
                }
            }
            Coming::Secured(conn, result) if self.sessions.contains_key(&conn) => {
                self.handle(Input::Secured { conn, result });
            }
            Coming::Secured(..) => {}
            Coming::Resolved(query, result) => self.handle(Input::Resolved { query, result }),
            Coming::Composed(message, result) => self.handle(Input::Composed { message, result }),
            Coming::Spooled(op, result) => self.handle(Input::Spooled { op, result }),
            Coming::Submitted(submission) => self.handle(Input::Submitted(submission)),
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect { conn, source, peer } => {
                self.connects.push((source, peer));
                self.connect(conn, peer);
            }
            Output::Write { conn, bytes } if conn.is_by_engine() => self.written(conn, &bytes),
            Output::Write { conn, bytes } => {
                let text = String::from_utf8(bytes).expect("replies are ASCII");
                self.to_clients.entry(conn).or_default().push_str(&text);
            }
            Output::StartTls { conn, params } => self.handshake(conn, params),
            Output::WriteBody { conn, .. } => self.soon(0, Coming::BodyDone(conn)),
            Output::ReceiveBody { conn, message, rules, .. } => {
                self.bodies_wanted.push((conn, message, rules));
            }
            Output::Close { conn, .. } if !conn.is_by_engine() => {
                self.to_clients.entry(conn).or_default().push_str("(closed)");
            }
            Output::Close { conn, .. } => match self.sessions.contains_key(&conn) {
                true => self.soon(0, Coming::Closed(conn, None)),
                false => self.soon(0, Coming::ConnectFailed(conn, NetError::TimedOut)),
            },
            Output::Resolve { query, question } => {
                let result = self.resolve(&question);
                self.soon(1, Coming::Resolved(query, result));
            }
            Output::Spool { op, write } => {
                let result = match self.spool_error.clone() {
                    Some(error) => Err(error),
                    None => {
                        self.write_spool(write);
                        Ok(())
                    }
                };
                self.spool_writes += 1;
                self.soon(self.spool_trips, Coming::Spooled(op, result));
            }
            Output::Compose { message, parts } => {
                self.composed.push(text_of(&parts));
                let result = self.compose_error.clone().map_or_else(|| Ok(info(2000)), Err);
                self.soon(self.compose_trips, Coming::Composed(message, result));
            }
            Output::Record(record) => self.records.push(*record),
        }
    }

    fn connect(&mut self, conn: ConnId, peer: SocketAddr) {
        let exchange = self.exchanges.get_mut(&peer.ip()).expect("an exchange to connect to");
        if exchange.refuses {
            return self.soon(2, Coming::ConnectFailed(conn, NetError::Refused));
        }
        exchange.connections += 1;
        exchange.open += 1;
        exchange.peak = exchange.peak.max(exchange.open);
        let number = exchange.connections;
        self.sessions.insert(conn, Session { address: peer.ip(), number, in_data: false });
        self.soon(2, Coming::Connected(conn, SocketAddr::from(([192, 0, 2, 250], 1000))));
    }

    fn written(&mut self, conn: ConnId, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).expect("commands are ASCII");
        for line in text.split_terminator("\r\n") {
            self.answer(conn, line);
        }
    }

    fn answer(&mut self, conn: ConnId, command: &str) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let seconds = self.now.saturating_since(START).as_secs();
        let exchange = self.exchanges.get_mut(&session.address).expect("it");
        let answer = (exchange.script)(session.number, command, seconds);
        session.in_data = command == "DATA";
        match answer {
            Answer::Say(text) => self.say(conn, &text),
            Answer::Bye(text) => {
                self.say(conn, &text);
                self.soon(2, Coming::Closed(conn, None));
            }
            Answer::Reset => self.soon(2, Coming::Closed(conn, Some(NetError::Reset))),
            Answer::Silence => {}
        }
    }

    /// The exchange is asked for `(TLS)` and says a version, or a word for what goes wrong.
    fn handshake(&mut self, conn: ConnId, params: TlsParams) {
        let TlsParams::Client(client) = params else {
            self.to_clients.entry(conn).or_default().push_str("(TLS)");
            return;
        };
        let Some(session) = self.sessions.get(&conn) else { return };
        let seconds = self.now.saturating_since(START).as_secs();
        let exchange = self.exchanges.get_mut(&session.address).expect("it");
        let answer = (exchange.script)(session.number, "(TLS)", seconds);
        self.handshakes.push(client);
        match answer {
            Answer::Say(word) => self.soon(4, Coming::Secured(conn, handshake_result(&word))),
            Answer::Bye(_) | Answer::Reset => {
                self.soon(2, Coming::Secured(conn, Err(TlsError::Lost)));
            }
            Answer::Silence => {}
        }
    }

    fn say(&mut self, conn: ConnId, text: &str) {
        let bytes = text.split('\n').flat_map(|line| [line, "\r\n"]).collect::<String>();
        self.soon(2, Coming::Received(conn, bytes.into_bytes()));
    }

    fn resolve(&self, question: &Question) -> Result<DnsAnswer, DnsError> {
        let ttl = Duration::from_secs(300);
        let missing = |kind| DnsError { kind, ttl, text: "".into() };
        let data = match question {
            Question::Mx(name) => match self.zones.get(&**name) {
                None => return Err(missing(DnsErrorKind::NxDomain)),
                Some(Err(kind)) => return Err(missing(*kind)),
                Some(Ok(records)) => DnsData::Mx(
                    records
                        .iter()
                        .map(|(preference, exchange)| MxRecord {
                            preference: *preference,
                            exchange: exchange.as_str().into(),
                        })
                        .collect(),
                ),
            },
            Question::Addresses(name) => match self.hosts.get(&**name) {
                None if self.zones.contains_key(&**name) => {
                    return Err(missing(DnsErrorKind::NoData));
                }
                None => return Err(missing(DnsErrorKind::NxDomain)),
                Some(address) => DnsData::Addresses(vec![*address]),
            },
        };
        Ok(DnsAnswer { data, ttl })
    }

    fn write_spool(&mut self, write: SpoolWrite) {
        match write {
            SpoolWrite::Insert(message) => {
                let recipients = (0..message.recipients.len() as u32).collect();
                self.spool.insert(message.id, recipients);
            }
            SpoolWrite::Update { message, recipients } => {
                let left = self.spool.get_mut(&message).expect("a message in the spool");
                for (index, state) in recipients {
                    self.spool_states.insert((message, index), state);
                    if state == RecipientState::Done {
                        left.remove(&index);
                    }
                }
            }
            SpoolWrite::Reroute { message, recipients, to } => {
                let left = self.spool.get(&message).expect("a message in the spool");
                assert!(recipients.iter().all(|index| left.contains(index)));
                let routes = recipients.into_iter().map(|index| ((message, index), to.clone()));
                self.spool_routes.extend(routes);
            }
            SpoolWrite::Remove(message) => {
                self.spool.remove(&message).expect("a message in the spool");
            }
            SpoolWrite::Discard(_) => {}
            SpoolWrite::Shaping(history) => self.shaping.push((self.now, history)),
        }
    }

    /// The records as lines: seconds since the start, then what happened, in few words.
    pub(crate) fn story(&self) -> Vec<String> {
        self.records.iter().filter_map(tell).collect()
    }

    /// The records of one kind as lines.
    pub(crate) fn told(&self, kind: &str) -> Vec<String> {
        self.story().into_iter().filter(|line| line.contains(&format!(" {kind} "))).collect()
    }

    /// How many records of one kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.told(kind).len()
    }
}

/// A configuration. Unless it says something about bounces there are none: most tests are about
/// something else.
fn configuration(text: &str) -> Arc<Config> {
    let quiet = match text.contains("generate_bounces") {
        true => "",
        false => "generate_bounces = false\n",
    };
    Arc::new(Config::from_text(&format!("{quiet}{text}")).expect("a valid configuration"))
}

fn info(size_bytes: u64) -> BodyInfo {
    BodyInfo { size_bytes, eight_bit: false, received_headers: 0, header: None, head: None }
}

fn text_of(parts: &[BodyPart]) -> String {
    let text = |part: &BodyPart| match part {
        BodyPart::Text(bytes) => String::from_utf8_lossy(bytes).replace("\r\n", "\n"),
        BodyPart::Quote { message, quote } => format!("[{quote:?} of {message}]"),
    };
    parts.iter().map(text).collect()
}

pub(crate) fn mailbox(text: &str) -> Mailbox {
    let (local, domain) = text.rsplit_once('@').expect("a mailbox");
    Mailbox { local: local.into(), domain: domain.into() }
}

fn tell(record: &Record) -> Option<String> {
    let at = record.at.saturating_since(START);
    let text = match &record.event {
        Event::Reception { recipients, via: Via::Notice { of, kind, told }, .. } => {
            format!("told {} {kind:?}: {told:?} of {of}", recipients[0])
        }
        Event::Reception { recipients, .. } => format!("received for {}", recipients.len()),
        Event::Delivery(a) => format!("delivered {} try {}: {}", a.mailbox, a.attempts, a.reply),
        Event::TransientFailure { attempt: a, next_attempt_at } => format!(
            "deferred {} try {}: {} ({}), next at {}",
            a.mailbox,
            a.attempts,
            a.reply,
            a.stage.text(),
            next_attempt_at.saturating_since(START).as_secs()
        ),
        Event::PermanentFailure(a) => {
            format!("failed {} try {}: {} ({})", a.mailbox, a.attempts, a.reply, a.stage.text())
        }
        Event::Expiry { attempt: a, why, .. } => {
            format!("expired {} try {}: {why:?}", a.mailbox, a.attempts)
        }
        Event::ConnectionOpened { remote, open, .. } => format!("opened {} ({open})", remote.ip()),
        Event::ConnectionMigrated { remote, from, to, open, .. } => {
            format!("migrated {} from {} to {} ({open})", remote.ip(), from.domain, to.domain)
        }
        Event::ConnectionFailed { remote, error, .. } => {
            format!("unconnected {}: {}", remote.ip(), error.text())
        }
        Event::ConnectionClosed { remote, reason, deliveries, .. } => {
            format!("closed {} {reason:?} after {deliveries}", remote.ip())
        }
        Event::HostSetAside { address, until, stage, reply, .. } => format!(
            "aside {address} until {}: {reply} ({})",
            until.saturating_since(START).as_secs(),
            stage.text()
        ),
        Event::QueueDelayed { pair, recipients, reply, next_attempt_at } => format!(
            "moved {recipients} of {} until {}: {reply}",
            pair.domain,
            next_attempt_at.saturating_since(START).as_secs()
        ),
        Event::OutOfBandBounce { mailbox, about, reply, class, behavior, .. } => {
            let about = about.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("bounced {about} to {mailbox}, {behavior:?}, {}: {reply}", class.text())
        }
        Event::Reconfigured { queues, moved } => format!("reloaded {queues} strays {moved}"),
        Event::Control { action, refusal: Some(refusal), .. } => {
            format!("refused {}: {refusal}", action.name())
        }
        Event::Control { action, reach, .. } => format!(
            "control {} {}: {} of {} in {} queues, {} in flight, {} left",
            action.name(),
            action.of(),
            reach.recipients,
            reach.messages,
            reach.queues,
            reach.in_flight,
            reach.left
        ),
        Event::Rerouted { recipients, from, to, .. } => format!(
            "rerouted {} from {}/{} to {}/{}",
            recipients.len(),
            from.binding,
            from.domain,
            to.binding,
            to.domain
        ),
        Event::DnsFailure { question, error, .. } => format!("dns {question}: {error:?}"),
        Event::SpoolFailure { error, .. } => format!("spool {error:?}"),
        Event::ProtocolViolation { what, .. } => format!("violation {what}"),
        Event::TlsEstablished { remote, info, .. } => {
            format!("secured {} {}", remote.ip(), info.version)
        }
        Event::TlsFailed { remote, reply, stage, consequence, until, .. } => format!(
            "insecure {}: {reply} ({}), {consequence:?} until {}",
            remote.ip(),
            stage.text(),
            until.saturating_since(START).as_secs()
        ),
        Event::ClientSecured { info, .. } => format!("client {}", info.version),
        Event::ClientTlsFailed { error, .. } => format!("client {error:?}"),
        Event::Rejection { phase, reply, .. } => format!("rejected {phase}: {reply}"),
    };
    Some(format!("{:>9.3} {text}", at.as_secs_f64()))
}
