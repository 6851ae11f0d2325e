//! TLS on a connection: rustls, with what the engine wants of a handshake as its configuration.
//!
//! Both worlds make their handshakes here. They differ in where certificates come from
//! ([`CertificateStore`]), in the clock that judges them, and in their source of randomness.

mod error;
mod handshake;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod verify;
mod x509;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use traject_engine::tls::info::{TlsError, TlsVersion};
use traject_engine::tls::params::{ClientTls, Identity, ServerTls, TlsOffer, TlsParams, TlsVerify};

pub(crate) use self::handshake::{Handshaking, Starter};
pub use self::store::{CertificateStore, PemFiles};
pub use self::stream::MaybeTls;

use self::error::with_causes;
use self::handshake::Check;
use self::verify::{ClientVerifier, ExchangeVerifier, Trust};

/// What handshakes are made with. Cheap to clone; clones share what they have read.
#[derive(Clone)]
pub struct TlsConfigs(Arc<Inner>);

/// What differs between the worlds.
#[derive(Debug)]
pub struct TlsSetup {
    /// The cryptography, with every suite that may be offered.
    pub provider: CryptoProvider,
    /// The clock that certificates are judged by.
    pub time: Arc<dyn TimeProvider>,
    /// Where certificates and keys come from.
    pub store: Box<dyn CertificateStore>,
    /// Whether sessions may be taken up again (RFC 8446 section 2.2).
    pub resumption: bool,
}

struct Inner {
    setup: TlsSetup,
    sessions: Arc<dyn ClientSessionStore>,
    cache: Mutex<Cache>,
}

/// What was made of files and parameters. Sessions are taken up only by the configuration that
/// began them, so keeping these is more than thrift.
#[derive(Default)]
struct Cache {
    providers: BTreeMap<TlsOffer, Arc<CryptoProvider>>,
    authorities: BTreeMap<Option<Arc<str>>, Arc<Trust>>,
    identities: BTreeMap<Identity, Arc<CertifiedKey>>,
    clients: BTreeMap<ClientTls, ClientSide>,
    servers: BTreeMap<ServerTls, ServerSide>,
}

#[derive(Clone)]
struct ClientSide(Arc<ClientConfig>, Arc<ExchangeVerifier>);

#[derive(Clone)]
struct ServerSide(Arc<ServerConfig>, Option<Arc<ClientVerifier>>);

impl TlsConfigs {
    /// What handshakes are made with in a world.
    pub fn new(setup: TlsSetup) -> Self {
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX));
        Self(Arc::new(Inner { setup, sessions, cache: Mutex::default() }))
    }

    /// The daemon's: files in PEM form, the system's clock and randomness.
    pub fn system() -> Self {
        Self::new(TlsSetup {
            provider: rustls::crypto::ring::default_provider(),
            time: Arc::new(DefaultTimeProvider),
            store: Box::new(PemFiles),
            resumption: true,
        })
    }

    /// Reads everything that these need, anew, in place of what was read before. Handshakes under
    /// way and connections that stand go on as they are.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why; what was read before stays then.
    pub fn load(&self, params: &[TlsParams]) -> Result<(), TlsError> {
        let mut fresh = Cache::default();
        for params in params {
            self.0.starter(&mut fresh, params)?;
        }
        *self.0.cache() = fresh;
        Ok(())
    }

    /// How to begin a handshake.
    pub(crate) fn starter(&self, params: &TlsParams) -> Result<Starter, TlsError> {
        self.0.starter(&mut self.0.cache(), params)
    }
}

impl Inner {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn starter(&self, cache: &mut Cache, params: &TlsParams) -> Result<Starter, TlsError> {
        let local = |words: String| TlsError::Local(words.into());
        match params {
            TlsParams::Client(params) => {
                let ClientSide(config, verifier) = self.client(cache, params).map_err(local)?;
                let name = server_name(&params.server_name);
                Ok(Starter::Client(config, name, Check::Exchange(verifier)))
            }
            TlsParams::Server(params) => {
                let ServerSide(config, verifier) = self.server(cache, params).map_err(local)?;
                let time = Arc::clone(&self.setup.time);
                Ok(Starter::Server(config, Check::Client(verifier, time)))
            }
        }
    }

    fn client(&self, cache: &mut Cache, params: &ClientTls) -> Result<ClientSide, String> {
        // What is found is kept in the verifier: it cannot be shared.
        if params.verify == TlsVerify::Optional {
            return self.new_client(cache, params);
        }
        let mut key = params.clone();
        key.server_name = "".into();
        if params.verify != TlsVerify::Host {
            key.accepted_names = Arc::default();
        }
        if let Some(known) = cache.clients.get(&key) {
            return Ok(known.clone());
        }
        let made = self.new_client(cache, params)?;
        if cache.clients.len() >= CLIENTS_MAX {
            cache.clients.clear();
        }
        cache.clients.insert(key, made.clone());
        Ok(made)
    }

    fn new_client(&self, cache: &mut Cache, params: &ClientTls) -> Result<ClientSide, String> {
        let provider = self.provider(cache, &params.offer);
        let trust = match params.verify {
            TlsVerify::No => None,
            TlsVerify::Ca | TlsVerify::Host | TlsVerify::Optional => {
                Some(self.trust(cache, params.ca.as_ref())?)
            }
        };
        let names = params.accepted_names.iter();
        let verifier = Arc::new(ExchangeVerifier::new(
            params.verify,
            names.filter_map(|name| ServerName::try_from(name.to_string()).ok()).collect(),
            trust,
            provider.signature_verification_algorithms,
        ));
        let time = Arc::clone(&self.setup.time);
        let builder = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&versions(&params.offer))
            .map_err(|error| with_causes(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<ExchangeVerifier>::clone(&verifier));
        let mut config = match &params.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let identity = SingleCertAndKey::from(self.identity(cache, identity)?);
                builder.with_client_cert_resolver(Arc::new(identity))
            }
        };
        config.resumption = if self.setup.resumption && params.verify != TlsVerify::Optional {
            Resumption::store(Arc::clone(&self.sessions))
        } else {
            Resumption::disabled()
        };
        Ok(ClientSide(Arc::new(config), verifier))
    }

    fn server(&self, cache: &mut Cache, params: &ServerTls) -> Result<ServerSide, String> {
        if let Some(known) = cache.servers.get(params) {
            return Ok(known.clone());
        }
        let made = self.new_server(cache, params)?;
        cache.servers.insert(params.clone(), made.clone());
        Ok(made)
    }

    fn new_server(&self, cache: &mut Cache, params: &ServerTls) -> Result<ServerSide, String> {
        let provider = self.provider(cache, &params.offer);
        let identity = SingleCertAndKey::from(self.identity(cache, &params.identity)?);
        let verifier = match &params.client_ca {
            None => None,
            Some(ca) => {
                let roots = Arc::clone(self.trust(cache, Some(ca))?.roots());
                let inner =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .build()
                        .map_err(|error| format!("{ca}: {}", with_causes(&error)))?;
                Some(Arc::new(ClientVerifier::new(inner, params.client_required)))
            }
        };
        let time = Arc::clone(&self.setup.time);
        let builder = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&versions(&params.offer))
            .map_err(|error| with_causes(&error))?;
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => {
                builder.with_client_cert_verifier(Arc::<ClientVerifier>::clone(verifier))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(identity));
        if !self.setup.resumption {
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(ServerSide(Arc::new(config), verifier))
    }

    fn provider(&self, cache: &mut Cache, offer: &TlsOffer) -> Arc<CryptoProvider> {
        let made = cache.providers.entry(offer.clone()).or_insert_with(|| {
            let mut provider = self.setup.provider.clone();
            let all = &self.setup.provider.cipher_suites;
            let suite = |code: u16| all.iter().find(|suite| u16::from(suite.suite()) == code);
            let offered = offer.suites.iter().filter_map(|wanted| suite(wanted.code()));
            provider.cipher_suites = offered.copied().collect();
            Arc::new(provider)
        });
        Arc::clone(made)
    }

    fn trust(&self, cache: &mut Cache, file: Option<&Arc<str>>) -> Result<Arc<Trust>, String> {
        let key = file.cloned();
        if let Some(known) = cache.authorities.get(&key) {
            return Ok(Arc::clone(known));
        }
        let certificates = self.setup.store.authorities(file.map(|file| &**file))?;
        let source = file.map_or("the system", |file| &**file);
        let trust = Trust::new(certificates).map_err(|error| format!("{source}: {error}"))?;
        let trust = Arc::new(trust);
        cache.authorities.insert(key, Arc::clone(&trust));
        Ok(trust)
    }

    fn identity(
        &self,
        cache: &mut Cache,
        identity: &Identity,
    ) -> Result<Arc<CertifiedKey>, String> {
        if let Some(known) = cache.identities.get(identity) {
            return Ok(Arc::clone(known));
        }
        let (chain, key) = self.setup.store.identity(identity)?;
        let certified = CertifiedKey::from_der(chain, key, &self.setup.provider);
        let certified = certified.map_err(|error| {
            let path = identity.key.as_ref().unwrap_or(&identity.certificate);
            format!("{} and {path} do not make an identity: {error}", identity.certificate)
        })?;
        let certified = Arc::new(certified);
        cache.identities.insert(identity.clone(), Arc::clone(&certified));
        Ok(certified)
    }
}

/// A name for SNI. What is no name is not sent: addresses never are (RFC 6066 section 3).
fn server_name(name: &str) -> ServerName<'static> {
    let unnamed = || ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
    ServerName::try_from(name.to_owned()).unwrap_or_else(|_| unnamed())
}

fn versions(offer: &TlsOffer) -> Vec<&'static SupportedProtocolVersion> {
    let version = |version: &TlsVersion| match version {
        TlsVersion::Tls12 => &rustls::version::TLS12,
        TlsVersion::Tls13 => &rustls::version::TLS13,
    };
    offer.versions.iter().map(version).collect()
}

impl fmt::Debug for TlsConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfigs").field("setup", &self.0.setup).finish_non_exhaustive()
    }
}

/// Peers whose last session is remembered.
const SESSIONS_MAX: usize = 4096;

/// Client configurations kept. Each exchange whose name is checked has its own.
const CLIENTS_MAX: usize = 4096;
