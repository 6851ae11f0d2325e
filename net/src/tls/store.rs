//! Where certificates and keys come from.

use std::fmt;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use traject_engine::tls::params::Identity;

use super::error::with_causes;

/// Certificates and keys by the names that a configuration has for them. The words of an error
/// say which file is meant and what is wrong with it.
pub trait CertificateStore: fmt::Debug + Send + Sync + 'static {
    /// The certificates to trust; `None` asks for the system's.
    fn authorities(&self, file: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String>;

    /// A certificate with its chain, and its key.
    fn identity(
        &self,
        identity: &Identity,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String>;
}

/// Files in PEM form, and what the system trusts.
#[derive(Clone, Copy, Debug, Default)]
pub struct PemFiles;

impl CertificateStore for PemFiles {
    fn authorities(&self, file: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(path) = file else {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let why = found.errors.first().map(|error| format!(": {error}"));
                return Err(format!("the system trusts nobody{}", why.unwrap_or_default()));
            }
            return Ok(found.certs);
        };
        certificates(path)
    }

    fn identity(
        &self,
        identity: &Identity,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain = certificates(&identity.certificate)?;
        let path = identity.key.as_ref().unwrap_or(&identity.certificate);
        let key = PrivateKeyDer::from_pem_slice(&read(path)?)
            .map_err(|error| format!("{path} has no private key: {}", with_causes(&error)))?;
        Ok((chain, key))
    }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(format!("{path} has no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{path} is not in PEM form: {}", with_causes(&error))),
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(Path::new(path)).map_err(|error| format!("cannot read {path}: {error}"))
}
