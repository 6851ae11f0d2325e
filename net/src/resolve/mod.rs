//! The real DNS, through a stub resolver that asks recursive name servers.

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as HickoryError, NetError as HickoryNetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::Semaphore;
use traject_engine::dns::{DnsAnswer, DnsData, DnsError, DnsErrorKind, MxRecord, Question};

use crate::world::Resolver;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// The servers of `/etc/resolv.conf`; the one of this machine when it names none.
    System,
    /// The servers of a file in the form of resolv.conf(5).
    File(PathBuf),
    /// This one.
    Server(SocketAddr),
}

impl Upstream {
    /// What the option `resolv_conf` says: nothing, `address:port`, an address, or a path.
    pub fn from_option(resolv_conf: Option<&str>) -> Self {
        let Some(text) = resolv_conf else { return Self::System };
        if let Ok(server) = text.parse() {
            return Self::Server(server);
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Self::Server(SocketAddr::new(address, DNS_PORT)),
            Err(_) => Self::File(text.into()),
        }
    }
}

/// Asks the DNS. Keeps no answers: the engine does. Search lists and `/etc/hosts` are of no
/// concern to mail.
#[derive(Clone, Debug)]
pub struct DnsResolver {
    resolver: TokioResolver,
    /// One permit for each question under way.
    permits: Arc<Semaphore>,
}

impl DnsResolver {
    /// A resolver that asks `upstream`. Fails when a file that was asked for cannot be read or
    /// understood. To be used inside a tokio runtime.
    pub fn new(upstream: &Upstream) -> io::Result<Self> {
        let (config, mut options) = match upstream {
            Upstream::System => parse(&fs::read(SYSTEM_FILE).unwrap_or_default())?,
            Upstream::File(path) => {
                let text = fs::read(path).map_err(|error| in_file(path, &error))?;
                parse(&text).map_err(|error| in_file(path, &error))?
            }
            Upstream::Server(server) => (only(*server), ResolverOpts::default()),
        };
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = true;
        options.preserve_intermediates = true;
        // Each question is two queries at most.
        options.max_active_requests = 2 * QUESTIONS_MAX;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(io::Error::other)?;
        Ok(Self { resolver, permits: Arc::new(Semaphore::new(QUESTIONS_MAX)) })
    }

    async fn mx(&self, name: Name) -> Result<DnsAnswer, DnsError> {
        let lookup = self.resolver.lookup(name, RecordType::MX).await.map_err(|e| failed(&e))?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::MX(mx) => {
                let (preference, exchange) = (mx.preference, plain_name(&mx.exchange));
                Some(MxRecord { preference, exchange })
            }
            _ => None,
        });
        answer(&lookup, DnsData::Mx(records.collect()))
    }

    async fn addresses(&self, name: Name) -> Result<DnsAnswer, DnsError> {
        let (v4, v6) = tokio::join!(
            self.resolver.lookup(name.clone(), RecordType::A),
            self.resolver.lookup(name, RecordType::AAAA),
        );
        let addresses = |lookup: Result<Lookup, HickoryNetError>| {
            let lookup = lookup.map_err(|error| failed(&error))?;
            let found = lookup.answers().iter().filter_map(|record| match &record.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                _ => None,
            });
            answer(&lookup, DnsData::Addresses(found.collect()))
        };
        both_families(addresses(v4), addresses(v6))
    }
}

impl Resolver for DnsResolver {
    async fn resolve(&self, question: Question) -> Result<DnsAnswer, DnsError> {
        let Ok(mut name) = Name::from_ascii(question.name()) else {
            let text = format!("{:?} cannot be the name of anything", question.name());
            return Err(error(DnsErrorKind::NxDomain, text));
        };
        name.set_fqdn(true);
        // Unwrap is OK because the semaphore is never closed.
        let _permit = self.permits.acquire().await.unwrap();
        let asking = async {
            match question {
                Question::Mx(_) => self.mx(name).await,
                Question::Addresses(_) => self.addresses(name).await,
            }
        };
        match tokio::time::timeout(QUESTION_TIME_MAX, asking).await {
            Ok(result) => result,
            Err(_) => Err(error(DnsErrorKind::Timeout, "no answer in time")),
        }
    }
}

/// Reads the form of resolv.conf(5), which says that without a server the one of this machine is
/// meant.
fn parse(text: &[u8]) -> io::Result<(ResolverConfig, ResolverOpts)> {
    let names_a_server = text
        .split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii_start().starts_with(b"nameserver"));
    let text = if names_a_server { text } else { &[text, b"\nnameserver 127.0.0.1\n"].concat() };
    parse_resolv_conf(text).map_err(io::Error::other)
}

fn in_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

/// Lower case, without the trailing dot; the root, which a null MX names, is the empty string.
fn plain_name(name: &Name) -> Arc<str> {
    let mut text = name.to_lowercase().to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text.into()
}

/// What was found, to be kept no longer than the shortest-lived record that led to it, aliases
/// included.
fn answer(lookup: &Lookup, data: DnsData) -> Result<DnsAnswer, DnsError> {
    let empty = match &data {
        DnsData::Mx(records) => records.is_empty(),
        DnsData::Addresses(addresses) => addresses.is_empty(),
    };
    if empty {
        return Err(error(DnsErrorKind::NoData, format!("nothing found for {}", lookup.query())));
    }
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok(DnsAnswer { data, ttl: Duration::from_secs(ttl.into()) })
}

/// A failure that is not to be remembered.
fn error(kind: DnsErrorKind, text: impl Into<Box<str>>) -> DnsError {
    DnsError { kind, ttl: Duration::ZERO, text: text.into() }
}

fn failed(failure: &HickoryNetError) -> DnsError {
    let kind = match failure {
        HickoryNetError::Dns(HickoryError::NoRecordsFound(none)) => {
            let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
            let (kind, text) = match none.response_code {
                ResponseCode::NXDomain => (DnsErrorKind::NxDomain, "no such name"),
                ResponseCode::NoError => (DnsErrorKind::NoData, "no such record"),
                _ => (DnsErrorKind::ServFail, "error response"),
            };
            return DnsError { kind, ttl, text: format!("{text}: {}", none.query).into() };
        }
        // Nobody there to ask is as good as nobody answering.
        HickoryNetError::Timeout
        | HickoryNetError::NoConnections
        | HickoryNetError::Busy
        | HickoryNetError::Io(_) => DnsErrorKind::Timeout,
        _ => DnsErrorKind::ServFail,
    };
    error(kind, failure.to_string())
}

/// One answer made of the IPv4 and the IPv6 half. What one half found is used whatever became of
/// the other; a host is missing for certain only when both halves say so.
fn both_families(
    v4: Result<DnsAnswer, DnsError>,
    v6: Result<DnsAnswer, DnsError>,
) -> Result<DnsAnswer, DnsError> {
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => {
            let ttl = v4.ttl.min(v6.ttl);
            let addresses = [v4.data, v6.data].into_iter().flat_map(|data| match data {
                DnsData::Addresses(addresses) => addresses,
                DnsData::Mx(_) => Vec::new(),
            });
            Ok(DnsAnswer { data: DnsData::Addresses(addresses.collect()), ttl })
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(v4), Err(v6)) => {
            let ttl = v4.ttl.min(v6.ttl);
            let vaguer = if certainty(v4.kind) <= certainty(v6.kind) { v4 } else { v6 };
            Err(DnsError { ttl, ..vaguer })
        }
    }
}

/// How much a failure says about the name; the vaguer half decides.
const fn certainty(kind: DnsErrorKind) -> u8 {
    match kind {
        DnsErrorKind::Timeout => 0,
        DnsErrorKind::ServFail => 1,
        DnsErrorKind::NoData => 2,
        DnsErrorKind::NxDomain => 3,
    }
}

const SYSTEM_FILE: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;

/// Questions under way; more wait.
const QUESTIONS_MAX: usize = 256;

/// Longest wait for the answer to one question, whatever resolv.conf says.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(60);
