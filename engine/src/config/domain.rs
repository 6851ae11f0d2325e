//! Names of domains, in the form they are compared in.

use alloc::borrow::Cow;
use alloc::format;
use core::net::{IpAddr, Ipv6Addr};

/// The form in which domains are compared: lower case, address literals in one spelling.
/// `[192.0.2.9]` and `192.0.2.9` are the same domain, and so are all spellings of an IPv6 address.
pub(super) fn key(domain: &str) -> Cow<'_, str> {
    if let Some(address) = literal(domain) {
        return match address {
            IpAddr::V4(v4) => Cow::Owned(format!("{v4}")),
            IpAddr::V6(v6) => Cow::Owned(format!("[ipv6:{v6}]")),
        };
    }
    if domain.chars().any(char::is_uppercase) {
        Cow::Owned(domain.to_lowercase())
    } else {
        Cow::Borrowed(domain)
    }
}

/// The pattern of `/pattern/`.
pub(super) fn regex_of(name: &str) -> Option<&str> {
    name.strip_prefix('/')?.strip_suffix('/').filter(|pattern| !pattern.is_empty())
}

/// The address of a domain that is one: RFC 5321 section 4.1.3, with or without brackets.
fn literal(domain: &str) -> Option<IpAddr> {
    let bare = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(domain);
    let v6 = match bare.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => &bare[5..],
        _ => bare,
    };
    match bare.parse() {
        Ok(IpAddr::V4(v4)) => Some(IpAddr::V4(v4)),
        _ => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_domain_are_one() {
        let table = [
            ("Example.COM", "example.com"),
            ("example.com", "example.com"),
            ("192.0.2.9", "192.0.2.9"),
            ("[192.0.2.9]", "192.0.2.9"),
            ("[IPv6:2001:DB8::0:9]", "[ipv6:2001:db8::9]"),
            ("2001:db8::9", "[ipv6:2001:db8::9]"),
            ("[]", "[]"),
            ("", ""),
        ];
        for (name, want) in table {
            assert_eq!(key(name), want, "{name}");
        }
    }

    #[test]
    fn a_pattern_stands_between_slashes() {
        assert_eq!(regex_of("/a$/"), Some("a$"));
        assert_eq!(regex_of("//"), None);
        assert_eq!(regex_of("/"), None);
        assert_eq!(regex_of("a/"), None);
    }
}
