//! Ends: of a failed transaction (RSET, the lone dot), of the session (QUIT), and the ones that
//! can come in any state.

use super::secure::{Cover, failure_of};
use super::{ClientOutput, State, Step};
use crate::record::CloseReason;
use crate::smtp::reply::{EnhancedCode, Reply, ReplyView, Severity};
use crate::smtp::stage::Stage;

/// How a session can end before its time.
#[derive(Debug)]
pub(super) enum End {
    /// The peer did not answer in time.
    TimedOut,
    /// The peer ended its stream; with `closed`, the connection is gone altogether.
    Lost { closed: bool },
    /// The peer said 421.
    Unavailable(Reply),
    /// The peer refused us before any message.
    Refused(Reply),
    /// The peer broke the protocol.
    Violation(&'static str),
    /// We cannot go on, for this reason.
    Local(Reply),
}

impl State {
    /// Settles what is in flight and closes.
    pub(super) fn end(self, end: End, step: &mut Step<'_>) -> Self {
        if matches!(self, Self::Closed) {
            return self;
        }
        let stage = self.stage();
        let mut reason = end.reason();
        match self {
            Self::ExpectGoAhead(_) | Self::Securing(_) => {
                reason = end.reason_before_tls();
                let failure = failure_of(&end);
                step.out.push(ClientOutput::TlsFailed { stage, failure });
            }
            // Only a reply proves that the server's side of the handshake is done.
            Self::ExpectEhlo(_) | Self::ExpectHelo(_)
                if step.link.cover == Cover::Fresh && end.is_mute() =>
            {
                reason = end.reason_before_tls();
                let failure = failure_of(&end);
                step.out.push(ClientOutput::TlsFailed { stage, failure });
            }
            Self::ExpectBanner(_) | Self::ExpectEhlo(_) | Self::ExpectHelo(_) | Self::Welcomed => {
                let reply = end.reply(stage);
                step.out.push(ClientOutput::HostFailed { stage, reply });
            }
            Self::ExpectXclient(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::ExpectWelcome(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::ExpectMail(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::ExpectRcpt(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::ExpectData(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::SendingBody(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::ExpectFinal(state) => state.envelope.fail(stage, end.reply(stage), step),
            Self::ExpectQuit(state) => reason = state.reason,
            Self::Idle | Self::ExpectEmptyDot(_) | Self::ExpectRset(_) | Self::Closed => {}
        }
        if let End::Violation(what) = end {
            step.out.push(ClientOutput::Violation(what));
        }
        if let End::Refused(_) = end {
            // RFC 5321 section 4.1.1.10 wants QUIT before we close; its reply changes nothing.
            step.write("QUIT\r\n".into());
        }
        if !matches!(end, End::Lost { closed: true }) {
            step.out.push(ClientOutput::Close { abort: end.aborts(), reason });
        }
        step.link.deadline = None;
        Self::Closed
    }
}

impl End {
    const fn reason(&self) -> CloseReason {
        match self {
            Self::TimedOut => CloseReason::TimedOut,
            Self::Lost { .. } => CloseReason::Lost,
            Self::Unavailable(_) => CloseReason::ServiceUnavailable,
            Self::Refused(_) => CloseReason::Refused,
            Self::Violation(_) => CloseReason::ProtocolViolation,
            Self::Local(_) => CloseReason::LocalError,
        }
    }

    /// Whether the server ended it without a word that is SMTP.
    const fn is_mute(&self) -> bool {
        match self {
            Self::TimedOut | Self::Lost { .. } | Self::Violation(_) => true,
            Self::Unavailable(_) | Self::Refused(_) | Self::Local(_) => false,
        }
    }

    /// The reason on record when TLS was not there yet.
    const fn reason_before_tls(&self) -> CloseReason {
        match self {
            Self::Unavailable(_) => CloseReason::ServiceUnavailable,
            Self::TimedOut
            | Self::Lost { .. }
            | Self::Refused(_)
            | Self::Violation(_)
            | Self::Local(_) => CloseReason::TlsFailed,
        }
    }

    /// Whether what is unsent is worthless: above all a body must never seem complete.
    const fn aborts(&self) -> bool {
        match self {
            Self::TimedOut | Self::Violation(_) | Self::Local(_) => true,
            Self::Lost { .. } | Self::Unavailable(_) | Self::Refused(_) => false,
        }
    }

    /// The words for what was in flight: the peer's, or ours.
    fn reply(&self, stage: Stage) -> Reply {
        match self {
            Self::TimedOut => Reply::local(451, EnhancedCode(4, 4, 2), missing(stage)),
            Self::Lost { .. } => {
                Reply::local(451, EnhancedCode(4, 4, 2), "connection closed by remote host")
            }
            Self::Violation(what) => Reply::local(451, EnhancedCode(4, 5, 0), what),
            Self::Unavailable(reply) | Self::Refused(reply) | Self::Local(reply) => reply.clone(),
        }
    }
}

/// The words for a peer that falls silent at `stage`.
const fn missing(stage: Stage) -> &'static str {
    match stage {
        Stage::Banner => "no banner",
        Stage::Ehlo => "no HELO/EHLO response",
        Stage::Xclient => "no XCLIENT response",
        Stage::MailFrom => "no MAIL FROM response",
        Stage::RcptTo => "no RCPT TO response",
        Stage::Data => "no DATA response",
        Stage::Body => "send BODY failed",
        Stage::BodyReply => "no BODY response",
        // Nobody's message or exchange is to blame there, so nobody reads these words.
        Stage::Dns
        | Stage::Connect
        | Stage::StartTls
        | Stage::Handshake
        | Stage::Idle
        | Stage::Rset
        | Stage::Quit
        | Stage::Queue => "no response",
    }
}

/// A transaction failed, its recipients have their results; the server is to forget it.
#[derive(Debug)]
pub(super) struct ExpectRset;

impl ExpectRset {
    /// Sends RSET, or QUIT when there is no more work, which does the same.
    pub(super) fn begin(step: &mut Step<'_>) -> State {
        if let Some(reason) = step.link.quit {
            return step.quit(reason);
        }
        step.write("RSET\r\n".into());
        step.wait(step.link.options.rset_timeout);
        State::ExpectRset(Self)
    }

    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive => step.free(),
            // RSET cannot fail (RFC 5321 section 4.1.1.5): who knows what this server thinks.
            Severity::Intermediate | Severity::Transient | Severity::Permanent => {
                State::ExpectRset(self).end(End::Violation("RSET refused"), step)
            }
        }
    }
}

/// The server said 354 although it refused every recipient (RFC 2920 section 3.1): an empty
/// message was sent, and it does not matter what becomes of it.
#[derive(Debug)]
pub(super) struct ExpectEmptyDot;

impl ExpectEmptyDot {
    pub(super) fn begin(step: &mut Step<'_>) -> State {
        step.write(".\r\n".into());
        step.wait(step.link.options.body_timeout);
        State::ExpectEmptyDot(Self)
    }

    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive | Severity::Transient | Severity::Permanent => step.free(),
            Severity::Intermediate => {
                State::ExpectEmptyDot(self).end(End::Violation("3xx to the final dot"), step)
            }
        }
    }
}

/// QUIT is sent; any reply will do.
#[derive(Debug)]
pub(super) struct ExpectQuit {
    pub(super) reason: CloseReason,
}

impl ExpectQuit {
    pub(super) fn close(self, step: &mut Step<'_>) -> State {
        step.out.push(ClientOutput::Close { abort: false, reason: self.reason });
        step.link.deadline = None;
        State::Closed
    }
}
