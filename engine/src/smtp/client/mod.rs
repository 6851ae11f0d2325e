//! The delivering end of an SMTP dialogue.
//!
//! ```text
//!  ExpectBanner ─► ExpectEhlo ─► Idle ─► ExpectMail ─► ExpectRcpt ─► ExpectData ─► SendingBody
//!                    │   ▲        ▲ ▲        │  refused     │ all refused │            │
//!                    ▼   │        │ └────────┴── ExpectRset ◄─────────────┘            ▼
//!                 ExpectHelo      └──────────────────────────────────────────── ExpectFinal
//! ```
//!
//! Between `ExpectEhlo` and `Idle` there may be a detour for TLS, after which EHLO is said again:
//! `ExpectEhlo ─► ExpectGoAhead ─► Securing ─► ExpectEhlo`.
//!
//! Each state is a value that takes a reply and becomes the next state. What can happen in every
//! state, a 421, silence, a lost connection, a broken protocol, is in `end`; how far the client
//! runs ahead of the replies (PIPELINING) is in `envelope`. LMTP (RFC 2033) differs in its
//! greeting, and in `ExpectFinal`: a reply comes for each recipient.

mod end;
mod envelope;
mod open;
mod secure;
mod xclient;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use self::end::{End, ExpectEmptyDot, ExpectQuit, ExpectRset};
use self::envelope::{Envelope, ExpectData, ExpectFinal, ExpectMail, ExpectRcpt, SendingBody};
use self::open::{ExpectBanner, ExpectEhlo, ExpectHelo};
use self::secure::{Cover, ExpectGoAhead, Securing};
pub use self::xclient::Xclient;
use self::xclient::{ExpectWelcome, ExpectXclient, introduce};
use crate::config::effective::DeliveryMethod;
use crate::ids::MessageId;
use crate::io::NetError;
use crate::message::Origin;
use crate::record::CloseReason;
use crate::smtp::address::{Mailbox, ReversePath};
use crate::smtp::data::{BodyError, BodyInfo};
use crate::smtp::ehlo::Capabilities;
use crate::smtp::eight_bit::Transform8bit;
use crate::smtp::reply::{Reply, ReplyParser, ReplyView};
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::tls::info::{TlsError, TlsInfo};
use crate::tls::policy::{TlsFailure, TlsMode, TlsPolicy};

/// One connection to an exchange, from its establishment to its end.
///
/// Exactly one result comes out for each recipient of a transaction, whatever the peer does. After
/// [`ClientOutput::Close`], or the `Closed` input, nothing comes out any more.
#[derive(Debug)]
pub struct ClientSession {
    parser: ReplyParser,
    link: Link,
    state: State,
    /// The reply under way began before the command it would answer was written.
    early: bool,
}

impl ClientSession {
    /// A session on a connection that stands since `now`; it waits for the banner.
    pub fn new(options: SessionOptions, now: Timestamp) -> Self {
        let deadline = Some(now + options.ehlo_timeout);
        Self {
            parser: ReplyParser::new(),
            link: Link {
                options,
                capabilities: Capabilities::default(),
                introduced: false,
                cover: Cover::Clear,
                deadline,
                quit: None,
            },
            state: State::ExpectBanner(ExpectBanner),
            early: false,
        }
    }

    /// Takes in what happened and appends what follows to `out`.
    pub fn handle(&mut self, now: Timestamp, input: ClientInput<'_>, out: &mut Vec<ClientOutput>) {
        match input {
            ClientInput::Received([]) => {
                self.step(now, out, |state, step| state.end(End::Lost { closed: false }, step))
            }
            ClientInput::Received(bytes) => self.receive(now, bytes, out),
            ClientInput::Closed(_) => {
                self.step(now, out, |state, step| state.end(End::Lost { closed: true }, step))
            }
            ClientInput::Timeout if self.link.deadline.is_some_and(|due| now >= due) => {
                self.step(now, out, State::time_out);
            }
            ClientInput::Timeout => {}
            ClientInput::Secured(result) => {
                // Whatever came in clear is not of this conversation.
                if matches!(self.state, State::Securing(_)) {
                    self.parser = ReplyParser::new();
                    self.early = false;
                }
                self.step(now, out, |state, step| state.secured(result, step));
            }
            ClientInput::BodyProgress => self.step(now, out, State::body_progress),
            ClientInput::BodyDone(result) => {
                // Part of a reply that came before the final dot does not answer it.
                self.early |= self.parser.in_reply();
                self.step(now, out, |state, step| state.body_done(result, step));
            }
            ClientInput::Start(transaction) => {
                let torn = self.parser.in_reply();
                self.step(now, out, |state, step| state.start(transaction, torn, step));
            }
            ClientInput::Quit(reason) => {
                self.link.quit.get_or_insert(reason);
                self.step(now, out, State::quit_when_idle);
            }
        }
        if matches!(self.state, State::Welcomed) {
            let torn = self.parser.in_reply();
            self.step(now, out, |state, step| state.begin(torn, step));
        }
    }

    /// When [`ClientInput::Timeout`] is due; `None` when the session waits for ever.
    pub const fn deadline(&self) -> Option<Timestamp> {
        self.link.deadline
    }

    /// There is work for an idle session, but not now: it is not ended for so much longer.
    pub fn wait_longer(&mut self, time: Duration) {
        if let (State::Idle, Some(deadline)) = (&self.state, &mut self.link.deadline) {
            *deadline = *deadline + time;
        }
    }

    /// How far the dialogue has come.
    pub const fn stage(&self) -> Stage {
        self.state.stage()
    }

    fn receive(&mut self, now: Timestamp, mut bytes: &[u8], out: &mut Vec<ClientOutput>) {
        while !bytes.is_empty() && !matches!(self.state, State::Closed) {
            if matches!(self.state, State::Securing(_)) {
                // Somebody in between could have put it there (response injection).
                return out.push(ClientOutput::Violation(INJECTED));
            }
            let gathers = matches!(self.state, State::ExpectEhlo(_) | State::ExpectWelcome(_));
            let capabilities = &mut self.link.capabilities;
            let visit = |number, text: &[u8]| {
                if gathers {
                    capabilities.take_line(number, text);
                }
            };
            let Some(reply) = self.parser.next_with(&mut bytes, visit) else { return };
            let early = core::mem::take(&mut self.early);
            let written = out.len();
            let state = core::mem::replace(&mut self.state, State::Closed);
            let step = &mut Step { link: &mut self.link, now, out };
            self.state = match reply {
                Ok(reply) if early && reply.code != 421 => state.end(End::Violation(EARLY), step),
                Ok(reply) => state.on_reply(reply, step),
                Err(error) => state.end(End::Violation(error.text()), step),
            };
            // Whatever is left of these bytes cannot answer what was written just now.
            let wrote = |output: &ClientOutput| matches!(output, ClientOutput::Write(_));
            self.early = !bytes.is_empty() && out[written..].iter().any(wrote);
        }
    }

    fn step(
        &mut self,
        now: Timestamp,
        out: &mut Vec<ClientOutput>,
        go: impl FnOnce(State, &mut Step<'_>) -> State,
    ) {
        let state = core::mem::replace(&mut self.state, State::Closed);
        self.state = go(state, &mut Step { link: &mut self.link, now, out });
    }
}

const INJECTED: &str = "data between the go-ahead for STARTTLS and TLS";
const EARLY: &str = "reply before its command";
const UNASKED: &str = "reply nobody asked for";

/// What all states of a session share.
#[derive(Debug)]
struct Link {
    options: SessionOptions,
    capabilities: Capabilities,
    /// XCLIENT was accepted: the server takes us for somebody else.
    introduced: bool,
    cover: Cover,
    deadline: Option<Timestamp>,
    /// Set by [`ClientInput::Quit`].
    quit: Option<CloseReason>,
}

impl Link {
    /// Whether mail may go over the connection as it is.
    fn may_carry_mail(&self) -> bool {
        self.cover != Cover::Clear || self.options.tls.mode != TlsMode::Required
    }
}

/// One input being handled.
struct Step<'a> {
    link: &'a mut Link,
    now: Timestamp,
    out: &'a mut Vec<ClientOutput>,
}

impl Step<'_> {
    fn write(&mut self, text: String) {
        self.out.push(ClientOutput::Write(text.into_bytes()));
    }

    fn wait(&mut self, time: Duration) {
        self.link.deadline = Some(self.now + time);
    }

    /// The server has greeted us.
    fn welcome(&mut self) -> State {
        match self.link.quit {
            Some(reason) => self.quit(reason),
            None => State::Welcomed,
        }
    }

    /// The dialogue is free: for work, or to be ended.
    fn free(&mut self) -> State {
        if let Some(reason) = self.link.quit {
            return self.quit(reason);
        }
        let idle = self.link.options.idle_timeout;
        self.link.deadline = (!idle.is_zero()).then(|| self.now + idle);
        self.out.push(ClientOutput::Ready);
        State::Idle
    }

    fn quit(&mut self, reason: CloseReason) -> State {
        self.write("QUIT\r\n".into());
        self.wait(self.link.options.rset_timeout);
        State::ExpectQuit(ExpectQuit { reason })
    }
}

#[derive(Debug)]
enum State {
    ExpectBanner(ExpectBanner),
    ExpectEhlo(ExpectEhlo),
    ExpectHelo(ExpectHelo),
    ExpectGoAhead(ExpectGoAhead),
    Securing(Securing),
    /// The server has greeted us, and may have said more than that in the same breath: nobody else
    /// sees this state.
    Welcomed,
    Idle,
    ExpectXclient(ExpectXclient),
    ExpectWelcome(ExpectWelcome),
    ExpectMail(ExpectMail),
    ExpectRcpt(ExpectRcpt),
    ExpectData(ExpectData),
    SendingBody(SendingBody),
    ExpectFinal(ExpectFinal),
    ExpectEmptyDot(ExpectEmptyDot),
    ExpectRset(ExpectRset),
    ExpectQuit(ExpectQuit),
    Closed,
}

impl State {
    const fn stage(&self) -> Stage {
        match self {
            Self::ExpectBanner(_) => Stage::Banner,
            Self::ExpectEhlo(_) | Self::ExpectHelo(_) | Self::Welcomed | Self::ExpectWelcome(_) => {
                Stage::Ehlo
            }
            Self::ExpectGoAhead(_) => Stage::StartTls,
            Self::Securing(_) => Stage::Handshake,
            Self::Idle => Stage::Idle,
            Self::ExpectXclient(_) => Stage::Xclient,
            Self::ExpectMail(_) => Stage::MailFrom,
            Self::ExpectRcpt(_) => Stage::RcptTo,
            Self::ExpectData(_) => Stage::Data,
            Self::SendingBody(_) => Stage::Body,
            Self::ExpectFinal(_) | Self::ExpectEmptyDot(_) => Stage::BodyReply,
            Self::ExpectRset(_) => Stage::Rset,
            Self::ExpectQuit(_) | Self::Closed => Stage::Quit,
        }
    }

    fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> Self {
        if reply.code == 421 {
            return self.end(End::Unavailable(reply.to_reply()), step);
        }
        match self {
            Self::ExpectBanner(state) => state.on_reply(reply, step),
            Self::ExpectEhlo(state) => state.on_reply(reply, step),
            Self::ExpectHelo(state) => state.on_reply(reply, step),
            Self::ExpectGoAhead(state) => state.on_reply(reply, step),
            Self::ExpectXclient(state) => state.on_reply(reply, step),
            Self::ExpectWelcome(state) => state.on_reply(reply, step),
            Self::ExpectMail(state) => state.on_reply(reply, step),
            Self::ExpectRcpt(state) => state.on_reply(reply, step),
            Self::ExpectData(state) => state.on_reply(reply, step),
            Self::ExpectFinal(state) => state.on_reply(reply, step),
            Self::ExpectEmptyDot(state) => state.on_reply(reply, step),
            Self::ExpectRset(state) => state.on_reply(reply, step),
            Self::ExpectQuit(state) => state.close(step),
            Self::Securing(_) | Self::Welcomed | Self::Idle | Self::SendingBody(_) => {
                self.end(End::Violation(UNASKED), step)
            }
            Self::Closed => Self::Closed,
        }
    }

    fn time_out(self, step: &mut Step<'_>) -> Self {
        match self {
            Self::Idle => step.quit(CloseReason::Idle),
            other => other.end(End::TimedOut, step),
        }
    }

    /// After the greeting: a server that goes on talking without being asked (`torn`: has begun to)
    /// cannot be used. To find that out over and over again would be to connect without end.
    fn begin(self, torn: bool, step: &mut Step<'_>) -> Self {
        match torn {
            false => step.free(),
            true => self.end(End::Violation(UNASKED), step),
        }
    }

    /// `torn`: part of a reply nobody asked for is already here.
    fn start(self, transaction: Transaction, torn: bool, step: &mut Step<'_>) -> Self {
        match self {
            Self::Idle if !torn => introduce(Envelope::new(transaction), step),
            Self::Idle => {
                step.out.push(ClientOutput::NotAttempted);
                self.end(End::Violation(UNASKED), step)
            }
            other => {
                step.out.push(ClientOutput::NotAttempted);
                other
            }
        }
    }

    fn quit_when_idle(self, step: &mut Step<'_>) -> Self {
        match (self, step.link.quit) {
            (Self::Idle, Some(reason)) => step.quit(reason),
            (other, _) => other,
        }
    }

    fn secured(self, result: Result<TlsInfo, TlsError>, step: &mut Step<'_>) -> Self {
        match self {
            Self::Securing(state) => state.secured(result, step),
            other => other,
        }
    }

    fn body_progress(self, step: &mut Step<'_>) -> Self {
        if matches!(self, Self::SendingBody(_)) {
            step.wait(step.link.options.body_timeout);
        }
        self
    }

    fn body_done(self, result: Result<BodyInfo, BodyError>, step: &mut Step<'_>) -> Self {
        match self {
            Self::SendingBody(state) => state.body_done(result, step),
            other => other,
        }
    }
}

/// How one session behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// Argument of EHLO, HELO and LHLO.
    pub ehlo_hostname: Arc<str>,
    /// Which of them to say.
    pub method: DeliveryMethod,
    /// Whether to say who the original client was.
    pub xclient: Xclient,
    /// Say BODY=8BITMIME where the server offers it and the body needs it.
    pub send_8bitmime: bool,
    /// What becomes of an 8-bit body otherwise.
    pub transform_8bitmime_content: Transform8bit,
    /// Whether to use STARTTLS (`tls`).
    pub tls: TlsPolicy,
    /// Wait for the banner, for the reply to EHLO, HELO, LHLO and STARTTLS, and for the TLS
    /// handshake.
    pub ehlo_timeout: Duration,
    /// Wait for the reply to MAIL FROM.
    pub mailfrom_timeout: Duration,
    /// Wait for the reply to RCPT TO and to DATA.
    pub rcptto_timeout: Duration,
    /// Wait for the reply to the final dot, and for progress while sending the body.
    pub body_timeout: Duration,
    /// Wait for the reply to RSET and to QUIT.
    pub rset_timeout: Duration,
    /// How long to wait for work; zero waits for ever.
    pub idle_timeout: Duration,
}

/// One message to some recipients of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whose body to send.
    pub message: MessageId,
    /// For MAIL FROM.
    pub reverse_path: ReversePath,
    /// For RCPT TO; never empty.
    pub recipients: Vec<Mailbox>,
    /// For SIZE.
    pub size_bytes: u64,
    /// Whether the body needs BODY=8BITMIME.
    pub eight_bit: bool,
    /// For XCLIENT.
    pub origin: Option<Arc<Origin>>,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum ClientInput<'a> {
    /// Bytes from the peer; empty at the orderly end of its stream.
    Received(&'a [u8]),
    /// Answer to [`ClientOutput::StartTls`].
    Secured(Result<TlsInfo, TlsError>),
    /// The body is being sent and moves on.
    BodyProgress,
    /// The body is sent, final dot included, or not.
    BodyDone(Result<BodyInfo, BodyError>),
    /// The instant of the session's deadline was reached.
    Timeout,
    /// The connection is gone.
    Closed(Option<NetError>),
    /// Here is work. Only after [`ClientOutput::Ready`].
    Start(Transaction),
    /// No more work: say QUIT as soon as the dialogue is free. The first reason given counts.
    Quit(CloseReason),
}

/// What a session wants or says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientOutput {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Send this body, final dot included, after everything written before.
    WriteBody(MessageId),
    /// Begin TLS.
    StartTls,
    /// TLS stands. The server is greeted again.
    Secured(TlsInfo),
    /// There will be no TLS, and without it this session is of no use. `Close` follows.
    TlsFailed {
        /// How far it came.
        stage: Stage,
        /// Why.
        failure: TlsFailure,
    },
    /// End the connection. Nothing but the final `Closed` input follows. Comes exactly once,
    /// unless the `Closed` input came before it.
    Close {
        /// Drop what is unsent.
        abort: bool,
        /// For the record.
        reason: CloseReason,
    },
    /// The dialogue is open and free: ready for a transaction. Comes once after EHLO and once
    /// after each transaction.
    Ready,
    /// The result for one recipient of the transaction. Comes exactly once for each, before
    /// `Ready` or `Close`, unless `Close` follows with the recipients given back by
    /// [`ClientOutput::NotAttempted`].
    Recipient {
        /// Its index in [`Transaction::recipients`].
        index: u32,
        /// How far the dialogue had come.
        stage: Stage,
        /// What became of it.
        result: RecipientResult,
    },
    /// The transaction given with `Start` was never begun (the session was ending already): its
    /// recipients go back to the queue as they were.
    NotAttempted,
    /// The exchange is unusable for a while: no banner, refused, EHLO refused, silence. No
    /// message is to blame. `Close` follows.
    HostFailed {
        /// How far it came.
        stage: Stage,
        /// The peer's words, or ours.
        reply: Reply,
    },
    /// The peer broke the protocol. `Close` follows, after the results, unless what it said too
    /// early in clear was dropped.
    Violation(&'static str),
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientResult {
    /// The receiver took the message.
    Delivered(Reply),
    /// Try again later.
    Transient(Reply),
    /// Do not try again.
    Permanent(Reply),
}

#[cfg(test)]
mod tests;
