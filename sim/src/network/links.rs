//! How far away each address is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::Shared;

/// The path between us and one address, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Time a packet takes one way; a round trip takes twice as long.
    pub latency: Duration,
    /// Up to so much is added to each packet's time, drawn by the seed, evenly, in microseconds.
    /// Packets of one connection never overtake each other.
    pub jitter: Duration,
}

/// Changes the links of a running world.
#[derive(Clone, Debug)]
pub struct Links {
    shared: Arc<Shared>,
}

impl Links {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sets the link between us and `address`, for packets sent from now on.
    pub fn set(&self, address: IpAddr, link: Link) {
        self.shared.wire().links.set(address, link);
    }
}

/// The links of a world.
#[derive(Debug)]
pub(super) struct LinkTable {
    usual: Link,
    special: BTreeMap<IpAddr, Link>,
}

impl LinkTable {
    pub(super) fn new(usual: Link) -> Self {
        Self { usual, special: BTreeMap::new() }
    }

    fn set(&mut self, address: IpAddr, link: Link) {
        self.special.insert(address, link);
    }

    pub(super) fn get(&self, address: IpAddr) -> Link {
        self.special.get(&address).copied().unwrap_or(self.usual)
    }
}
