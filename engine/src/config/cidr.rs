//! Networks in CIDR notation.

use core::fmt;
use core::net::IpAddr;

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// The address, bits that do not count cleared, IPv4-mapped addresses as IPv4.
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidrError {
    /// Not an address, or not a number behind the slash.
    Syntax,
    /// More bits than the address has.
    PrefixTooLong {
        /// How many it has.
        bits: u8,
    },
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not a network in CIDR notation"),
            Self::PrefixTooLong { bits } => write!(f, "the prefix is longer than {bits} bits"),
        }
    }
}

impl Cidr {
    /// Reads `192.0.2.0/24`, `2001:db8::/32` or `[2001:db8::]/32`; without a slash, one address.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(address).parse().map_err(|_| CidrError::Syntax)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let prefix = digits.parse().map_err(|_| CidrError::PrefixTooLong { bits });
                prefix.ok().filter(|&prefix| prefix <= bits).ok_or(if digits.is_empty() {
                    CidrError::Syntax
                } else {
                    CidrError::PrefixTooLong { bits }
                })?
            }
            Some(_) => return Err(CidrError::Syntax),
        };
        Ok(Self::new(address, prefix))
    }

    fn new(address: IpAddr, prefix: u8) -> Self {
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) if prefix >= 96 => {
                Self { address: mask(IpAddr::V4(v4), prefix - 96), prefix: prefix - 96 }
            }
            _ => Self { address: mask(address, prefix), prefix },
        }
    }

    /// Whether `address` lies in the network. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && mask(address, self.prefix) == self.address
    }

    /// How many bits count.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn networks_are_read_and_normalised() {
        let cases = [
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("[::1]", "::1/128"),
            ("[2001:db8:1::]/47", "2001:db8::/47"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ];
        for (text, want) in cases {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), want, "{text}");
        }
        for text in ["", "192.0.2", "192.0.2.0/", "192.0.2.0/x", "192.0.2.0/-1", "host/24"] {
            assert_eq!(Cidr::parse(text), Err(CidrError::Syntax), "{text}");
        }
        assert_eq!(Cidr::parse("10.0.0.0/33"), Err(CidrError::PrefixTooLong { bits: 32 }));
        assert_eq!(Cidr::parse("::/999"), Err(CidrError::PrefixTooLong { bits: 128 }));
    }

    #[test]
    fn membership_keeps_the_families_apart() {
        let table = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("2001:db8::/127", "2001:db8::1", true),
            ("2001:db8::/127", "2001:db8::2", false),
        ];
        for (network, address, inside) in table {
            let network = Cidr::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
    }
}
