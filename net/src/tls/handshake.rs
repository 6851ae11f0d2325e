//! One handshake.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::FallibleConnect;
use tokio_rustls::server::FallibleAccept;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use traject_engine::tls::info::{CipherSuite, TlsError, TlsInfo, TlsVersion, Verification};

use super::error::tls_error;
use super::stream::MaybeTls;
use super::verify::{ClientVerifier, ExchangeVerifier};
use super::x509::Certificate;

/// Everything a handshake needs but its stream.
pub(crate) enum Starter {
    Client(Arc<ClientConfig>, ServerName<'static>, Check),
    Server(Arc<ServerConfig>, Check),
}

impl fmt::Debug for Starter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(..) => "Starter of a client",
            Self::Server(..) => "Starter of a server",
        })
    }
}

/// Who knows what the check of the peer's certificate found.
pub(crate) enum Check {
    Exchange(Arc<ExchangeVerifier>),
    /// `None`: clients are not asked for one.
    Client(Option<Arc<ClientVerifier>>, Arc<dyn TimeProvider>),
}

impl Starter {
    /// Begins; nothing is sent before the first poll.
    pub(crate) fn start<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) -> Handshaking<S> {
        match self {
            Self::Client(config, name, check) => {
                let connect = TlsConnector::from(config).connect(name, stream);
                Handshaking { side: Side::Connect(connect.into_fallible()), check }
            }
            Self::Server(config, check) => {
                let accept = TlsAcceptor::from(config).accept(stream);
                Handshaking { side: Side::Accept(accept.into_fallible()), check }
            }
        }
    }
}

/// A handshake under way. It has the stream, and gives it back in the end.
pub(crate) struct Handshaking<S> {
    side: Side<S>,
    check: Check,
}

enum Side<S> {
    Connect(FallibleConnect<S>),
    Accept(FallibleAccept<S>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Handshaking<S> {
    /// Goes on. Not to be called again when it is done.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(MaybeTls<S>, Result<TlsInfo, TlsError>)> {
        let done = match &mut self.side {
            Side::Connect(connect) => ready!(Pin::new(connect).poll(cx)).map(TlsStream::Client),
            Side::Accept(accept) => ready!(Pin::new(accept).poll(cx)).map(TlsStream::Server),
        };
        Poll::Ready(match done {
            Ok(stream) => {
                let info = info(stream.get_ref().1, &self.check);
                (MaybeTls::Tls(Box::new(stream)), info)
            }
            Err((error, stream)) => (MaybeTls::Plain(stream), Err(tls_error(&error))),
        })
    }
}

impl<S> fmt::Debug for Handshaking<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.side {
            Side::Connect(_) => "Handshaking as a client",
            Side::Accept(_) => "Handshaking as a server",
        })
    }
}

/// What was agreed on.
fn info(state: &CommonState, check: &Check) -> Result<TlsInfo, TlsError> {
    let suite = state.negotiated_cipher_suite().map(|suite| u16::from(suite.suite()));
    let version = state.protocol_version().and_then(tls_version);
    let (Some(version), Some(cipher)) = (version, suite.and_then(CipherSuite::from_code)) else {
        return Err(TlsError::Local("agreed on something that was not offered".into()));
    };
    let shown = state.peer_certificates();
    let verification = match check {
        Check::Exchange(verifier) => verifier.verification(),
        Check::Client(None, _) => Verification::NotChecked,
        Check::Client(Some(verifier), time) => {
            let now = time.current_time().unwrap_or_else(UnixTime::now);
            verifier.verification(shown, now)
        }
    };
    let leaf = shown.and_then(<[CertificateDer<'_>]>::first);
    let leaf = leaf.and_then(|leaf| Certificate::read(leaf));
    Ok(TlsInfo {
        version,
        cipher,
        verification,
        issuer: leaf.as_ref().map(Certificate::issuer),
        subject: leaf.as_ref().map(Certificate::subject),
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
    })
}

const fn tls_version(version: ProtocolVersion) -> Option<TlsVersion> {
    match version {
        ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
        ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
        _ => None,
    }
}
