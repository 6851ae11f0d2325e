//! STARTTLS (RFC 3207): between the first reply to EHLO and the first `Ready`.

use super::end::End;
use super::{ClientOutput, State, Step};
use crate::record::CloseReason;
use crate::smtp::ehlo::Capabilities;
use crate::smtp::reply::{ReplyView, Severity};
use crate::smtp::stage::Stage;
use crate::tls::info::{TlsError, TlsInfo};
use crate::tls::policy::{Opening, TlsFailure};

/// What protects a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing.
    Clear,
    /// TLS, and the server has said nothing under it yet. Until it does its part of the handshake
    /// may still fail: in TLS 1.3 it judges our certificate when we believe to be done.
    Fresh,
    /// TLS.
    Proven,
}

/// The server has greeted us: goes on to TLS, or to work.
pub(super) fn greeted(step: &mut Step<'_>) -> State {
    match step.link.cover {
        Cover::Clear if step.link.quit.is_none() => open(step),
        Cover::Clear | Cover::Proven => step.welcome(),
        Cover::Fresh => {
            step.link.cover = Cover::Proven;
            step.welcome()
        }
    }
}

fn open(step: &mut Step<'_>) -> State {
    match step.link.options.tls.opening(step.link.capabilities.starttls) {
        Opening::InClear => step.welcome(),
        Opening::StartTls => {
            step.write("STARTTLS\r\n".into());
            step.wait(step.link.options.ehlo_timeout);
            State::ExpectGoAhead(ExpectGoAhead)
        }
        Opening::GiveUp => fail(Stage::StartTls, TlsFailure::NotOffered, step),
    }
}

/// Nothing is to be had under TLS from this server: says so, and goodbye.
fn fail(stage: Stage, failure: TlsFailure, step: &mut Step<'_>) -> State {
    step.out.push(ClientOutput::TlsFailed { stage, failure });
    step.write("QUIT\r\n".into());
    step.out.push(ClientOutput::Close { abort: false, reason: CloseReason::TlsFailed });
    step.link.deadline = None;
    State::Closed
}

/// What an end means that comes before TLS is there for certain.
pub(super) fn failure_of(end: &End) -> TlsFailure {
    match end {
        End::TimedOut => TlsFailure::Stalled,
        End::Lost { .. } => TlsFailure::Failed(TlsError::Lost),
        End::Violation(_) => TlsFailure::Failed(TlsError::Garbage),
        End::Unavailable(reply) | End::Refused(reply) | End::Local(reply) => {
            TlsFailure::Refused(reply.clone())
        }
    }
}

/// STARTTLS is sent.
#[derive(Debug)]
pub(super) struct ExpectGoAhead;

impl ExpectGoAhead {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive => {
                step.out.push(ClientOutput::StartTls);
                step.wait(step.link.options.ehlo_timeout);
                State::Securing(Securing)
            }
            Severity::Transient | Severity::Permanent => {
                fail(Stage::StartTls, TlsFailure::Refused(reply.to_reply()), step)
            }
            Severity::Intermediate => {
                State::ExpectGoAhead(self).end(End::Violation("3xx to STARTTLS"), step)
            }
        }
    }
}

/// The driver makes the handshake.
#[derive(Debug)]
pub(super) struct Securing;

impl Securing {
    /// Everything the server said about itself in clear is forgotten (RFC 3207 section 4.2).
    pub(super) fn secured(self, result: Result<TlsInfo, TlsError>, step: &mut Step<'_>) -> State {
        match result {
            Ok(info) => {
                step.link.cover = Cover::Fresh;
                step.link.capabilities = Capabilities::default();
                step.out.push(ClientOutput::Secured(info));
                super::open::say_hello(step.link.options.ehlo_hostname.clone(), step);
                super::open::after_hello(step)
            }
            Err(error) => {
                let stage = Stage::Handshake;
                step.out
                    .push(ClientOutput::TlsFailed { stage, failure: TlsFailure::Failed(error) });
                let reason = CloseReason::TlsFailed;
                step.out.push(ClientOutput::Close { abort: true, reason });
                step.link.deadline = None;
                State::Closed
            }
        }
    }
}
