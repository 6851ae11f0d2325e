//! The bytes of a segment: one segment header, then frames without gaps.
//!
//! Every checksum also covers the segment's salt and the frame's offset. So a frame is valid only
//! where it was written: neither the remains of an older file, nor bytes that a sender put into a
//! message to look like a frame, can pass for one.

use traject_engine::ids::MessageId;

/// `number(4) ‖ previous(4) ‖ previous_end(4) ‖ salt(8)` between magic, version and checksum.
pub(super) const SEGMENT_HEADER_BYTES: usize = 36;

/// Length of a frame header.
pub(super) const FRAME_HEADER_BYTES: usize = 28;

/// Longest payload of a frame: 16 MiB, the envelope of a message with some 50,000 recipients.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const MAGIC: [u8; 8] = *b"trajectj";

/// The version of everything in a segment but the payloads, which have their own.
const VERSION: u16 = 1;

/// The start of a segment.
///
/// It also seals the segments before it: the journal was in `previous` up to `previous_end`, and
/// segments numbered between `previous` and this one hold nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Counts up, and names the file.
    pub(super) number: u32,
    /// The segment written to before; 0 for the first.
    pub(super) previous: u32,
    /// Where that one ended.
    pub(super) previous_end: u32,
    /// Unguessable; see the module.
    pub(super) salt: u64,
}

/// Why the start of a file is no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Written by a later version of this program.
    Version(u16),
    /// Torn or damaged.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        // Two bytes stay zero, so that the rest is aligned.
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.previous.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, HeaderError> {
        let word = |at: usize| u32_at(bytes, at);
        if crc32c::crc32c(&bytes[..32]) != word(32) || bytes[0..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        match u16::from_le_bytes([bytes[8], bytes[9]]) {
            VERSION => Ok(Self {
                number: word(12),
                previous: word(16),
                previous_end: word(20),
                salt: u64_at(bytes, 24),
            }),
            later => Err(HeaderError::Version(later)),
        }
    }
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A piece of a body.
    Chunk = 1,
    /// A message: where its body is, its envelope. Replaces an earlier one of the same message.
    Insert = 2,
    /// New states of some of its recipients.
    Update = 3,
    /// The message is done.
    Remove = 4,
    /// What throttles have let pass; replaces what was written before. Of no message.
    Shaping = 5,
}

impl FrameKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Chunk,
            2 => Self::Insert,
            3 => Self::Update,
            4 => Self::Remove,
            5 => Self::Shaping,
            _ => return None,
        })
    }
}

/// The start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: FrameKind,
    pub(super) message: MessageId,
    /// Everything before this offset of the segment was durable when the frame was written. What
    /// is broken before it was therefore damaged; only what is broken after it can have been torn
    /// by a crash.
    pub(super) durable_end: u32,
    pub(super) payload_bytes: u32,
    payload_check: u32,
}

/// Appends a frame whose first byte has the given offset in the segment.
pub(super) fn push_frame(
    out: &mut Vec<u8>,
    salt: u64,
    offset: u32,
    (kind, message, durable_end): (FrameKind, MessageId, u32),
    payload: &[u8],
) {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX);
    let mut header = [0; FRAME_HEADER_BYTES];
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let payload_check = crc32c::crc32c_append(salted(salt, offset), payload);
    header[8..12].copy_from_slice(&payload_check.to_le_bytes());
    header[12] = kind as u8;
    // Three bytes stay zero.
    header[16..20].copy_from_slice(&durable_end.to_le_bytes());
    header[20..28].copy_from_slice(&message.0.to_le_bytes());
    let check = crc32c::crc32c_append(salted(salt, offset), &header[4..]);
    header[0..4].copy_from_slice(&check.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

impl FrameHeader {
    /// The frame header at `offset`, if there is one.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], salt: u64, offset: u32) -> Option<Self> {
        let kind = FrameKind::from_byte(bytes[12])?;
        if bytes[13..16] != [0; 3]
            || crc32c::crc32c_append(salted(salt, offset), &bytes[4..]) != u32_at(bytes, 0)
        {
            return None;
        }
        let payload_bytes = u32_at(bytes, 4);
        (payload_bytes as usize <= PAYLOAD_BYTES_MAX).then(|| Self {
            kind,
            message: MessageId(u64_at(bytes, 20)),
            durable_end: u32_at(bytes, 16),
            payload_bytes,
            payload_check: u32_at(bytes, 8),
        })
    }

    /// Whether `payload` is what was written with this header at `offset`.
    pub(super) fn verify(&self, payload: &[u8], salt: u64, offset: u32) -> bool {
        crc32c::crc32c_append(salted(salt, offset), payload) == self.payload_check
    }
}

/// The checksum's start for a place.
fn salted(salt: u64, offset: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &offset.to_le_bytes())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, 7, 36, (FrameKind::Update, MessageId(9), 12), b"abc");
        bytes
    }

    fn header(bytes: &[u8]) -> &[u8; FRAME_HEADER_BYTES] {
        bytes.first_chunk().unwrap()
    }

    #[test]
    fn a_frame_says_what_was_written() {
        let bytes = frame();
        assert_eq!(bytes.len(), FRAME_HEADER_BYTES + 3);
        let read = FrameHeader::decode(header(&bytes), 7, 36).unwrap();
        assert_eq!(
            (read.kind, read.message, read.durable_end, read.payload_bytes),
            (FrameKind::Update, MessageId(9), 12, 3)
        );
        assert!(read.verify(b"abc", 7, 36));
        assert!(!read.verify(b"abd", 7, 36));
    }

    #[test]
    fn a_frame_is_valid_only_where_it_was_written() {
        let bytes = frame();
        assert_eq!(FrameHeader::decode(header(&bytes), 7, 37), None);
        assert_eq!(FrameHeader::decode(header(&bytes), 8, 36), None);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut bytes = frame();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(header(&bytes), 7, 36), None, "bit {bit}");
        }
        let whole = SegmentHeader { number: 3, previous: 2, previous_end: 99, salt: 5 };
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut bytes = whole.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&whole.encode()), Ok(whole));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes =
            SegmentHeader { number: 3, previous: 2, previous_end: 99, salt: 5 }.encode();
        bytes[8] = 2;
        let check = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&check.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(2)));
    }
}
