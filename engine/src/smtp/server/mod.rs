//! The receiving end of an SMTP dialogue.
//!
//! ```text
//!          MAIL             DATA                body                  durable
//!  Free ──────────► Mail ──────────► Receiving ─────────► Spooling ─────────► Free
//!    ▲               │ ▲ RCPT           │ body refused       │ not durable
//!    └── RSET, EHLO ─┘ └─┘              └──────────► Free ◄──┘
//! ```
//!
//! The commands of one input are answered together, in order, in one write. A client may send
//! commands before our banner or without waiting for replies (PIPELINING); it may not send a body
//! before our 354, since nobody could tell then where commands end and text begins.

mod answer;
mod received;
pub(crate) mod relay;
mod secure;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

use self::answer::Answer;
use self::received::Received;
use crate::bounce::inbound::{self, Report};
use crate::config::effective::{BindingSource, BounceBehavior, ReceptionOptions};
use crate::ids::MessageId;
use crate::io::{NetError, SpoolError};
use crate::limits::{
    BOUNCE_HEAD_BYTES_MAX, COMMAND_ERRORS_MAX, COMMAND_LINE_BYTES_MAX, RECIPIENTS_PER_MESSAGE_MAX,
};
use crate::message::{Origin, RecipientState, StoredMessage, StoredRecipient};
use crate::smtp::address::{ForwardPath, Mailbox, ReversePath};
use crate::smtp::command::{self, Command, MailFrom, Verb};
use crate::smtp::data::{BodyError, BodyInfo, BodyRules};
use crate::smtp::line::{Framed, LineFramer};
use crate::smtp::reply::Reply;
use crate::time::Timestamp;
use crate::tls::info::{TlsError, TlsInfo};
use crate::tls::params::ServerTls;

/// One connection from a client, from its establishment to its end.
#[derive(Debug)]
pub struct ServerSession {
    options: Arc<ReceptionOptions>,
    peer: SocketAddr,
    framer: LineFramer,
    client: Client,
    /// The client in the form messages keep, once one did.
    origin: Option<Arc<Origin>>,
    phase: Phase,
    counts: Counts,
    deadline: Option<Timestamp>,
    draining: bool,
    /// The connection is under TLS.
    secured: bool,
}

/// Whoever a session belongs to; answers what cannot wait.
pub trait Owner {
    /// An id for the next message.
    fn message_id(&mut self) -> MessageId;

    /// Whether mail to a domain is refused when its recipient is named (`blackhole = inline`).
    /// `may_name` tells whether the message may name its binding itself.
    fn refuses(&mut self, source: &BindingSource, may_name: bool, domain: &str) -> bool;

    /// Whether there is a binding, or a group that has one, of that name.
    fn knows_binding(&mut self, name: &str) -> bool;

    /// What becomes of mail to this address if it is taken for a bounce; `None` if it is mail like
    /// any other.
    fn bounce_behavior(&mut self, _mailbox: &Mailbox) -> Option<BounceBehavior> {
        None
    }

    /// Reads a bounce out of the first bytes of a mail.
    fn read_bounce(&mut self, head: &[u8]) -> Report {
        inbound::read(head, &[])
    }

    /// The binding of a complete message; `None` if it has none and is to be refused. `named` is
    /// the name it bears itself.
    fn binding(
        &mut self,
        message: MessageId,
        source: &BindingSource,
        named: Option<&str>,
    ) -> Option<Arc<str>>;
}

/// How the client introduced itself.
#[derive(Debug, Default)]
struct Client {
    name: Option<Box<str>>,
    esmtp: bool,
}

#[derive(Debug, Default)]
struct Counts {
    /// Commands refused since the last one that was not.
    errors_in_a_row: u32,
    /// Recipients accepted over the connection.
    recipients: u32,
    /// Messages accepted over the connection.
    receptions: u32,
}

#[derive(Debug)]
enum Phase {
    /// No transaction.
    Free,
    /// After MAIL.
    Mail(Envelope),
    /// The driver makes the TLS handshake.
    Securing,
    /// The driver takes in the body.
    Receiving {
        message: MessageId,
        envelope: Envelope,
    },
    /// The message is on its way to the disk.
    Spooling {
        message: MessageId,
        recipients: u32,
    },
    Closed,
}

#[derive(Debug)]
struct Envelope {
    sender: ReversePath,
    recipients: Vec<Mailbox>,
}

impl ServerSession {
    /// A session with a client at `peer` whose connection stands since `now`.
    pub fn new(options: Arc<ReceptionOptions>, peer: SocketAddr, now: Timestamp) -> Self {
        let mut session = Self {
            options,
            peer,
            framer: LineFramer::new(COMMAND_LINE_BYTES_MAX),
            client: Client::default(),
            origin: None,
            phase: Phase::Free,
            counts: Counts::default(),
            deadline: None,
            draining: false,
            secured: false,
        };
        session.wait_for_client(now);
        session
    }

    /// Whether the connection is under TLS.
    pub const fn is_secured(&self) -> bool {
        self.secured
    }

    /// Says the banner, or begins with TLS. To be called once, before any input.
    pub fn start(&mut self, out: &mut Vec<ServerOutput>) {
        if let Some(tls) = self.options.tls.as_ref().filter(|tls| tls.immediate) {
            out.push(ServerOutput::StartTls(tls.params.clone()));
            self.phase = Phase::Securing;
            return;
        }
        self.say_banner(out);
    }

    fn say_banner(&self, out: &mut Vec<ServerOutput>) {
        let mut banner = Vec::new();
        answer::write_banner(&self.options, &mut banner);
        out.push(ServerOutput::Write(banner));
    }

    /// Takes in what happened and appends what follows to `out`.
    pub fn handle(
        &mut self,
        now: Timestamp,
        input: ServerInput<'_>,
        owner: &mut dyn Owner,
        out: &mut Vec<ServerOutput>,
    ) {
        let mut turn = Turn { now, owner, out, replies: Vec::new() };
        match (input, &self.phase) {
            (_, Phase::Closed) => return,
            (ServerInput::Received([]), _) => self.close(&mut turn, false),
            (ServerInput::Received(bytes), Phase::Free | Phase::Mail(_)) => {
                self.receive(bytes, &mut turn);
            }
            (ServerInput::Received(_), Phase::Receiving { .. } | Phase::Spooling { .. }) => {
                turn.out.push(ServerOutput::Violation("input while a reply is due"));
                self.close(&mut turn, true);
            }
            (ServerInput::Received(_), Phase::Securing) => {
                turn.out.push(ServerOutput::Violation("data in clear during the handshake"));
            }
            (ServerInput::Secured(result), Phase::Securing) => {
                self.handshake_done(result, &mut turn)
            }
            (ServerInput::BodyProgress, Phase::Receiving { .. }) => self.wait_for_client(now),
            (ServerInput::BodyDone(result), Phase::Receiving { .. }) => {
                self.body_done(&result, &mut turn);
            }
            (ServerInput::Spooled(result), Phase::Spooling { .. }) => {
                self.spooled(&result, &mut turn);
            }
            (ServerInput::Timeout, _) => self.time_out(&mut turn),
            (ServerInput::Closed(_), _) => {
                self.phase = Phase::Closed;
                self.deadline = None;
            }
            (ServerInput::Drain, _) => {
                self.draining = true;
                self.leave_if_draining(&mut turn);
            }
            (
                ServerInput::BodyProgress
                | ServerInput::BodyDone(_)
                | ServerInput::Spooled(_)
                | ServerInput::Secured(_),
                _,
            ) => {}
        }
        turn.flush();
    }

    /// When [`ServerInput::Timeout`] is due; `None` when it never is.
    pub const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// The client's next complete command, or progress of its body, is due within the idle time.
    /// Bytes that do not complete a command do not count: they may drip for ever.
    fn wait_for_client(&mut self, now: Timestamp) {
        let idle = self.options.idle_time;
        self.deadline = (!idle.is_zero()).then(|| now + idle);
    }

    fn receive(&mut self, mut bytes: &[u8], turn: &mut Turn<'_>) {
        // Out of the way, since lines may be in its buffer.
        let mut framer = mem::replace(&mut self.framer, LineFramer::new(COMMAND_LINE_BYTES_MAX));
        let mut injected = false;
        while let Some(framed) = framer.next(&mut bytes) {
            self.wait_for_client(turn.now);
            match framed {
                Framed::TooLong => self.say(Verb::Unknown, answer::LINE_TOO_LONG, turn),
                Framed::Line(line) if injected => self.obey_before_tls(line, turn),
                Framed::Line(line) => self.obey(line, !bytes.is_empty(), turn),
            }
            injected = matches!(self.phase, Phase::Securing) && self.obeys_injected();
            if !matches!(self.phase, Phase::Free | Phase::Mail(_)) && !injected {
                break;
            }
        }
        if matches!(self.phase, Phase::Securing) {
            return self.begin_handshake(turn);
        }
        self.framer = framer;
    }

    /// Answers one line; `more` tells whether others came with it.
    fn obey(&mut self, line: &[u8], more: bool, turn: &mut Turn<'_>) {
        let command = match command::parse(line) {
            Ok(command) => command,
            Err((verb, error)) => {
                return self.say(verb, answer::to_command_error(verb, error), turn);
            }
        };
        if self.draining && command != Command::Quit {
            return self.say(command.verb(), answer::SHUTTING_DOWN, turn);
        }
        match command {
            Command::Ehlo(name) => self.greet(name, true, turn),
            Command::Helo(name) => self.greet(name, false, turn),
            Command::Mail(mail) => self.mail(mail, turn),
            Command::Rcpt(path) => self.rcpt(path, turn),
            Command::Data => self.data(more, turn),
            Command::Rset => {
                self.phase = Phase::Free;
                self.say(Verb::Rset, answer::OK, turn);
            }
            Command::Noop => self.say(Verb::Noop, answer::OK, turn),
            Command::Vrfy => self.say(Verb::Vrfy, answer::CANNOT_VERIFY, turn),
            Command::Help => self.say(Verb::Help, answer::HELP, turn),
            Command::Quit => self.say(Verb::Quit, answer::GOODBYE, turn),
            Command::StartTls => self.start_tls(more, turn),
        }
    }

    /// EHLO also does what RSET does (RFC 5321 section 4.1.4).
    fn greet(&mut self, name: &str, esmtp: bool, turn: &mut Turn<'_>) {
        self.client = Client { name: Some(name.into()), esmtp };
        self.origin = None;
        self.phase = Phase::Free;
        self.counts.errors_in_a_row = 0;
        if esmtp {
            answer::write_ehlo(&self.options, self.offers_tls(), &mut turn.replies);
        } else {
            answer::write_helo(&self.options, &mut turn.replies);
        }
    }

    fn mail(&mut self, mail: MailFrom, turn: &mut Turn<'_>) {
        let answer = self.judge_mail(&mail);
        if answer == answer::SENDER_OK {
            let envelope = Envelope { sender: mail.reverse_path, recipients: Vec::new() };
            self.phase = Phase::Mail(envelope);
        }
        self.say(Verb::Mail, answer, turn);
    }

    fn judge_mail(&self, mail: &MailFrom) -> Answer {
        let options = &*self.options;
        if options.require_ehlo && self.client.name.is_none() {
            answer::NO_EHLO
        } else if matches!(self.phase, Phase::Mail(_)) {
            answer::MAIL_GIVEN
        } else if reached(options.max_receptions_per_connection, self.counts.receptions)
            || reached(options.max_recipients_per_connection, self.counts.recipients)
        {
            answer::NO_MORE_MAIL
        } else if mail.reverse_path.0.is_none() && !options.allow_null_envelope_sender {
            answer::NO_NULL_SENDER
        } else if options.binding == BindingSource::Refuse && !self.may_name(&mail.reverse_path) {
            answer::NO_BINDING
        } else if mail.size_bytes.is_some_and(|size| size > options.max_message_size_bytes) {
            answer::TOO_LARGE
        } else {
            answer::SENDER_OK
        }
    }

    fn rcpt(&mut self, path: ForwardPath, turn: &mut Turn<'_>) {
        let mailbox = match path {
            ForwardPath::Mailbox(mailbox) => mailbox,
            ForwardPath::Postmaster => Mailbox {
                local: "postmaster".into(),
                domain: self.options.received_hostname.to_ascii_lowercase().into(),
            },
        };
        let answer = self.judge_rcpt(&mailbox, turn.owner);
        if let (answer::RECIPIENT_OK, Phase::Mail(envelope)) = (answer, &mut self.phase) {
            envelope.recipients.push(mailbox);
        }
        self.say(Verb::Rcpt, answer, turn);
    }

    fn judge_rcpt(&self, mailbox: &Mailbox, owner: &mut dyn Owner) -> Answer {
        let Phase::Mail(envelope) = &self.phase else { return answer::NO_MAIL };
        let options = &*self.options;
        let given = envelope.recipients.len();
        // What one message may hold always fits.
        let given_u32 = u32::try_from(given).unwrap_or(u32::MAX);
        let in_all = self.counts.recipients.saturating_add(given_u32);
        if !relay::may_relay(&options.relay, &envelope.sender, mailbox) {
            answer::RELAYING_DENIED
        } else if owner.refuses(&options.binding, self.may_name(&envelope.sender), &mailbox.domain)
        {
            answer::BLACKHOLED
        } else if reached(options.max_recipients_per_message, given_u32)
            || given >= RECIPIENTS_PER_MESSAGE_MAX
        {
            answer::TOO_MANY_RECIPIENTS
        } else if reached(options.max_recipients_per_connection, in_all) {
            answer::TOO_MANY_RECIPIENTS_IN_ALL
        } else {
            answer::RECIPIENT_OK
        }
    }

    fn data(&mut self, more: bool, turn: &mut Turn<'_>) {
        let envelope = match mem::replace(&mut self.phase, Phase::Free) {
            Phase::Mail(envelope) if !envelope.recipients.is_empty() => envelope,
            phase => {
                let mail_given = matches!(phase, Phase::Mail(_));
                self.phase = phase;
                let answer = if mail_given { answer::NO_RCPT } else { answer::NO_MAIL };
                return self.say(Verb::Data, answer, turn);
            }
        };
        if more {
            turn.out.push(ServerOutput::Violation("data before the go-ahead"));
            return self.say(Verb::Data, answer::DATA_TOO_EARLY, turn);
        }
        self.counts.errors_in_a_row = 0;
        let message = turn.owner.message_id();
        let mut recipients = envelope.recipients.iter();
        let may_be_bounce = recipients.any(|mailbox| turn.owner.bounce_behavior(mailbox).is_some());
        let prefix = self.trace_header(message, turn.now);
        let rules = BodyRules {
            size_bytes_max: self.options.max_message_size_bytes,
            stray: self.options.stray,
            take_header: self.may_name(&envelope.sender).then_some(BINDING_HEADER),
            head_bytes_max: if may_be_bounce { BOUNCE_HEAD_BYTES_MAX } else { 0 },
        };
        answer::write_go_ahead(&mut turn.replies);
        turn.flush();
        turn.out.push(ServerOutput::ReceiveBody { message, prefix, rules });
        self.phase = Phase::Receiving { message, envelope };
    }

    /// Whether a message may name its binding: only who may relay is trusted with that.
    fn may_name(&self, sender: &ReversePath) -> bool {
        relay::is_trusted(&self.options.relay, sender)
    }

    fn trace_header(&self, message: MessageId, at: Timestamp) -> Vec<u8> {
        if !self.options.trace_headers {
            return Vec::new();
        }
        let received = Received {
            client_name: self.client.name.as_deref(),
            peer: self.peer,
            by: &self.options.received_hostname,
            esmtp: self.client.esmtp,
            tls: self.secured,
            message,
            at,
        };
        received.to_header()
    }

    fn body_done(&mut self, result: &Result<BodyInfo, BodyError>, turn: &mut Turn<'_>) {
        let Phase::Receiving { message, envelope } = mem::replace(&mut self.phase, Phase::Free)
        else {
            return;
        };
        self.wait_for_client(turn.now);
        match (answer::to_body(result), result) {
            (Some(answer), result) => {
                if result.is_ok() {
                    turn.out.push(ServerOutput::Discard(message));
                }
                self.say(Verb::Data, answer, turn);
                self.leave_if_draining(turn);
            }
            (None, Ok(info)) => {
                let Some(binding) = self.assign_binding(message, info, turn) else {
                    turn.out.push(ServerOutput::Discard(message));
                    self.say(Verb::Data, answer::NO_BINDING, turn);
                    return self.leave_if_draining(turn);
                };
                // Not the client's time but ours.
                self.deadline = None;
                let recipients = u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX);
                self.phase = Phase::Spooling { message, recipients };
                let mut stored = self.stored_message(message, envelope, info, binding, turn.now);
                if let Some(head) = &info.head {
                    take_bounces(&mut stored, head, turn);
                }
                turn.out.push(ServerOutput::Accept(Box::new(stored)));
            }
            // The connection is gone: nobody is there to be told.
            (None, Err(_)) => self.close(turn, true),
        }
    }

    fn assign_binding(
        &self,
        message: MessageId,
        info: &BodyInfo,
        turn: &mut Turn<'_>,
    ) -> Option<Arc<str>> {
        let source = &self.options.binding;
        let counts = matches!(source, BindingSource::Default | BindingSource::Refuse);
        let named = info.header.as_deref().filter(|_| counts);
        if let Some(name) = named
            && !turn.owner.knows_binding(name)
        {
            turn.out.push(ServerOutput::Violation("X-Binding names no binding"));
        }
        turn.owner.binding(message, source, named)
    }

    fn origin(&mut self) -> Arc<Origin> {
        let (peer, client) = (self.peer, &self.client);
        let origin = self.origin.get_or_insert_with(|| {
            let helo = client.name.clone();
            Arc::new(Origin { address: peer.ip(), port: peer.port(), helo, esmtp: client.esmtp })
        });
        origin.clone()
    }

    fn stored_message(
        &mut self,
        id: MessageId,
        envelope: Envelope,
        info: &BodyInfo,
        binding: Arc<str>,
        received_at: Timestamp,
    ) -> StoredMessage {
        let state = RecipientState::new(received_at);
        let recipients = envelope.recipients.into_iter();
        StoredMessage {
            id,
            reverse_path: envelope.sender,
            recipients: recipients.map(|mailbox| StoredRecipient { mailbox, state }).collect(),
            received_at,
            size_bytes: info.size_bytes,
            eight_bit: info.eight_bit,
            binding,
            origin: Some(self.origin()),
            rerouted: Vec::new(),
        }
    }

    fn spooled(&mut self, result: &Result<(), SpoolError>, turn: &mut Turn<'_>) {
        let Phase::Spooling { message, recipients } = mem::replace(&mut self.phase, Phase::Free)
        else {
            return;
        };
        self.wait_for_client(turn.now);
        match result {
            Ok(()) => {
                self.counts.receptions = self.counts.receptions.saturating_add(1);
                self.counts.recipients = self.counts.recipients.saturating_add(recipients);
                answer::write_accepted(message, &mut turn.replies);
            }
            Err(error) => self.say(Verb::Data, answer::to_spool_error(error), turn),
        }
        self.leave_if_draining(turn);
    }

    fn time_out(&mut self, turn: &mut Turn<'_>) {
        if self.deadline.is_none_or(|due| turn.now < due) {
            return;
        }
        if matches!(self.phase, Phase::Securing) {
            turn.out.push(ServerOutput::Violation("no TLS handshake in time"));
            return self.close(turn, true);
        }
        let verb = match self.phase {
            Phase::Receiving { .. } => Verb::Data,
            _ => Verb::Unknown,
        };
        self.say(verb, answer::IDLE_TOO_LONG, turn);
    }

    /// Between transactions, and with no command begun, a client can be told to go at any time.
    fn leave_if_draining(&mut self, turn: &mut Turn<'_>) {
        if self.draining && matches!(self.phase, Phase::Free) && self.framer.partial().is_empty() {
            self.say(Verb::Unknown, answer::SHUTTING_DOWN, turn);
        }
    }

    /// Replies, keeps count of errors, and closes where the words say so.
    fn say(&mut self, verb: Verb, answer: Answer, turn: &mut Turn<'_>) {
        let mut answer = answer;
        if !answer.is_error() {
            self.counts.errors_in_a_row = 0;
        } else if self.counts.errors_in_a_row == COMMAND_ERRORS_MAX {
            answer = answer::TOO_MANY_ERRORS;
        } else {
            self.counts.errors_in_a_row += 1;
        }
        answer.write(&mut turn.replies);
        if answer.is_refusal() {
            let reply = answer.reply();
            turn.out.push(ServerOutput::Rejected { phase: verb.phase(), reply });
        }
        if answer.closes() {
            self.close(turn, false);
        }
    }

    fn close(&mut self, turn: &mut Turn<'_>, abort: bool) {
        turn.flush();
        turn.out.push(ServerOutput::Close { abort });
        self.phase = Phase::Closed;
        self.deadline = None;
    }
}

/// Reads a bounce, once for each recipient that is an address for bounces, and has those that are
/// to be dropped go nowhere.
fn take_bounces(stored: &mut StoredMessage, head: &[u8], turn: &mut Turn<'_>) {
    let mut report = None;
    for (recipient, index) in stored.recipients.iter_mut().zip(0..) {
        let Some(behavior) = turn.owner.bounce_behavior(&recipient.mailbox) else { continue };
        let report: &Report = report.get_or_insert_with(|| turn.owner.read_bounce(head));
        if behavior == BounceBehavior::Blackhole {
            recipient.state = RecipientState::Done;
        }
        let (message, report) = (stored.id, Box::new(report.clone()));
        turn.out.push(ServerOutput::Bounce { message, recipient: index, behavior, report });
    }
}

/// The header by which a message names its binding.
const BINDING_HEADER: &str = "X-Binding";

/// One input being handled.
struct Turn<'a> {
    now: Timestamp,
    owner: &'a mut dyn Owner,
    out: &'a mut Vec<ServerOutput>,
    /// Written together.
    replies: Vec<u8>,
}

impl Turn<'_> {
    fn flush(&mut self) {
        if !self.replies.is_empty() {
            self.out.push(ServerOutput::Write(mem::take(&mut self.replies)));
        }
    }
}

/// Whether a limit, of which 0 is none, is reached.
const fn reached(limit: u32, count: u32) -> bool {
    limit > 0 && count >= limit
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum ServerInput<'a> {
    /// Bytes from the client; empty at the orderly end of its stream.
    Received(&'a [u8]),
    /// The body is being received and moves on.
    BodyProgress,
    /// The body is staged in the spool, or not.
    BodyDone(Result<BodyInfo, BodyError>),
    /// Answer to [`ServerOutput::StartTls`].
    Secured(Result<TlsInfo, TlsError>),
    /// The message given out with [`ServerOutput::Accept`] is durable, or not.
    Spooled(Result<(), SpoolError>),
    /// The instant of the session's deadline was reached.
    Timeout,
    /// The connection is gone.
    Closed(Option<NetError>),
    /// We are shutting down: say 421 and close, at once between transactions, else at the next
    /// command or after the message under way.
    Drain,
}

/// What a session wants or says.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerOutput {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Receive a body.
    ReceiveBody {
        /// The id to stage it under.
        message: MessageId,
        /// Trace header to put in front.
        prefix: Vec<u8>,
        /// What it may be.
        rules: BodyRules,
    },
    /// Begin TLS.
    StartTls(Arc<ServerTls>),
    /// For the record: how TLS began.
    Tls(Result<TlsInfo, TlsError>),
    /// Make this message durable; `Spooled` answers, and only then the client gets its 250. If it
    /// does not become durable, its staged body is the caller's to discard.
    Accept(Box<StoredMessage>),
    /// For the record, once the message that is accepted next is durable: it is a bounce.
    Bounce {
        /// The message.
        message: MessageId,
        /// Index of the recipient that is an address for bounces.
        recipient: u32,
        /// What becomes of it.
        behavior: BounceBehavior,
        /// What it says.
        report: Box<Report>,
    },
    /// Forget a body that was staged and never given out with [`ServerOutput::Accept`].
    Discard(MessageId),
    /// For the record: the client was refused something.
    Rejected {
        /// The command's verb in lower case; `data` also for the body; `command` for what is no
        /// command we know.
        phase: &'static str,
        /// Our reply.
        reply: Reply,
    },
    /// For the record: the client broke the protocol.
    Violation(&'static str),
    /// End the connection. Nothing but the final `Closed` input follows.
    Close {
        /// Drop what is unsent.
        abort: bool,
    },
}

#[cfg(test)]
mod binding_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
