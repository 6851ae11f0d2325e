//! What a handshake must be like.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use super::info::{CipherSuite, TlsVersion};

/// Our side of a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TlsParams {
    /// We connected.
    Client(Arc<ClientTls>),
    /// The peer connected.
    Server(Arc<ServerTls>),
}

/// A handshake with an exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClientTls {
    /// Name to ask for (SNI): the exchange's. Not sent when it is an address.
    pub server_name: Arc<str>,
    /// What to check of the certificate.
    pub verify: TlsVerify,
    /// With [`TlsVerify::Host`] and [`TlsVerify::Optional`]: the certificate must be for one of
    /// these (the exchange, the recipients' domain).
    pub accepted_names: Arc<[Arc<str>]>,
    /// File of the certificates to trust (`tls_ca`); `None`: those of the system.
    pub ca: Option<Arc<str>>,
    /// Our own certificate, shown if the exchange asks for one.
    pub identity: Option<Identity>,
    /// What to offer.
    pub offer: TlsOffer,
}

/// A handshake with a client of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServerTls {
    /// Our certificate.
    pub identity: Identity,
    /// Issuers of client certificates (`tls_client_ca`); `None`: clients are not asked for one.
    pub client_ca: Option<Arc<str>>,
    /// Refuse clients without a certificate that these issued (`tls_verify_mode = require`).
    pub client_required: bool,
    /// What to accept.
    pub offer: TlsOffer,
}

/// A certificate and its key, as files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Identity {
    /// The certificate and its chain (`tls_certificate`).
    pub certificate: Arc<str>,
    /// The private key (`tls_key`); `None`: in the certificate's file.
    pub key: Option<Arc<str>>,
}

/// Versions and suites, both in order of preference and never empty in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TlsOffer {
    /// Protocol versions (`tls_protocols`).
    pub versions: Arc<[TlsVersion]>,
    /// Cipher suites (`tls_ciphers`).
    pub suites: Arc<[CipherSuite]>,
}

/// `tls_verify`: what is checked of a receiver's certificate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TlsVerify {
    /// Nothing.
    #[default]
    No,
    /// That a trusted authority issued it, and its time.
    Ca,
    /// That, and its name.
    Host,
    /// All of it, but whatever is found has no consequence.
    Optional,
}
