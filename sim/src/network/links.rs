//! How far away each address is, and what is wrong on the way there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use traject_engine::Timestamp;
use turmoil_net::TcpSegment;

use super::conn::End;
use super::world::Shared;

/// The way between us and one address, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Time a packet takes one way; a round trip takes twice as long.
    pub latency: Duration,
    /// Up to so much is added to each packet's time, drawn by the seed, evenly, in microseconds.
    /// Packets of one connection never overtake each other.
    pub jitter: Duration,
    /// Bytes a second in each direction, headers included, shared by all connections of the
    /// address. `None` is no limit; zero counts as one.
    pub bandwidth: Option<u64>,
    /// The same for each connection.
    pub connection_bandwidth: Option<u64>,
}

impl Link {
    /// Whether what is sent at one instant arrives at one instant, however it is cut into packets.
    pub const fn keeps_together(self) -> bool {
        self.jitter.is_zero() && self.bandwidth.is_none() && self.connection_bandwidth.is_none()
    }
}

/// A set of addresses: all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The addresses whose first `length` bits are those of `address`. A `length` beyond the
    /// address family's counts as that of a single address.
    pub fn new(address: IpAddr, length: u8) -> Self {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length: length.min(most) }
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let differing = (mine.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= u32::from(self.length)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                let differing = (mine.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::new(address, u8::MAX)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected an address, or an address and a length as in 198.51.100.0/24")]
pub struct PrefixError;

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let Some((address, length)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| PrefixError);
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError)?;
        let length: u8 = length.parse().map_err(|_| PrefixError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length > most { Err(PrefixError) } else { Ok(Self::new(address, length)) }
    }
}

/// Which connections: those between some of our addresses and some of everybody else's, whoever
/// connected. The default is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Our addresses; `None` is all.
    pub ours: Option<Prefix>,
    /// The others; `None` is all.
    pub theirs: Option<Prefix>,
}

impl Path {
    /// All connections with these addresses.
    pub fn to(theirs: impl Into<Prefix>) -> Self {
        Self { ours: None, theirs: Some(theirs.into()) }
    }

    /// All connections of these addresses of ours.
    pub fn from(ours: impl Into<Prefix>) -> Self {
        Self { ours: Some(ours.into()), theirs: None }
    }

    /// Whether the connection between `near`, on our side, and `far` is one of them.
    pub fn contains(&self, near: IpAddr, far: IpAddr) -> bool {
        self.ours.is_none_or(|ours| ours.contains(near))
            && self.theirs.is_none_or(|theirs| theirs.contains(far))
    }
}

/// What is wrong on a path, for as long as it is imposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connection attempts are refused. Connections that are open go on.
    Refuse,
    /// Packets vanish. As TCP does, each end sends again with growing intervals, so a connection
    /// goes on after a short hole, and ends in a time-out after a long one: 127 s for an attempt,
    /// about 15 minutes for an open connection that has something to send.
    BlackHole,
    /// A router on the way says that there is no way: connection attempts fail. Connections that
    /// are open lose their packets, as in a black hole: Linux takes such a word for a passing
    /// trouble there.
    Unreachable,
    /// Connections open, and are reset as soon as anybody sends something.
    Reset,
    /// Every packet takes so much longer one way.
    Delay(Duration),
    /// Every packet takes so many times as long, the link's jitter included.
    Stretch(u32),
}

/// Names a fault that is imposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

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
        let mut wire = self.shared.wire();
        wire.flush();
        wire.links.set(address, link);
    }

    /// Begins a fault. Faults on one path add up.
    pub fn impose(&self, path: Path, fault: Fault) -> FaultId {
        let mut wire = self.shared.wire();
        wire.flush();
        wire.links.impose(path, fault)
    }

    /// Ends a fault. Unknown ones, such as those that have ended, are ignored.
    pub fn lift(&self, fault: FaultId) {
        let mut wire = self.shared.wire();
        wire.flush();
        wire.links.lift(fault);
    }

    /// Resets the connections that are open or opening now: at once at the far end, a latency
    /// later at ours. Answers how many.
    pub fn reset(&self, path: Path) -> usize {
        self.shared.wire().reset_all(path)
    }

    /// Makes the connections that are open or opening now fall silent for ever, as when a firewall
    /// forgets them. Later connections are not concerned. Answers how many.
    pub fn cut(&self, path: Path) -> usize {
        self.shared.wire().cut_all(path)
    }
}

/// What a packet meets between two addresses, worked out for one version of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    version: u64,
    pub(super) link: Link,
    pub(super) delay: Duration,
    pub(super) refuse: bool,
    pub(super) black_hole: bool,
    pub(super) unreachable: bool,
    pub(super) reset: bool,
}

/// The links of a world.
#[derive(Debug)]
pub(super) struct LinkTable {
    usual: Link,
    special: BTreeMap<IpAddr, Link>,
    faults: BTreeMap<FaultId, (Path, Fault)>,
    /// Until when each direction of a link with a bandwidth is busy: (address, towards it).
    busy: BTreeMap<(IpAddr, bool), Timestamp>,
    imposed: u64,
    version: u64,
}

impl LinkTable {
    pub(super) fn new(usual: Link) -> Self {
        Self {
            usual,
            special: BTreeMap::new(),
            faults: BTreeMap::new(),
            busy: BTreeMap::new(),
            imposed: 0,
            version: 1,
        }
    }

    fn set(&mut self, address: IpAddr, link: Link) {
        self.special.insert(address, link);
        self.version += 1;
    }

    fn impose(&mut self, path: Path, fault: Fault) -> FaultId {
        self.imposed += 1;
        self.version += 1;
        let id = FaultId(self.imposed);
        self.faults.insert(id, (path, fault));
        id
    }

    fn lift(&mut self, fault: FaultId) {
        self.faults.remove(&fault);
        self.version += 1;
    }

    /// Brings `route`, that of the connections between `near` and `far`, up to date.
    pub(super) fn refresh(&self, route: &mut Route, near: IpAddr, far: IpAddr) {
        if route.version == self.version {
            return;
        }
        let link = self.special.get(&far).copied().unwrap_or(self.usual);
        *route = Route { version: self.version, link, ..Route::default() };
        for (path, fault) in self.faults.values() {
            if path.contains(near, far) {
                route.add(*fault);
            }
        }
    }

    /// How long `bytes` wait for their turn and leave, at the link's bandwidth.
    pub(super) fn occupy(
        &mut self,
        now: Timestamp,
        link: Link,
        far: IpAddr,
        outbound: bool,
        bytes: u32,
    ) -> Duration {
        let Some(bandwidth) = link.bandwidth else { return Duration::ZERO };
        let busy = self.busy.entry((far, outbound)).or_default();
        line_up(busy, now, bandwidth, bytes)
    }
}

/// How long `bytes` take to leave on a line that is `busy` until then, at so many bytes a second.
pub(super) fn line_up(
    busy: &mut Timestamp,
    now: Timestamp,
    bandwidth: u64,
    bytes: u32,
) -> Duration {
    let takes = u64::from(bytes) * 1_000_000 / bandwidth.max(1);
    *busy = now.max(*busy) + Duration::from_micros(takes);
    busy.saturating_since(now)
}

impl Route {
    /// Whether what `from` sends is lost on the way. Where there is no way, attempts to connect are
    /// answered, by a router.
    pub(super) fn loses(&self, from: End, segment: &TcpSegment, opening: bool) -> bool {
        let asks = from == End::Client && segment.flags.syn;
        let answers = opening && segment.flags.rst;
        self.black_hole || (self.unreachable && !asks && !answers)
    }

    /// Time a packet takes one way, without jitter.
    pub(super) fn latency(&self) -> Duration {
        self.link.latency + self.delay
    }

    fn add(&mut self, fault: Fault) {
        match fault {
            Fault::Refuse => self.refuse = true,
            Fault::BlackHole => self.black_hole = true,
            Fault::Unreachable => self.unreachable = true,
            Fault::Reset => self.reset = true,
            Fault::Delay(more) => self.delay += more,
            Fault::Stretch(times) => {
                self.link.latency *= times;
                self.link.jitter *= times;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_contain_what_begins_alike() {
        for (prefix, address, expected) in [
            ("198.51.100.7", "198.51.100.7", true),
            ("198.51.100.7", "198.51.100.6", false),
            ("198.51.100.0/24", "198.51.100.255", true),
            ("198.51.100.0/24", "198.51.101.0", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
        ] {
            let parsed: Prefix = prefix.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{prefix} {address}");
        }
        for wrong in ["", "mx.example", "198.51.100.0/33", "2001:db8::/129", "198.51.100.0/"] {
            assert_eq!(wrong.parse::<Prefix>(), Err(PrefixError), "{wrong}");
        }
    }

    #[test]
    fn faults_on_one_path_add_up_and_end_one_by_one() {
        let (near, far) = ("192.0.2.1".parse().unwrap(), "198.51.100.7".parse().unwrap());
        let mut table = LinkTable::new(Link::default());
        let mut route = Route::default();
        let second = Duration::from_secs(1);
        let hole = table.impose(Path::to(far), Fault::BlackHole);
        let everywhere = table.impose(Path::default(), Fault::BlackHole);
        let slow = table.impose(Path::from(near), Fault::Delay(second));
        table.impose(Path::to("203.0.113.0/24".parse::<Prefix>().unwrap()), Fault::Refuse);
        table.refresh(&mut route, near, far);
        assert_eq!((route.black_hole, route.refuse, route.delay), (true, false, second));
        for (fault, black_hole, delay) in [
            (hole, true, second),
            (slow, true, Duration::ZERO),
            (everywhere, false, Duration::ZERO),
        ] {
            table.lift(fault);
            table.refresh(&mut route, near, far);
            assert_eq!((route.black_hole, route.delay), (black_hole, delay));
        }
    }

    #[test]
    fn a_bandwidth_is_shared_in_turn_and_by_direction() {
        let far = "198.51.100.7".parse().unwrap();
        let link = Link { bandwidth: Some(1_000_000), ..Link::default() };
        let mut table = LinkTable::new(link);
        let micros = Duration::from_micros;
        assert_eq!(table.occupy(Timestamp(0), link, far, true, 1500), micros(1500));
        assert_eq!(table.occupy(Timestamp(500), link, far, true, 1500), micros(2500));
        assert_eq!(table.occupy(Timestamp(500), link, far, false, 100), micros(100));
        assert_eq!(table.occupy(Timestamp(9000), link, far, true, 1500), micros(1500));
    }
}
