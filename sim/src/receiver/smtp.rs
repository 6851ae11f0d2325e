//! A fake exchange: speaks SMTP or LMTP on the far side of the simulated network, lets the receiver
//! model decide, and holds our client to the grammar.

mod starttls;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_net::tls::MaybeTls;
use traject_net::world::{Clock, Network};

use super::content::{Content, Progress};
use super::grammar::{BODY_BYTES_EXTRA, COMMAND_BYTES_MAX, Command, Grammar, SIZE_BYTES_EXTRA};
use super::model::{Decision, Event, Receiver, Session};
use super::spec::{Act, Limit, Protocol, ReceiverSpec, ReplyText};
use super::tls::{TlsPosture, Unread};
use crate::body::BodyFactory;
use crate::oracle::Answer;
use crate::tls::Pki;

/// Whoever wants to know what arrives.
pub trait Witness: Send + Sync + 'static {
    /// A receiver has the content of a message for these recipients, and answers.
    fn answered(&self, at: Timestamp, message: MessageId, recipients: &[String], answer: Answer);

    /// Our client broke a rule.
    fn breach(&self, at: Timestamp, breach: Breach);

    /// Our client went beyond what a receiver allows, and is told so.
    fn exceeded(&self, _at: Timestamp, _excess: &Excess<'_>) {}
}

/// More than a receiver allows.
#[derive(Clone, Copy, Debug)]
pub struct Excess<'a> {
    /// Our client's address.
    pub client: SocketAddr,
    /// The exchange's address.
    pub exchange: SocketAddr,
    /// Who allows less.
    pub receiver: &'a ReceiverSpec,
    /// What it allows.
    pub limit: &'a Limit,
    /// What it says about that, if it says anything.
    pub said: Option<&'a ReplyText>,
}

/// What our client did wrong on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Our client's address.
    pub client: SocketAddr,
    /// The exchange's address.
    pub exchange: SocketAddr,
    /// What it did.
    pub what: String,
}

/// Everything the exchanges of one receiver share.
pub struct Site<W> {
    model: Mutex<Receiver>,
    spec: Arc<ReceiverSpec>,
    bodies: BodyFactory,
    witness: Arc<W>,
    pki: Arc<Pki>,
    /// The instant that windows count from.
    start: Timestamp,
    /// What its hosts shake hands with.
    tls: Mutex<ServerConfigs>,
}

/// By the name of the host and the number of the posture.
type ServerConfigs = BTreeMap<(Box<str>, usize), Arc<ServerConfig>>;

impl<W: Witness> Site<W> {
    /// The site of a receiver, whose certificates come from `pki`.
    pub fn new(receiver: Receiver, bodies: BodyFactory, witness: Arc<W>, pki: Arc<Pki>) -> Self {
        let (spec, start) = (Arc::clone(receiver.spec()), receiver.start());
        let (model, tls) = (Mutex::new(receiver), Mutex::default());
        Self { model, spec, bodies, witness, pki, start, tls }
    }

    fn model(&self) -> MutexGuard<'_, Receiver> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> fmt::Debug for Site<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("receiver", &self.spec.name).finish_non_exhaustive()
    }
}

/// Serves one address of an exchange until the world ends.
pub async fn serve<N: Network, C: Clock, W: Witness>(
    site: Arc<Site<W>>,
    host: Arc<str>,
    network: N,
    clock: C,
    listener: N::Listener,
) {
    let Ok(local) = network.local_addr(&listener) else { return };
    while let Ok((stream, peer)) = network.accept(&listener).await {
        let (site, host, clock) = (Arc::clone(&site), Arc::clone(&host), clock.clone());
        let at_end = network.clone();
        network.spawn(async move {
            let mut session = site.model().connect(clock.now(), peer.ip(), &host);
            let mut dialogue = Dialogue::<N, C, W> {
                site: &site,
                host: &host,
                clock: &clock,
                stream: MaybeTls::Plain(Unread::new(stream)),
                peer,
                local,
                connected_at: clock.now(),
                posture: None,
                grammar: Grammar::new(site.spec.extensions),
                input: Vec::new(),
                read_to: 0,
                output: Vec::new(),
                silent_until: Timestamp(0),
                recipients: Vec::new(),
            };
            let end = dialogue.run(&mut session).await;
            site.model().close(&session);
            dialogue.end(end, &at_end).await;
        });
    }
}

/// Why a dialogue ends.
enum End {
    /// The client left, or we said our last word.
    Orderly,
    /// We break the connection.
    Reset,
    /// We close it without a word.
    Close,
    /// We never answer again.
    Stall,
    /// We close our side, and listen.
    HalfClose,
    /// The client broke a rule.
    Breach(String),
    /// The connection is gone.
    Lost,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// One connection.
struct Dialogue<'s, N: Network, C, W> {
    site: &'s Site<W>,
    host: &'s str,
    clock: &'s C,
    stream: MaybeTls<Unread<N::Stream>>,
    peer: SocketAddr,
    local: SocketAddr,
    connected_at: Timestamp,
    /// What the last reply to EHLO went by, until TLS is up.
    posture: Option<usize>,
    grammar: Grammar,
    /// Bytes received; those before `read_to` are done with.
    input: Vec<u8>,
    read_to: usize,
    /// Replies not yet sent.
    output: Vec<u8>,
    /// The client cannot have heard our last reply before this instant, and must have.
    silent_until: Timestamp,
    /// Recipients accepted in the transaction.
    recipients: Vec<String>,
}

impl<N: Network, C: Clock, W: Witness> Dialogue<'_, N, C, W> {
    async fn run(&mut self, session: &mut Session) -> End {
        let result = self.talk(session).await;
        // Whatever ends it, what we said goes out first.
        let _ = self.flush().await;
        match result {
            Ok(()) => End::Orderly,
            Err(end) => end,
        }
    }

    async fn end(mut self, end: End, network: &N) {
        match end {
            End::Reset => {
                if let Some(stream) = self.stream.into_inner() {
                    network.abort(stream.into_inner());
                }
            }
            End::Breach(what) => {
                let breach = Breach { client: self.peer, exchange: self.local, what };
                self.site.witness.breach(self.clock.now(), breach);
            }
            End::Stall => self.wait_for_client_to_leave().await,
            End::HalfClose => {
                let _ = self.stream.shutdown().await;
                self.wait_for_client_to_leave().await;
            }
            // TLS has a word of its own for the end. A client that is gone does not hear it.
            End::Orderly => drop(self.stream.shutdown().await),
            End::Close | End::Lost => {}
        }
    }

    async fn talk(&mut self, session: &mut Session) -> Result<(), End> {
        let decision = self.decide(session, Event::Banner);
        let welcome = self.answer(&decision, &["220 ", self.host, " ESMTP\r\n"]).await?;
        self.grammar.welcomed(welcome);
        if has_ended(&decision) {
            return Ok(());
        }
        self.must_be_heard().await?;
        loop {
            let Some(line) = self.next_line().await? else { return Ok(()) };
            let text = std::mem::take(&mut self.input);
            let command = self.grammar.command(&text[line.0..line.1]);
            let outcome = match command {
                Ok(command) => self.perform(session, command, text.len() > line.1).await,
                Err(why) => Err(End::Breach(why)),
            };
            self.input = text;
            match outcome? {
                Next::Command => {}
                Next::Content => self.receive(session).await?,
                Next::Handshake => self.secure().await?,
                Next::End => return Ok(()),
            }
        }
    }

    /// Answers one command. `followed`: more bytes came with it.
    async fn perform(
        &mut self,
        session: &mut Session,
        command: Command<'_>,
        followed: bool,
    ) -> Result<Next, End> {
        if followed && !(command.may_be_followed() && self.grammar.pipelining()) {
            return Err(End::Breach(format!("sent more before the reply to {command:?}")));
        }
        let protocol = self.site.spec.protocol;
        let event = match command {
            Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_) if !command.greets(protocol) => {
                return self.say(command, "500 5.5.1 That is another protocol\r\n").await;
            }
            Command::Ehlo(name) | Command::Lhlo(name) => Event::Ehlo(name),
            Command::Helo(name) => Event::Helo(name),
            Command::Xclient(attributes) => Event::Xclient(address_in(attributes)),
            Command::Mail { sender, eight_bit, size } => Event::Mail { sender, eight_bit, size },
            Command::Rcpt(_) if !self.grammar.accepts_recipients() => {
                return self.say(command, "503 5.5.1 Need MAIL first\r\n").await;
            }
            Command::Rcpt(recipient) => Event::Rcpt(recipient),
            Command::Data if !self.grammar.has_recipients() => {
                return self.say(command, "554 5.5.1 No valid recipients\r\n").await;
            }
            Command::Data => Event::Data,
            Command::StartTls => return self.start_tls().await,
            Command::Rset => {
                session.end_transaction();
                Event::Rset
            }
            Command::Noop => return self.say(command, "250 2.0.0 Ok\r\n").await,
            Command::Quit => {
                self.output.extend_from_slice(b"221 2.0.0 Bye\r\n");
                return Ok(Next::End);
            }
        };
        let decision = self.decide(session, event);
        let site = self.site;
        let ehlo_reply = match command {
            Command::Ehlo(_) | Command::Lhlo(_) if !self.grammar.is_secured() => {
                self.posture = site.posture(self.clock.now());
                ehlo_reply(&site.spec, self.posture.map(|number| &site.spec.tls[number]))
            }
            Command::Ehlo(_) | Command::Lhlo(_) => ehlo_reply(&site.spec, None),
            _ => String::new(),
        };
        let yes: &[&str] = match command {
            Command::Ehlo(_) | Command::Lhlo(_) => {
                &["250", &ehlo_reply[..1], self.host, &ehlo_reply[1..]]
            }
            Command::Helo(_) => &["250 ", self.host, "\r\n"],
            Command::Xclient(_) => &["220 ", self.host, " ESMTP\r\n"],
            Command::Mail { .. } => &["250 2.1.0 Ok\r\n"],
            Command::Rcpt(_) => &["250 2.1.5 Ok\r\n"],
            Command::Rset => &["250 2.0.0 Ok\r\n"],
            _ => &["354 Go ahead\r\n"],
        };
        let accepted = self.answer(&decision, yes).await?;
        self.grammar.replied(command, accepted);
        match command {
            Command::Ehlo(_) | Command::Lhlo(_) => {
                self.grammar.offers_tls(ehlo_reply.contains("STARTTLS"));
            }
            Command::Mail { .. } => self.recipients.clear(),
            Command::Rcpt(recipient) if accepted => self.recipients.push(recipient.to_owned()),
            _ => {}
        }
        if has_ended(&decision) {
            return Ok(Next::End);
        }
        if !(command.may_be_followed() && self.grammar.pipelining()) {
            self.must_be_heard().await?;
        }
        Ok(if accepted && command == Command::Data { Next::Content } else { Next::Command })
    }

    /// Receives a message content and answers it.
    async fn receive(&mut self, session: &mut Session) -> Result<(), End> {
        let bodies = &self.site.bodies;
        let mut content = Content::new(bodies);
        let (message, eight_bit, size) = loop {
            match content.read(&self.input[self.read_to..]).map_err(End::Breach)? {
                Progress::Done { consumed, message, eight_bit, size } => {
                    self.read_to += consumed;
                    break (message, eight_bit, size);
                }
                Progress::More { consumed } => {
                    self.read_to += consumed;
                    if self.read_more().await? == 0 {
                        return Err(End::Lost);
                    }
                }
            }
        };
        if self.input.len() > self.read_to && !self.grammar.pipelining() {
            return Err(End::Breach("sent more before the reply to the message".into()));
        }
        match self.site.spec.protocol {
            Protocol::Smtp => {
                let event = Event::Body { message: message.0, recipient: None, eight_bit, size };
                self.answer_message(session, message, 0..self.recipients.len(), event).await?;
            }
            // A reply for each recipient accepted, in their order (RFC 2033 section 4.2).
            Protocol::Lmtp => {
                for place in 0..self.recipients.len() {
                    let name = self.recipients[place].clone();
                    let recipient = Some(name.as_str());
                    let event = Event::Body { message: message.0, recipient, eight_bit, size };
                    self.answer_message(session, message, place..place + 1, event).await?;
                }
            }
        }
        session.end_transaction();
        self.grammar.end();
        self.must_be_heard().await
    }

    /// Answers a message's content for some of its recipients.
    async fn answer_message(
        &mut self,
        session: &mut Session,
        message: MessageId,
        recipients: Range<usize>,
        event: Event<'_>,
    ) -> Result<(), End> {
        let decision = self.decide(session, event);
        let secured = self.grammar.is_secured();
        let answer = Answer {
            taken: decision.accepts,
            code: reply_code(&decision),
            secured,
            connected_at: self.connected_at,
        };
        let recipients = &self.recipients[recipients];
        self.site.witness.answered(self.clock.now(), message, recipients, answer);
        self.answer(&decision, &["250 2.0.0 Ok\r\n"]).await?;
        if has_ended(&decision) { Err(End::Orderly) } else { Ok(()) }
    }

    fn decide(&self, session: &mut Session, event: Event<'_>) -> Decision {
        let now = self.clock.now();
        let decision = self.site.model().decide(now, session, event);
        if let Some(limit) = decision.exceeds {
            let said = match &decision.act {
                Some(Act::Reply(reply)) => Some(reply),
                _ => None,
            };
            let receiver = &*self.site.spec;
            let (client, exchange, limit) = (self.peer, self.local, &receiver.limits[limit]);
            let excess = Excess { client, exchange, receiver, limit, said };
            self.site.witness.exceeded(now, &excess);
        }
        decision
    }

    /// Acts on a decision; `yes` are the parts of the plain yes. Tells whether we went along.
    async fn answer(&mut self, decision: &Decision, yes: &[&str]) -> Result<bool, End> {
        let dripping = decision.act == Some(Act::Drip);
        if !decision.delay.is_zero() && !dripping {
            self.flush().await?;
            self.clock.sleep_until(self.clock.now() + decision.delay).await;
        }
        match &decision.act {
            None => {
                self.say_yes(yes);
                Ok(true)
            }
            Some(Act::Reply(reply)) => {
                self.output.extend_from_slice(reply.to_string().as_bytes());
                self.output.extend_from_slice(b"\r\n");
                Ok(decision.accepts)
            }
            Some(Act::Reset) => Err(End::Reset),
            Some(Act::Close) => Err(End::Close),
            Some(Act::Stall) => Err(End::Stall),
            Some(Act::HalfClose) => Err(End::HalfClose),
            Some(Act::Garbage) => {
                self.output.extend_from_slice(NO_REPLY);
                Err(End::Stall)
            }
            Some(Act::Flood) => self.flood().await,
            Some(Act::Early) => {
                self.say_yes(yes);
                self.output.extend_from_slice(b"250 2.0.0 And yes to the next\r\n");
                Ok(true)
            }
            Some(Act::Drip) => {
                self.say_yes(yes);
                self.drip(decision.delay.max(DRIP_MIN)).await?;
                Ok(true)
            }
        }
    }

    fn say_yes(&mut self, yes: &[&str]) {
        for part in yes {
            self.output.extend_from_slice(part.as_bytes());
        }
    }

    /// Sends what is unsent a byte at a time.
    async fn drip(&mut self, pause: Duration) -> Result<(), End> {
        let output = std::mem::take(&mut self.output);
        for (place, byte) in output.iter().enumerate() {
            // The client may answer as soon as it has heard the last one.
            if place > 0 {
                self.clock.sleep_until(self.clock.now() + pause).await;
            }
            self.stream.write_all(&[*byte]).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Sends lines of one reply until nobody wants to hear more.
    async fn flood(&mut self) -> Result<bool, End> {
        let lines = FLOOD_LINE.repeat(FLOOD_LINES_AT_ONCE);
        for _ in 0..FLOOD_PIECES_MAX {
            self.stream.write_all(lines.as_bytes()).await?;
            self.stream.flush().await?;
        }
        Err(End::Stall)
    }

    /// Answers what no model is asked about.
    async fn say(&mut self, command: Command<'_>, reply: &str) -> Result<Next, End> {
        self.output.extend_from_slice(reply.as_bytes());
        self.grammar.replied(command, reply.starts_with('2'));
        if !command.may_be_followed() {
            self.must_be_heard().await?;
        }
        Ok(Next::Command)
    }

    /// Sends what is unsent; until the client can have heard it, it may say nothing.
    async fn must_be_heard(&mut self) -> Result<(), End> {
        self.flush().await?;
        if self.input.len() > self.read_to {
            return Err(End::Breach("did not wait for our reply".into()));
        }
        let round_trip = self.site.spec.latency.base * 2;
        self.silent_until = self.clock.now() + round_trip;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if !self.output.is_empty() {
            let sent = self.stream.write_all(&self.output).await;
            self.output.clear();
            sent?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// The next line with its CRLF, as a range of the input; `None` at the end of the stream.
    async fn next_line(&mut self) -> Result<Option<(usize, usize)>, End> {
        let mut searched = self.read_to;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input[searched..]) {
                let line = (self.read_to, searched + end + 1);
                self.read_to = line.1;
                return Ok(Some(line));
            }
            if self.input.len() - self.read_to > LINE_BYTES_MAX {
                return Err(End::Breach("a command line without an end".into()));
            }
            self.flush().await?;
            let had = self.input.len() - self.read_to;
            if self.read_more().await? == 0 {
                return match had {
                    0 => Ok(None),
                    _ => Err(End::Lost),
                };
            }
            searched = self.read_to + had;
        }
    }

    async fn read_more(&mut self) -> Result<usize, End> {
        self.input.drain(..self.read_to);
        self.read_to = 0;
        self.input.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.input).await?;
        if read > 0 && self.clock.now() < self.silent_until {
            return Err(End::Breach("spoke before it can have heard our reply".into()));
        }
        Ok(read)
    }

    async fn wait_for_client_to_leave(mut self) {
        loop {
            self.input.clear();
            match self.stream.read_buf(&mut self.input).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
    }
}

/// What follows a command.
enum Next {
    Command,
    Content,
    Handshake,
    End,
}

/// The address that XCLIENT gives for the client; none where it is not known.
fn address_in(attributes: &str) -> Option<&str> {
    let address = attributes.split(' ').find_map(|one| one.strip_prefix("ADDR="));
    address.filter(|address| !address.starts_with('['))
}

/// A 421 is our last word (RFC 5321 section 3.8).
fn has_ended(decision: &Decision) -> bool {
    matches!(&decision.act, Some(Act::Reply(reply)) if reply.code == 421)
}

/// The code of the reply to a message's content; `None` for none.
fn reply_code(decision: &Decision) -> Option<u16> {
    match &decision.act {
        None => Some(250),
        Some(Act::Reply(reply)) => Some(reply.code),
        Some(Act::Early | Act::Drip) => Some(250),
        Some(Act::Reset | Act::Close | Act::Stall | Act::Garbage | Act::Flood | Act::HalfClose) => {
            None
        }
    }
}

/// The reply to EHLO but for its code and, after the sign that follows that, the host's name.
fn ehlo_reply(spec: &ReceiverSpec, posture: Option<&TlsPosture>) -> String {
    let mut keywords = spec.extensions.keywords();
    keywords.extend(starttls::keyword(posture).map(str::to_owned));
    keywords.extend(spec.extensions.xclient.keyword());
    let mut reply = String::from(if keywords.is_empty() { " \r\n" } else { "-\r\n" });
    for (n, keyword) in keywords.iter().enumerate() {
        let sign = if n + 1 == keywords.len() { ' ' } else { '-' };
        reply.push_str(&format!("250{sign}{keyword}\r\n"));
    }
    reply
}

/// Longest line we read before we call it a breach.
const LINE_BYTES_MAX: usize = COMMAND_BYTES_MAX + SIZE_BYTES_EXTRA + BODY_BYTES_EXTRA;

/// What no client can take for a reply.
const NO_REPLY: &[u8] = b"\x00\xff\xfe this is no reply\r\n\r\n<html>\r\n";

/// A line of a reply that has no end.
const FLOOD_LINE: &str =
    "250-There is always more to say, and no reason ever to come to an end\r\n";

/// Of those, sent at once.
const FLOOD_LINES_AT_ONCE: usize = 100;

/// How often that is sent: a few megabytes.
const FLOOD_PIECES_MAX: usize = 500;

/// Shortest pause between two bytes.
const DRIP_MIN: Duration = Duration::from_millis(1);

/// Room made for each read.
const READ_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests;
