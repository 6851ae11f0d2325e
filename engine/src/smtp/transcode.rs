//! Rewriting replies (`response_transcode_pattern`, `response_transcode_replace`).
//!
//! The reply that decides about a recipient is rewritten before anything is made of it: its new
//! code is the result, and the only one in the records. The dialogue itself goes on with what the
//! server really said: a 421 ends it, however it is rewritten.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use regex::{Captures, Regex};

use crate::limits::REPLY_TEXT_BYTES_MAX;
use crate::smtp::client::RecipientResult;
use crate::smtp::reply::{Reply, Severity};

/// One rule.
#[derive(Clone, Debug)]
pub struct Transcode {
    pattern: Arc<Regex>,
    replacement: Replacement,
}

/// By their texts: patterns of one text match alike.
impl PartialEq for Transcode {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.replacement == other.replacement
    }
}

impl Transcode {
    /// A rule that replaces what `pattern` matches by `replacement`.
    pub fn new(pattern: Arc<Regex>, replacement: &str) -> Self {
        Self { pattern, replacement: Replacement::parse(replacement) }
    }

    /// The reply instead of this one; `None` if it stays as it is.
    ///
    /// The pattern is tried on the whole reply on one line, its code included, when that code is
    /// from 400 to 599. The result must be such a reply too, else it does not count: a failure
    /// never becomes a success. A permanent failure that is our own stays one.
    pub fn rewrite(&self, reply: &Reply) -> Option<Reply> {
        let ours_for_good = reply.local && reply.severity() == Severity::Permanent;
        if !is_failure(reply) || ours_for_good {
            return None;
        }
        let text = reply.to_string();
        let captures = self.pattern.captures(&text)?;
        let rewritten = self.replacement.expand(&captures);
        Reply::parse(&rewritten, reply.local).filter(is_failure)
    }

    /// What a rewritten reply makes of a result.
    pub fn apply(&self, result: RecipientResult) -> RecipientResult {
        let (RecipientResult::Transient(reply) | RecipientResult::Permanent(reply)) = &result
        else {
            return result;
        };
        match self.rewrite(reply) {
            None => result,
            Some(reply) if reply.severity() == Severity::Transient => {
                RecipientResult::Transient(reply)
            }
            Some(reply) => RecipientResult::Permanent(reply),
        }
    }
}

fn is_failure(reply: &Reply) -> bool {
    matches!(reply.severity(), Severity::Transient | Severity::Permanent)
}

/// A text with groups of a match in it: `$0` is the whole match, `$1` to `$9` its groups. A `$`
/// before anything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replacement(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Group(usize),
}

impl Replacement {
    pub(crate) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let digit = letters.peek().and_then(|next| next.to_digit(10));
            match digit.filter(|_| letter == '$') {
                Some(digit) => {
                    letters.next();
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(mem::take(&mut literal).into()));
                    }
                    pieces.push(Piece::Group(digit as usize));
                }
                None => literal.push(letter),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Self(pieces)
    }

    /// Whether some match may give a reply with a code from 400 to 599.
    pub(crate) fn may_be_reply(&self) -> bool {
        match self.0.first() {
            None => false,
            Some(Piece::Group(_)) => true,
            Some(Piece::Text(text)) if text.len() < 4 && self.0.len() > 1 => {
                text.bytes().take(3).all(|byte| byte.is_ascii_digit())
            }
            Some(Piece::Text(text)) => Reply::parse(text, false).is_some_and(|r| is_failure(&r)),
        }
    }

    /// The text for a match. What exceeds the longest reply is left out.
    fn expand(&self, captures: &Captures<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(literal) => literal,
                Piece::Group(group) => captures.get(*group).map_or("", |found| found.as_str()),
            });
            if text.len() > REPLY_TEXT_BYTES_MAX {
                break;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, replacement: &str) -> Transcode {
        Transcode::new(Arc::new(Regex::new(pattern).unwrap()), replacement)
    }

    #[test]
    fn replies_are_rewritten_as_a_whole() {
        let ours = |text| Reply::parse(text, true).unwrap();
        let theirs = |text| Reply::parse(text, false).unwrap();
        for (pattern, replacement, reply, expected) in [
            // Soft to hard and back.
            ("^450 .*quota", "552 5.2.2 full", theirs("450 4.2.2 over quota"), "552 5.2.2 full"),
            ("^554(.*)", "421$1", theirs("554 5.7.1 blocked"), "421 5.7.1 blocked"),
            (
                "^5(..) 5[.](.*)",
                "4$1 4.$2 ($0)",
                theirs("550 5.7.1 no"),
                "450 4.7.1 no (550 5.7.1 no)",
            ),
            // The whole reply is replaced, not the match alone.
            ("spam", "450 4.7.0 later", theirs("550 5.7.1 spam list"), "450 4.7.0 later"),
            // Groups that took no part, or do not exist, are empty. Other dollars are themselves.
            ("^450( x)?", "450 a$1$9$b$$$0$", theirs("450 y"), "450 a$b$$450$"),
            // Text of the match is no template.
            ("^450 (.*)", "451 $1", theirs("450 $0$1"), "451 $0$1"),
            // No match.
            ("^450", "550 no", theirs("451 4.3.0 later"), "451 4.3.0 later"),
            // The code is not 400 to 599.
            ("", "550 no", theirs("250 2.0.0 ok"), "250 2.0.0 ok"),
            ("", "550 no", theirs("354 go"), "354 go"),
            // Our own transient words may become final, our own final words stay.
            ("closed", "554 5.4.2 gave up", ours("451 4.4.2 closed"), "554 5.4.2 gave up"),
            ("", "450 later", ours("554 5.6.3 8-bit body"), "554 5.6.3 8-bit body"),
            // What would be no failure, or no reply, does not count.
            ("", "250 $0", theirs("550 no"), "550 no"),
            ("", "354 $0", theirs("550 no"), "550 no"),
            ("no", "$0", theirs("550 no"), "550 no"),
            ("", "4xx", theirs("550 no"), "550 no"),
            ("", "4500 x", theirs("550 no"), "550 no"),
            ("", "450-x", theirs("550 no"), "550 no"),
            ("", "", theirs("550 no"), "550 no"),
        ] {
            let rewritten = rule(pattern, replacement).rewrite(&reply);
            let local = reply.local;
            let shown = rewritten.unwrap_or(reply);
            assert_eq!(shown.to_string(), expected, "{pattern} {replacement}");
            assert_eq!(shown.local, local);
        }
    }

    #[test]
    fn the_new_code_decides() {
        let reply = |text| Reply::parse(text, false).unwrap();
        let soften = rule("^5", "450 4.0.0 softened");
        let harden = rule("^4", "550 5.0.0 hardened");
        let table = [
            (&soften, RecipientResult::Permanent(reply("550 no")), "450 4.0.0 softened"),
            (&harden, RecipientResult::Transient(reply("421 no")), "550 5.0.0 hardened"),
            (&harden, RecipientResult::Permanent(reply("550 no")), "550 no"),
            (&harden, RecipientResult::Delivered(reply("250 ok")), "250 ok"),
        ];
        for (rule, result, expected) in table {
            let (reply, severity) = match rule.apply(result) {
                RecipientResult::Delivered(reply) => (reply, Severity::Positive),
                RecipientResult::Transient(reply) => (reply, Severity::Transient),
                RecipientResult::Permanent(reply) => (reply, Severity::Permanent),
            };
            assert_eq!((&*reply.to_string(), reply.severity()), (expected, severity));
        }
    }

    #[test]
    fn what_can_never_be_a_reply_is_known_beforehand() {
        for (replacement, expected) in [
            ("450 4.0.0 later", true),
            ("450", true),
            ("450$1", true),
            ("45$1", true),
            ("4$1 x", true),
            ("$0", true),
            ("", false),
            ("later", false),
            ("4x$1", false),
            ("250 ok", false),
            ("45", false),
            ("450later", false),
            ("650 x", false),
        ] {
            assert_eq!(Replacement::parse(replacement).may_be_reply(), expected, "{replacement}");
        }
    }

    #[test]
    fn a_template_cannot_make_a_text_without_end() {
        let reply = Reply::parse(&"450 ".repeat(200), false).unwrap();
        let replacement = "$0 ".repeat(10_000);
        let rewritten = rule(".*", &replacement).rewrite(&reply).unwrap();
        assert!(rewritten.text.len() <= REPLY_TEXT_BYTES_MAX);
    }
}
