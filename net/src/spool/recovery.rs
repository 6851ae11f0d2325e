//! Start-up: from the files of a disk to an index.
//!
//! Which bytes count is decided first. The newest segment's header names its predecessor and where
//! that ended, and so on back; only the newest segment itself has an open end. There, what is
//! broken behind the last known sync was torn by a crash and never acknowledged; what is broken
//! anywhere else was damaged. Both are reported, and nothing damaged is ever deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use traject_engine::ids::MessageId;

use super::disk::{Disk, DiskFile};
use super::frame::{FrameHeader, FrameKind, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::index::{Effect, Index, Location};
use super::log::JournalEnd;
use super::payload::decode_chunks;
use super::segment::{Found, ReadError, Source, Walk, file_name, parse_file_name};
use super::shaping::decode_shaping;

/// Pieces of damage that are described one by one; the rest is counted.
const DAMAGE_DESCRIBED_MAX: usize = 100;

/// Bytes written again at once.
const RENEW_BYTES: usize = 1 << 20;

/// What start-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Live messages.
    pub messages: usize,
    /// Segments that hold them.
    pub segments: usize,
    /// Bytes of those segments.
    pub bytes: u64,
    /// Bytes at the end of the journal that were being written when the process ended and were
    /// never acknowledged.
    pub torn_bytes: u64,
    /// Where they begin: the file, and the offset in it.
    pub torn_at: Option<(String, u32)>,
    /// The first hundred pieces of damage.
    pub damage: Vec<Damage>,
    /// All pieces of damage.
    pub damage_total: u64,
}

/// Something that was durable and cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u32,
    /// How many bytes.
    pub bytes: u64,
    /// Whose data it was, when that is known.
    pub message: Option<MessageId>,
    /// What is wrong, in words.
    pub what: &'static str,
}

impl Report {
    pub(super) fn add(&mut self, damage: Damage) {
        let Damage { file, offset, bytes, message, what } = &damage;
        let message = message.map(tracing::field::display);
        tracing::error!(file, offset, bytes, message, "spool damage: {what}");
        self.damage_total += 1;
        if self.damage.len() < DAMAGE_DESCRIBED_MAX {
            self.damage.push(damage);
        }
    }
}

/// Why the files are no journal this program can use.
#[derive(Debug)]
pub(super) enum RecoveryError {
    Io(io::Error),
    Version { file: String, version: u16 },
}

impl From<io::Error> for RecoveryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Everything the log needs to go on.
#[derive(Debug)]
pub(super) struct Recovered<F> {
    pub(super) index: Index<F>,
    pub(super) end: JournalEnd,
    pub(super) next_number: u32,
    /// Files that hold nothing.
    pub(super) void: BTreeSet<u32>,
    pub(super) report: Report,
}

/// Reads the journal.
pub(super) fn recover<D: Disk>(disk: &D) -> Result<Recovered<D::File>, RecoveryError> {
    let mut recovery = Recovery { index: Index::default(), report: Report::default() };
    let mut void = BTreeSet::new();
    let mut found = recovery.open_all(disk, &mut void)?;
    let next_number = found.numbers_max.saturating_add(1);
    let chain = recovery.chain(&mut found.segments, &mut void);
    let mut end = JournalEnd { segment: 0, offset: 0 };
    for (number, (source, sealed_end)) in chain {
        recovery.index.add_segment(Arc::clone(&source), 0);
        let offset = match sealed_end {
            Some(sealed) => recovery.sealed_end(&source, sealed)?,
            None => recovery.open_end(&source)?,
        };
        recovery.index.add_segment(Arc::clone(&source), offset);
        recovery.replay(&source, offset)?;
        end = JournalEnd { segment: number, offset };
    }
    recovery.set_aside_bodiless();
    let Recovery { index, mut report } = recovery;
    report.messages = index.messages.len();
    report.segments = index.segments.len();
    report.bytes = index.segments.values().map(|segment| u64::from(segment.end)).sum();
    Ok(Recovered { index, end, next_number, void, report })
}

/// The segments that count, in order, with their ends where known.
type Chain<F> = BTreeMap<u32, (Arc<Source<F>>, Option<u32>)>;

struct Opened<F> {
    segments: BTreeMap<u32, (SegmentHeader, F)>,
    numbers_max: u32,
}

struct Recovery<F> {
    index: Index<F>,
    report: Report,
}

impl<F: DiskFile> Recovery<F> {
    /// Opens every file that is named like a segment and starts like one.
    fn open_all<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        void: &mut BTreeSet<u32>,
    ) -> Result<Opened<F>, RecoveryError> {
        let mut opened = Opened { segments: BTreeMap::new(), numbers_max: 0 };
        for number in disk.list()?.iter().filter_map(|name| parse_file_name(name)) {
            let name = file_name(number);
            opened.numbers_max = opened.numbers_max.max(number);
            let file = disk.open(&name)?;
            let length = file.len_bytes()?;
            if length < SEGMENT_HEADER_BYTES as u64 {
                void.insert(number);
                continue;
            }
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            file.read_at(0, &mut bytes)?;
            match SegmentHeader::decode(&bytes) {
                Ok(header) if header.number == number => {
                    opened.segments.insert(number, (header, file));
                }
                Err(HeaderError::Version(version)) => {
                    return Err(RecoveryError::Version { file: name, version });
                }
                // The header is durable before anything follows it, so a lone broken one was torn.
                Err(HeaderError::Damaged) if length == SEGMENT_HEADER_BYTES as u64 => {
                    void.insert(number);
                }
                Ok(_) | Err(HeaderError::Damaged) => {
                    let what = "the segment's header is unreadable, the file is set aside";
                    self.damage(&name, 0..length as u32, None, what);
                    disk.rename(&name, &set_aside_name(&name))?;
                }
            }
        }
        Ok(opened)
    }

    /// Follows the headers from the newest segment back.
    fn chain(
        &mut self,
        segments: &mut BTreeMap<u32, (SegmentHeader, F)>,
        void: &mut BTreeSet<u32>,
    ) -> Chain<F> {
        let mut chain = Chain::new();
        let mut sealed_end = None;
        while let Some((number, (header, file))) = segments.pop_last() {
            let source = Arc::new(Source { number, salt: header.salt, file });
            chain.insert(number, (source, sealed_end));
            let between = segments.split_off(&header.previous.saturating_add(1));
            void.extend(between.into_keys());
            sealed_end = Some(header.previous_end);
            if !segments.contains_key(&header.previous) && !segments.is_empty() {
                // Segments are deleted oldest first: one that is missing was lost.
                let what = "a segment is missing";
                self.damage(&file_name(header.previous), 0..header.previous_end, None, what);
                sealed_end = None;
            }
        }
        chain
    }

    /// Checks that a sealed segment is there up to its end.
    fn sealed_end(&mut self, source: &Source<F>, sealed: u32) -> io::Result<u32> {
        let length = u32::try_from(source.file.len_bytes()?).unwrap_or(u32::MAX);
        if length < sealed {
            let what = "the end of the segment is missing";
            self.damage(&file_name(source.number), length..sealed, None, what);
        }
        Ok(length.min(sealed))
    }

    /// Finds the end of a segment that no header seals.
    fn open_end(&mut self, source: &Arc<Source<F>>) -> io::Result<u32> {
        let length = u32::try_from(source.file.len_bytes()?).unwrap_or(u32::MAX);
        let mut walk = Walk::new(Arc::clone(source), length);
        let mut durable_end = 0;
        let mut holes = Vec::new();
        while let Some(found) = walk.next()? {
            match found {
                Found::Frame(header, at) => {
                    durable_end = durable_end.max(header.durable_end);
                    match source.read(at) {
                        Ok(_) => {}
                        Err(ReadError::Damaged) => holes.push(at.offset..at.end()),
                        Err(ReadError::Io(error)) => return Err(error),
                    }
                }
                Found::Hole(range) => holes.push(range),
            }
        }
        let torn = holes.iter().find(|hole| hole.end > durable_end);
        let end = torn.map_or(length, |hole| hole.start.max(durable_end));
        if end < length {
            let torn_bytes = length - end;
            let file = file_name(source.number);
            tracing::warn!(%file, offset = end, torn_bytes, "the journal's end was torn");
            self.report.torn_bytes += u64::from(torn_bytes);
            self.report.torn_at = Some((file, end));
        }
        renew(source, durable_end.min(end)..end)?;
        Ok(end)
    }

    /// Takes over a segment's frames.
    fn replay(&mut self, source: &Arc<Source<F>>, end: u32) -> io::Result<()> {
        let name = file_name(source.number);
        let mut walk = Walk::new(Arc::clone(source), end);
        while let Some(found) = walk.next()? {
            match found {
                Found::Hole(range) => {
                    let what = "unreadable bytes; what they held is unknown";
                    self.damage(&name, range, None, what);
                }
                Found::Frame(header, at) => match effect(source, header, at) {
                    Ok(Some(effect)) => self.index.apply(effect),
                    Ok(None) => {}
                    Err(ReadError::Io(error)) => return Err(error),
                    Err(ReadError::Damaged) if header.kind == FrameKind::Shaping => {
                        let what = "what throttles have let pass is unreadable";
                        self.damage(&name, at.offset..at.end(), None, what);
                    }
                    Err(ReadError::Damaged) => {
                        let what = "an envelope or a change of one is unreadable";
                        self.damage(&name, at.offset..at.end(), Some(header.message), what);
                    }
                },
            }
        }
        Ok(())
    }

    /// A message whose body is gone cannot be delivered. Its files are kept for the operator.
    fn set_aside_bodiless(&mut self) {
        let index = &self.index;
        let bodiless: Vec<(MessageId, Location)> = index
            .messages
            .iter()
            .filter(|(_, entry)| entry.chunks.iter().any(|at| index.source(*at).is_none()))
            .map(|(message, entry)| (*message, entry.insert))
            .collect();
        for (message, at) in bodiless {
            let what = "the message's body is missing";
            self.damage(&file_name(at.segment), at.offset..at.end(), Some(message), what);
            self.index.apply(Effect::Remove { message });
        }
    }

    fn damage(
        &mut self,
        file: &str,
        range: Range<u32>,
        message: Option<MessageId>,
        what: &'static str,
    ) {
        if let Some(segment) =
            parse_file_name(file).and_then(|number| self.index.segments.get_mut(&number))
        {
            segment.damaged = true;
        }
        let bytes = range.len() as u64;
        self.report.add(Damage {
            file: file.to_owned(),
            offset: range.start,
            bytes,
            message,
            what,
        });
    }
}

/// Makes bytes durable that were read from the system's cache and may be nowhere else.
///
/// They will be acted on: messages handed out, older segments deleted. A sync alone is not enough,
/// because the process before may have had a sync fail, after which the system takes the lost
/// pages for clean. So they are written again.
fn renew<F: DiskFile>(source: &Source<F>, range: Range<u32>) -> io::Result<()> {
    let mut buffer = Vec::new();
    for start in range.clone().step_by(RENEW_BYTES) {
        buffer.resize(RENEW_BYTES.min((range.end - start) as usize), 0);
        source.file.read_at(u64::from(start), &mut buffer)?;
        source.file.write_at(u64::from(start), &buffer)?;
    }
    source.file.sync()
}

/// What a frame of an earlier process means now.
fn effect<F: DiskFile>(
    source: &Source<F>,
    header: FrameHeader,
    at: Location,
) -> Result<Option<Effect>, ReadError> {
    let message = header.message;
    Ok(Some(match header.kind {
        // Bodies are verified when they are read.
        FrameKind::Chunk => return Ok(None),
        FrameKind::Insert => {
            let chunks = decode_chunks(&source.read(at)?).map_err(|_| ReadError::Damaged)?;
            Effect::Insert { message, at, chunks }
        }
        FrameKind::Update => {
            source.read(at)?;
            Effect::Update { message, at }
        }
        FrameKind::Remove => Effect::Remove { message },
        FrameKind::Shaping => {
            decode_shaping(&source.read(at)?).map_err(|_| ReadError::Damaged)?;
            Effect::Shaping { at }
        }
    }))
}

/// How the names of damaged files end: no journal reads them and none deletes them.
pub(super) const SET_ASIDE: &str = ".damaged";

/// The name of a damaged file.
pub(super) fn set_aside_name(name: &str) -> String {
    format!("{name}{SET_ASIDE}")
}
