//! A client that hands mail in by SMTP, as some other system of the house would: one message a
//! connection, and what is not taken now is tried again later. Where TLS is offered they use it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::{TlsConnector, TlsStream};
use traject_engine::ids::MessageId;
use traject_engine::smtp::address::Mailbox;
use traject_engine::smtp::data::DotWriter;
use traject_net::tls::MaybeTls;
use traject_net::world::{Clock, Network};

use super::referee::Referee;
use crate::body::{BodyFactory, BodyFacts};
use crate::network::{SimClock, SimNetwork, SimStream};
use crate::tls::{Pki, client_config};
use crate::traffic::{Arrival, SentBy};

/// All such clients of a run.
#[derive(Clone)]
pub(super) struct Submitters {
    pub(super) ours: SimNetwork,
    pub(super) farm: SimNetwork,
    pub(super) clock: SimClock,
    pub(super) referee: Arc<Referee>,
    pub(super) bodies: BodyFactory,
    /// Certificates of clients.
    pki: Arc<Pki>,
    /// For listeners that offer TLS; made when the first does.
    tls: Arc<OnceLock<TlsConnector>>,
    /// Sessions at one time.
    sessions: Arc<Semaphore>,
    /// Bodies so far; each is another one.
    bodies_made: Arc<AtomicU64>,
    /// Messages that somebody still tries to hand in.
    busy: Arc<AtomicU64>,
    /// One of them is done.
    done: Arc<Notify>,
}

/// What came of one session.
enum Said {
    /// The listener has the message, for all recipients but these.
    Taken { refused_for_now: Vec<Mailbox> },
    /// Another time.
    Later,
    /// Never.
    Refused,
}

impl Submitters {
    pub(super) fn new(
        (ours, farm): (SimNetwork, SimNetwork),
        clock: SimClock,
        referee: Arc<Referee>,
        bodies: BodyFactory,
        pki: Arc<Pki>,
    ) -> Self {
        let (busy, done) = (Arc::default(), Arc::default());
        let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
        let bodies_made = Arc::default();
        let tls = Arc::default();
        Self { ours, farm, clock, referee, bodies, pki, tls, sessions, bodies_made, busy, done }
    }

    /// Begins to hand in a message at a listener.
    pub(super) fn hand_in(&self, arrival: Arrival, listener: SocketAddr) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let submitters = self.clone();
        self.farm.spawn(async move {
            submitters.until_done(arrival, listener).await;
            submitters.busy.fetch_sub(1, Ordering::Relaxed);
            submitters.done.notify_one();
        });
    }

    /// Waits until nobody has anything left to hand in.
    pub(super) async fn finished(&self) {
        while self.busy.load(Ordering::Relaxed) > 0 {
            self.done.notified().await;
        }
    }

    async fn until_done(&self, mut arrival: Arrival, listener: SocketAddr) {
        loop {
            // Fails only when the semaphore is closed, and nobody closes it.
            let Ok(permit) = self.sessions.acquire().await else { return };
            // Somebody who hangs up or does not answer is asked again.
            let said = self.session(&arrival, listener).await.unwrap_or(Said::Later);
            drop(permit);
            match said {
                Said::Refused => return,
                Said::Later => {}
                Said::Taken { refused_for_now } => {
                    self.referee.submitted();
                    if refused_for_now.is_empty() {
                        return;
                    }
                    arrival.recipients = refused_for_now;
                }
            }
            self.clock.sleep_until(self.clock.now() + RETRY).await;
        }
    }

    async fn session(&self, arrival: &Arrival, listener: SocketAddr) -> io::Result<Said> {
        let (stream, local) = match listener.ip().is_loopback() {
            true => self.ours.connect(None, listener).await?,
            false => {
                let source = arrival.client.unwrap_or_else(|| usual_client(listener.ip()));
                self.farm.connect(Some(source), listener).await?
            }
        };
        let clock = self.clock.clone();
        tokio::select! {
            biased;
            said = self.dialogue(Dialogue::new(stream), local, arrival) => said,
            () = clock.sleep_until(clock.now() + SESSION_MAX) => Ok(Said::Later),
        }
    }

    fn connector(&self) -> io::Result<&TlsConnector> {
        if let Some(made) = self.tls.get() {
            return Ok(made);
        }
        let config = client_config(&self.pki, &self.clock).map_err(io::Error::other)?;
        Ok(self.tls.get_or_init(|| TlsConnector::from(config)))
    }

    async fn dialogue(
        &self,
        mut dialogue: Dialogue,
        local: SocketAddr,
        arrival: &Arrival,
    ) -> io::Result<Said> {
        if let Some(no) = dialogue.reply().await?.no() {
            return Ok(no);
        }
        let mut greeting = dialogue.ask(EHLO).await?;
        if let Some(no) = greeting.no() {
            return Ok(no);
        }
        if greeting.text.contains("STARTTLS") {
            if let Some(no) = dialogue.ask("STARTTLS").await?.no() {
                return Ok(no);
            }
            dialogue = dialogue.secured(self.connector()?).await?;
            greeting = dialogue.ask(EHLO).await?;
            if let Some(no) = greeting.no() {
                return Ok(no);
            }
        }
        let eight = arrival.eight_bit && greeting.text.contains("8BITMIME");
        let body = if eight { " BODY=8BITMIME" } else { "" };
        let mail = format!("MAIL FROM:{}{body}", arrival.reverse_path);
        if let Some(no) = dialogue.ask(&mail).await?.no() {
            return Ok(no);
        }
        let (mut taken, mut refused_for_now) = (false, Vec::new());
        for recipient in &arrival.recipients {
            match dialogue.ask(&format!("RCPT TO:<{recipient}>")).await?.no() {
                None => taken = true,
                Some(Said::Later) => refused_for_now.push(recipient.clone()),
                Some(_) => {}
            }
        }
        match (taken, refused_for_now.is_empty()) {
            (true, _) => {}
            (false, true) => return Ok(Said::Refused),
            (false, false) => return Ok(Said::Later),
        }
        // Another try is another body: the one before may be under way to its receiver.
        let made = self.bodies_made.fetch_add(1, Ordering::Relaxed);
        let message = MessageId(FIRST_BODY | made);
        self.referee.hands_in(local, message);
        if let Some(no) = dialogue.ask("DATA").await?.no() {
            return Ok(no);
        }
        dialogue.send_content(arrival, message, &self.bodies).await?;
        if let Some(no) = dialogue.reply().await?.no() {
            return Ok(no);
        }
        dialogue.stream.write_all(b"QUIT\r\n").await?;
        dialogue.stream.flush().await?;
        Ok(Said::Taken { refused_for_now })
    }
}

/// Our end of a session.
struct Dialogue {
    stream: MaybeTls<SimStream>,
    /// What was read and not yet used.
    read: Vec<u8>,
}

/// A reply, all its lines.
struct Answer {
    code: u16,
    text: String,
}

impl Answer {
    /// What follows if it is not positive.
    fn no(&self) -> Option<Said> {
        match self.code {
            200..400 => None,
            400..500 => Some(Said::Later),
            _ => Some(Said::Refused),
        }
    }
}

impl Dialogue {
    const fn new(stream: SimStream) -> Self {
        Self { stream: MaybeTls::Plain(stream), read: Vec::new() }
    }

    /// The same connection under TLS. What was read in clear is forgotten (RFC 3207 section 6).
    async fn secured(self, tls: &TlsConnector) -> io::Result<Self> {
        let stream = self.stream.into_inner().ok_or(io::ErrorKind::NotConnected)?;
        let name = ServerName::try_from(LISTENER).map_err(io::Error::other)?;
        let stream = TlsStream::Client(tls.connect(name, stream).await?);
        Ok(Self { stream: MaybeTls::Tls(Box::new(stream)), read: Vec::new() })
    }

    async fn ask(&mut self, command: &str) -> io::Result<Answer> {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<Answer> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            text += &line;
            text.push('\n');
            if line.as_bytes().get(3) != Some(&b'-') {
                let code = line.get(..3).and_then(|code| code.parse().ok());
                let code = code.ok_or(io::ErrorKind::InvalidData)?;
                return Ok(Answer { code, text });
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.read, b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.drain(..end + 2);
                return Ok(line);
            }
            let mut more = [0; 1024];
            match self.stream.read(&mut more).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.read.extend_from_slice(&more[..length]),
            }
        }
    }

    /// The content: a header that names the binding, if the traffic does, and the body.
    async fn send_content(
        &mut self,
        arrival: &Arrival,
        message: MessageId,
        bodies: &BodyFactory,
    ) -> io::Result<()> {
        let (size_bytes, eight_bit) = (arrival.size_bytes, arrival.eight_bit);
        let body = bodies.body(BodyFacts { message, size_bytes, eight_bit });
        let (mut writer, mut coded) = (DotWriter::new(), Vec::new());
        if let SentBy::Binding(name) | SentBy::Group(name) = &arrival.sent_by {
            writer.encode(format!("X-Binding: {name}\r\n").as_bytes(), &mut coded);
        }
        let mut at = 0;
        while at < size_bytes {
            let piece = body.piece(at);
            at += piece.len() as u64;
            writer.encode(&piece, &mut coded);
            self.stream.write_all(&coded).await?;
            coded.clear();
        }
        writer.finish(&mut coded);
        self.stream.write_all(&coded).await?;
        self.stream.flush().await
    }
}

/// The address of a client that has none of its own.
const fn usual_client(listener: IpAddr) -> IpAddr {
    match listener {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 19, 255, 254)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xffff, 1)),
    }
}

/// How clients greet.
const EHLO: &str = "EHLO client.traject.test";

/// Whom clients take the listener for: they look at nobody's name.
const LISTENER: &str = "mta.traject.test";

/// Messages that are handed in at one time.
const SESSIONS_MAX: usize = 50;

/// How long a client waits before it tries again.
const RETRY: Duration = Duration::from_secs(60);

/// How long a session takes at most.
const SESSION_MAX: Duration = Duration::from_secs(600);

/// Bodies of clients are told from messages by this bit.
const FIRST_BODY: u64 = 1 << 63;
