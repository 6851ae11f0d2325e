//! Regular expressions of a configuration.

use alloc::format;
use alloc::string::{String, ToString as _};

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::limits;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PatternError {
    /// What is wrong, in the words of the regex parser.
    pub(super) why: String,
    /// What to do about it.
    pub(super) help: Option<&'static str>,
}

/// Compiles a pattern. Matching takes time linear in the text, so patterns that need backtracking
/// (look-around, back references) do not compile.
pub(super) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .size_limit(limits::CONFIG_REGEX_BYTES_MAX)
        .build()
        .map_err(|error| explain(pattern, &error))
}

fn explain(pattern: &str, error: &regex::Error) -> PatternError {
    if let regex::Error::CompiledTooBig(_) = error {
        let why = String::from("it is too large when compiled");
        return PatternError { why, help: Some("use smaller repetition counts") };
    }
    let look_around = ["(?=", "(?!", "(?<=", "(?<!"];
    let backtracks = look_around.iter().any(|group| pattern.contains(group))
        || pattern
            .as_bytes()
            .windows(2)
            .any(|two| two[0] == b'\\' && matches!(two[1], b'1'..=b'9'));
    let help = backtracks.then_some("write several stanzas, the more specific first");
    // The last line of the regex parser's report is the reason, after pictures of the pattern.
    let report = error.to_string();
    let why = report.lines().last().unwrap_or("").trim_start_matches("error: ");
    PatternError { why: String::from(why), help }
}

/// A domain that a pattern matches, made up; `None` if none was found.
pub(super) fn sample(regex: &Regex) -> Option<String> {
    let mut name = String::new();
    write_sample(&regex_syntax::parse(regex.as_str()).ok()?, &mut name);
    // A pattern that says how names end says nothing of how they begin, and the other way round.
    let mut tries = [name.clone(), format!("mail{name}"), format!("{name}.example")].into_iter();
    tries.find(|name| {
        let labels = || name.split('.');
        labels().count() > 1 && labels().all(|label| !label.is_empty()) && regex.is_match(name)
    })
}

/// Writes the plainest text that matches.
fn write_sample(hir: &Hir, out: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => out.extend(plainest(class)),
        HirKind::Repetition(repeated) => {
            // Once where it may be left out: labels of names are not empty.
            for _ in 0..repeated.min.clamp(1, REPEATED_MAX) {
                write_sample(&repeated.sub, out);
            }
        }
        HirKind::Capture(group) => write_sample(&group.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write_sample(part, out)),
        HirKind::Alternation(parts) => {
            if let Some(first) = parts.first() {
                write_sample(first, out);
            }
        }
    }
}

/// A letter if there is one, else a digit, else whatever comes first.
fn plainest(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else { return None };
    let has = |c: &char| class.iter().any(|range| range.start() <= *c && *c <= range.end());
    let first = || class.iter().next().map(|range| range.start());
    ['a', '0'].into_iter().find(has).or_else(first)
}

/// A label of a name has no more bytes (RFC 1035 section 2.3.4).
const REPEATED_MAX: u32 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_compiled_is_explained() {
        assert!(compile(r"(?:^|[.])example[.](?:com|co[.]uk)$").is_ok());
        let unclosed = compile("a(b").unwrap_err();
        assert_eq!((unclosed.why.as_str(), unclosed.help), ("unclosed group", None));
        assert!(compile("(?!x)y").unwrap_err().help.is_some());
        assert!(compile(r"(a)\1").unwrap_err().help.is_some());
        assert_eq!(compile("(a{1000}){1000}").unwrap_err().why, "it is too large when compiled");
    }
    #[test]
    fn a_name_is_made_up_for_a_pattern() {
        for (pattern, name) in [
            (r"\.example$", Some("mail.example")),
            ("^shop", Some("shop.example")),
            (r"(?:^|[.])example[.](?:com|co[.]uk)$", Some("example.com")),
            (r"^mx\d{2}\.[^.]+\.example$", Some("mx00.a.example")),
            (r"^(gmail|googlemail)\.com$", Some("gmail.com")),
            (".", Some("a.example")),
            ("^$", None),
        ] {
            assert_eq!(sample(&compile(pattern).unwrap()).as_deref(), name, "{pattern}");
        }
    }
}
