//! Profiles: what is said in public about how well-known receivers treat senders.
//!
//! Nothing here is a promise by a receiver. Facts age and sources contradict each other, so every
//! value has its source, when that said so, and how far it can be trusted; where sources differ,
//! a range of which each run draws one number.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::receiver::spec::{Extensions, Greylist, Limit, Rule, Unknown};
use crate::receiver::tls::TlsPosture;
use crate::scenario::{ScenarioError, parse_profile};

/// What is known of one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What scenarios call it.
    pub name: Arc<str>,
    /// Whom it is about, in one line.
    pub title: String,
    /// What else to know.
    pub about: String,
    /// Names of its exchanges, as patterns.
    pub exchanges: Vec<String>,
    /// How it behaves.
    pub parts: Parts,
    /// Every value with where it comes from, in the order of the file.
    pub values: Vec<Value>,
}

/// The parts of a receiver that a profile can give.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// What its EHLO offers.
    pub extensions: Option<Extensions>,
    /// What it allows.
    pub limits: Vec<Limit>,
    /// Mailboxes it does not have.
    pub unknown: Option<Unknown>,
    /// Whether it makes strangers wait.
    pub greylist: Option<Greylist>,
    /// Its other replies.
    pub rules: Vec<Rule>,
    /// What it does about TLS.
    pub tls: Vec<TlsPosture>,
}

/// One value of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Value {
    /// What it is: `connections per address`.
    pub what: String,
    /// The number, or the range of it; empty where there is none.
    pub value: String,
    /// What the receiver does about it.
    pub does: String,
    /// Who says so.
    pub source: String,
    /// When the source said so: a year, perhaps with month and day.
    pub as_of: String,
    /// How far to trust it.
    pub confidence: Confidence,
    /// What is assumed beyond the source.
    pub note: String,
}

/// How far to trust a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The receiver itself says so, or its own reply does.
    High,
    /// Senders who measured it, or several sources that agree.
    Medium,
    /// One source, or a guess about how often something happens.
    Low,
}

impl Confidence {
    /// All, with their names in profiles.
    pub const NAMES: [(&'static str, Self); 3] =
        [("high", Self::High), ("medium", Self::Medium), ("low", Self::Low)];
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, one)| one == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

/// The profiles that are built in, in the order of their names.
///
/// # Panics
///
/// When one of them cannot be read, which a test excludes.
pub fn built_in() -> &'static [Profile] {
    static PARSED: OnceLock<Vec<Profile>> = OnceLock::new();
    PARSED.get_or_init(|| {
        let parsed = TEXTS.iter().map(|(name, text)| parse(name, Path::new(name), text));
        parsed.map(|profile| profile.unwrap_or_else(|error| panic!("{error}"))).collect()
    })
}

/// A profile that is built in.
pub fn find(name: &str) -> Option<&'static Profile> {
    built_in().iter().find(|profile| &*profile.name == name)
}

/// Reads a profile. `path` is for messages.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse(name: &str, path: &Path, text: &str) -> Result<Profile, ScenarioError> {
    parse_profile(name, path, text)
}

macro_rules! texts {
    ($($name:literal),* $(,)?) => {
        [$((
            $name,
            include_str!(concat!("../../scenarios/profiles/", $name, ".toml")),
        )),*]
    };
}

/// The files of `scenarios/profiles`.
const TEXTS: [(&str, &str); 27] = texts![
    "163",
    "apple",
    "barracuda",
    "bellsouth",
    "comcast",
    "cox",
    "earthlink",
    "gmx",
    "google",
    "kpn",
    "laposte",
    "libero",
    "mail-com",
    "mail-ru",
    "mimecast",
    "netvigator",
    "office365",
    "onet",
    "orange",
    "outlook",
    "qq",
    "sina",
    "spectrum",
    "tiscali-uk",
    "web-de",
    "yahoo",
    "yahoo-jp",
];

#[cfg(test)]
mod tests;
