//! Route: connections go to exchanges of the domain, a worse preference only while every better
//! exchange is set aside, and never to a domain with a null MX.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::dns::Question;
use traject_engine::record::{Event, Pair, Record};

use super::{Book, Finding, ensure};

/// One address a domain's mail may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// MX preference.
    pub preference: u16,
    /// The exchange.
    pub exchange: Arc<str>,
    /// Its address.
    pub address: IpAddr,
}

/// Where mail may go, and which addresses are set aside.
#[derive(Debug, Default)]
pub struct Routes {
    domains: BTreeMap<Arc<str>, Vec<Target>>,
    /// (binding, address) → until when it is set aside.
    aside: BTreeMap<(Arc<str>, IpAddr), Timestamp>,
    /// Exchanges whose addresses could not be looked up at some time.
    unresolved: BTreeSet<Arc<str>>,
}

impl Routes {
    /// The targets of each domain, as the DNS tells them.
    pub fn new(domains: BTreeMap<Arc<str>, Vec<Target>>) -> Self {
        Self { domains, aside: BTreeMap::new(), unresolved: BTreeSet::new() }
    }

    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::HostSetAside { binding, address, until, .. } => {
                self.aside.insert((Arc::clone(binding), *address), *until);
                Ok(())
            }
            Event::DnsFailure { question: Question::Addresses(host), .. } => {
                self.unresolved.insert(Arc::clone(host));
                Ok(())
            }
            Event::ConnectionOpened { pair, remote, .. }
            | Event::ConnectionFailed { pair, remote, .. } => {
                let pair_id = book.pair_id(pair);
                let options = book.options(pair_id);
                if options.gateway.is_some() {
                    return Ok(());
                }
                let took = options.connect_timeout;
                self.judge_address(record.at, pair, remote.ip(), took, book.config())
            }
            _ => Ok(()),
        }
    }

    /// A connection to `address` stands or failed at `at`; it began up to `took` earlier.
    fn judge_address(
        &self,
        at: Timestamp,
        pair: &Pair,
        address: IpAddr,
        took: Duration,
        config: &Config,
    ) -> Result<(), Finding> {
        let targets = self.domains.get(&pair.domain).map_or(&[][..], |targets| targets);
        let chosen = targets.iter().find(|target| target.address == address);
        let chosen = chosen.ok_or_else(|| Finding {
            invariant: LAW,
            details: format!("{address} is no exchange of {}", pair.domain),
        })?;
        let better = targets.iter().filter(|other| {
            other.preference < chosen.preference
                && !self.unresolved.contains(&other.exchange)
                && may_be_used(other, config)
                // An exchange at a cap of its own is passed over.
                && config.host_cap(&pair.binding, &other.exchange).is_none()
        });
        for other in better {
            let until = self.aside.get(&(Arc::clone(&pair.binding), other.address));
            ensure(LAW, until.is_some_and(|until| *until + took >= at), || {
                format!(
                    "{address} (preference {}) was chosen while {} ({}) was not set aside",
                    chosen.preference, other.address, other.preference
                )
            })?;
        }
        Ok(())
    }
}

/// Whether the configuration lets us connect to it at all.
fn may_be_used(target: &Target, config: &Config) -> bool {
    let server = config.server_options();
    (target.address.is_ipv4() || server.use_ipv6)
        && !server.skip_hosts.iter().any(|net| net.contains(target.address))
}

const LAW: &str = "route";
