//! Generated message bodies: a function of (seed, message, size), so that a million messages need
//! no storage and the receiving end can tell whether every byte arrived.
//!
//! A body is a header line that names the message, an empty line, stretches of one block of text
//! that all bodies share, and a last line that makes the size exact.

use bytes::{Bytes, BytesMut};
use traject_engine::ids::MessageId;
use traject_engine::rng::{Purpose, Seed};

use crate::notices::NoticeLedger;

/// Smallest body: it holds at least the header line that names the message.
pub const SIZE_BYTES_MIN: u64 = 64;

/// What a generated body is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyFacts {
    /// The message.
    pub message: MessageId,
    /// Its size, at least [`SIZE_BYTES_MIN`] and less than [`SIZE_BYTES_MAX`].
    pub size_bytes: u64,
    /// Whether it holds bytes above 127.
    pub eight_bit: bool,
}

/// Makes bodies.
#[derive(Clone, Debug)]
pub struct BodyFactory {
    /// Bodies that the engine wrote itself.
    pub notices: NoticeLedger,
    seven_bit: Bytes,
    eight_bit: Bytes,
}

impl BodyFactory {
    /// The bodies of one world.
    pub fn new(seed: Seed) -> Self {
        Self {
            notices: NoticeLedger::default(),
            seven_bit: block(seed, false),
            eight_bit: block(seed, true),
        }
    }

    /// One body.
    pub fn body(&self, facts: BodyFacts) -> Body {
        let short_header = header(facts, false);
        let content = facts.size_bytes.saturating_sub(short_header.len() as u64);
        // A last line of one byte is no line: the header takes that byte.
        let header = match content % SLOT_BYTES {
            1 => header(facts, true),
            _ => short_header,
        };
        let content = facts.size_bytes.saturating_sub(header.len() as u64);
        let block = if facts.eight_bit { &self.eight_bit } else { &self.seven_bit };
        let slots = block.len() as u64 / SLOT_BYTES;
        // Neighbours begin at different places of the block.
        let first_slot = facts.message.0.wrapping_mul(SPREAD) % slots;
        Body {
            header_bytes: header.len() as u64,
            header: header.into(),
            block: block.clone(),
            first: first_slot * SLOT_BYTES,
            tail_at: facts.size_bytes - content % SLOT_BYTES,
            size_bytes: facts.size_bytes,
        }
    }
}

/// One generated body.
#[derive(Clone, Debug)]
pub struct Body {
    header: Bytes,
    header_bytes: u64,
    block: Bytes,
    /// Where in the block its text begins.
    first: u64,
    /// Where its last line begins.
    tail_at: u64,
    size_bytes: u64,
}

impl Body {
    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The bytes from `at` on, as many as lie together; empty at the end.
    pub fn at(&self, at: u64) -> &[u8] {
        if at < self.header_bytes {
            &self.header[at as usize..]
        } else if at < self.tail_at {
            let (from, to) = self.in_block(at);
            &self.block[from..to]
        } else {
            &TAIL[TAIL.len() - (self.size_bytes - at) as usize..]
        }
    }

    /// The piece from `at` on: at most [`PIECE_BYTES_MAX`] copied together, or a shared stretch of
    /// the block; empty at the end.
    pub fn piece(&self, at: u64) -> Bytes {
        let long = self.tail_at.saturating_sub(at) > PIECE_BYTES_MAX as u64;
        if long && at >= self.header_bytes {
            let (from, to) = self.in_block(at);
            return self.block.slice(from..to);
        }
        let wanted = (self.size_bytes - at).min(PIECE_BYTES_MAX as u64) as usize;
        let mut piece = BytesMut::with_capacity(wanted);
        while piece.len() < wanted {
            let rest = self.at(at + piece.len() as u64);
            piece.extend_from_slice(&rest[..rest.len().min(wanted - piece.len())]);
        }
        piece.freeze()
    }

    fn in_block(&self, at: u64) -> (usize, usize) {
        let from = (self.first + at - self.header_bytes) % self.block.len() as u64;
        let to = (from + self.tail_at - at).min(self.block.len() as u64);
        (from as usize, to as usize)
    }
}

/// Reads the header of a generated body; `None` when it is none.
pub fn parse_header(start: &[u8]) -> Option<BodyFacts> {
    let text = std::str::from_utf8(start.get(..HEADER_BYTES_MIN)?).ok()?;
    let mut words = text.strip_prefix(HEADER_NAME)?.split(' ');
    let message = u64::from_str_radix(words.next()?, 16).ok()?;
    let size_bytes = words.next()?.parse().ok()?;
    let eight_bit = match words.next()?.as_bytes().first()? {
        b'7' => false,
        b'8' => true,
        _ => return None,
    };
    Some(BodyFacts { message: MessageId(message), size_bytes, eight_bit })
}

fn header(facts: BodyFacts, padded: bool) -> Vec<u8> {
    let bits = if facts.eight_bit { 8 } else { 7 };
    let pad = if padded { ";" } else { "" };
    let BodyFacts { message, size_bytes, .. } = facts;
    format!("{HEADER_NAME}{:016x} {size_bytes:010} {bits}{pad}\r\n\r\n", message.0).into_bytes()
}

/// Lines of all sorts: words, empty lines, lines that start with dots or hold nothing else.
fn block(seed: Seed, eight_bit: bool) -> Bytes {
    let mut block = BytesMut::with_capacity((SLOTS * SLOT_BYTES) as usize);
    for slot in 0..SLOTS {
        let draw = |n| seed.draw(Purpose::Body, slot << 1 | u64::from(eight_bit), n);
        let start: &[u8] = match draw(0) % 8 {
            0 => b".\r\n",
            1 => b"..\r\n.x\r\n",
            2 => b"\r\n\r\n",
            3 => b".",
            4 if eight_bit => "Gr\u{fc}\u{df}e, ".as_bytes(),
            _ => b"",
        };
        block.extend_from_slice(start);
        let text_end = ((slot + 1) * SLOT_BYTES - 2) as usize;
        let mut n = 1;
        while block.len() < text_end {
            for byte in draw(n).to_le_bytes() {
                if block.len() < text_end {
                    block.extend_from_slice(&[LETTERS[usize::from(byte) % LETTERS.len()]]);
                }
            }
            n += 1;
        }
        block.extend_from_slice(b"\r\n");
    }
    block.freeze()
}

/// One more than the largest size the header can tell.
pub const SIZE_BYTES_MAX: u64 = 10_000_000_000;

/// Largest piece that is made by copying.
const PIECE_BYTES_MAX: usize = 16 << 10;

const HEADER_NAME: &str = "X-Traject-Body: ";

/// The header without padding.
pub const HEADER_BYTES_MIN: usize = HEADER_NAME.len() + 16 + 1 + 10 + 1 + 1 + 4;

/// Bytes of one slot of the block: lines that end with the slot.
const SLOT_BYTES: u64 = 64;

/// Slots of the block.
const SLOTS: u64 = 1024;

/// Takes neighbouring messages to distant slots (odd, so no two of `SLOTS` neighbours meet).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

const LETTERS: &[u8; 32] = b"etaoinshrdlucmfwypvbgkjqxz     ,";

/// The last line of a body is the end of this.
const TAIL: &[u8; 64] = b"- the end of this body, as long as it takes to fill the rest -\r\n";

#[cfg(test)]
mod tests {
    use traject_engine::smtp::data::DotWriter;

    use super::*;

    fn whole(factory: &BodyFactory, facts: BodyFacts) -> Vec<u8> {
        let body = factory.body(facts);
        let mut whole = Vec::new();
        loop {
            let piece = body.piece(whole.len() as u64);
            if piece.is_empty() {
                return whole;
            }
            whole.extend_from_slice(&piece);
        }
    }

    #[test]
    fn every_size_is_exact_made_of_lines_and_names_its_message() {
        let factory = BodyFactory::new(Seed::from_u64(1));
        let sizes = (64..400).chain([16_383, 16_384, 16_385, 65_600, 200_001, 1_000_000]);
        for (n, size_bytes) in sizes.enumerate() {
            let facts =
                BodyFacts { message: MessageId(n as u64), size_bytes, eight_bit: n % 2 == 0 };
            let body = whole(&factory, facts);
            assert_eq!(body.len() as u64, size_bytes);
            assert_eq!(parse_header(&body), Some(facts));
            assert!(body.ends_with(b"\r\n"));
            let stray = body.windows(2).any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n'));
            assert!(!stray, "bare CR or LF in a body of {size_bytes} bytes");
            assert!(body.is_ascii() || facts.eight_bit);
        }
    }

    #[test]
    fn bodies_differ_and_hold_what_is_hard_to_send() {
        let factory = BodyFactory::new(Seed::from_u64(1));
        let facts = |n| BodyFacts { message: MessageId(n), size_bytes: 5000, eight_bit: true };
        let (one, two) = (whole(&factory, facts(1)), whole(&factory, facts(2)));
        assert_ne!(one[100..], two[100..]);
        assert!(one.windows(5).any(|part| part == b"\r\n.\r\n"));
        assert!(!one.is_ascii());
        let mut stuffed = Vec::new();
        DotWriter::default().encode(&one, &mut stuffed);
        assert!(stuffed.len() > one.len());
    }

    #[test]
    fn other_headers_are_none() {
        assert_eq!(parse_header(b""), None);
        assert_eq!(parse_header(&[b'x'; 64]), None);
        assert_eq!(parse_header(b"X-Traject-Body: 000000000000000z 0000000064 7\r\n\r\n"), None);
    }
}
