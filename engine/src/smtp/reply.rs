//! Replies (RFC 5321 section 4.2) and enhanced status codes (RFC 3463).

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, REPLY_TEXT_BYTES_MAX};
use crate::smtp::line::{Framed, LineFramer};

/// A reply as the dialogue's decisions and the records see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

    /// Reads a reply of one line without its end, as a server would say it or we in its place.
    /// `None` if it does not begin with a code from 200 to 599.
    pub fn parse(line: &str, local: bool) -> Option<Self> {
        let (code, last, text) = split_code(line.as_bytes())?;
        let (enhanced, text) = match EnhancedCode::take(code / 100, text) {
            Some((enhanced, rest)) => (Some(enhanced), rest),
            None => (None, text),
        };
        let mut fit = String::new();
        push_text(&mut fit, text);
        last.then(|| Self { code, enhanced, text: fit.into(), local })
    }

    /// What the first digit says (RFC 5321 section 4.2.1: unknown codes act by it).
    pub const fn severity(&self) -> Severity {
        Severity::of(self.code)
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

impl Severity {
    const fn of(code: u16) -> Self {
        match code {
            200..=299 => Self::Positive,
            300..=399 => Self::Intermediate,
            400..=499 => Self::Transient,
            _ => Self::Permanent,
        }
    }
}

/// An enhanced status code, `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl EnhancedCode {
    /// Takes an enhanced code of class `class` and the blank behind it off the start of `text`.
    fn take(class: u16, text: &[u8]) -> Option<(Self, &[u8])> {
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let mut parts = text[..end].split(|byte| *byte == b'.').map(small_number);
        let (first, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        if first != class || parts.next().is_some() {
            return None;
        }
        let rest = text.get(end + 1..).unwrap_or_default();
        Some((Self(u8::try_from(first).ok()?, subject, detail), rest))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Reads replies off a stream of bytes: any number of bytes in, one reply at a time out, in
/// bounded memory.
///
/// Strict where a guess could take a refusal for a success: lines end in CRLF alone, each begins
/// with a code from 200 to 599, all lines of a reply have the same. Lenient in the rest: text may
/// be anything.
#[derive(Clone, Debug)]
pub struct ReplyParser {
    framer: LineFramer,
    reply: Partial,
}

/// The lines of a reply so far.
#[derive(Clone, Debug)]
struct Partial {
    /// Code of the lines seen; `None` before the first.
    code: Option<u16>,
    enhanced: Option<EnhancedCode>,
    lines: usize,
    text: String,
    /// The last line was seen; the next one begins another reply.
    complete: bool,
}

/// A reply in the parser's own memory, valid until the next call: most replies are looked at and
/// forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyView<'a> {
    /// See [`Reply::code`].
    pub code: u16,
    /// See [`Reply::enhanced`].
    pub enhanced: Option<EnhancedCode>,
    /// See [`Reply::text`].
    pub text: &'a str,
}

impl ReplyView<'_> {
    /// The reply, to keep.
    pub fn to_reply(self) -> Reply {
        Reply { code: self.code, enhanced: self.enhanced, text: self.text.into(), local: false }
    }

    /// See [`Reply::severity`].
    pub const fn severity(self) -> Severity {
        Severity::of(self.code)
    }
}

/// What is wrong with a reply. Nothing that follows on the connection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line does not begin with three digits that are a code, and a blank, hyphen or its end.
    NoCode,
    /// The lines of one reply have different codes.
    CodeChanged,
    /// A line exceeds [`REPLY_LINE_BYTES_MAX`].
    LineTooLong,
    /// A reply exceeds [`REPLY_LINES_MAX`].
    TooManyLines,
    /// A line contains an LF without CR: it may be one line or two.
    BareLf,
}

impl ReplyError {
    /// The words of records.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoCode => "reply without a valid code",
            Self::CodeChanged => "code changes inside a multi-line reply",
            Self::LineTooLong => "reply line too long",
            Self::TooManyLines => "too many lines in a reply",
            Self::BareLf => "bare LF in a reply",
        }
    }
}

impl ReplyParser {
    /// A parser at the start of a stream.
    pub const fn new() -> Self {
        Self {
            framer: LineFramer::new(REPLY_LINE_BYTES_MAX),
            reply: Partial {
                code: None,
                enhanced: None,
                lines: 0,
                text: String::new(),
                complete: false,
            },
        }
    }

    /// Takes the next reply off `input`; `None` when the rest of it is still to come.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<ReplyView<'_>, ReplyError>> {
        self.next_with(input, |_, _| {})
    }

    /// [`ReplyParser::next`], with the text behind the code of each line, by number, as it comes.
    /// The lines of a reply that comes in pieces are visited in as many calls.
    pub fn next_with(
        &mut self,
        input: &mut &[u8],
        mut visit: impl FnMut(usize, &[u8]),
    ) -> Option<Result<ReplyView<'_>, ReplyError>> {
        if self.reply.complete {
            self.reply.restart();
        }
        while !self.reply.complete {
            let Some(framed) = self.framer.next(input) else {
                let torn = memchr::memchr(b'\n', self.framer.partial()).is_some();
                return torn.then_some(Err(ReplyError::BareLf));
            };
            let taken = match framed {
                Framed::TooLong => Err(ReplyError::LineTooLong),
                Framed::Line(line) => self.reply.take_line(line, &mut visit),
            };
            if let Err(error) = taken {
                return Some(Err(error));
            }
        }
        Some(Ok(self.reply.view()))
    }

    /// Whether a reply has begun and not ended.
    pub fn in_reply(&self) -> bool {
        !self.framer.partial().is_empty() || (self.reply.lines > 0 && !self.reply.complete)
    }
}

impl Default for ReplyParser {
    fn default() -> Self {
        Self::new()
    }
}

impl Partial {
    fn restart(&mut self) {
        self.code = None;
        self.enhanced = None;
        self.lines = 0;
        self.text.clear();
        self.complete = false;
    }

    fn take_line(
        &mut self,
        line: &[u8],
        visit: &mut impl FnMut(usize, &[u8]),
    ) -> Result<(), ReplyError> {
        if memchr::memchr(b'\n', line).is_some() {
            return Err(ReplyError::BareLf);
        }
        let (code, last, text) = split_code(line).ok_or(ReplyError::NoCode)?;
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyError::CodeChanged);
        }
        if self.lines == REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        visit(self.lines, text);
        let text = match EnhancedCode::take(code / 100, text) {
            Some((enhanced, rest)) if self.lines == 0 || self.enhanced == Some(enhanced) => {
                self.enhanced = Some(enhanced);
                rest
            }
            _ => text,
        };
        push_text(&mut self.text, text);
        self.lines += 1;
        self.complete = last;
        Ok(())
    }

    fn view(&self) -> ReplyView<'_> {
        let code = self.code.unwrap_or_default();
        ReplyView { code, enhanced: self.enhanced, text: &self.text }
    }
}

/// Code, whether the line is the last of its reply, and text.
fn split_code(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code = small_number(digits)?;
    let (last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return None,
    };
    (200..=599).contains(&code).then_some((code, last, text))
}

/// The value of one to three digits.
fn small_number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0'))
    })
}

/// Joins one line's text to the rest, fit for a record: control characters become `?`, tabs
/// blanks, bytes that are not UTF-8 U+FFFD, and what exceeds the limit is cut off.
fn push_text(text: &mut String, line: &[u8]) {
    let line = String::from_utf8_lossy(line.trim_ascii());
    if line.is_empty() {
        return;
    }
    let blank = (!text.is_empty()).then_some(' ');
    for character in blank.into_iter().chain(line.chars()) {
        let character = match character {
            '\t' => ' ',
            control if control.is_control() => '?',
            other => other,
        };
        if text.len() + character.len_utf8() > REPLY_TEXT_BYTES_MAX {
            return;
        }
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;

    /// Everything the parser makes of `stream`, up to its first error.
    fn parse(stream: &[u8], piece: usize) -> Vec<Result<Reply, ReplyError>> {
        let mut parser = ReplyParser::new();
        let mut replies = vec![];
        for mut part in stream.chunks(piece.max(1)) {
            while let Some(reply) = parser.next(&mut part) {
                let reply = reply.map(ReplyView::to_reply);
                let failed = reply.is_err();
                replies.push(reply);
                if failed {
                    return replies;
                }
            }
            assert!(part.is_empty());
        }
        replies
    }

    /// As records show them, with the enhanced code set off.
    fn words(stream: &str, piece: usize) -> Vec<String> {
        let show = |reply: Reply| match reply.enhanced {
            Some(enhanced) => format!("{} [{enhanced}] {}", reply.code, reply.text),
            None => format!("{} {}", reply.code, reply.text),
        };
        parse(stream.as_bytes(), piece)
            .into_iter()
            .map(|reply| reply.map_or_else(|error| error.text().to_string(), show))
            .collect()
    }

    #[test]
    fn replies_are_read_however_they_arrive() {
        let long_line = format!("250 {}\r\n", "x".repeat(REPLY_LINE_BYTES_MAX - 6));
        let long_text = format!("250 {}", "x".repeat(REPLY_TEXT_BYTES_MAX));
        let flood = "250-x\r\n".repeat(REPLY_LINES_MAX);
        let flood_text = format!("250 {}", "x ".repeat(REPLY_LINES_MAX).trim());
        for (stream, replies) in [
            ("250 OK\r\n", &["250 OK"][..]),
            ("250\r\n", &["250 "]),
            ("250 \r\n354 go\r\n", &["250 ", "354 go"]),
            ("250 2.1.0 fine\r\n", &["250 [2.1.0] fine"]),
            ("550-5.1.1 no such\r\n550 5.1.1 user\r\n", &["550 [5.1.1] no such user"]),
            ("550-5.1.1 no\r\n550 5.7.1 user\r\n", &["550 [5.1.1] no 5.7.1 user"]),
            ("550-no\r\n550-\r\n550 user\r\n", &["550 no user"]),
            ("550 5.1.1\r\n", &["550 [5.1.1] "]),
            // Not of the reply's class, or not a code at all.
            ("550 4.1.1 no\r\n", &["550 4.1.1 no"]),
            ("550 5.1 no\r\n", &["550 5.1 no"]),
            ("550 5.1.1.1 no\r\n", &["550 5.1.1.1 no"]),
            ("550 5.1.1000 no\r\n", &["550 5.1.1000 no"]),
            ("550 5.1.1no\r\n", &["550 5.1.1no"]),
            // Text may be anything.
            ("250 a\0b\tc\rd\u{7f}e\u{85}f\r\n", &["250 a?b c?d?e?f"]),
            ("250 caf\u{e9}\r\n", &["250 caf\u{e9}"]),
            (&long_line, &[&long_text]),
            (&format!("{flood}250 x\r\n").replacen("250-x\r\n", "", 1), &[&flood_text]),
            // Errors.
            ("hello\r\n", &["reply without a valid code"]),
            ("\r\n", &["reply without a valid code"]),
            ("25\r\n", &["reply without a valid code"]),
            ("250OK\r\n", &["reply without a valid code"]),
            ("2500 OK\r\n", &["reply without a valid code"]),
            ("+50 OK\r\n", &["reply without a valid code"]),
            ("199 OK\r\n", &["reply without a valid code"]),
            ("999 OK\r\n", &["reply without a valid code"]),
            ("\0\r\n", &["reply without a valid code"]),
            ("250-a\r\n550 b\r\n", &["code changes inside a multi-line reply"]),
            ("250 a\n", &["bare LF in a reply"]),
            ("250 a\n250 b\r\n", &["bare LF in a reply"]),
            ("250 a\r\n250\n250 b", &["250 a", "bare LF in a reply"]),
            (&format!("{flood}250 x\r\n"), &["too many lines in a reply"]),
            (&long_line.replace("x\r", "xx\r"), &["reply line too long"]),
            (&"x".repeat(REPLY_LINE_BYTES_MAX), &["reply line too long"]),
        ] {
            for piece in (1..=stream.len().min(60)).chain([stream.len()]) {
                assert_eq!(words(stream, piece), replies, "{stream:?} by {piece}");
            }
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_marked() {
        let replies = parse(b"250 caf\xe9\r\n", 64);
        assert_eq!(&*replies[0].as_ref().unwrap().text, "caf\u{fffd}");
    }

    #[test]
    fn lines_are_visited_as_they_come() {
        let mut parser = ReplyParser::new();
        let mut seen = vec![];
        let parts = [&b"250-mx.example.com hi\r\n250-SI"[..], b"ZE 10\r\n250 HELP\r\n"];
        let complete = parts.map(|mut part| {
            let visit = |number, text: &[u8]| {
                seen.push((number, String::from_utf8_lossy(text).to_string()));
            };
            parser.next_with(&mut part, visit).is_some()
        });
        assert_eq!(complete, [false, true]);
        assert!(!parser.in_reply());
        let expected = [(0, "mx.example.com hi"), (1, "SIZE 10"), (2, "HELP")];
        assert_eq!(seen, expected.map(|(number, text)| (number, text.to_string())));
    }

    /// A reply as servers send it, with text that neither parser has an opinion about.
    fn sound_reply() -> impl Strategy<Value = String> {
        let enhanced = (0_u8..100, 0_u8..100);
        let lines = prop::collection::vec("[a-zA-Z<][a-zA-Z<>@ ]{0,20}[a-z>]", 1..5);
        (200_u16..600, prop::option::of(enhanced), lines).prop_map(|(code, enhanced, lines)| {
            let prefix = enhanced
                .map(|(subject, detail)| format!("{}.{subject}.{detail} ", code / 100))
                .unwrap_or_default();
            let last = lines.len() - 1;
            let line = |(number, line): (usize, &String)| {
                format!("{code}{}{prefix}{line}\r\n", if number == last { ' ' } else { '-' })
            };
            lines.iter().enumerate().map(line).collect()
        })
    }

    proptest! {
        /// An independent parser agrees on every sound reply.
        #[test]
        fn agrees_with_smtp_proto(wire in sound_reply(), piece in 1_usize..20) {
            let ours = parse(wire.as_bytes(), piece).remove(0).unwrap();
            let theirs = smtp_proto::response::parser::ResponseReceiver::default()
                .parse(&mut wire.as_bytes().iter())
                .unwrap();
            prop_assert_eq!(ours.code, theirs.code);
            let enhanced = ours.enhanced.map_or([0; 3], |EnhancedCode(class, subject, detail)| {
                [class, subject as u8, detail as u8]
            });
            prop_assert_eq!(enhanced, theirs.esc);
            let text: Vec<_> = theirs.message.split_whitespace().collect();
            let ours: Vec<_> = ours.text.split_whitespace().collect();
            prop_assert_eq!(ours, text);
        }

        #[test]
        fn any_bytes_in_any_pieces(
            stream in prop::collection::vec(
                prop_oneof![
                    Just(b"250 ".to_vec()), Just(b"250-".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"2.1.0 ".to_vec()), any::<u8>().prop_map(|byte| vec![byte]),
                ],
                0..60,
            ).prop_map(|parts| parts.concat()),
            piece in 1_usize..20,
        ) {
            let whole = parse(&stream, stream.len());
            prop_assert_eq!(&parse(&stream, piece), &whole);
            for reply in whole.into_iter().flatten() {
                prop_assert!((200..600).contains(&reply.code));
                prop_assert!(!reply.text.contains(char::is_control));
                prop_assert!(reply.text.len() <= REPLY_TEXT_BYTES_MAX);
            }
        }
    }
}
