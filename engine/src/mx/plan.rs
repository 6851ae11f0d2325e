//! The plan of a destination: which addresses may be tried, in which order.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dns::MxRecord;
use crate::limits;
use crate::rng::{Purpose, Seed, entity};

/// One exchange with its addresses; without any it is not part of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name; the literal itself for an address literal.
    pub name: Arc<str>,
    /// Its preference: lower is tried first. That of its MX record, or its place among `routes`.
    pub preference: u32,
    /// The port, where `routes` give it one.
    pub port: Option<u16>,
    /// Its addresses, in the order of the DNS answer.
    pub addresses: Vec<IpAddr>,
}

/// Exchanges of a destination, best preference first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Never empty once in use; those of one preference are neighbours.
    pub exchanges: Vec<Exchange>,
}

/// One place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The exchange's name.
    pub exchange: Arc<str>,
    /// The address.
    pub address: IpAddr,
    /// The port, if it is another than the queue's.
    pub port: Option<u16>,
}

/// Whether an address can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Yes.
    Yes,
    /// Not now; ask again when something changes (a probe is under way).
    Busy,
    /// Not now: set aside after a failure.
    SetAside,
    /// Not now: a cap on the exchange is reached.
    AtCap,
    /// Not now: TLS failed there, and without it the mail does not go.
    Unfit,
}

impl Plan {
    /// The plan of an address literal.
    pub fn literal(name: &Arc<str>, address: IpAddr) -> Self {
        let addresses = [address].to_vec();
        let exchange = Exchange { name: name.clone(), preference: 0, port: None, addresses };
        Self { exchanges: [exchange].to_vec() }
    }

    /// All addresses of the plan.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.exchanges.iter().flat_map(|exchange| exchange.addresses.iter().copied())
    }

    /// Where a connection of a queue goes, told from its others by `n`: the first usable address
    /// of the best preference that has one (RFC 5321 section 5.1). Exchanges of equal preference,
    /// and the addresses of one exchange, are tried in an order drawn for (destination, n), so that
    /// load spreads over them.
    ///
    /// While an address of a better preference is merely [`Usable::Busy`], no worse preference is
    /// used: the receiver's order is not ours to change for convenience. Our own cap on an exchange
    /// is no such reason, nor is TLS that failed there. With `ipv6_first`, IPv6 addresses of a
    /// preference come before its IPv4 addresses.
    pub fn choose(
        &self,
        seed: &Seed,
        destination: &str,
        n: u64,
        ipv6_first: bool,
        usable: impl Fn(&Exchange, IpAddr) -> Usable,
    ) -> Option<Choice> {
        let key = entity(destination.as_bytes());
        for level in self.exchanges.chunk_by(|a, b| a.preference == b.preference) {
            let mut order = Vec::new();
            for exchange in in_drawn_order(level, seed, Purpose::MxOrder, key, n) {
                let host = key ^ entity(exchange.name.as_bytes());
                let addresses = &exchange.addresses;
                let drawn = in_drawn_order(addresses, seed, Purpose::AddressOrder, host, n);
                order.extend(drawn.map(|address| (exchange, *address)));
            }
            if ipv6_first {
                order.sort_by_key(|(_, address)| address.is_ipv4());
            }
            let mut busy = false;
            for (exchange, address) in order {
                match usable(exchange, address) {
                    Usable::Yes => {
                        let Exchange { name, port, .. } = exchange;
                        return Some(Choice { exchange: name.clone(), address, port: *port });
                    }
                    Usable::Busy => busy = true,
                    Usable::SetAside | Usable::AtCap | Usable::Unfit => {}
                }
            }
            if busy {
                return None;
            }
        }
        None
    }
}

impl Plan {
    /// Whether a connection to `address` that stands may be used: it `leads_to` an exchange of the
    /// plan that is not set aside, and [`Plan::choose`] would not choose a better preference.
    pub fn admits(
        &self,
        leads_to: impl Fn(&Exchange) -> bool,
        address: IpAddr,
        usable: impl Fn(&Exchange, IpAddr) -> Usable,
    ) -> bool {
        for level in self.exchanges.chunk_by(|a, b| a.preference == b.preference) {
            let leads_there = |one: &&Exchange| leads_to(one) && one.addresses.contains(&address);
            if let Some(one) = level.iter().find(leads_there) {
                return usable(one, address) != Usable::SetAside;
            }
            let better = |one: &Exchange| {
                let mut addresses = one.addresses.iter();
                addresses.any(|ip| matches!(usable(one, *ip), Usable::Yes | Usable::Busy))
            };
            if level.iter().any(better) {
                return false;
            }
        }
        false
    }
}

/// The items sorted by one keyed draw each.
fn in_drawn_order<'a, T>(
    items: &'a [T],
    seed: &Seed,
    purpose: Purpose,
    key: u64,
    n: u64,
) -> impl Iterator<Item = &'a T> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    if items.len() > 1 {
        let first = n.wrapping_mul(items.len() as u64);
        order.sort_by_cached_key(|at| seed.draw(purpose, key, first.wrapping_add(*at as u64)));
    }
    order.into_iter().map(|at| &items[at])
}

/// The records worth following: best preference first, each exchange once, bounded.
pub fn ranked(mut records: Vec<MxRecord>) -> Vec<MxRecord> {
    records.sort();
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.exchange.clone()));
    records.truncate(limits::EXCHANGES_PER_DOMAIN_MAX);
    records
}

/// Whether the answer is a null MX: the domain takes no mail (RFC 7505).
pub fn is_null_mx(records: &[MxRecord]) -> bool {
    matches!(records, [only] if only.exchange.is_empty())
}

/// The address of a destination written as a literal: `192.0.2.9`, `[192.0.2.9]`,
/// `[IPv6:2001:db8::9]`, `[2001:db8::9]`.
pub fn address_literal(destination: &str) -> Option<IpAddr> {
    let bracketed = destination.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        None => destination.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some(inside) => {
            let tag = inside.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:"));
            match tag {
                Some(tag) => inside[tag.len()..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                None => inside.parse().ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;

    fn exchange(preference: u32, name: &str, addresses: &[u8]) -> Exchange {
        let addresses = addresses.iter().map(|last| ip(*last)).collect();
        Exchange { name: name.into(), preference, port: None, addresses }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn plan() -> Plan {
        let exchanges = [(10, "a", &[1, 2][..]), (10, "b", &[3]), (20, "c", &[4])];
        Plan { exchanges: exchanges.map(|(p, name, ips)| exchange(p, name, ips)).to_vec() }
    }

    fn chosen(n: u64, usable: impl Fn(IpAddr) -> Usable) -> Option<IpAddr> {
        let usable = |_: &Exchange, address| usable(address);
        plan().choose(&Seed::from_u64(1), "x.test", n, false, usable).map(|choice| choice.address)
    }

    #[test]
    fn equal_preference_is_spread_evenly_and_worse_is_never_touched() {
        let mut counts = BTreeMap::new();
        for n in 0..4000 {
            *counts.entry(chosen(n, |_| Usable::Yes).unwrap()).or_insert(0_u32) += 1;
        }
        // Half for each exchange, a quarter for each address of the first.
        let expected = [(ip(1), 1000), (ip(2), 1000), (ip(3), 2000)];
        assert_eq!(counts.len(), expected.len());
        for (address, about) in expected {
            assert!(counts[&address].abs_diff(about) < 120, "{counts:?}");
        }
    }

    #[test]
    fn addresses_set_aside_lead_to_the_next_and_busy_ones_hold_the_level() {
        let aside = |gone: &'static [u8]| {
            move |address: IpAddr| match gone.iter().any(|last| ip(*last) == address) {
                true => Usable::SetAside,
                false => Usable::Yes,
            }
        };
        let capped = |address: IpAddr| match address == ip(4) {
            true => Usable::Yes,
            false => Usable::AtCap,
        };
        for n in 0..50 {
            assert_eq!(chosen(n, capped), Some(ip(4)));
            assert_eq!(chosen(n, aside(&[1, 3])), Some(ip(2)));
            assert_eq!(chosen(n, aside(&[1, 2, 3])), Some(ip(4)));
            assert_eq!(chosen(n, aside(&[1, 2, 3, 4])), None);
            let busy = |address| if address == ip(4) { Usable::Yes } else { Usable::Busy };
            assert_eq!(chosen(n, busy), None);
        }
    }

    #[test]
    fn a_connection_that_stands_is_admitted_where_a_new_one_could_lead() {
        use Usable::{AtCap, Busy, SetAside, Yes};
        // Of a (1, 2), b (3) and the worse c (4): which are what, and whether 1 and 4 are admitted.
        for (states, first, worse) in [
            ([Yes, Yes, Yes, Yes], true, false),
            ([AtCap, Yes, Yes, Yes], true, false),
            ([Busy, SetAside, SetAside, Yes], true, false),
            ([SetAside, Yes, Yes, Yes], false, false),
            ([SetAside, SetAside, AtCap, Yes], false, true),
            ([SetAside, SetAside, SetAside, AtCap], false, true),
            ([SetAside, SetAside, SetAside, SetAside], false, false),
        ] {
            let state = |_: &Exchange, address| {
                let n = (1..=4).find(|n| ip(*n) == address).unwrap();
                states[usize::from(n) - 1]
            };
            let named = |name: &'static str| move |one: &Exchange| *one.name == *name;
            assert_eq!(plan().admits(named("a"), ip(1), state), first, "{states:?}");
            assert_eq!(plan().admits(named("c"), ip(4), state), worse, "{states:?}");
            assert!(!plan().admits(named("b"), ip(1), state), "another exchange");
            assert!(!plan().admits(named("x"), ip(9), state), "no exchange of the plan");
        }
    }

    #[test]
    fn ipv6_comes_first_within_a_preference_only() {
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let mut plan = plan();
        plan.exchanges[1].addresses.push(v6(1));
        plan.exchanges[2].addresses.push(v6(2));
        let choose = |n, usable: &dyn Fn(IpAddr) -> Usable| {
            let usable = |_: &Exchange, address| usable(address);
            plan.choose(&Seed::from_u64(1), "x.test", n, true, usable).map(|choice| choice.address)
        };
        for n in 0..50 {
            assert_eq!(choose(n, &|_| Usable::Yes), Some(v6(1)));
            let second =
                choose(n, &|a| if a == v6(1) { Usable::SetAside } else { Usable::Yes }).unwrap();
            assert!(second.is_ipv4() && second != ip(4), "{second}");
        }
    }

    #[test]
    fn literals() {
        for (text, address) in [
            ("192.0.2.9", Some("192.0.2.9")),
            ("[192.0.2.9]", Some("192.0.2.9")),
            ("[IPv6:2001:db8::9]", Some("2001:db8::9")),
            ("[ipv6:2001:db8::9]", Some("2001:db8::9")),
            ("[2001:db8::9]", Some("2001:db8::9")),
            ("2001:db8::9", None),
            ("192.0.2.256", None),
            ("[x]", None),
            ("[]", None),
            ("[IPv6:]", None),
            ("example.com", None),
        ] {
            assert_eq!(address_literal(text), address.map(|a| a.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn records_are_ranked_and_bounded() {
        let record =
            |preference, exchange: &str| MxRecord { preference, exchange: exchange.into() };
        let many = (0..200).map(|n| record(n, &alloc::format!("mx{n}"))).rev().collect();
        assert_eq!(ranked(many).len(), limits::EXCHANGES_PER_DOMAIN_MAX);
        let twice = alloc::vec![record(20, "b"), record(10, "a"), record(30, "a")];
        assert_eq!(ranked(twice), [record(10, "a"), record(20, "b")]);
        assert!(is_null_mx(&[record(0, "")]));
        assert!(!is_null_mx(&[record(0, ""), record(10, "a")]));
    }
}
