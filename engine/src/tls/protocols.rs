//! `tls_protocols`: switches over protocol versions, such as `+ALL:-TLSv1.2`.

use alloc::vec::Vec;

use super::info::TlsVersion;

/// What the switches come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocols<'a> {
    /// The versions to offer, the newest first.
    pub versions: Vec<TlsVersion>,
    /// Words that are no versions.
    pub unknown: Vec<&'a str>,
    /// Versions switched on that nobody can have any more.
    pub unobtainable: Vec<&'a str>,
}

/// What a name stands for; `None` if for nothing.
fn named(name: &str) -> Option<&'static [TlsVersion]> {
    match name {
        "ALL" => Some(TlsVersion::ALL),
        "TLSv1.2" => Some(&[TlsVersion::Tls12]),
        "TLSv1.3" => Some(&[TlsVersion::Tls13]),
        "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.0" | "TLSv1.1" => Some(&[]),
        _ => None,
    }
}

impl<'a> Protocols<'a> {
    /// Reads switches; they act from left to right, beginning with nothing. One without a sign
    /// switches on.
    pub fn parse(text: &'a str) -> Self {
        let mut found =
            Self { versions: Vec::new(), unknown: Vec::new(), unobtainable: Vec::new() };
        for word in text.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
            let (on, name) = match word.strip_prefix('-') {
                Some(name) => (false, name),
                None => (true, word.strip_prefix('+').unwrap_or(word)),
            };
            match named(name) {
                None => found.unknown.push(name),
                Some([]) if on => found.unobtainable.push(name),
                Some(versions) => {
                    found.versions.retain(|version| !versions.contains(version));
                    if on {
                        found.versions.extend(versions);
                    }
                }
            }
        }
        found.versions.sort_unstable_by(|a, b| b.cmp(a));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches() {
        use TlsVersion::{Tls12, Tls13};
        for (text, versions, unknown, unobtainable) in [
            ("+ALL", &[Tls13, Tls12][..], &[][..], &[][..]),
            ("ALL", &[Tls13, Tls12], &[], &[]),
            ("+ALL:-TLSv1.2", &[Tls13], &[], &[]),
            ("+ALL:-TLSv1.3", &[Tls12], &[], &[]),
            ("+ALL:-SSLv3:-TLSv1:-TLSv1.0:-TLSv1.1:-SSLv2", &[Tls13, Tls12], &[], &[]),
            ("+TLSv1.2", &[Tls12], &[], &[]),
            ("+TLSv1.2:+TLSv1.3", &[Tls13, Tls12], &[], &[]),
            ("+TLSv1.1:+TLSv1.2", &[Tls12], &[], &["TLSv1.1"]),
            ("+SSLv3", &[], &[], &["SSLv3"]),
            ("-TLSv1.2", &[], &[], &[]),
            ("-TLSv1.2:+ALL", &[Tls13, Tls12], &[], &[]),
            ("+ALL:-ALL:+TLSv1.3", &[Tls13], &[], &[]),
            ("+TLS1.2", &[], &["TLS1.2"], &[]),
            ("", &[], &[], &[]),
        ] {
            let expected = Protocols {
                versions: versions.to_vec(),
                unknown: unknown.to_vec(),
                unobtainable: unobtainable.to_vec(),
            };
            assert_eq!(Protocols::parse(text), expected, "{text}");
        }
    }
}
