//! Lines of commands and replies (RFC 5321 section 2.3.8).
//!
//! Only CRLF ends a line. A bare LF is not taken for an end, although some servers do so: where
//! two servers on a message's way disagree about line ends, one of them reads commands that the
//! other took for text. The LF stays in the line, and the grammar above refuses the line as a
//! whole.

use alloc::vec::Vec;

use memchr::memchr;

/// Cuts a stream of bytes into lines, however it arrives, without ever holding more than one.
#[derive(Clone, Debug)]
pub struct LineFramer {
    line_bytes_max: usize,
    /// The start of a line whose end is still to come. While `skipping`, at most its last byte.
    partial: Vec<u8>,
    /// In a line that was reported as too long.
    skipping: bool,
    /// `partial` was given out as a line by the previous call.
    given_out: bool,
}

/// One line, or what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A line, without its CRLF.
    Line(&'a [u8]),
    /// A line is longer than the limit. Its bytes are dropped up to and including its end.
    TooLong,
}

impl LineFramer {
    /// A framer for lines of at most `line_bytes_max` bytes, CRLF included.
    pub const fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, partial: Vec::new(), skipping: false, given_out: false }
    }

    /// Takes the next line off `input`, or all of `input` when no line ends in it.
    ///
    /// How the stream is cut into inputs does not change what is given out.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Framed<'s>> {
        if self.given_out {
            self.partial.clear();
            self.given_out = false;
        }
        loop {
            let Some(end) = self.find_end(input) else {
                return self.keep_partial(input);
            };
            let (line, rest) = input.split_at(end);
            *input = rest;
            if !self.skipping {
                return Some(self.complete(line));
            }
            self.skipping = false;
            self.partial.clear();
        }
    }

    /// The bytes of a line whose end is still to come.
    pub fn partial(&self) -> &[u8] {
        if self.given_out { &[] } else { &self.partial }
    }

    /// Index in `input` just behind the first CRLF, whose CR may be in `partial`.
    fn find_end(&self, input: &[u8]) -> Option<usize> {
        let mut searched = 0;
        while let Some(found) = memchr(b'\n', &input[searched..]) {
            let newline = searched + found;
            let before = match newline.checked_sub(1) {
                Some(index) => input.get(index),
                None => self.partial.last(),
            };
            searched = newline + 1;
            if before == Some(&b'\r') {
                return Some(searched);
            }
        }
        None
    }

    fn complete<'a>(&'a mut self, end: &'a [u8]) -> Framed<'a> {
        if self.partial.len() + end.len() > self.line_bytes_max {
            self.partial.clear();
            return Framed::TooLong;
        }
        if self.partial.is_empty() {
            return Framed::Line(&end[..end.len() - 2]);
        }
        self.partial.extend_from_slice(end);
        self.given_out = true;
        Framed::Line(&self.partial[..self.partial.len() - 2])
    }

    fn keep_partial(&mut self, input: &mut &[u8]) -> Option<Framed<'static>> {
        let rest = core::mem::take(input);
        let too_long = !self.skipping && self.partial.len() + rest.len() >= self.line_bytes_max;
        if self.skipping || too_long {
            self.skipping = true;
            // All that matters from here on is whether an LF would follow a CR.
            if let Some(&last) = rest.last() {
                self.partial.clear();
                self.partial.push(last);
            }
            return too_long.then_some(Framed::TooLong);
        }
        self.partial.extend_from_slice(rest);
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn frame(line_bytes_max: usize, stream: &[u8], piece: usize) -> Vec<String> {
        let mut framer = LineFramer::new(line_bytes_max);
        let mut lines = vec![];
        for mut part in stream.chunks(piece) {
            while let Some(framed) = framer.next(&mut part) {
                lines.push(match framed {
                    Framed::Line(line) => String::from_utf8_lossy(line).to_string(),
                    Framed::TooLong => "<too long>".to_string(),
                });
            }
            assert!(part.is_empty());
            assert!(framer.partial().len() < line_bytes_max.max(2));
        }
        lines
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for (stream, lines) in [
            ("", &[][..]),
            ("NOOP", &[]),
            ("NOOP\r\n", &["NOOP"]),
            ("\r\n\r\n", &["", ""]),
            ("a\nb\rc\r\n", &["a\nb\rc"]),
            ("a\r\r\nb\n\r\n", &["a\r", "b\n"]),
            ("12345678\r\nb\r\n", &["12345678", "b"]),
            ("123456789\r\nb\r\n", &["<too long>", "b"]),
            ("123456789\nabcdefghijkl\r\nb\r\n", &["<too long>", "b"]),
            ("123456789\r\r\n\r\n", &["<too long>", ""]),
            ("1234567890123", &["<too long>"]),
        ] {
            for piece in 1..=stream.len().max(1) {
                assert_eq!(frame(10, stream.as_bytes(), piece), lines, "{stream:?} by {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            stream in prop::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..80,
            ),
            piece in 1_usize..12,
            line_bytes_max in 2_usize..12,
        ) {
            let whole = frame(line_bytes_max, &stream, stream.len().max(1));
            prop_assert_eq!(frame(line_bytes_max, &stream, piece), whole);
        }
    }
}
