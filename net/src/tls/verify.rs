//! What is checked of a peer's certificate.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use traject_engine::tls::info::{CertificateFault, Verification};
use traject_engine::tls::params::TlsVerify;

use super::error::{certificate_fault, self_signed};
use super::x509::Certificate;

/// Certificates to trust.
#[derive(Debug)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    /// The same, sorted, as they came.
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Trusts these. Those that are no certificates are left out; an error when all are.
    pub(super) fn new(mut certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            return Err("no certificate of an authority in it".into());
        }
        certificates.sort_by(|a, b| a.as_ref().cmp(b));
        Ok(Self { roots: Arc::new(roots), certificates })
    }

    /// The certificates, as rustls wants them.
    pub(super) const fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// A chain ends here, and everything in it is valid now.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let read = Certificate::read(end_entity);
        if let Some(read) = &read
            && self.certificates.binary_search_by(|known| known.as_ref().cmp(end_entity)).is_ok()
        {
            return Ok(check_time(read.validity(), now)?);
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms.all,
        );
        checked.map_err(|error| match error {
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            ) if read.as_ref().is_some_and(Certificate::is_self_issued) => {
                Error::InvalidCertificate(self_signed())
            }
            other => other,
        })
    }
}

fn check_time(validity: (UnixTime, UnixTime), now: UnixTime) -> Result<(), CertificateError> {
    let (not_before, not_after) = validity;
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}

/// Checks the certificate of an exchange.
#[derive(Debug)]
pub(crate) struct ExchangeVerifier {
    verify: TlsVerify,
    names: Vec<ServerName<'static>>,
    /// Not needed when nothing is checked.
    trust: Option<Arc<Trust>>,
    algorithms: WebPkiSupportedAlgorithms,
    /// With [`TlsVerify::Optional`]: what was found first.
    found: Mutex<Option<CertificateFault>>,
}

impl ExchangeVerifier {
    pub(super) fn new(
        verify: TlsVerify,
        names: Vec<ServerName<'static>>,
        trust: Option<Arc<Trust>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { verify, names, trust, algorithms, found: Mutex::new(None) }
    }

    /// What became of the check, after a handshake that succeeded.
    pub(super) fn verification(&self) -> Verification {
        match self.verify {
            TlsVerify::No => Verification::NotChecked,
            TlsVerify::Ca | TlsVerify::Host => Verification::Verified,
            TlsVerify::Optional => {
                let found = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
                found.map_or(Verification::Verified, Verification::Failed)
            }
        }
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if let Some(trust) = &self.trust {
            trust.check(end_entity, intermediates, now, &self.algorithms)?;
        }
        if self.verify == TlsVerify::Ca {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let fits = |name| verify_server_name(&parsed, name).is_ok();
        if self.names.iter().any(fits) {
            Ok(())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    /// Lets a failure pass where it is to have no consequence, and remembers the first.
    fn judge<T>(&self, result: Result<T, Error>, passed: T) -> Result<T, Error> {
        match (self.verify, result) {
            (TlsVerify::No, _) => Ok(passed),
            (TlsVerify::Optional, Err(error)) => {
                let fault = match &error {
                    Error::InvalidCertificate(error) => certificate_fault(error),
                    _ => CertificateFault::Invalid,
                };
                self.found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
                Ok(passed)
            }
            (TlsVerify::Optional | TlsVerify::Ca | TlsVerify::Host, result) => result,
        }
    }
}

impl ServerCertVerifier for ExchangeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify == TlsVerify::No {
            return Ok(ServerCertVerified::assertion());
        }
        let checked = self.check(end_entity, intermediates, now);
        self.judge(
            checked.map(|()| ServerCertVerified::assertion()),
            ServerCertVerified::assertion(),
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = verify_tls12_signature(message, cert, dss, &self.algorithms);
        self.judge(checked, HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = verify_tls13_signature(message, cert, dss, &self.algorithms);
        self.judge(checked, HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks the certificates of clients. One that is not required may be anything: what it is worth
/// is asked again after the handshake.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    required: bool,
}

impl ClientVerifier {
    pub(super) const fn new(inner: Arc<dyn ClientCertVerifier>, required: bool) -> Self {
        Self { inner, required }
    }

    /// What the certificates that a client showed are worth.
    pub(super) fn verification(
        &self,
        shown: Option<&[CertificateDer<'_>]>,
        now: UnixTime,
    ) -> Verification {
        let Some((end_entity, intermediates)) = shown.and_then(<[_]>::split_first) else {
            return Verification::Failed(CertificateFault::Missing);
        };
        match self.inner.verify_client_cert(end_entity, intermediates, now) {
            Ok(_) => Verification::Verified,
            Err(Error::InvalidCertificate(error)) => {
                Verification::Failed(certificate_fault(&error))
            }
            Err(_) => Verification::Failed(CertificateFault::Invalid),
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.required {
            return self.inner.verify_client_cert(end_entity, intermediates, now);
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
