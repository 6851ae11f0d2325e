//! Reading a segment: single frames by their place, or one after the other.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::DiskFile;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, push_frame};
use super::index::Location;
use traject_engine::ids::MessageId;

/// Bytes read at once when walking through a segment.
const WINDOW_BYTES: u32 = 32 << 10;

/// The name of a segment's file.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:08x}.journal")
}

/// The number in the name of a segment's file.
pub(super) fn parse_file_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".journal")?;
    u32::from_str_radix(digits, 16).ok().filter(|number| file_name(*number) == name)
}

/// An open segment, as far as reading it goes.
#[derive(Debug)]
pub(super) struct Source<F> {
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) file: F,
}

/// Why a frame could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The device failed.
    Io(io::Error),
    /// What is there is not what was written.
    Damaged,
}

impl<F: DiskFile> Source<F> {
    /// The payload of the frame at `at`, verified.
    pub(super) fn read(&self, at: Location) -> Result<Bytes, ReadError> {
        let mut frame = vec![0; at.frame_bytes() as usize];
        self.file.read_at(u64::from(at.offset), &mut frame).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => ReadError::Damaged,
                _ => ReadError::Io(error),
            }
        })?;
        self.payload(at, frame)
    }

    /// The same if the device need not be waited for.
    pub(super) fn read_at_once(&self, at: Location) -> Option<Result<Bytes, ReadError>> {
        let mut frame = vec![0; at.frame_bytes() as usize];
        let read = self.file.read_at_once(u64::from(at.offset), &mut frame);
        read.then(|| self.payload(at, frame))
    }

    fn payload(&self, at: Location, frame: Vec<u8>) -> Result<Bytes, ReadError> {
        let header = frame
            .first_chunk()
            .and_then(|header| FrameHeader::decode(header, self.salt, at.offset))
            .ok_or(ReadError::Damaged)?;
        let payload = Bytes::from(frame).split_off(FRAME_HEADER_BYTES);
        let intact = header.payload_bytes == at.payload_bytes
            && header.verify(&payload, self.salt, at.offset);
        if intact { Ok(payload) } else { Err(ReadError::Damaged) }
    }
}

/// What [`Walk`] comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame with a valid header; its payload was not looked at.
    Frame(FrameHeader, Location),
    /// Bytes that are no frame.
    Hole(Range<u32>),
}

impl Found {
    /// From where to where it is.
    pub(super) fn range(&self) -> Range<u32> {
        match self {
            Self::Frame(_, at) => at.offset..at.end(),
            Self::Hole(range) => range.clone(),
        }
    }
}

/// Goes through the frames of a segment.
#[derive(Debug)]
pub(super) struct Walk<F> {
    source: Arc<Source<F>>,
    at: u32,
    end: u32,
    window: Vec<u8>,
    window_at: u32,
}

impl<F: DiskFile> Walk<F> {
    /// From the first frame to `end`.
    pub(super) fn new(source: Arc<Source<F>>, end: u32) -> Self {
        let at = (SEGMENT_HEADER_BYTES as u32).min(end);
        Self { source, at, end, window: Vec::new(), window_at: at }
    }

    /// The next frame or hole; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        let start = self.at;
        while self.end - self.at >= FRAME_HEADER_BYTES as u32 {
            if let Some((header, at)) = self.frame_here()? {
                if start < self.at {
                    return Ok(Some(Found::Hole(start..self.at)));
                }
                self.at = at.end();
                return Ok(Some(Found::Frame(header, at)));
            }
            // Where a header is broken its length cannot be trusted: look for the next one byte
            // by byte. The salt makes a false find as good as impossible.
            self.at += 1;
        }
        self.at = self.end;
        Ok((start < self.end).then_some(Found::Hole(start..self.end)))
    }

    /// The frame that starts at the present place and ends inside the segment.
    fn frame_here(&mut self) -> io::Result<Option<(FrameHeader, Location)>> {
        let needed_end = self.at + FRAME_HEADER_BYTES as u32;
        if self.at < self.window_at || needed_end > self.window_at + self.window.len() as u32 {
            self.window.resize(WINDOW_BYTES.min(self.end - self.at) as usize, 0);
            self.window_at = self.at;
            self.source.file.read_at(u64::from(self.at), &mut self.window)?;
        }
        let bytes = self.window[(self.at - self.window_at) as usize..].first_chunk();
        let header = bytes.and_then(|bytes| FrameHeader::decode(bytes, self.source.salt, self.at));
        Ok(header.and_then(|header| {
            let at = Location {
                segment: self.source.number,
                offset: self.at,
                payload_bytes: header.payload_bytes,
            };
            (at.payload_bytes <= self.end - needed_end).then_some((header, at))
        }))
    }
}

/// Frames to be written together.
#[derive(Debug)]
pub(super) struct Batch {
    /// The bytes, from `offset` of the segment on.
    pub(super) bytes: Vec<u8>,
    segment: u32,
    salt: u64,
    offset: u32,
    durable_end: u32,
}

impl Batch {
    pub(super) const fn new(segment: u32, salt: u64, offset: u32, durable_end: u32) -> Self {
        Self { bytes: Vec::new(), segment, salt, offset, durable_end }
    }

    /// Appends a frame and says where it will be.
    pub(super) fn push(&mut self, kind: FrameKind, message: MessageId, payload: &[u8]) -> Location {
        let offset = self.offset + self.bytes.len() as u32;
        let what = (kind, message, self.durable_end);
        push_frame(&mut self.bytes, self.salt, offset, what, payload);
        Location { segment: self.segment, offset, payload_bytes: payload.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_disk::MemoryDisk;
    use super::*;
    use crate::spool::disk::Disk;

    const FIRST: u32 = SEGMENT_HEADER_BYTES as u32;

    /// A segment with a frame for each payload, the bytes at `broken` flipped.
    fn segment(payloads: &[&[u8]], broken: &[u32]) -> Walk<<MemoryDisk as Disk>::File> {
        let mut batch = Batch::new(1, 5, FIRST, FIRST);
        for (n, payload) in payloads.iter().enumerate() {
            batch.push(FrameKind::Chunk, MessageId(n as u64), payload);
        }
        for offset in broken {
            batch.bytes[(offset - FIRST) as usize] ^= 0x40;
        }
        let file = MemoryDisk::default().create("x").unwrap();
        file.write_at(u64::from(FIRST), &batch.bytes).unwrap();
        let end = FIRST + batch.bytes.len() as u32;
        Walk::new(Arc::new(Source { number: 1, salt: 5, file }), end)
    }

    fn found(mut walk: Walk<<MemoryDisk as Disk>::File>) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(next) = walk.next().unwrap() {
            found.push(match next {
                Found::Frame(header, at) => {
                    let intact = walk.source.read(at).is_ok();
                    format!("{} {}", header.message, if intact { "intact" } else { "damaged" })
                }
                Found::Hole(range) => format!("hole of {}", range.len()),
            });
        }
        found
    }

    #[test]
    fn frames_come_in_order_across_windows() {
        let long = vec![7; WINDOW_BYTES as usize * 2];
        assert_eq!(
            found(segment(&[b"one", &long, b"", &long, b"five"], &[])),
            ["0 intact", "1 intact", "2 intact", "3 intact", "4 intact"]
        );
    }

    #[test]
    fn damage_costs_the_frames_it_hits_and_no_more() {
        let header = FRAME_HEADER_BYTES as u32;
        let payloads: [&[u8]; 3] = [b"abc", b"defg", b"hi"];
        let second = FIRST + header + 3;
        assert_eq!(
            found(segment(&payloads, &[second + 4])),
            ["0 intact", "hole of 32", "2 intact"],
            "a broken header hides its frame"
        );
        assert_eq!(
            found(segment(&payloads, &[second + header])),
            ["0 intact", "1 damaged", "2 intact"],
            "a broken payload leaves the header readable"
        );
        let third = second + header + 4;
        assert_eq!(
            found(segment(&payloads, &[third])),
            ["0 intact", "1 intact", "hole of 30"],
            "nothing valid follows"
        );
    }

    #[test]
    fn names_are_read_as_written() {
        assert_eq!(parse_file_name(&file_name(0x1_2345)), Some(0x1_2345));
        for other in ["lock", "1.journal", "0000000G.journal", "00000001.journal.damaged"] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
