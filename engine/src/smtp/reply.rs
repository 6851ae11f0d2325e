//! Replies (RFC 5321 section 4.2) and enhanced status codes (RFC 3463).

use alloc::boxed::Box;
use core::fmt;

use serde::{Deserialize, Serialize};

/// A reply as the dialogue's decisions and the records see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code, when the reply starts with one of the same class.
    pub enhanced: Option<EnhancedCode>,
    /// The text without codes; lines are joined by one blank.
    pub text: Box<str>,
    /// Whether these are our own words about something the peer did not say.
    pub local: bool,
}

impl Reply {
    /// Our own words, in the form of a reply, where the peer gave none.
    pub fn local(code: u16, enhanced: EnhancedCode, text: &str) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into(), local: true }
    }

    /// What the first digit says (RFC 5321 section 4.2.1: unknown codes act by it).
    pub const fn severity(&self) -> Severity {
        match self.code {
            200..=299 => Severity::Positive,
            300..=399 => Severity::Intermediate,
            400..=499 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text)?;
        }
        Ok(())
    }
}

/// The meaning of a reply's first digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// 2xx: done.
    Positive,
    /// 3xx: go on.
    Intermediate,
    /// 4xx: try again later.
    Transient,
    /// 5xx: do not try again.
    Permanent,
}

/// An enhanced status code, `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}
