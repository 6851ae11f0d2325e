//! The content of a message as it arrives: dot-stuffing removed, every byte compared with the
//! body that was spooled. A message that came through a listener has its trace line before that,
//! and the name of a binding if that was not for the client to choose.

use std::sync::LazyLock;

use memchr::memmem;
use traject_engine::ids::MessageId;

use crate::body::{Body, BodyFactory, BodyFacts, HEADER_BYTES_MIN, parse_header};
use crate::notices::{NoticeDigest, NoticeFacts, message_named};

/// Reads one message content, from after the 354 to the final dot.
#[derive(Debug)]
pub(super) struct Content<'f> {
    factory: &'f BodyFactory,
    at_line_start: bool,
    /// The first bytes, until they tell which body this is.
    header: Vec<u8>,
    body: Option<Expected>,
    compared: u64,
    /// The length of the lines before the body.
    trace_bytes: u64,
    /// Those that have been looked for.
    looked_for: usize,
}

/// What the content is held to.
#[derive(Debug)]
enum Expected {
    Generated(BodyFacts, Body),
    Notice(MessageId, Box<NoticeDigest>),
}

/// How far reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of the input that can be understood is; more is needed.
    More {
        /// Bytes that were used; the others must be given again.
        consumed: usize,
    },
    /// The final dot was read.
    Done {
        /// Bytes that were used.
        consumed: usize,
        /// Which message it was.
        message: MessageId,
        /// Whether it holds bytes above 127.
        eight_bit: bool,
        /// How many bytes it has.
        size: u64,
    },
}

impl<'f> Content<'f> {
    pub(super) const fn new(factory: &'f BodyFactory) -> Self {
        Self {
            factory,
            at_line_start: true,
            header: Vec::new(),
            body: None,
            compared: 0,
            trace_bytes: 0,
            looked_for: 0,
        }
    }

    /// Reads on. An error says in what the content is not what was spooled.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Progress, String> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            if self.at_line_start {
                match rest {
                    [b'.', b'\r', b'\n', ..] => {
                        let BodyFacts { message, eight_bit, .. } = self.finish()?;
                        let (consumed, size) = (at + 3, self.trace_bytes + self.compared);
                        return Ok(Progress::Done { consumed, message, eight_bit, size });
                    }
                    [] | [b'.'] | [b'.', b'\r'] => return Ok(Progress::More { consumed: at }),
                    [b'.', ..] => at += 1,
                    _ => {}
                }
                self.at_line_start = false;
                continue;
            }
            // A line that starts with a dot is the only one that matters.
            match DOT_LINE.find(rest) {
                Some(end) => {
                    self.compare(&rest[..end + 2])?;
                    at += end + 2;
                    self.at_line_start = true;
                }
                None => {
                    let kept = if rest.ends_with(b"\r\n") {
                        2
                    } else {
                        usize::from(rest.ends_with(b"\r"))
                    };
                    self.compare(&rest[..rest.len() - kept])?;
                    return Ok(Progress::More { consumed: input.len() - kept });
                }
            }
        }
    }

    fn compare(&mut self, text: &[u8]) -> Result<(), String> {
        if self.body.is_some() {
            return self.compare_with_body(text);
        }
        self.header.extend_from_slice(text);
        if !self.skip_trace()? {
            return Ok(());
        }
        if self.header.len() < HEADER_BYTES_MIN {
            return Ok(());
        }
        let header = std::mem::take(&mut self.header);
        self.body = Some(match (message_named(&header), parse_header(&header)) {
            (Some(message), _) => Expected::Notice(message, Box::default()),
            (None, Some(facts)) => Expected::Generated(facts, self.factory.body(facts)),
            (None, None) => return Err("the content does not start as it was spooled".into()),
        });
        self.compare_with_body(&header)
    }

    /// Takes the lines before the body off what came first. `false`: more must be seen.
    fn skip_trace(&mut self) -> Result<bool, String> {
        while let Some(name) = BEFORE.get(self.looked_for) {
            let header = &self.header;
            if header.len() < BEFORE_NAME_BYTES_MAX {
                return Ok(false);
            }
            if !header.starts_with(name) {
                self.looked_for += 1;
                continue;
            }
            let is_end = |at: &usize| header.get(at + 2).is_some_and(|next| !b" \t".contains(next));
            match memmem::find_iter(header, b"\r\n").find(is_end) {
                Some(end) => {
                    self.trace_bytes += end as u64 + 2;
                    self.header.drain(..end + 2);
                    self.looked_for += 1;
                }
                None if header.len() > TRACE_BYTES_MAX => {
                    return Err("a trace line without an end".into());
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn compare_with_body(&mut self, mut text: &[u8]) -> Result<(), String> {
        let body = match &mut self.body {
            Some(Expected::Generated(_, body)) => body,
            Some(Expected::Notice(_, digest)) => {
                digest.update(text);
                self.compared += text.len() as u64;
                return Ok(());
            }
            None => return Ok(()),
        };
        while !text.is_empty() {
            let expected = body.at(self.compared);
            let length = expected.len().min(text.len());
            if length == 0 {
                return Err(format!("{} bytes after the end of the body", text.len()));
            }
            if expected[..length] != text[..length] {
                let same = expected.iter().zip(text).take_while(|(a, b)| a == b).count();
                let at = self.compared + same as u64;
                return Err(format!("byte {at} is not the one that was spooled"));
            }
            self.compared += length as u64;
            text = &text[length..];
        }
        Ok(())
    }

    fn finish(&self) -> Result<BodyFacts, String> {
        let (facts, body) = match &self.body {
            Some(Expected::Generated(facts, body)) => (facts, body),
            Some(Expected::Notice(message, digest)) => {
                let found = digest.facts();
                let NoticeFacts { size_bytes, eight_bit, .. } = found;
                return match self.factory.notices.facts(*message) == Some(found) {
                    true => Ok(BodyFacts { message: *message, size_bytes, eight_bit }),
                    false => Err(format!("notice {message} is not what was spooled")),
                };
            }
            None => return Err("the content ends within its first line".into()),
        };
        if self.compared != body.size_bytes() {
            let (got, whole) = (self.compared, body.size_bytes());
            return Err(format!("the content ends after {got} of {whole} bytes"));
        }
        Ok(*facts)
    }
}

/// How lines before the body begin: a trace line (RFC 5321 section 4.4), and the name of a binding
/// from a client that may not choose one.
const BEFORE: [&[u8]; 2] = [b"Received: ", b"X-Binding: "];

/// The longest of these beginnings.
const BEFORE_NAME_BYTES_MAX: usize = BEFORE[1].len();

/// Where a line begins with a dot. A searcher costs more to make than a search.
static DOT_LINE: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"\r\n."));

/// Longer than any trace line of ours.
const TRACE_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;
    use traject_engine::rng::Seed;
    use traject_engine::smtp::data::DotWriter;

    use super::*;

    fn sent(factory: &BodyFactory, facts: BodyFacts) -> Vec<u8> {
        let (body, mut at, mut wire) = (factory.body(facts), 0, Vec::new());
        let mut writer = DotWriter::default();
        while !body.at(at).is_empty() {
            let piece = body.at(at);
            writer.encode(piece, &mut wire);
            at += piece.len() as u64;
        }
        writer.finish(&mut wire);
        wire
    }

    /// Feeds `wire` in pieces of `step` bytes.
    fn read(factory: &BodyFactory, wire: &[u8], step: usize) -> Result<Option<MessageId>, String> {
        let mut content = Content::new(factory);
        let mut buffer = Vec::new();
        for piece in wire.chunks(step) {
            buffer.extend_from_slice(piece);
            match content.read(&buffer)? {
                Progress::More { consumed } => drop(buffer.drain(..consumed)),
                Progress::Done { message, .. } => return Ok(Some(message)),
            }
        }
        Ok(None)
    }

    /// One for all tests: making one is slow.
    fn factory() -> &'static BodyFactory {
        static FACTORY: OnceLock<BodyFactory> = OnceLock::new();
        FACTORY.get_or_init(|| BodyFactory::new(Seed::from_u64(3)))
    }

    const FACTS: BodyFacts =
        BodyFacts { message: MessageId(77), size_bytes: 9_001, eight_bit: true };

    proptest! {
        #[test]
        fn what_was_spooled_is_recognised_however_it_is_cut(
            size_bytes in 64_u64..20_000, step in 1_usize..3000, message in 0_u64..50
        ) {
            let factory = factory();
            let facts = BodyFacts { message: MessageId(message), size_bytes, eight_bit: false };
            let wire = sent(factory, facts);
            prop_assert_eq!(read(factory, &wire, step), Ok(Some(MessageId(message))));
            let through_a_listener = [&b"Received: from a\r\n\tby b\r\n"[..], &wire].concat();
            let found = read(factory, &through_a_listener, step);
            prop_assert_eq!(found, Ok(Some(MessageId(message))));
        }

        #[test]
        fn no_byte_can_change_unseen(at in 0_usize..9_000, flip in 1_u8..=255) {
            let factory = factory();
            let mut wire = sent(factory, FACTS);
            wire[at] ^= flip;
            prop_assert_ne!(read(factory, &wire, 500), Ok(Some(FACTS.message)));
        }
    }

    #[test]
    fn unstuffed_dots_lost_lines_and_extra_lines_are_seen() {
        let factory = factory();
        let wire = sent(factory, FACTS);
        let dot = memmem::find(&wire, b"\r\n..").unwrap();
        let mut unstuffed = wire.clone();
        unstuffed.remove(dot + 2);
        assert!(read(factory, &unstuffed, 4096).is_err());

        let mut short = wire.clone();
        short.drain(200..300);
        assert!(read(factory, &short, 4096).is_err());

        let mut long = wire[..wire.len() - 3].to_vec();
        long.extend_from_slice(b"more\r\n.\r\n");
        assert!(read(factory, &long, 4096).unwrap_err().contains("after the end"));

        let named = [&b"Received: a\r\nX-Binding: bulk\r\n"[..], &wire].concat();
        for piece in [7, 4096] {
            assert_eq!(read(factory, &named, piece), Ok(Some(FACTS.message)));
        }
        let twice = [&b"Received: a\r\nReceived: b\r\n"[..], &wire].concat();
        assert!(read(factory, &twice, 4096).is_err());
        let endless = [b"Received: ", &b"x".repeat(3000)[..], b"\r\n y\r\n.\r\n"].concat();
        assert!(read(factory, &endless, 4096).unwrap_err().contains("without an end"));

        assert!(read(factory, b".\r\n", 1).unwrap_err().contains("first line"));
        let cut = [&wire[..130], b"\r\n.\r\n"].concat();
        assert!(read(factory, &cut, 4096).is_err());
    }
}
