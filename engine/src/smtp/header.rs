//! Takes one header out of a message as it passes by.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use memchr::memchr;

use crate::limits::TAKEN_HEADER_BYTES_MAX;

/// Looks for every header of one name in the header section (RFC 5322 section 2.2), takes them out
/// with their folded lines, and keeps the value of the first.
///
/// What it is given are the parts of a message, cut anywhere, whose line ends are all CRLF.
#[derive(Clone, Debug)]
pub(super) struct HeaderTaker {
    name: &'static str,
    place: Place,
    /// Bytes of a line's start that agree with the name so far.
    held: Vec<u8>,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At a line's start; what agrees with the name and its colon is held.
    Name,
    /// In another line.
    Rest,
    /// In a header that is taken out.
    Taken,
    /// After its line: perhaps it is folded.
    Fold,
    /// The empty line has passed.
    Over,
}

/// The value of the first header.
#[derive(Clone, Debug)]
enum Value {
    NotSeen,
    Coming(Vec<u8>),
    /// Longer than [`TAKEN_HEADER_BYTES_MAX`].
    TooLong,
    Seen(Vec<u8>),
}

impl HeaderTaker {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, place: Place::Name, held: Vec::new(), value: Value::NotSeen }
    }

    /// Whether the header section has passed: what follows stays as it is.
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::Over
    }

    /// The value of the first header without the blanks around it; `None` when there was none. An
    /// unreasonably long one is empty.
    pub(super) fn value(&self) -> Option<Box<str>> {
        match &self.value {
            Value::NotSeen => None,
            Value::TooLong => Some("".into()),
            Value::Coming(value) | Value::Seen(value) => {
                Some(String::from_utf8_lossy(value.trim_ascii()).into())
            }
        }
    }

    /// Takes the next part, and hands on what stays of it.
    pub(super) fn scan(&mut self, bytes: &[u8], mut keep: impl FnMut(&[u8])) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            let line_end = |place| {
                memchr(b'\n', rest).map_or((rest, place), |end| {
                    (&rest[..=end], if place == Place::Rest { Place::Name } else { Place::Fold })
                })
            };
            match self.place {
                Place::Over => return keep(rest),
                Place::Name if self.held.is_empty() && byte == b'\r' => self.place = Place::Over,
                Place::Name => at += self.compare(byte, &mut keep),
                Place::Rest => {
                    let (line, next) = line_end(Place::Rest);
                    keep(line);
                    self.place = next;
                    at += line.len();
                }
                Place::Taken => {
                    let (line, next) = line_end(Place::Taken);
                    self.value.push(line);
                    self.place = next;
                    at += line.len();
                }
                Place::Fold if matches!(byte, b' ' | b'\t') => self.place = Place::Taken,
                Place::Fold => {
                    self.value.end();
                    self.place = Place::Name;
                }
            }
        }
    }

    /// Compares one byte of a line's start with the name; tells how many bytes that disposes of.
    fn compare(&mut self, byte: u8, keep: &mut impl FnMut(&[u8])) -> usize {
        let name = self.name.as_bytes();
        let expected = name.get(self.held.len()).unwrap_or(&b':');
        if !byte.eq_ignore_ascii_case(expected) {
            keep(&self.held);
            self.held.clear();
            self.place = Place::Rest;
            return 0;
        }
        if self.held.len() == name.len() {
            self.held.clear();
            self.value.begin();
            self.place = Place::Taken;
        } else {
            self.held.push(byte);
        }
        1
    }
}

impl Value {
    fn begin(&mut self) {
        if matches!(self, Self::NotSeen) {
            *self = Self::Coming(Vec::new());
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let Self::Coming(value) = self else { return };
        let letters = bytes.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
        value.extend(letters.take(TAKEN_HEADER_BYTES_MAX + 1));
        if value.len() > TAKEN_HEADER_BYTES_MAX {
            *self = Self::TooLong;
        }
    }

    fn end(&mut self) {
        if let Self::Coming(value) = self {
            *self = Self::Seen(core::mem::take(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    /// What stays of a message that comes in pieces, and the value.
    fn take(message: &[u8], piece: usize) -> (String, Option<Box<str>>) {
        let mut taker = HeaderTaker::new("X-Binding");
        let mut kept = Vec::new();
        for part in message.chunks(piece.max(1)) {
            taker.scan(part, |bytes| kept.extend_from_slice(bytes));
        }
        (String::from_utf8_lossy(&kept).into(), taker.value())
    }

    #[test]
    fn the_header_is_taken_out_wherever_it_stands_and_however_it_comes() {
        let long = format!("X-Binding: {}\r\na: b\r\n", "x".repeat(TAKEN_HEADER_BYTES_MAX + 1));
        for (message, kept, value) in [
            ("", "", None),
            ("a: b\r\n\r\nX-Binding: red\r\n", "a: b\r\n\r\nX-Binding: red\r\n", None),
            ("\r\nX-Binding: red\r\n", "\r\nX-Binding: red\r\n", None),
            ("X-Binding: red\r\n\r\ntext\r\n", "\r\ntext\r\n", Some("red")),
            ("a: b\r\nx-bInDiNg:red\r\nc: d\r\n\r\n", "a: b\r\nc: d\r\n\r\n", Some("red")),
            (
                "X-Binding:\r\n\t red \r\n\tX-Binding: b\r\nc: d\r\n",
                "c: d\r\n",
                Some("red \tX-Binding: b"),
            ),
            ("X-Binding: red\r\na: b\r\nX-Binding: blue\r\n", "a: b\r\n", Some("red")),
            ("X-Binding:\r\nX-Binding: blue\r\n", "", Some("")),
            ("X-Binding: red", "", Some("red")),
            // Look-alikes.
            ("X-Bindings: red\r\n", "X-Bindings: red\r\n", None),
            ("X-Binding : red\r\n", "X-Binding : red\r\n", None),
            ("X-Bind\r\nX-Binding: red\r\n", "X-Bind\r\n", Some("red")),
            ("a: b\r\n X-Binding: red\r\n", "a: b\r\n X-Binding: red\r\n", None),
            ("XX-Binding: red\r\n", "XX-Binding: red\r\n", None),
            (&long, "a: b\r\n", Some("")),
        ] {
            for piece in 1..=message.len().max(1) {
                let (got, taken) = take(message.as_bytes(), piece);
                assert_eq!((&*got, taken.as_deref()), (kept, value), "{message:?} by {piece}");
            }
        }
    }

    proptest! {
        /// However a message is cut, the same stays; and without the name in it, all of it.
        #[test]
        fn cuts_change_nothing(
            parts in prop::collection::vec(
                prop::sample::select(vec!["x-binding", "X-", ":", " a", "\r\n", "\r\n\r\n", "b"]), 0..30,
            ),
            piece in 1_usize..12,
        ) {
            let message = parts.concat();
            let whole = take(message.as_bytes(), message.len());
            prop_assert_eq!(&take(message.as_bytes(), piece), &whole);
            if whole.1.is_none() {
                let held = message.len() - whole.0.len();
                prop_assert!(held <= "x-binding".len() && message.starts_with(&whole.0));
            }
        }
    }
}
