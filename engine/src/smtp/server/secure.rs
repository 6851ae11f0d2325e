//! STARTTLS on our side (RFC 3207).

use alloc::sync::Arc;

use super::{Client, Phase, ServerOutput, ServerSession, Turn, answer};
use crate::config::effective::InjectionPolicy;
use crate::limits::COMMAND_LINE_BYTES_MAX;
use crate::smtp::command::{self, Command, Verb};
use crate::smtp::line::LineFramer;
use crate::tls::info::{TlsError, TlsInfo, Verification};

impl ServerSession {
    /// Whether STARTTLS is offered now.
    pub(super) fn offers_tls(&self) -> bool {
        !self.secured && self.options.tls.as_ref().is_some_and(|tls| !tls.immediate)
    }

    /// Whether what came in clear behind STARTTLS is obeyed.
    pub(super) fn obeys_injected(&self) -> bool {
        let policy = self.options.tls.as_ref().map(|tls| tls.injection);
        policy == Some(InjectionPolicy::Allow)
    }

    /// STARTTLS; `more` tells whether anything came with it, where somebody in between could have
    /// put it.
    pub(super) fn start_tls(&mut self, more: bool, turn: &mut Turn<'_>) {
        let injection = self.options.tls.as_ref().map(|tls| tls.injection);
        let answer = match injection {
            _ if self.secured => answer::TLS_HERE,
            None => {
                let verb = Verb::NotOffered;
                let answer = answer::to_command_error(verb, command::CommandError::NotOffered);
                return self.say(verb, answer, turn);
            }
            Some(_) if matches!(self.phase, Phase::Mail(_)) => answer::TLS_IN_MAIL,
            Some(InjectionPolicy::Reject) if more => {
                self.say(Verb::StartTls, answer::TLS_INJECTED, turn);
                if !matches!(self.phase, Phase::Closed) {
                    self.close(turn, false);
                }
                return;
            }
            Some(_) => {
                self.phase = Phase::Securing;
                answer::TLS_GO_AHEAD
            }
        };
        self.say(Verb::StartTls, answer, turn);
    }

    /// Obeys a command that came in clear behind STARTTLS, as far as it needs no dialogue: all it
    /// does is forgotten with the handshake.
    pub(super) fn obey_before_tls(&mut self, line: &[u8], turn: &mut Turn<'_>) {
        match command::parse(line) {
            Ok(Command::Data | Command::StartTls) => {
                self.say(Verb::StartTls, answer::TLS_IN_BETWEEN, turn);
            }
            _ => {
                let phase = core::mem::replace(&mut self.phase, Phase::Free);
                self.obey(line, true, turn);
                if !matches!(self.phase, Phase::Closed) {
                    self.phase = phase;
                }
            }
        }
    }

    /// Everything in clear is answered: the handshake may begin.
    pub(super) fn begin_handshake(&mut self, turn: &mut Turn<'_>) {
        turn.flush();
        self.framer = LineFramer::new(COMMAND_LINE_BYTES_MAX);
        if let Some(tls) = &self.options.tls {
            turn.out.push(ServerOutput::StartTls(tls.params.clone()));
        }
    }

    /// Everything the client said in clear is forgotten (RFC 3207 section 4.2).
    pub(super) fn handshake_done(
        &mut self,
        result: Result<TlsInfo, TlsError>,
        turn: &mut Turn<'_>,
    ) {
        let Ok(info) = &result else {
            turn.out.push(ServerOutput::Tls(result));
            return self.close(turn, true);
        };
        self.secured = true;
        self.phase = Phase::Free;
        self.client = Client::default();
        self.origin = None;
        self.counts.errors_in_a_row = 0;
        let tls = self.options.tls.as_ref();
        if tls.is_some_and(|tls| tls.verified_may_relay)
            && info.verification == Verification::Verified
        {
            Arc::make_mut(&mut self.options).relay.client_may_relay = true;
        }
        turn.out.push(ServerOutput::Tls(result));
        self.wait_for_client(turn.now);
        if self.options.tls.as_ref().is_some_and(|tls| tls.immediate) {
            self.say_banner(turn.out);
        }
        self.leave_if_draining(turn);
    }
}
