//! Regular expressions of a configuration.

use alloc::string::{String, ToString as _};

use regex::{Regex, RegexBuilder};

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
}
