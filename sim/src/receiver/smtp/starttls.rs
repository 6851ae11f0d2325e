//! STARTTLS at the receiving end, and what may go wrong with it (RFC 3207).

use std::sync::Arc;

use rustls::{Error, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsStream};
use traject_net::tls::MaybeTls;

use super::super::tls::{
    HANDSHAKE_RECORD, HandshakeAct, StartTlsAnswer, TlsOffering, TlsPosture, server_config,
};
use super::*;

impl<W: Witness> Site<W> {
    /// What the receiver does about TLS now.
    pub(super) fn posture(&self, now: Timestamp) -> Option<usize> {
        let elapsed = now.saturating_since(self.start);
        self.spec.tls.iter().position(|posture| posture.window.contains(&elapsed))
    }

    /// What a host shakes hands with; made once.
    fn server_config<C: Clock>(
        &self,
        host: &str,
        posture: usize,
        clock: &C,
    ) -> Result<Arc<ServerConfig>, Error> {
        let mut configs = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(host), posture);
        if let Some(config) = configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        let time = crate::tls::time_of(clock);
        let made = server_config(&self.pki, host, &self.spec.tls[posture], time)?;
        let made = Arc::new(made);
        configs.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

/// The keyword of an EHLO reply, if it has one.
pub(super) const fn keyword(posture: Option<&TlsPosture>) -> Option<&'static str> {
    match posture {
        None => None,
        Some(posture) => match posture.offer {
            TlsOffering::Yes => Some("STARTTLS"),
            TlsOffering::No => None,
            TlsOffering::Stripped => Some("XXXXXXXA"),
        },
    }
}

impl<N: Network, C: Clock, W: Witness> Dialogue<'_, N, C, W> {
    /// Answers STARTTLS.
    pub(super) async fn start_tls(&mut self) -> Result<Next, End> {
        let site = self.site;
        // The grammar lets nobody come here to whom it was not offered.
        let Some(number) = self.posture else { return Err(End::Close) };
        let posture = &site.spec.tls[number];
        match &posture.answer {
            StartTlsAnswer::Go => {}
            StartTlsAnswer::Garbage => {
                self.output.extend_from_slice(b"!! is no reply\r\n");
                self.must_be_heard().await?;
                return Ok(Next::Command);
            }
            StartTlsAnswer::Act(act) => {
                let decision = Decision::refusal(act);
                self.answer(&decision, &[]).await?;
                if has_ended(&decision) {
                    return Ok(Next::End);
                }
                self.must_be_heard().await?;
                return Ok(Next::Command);
            }
        }
        self.output.extend_from_slice(b"220 2.0.0 Ready to start TLS\r\n");
        if let Some(injected) = &posture.inject {
            self.output.extend_from_slice(injected.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
        self.must_be_heard().await?;
        Ok(Next::Handshake)
    }

    /// Shakes hands, or does what the posture has instead.
    pub(super) async fn secure(&mut self) -> Result<(), End> {
        let site = self.site;
        let Some(number) = self.posture else { return Err(End::Close) };
        let posture = &site.spec.tls[number];
        if self.read_more().await? == 0 {
            return Err(End::Lost);
        }
        if self.input.first() != Some(&HANDSHAKE_RECORD) {
            return Err(End::Breach("spoke in clear where the handshake was due".into()));
        }
        self.output.extend_from_slice(posture.handshake.bytes());
        match posture.handshake {
            HandshakeAct::Ok => {}
            HandshakeAct::Alert | HandshakeAct::Cut => return Err(End::Close),
            HandshakeAct::Stall | HandshakeAct::Garbage => return Err(End::Stall),
        }
        self.shake_hands(number).await?;
        self.grammar.secured();
        self.posture = None;
        Ok(())
    }

    async fn shake_hands(&mut self, posture: usize) -> Result<(), End> {
        // A posture that cannot be is found when the scenario is read.
        let config = self.site.server_config(self.host, posture, self.clock);
        let config = config.map_err(|_| End::Close)?;
        let lent = std::mem::replace(&mut self.stream, MaybeTls::Lent);
        let Some(mut stream) = lent.into_inner() else { return Err(End::Lost) };
        stream.unread(std::mem::take(&mut self.input));
        self.read_to = 0;
        match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => {
                self.stream = MaybeTls::Tls(Box::new(TlsStream::Server(stream)));
                Ok(())
            }
            Err((error, stream)) => {
                self.stream = MaybeTls::Plain(stream);
                Err(why(&error))
            }
        }
    }
}

/// Why a handshake failed: our client may refuse ours, and has a right to differ, but not to break
/// the protocol.
fn why(error: &io::Error) -> End {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(
            error @ (Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError),
        ) => End::Breach(format!("broke off a handshake: {error}")),
        _ => End::Close,
    }
}
