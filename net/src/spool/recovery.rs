//! Start-up: from the files of a disk to a journal that can be written to.
//!
//! Which bytes count is decided first. The newest segment's header names its predecessor and where
//! that ended, and so on back; only the newest segment itself has an open end. There, what is
//! broken behind the last known sync was torn by a crash and never acknowledged; what is broken
//! anywhere else was damaged. Both are reported, and nothing damaged is ever deleted.
//!
//! That is all new mail has to wait for, however much old mail there is: which messages the
//! segments hold is [read](super::scan) while clients are served already. Two things cannot wait
//! for that: what throttles have let pass, and which ids are taken. So each segment begins with a
//! frame that has both, its root, and only what was written since the latest of them is read here.
//! Segments of earlier versions of this program begin with none; then all are read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use traject_engine::ids::MessageId;

use super::disk::{Disk, DiskFile};
use super::frame::{FrameHeader, FrameKind, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::index::{Effect, Index, Location, Segment};
use super::log::{JournalEnd, NO_MESSAGE};
use super::scan::Scan;
use super::segment::{Found, ReadError, Source, Walk, file_name, parse_file_name};
use super::shaping::decode_shaping;

/// Pieces of damage that are described one by one; the rest is counted.
const DAMAGE_DESCRIBED_MAX: usize = 100;

/// Bytes written again at once.
const RENEW_BYTES: usize = 1 << 20;

/// What start-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Live messages; 0 until all of the journal has been read.
    pub messages: usize,
    /// Segments of earlier processes, which hold them.
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
pub(super) struct Opened<F> {
    /// All segments and no message.
    pub(super) index: Index<F>,
    pub(super) end: JournalEnd,
    pub(super) next_number: u32,
    /// Files that hold nothing.
    pub(super) void: BTreeSet<u32>,
}

/// What can be written to, and what is still to be read.
type Start<F> = (Opened<F>, Scan<F>);

/// Decides which bytes of the disk are the journal, and what finds the messages in them.
pub(super) fn open<D: Disk>(disk: &D) -> Result<Start<D::File>, RecoveryError> {
    let mut recovery = Recovery { damaged: BTreeSet::new(), report: Report::default() };
    let mut void = BTreeSet::new();
    let mut found = recovery.open_all(disk, &mut void)?;
    let next_number = found.numbers_max.saturating_add(1);
    let chain = recovery.chain(&mut found.segments, &mut void);
    let mut index = Index::default();
    let mut end = JournalEnd { segment: 0, offset: 0 };
    for (number, (source, sealed_end)) in chain {
        let offset = match sealed_end {
            Some(sealed) => recovery.sealed_end(&source, sealed)?,
            None => recovery.open_end(&source)?,
        };
        index.add_segment(source, offset);
        end = JournalEnd { segment: number, offset };
    }
    find_root(&mut index)?;
    let Recovery { damaged, mut report } = recovery;
    report.segments = index.segments.len();
    report.bytes = index.segments.values().map(|segment| u64::from(segment.end)).sum();
    let scan = Scan::new(&index, &damaged, report);
    Ok((Opened { index, end, next_number, void }, scan))
}

/// Reads all there is.
pub(super) fn recover<D: Disk>(disk: &D) -> Result<(Index<D::File>, Report), RecoveryError> {
    let (Opened { mut index, .. }, mut scan) = open(disk)?;
    while scan.step()? {}
    let (found, report) = scan.finish();
    index.absorb(found);
    Ok((index, report))
}

/// Finds what throttles have let pass, and the highest id of all messages.
///
/// From the newest segment back to one that begins with its root. What is damaged is passed over
/// here, and reported when all is read.
fn find_root<F: DiskFile>(index: &mut Index<F>) -> io::Result<()> {
    let mut shaping = None;
    let mut ids_max = NO_MESSAGE;
    for Segment { source, end, .. } in index.segments.values().rev() {
        let mut seen = Seen::walk(source, *end)?;
        ids_max = ids_max.max(seen.ids_max);
        while shaping.is_none()
            && let Some(at) = seen.shaping.pop()
        {
            shaping = is_readable(source, at)?.then_some(at);
        }
        if let Some(at) = seen.root
            && is_readable(source, at)?
        {
            break;
        }
    }
    index.ids_max = ids_max;
    index.unread = (!index.segments.is_empty()).then_some(ids_max);
    shaping.into_iter().for_each(|at| index.apply(Effect::Shaping { at }));
    Ok(())
}

/// What the headers of a segment's frames say.
struct Seen {
    ids_max: MessageId,
    shaping: Vec<Location>,
    root: Option<Location>,
}

impl Seen {
    fn walk<F: DiskFile>(source: &Arc<Source<F>>, end: u32) -> io::Result<Self> {
        let mut seen = Self { ids_max: NO_MESSAGE, shaping: Vec::new(), root: None };
        let mut walk = Walk::new(Arc::clone(source), end);
        while let Some(found) = walk.next()? {
            let Found::Frame(FrameHeader { kind, message, .. }, at) = found else { continue };
            seen.ids_max = seen.ids_max.max(message);
            if kind == FrameKind::Shaping {
                seen.shaping.push(at);
                if at.offset as usize == SEGMENT_HEADER_BYTES && message != NO_MESSAGE {
                    seen.root = Some(at);
                }
            }
        }
        Ok(seen)
    }
}

/// Whether what throttles have let pass can be read there.
fn is_readable<F: DiskFile>(source: &Source<F>, at: Location) -> io::Result<bool> {
    match source.read(at) {
        Ok(payload) => Ok(decode_shaping(&payload).is_ok()),
        Err(ReadError::Damaged) => Ok(false),
        Err(ReadError::Io(error)) => Err(error),
    }
}

/// The segments that count, in order, with their ends where known.
type Chain<F> = BTreeMap<u32, (Arc<Source<F>>, Option<u32>)>;

struct Files<F> {
    segments: BTreeMap<u32, (SegmentHeader, F)>,
    numbers_max: u32,
}

struct Recovery {
    /// Segments with damage.
    damaged: BTreeSet<u32>,
    report: Report,
}

impl Recovery {
    /// Opens every file that is named like a segment and starts like one.
    fn open_all<D: Disk>(
        &mut self,
        disk: &D,
        void: &mut BTreeSet<u32>,
    ) -> Result<Files<D::File>, RecoveryError> {
        let mut opened = Files { segments: BTreeMap::new(), numbers_max: 0 };
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
                    self.damage(&name, 0..length as u32, what);
                    disk.rename(&name, &set_aside_name(&name))?;
                }
            }
        }
        Ok(opened)
    }

    /// Follows the headers from the newest segment back.
    fn chain<F>(
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
                self.damage(&file_name(header.previous), 0..header.previous_end, what);
                sealed_end = None;
            }
        }
        chain
    }

    /// Checks that a sealed segment is there up to its end.
    fn sealed_end<F: DiskFile>(&mut self, source: &Source<F>, sealed: u32) -> io::Result<u32> {
        let length = u32::try_from(source.file.len_bytes()?).unwrap_or(u32::MAX);
        if length < sealed {
            let what = "the end of the segment is missing";
            self.damage(&file_name(source.number), length..sealed, what);
        }
        Ok(length.min(sealed))
    }

    /// Finds the end of a segment that no header seals.
    fn open_end<F: DiskFile>(&mut self, source: &Arc<Source<F>>) -> io::Result<u32> {
        let length = u32::try_from(source.file.len_bytes()?).unwrap_or(u32::MAX);
        let (durable_end, torn_at) = unsure_end(source, length)?;
        let end = torn_at.map_or(length, |at| at.max(durable_end));
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

    fn damage(&mut self, file: &str, range: Range<u32>, what: &'static str) {
        self.damaged.extend(parse_file_name(file));
        let (bytes, offset) = (range.len() as u64, range.start);
        self.report.add(Damage { file: file.to_owned(), offset, bytes, message: None, what });
    }
}

/// Up to where a segment is durable for sure, and where behind that something is broken first.
fn unsure_end<F: DiskFile>(source: &Arc<Source<F>>, length: u32) -> io::Result<(u32, Option<u32>)> {
    let mut walk = Walk::new(Arc::clone(source), length);
    let mut durable_end = 0;
    let mut unsure = VecDeque::new();
    while let Some(found) = walk.next()? {
        if let Found::Frame(header, _) = &found {
            durable_end = durable_end.max(header.durable_end);
        }
        unsure.push_back(found);
        while unsure.front().is_some_and(|found| found.range().end <= durable_end) {
            unsure.pop_front();
        }
    }
    for found in unsure {
        let broken = match &found {
            Found::Hole(_) => true,
            Found::Frame(_, at) => match source.read(*at) {
                Ok(_) => false,
                Err(ReadError::Damaged) => true,
                Err(ReadError::Io(error)) => return Err(error),
            },
        };
        if broken {
            return Ok((durable_end, Some(found.range().start)));
        }
    }
    Ok((durable_end, None))
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

/// How the names of damaged files end: no journal reads them and none deletes them.
pub(super) const SET_ASIDE: &str = ".damaged";

/// The name of a damaged file.
pub(super) fn set_aside_name(name: &str) -> String {
    format!("{name}{SET_ASIDE}")
}
