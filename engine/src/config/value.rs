//! Types of option values: reading them from words, lists and dictionaries.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use regex::Regex;

use super::ast::{self, Element};
use super::cidr::Cidr;
use super::scope::in_words;

/// What an option's value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` / `false`, `on` / `off`, `enabled` / `disabled`, `yes` / `no`, `1` / `0`.
    Bool,
    /// A whole number from the first to the second.
    Int(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or a whole number from the first to the second.
    WordOrInt(&'static [&'static str], i64, i64),
    /// One of these words, or a number above 0.
    WordOrFloat(&'static [&'static str]),
    /// `n` or `n/seconds`; 0 is no limit.
    Rate,
    /// `( low high )`.
    Bounds,
    /// `"4 hours"`.
    Duration,
    /// Any text.
    Text,
    /// The name of a file or directory.
    Path,
    /// A regular expression.
    Regex,
    /// `0644`.
    Octal,
    /// A list of any words.
    Words,
    /// A list of some of these words.
    WordsOf(&'static [&'static str]),
    /// A list of networks.
    Cidrs,
    /// A list of domains, `*.` in front for subdomains.
    Domains,
    /// `[ name = value ... ]`.
    Map,
    /// A property that is there or not, in the list form of listeners.
    Flag,
    /// A property of the list form of listeners that may have a dictionary.
    Property,
    /// `relay_for_sending_domains`: bare for every domain, or with domains.
    Senders,
}

/// A value of the right type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`] and [`Kind::Flag`].
    Bool(bool),
    /// Of the kinds with whole numbers, and of [`Kind::Octal`].
    Int(i64),
    /// Of [`Kind::WordOrFloat`].
    Float(f64),
    /// One of the words of the kind.
    Word(&'static str),
    /// Of [`Kind::Rate`]; `None` for no limit.
    Rate(Option<Rate>),
    /// Of [`Kind::Bounds`].
    Bounds(i64, i64),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of the kinds that are text.
    Text(Arc<str>),
    /// Of [`Kind::Regex`].
    Pattern(Pattern),
    /// Of the kinds that are lists of words; domains are in lower case.
    Words(Arc<[Arc<str>]>),
    /// Of [`Kind::Cidrs`].
    Cidrs(Arc<[Cidr]>),
    /// Of [`Kind::Map`] and [`Kind::Property`].
    Map(Arc<BTreeMap<Arc<str>, Arc<str>>>),
    /// Of [`Kind::Senders`]; `None` for every domain.
    Senders(Option<Arc<[Arc<str>]>>),
}

/// A compiled regular expression. Two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Regex>);

impl Pattern {
    fn new(regex: Regex) -> Self {
        Self(Arc::new(regex))
    }

    /// The expression.
    pub const fn regex(&self) -> &Arc<Regex> {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// So many events in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub events: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// Why a value does not fit, in words, with what would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What was expected.
    pub expected: String,
    /// A value that would be right.
    pub example: &'static str,
}

/// The spellings of yes and no.
const BOOLS: [(&str, bool); 10] = [
    ("true", true),
    ("false", false),
    ("on", true),
    ("off", false),
    ("enabled", true),
    ("disabled", false),
    ("yes", true),
    ("no", false),
    ("1", true),
    ("0", false),
];

impl Kind {
    /// Reads a value.
    pub fn read(self, value: &ast::Value) -> Result<Value, Misfit> {
        let read = match (self, value) {
            (Self::Bounds | Self::Cidrs | Self::Words | Self::Domains, ast::Value::List(list))
            | (Self::WordsOf(_) | Self::Senders, ast::Value::List(list)) => {
                plain_words(&list.elements).and_then(|words| self.read_words(&words))
            }
            (Self::Map | Self::Property | Self::Senders, ast::Value::Dict(dict)) => {
                self.read_dict(dict)
            }
            (_, ast::Value::Word(word)) => self.read_word(&word.text),
            _ => None,
        };
        read.ok_or_else(|| self.misfit())
    }

    /// Reads a value that is one word. A list of one may go without its parentheses.
    pub fn read_word(self, word: &str) -> Option<Value> {
        match self {
            Self::Bool | Self::Flag => read_bool(word).map(Value::Bool),
            Self::Int(low, high) => read_int(word, low, high).map(Value::Int),
            Self::Word(words) => one_of(word, words).map(Value::Word),
            Self::WordOrInt(words, low, high) => one_of(word, words)
                .map(Value::Word)
                .or_else(|| read_int(word, low, high).map(Value::Int)),
            Self::WordOrFloat(words) => {
                one_of(word, words).map(Value::Word).or_else(|| read_float(word).map(Value::Float))
            }
            Self::Rate => read_rate(word).map(Value::Rate),
            Self::Duration => read_duration(word).map(Value::Duration),
            Self::Text | Self::Path => Some(Value::Text(Arc::from(word))),
            Self::Regex => super::pattern::compile(word).ok().map(Pattern::new).map(Value::Pattern),
            Self::Octal => i64::from_str_radix(word, 8)
                .ok()
                .filter(|mode| (0..=0o7777).contains(mode))
                .map(Value::Int),
            Self::Bounds | Self::Words | Self::WordsOf(_) | Self::Cidrs | Self::Domains => {
                let words: Vec<_> = word.split_whitespace().collect();
                self.read_words(&words)
            }
            Self::Senders => match read_bool(word) {
                Some(true) => Some(Value::Senders(None)),
                Some(false) => Some(Value::Senders(Some(Arc::from([])))),
                None => self.read_words(&[word]),
            },
            Self::Map | Self::Property => None,
        }
    }

    fn read_words(self, words: &[&str]) -> Option<Value> {
        match self {
            Self::Bounds => {
                let [low, high] = words else { return None };
                let low = read_int(low, 0, i64::from(u32::MAX))?;
                let high = read_int(high, low, i64::from(u32::MAX))?;
                Some(Value::Bounds(low, high))
            }
            Self::Cidrs => words
                .iter()
                .map(|word| Cidr::parse(word).ok())
                .collect::<Option<_>>()
                .map(Value::Cidrs),
            Self::WordsOf(known) => words
                .iter()
                .map(|word| one_of(word, known).map(Arc::from))
                .collect::<Option<_>>()
                .map(Value::Words),
            Self::Domains => lower(words).map(Value::Words),
            Self::Senders => lower(words).map(|words| Value::Senders(Some(words))),
            _ => Some(Value::Words(words.iter().map(|&word| Arc::from(word)).collect())),
        }
    }

    fn read_dict(self, dict: &ast::Dict) -> Option<Value> {
        let words = || {
            dict.entries.iter().map(|entry| match &entry.value {
                ast::Value::Word(word) => Some((&entry.name.text, &word.text)),
                _ => None,
            })
        };
        match self {
            Self::Map | Self::Property => words()
                .map(|entry| entry.map(|(name, value)| (name.clone(), value.clone())))
                .collect::<Option<_>>()
                .map(|map| Value::Map(Arc::new(map))),
            Self::Senders => {
                let allowed: Vec<_> = words()
                    .map(|entry| {
                        let (domain, allowed) = entry?;
                        read_bool(allowed).map(|allowed| allowed.then_some(&**domain))
                    })
                    .collect::<Option<Vec<_>>>()?;
                let allowed: Vec<_> = allowed.into_iter().flatten().collect();
                lower(&allowed).map(|domains| Value::Senders(Some(domains)))
            }
            _ => None,
        }
    }

    /// What the kind wants, when it did not get it.
    fn misfit(self) -> Misfit {
        Misfit { expected: self.to_string(), example: self.example() }
    }

    /// A value that would be right.
    pub const fn example(self) -> &'static str {
        match self {
            Self::Bool => "true",
            Self::Int(low, _) if low > 20 => "1000",
            Self::Int(..) => "20",
            Self::Word([first, ..]) | Self::WordOrFloat([first, ..]) => first,
            Self::WordOrInt([first, ..], ..) => first,
            Self::Word(_) | Self::WordOrFloat(_) | Self::WordOrInt(..) | Self::Text => "\"text\"",
            Self::Rate => "\"600/60\"",
            Self::Bounds => "( 5 20 )",
            Self::Duration => "\"4 hours\"",
            Self::Path => "\"/etc/traject/name\"",
            Self::Regex => "\"^bounce-.*@\"",
            Self::Octal => "0640",
            Self::Words => "( \"one\" \"two\" )",
            Self::WordsOf(_) => "( word ... )",
            Self::Cidrs => "( 192.0.2.0/24 2001:db8::/32 )",
            Self::Domains => "( example.com *.example.net )",
            Self::Map | Self::Property => "[ name = \"value\" ]",
            Self::Flag => "true",
            Self::Senders => "( example.com *.example.net )",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bool | Self::Flag => f.write_str("true or false"),
            Self::Int(low, high) => write_range(f, low, high),
            Self::Word(words) => f.write_str(&in_words(words, "or")),
            Self::WordOrInt(words, low, high) => {
                write!(f, "{} or ", words.join(", "))?;
                write_range(f, low, high)
            }
            Self::WordOrFloat(words) => write!(f, "{} or a number above 0", words.join(", ")),
            Self::Rate => f.write_str("a rate, `n` (a second) or `n/seconds`"),
            Self::Bounds => f.write_str("two whole numbers, `( low high )`"),
            Self::Duration => f.write_str("a number with seconds, minutes, hours or days"),
            Self::Text => f.write_str("a text"),
            Self::Path => f.write_str("a path"),
            Self::Regex => f.write_str("a regular expression"),
            Self::Octal => f.write_str("an octal mode"),
            Self::Words => f.write_str("a list of words"),
            Self::WordsOf(words) => write!(f, "a list of {}", in_words(words, "and")),
            Self::Cidrs => f.write_str("a list of networks in CIDR notation"),
            Self::Domains => f.write_str("a list of domains"),
            Self::Map | Self::Property => f.write_str("a dictionary `[ name = value ... ]`"),
            Self::Senders => f.write_str("a list of sender domains"),
        }
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, low: i64, high: i64) -> fmt::Result {
    match (low, high) {
        (_, i64::MAX..) => write!(f, "a whole number from {low}"),
        _ => write!(f, "a whole number from {low} to {high}"),
    }
}

/// Reads a boolean in any of its spellings.
pub(super) fn read_bool(word: &str) -> Option<bool> {
    let found = BOOLS.iter().find(|(spelling, _)| spelling.eq_ignore_ascii_case(word));
    found.map(|&(_, value)| value)
}

fn read_int(word: &str, low: i64, high: i64) -> Option<i64> {
    word.parse().ok().filter(|number| (low..=high).contains(number))
}

fn read_float(word: &str) -> Option<f64> {
    word.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

fn one_of(word: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().copied().find(|known| known.eq_ignore_ascii_case(word))
}

/// `n` or `n/seconds`. `Some(None)` is no limit.
#[expect(clippy::option_option, reason = "no limit is a value; no value is a mistake")]
fn read_rate(word: &str) -> Option<Option<Rate>> {
    let (events, seconds) = word.split_once('/').unwrap_or((word, "1"));
    let events = events.trim().parse().ok()?;
    let seconds = seconds.trim().parse().ok().filter(|&seconds| seconds > 0)?;
    Some((events > 0).then_some(Rate { events, seconds }))
}

/// `4 hours`, or a plain number of seconds.
fn read_duration(word: &str) -> Option<Duration> {
    let mut parts = word.split_whitespace();
    let number: u32 = parts.next()?.parse().ok()?;
    let unit = match parts.next() {
        None => 1,
        Some(unit) => {
            let unit = unit.to_ascii_lowercase();
            match unit.strip_suffix('s').unwrap_or(&unit) {
                "second" => 1,
                "minute" => 60,
                "hour" => 3600,
                "day" => 86_400,
                _ => return None,
            }
        }
    };
    parts.next().is_none().then(|| Duration::from_secs(u64::from(number) * unit))
}

/// The words of a list whose elements are nothing else.
fn plain_words(elements: &[Element]) -> Option<Vec<&str>> {
    elements
        .iter()
        .map(|element| {
            let plain = element.attributes.is_none() && element.properties.is_none();
            plain.then_some(&*element.word.text)
        })
        .collect()
}

/// Domains in lower case; `None` if one of them is none.
fn lower(words: &[&str]) -> Option<Arc<[Arc<str>]>> {
    words
        .iter()
        .map(|word| {
            let fine = !word.is_empty() && !word.contains([',', '@']);
            fine.then(|| Arc::from(word.to_lowercase()))
        })
        .collect()
}

impl fmt::Display for Value {
    /// As it would be written in a configuration, without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Rate(None) => f.write_str("0"),
            Self::Rate(Some(Rate { events, seconds: 1 })) => write!(f, "{events}"),
            Self::Rate(Some(Rate { events, seconds })) => write!(f, "{events}/{seconds}"),
            Self::Bounds(low, high) => write!(f, "( {low} {high} )"),
            Self::Duration(duration) => write!(f, "{} seconds", duration.as_secs()),
            Self::Text(text) => f.write_str(text),
            Self::Pattern(pattern) => f.write_str(pattern.regex().as_str()),
            Self::Words(words) => write_list(f, words.iter()),
            Self::Cidrs(cidrs) => write_list(f, cidrs.iter()),
            Self::Map(map) => {
                let entries: Vec<_> =
                    map.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
                write!(f, "[ {} ]", entries.join(" "))
            }
            Self::Senders(None) => f.write_str("true"),
            Self::Senders(Some(domains)) => write_list(f, domains.iter()),
        }
    }
}

fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    f.write_str("(")?;
    for item in items {
        write!(f, " {item}")?;
    }
    f.write_str(" )")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, word: &str) -> String {
        kind.read_word(word).map_or_else(|| String::from("-"), |value| value.to_string())
    }

    #[test]
    fn words_become_values_or_do_not() {
        let retries = Kind::WordOrInt(&["auto", "none"], 1, 65_535);
        let slope = Kind::WordOrFloat(&["normal", "high"]);
        let events = Kind::WordsOf(&["throttle", "suspension"]);
        let table = [
            (Kind::Bool, "On", "true"),
            (Kind::Bool, "disabled", "false"),
            (Kind::Bool, "0", "false"),
            (Kind::Bool, "maybe", "-"),
            (Kind::Int(0, 10), "10", "10"),
            (Kind::Int(0, 10), "11", "-"),
            (Kind::Int(0, 10), "5k", "-"),
            (Kind::Int(-1, i64::MAX), "-1", "-1"),
            (Kind::Int(0, i64::MAX), "99999999999999999999", "-"),
            (Kind::Word(&["no", "ifavailable"]), "IfAvailable", "ifavailable"),
            (Kind::Word(&["no"]), "yes", "-"),
            (retries, "AUTO", "auto"),
            (retries, "7", "7"),
            (retries, "0", "-"),
            (slope, "high", "high"),
            (slope, "0.5", "0.5"),
            (slope, "0", "-"),
            (slope, "nan", "-"),
            (Kind::Rate, "600/60", "600/60"),
            (Kind::Rate, "10", "10"),
            (Kind::Rate, "10 / 5", "10/5"),
            (Kind::Rate, "0", "0"),
            (Kind::Rate, "10/0", "-"),
            (Kind::Rate, "-1", "-"),
            (Kind::Bounds, "20 80", "( 20 80 )"),
            (Kind::Bounds, "80 20", "-"),
            (Kind::Duration, "4 hours", "14400 seconds"),
            (Kind::Duration, "1 Day", "86400 seconds"),
            (Kind::Duration, "90", "90 seconds"),
            (Kind::Duration, "4 fortnights", "-"),
            (Kind::Duration, "4 hours ago", "-"),
            (Kind::Octal, "0640", "416"),
            (Kind::Octal, "0999", "-"),
            (events, "throttle Suspension", "( throttle suspension )"),
            (events, "sleep", "-"),
            (Kind::Cidrs, "10.0.0.0/8", "( 10.0.0.0/8 )"),
            (Kind::Cidrs, "10.0.0.0/40", "-"),
            (Kind::Domains, "Example.COM", "( example.com )"),
            (Kind::Domains, "a.test,b.test", "-"),
            (Kind::Senders, "true", "true"),
            (Kind::Senders, "*.X.test", "( *.x.test )"),
            (Kind::Regex, "^a(b|c)$", "^a(b|c)$"),
            (Kind::Regex, "a(b", "-"),
        ];
        for (kind, word, want) in table {
            assert_eq!(read(kind, word), want, "{kind:?} {word}");
        }
    }

    #[test]
    fn every_kind_reads_its_own_example() {
        let kinds = [
            Kind::Bool,
            Kind::Int(0, 65_535),
            Kind::Int(30, i64::MAX),
            Kind::Word(&["no"]),
            Kind::WordOrInt(&["auto"], 1, 2),
            Kind::WordOrFloat(&["normal"]),
            Kind::Rate,
            Kind::Duration,
            Kind::Regex,
            Kind::Octal,
        ];
        for kind in kinds {
            let example = kind.example().trim_matches('"');
            assert!(kind.read_word(example).is_some(), "{kind:?} {example}");
        }
    }
}
