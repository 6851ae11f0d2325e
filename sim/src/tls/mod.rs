//! TLS in the simulated world: real handshakes with certificates, keys and random numbers that
//! are drawn from the seed, judged by the virtual clock.

mod client;
mod entropy;
mod pki;
mod provider;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use traject_engine::tls::params::Identity;
use traject_net::tls::{CertificateStore, TlsConfigs, TlsSetup};
use traject_net::world::Clock;

pub use self::client::client_config;
pub use self::entropy::Entropy;
pub use self::pki::{CertificateKind, CertificateSpec, Credentials, Pki};
pub use self::provider::provider;

/// What our side makes its handshakes with. Every `tls_ca` and the system's roots stand for the
/// one root that the world's good certificates come from, and every certificate of ours for one
/// that it issued. Sessions are never taken up again.
pub fn configs(pki: Arc<Pki>, clock: &impl Clock) -> TlsConfigs {
    TlsConfigs::new(TlsSetup {
        provider: provider(),
        time: time_of(clock),
        store: Box::new(PkiStore(pki)),
        resumption: false,
    })
}

/// The virtual time, as rustls asks for it.
pub fn time_of(clock: &impl Clock) -> Arc<dyn TimeProvider> {
    Arc::new(VirtualTime(clock.clone()))
}

struct VirtualTime<C>(C);

impl<C: Clock> TimeProvider for VirtualTime<C> {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = Duration::from_secs(self.0.now().as_secs());
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

impl<C> fmt::Debug for VirtualTime<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualTime")
    }
}

#[derive(Debug)]
struct PkiStore(Arc<Pki>);

impl CertificateStore for PkiStore {
    fn authorities(&self, _file: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
        Ok(vec![self.0.root().clone()])
    }

    fn identity(
        &self,
        identity: &Identity,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let ours = self.0.issue(&identity.certificate, &CertificateSpec::default());
        Ok((ours.chain, ours.key))
    }
}
