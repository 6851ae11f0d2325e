//! `tls_ciphers`: OpenSSL's language for lists of cipher suites, over the suites that exist here.
//!
//! As in OpenSSL, the list is about TLS 1.2; the suites of TLS 1.3 are all offered unless the list
//! names one of them.

use alloc::vec::Vec;

use super::info::{CipherSuite, TlsVersion};

/// What a list comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CipherList<'a> {
    /// The suites to offer, in order of preference; those of TLS 1.3 first.
    pub suites: Vec<CipherSuite>,
    /// Nothing was chosen: the list is of no use.
    pub is_empty: bool,
    /// Words that mean nothing.
    pub unknown: Vec<&'a str>,
    /// Words that ask for what does not exist here.
    pub unavailable: Vec<&'a str>,
}

/// What a word is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add,
    /// Moves what was chosen to the end.
    Move,
    Remove,
    /// Removes for good.
    Ban,
}

/// Whether a suite of TLS 1.2 belongs to a group.
type Belongs = fn(CipherSuite) -> bool;

/// Names of groups that suites of TLS 1.2 belong to here.
const GROUPS: &[(&str, Belongs)] = &[
    ("ALL", |_| true),
    ("DEFAULT", |_| true),
    ("HIGH", |_| true),
    ("TLSv1.2", |_| true),
    ("ECDHE", |_| true),
    ("EECDH", |_| true),
    ("kECDHE", |_| true),
    ("kEECDH", |_| true),
    ("aRSA", |suite| suite.openssl_name().starts_with("ECDHE-RSA")),
    ("aECDSA", |suite| suite.openssl_name().starts_with("ECDHE-ECDSA")),
    ("ECDSA", |suite| suite.openssl_name().starts_with("ECDHE-ECDSA")),
    ("AES", |suite| suite.openssl_name().contains("-AES")),
    ("AES128", |suite| suite.openssl_name().contains("-AES128")),
    ("AES256", |suite| suite.openssl_name().contains("-AES256")),
    ("AESGCM", |suite| suite.openssl_name().contains("-GCM")),
    ("CHACHA20", |suite| suite.openssl_name().contains("-CHACHA20")),
    ("FIPS", |suite| suite.openssl_name().contains("-GCM")),
];

/// Names of groups of which nothing exists here.
const EMPTY_GROUPS: &[&str] = &[
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "MEDIUM",
    "LOW",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "eNULL",
    "NULL",
    "aNULL",
    "kRSA",
    "RSA",
    "kDHE",
    "kEDH",
    "DHE",
    "EDH",
    "DH",
    "kDHr",
    "kDHd",
    "kDH",
    "aDH",
    "ADH",
    "AECDH",
    "kECDH",
    "kECDHr",
    "kECDHe",
    "ECDH",
    "aECDH",
    "aDSS",
    "DSS",
    "TLSv1.0",
    "TLSv1",
    "SSLv3",
    "SSLv2",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "MD5",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA384",
    "aGOST",
    "aGOST01",
    "kGOST",
    "GOST94",
    "GOST89MAC",
    "PSK",
    "kPSK",
    "aPSK",
    "kECDHEPSK",
    "kDHEPSK",
    "kRSAPSK",
    "SRP",
    "kSRP",
    "aSRP",
    "CBC",
];

impl<'a> CipherList<'a> {
    /// Reads a list.
    pub fn parse(text: &'a str) -> Self {
        let mut choice = Choice::default();
        let (mut unknown, mut unavailable) = (Vec::new(), Vec::new());
        for word in text.split([':', ',', ';', ' ']).filter(|word| !word.is_empty()) {
            // Sorting by strength, and the levels of a library that is not used.
            if word.starts_with('@') {
                continue;
            }
            let (action, name) = split_action(word);
            match matching(name) {
                Some(suites) if suites.is_empty() && action == Action::Add => {
                    unavailable.push(name);
                }
                Some(suites) => choice.apply(action, &suites),
                None if looks_like_a_suite(name) && action == Action::Add => unavailable.push(name),
                None if looks_like_a_suite(name) => {}
                None => unknown.push(name),
            }
        }
        let is_empty = choice.chosen.is_empty();
        Self { suites: choice.finish(), is_empty, unknown, unavailable }
    }
}

/// Suites chosen so far.
#[derive(Debug, Default)]
struct Choice {
    chosen: Vec<CipherSuite>,
    banned: Vec<CipherSuite>,
}

impl Choice {
    fn apply(&mut self, action: Action, suites: &[CipherSuite]) {
        let Self { chosen, banned } = self;
        match action {
            Action::Add => {
                let new = |suite: &&CipherSuite| !chosen.contains(suite) && !banned.contains(suite);
                let new: Vec<_> = suites.iter().filter(new).copied().collect();
                chosen.extend(new);
            }
            Action::Move => {
                let (moved, mut kept): (Vec<_>, Vec<_>) =
                    chosen.iter().partition(|suite| suites.contains(suite));
                kept.extend(moved);
                *chosen = kept;
            }
            Action::Remove => chosen.retain(|suite| !suites.contains(suite)),
            Action::Ban => {
                chosen.retain(|suite| !suites.contains(suite));
                banned.extend(suites);
            }
        }
    }

    /// Adds TLS 1.3 if nothing was said about it, and puts it first.
    fn finish(self) -> Vec<CipherSuite> {
        let of_tls13 = |suite: &CipherSuite| suite.version() == TlsVersion::Tls13;
        let (mut first, rest): (Vec<_>, Vec<_>) = self.chosen.into_iter().partition(of_tls13);
        if first.is_empty() {
            let all = CipherSuite::ALL.iter().copied().filter(of_tls13);
            first.extend(all.filter(|suite| !self.banned.contains(suite)));
        }
        first.extend(rest);
        first
    }
}

fn split_action(word: &str) -> (Action, &str) {
    for (sign, action) in [('!', Action::Ban), ('-', Action::Remove), ('+', Action::Move)] {
        if let Some(name) = word.strip_prefix(sign) {
            return (action, name);
        }
    }
    (Action::Add, word)
}

/// The suites a word stands for, in our order; `None` if it stands for nothing. `A+B` is what is
/// in both.
fn matching(name: &str) -> Option<Vec<CipherSuite>> {
    let mut left: Option<Vec<CipherSuite>> = None;
    for part in name.split('+') {
        let found = matching_one(part)?;
        left = Some(match left {
            None => found,
            Some(before) => before.into_iter().filter(|suite| found.contains(suite)).collect(),
        });
    }
    left
}

fn matching_one(name: &str) -> Option<Vec<CipherSuite>> {
    let all = CipherSuite::ALL.iter().copied();
    if let Some(suite) =
        all.clone().find(|suite| [suite.openssl_name(), suite.iana_name()].contains(&name))
    {
        return Some([suite].to_vec());
    }
    if let Some((_, belongs)) = GROUPS.iter().find(|(group, _)| *group == name) {
        let of_tls12 = all.filter(|suite| suite.version() == TlsVersion::Tls12);
        return Some(of_tls12.filter(|suite| belongs(*suite)).collect());
    }
    EMPTY_GROUPS.contains(&name).then(Vec::new)
}

/// Whether a word has the form of the name of a suite: of one that does not exist here, then.
fn looks_like_a_suite(name: &str) -> bool {
    let ends = ["-SHA", "-SHA256", "-SHA384", "-MD5", "-POLY1305", "-CCM", "-CCM8"];
    let iana = ["_SHA", "_SHA256", "_SHA384", "_MD5", "_CCM", "_CCM_8", "_NULL"];
    ends.iter().any(|end| name.ends_with(end))
        || (name.starts_with("TLS_") && iana.iter().any(|end| name.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    /// Suites in short: `3` for those of TLS 1.3 if all are there, `E` or `R` for the certificate,
    /// then the cipher.
    fn short(list: &CipherList<'_>) -> String {
        let short = |suite: &CipherSuite| match suite {
            CipherSuite::Aes256GcmSha384 => "3a256",
            CipherSuite::Aes128GcmSha256 => "3a128",
            CipherSuite::Chacha20Poly1305Sha256 => "3cc",
            CipherSuite::EcdheEcdsaAes256GcmSha384 => "Ea256",
            CipherSuite::EcdheEcdsaAes128GcmSha256 => "Ea128",
            CipherSuite::EcdheEcdsaChacha20Poly1305 => "Ecc",
            CipherSuite::EcdheRsaAes256GcmSha384 => "Ra256",
            CipherSuite::EcdheRsaAes128GcmSha256 => "Ra128",
            CipherSuite::EcdheRsaChacha20Poly1305 => "Rcc",
        };
        let names: Vec<_> = list.suites.iter().map(short).collect();
        names.join(" ").replace("3a256 3a128 3cc", "3")
    }

    #[test]
    fn lists() {
        let all = "3 Ea256 Ea128 Ecc Ra256 Ra128 Rcc";
        for (text, suites) in [
            ("DEFAULT", all),
            ("HIGH", all),
            ("ALL:!aNULL:!eNULL", all),
            ("HIGH:!aNULL:!MD5:@STRENGTH", all),
            ("@SECLEVEL=2:HIGH", all),
            ("ECDHE-RSA-AES128-GCM-SHA256", "3 Ra128"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "3 Ra128"),
            ("CHACHA20:AESGCM", "3 Ecc Rcc Ea256 Ea128 Ra256 Ra128"),
            ("ECDHE+AESGCM", "3 Ea256 Ea128 Ra256 Ra128"),
            ("aRSA+AES256, aECDSA+AES128", "3 Ra256 Ea128"),
            ("HIGH:-AES256:!CHACHA20", "3 Ea128 Ra128"),
            ("HIGH:-AES256:AES256", "3 Ea128 Ecc Ra128 Rcc Ea256 Ra256"),
            ("HIGH:!AES256:AES256", "3 Ea128 Ecc Ra128 Rcc"),
            ("HIGH:+AES256", "3 Ea128 Ecc Ra128 Rcc Ea256 Ra256"),
            ("AES128 HIGH", "3 Ea128 Ra128 Ea256 Ecc Ra256 Rcc"),
            ("TLS_AES_128_GCM_SHA256:aRSA", "3a128 Ra256 Ra128 Rcc"),
            ("HIGH:!TLS_CHACHA20_POLY1305_SHA256", "3a256 3a128 Ea256 Ea128 Ecc Ra256 Ra128 Rcc"),
        ] {
            let list = CipherList::parse(text);
            assert_eq!(short(&list), suites, "{text}");
            assert!(!list.is_empty && list.unknown.is_empty(), "{text}: {list:?}");
            assert_eq!(list.unavailable, [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (text, unknown, unavailable, is_empty) in [
            ("HIGH:MEDIUM", &[][..], &["MEDIUM"][..], false),
            (
                "AES256-SHA:DHE-RSA-AES256-GCM-SHA384",
                &[],
                &["AES256-SHA", "DHE-RSA-AES256-GCM-SHA384"],
                true,
            ),
            ("HIGH:!RC4-SHA:!DHE", &[], &[], false),
            ("HIHG", &["HIHG"], &[], true),
            ("HIGH:!aNUL", &["aNUL"], &[], false),
            ("NORMAL:-VERS-ALL", &["NORMAL", "VERS-ALL"], &[], true),
            ("ECDHE+AESGCM+nothing", &["ECDHE+AESGCM+nothing"], &[], true),
            ("aRSA+DHE", &[], &["aRSA+DHE"], true),
            ("HIGH:!ALL", &[], &[], true),
            ("", &[], &[], true),
        ] {
            let list = CipherList::parse(text);
            assert_eq!(list.unknown, unknown, "{text}");
            assert_eq!(list.unavailable, unavailable, "{text}");
            assert_eq!(list.is_empty, is_empty, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_list_is_a_choice_without_doubles(
            words in prop::collection::vec("[!+-]?(ALL|AES|CHACHA20|aRSA|AES256|HIGH|TLS_AES_128_GCM_SHA256)", 0..8)
        ) {
            let text = words.join(":");
            let list = CipherList::parse(&text);
            let mut suites = list.suites.clone();
            suites.sort();
            suites.dedup();
            prop_assert_eq!(suites.len(), list.suites.len(), "{}", format!("{text}: {list:?}"));
            prop_assert!(list.unknown.is_empty());
        }
    }
}
