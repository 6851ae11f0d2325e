//! The body codecs (RFC 5321 section 4.5.2): dot-stuffing on the way out, its reverse and the
//! search for the end of data on the way in. Pure, so that the driver can stream bodies that
//! never pass through the engine.

use alloc::boxed::Box;
use alloc::vec::Vec;

use memchr::{memchr, memchr3};
use serde::{Deserialize, Serialize};

use crate::io::{NetError, SpoolError};
use crate::smtp::header::HeaderTaker;

/// What a body being received may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRules {
    /// Largest size in bytes, before dot-stuffing, without the prefix.
    pub size_bytes_max: u64,
    /// The name of a header that is meant for us: every one of that name is taken out, and the
    /// value of the first reported.
    pub take_header: Option<&'static str>,
    /// How many of the first bytes to report: a mail that may be a bounce is read.
    pub head_bytes_max: usize,
    /// What to do with a CR or LF that stands alone, and with NUL.
    pub stray: StrayPolicy,
}

/// What to do with a bare CR, a bare LF or a NUL in a body: the inbound half of SMTP smuggling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrayPolicy {
    /// Refuse the message.
    Refuse,
    /// Make each bare CR and bare LF a CRLF; NUL is dropped.
    Fix,
}

/// What a transferred body was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyInfo {
    /// Bytes in the spool: prefix included, without dot-stuffing and without the final dot.
    pub size_bytes: u64,
    /// Whether a byte above 127 occurs.
    pub eight_bit: bool,
    /// `Received:` lines in the header section, the prefix not counted (loop detection, RFC 5321
    /// section 6.3). 0 for a body that was sent: nobody looked.
    pub received_headers: u32,
    /// The value of the header that was taken out; see [`BodyRules::take_header`].
    pub header: Option<Box<str>>,
    /// The first bytes, the prefix not counted; see [`BodyRules::head_bytes_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Box<[u8]>>,
}

/// Why a body was not transferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyError {
    /// More bytes than the rules allow. The body was read to its end, so the dialogue can go on.
    TooLarge,
    /// A bare CR, bare LF or NUL where the rules refuse them. Read to its end.
    StrayControl,
    /// The spool failed. When receiving, the body was read to its end; when sending, the
    /// dialogue is broken off inside the body and the connection is useless.
    Spool(SpoolError),
    /// The message's body is not in the spool.
    Missing(Box<str>),
    /// The connection ended inside the body; [`Closed`](crate::Input::Closed) follows.
    Lost(Option<NetError>),
}

/// Takes a body off the wire: undoes dot-stuffing and finds the end of data.
///
/// The end of data is CRLF `.` CRLF and nothing else; the body's first line counts as preceded by
/// CRLF. A CR or LF that stands alone neither ends a line nor begins one, so that no sequence
/// another server takes for the end of data ends a message here (RFC 5321 sections 2.3.8 and
/// 4.1.1.4). What becomes of such bytes is [`BodyRules::stray`]; what is stored holds CRLF only.
#[derive(Clone, Debug)]
pub struct DotReader {
    rules: BodyRules,
    state: ReadState,
    /// Bytes of the body so far, those taken out included.
    received_bytes: u64,
    size_bytes: u64,
    eight_bit: bool,
    headers: HeaderScan,
    /// As long as the header section passes.
    taker: Option<HeaderTaker>,
    header: Option<Box<str>>,
    head: Vec<u8>,
    refused: Option<Refused>,
}

impl DotReader {
    /// A reader for one body.
    pub const fn new(rules: BodyRules) -> Self {
        Self {
            rules,
            state: ReadState::LineStart,
            received_bytes: 0,
            size_bytes: 0,
            eight_bit: false,
            headers: HeaderScan { line: HeaderLine::Name(0), received: 0 },
            taker: match rules.take_header {
                Some(name) => Some(HeaderTaker::new(name)),
                None => None,
            },
            header: None,
            head: Vec::new(),
            refused: None,
        }
    }

    /// Consumes from `input` and appends the decoded bytes to `out`, at most
    /// [`BodyRules::size_bytes_max`] over the whole body.
    ///
    /// How the wire's bytes are cut into calls changes nothing. A body that is refused is still
    /// consumed to its end, with nothing more appended.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Decoded {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match (self.state, byte) {
                (ReadState::LineStart, b'.') => {
                    self.state = ReadState::Dot;
                    at += 1;
                }
                (ReadState::LineStart, _) => self.state = ReadState::Inside,
                (ReadState::Inside, _) => at += self.decode_lines(&input[at..], out),
                (ReadState::Cr, b'\n') => {
                    self.append(b"\r\n", out);
                    self.state = ReadState::LineStart;
                    at += 1;
                }
                (ReadState::Dot, b'\r') => {
                    self.state = ReadState::DotCr;
                    at += 1;
                }
                // The dot was not alone on its line: it was stuffed, and is dropped.
                (ReadState::Dot, _) => self.state = ReadState::Inside,
                (ReadState::DotCr, b'\n') => {
                    self.state = ReadState::Ended;
                    at += 1;
                }
                (ReadState::Cr | ReadState::DotCr, _) => {
                    self.stray(b"\r\n", out);
                    self.state = ReadState::Inside;
                }
                (ReadState::Ended, _) => break,
            }
        }
        let end = (self.state == ReadState::Ended).then(|| self.result());
        Decoded { consumed: at, end }
    }

    /// The fast path: copies whole lines until one needs attention. Never called with nothing.
    fn decode_lines(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let run = clean_run(input);
        self.append(&input[..run.len], out);
        if run.at_line_start {
            self.state = ReadState::LineStart;
            return run.len;
        }
        match input.get(run.len) {
            None => return run.len,
            Some(b'\r') => self.state = ReadState::Cr,
            Some(b'\n') => self.stray(b"\r\n", out),
            Some(_) => self.stray(b"", out),
        }
        run.len + 1
    }

    fn append(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.refused.is_some() {
            return;
        }
        let room = self.rules.size_bytes_max.saturating_sub(self.received_bytes);
        let fits = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        self.received_bytes += fits as u64;
        match self.taker.take() {
            None => self.keep(&bytes[..fits], out),
            Some(mut taker) => {
                taker.scan(&bytes[..fits], |kept| self.keep(kept, out));
                if taker.is_done() {
                    self.header = taker.value();
                } else {
                    self.taker = Some(taker);
                }
            }
        }
        if fits < bytes.len() {
            self.refused = Some(Refused::TooLarge);
        }
    }

    fn keep(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        self.size_bytes += bytes.len() as u64;
        self.eight_bit = self.eight_bit || !bytes.is_ascii();
        self.headers.scan(bytes);
        let room = self.rules.head_bytes_max - self.head.len();
        if room > 0 {
            self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
    }

    fn stray(&mut self, fixed: &[u8], out: &mut Vec<u8>) {
        match self.rules.stray {
            StrayPolicy::Refuse => {
                self.refused.get_or_insert(Refused::StrayControl);
            }
            StrayPolicy::Fix => self.append(fixed, out),
        }
    }

    fn result(&self) -> Result<BodyInfo, BodyError> {
        match self.refused {
            None => Ok(BodyInfo {
                size_bytes: self.size_bytes,
                eight_bit: self.eight_bit,
                received_headers: self.headers.received,
                header: match &self.taker {
                    Some(taker) => taker.value(),
                    None => self.header.clone(),
                },
                head: (self.rules.head_bytes_max > 0).then(|| self.head.as_slice().into()),
            }),
            Some(Refused::TooLarge) => Err(BodyError::TooLarge),
            Some(Refused::StrayControl) => Err(BodyError::StrayControl),
        }
    }
}

/// What [`DotReader::decode`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that belong to the body or its end: all of them, unless the end came
    /// first. What follows is the client's next command.
    pub consumed: usize,
    /// Present when the final dot was consumed, in this call or an earlier one. The size counts
    /// what was appended.
    pub end: Option<Result<BodyInfo, BodyError>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadState {
    /// After CRLF, or before the first byte.
    LineStart,
    /// Somewhere in a line, or after a control character that stands alone.
    Inside,
    /// After a CR whose LF is still to come.
    Cr,
    /// After a dot that began a line.
    Dot,
    /// After that dot and a CR.
    DotCr,
    /// After the end of data.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    TooLarge,
    StrayControl,
}

/// Puts a body on the wire: dot-stuffing and the end of data.
///
/// Whatever the body holds, what goes out is valid and unambiguous: CRLF alone ends lines, a bare
/// CR or LF becomes CRLF and NUL is dropped, as [`StrayPolicy::Fix`] does on the way in. A body
/// that came in through [`DotReader`] goes out as it is.
#[derive(Clone, Debug)]
pub struct DotWriter {
    state: WriteState,
}

impl DotWriter {
    /// A writer for one body.
    pub const fn new() -> Self {
        Self { state: WriteState::LineStart }
    }

    /// Appends the next part of the body, encoded, to `out`. A CR at the very end of `body` is
    /// held back until its LF, or something else, follows.
    pub fn encode(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(&byte) = body.get(at) {
            match (self.state, byte) {
                (WriteState::LineStart, 0) => at += 1,
                (WriteState::LineStart, _) => {
                    if byte == b'.' {
                        out.push(b'.');
                    }
                    self.state = WriteState::Inside;
                }
                (WriteState::Inside, _) => at += self.encode_lines(&body[at..], out),
                (WriteState::Cr, _) => {
                    out.extend_from_slice(b"\r\n");
                    self.state = WriteState::LineStart;
                    at += usize::from(byte == b'\n');
                }
            }
        }
    }

    /// Ends the body: CRLF if its last line lacks one, then the dot and CRLF.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.state != WriteState::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        self.state = WriteState::LineStart;
    }

    /// The fast path: copies whole lines until one needs attention. Never called with nothing.
    fn encode_lines(&mut self, body: &[u8], out: &mut Vec<u8>) -> usize {
        let run = clean_run(body);
        out.extend_from_slice(&body[..run.len]);
        if run.at_line_start {
            self.state = WriteState::LineStart;
            return run.len;
        }
        match body.get(run.len) {
            None => return run.len,
            Some(b'\r') => self.state = WriteState::Cr,
            Some(b'\n') => {
                out.extend_from_slice(b"\r\n");
                self.state = WriteState::LineStart;
            }
            // NUL: dropped.
            Some(_) => {}
        }
        run.len + 1
    }
}

impl Default for DotWriter {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteState {
    /// After CRLF, or before the first byte.
    LineStart,
    /// Somewhere in a line.
    Inside,
    /// After a CR that is not written yet.
    Cr,
}

/// The longest start of `bytes`, which begin inside a line, that can be copied without a change.
struct Run {
    len: usize,
    /// It ends in CRLF. What follows is a dot, a NUL or not here yet.
    at_line_start: bool,
}

fn clean_run(bytes: &[u8]) -> Run {
    let mut at = 0;
    while let Some(found) = memchr3(b'\r', b'\n', 0, &bytes[at..]) {
        let control = at + found;
        if bytes[control] != b'\r' || bytes.get(control + 1) != Some(&b'\n') {
            return Run { len: control, at_line_start: false };
        }
        at = control + 2;
        if matches!(bytes.get(at), None | Some(b'.' | 0)) {
            return Run { len: at, at_line_start: true };
        }
    }
    Run { len: bytes.len(), at_line_start: false }
}

/// Counts the `Received:` lines of a header section (RFC 5322 section 2.2) as it passes by.
#[derive(Clone, Debug)]
struct HeaderScan {
    line: HeaderLine,
    received: u32,
}

#[derive(Clone, Copy, Debug)]
enum HeaderLine {
    /// So many bytes of the line's start agree with `received:`.
    Name(usize),
    /// In a line of no interest, or past the name.
    Rest,
    /// The empty line has passed.
    Over,
}

impl HeaderScan {
    /// Takes the next part of the body; all its line ends are CRLF.
    fn scan(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.line {
                HeaderLine::Over => return,
                HeaderLine::Name(0) if byte == b'\r' => self.line = HeaderLine::Over,
                HeaderLine::Name(matched) => {
                    if byte.to_ascii_lowercase() != RECEIVED[matched] {
                        self.line = HeaderLine::Rest;
                        continue;
                    }
                    at += 1;
                    self.line = HeaderLine::Name(matched + 1);
                    if matched + 1 == RECEIVED.len() {
                        self.received = self.received.saturating_add(1);
                        self.line = HeaderLine::Rest;
                    }
                }
                HeaderLine::Rest => match memchr(b'\n', &bytes[at..]) {
                    None => return,
                    Some(found) => {
                        at += found + 1;
                        self.line = HeaderLine::Name(0);
                    }
                },
            }
        }
    }
}

const RECEIVED: &[u8; 9] = b"received:";

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    const REFUSE: BodyRules = BodyRules {
        size_bytes_max: 1 << 20,
        stray: StrayPolicy::Refuse,
        take_header: None,
        head_bytes_max: 0,
    };
    const FIX: BodyRules = BodyRules {
        size_bytes_max: 1 << 20,
        stray: StrayPolicy::Fix,
        take_header: None,
        head_bytes_max: 0,
    };

    /// Bytes appended, bytes consumed, and the end.
    type Outcome = (Vec<u8>, usize, Option<Result<BodyInfo, BodyError>>);

    /// Decodes `wire` in pieces of `piece` bytes.
    fn decode(rules: BodyRules, wire: &[u8], piece: usize) -> Outcome {
        let mut reader = DotReader::new(rules);
        let mut out = Vec::new();
        let mut consumed = 0;
        for part in wire.chunks(piece.max(1)) {
            let decoded = reader.decode(part, &mut out);
            consumed += decoded.consumed;
            if decoded.end.is_some() {
                return (out, consumed, decoded.end);
            }
            assert_eq!(decoded.consumed, part.len());
        }
        (out, consumed, None)
    }

    fn encode(body: &[u8], piece: usize) -> Vec<u8> {
        let mut writer = DotWriter::new();
        let mut out = Vec::new();
        for part in body.chunks(piece.max(1)) {
            writer.encode(part, &mut out);
        }
        writer.finish(&mut out);
        out
    }

    fn info(size_bytes: u64) -> BodyInfo {
        BodyInfo { size_bytes, eight_bit: false, received_headers: 0, header: None, head: None }
    }

    #[test]
    fn bodies_are_unstuffed_up_to_the_lone_dot() {
        for (wire, body) in [
            (".\r\n", ""),
            ("\r\n.\r\n", "\r\n"),
            ("a\r\n.\r\n", "a\r\n"),
            ("..\r\n.\r\n", ".\r\n"),
            ("..a\r\n...\r\n.\r\n", ".a\r\n..\r\n"),
            // A dot that should have been stuffed and was not.
            (".a\r\n.\r\n", "a\r\n"),
            ("a.\r\nb.c\r\n.\r\n", "a.\r\nb.c\r\n"),
        ] {
            for piece in 1..=wire.len() {
                for rules in [REFUSE, FIX] {
                    let (out, consumed, end) = decode(rules, wire.as_bytes(), piece);
                    assert_eq!(String::from_utf8(out).unwrap(), body, "{wire:?}");
                    assert_eq!(consumed, wire.len(), "{wire:?}");
                    assert_eq!(end, Some(Ok(info(body.len() as u64))), "{wire:?}");
                }
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_left_alone() {
        let wire = b"a\r\n.\r\nQUIT\r\n";
        let mut reader = DotReader::new(REFUSE);
        let mut out = Vec::new();
        let decoded = reader.decode(wire, &mut out);
        assert_eq!(decoded, Decoded { consumed: 6, end: Some(Ok(info(3))) });
        let again = reader.decode(&wire[6..], &mut out);
        assert_eq!(again, Decoded { consumed: 0, end: Some(Ok(info(3))) });
        assert_eq!(out, b"a\r\n");
    }

    /// Sequences that some servers take for the end of data, and what `Fix` makes of them.
    const LOOK_ALIKES: [(&str, &str); 16] = [
        ("\n.\n", "\r\n.\r\n"),
        ("\n.\r\n", "\r\n.\r\n"),
        ("\r\n.\n", "\r\n\r\n"),
        ("\r.\r", "\r\n.\r\n"),
        ("\r.\r\n", "\r\n.\r\n"),
        ("\r\n.\r", "\r\n\r\n"),
        ("\r.\n", "\r\n.\r\n"),
        ("\n.\r", "\r\n.\r\n"),
        ("\r\0\n.\r\n", "\r\n\r\n.\r\n"),
        ("\r\n\0.\r\n", "\r\n.\r\n"),
        ("\r\n.\0\r\n", "\r\n\r\n"),
        ("\r\n.\r\0\n", "\r\n\r\n\r\n"),
        ("\r\n.\r\r\n", "\r\n\r\n\r\n"),
        ("\r\r\n.\r\r\n", "\r\n\r\n\r\n\r\n"),
        ("\n\n.\n\n", "\r\n\r\n.\r\n\r\n"),
        ("\r\n\n.\r\n", "\r\n\r\n.\r\n"),
    ];

    #[test]
    fn look_alikes_of_the_end_do_not_end_a_message() {
        for (look_alike, fixed) in LOOK_ALIKES {
            let wire = format!("a{look_alike}MAIL FROM:<evil@example.com>\r\n.\r\nQUIT\r\n");
            let true_end = wire.len() - "QUIT\r\n".len();
            let body = format!("a{fixed}MAIL FROM:<evil@example.com>\r\n");
            for piece in 1..=wire.len() {
                let (_, consumed, end) = decode(REFUSE, wire.as_bytes(), piece);
                assert_eq!(consumed, true_end, "{look_alike:?}");
                assert_eq!(end, Some(Err(BodyError::StrayControl)), "{look_alike:?}");

                let (out, consumed, end) = decode(FIX, wire.as_bytes(), piece);
                assert_eq!(consumed, true_end, "{look_alike:?}");
                assert_eq!(end, Some(Ok(info(body.len() as u64))), "{look_alike:?}");
                assert_eq!(String::from_utf8(out).unwrap(), body, "{look_alike:?}");
            }
        }
    }

    #[test]
    fn a_message_too_large_is_read_to_its_end_and_not_kept() {
        let rules = BodyRules {
            size_bytes_max: 6,
            stray: StrayPolicy::Refuse,
            take_header: None,
            head_bytes_max: 0,
        };
        for (body, result) in [
            ("abcd\r\n", Ok(info(6))),
            ("abcde\r\n", Err(BodyError::TooLarge)),
            ("abcdefghi\r\nj\nk\r\n", Err(BodyError::TooLarge)),
            ("a\nbcdefghi\r\nj\r\n", Err(BodyError::StrayControl)),
        ] {
            let wire = format!("{body}.\r\n");
            for piece in 1..=wire.len() {
                let (out, consumed, end) = decode(rules, wire.as_bytes(), piece);
                assert_eq!(end.as_ref(), Some(&result), "{body:?}");
                assert_eq!(consumed, wire.len(), "{body:?}");
                assert!(out.len() <= 6, "{body:?}");
            }
        }
    }

    #[test]
    fn the_first_bytes_are_reported_where_they_are_asked_for() {
        let body = b"a: b\r\n\r\n.c\r\nd\r\n";
        for (max, head) in [(0, None), (1, Some(1)), (9, Some(9)), (100, Some(body.len()))] {
            for piece in [1, 4, 100] {
                let mut reader = DotReader::new(BodyRules { head_bytes_max: max, ..REFUSE });
                let mut out = Vec::new();
                let wire = encode(body, 100);
                let ends = wire.chunks(piece).map(|part| reader.decode(part, &mut out).end);
                let info = ends.flatten().last().unwrap().unwrap();
                assert_eq!(info.head.as_deref(), head.map(|end| &body[..end]), "{max} {piece}");
            }
        }
    }

    #[test]
    fn a_header_for_us_is_taken_out() {
        let rules = |size_bytes_max| BodyRules {
            size_bytes_max,
            stray: StrayPolicy::Refuse,
            take_header: Some("X-Binding"),
            head_bytes_max: 0,
        };
        for (body, kept, header) in [
            ("a: b\r\nX-Binding: red\r\n\r\nc\r\n", "a: b\r\n\r\nc\r\n", Some("red")),
            ("X-Binding: r\u{e9}d\r\n", "", Some("r\u{e9}d")),
            ("a: b\r\n\r\nX-Binding: red\r\n", "a: b\r\n\r\nX-Binding: red\r\n", None),
        ] {
            let wire = encode(body.as_bytes(), 7);
            for piece in 1..=wire.len() {
                let (out, consumed, end) = decode(rules(1 << 20), &wire, piece);
                let header = header.map(Into::into);
                assert_eq!(end, Some(Ok(BodyInfo { header, ..info(kept.len() as u64) })));
                assert_eq!(
                    (String::from_utf8(out).unwrap().as_str(), consumed),
                    (kept, wire.len())
                );
            }
            // What is taken out counts: nobody may send more than was allowed.
            let (_, _, end) = decode(rules(body.len() as u64 - 1), &wire, 5);
            assert_eq!(end, Some(Err(BodyError::TooLarge)));
        }
    }

    #[test]
    fn received_lines_count_in_the_header_section_only() {
        for (body, count) in [
            ("", 0),
            ("Received: a\r\n", 1),
            ("RECEIVED:a\r\n\tfolded\r\nreceived: b\r\nReceived-SPF: c\r\n\r\n", 2),
            ("Subject: Received:\r\n Received: folded\r\n", 0),
            ("Receive\r\nReceived: a\r\n\r\nReceived: in the text\r\n", 1),
            ("\r\nReceived: in the text\r\n", 0),
        ] {
            let wire = encode(body.as_bytes(), 7);
            for piece in 1..=wire.len() {
                let (_, _, end) = decode(REFUSE, &wire, piece);
                assert_eq!(end.unwrap().unwrap().received_headers, count, "{body:?}");
            }
        }
    }

    #[test]
    fn eight_bit_bytes_are_noticed() {
        for (body, eight_bit) in [("caf\u{e9}\r\n", true), ("cafe\r\n", false)] {
            let (_, _, end) = decode(REFUSE, &encode(body.as_bytes(), 3), 2);
            assert_eq!(end.unwrap().unwrap().eight_bit, eight_bit);
        }
    }

    #[test]
    fn bodies_are_stuffed_and_ended() {
        for (body, wire) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n..a\r\nb.\r\n", "..\r\n...a\r\nb.\r\n.\r\n"),
            // What never comes from our own reader leaves in order all the same.
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb\r", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n\0.\r\0\n\0", "a\r\n..\r\n\r\n.\r\n"),
        ] {
            for piece in 1..=body.len().max(1) {
                let out = String::from_utf8(encode(body.as_bytes(), piece)).unwrap();
                assert_eq!(out, wire, "{body:?}");
            }
        }
    }

    /// Bytes in which everything the codecs look at is frequent.
    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => Just(b'\r'),
            3 => Just(b'\n'),
            3 => Just(b'.'),
            1 => Just(0),
            2 => Just(b'a'),
            1 => any::<u8>(),
        ];
        prop::collection::vec(byte, 0..60)
    }

    /// Lines, ended by CRLF or, the last one, not at all.
    fn clean_body() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![1..=9_u8, 11..=12_u8, 14..=255_u8];
        let line = prop_oneof![
            Just(vec![]),
            Just(b".".to_vec()),
            Just(b"..".to_vec()),
            prop::collection::vec(byte, 0..200),
        ];
        prop::collection::vec(line, 0..20).prop_map(|lines| lines.join(&b"\r\n"[..]))
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            body in clean_body(), out_piece in 1_usize..50, in_piece in 1_usize..50,
        ) {
            let wire = encode(&body, out_piece);
            let mut expected = body;
            if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            for rules in [REFUSE, FIX] {
                let (out, consumed, end) = decode(rules, &wire, in_piece);
                prop_assert_eq!(&out, &expected);
                prop_assert_eq!(consumed, wire.len());
                let info = end.unwrap().unwrap();
                prop_assert_eq!(info.size_bytes, expected.len() as u64);
                prop_assert_eq!(info.eight_bit, !expected.is_ascii());
            }
        }

        /// Cutting the wire in other places changes neither what is stored nor where it ends, and
        /// what is stored holds no line end but CRLF.
        #[test]
        fn any_bytes_in_any_pieces(wire in soup(), piece in 1_usize..20, limit in 0_u64..80) {
            for stray in [StrayPolicy::Refuse, StrayPolicy::Fix] {
                let rules = BodyRules { size_bytes_max: limit, stray, take_header: None, head_bytes_max: 0 };
                let whole = decode(rules, &wire, wire.len());
                prop_assert_eq!(&decode(rules, &wire, piece), &whole);
                let (out, consumed, end) = whole;
                prop_assert!(out.len() as u64 <= limit);
                let mut line_end = [b"\r\n", &wire[..]].concat();
                let true_end = memchr::memmem::find(&line_end, b"\r\n.\r\n").map(|at| at + 3);
                prop_assert_eq!(end.is_some().then_some(consumed), true_end);
                if let Some(Ok(_)) = end {
                    line_end = out;
                    let stripped = String::from_utf8_lossy(&line_end).replace("\r\n", "");
                    prop_assert!(!stripped.contains(['\r', '\n', '\0']));
                }
            }
        }

        /// Whatever a body holds, it goes out in a form that our own strict reader takes.
        #[test]
        fn any_body_goes_out_unambiguous(body in soup(), piece in 1_usize..20) {
            let wire = encode(&body, piece);
            prop_assert_eq!(&encode(&body, body.len()), &wire);
            let (_, consumed, end) = decode(REFUSE, &wire, wire.len());
            prop_assert_eq!(consumed, wire.len());
            prop_assert!(matches!(end, Some(Ok(_))));
        }
    }
}
