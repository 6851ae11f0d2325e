//! Faults: what breaks, when, for how long.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_net::world::Clock;

use crate::disk::Machine;
use crate::dns::{DnsFailure, Outage, Trouble};
use crate::network::{Fault, Links, Path, Prefix};
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
    /// Whom it hits, as reports show it: `receiver strict`, `binding bulk`; empty when its name
    /// says so.
    pub whom: Arc<str>,
}

/// What breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Hosts cannot be reached.
    HostDown {
        /// What a connection attempt meets.
        how: Down,
        /// The hosts' addresses.
        addresses: Vec<IpAddr>,
    },
    /// Some of our addresses reach nobody, or not these hosts.
    Partition {
        /// What a connection attempt meets.
        how: Down,
        /// Our addresses.
        ours: Ours,
        /// The hosts' addresses; `None` is everybody.
        theirs: Option<Vec<IpAddr>>,
    },
    /// Connections are reset: those open at the beginning, and new ones while it lasts.
    Reset {
        /// The hosts' addresses.
        addresses: Vec<IpAddr>,
    },
    /// Packets take longer.
    Slow {
        /// How much.
        slowness: Slowness,
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
    /// Answers about names take longer.
    DnsSlow {
        /// So much longer.
        by: Duration,
        /// The names, in lower case; `None` is every name.
        names: Option<Vec<Arc<str>>>,
    },
    /// A receiver offers no STARTTLS.
    StartTlsOff {
        /// Its name.
        receiver: Arc<str>,
    },
    /// The disk of the spool.
    Disk(DiskTrouble),
}

/// What is wrong with the disk of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskTrouble {
    /// No room is left: what is written comes half-way at most.
    Full,
    /// Nothing becomes durable: each sync fails, and what was to be synced is lost.
    Fails,
    /// Each sync takes so much longer.
    Slow(Duration),
}

/// Some of our addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ours {
    /// These.
    Addresses(Vec<Prefix>),
    /// Those that mail of a binding leaves from.
    Binding(Arc<str>),
}

/// How much longer a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slowness {
    /// So much longer one way.
    Plus(Duration),
    /// So many times as long.
    Times(u32),
}

/// How a host is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The machine is up and refuses: connection attempts fail at once, and connections it had are
    /// reset.
    Refused,
    /// Packets vanish: connection attempts time out, open connections hang.
    BlackHole,
    /// A router says that there is no way: connection attempts fail at once, open connections hang.
    Unreachable,
}

impl Down {
    /// All, with their names in scenarios.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("refused", Self::Refused),
        ("blackhole", Self::BlackHole),
        ("unreachable", Self::Unreachable),
    ];

    const fn fault(self) -> Fault {
        match self {
            Self::Refused => Fault::Refuse,
            Self::BlackHole => Fault::BlackHole,
            Self::Unreachable => Fault::Unreachable,
        }
    }
}

impl FaultSpec {
    /// Whether it is in force at an instant, counted from the start of the scenario. One without a
    /// length never is.
    pub fn lasts_at(&self, at: Duration) -> bool {
        (self.at..self.at + self.length).contains(&at)
    }

    /// Its name in scenarios.
    pub const fn name(&self) -> &'static str {
        match self.what {
            FaultKind::HostDown { .. } => "host_down",
            FaultKind::Partition { .. } => "partition",
            FaultKind::Reset { .. } => "reset",
            FaultKind::Slow { .. } => "slow",
            FaultKind::Dns { .. } => "dns_failure",
            FaultKind::DnsSlow { .. } => "dns_slow",
            FaultKind::StartTlsOff { .. } => "starttls_off",
            FaultKind::Disk(DiskTrouble::Full) => "disk_full",
            FaultKind::Disk(DiskTrouble::Fails) => "disk_fails",
            FaultKind::Disk(DiskTrouble::Slow(_)) => "disk_slow",
        }
    }
}

impl fmt::Display for FaultSpec {
    /// `host_down of receiver strict`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.whom {
            "" => f.write_str(self.name()),
            whom => write!(f, "{} of {whom}", self.name()),
        }
    }
}

/// What a fault does to the links of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// Which connections.
    pub paths: Vec<Path>,
    /// What happens to them while it lasts.
    pub lasting: Option<Fault>,
    /// Whether those that are open when it begins are reset.
    pub resets: bool,
}

/// What `fault` does to links, if anything. `bound` knows the addresses of our bindings.
pub fn disturbance(fault: &FaultSpec, bound: impl Fn(&str) -> Vec<IpAddr>) -> Option<Disturbance> {
    let to = |addresses: &[IpAddr]| addresses.iter().copied().map(Path::to).collect();
    Some(match &fault.what {
        FaultKind::HostDown { how, addresses } => down(*how, to(addresses)),
        FaultKind::Partition { how, ours, theirs } => {
            let ours: Vec<Prefix> = match ours {
                Ours::Addresses(prefixes) => prefixes.clone(),
                Ours::Binding(name) => bound(name).into_iter().map(Prefix::from).collect(),
            };
            down(*how, between(&ours, theirs.as_deref()))
        }
        FaultKind::Reset { addresses } => {
            let lasting = (!fault.length.is_zero()).then_some(Fault::Reset);
            Disturbance { paths: to(addresses), lasting, resets: true }
        }
        FaultKind::Slow { slowness, addresses } => {
            let lasting = Some(match slowness {
                Slowness::Plus(more) => Fault::Delay(*more),
                Slowness::Times(times) => Fault::Stretch(*times),
            });
            Disturbance { paths: to(addresses), lasting, resets: false }
        }
        FaultKind::Dns { .. }
        | FaultKind::DnsSlow { .. }
        | FaultKind::StartTlsOff { .. }
        | FaultKind::Disk(_) => return None,
    })
}

/// Only a host that is there can say that it no longer knows a connection.
fn down(how: Down, paths: Vec<Path>) -> Disturbance {
    Disturbance { paths, lasting: Some(how.fault()), resets: how == Down::Refused }
}

/// All paths from some of our addresses to some of theirs.
fn between(ours: &[Prefix], theirs: Option<&[IpAddr]>) -> Vec<Path> {
    let paths = |ours: &Prefix| -> Vec<Path> {
        let to = |theirs| Path { ours: Some(*ours), theirs };
        match theirs {
            None => vec![to(None)],
            Some(all) => all.iter().map(|address| to(Some(Prefix::from(*address)))).collect(),
        }
    };
    ours.iter().flat_map(paths).collect()
}

/// The names that fail or are slow for a while, for [`Zones`](crate::dns::Zones).
pub fn outages(start: Timestamp, faults: &[FaultSpec]) -> Vec<Outage> {
    let outage = |fault: &FaultSpec| {
        let (trouble, names) = match &fault.what {
            FaultKind::Dns { failure, names } => (Trouble::Fails(*failure), Some(names.clone())),
            FaultKind::DnsSlow { by, names } => (Trouble::Slow(*by), names.clone()),
            FaultKind::HostDown { .. }
            | FaultKind::Partition { .. }
            | FaultKind::Reset { .. }
            | FaultKind::Slow { .. }
            | FaultKind::StartTlsOff { .. }
            | FaultKind::Disk(_) => return None,
        };
        let begin = start + fault.at;
        Some(Outage { during: begin..begin + fault.length, trouble, names })
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

/// When what is wrong with the disk, and for how long.
pub fn disk_troubles(
    start: Timestamp,
    faults: &[FaultSpec],
) -> Vec<(Timestamp, Duration, DiskTrouble)> {
    let trouble = |fault: &FaultSpec| match fault.what {
        FaultKind::Disk(trouble) => Some((start + fault.at, fault.length, trouble)),
        _ => None,
    };
    faults.iter().filter_map(trouble).collect()
}

/// Makes a disk worse from `begin` on for `length`.
pub async fn trouble_disk<C: Clock>(
    begin: Timestamp,
    length: Duration,
    trouble: DiskTrouble,
    clock: C,
    machine: Machine,
) {
    clock.sleep_until(begin).await;
    machine.impose(trouble);
    clock.sleep_until(begin + length).await;
    machine.lift(trouble);
}

/// Disturbs links from `begin` on for `length`.
pub async fn play<C: Clock>(
    begin: Timestamp,
    length: Duration,
    disturbance: Disturbance,
    clock: C,
    links: Links,
) {
    let Disturbance { paths, lasting, resets } = disturbance;
    clock.sleep_until(begin).await;
    let mut imposed = Vec::new();
    for path in paths {
        if resets {
            links.reset(path);
        }
        imposed.extend(lasting.map(|fault| links.impose(path, fault)));
    }
    clock.sleep_until(begin + length).await;
    for fault in imposed {
        links.lift(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([198, 18, 0, last])
    }

    fn of(what: FaultKind, seconds: u64) -> Option<Disturbance> {
        let length = Duration::from_secs(seconds);
        let fault = FaultSpec { at: Duration::ZERO, length, what, whom: "it".into() };
        disturbance(&fault, |binding| match binding {
            "bulk" => vec![IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])],
            _ => Vec::new(),
        })
    }

    #[test]
    fn each_fault_disturbs_in_its_own_way() {
        let addresses = || vec![address(1), address(2)];
        let both: Vec<Path> = addresses().into_iter().map(Path::to).collect();
        let down = |how| FaultKind::HostDown { how, addresses: addresses() };
        let slow = |slowness| FaultKind::Slow { slowness, addresses: addresses() };
        let second = Duration::from_secs(1);
        for (what, seconds, lasting, resets) in [
            (down(Down::Refused), 1, Some(Fault::Refuse), true),
            (down(Down::BlackHole), 1, Some(Fault::BlackHole), false),
            (down(Down::Unreachable), 1, Some(Fault::Unreachable), false),
            (FaultKind::Reset { addresses: addresses() }, 1, Some(Fault::Reset), true),
            (FaultKind::Reset { addresses: addresses() }, 0, None, true),
            (slow(Slowness::Plus(second)), 1, Some(Fault::Delay(second)), false),
            (slow(Slowness::Times(9)), 1, Some(Fault::Stretch(9)), false),
        ] {
            let expected = Disturbance { paths: both.clone(), lasting, resets };
            assert_eq!(of(what.clone(), seconds), Some(expected), "{what:?}");
        }
        assert_eq!(of(FaultKind::DnsSlow { by: second, names: None }, 1), None);
    }

    #[test]
    fn a_partition_is_between_some_of_ours_and_some_of_theirs() {
        let prefix = || "192.0.2.0/24".parse::<Prefix>().unwrap();
        let paths = |ours, theirs| {
            let what = FaultKind::Partition { how: Down::BlackHole, ours, theirs };
            of(what, 1).unwrap().paths
        };
        let all = paths(Ours::Addresses(vec![prefix()]), None);
        assert_eq!(all, [Path::from(prefix())]);
        let some = paths(Ours::Binding("bulk".into()), Some(vec![address(1), address(2)]));
        let shown: Vec<String> = some
            .iter()
            .map(|path| format!("{} {}", path.ours.unwrap(), path.theirs.unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                "192.0.2.1/32 198.18.0.1/32",
                "192.0.2.1/32 198.18.0.2/32",
                "192.0.2.2/32 198.18.0.1/32",
                "192.0.2.2/32 198.18.0.2/32"
            ]
        );
        assert_eq!(paths(Ours::Binding("idle".into()), None), []);
    }

    #[test]
    fn a_fault_lasts_from_its_first_instant_to_before_its_last() {
        let spec = |seconds| FaultSpec {
            at: Duration::from_secs(10),
            length: Duration::from_secs(seconds),
            what: FaultKind::Reset { addresses: Vec::new() },
            whom: "receiver r".into(),
        };
        for (length, second, lasts) in
            [(5, 9, false), (5, 10, true), (5, 14, true), (5, 15, false), (0, 10, false)]
        {
            assert_eq!(spec(length).lasts_at(Duration::from_secs(second)), lasts, "{second}");
        }
        assert_eq!(spec(5).to_string(), "reset of receiver r");
    }
}
