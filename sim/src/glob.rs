//! Patterns with `*` and `?`.

use std::sync::Arc;

/// A pattern: `*` stands for any text, `?` for any one byte; letters match in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Arc<str>);

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_ascii_lowercase().into())
    }

    /// The pattern's text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` as a whole is like the pattern.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_parts(&[text])
    }

    /// Whether the concatenation of `parts` is like the pattern, without making it.
    pub fn matches_parts(&self, parts: &[&str]) -> bool {
        let pattern = self.0.as_bytes();
        let length = parts.iter().map(|part| part.len()).sum();
        let (mut p, mut t) = (0, 0);
        // Where to go on when a `*` has to take one byte more.
        let mut retry: Option<(usize, usize)> = None;
        while t < length {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, t));
                    p += 1;
                }
                Some(&c) if c == b'?' || c == byte_at(parts, t) => {
                    p += 1;
                    t += 1;
                }
                _ => match retry {
                    Some((after_star, taken)) => {
                        retry = Some((after_star, taken + 1));
                        (p, t) = (after_star, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }
}

fn byte_at(parts: &[&str], mut at: usize) -> u8 {
    for part in parts {
        if at < part.len() {
            return part.as_bytes()[at].to_ascii_lowercase();
        }
        at -= part.len();
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*@a.test", "user@a.test", true),
            ("*@a.test", "user@b.test", false),
            ("no*@*", "NObody@a.test", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab", "xabyabab", true),
            ("*ab*ab", "xab", false),
            ("", "x", false),
            ("5*", "550 5.1.1", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn parts_match_like_their_concatenation() {
        let glob = Glob::new("user?@*.test");
        assert!(glob.matches_parts(&["user1", "@", "a.test"]));
        assert!(!glob.matches_parts(&["user12", "@", "a.test"]));
        assert!(glob.matches_parts(&["us", "er1@a.te", "st"]));
    }
}
