//! Domains that everybody knows, and how their receivers behave.

use crate::profile;

/// Profiles with the domains whose mail such a receiver takes.
const DOMAINS: &[(&str, &[&str])] = &[
    ("163", &["163.com", "126.com", "yeah.net"]),
    ("apple", &["icloud.com", "me.com", "mac.com"]),
    ("bellsouth", &["bellsouth.net"]),
    ("comcast", &["comcast.net"]),
    ("cox", &["cox.net"]),
    ("earthlink", &["earthlink.net"]),
    ("gmx", &["gmx.net", "gmx.de", "gmx.at", "gmx.com"]),
    ("google", &["gmail.com", "googlemail.com"]),
    ("kpn", &["kpnmail.nl", "planet.nl", "hetnet.nl"]),
    ("laposte", &["laposte.net"]),
    ("libero", &["libero.it"]),
    ("mail-com", &["mail.com", "email.com"]),
    ("mail-ru", &["mail.ru", "bk.ru", "list.ru", "inbox.ru"]),
    ("netvigator", &["netvigator.com"]),
    ("onet", &["onet.pl", "op.pl"]),
    ("orange", &["orange.fr", "wanadoo.fr"]),
    ("outlook", &["outlook.com", "hotmail.com", "live.com", "msn.com"]),
    ("qq", &["qq.com", "foxmail.com"]),
    ("sina", &["sina.com", "sina.cn"]),
    ("spectrum", &["charter.net", "rr.com", "twc.com"]),
    ("tiscali-uk", &["tiscali.co.uk"]),
    ("web-de", &["web.de"]),
    ("yahoo", &["yahoo.com", "ymail.com", "rocketmail.com", "aol.com"]),
    ("yahoo-jp", &["yahoo.co.jp"]),
];

/// Profiles of those who take the mail of other people's domains.
pub(super) const HOSTED: &[&str] = &["barracuda", "mimecast", "office365", "google"];

/// The profile of the receiver of a domain, if it is one that everybody knows.
pub(super) fn profile_of(domain: &str) -> Option<&'static str> {
    let found = DOMAINS.iter().find(|(_, domains)| domains.contains(&domain));
    found.map(|(profile, _)| *profile).filter(|name| profile::find(name).is_some())
}

/// All these domains.
pub(super) fn domains() -> impl Iterator<Item = &'static str> {
    DOMAINS.iter().flat_map(|(_, domains)| domains.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_somebody_s() {
        for profile in profile::built_in() {
            let name = &*profile.name;
            let named = DOMAINS.iter().any(|(profile, _)| *profile == name);
            assert!(named || HOSTED.contains(&name), "{name} has no domain");
        }
        for name in DOMAINS.iter().map(|(name, _)| name).chain(HOSTED) {
            assert!(profile::find(name).is_some(), "{name} is no profile");
        }
        assert_eq!(profile_of("hotmail.com"), Some("outlook"));
        assert_eq!(profile_of("hotmail.example"), None);
    }
}
