//! `routes`: where mail goes instead of the exchanges that the DNS has for its domain.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::checks::parse_address;

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where to.
    pub to: NextHop,
    /// Lower is tried first; entries of equal preference share the load.
    pub preference: u16,
    /// How long what the DNS says of it is kept, instead of its TTL.
    pub ttl: Option<Duration>,
    /// The port, instead of the pair's.
    pub port: Option<u16>,
}

/// Where an entry of `routes` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// `__mx__`: the exchanges of the mail's own domain.
    OwnExchanges,
    /// An address.
    Address(IpAddr),
    /// A host, by its addresses.
    Host(Arc<str>),
    /// The exchanges of a name, or the name itself if it has none (`type=mx`).
    Exchanges(Arc<str>),
}

/// Reads the entries of `routes`. One without `pref` comes after all before it.
///
/// # Errors
///
/// What is wrong with the first entry that is not one.
pub fn read(entries: &[Arc<str>]) -> Result<Arc<[Hop]>, String> {
    let mut next = 0_u16;
    let mut hops = Vec::with_capacity(entries.len());
    for text in entries {
        let entry = read_entry(text).map_err(|why| format!("`{text}`: {why}"))?;
        let preference = entry.preference.unwrap_or(next);
        next = next.max(preference.saturating_add(1));
        let Entry { to, ttl, port, .. } = entry;
        hops.push(Hop { to, preference, ttl, port });
    }
    Ok(hops.into())
}

struct Entry {
    to: NextHop,
    preference: Option<u16>,
    ttl: Option<Duration>,
    port: Option<u16>,
}

/// `host`, or `smtp://host?pref=10&ttl=300&port=25&type=mx`.
fn read_entry(text: &str) -> Result<Entry, String> {
    let (rest, is_url) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("smtp") => (rest, true),
        Some((scheme, _)) => return Err(format!("`{scheme}` is not spoken here, only `smtp`")),
        None => (text, false),
    };
    let (host, query) = match rest.split_once('?') {
        Some(_) if !is_url => return Err(format!("write `smtp://{text}`")),
        Some((host, query)) => (host, query),
        None => (rest, ""),
    };
    let mut query = Query::read(query)?;
    let preference = query.number("pref", 0, u32::from(u16::MAX))?.map(|number| number as u16);
    let ttl = query.number("ttl", 0, u32::MAX)?;
    let port = query.number("port", 1, u32::from(u16::MAX))?.map(|number| number as u16);
    let by_mx = match query.take("type") {
        None => None,
        Some("mx") => Some(true),
        Some("a") => Some(false),
        Some(other) => return Err(format!("type `{other}` is neither `mx` nor `a`")),
    };
    query.finish()?;
    let to = next_hop(host, by_mx)?;
    Ok(Entry { to, preference, ttl: ttl.map(|s| Duration::from_secs(s.into())), port })
}

/// An address is what it is, whatever type of look-up is asked for.
fn next_hop(host: &str, by_mx: Option<bool>) -> Result<NextHop, String> {
    if host.eq_ignore_ascii_case("__mx__") {
        return match by_mx {
            None | Some(true) => Ok(NextHop::OwnExchanges),
            Some(false) => Err("`__mx__` stands for exchanges, not for addresses".into()),
        };
    }
    if let Some(address) = parse_address(host) {
        return match address.is_ipv6() && !host.starts_with('[') {
            true => Err("an IPv6 address needs brackets".into()),
            false => Ok(NextHop::Address(address)),
        };
    }
    if !is_host_name(host) {
        return Err(match host.rsplit_once(':') {
            Some((name, port)) if is_host_name(name) && port.parse::<u16>().is_ok() => {
                format!("write `smtp://{name}?port={port}`")
            }
            _ => "this is neither a host name nor an address".into(),
        });
    }
    let name = Arc::from(host.strip_suffix('.').unwrap_or(host).to_lowercase());
    Ok(if by_mx == Some(true) { NextHop::Exchanges(name) } else { NextHop::Host(name) })
}

/// Letters, digits, hyphens and underscores between dots.
pub(super) fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// `key=value&key=value`.
struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("`{part}` has no value"))?;
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(format!("`{key}` is there twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.remove(at).1)
    }

    fn number(&mut self, key: &str, low: u32, high: u32) -> Result<Option<u32>, String> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (low..=high).contains(number));
        number.map(Some).ok_or_else(|| format!("`{key}` needs a number from {low} to {high}"))
    }

    fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("`{key}` is none of `pref`, `ttl`, `port` and `type`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(entries: &[&str]) -> String {
        let entries: Vec<Arc<str>> = entries.iter().map(|entry| Arc::from(*entry)).collect();
        let hops = match read(&entries) {
            Ok(hops) => hops,
            Err(why) => return format!("error: {why}"),
        };
        let shown: Vec<String> = hops
            .iter()
            .map(|hop| {
                let mut text = format!("{} ", hop.preference);
                text += &match &hop.to {
                    NextHop::OwnExchanges => "own".into(),
                    NextHop::Address(address) => format!("at {address}"),
                    NextHop::Host(name) => format!("host {name}"),
                    NextHop::Exchanges(name) => format!("mx {name}"),
                };
                if let Some(ttl) = hop.ttl {
                    text += &format!(" ttl {}", ttl.as_secs());
                }
                if let Some(port) = hop.port {
                    text += &format!(" port {port}");
                }
                text
            })
            .collect();
        shown.join(", ")
    }

    #[test]
    fn entries_and_their_order() {
        for (entries, shown) in [
            (&["hub.test"][..], "0 host hub.test"),
            (
                &["Hub.Test.", "192.0.2.1", "[2001:db8::1]"],
                "0 host hub.test, 1 at 192.0.2.1, 2 at 2001:db8::1",
            ),
            (&["smtp://hub.test?pref=1", "__mx__"], "1 host hub.test, 2 own"),
            (&["__MX__", "smtp://hub.test?type=mx"], "0 own, 1 mx hub.test"),
            (&["smtp://a?pref=10", "smtp://b?pref=10", "c"], "10 host a, 10 host b, 11 host c"),
            // What has no preference comes after everything before it.
            (&["smtp://a?pref=20", "smtp://b?pref=5", "c"], "20 host a, 5 host b, 21 host c"),
            (&["smtp://a?pref=65535", "b"], "65535 host a, 65535 host b"),
            (
                &["SMTP://192.0.2.1?pref=10&ttl=300&type=mx", "smtp://[::1]?port=2525"],
                "10 at 192.0.2.1 ttl 300, 11 at ::1 port 2525",
            ),
            (&[], ""),
        ] {
            assert_eq!(show(entries), shown, "{entries:?}");
        }
    }

    #[test]
    fn what_is_no_entry() {
        for (entry, why) in [
            ("apn://gateway.test?port=2195", "`apn` is not spoken here, only `smtp`"),
            ("hub.test?pref=1", "write `smtp://hub.test?pref=1`"),
            ("hub.test:25", "write `smtp://hub.test?port=25`"),
            ("2001:db8::1", "an IPv6 address needs brackets"),
            ("", "this is neither a host name nor an address"),
            ("smtp://hub.test/", "this is neither a host name nor an address"),
            ("smtp://hub.test?pref=65536", "`pref` needs a number from 0 to 65535"),
            ("smtp://hub.test?port=0", "`port` needs a number from 1 to 65535"),
            ("smtp://hub.test?ttl=soon", "`ttl` needs a number from 0 to 4294967295"),
            ("smtp://hub.test?type=txt", "type `txt` is neither `mx` nor `a`"),
            ("smtp://__mx__?type=a", "`__mx__` stands for exchanges, not for addresses"),
            ("smtp://hub.test?pref=1&pref=2", "`pref` is there twice"),
            ("smtp://hub.test?weight=2", "`weight` is none of `pref`, `ttl`, `port` and `type`"),
            ("smtp://hub.test?pref", "`pref` has no value"),
        ] {
            assert_eq!(show(&[entry]), format!("error: `{entry}`: {why}"));
        }
    }
}
