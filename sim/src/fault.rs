//! Faults: what breaks, when, for how long.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_net::world::Clock;

use crate::dns::{DnsFailure, Outage};
use crate::network::{Fault, Links, Path};
use crate::receiver::spec::ReceiverSpec;
use crate::receiver::tls::{TlsOffering, TlsPosture};

/// One `[[fault]]` of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// When it begins, from the start of the scenario.
    pub at: Duration,
    /// How long it lasts; zero is one instant.
    pub length: Duration,
    /// What breaks.
    pub what: FaultKind,
}

/// What breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Hosts cannot be reached; connections they had are reset.
    HostDown {
        /// What a connection attempt meets.
        how: Down,
        /// The hosts' addresses.
        addresses: Vec<IpAddr>,
    },
    /// Connections are reset: those open at the beginning, and new ones while it lasts.
    Reset {
        /// The hosts' addresses.
        addresses: Vec<IpAddr>,
    },
    /// Questions about names fail.
    Dns {
        /// How.
        failure: DnsFailure,
        /// The names, in lower case.
        names: Vec<Arc<str>>,
    },
    /// A receiver offers no STARTTLS.
    StartTlsOff {
        /// Its name.
        receiver: Arc<str>,
    },
}

/// How a host is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The machine is up and refuses: connection attempts fail at once.
    Refused,
    /// Packets vanish: connection attempts time out, open connections hang.
    BlackHole,
}

impl Down {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 2] =
        [("refused", Self::Refused), ("blackhole", Self::BlackHole)];
}

/// The names that fail for a while, for [`Zones`](crate::dns::Zones).
pub fn outages(start: Timestamp, faults: &[FaultSpec]) -> Vec<Outage> {
    let outage = |fault: &FaultSpec| match &fault.what {
        FaultKind::Dns { failure, names } => {
            let begin = start + fault.at;
            let during = begin..begin + fault.length;
            Some(Outage { during, failure: *failure, names: names.clone() })
        }
        FaultKind::HostDown { .. } | FaultKind::Reset { .. } | FaultKind::StartTlsOff { .. } => {
            None
        }
    };
    faults.iter().filter_map(outage).collect()
}

/// What faults make of a receiver's TLS.
pub fn tls_postures(faults: &[FaultSpec], receiver: &ReceiverSpec) -> Vec<TlsPosture> {
    let off = |fault: &FaultSpec| match &fault.what {
        FaultKind::StartTlsOff { receiver: name } if *name == receiver.name => Some(TlsPosture {
            window: fault.at..fault.at + fault.length,
            offer: TlsOffering::No,
            ..TlsPosture::default()
        }),
        _ => None,
    };
    faults.iter().filter_map(off).chain(receiver.tls.iter().cloned()).collect()
}

/// Breaks links when their time comes, and mends them.
pub async fn play<C: Clock>(start: Timestamp, fault: FaultSpec, clock: C, links: Links) {
    let (addresses, lasting) = match fault.what {
        FaultKind::HostDown { how: Down::Refused, addresses } => (addresses, Some(Fault::Refuse)),
        FaultKind::HostDown { how: Down::BlackHole, addresses } => {
            (addresses, Some(Fault::BlackHole))
        }
        FaultKind::Reset { addresses } => {
            (addresses, (!fault.length.is_zero()).then_some(Fault::Reset))
        }
        FaultKind::Dns { .. } | FaultKind::StartTlsOff { .. } => return,
    };
    let begin = start + fault.at;
    clock.sleep_until(begin).await;
    let mut imposed = Vec::new();
    for address in addresses {
        let path = Path::to(address);
        // In a black hole open connections hang; otherwise the host says that it is gone.
        if lasting != Some(Fault::BlackHole) {
            links.reset(path);
        }
        imposed.extend(lasting.map(|fault| links.impose(path, fault)));
    }
    clock.sleep_until(begin + fault.length).await;
    for fault in imposed {
        links.lift(fault);
    }
}
