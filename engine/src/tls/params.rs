//! What a handshake must be like.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ciphers::CipherList;
use super::info::{CipherSuite, TlsVersion};
use super::protocols::Protocols;

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

/// What a pair asks of TLS, whatever exchange it goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsDemands {
    /// `tls_verify`.
    pub verify: TlsVerify,
    /// `tls_ca`.
    pub ca: Option<Arc<str>>,
    /// `tls_certificate` and `tls_key`.
    pub identity: Option<Identity>,
    /// `tls_protocols` and `tls_ciphers`.
    pub offer: TlsOffer,
    /// The domain the certificate may be for besides the exchange; `None` when names do not
    /// matter.
    pub domain: Option<Arc<str>>,
}

impl TlsDemands {
    /// The handshake with one exchange.
    pub fn with(&self, exchange: &Arc<str>) -> ClientTls {
        let names = core::iter::once(exchange.clone());
        let domain = self.domain.iter().filter(|domain| *domain != exchange).cloned();
        ClientTls {
            server_name: exchange.clone(),
            verify: self.verify,
            accepted_names: names.chain(domain).collect(),
            ca: self.ca.clone(),
            identity: self.identity.clone(),
            offer: self.offer.clone(),
        }
    }
}

impl TlsOffer {
    /// What `tls_protocols` and `tls_ciphers` come to together; `None` for a list that is not set.
    pub fn new(protocols: &str, ciphers: Option<&str>) -> Self {
        let versions = Protocols::parse(protocols).versions;
        let mut suites = match ciphers {
            Some(list) => CipherList::parse(list).suites,
            None => CipherSuite::ALL.to_vec(),
        };
        suites.retain(|suite| versions.contains(&suite.version()));
        let versions = versions
            .into_iter()
            .filter(|version| suites.iter().any(|suite| suite.version() == *version))
            .collect();
        Self { versions, suites: suites.into() }
    }

    /// Whether nothing is left to offer.
    pub fn is_empty(&self) -> bool {
        self.suites.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn protocols_and_ciphers_bound_each_other() {
        for (protocols, ciphers, versions, suites) in [
            ("+ALL", None, &[TlsVersion::Tls13, TlsVersion::Tls12][..], 9),
            ("+ALL", Some("AES256"), &[TlsVersion::Tls13, TlsVersion::Tls12], 5),
            ("+TLSv1.2", Some("AES256"), &[TlsVersion::Tls12], 2),
            ("+TLSv1.3", Some("AES256"), &[TlsVersion::Tls13], 3),
            ("+ALL", Some("TLS_AES_128_GCM_SHA256"), &[TlsVersion::Tls13], 1),
            ("+TLSv1.2", Some("TLS_AES_128_GCM_SHA256"), &[], 0),
        ] {
            let offer = TlsOffer::new(protocols, ciphers);
            assert_eq!(&*offer.versions, versions, "{protocols} {ciphers:?}");
            assert_eq!(offer.suites.len(), suites, "{protocols} {ciphers:?}");
            assert_eq!(offer.is_empty(), suites == 0);
        }
    }

    #[test]
    fn a_handshake_names_the_exchange_and_accepts_the_domain() {
        let demands = TlsDemands {
            verify: TlsVerify::Host,
            ca: None,
            identity: None,
            offer: TlsOffer::new("+ALL", None),
            domain: Some("x.test".into()),
        };
        let names = |exchange: &str| demands.with(&exchange.into()).accepted_names.to_vec();
        assert_eq!(names("mx.x.test"), vec![Arc::from("mx.x.test"), Arc::from("x.test")]);
        assert_eq!(names("x.test"), vec![Arc::from("x.test")]);
        assert_eq!(&*demands.with(&"mx.x.test".into()).server_name, "mx.x.test");
    }
}
