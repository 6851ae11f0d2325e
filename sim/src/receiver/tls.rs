//! TLS of a simulated receiver: what it offers, and how it shakes hands.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use traject_engine::tls::info::{CipherSuite, TlsVersion};

use super::spec::Act;
use crate::tls::{CertificateSpec, Credentials, Pki, provider};

/// What a receiver does about TLS within a time. Without one it knows nothing of TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsPosture {
    /// Only within this time, counted from the start of the scenario.
    pub window: Range<Duration>,
    /// What its EHLO reply says.
    pub offer: TlsOffering,
    /// What it says to STARTTLS.
    pub answer: StartTlsAnswer,
    /// Lines sent in clear right behind its 220, without the last CRLF.
    pub inject: Option<Arc<str>>,
    /// How it shakes hands.
    pub handshake: HandshakeAct,
    /// The versions it speaks.
    pub versions: Vec<TlsVersion>,
    /// The suites it speaks.
    pub suites: Vec<CipherSuite>,
    /// What it shows.
    pub certificate: CertificateSpec,
    /// It wants a certificate that its own authority issued.
    pub wants_certificate: bool,
}

impl Default for TlsPosture {
    /// Nothing is wrong, at any time.
    fn default() -> Self {
        Self {
            window: Duration::ZERO..Duration::MAX,
            offer: TlsOffering::Yes,
            answer: StartTlsAnswer::Go,
            inject: None,
            handshake: HandshakeAct::Ok,
            versions: vec![TlsVersion::Tls13, TlsVersion::Tls12],
            suites: CipherSuite::ALL.to_vec(),
            certificate: CertificateSpec::default(),
            wants_certificate: false,
        }
    }
}

/// What an EHLO reply says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsOffering {
    /// STARTTLS.
    Yes,
    /// Nothing.
    No,
    /// A box on the way has made something else of the word.
    Stripped,
}

impl TlsOffering {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 3] =
        [("yes", Self::Yes), ("no", Self::No), ("stripped", Self::Stripped)];
}

/// What a receiver says to STARTTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartTlsAnswer {
    /// 220.
    Go,
    /// Something else, or nothing.
    Act(Act),
    /// A line that is no reply.
    Garbage,
}

/// How a receiver shakes hands, once it has our client's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeAct {
    /// As it should.
    Ok,
    /// It says that it will not, and closes.
    Alert,
    /// It closes without a word.
    Cut,
    /// It never answers.
    Stall,
    /// It says something that is not TLS.
    Garbage,
}

impl HandshakeAct {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("ok", Self::Ok),
        ("alert", Self::Alert),
        ("cut", Self::Cut),
        ("stall", Self::Stall),
        ("garbage", Self::Garbage),
    ];

    /// What it sends instead of a handshake.
    pub(super) const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Alert => FATAL_HANDSHAKE_FAILURE,
            Self::Garbage => b"500 5.5.1 What is this?\r\n",
            Self::Ok | Self::Cut | Self::Stall => b"",
        }
    }
}

/// An alert record (RFC 8446 section 6): handshake_failure.
const FATAL_HANDSHAKE_FAILURE: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";

/// The first byte of a handshake.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

/// What an exchange shakes hands with. An error says why its posture cannot be.
pub(super) fn server_config(
    pki: &Pki,
    host: &str,
    posture: &TlsPosture,
    time: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let mut provider = provider();
    let speaks = |code| posture.suites.iter().any(|suite| suite.code() == code);
    provider.cipher_suites.retain(|suite| speaks(u16::from(suite.suite())));
    let provider = Arc::new(provider);
    let versions: Vec<_> = posture.versions.iter().map(|version| protocol(*version)).collect();
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), time)
        .with_protocol_versions(&versions)?;
    let builder = if posture.wants_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(pki.root().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let Credentials { chain, key } = pki.issue(host, &posture.certificate);
    let mut config = builder.with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Whether these suites can be used with one of these versions.
pub fn is_consistent(versions: &[TlsVersion], suites: &[CipherSuite]) -> bool {
    versions.iter().any(|version| suites.iter().any(|suite| suite.version() == *version))
}

const fn protocol(version: TlsVersion) -> &'static rustls::SupportedProtocolVersion {
    match version {
        TlsVersion::Tls12 => &rustls::version::TLS12,
        TlsVersion::Tls13 => &rustls::version::TLS13,
    }
}

/// A stream some of whose bytes were read already.
#[derive(Debug)]
pub(super) struct Unread<S> {
    bytes: Vec<u8>,
    stream: S,
}

impl<S> Unread<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { bytes: Vec::new(), stream }
    }

    /// Has these read again.
    pub(super) fn unread(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let some = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..some]);
        self.bytes.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
