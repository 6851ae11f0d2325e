//! What clients of our listeners shake hands with.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use traject_net::world::Clock;

use super::{CertificateSpec, Pki, provider, time_of};

/// A client that has a certificate and takes any.
///
/// # Errors
///
/// Never with the provider of this world, whose suites and versions go together.
pub fn client_config(pki: &Pki, clock: &impl Clock) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(provider());
    let ours = pki.issue(CLIENT, &CertificateSpec::default());
    let verifier = Arc::new(TakesAny(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_details(provider, time_of(clock))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_client_auth_cert(ours.chain, ours.key)?))
}

/// Whom a client's certificate is for.
const CLIENT: &str = "client.traject.test";

/// Looks at signatures, not at who signed what.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
