//! Reading through the journal at start-up: which messages are in it and where.
//!
//! It takes as long as there is mail, so it goes on in steps while new mail is written. What it
//! finds is kept apart until all is read, because a later frame may end what an earlier one began.
//! Nobody asks for these messages meanwhile, as nobody knows of them; new mail gets other ids; and
//! nothing is deleted or copied before it is known what is alive.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use traject_engine::ids::MessageId;

use super::disk::DiskFile;
use super::frame::{FrameHeader, FrameKind};
use super::index::{Effect, Index, Location};
use super::payload::decode_chunks;
use super::recovery::{Damage, Report};
use super::segment::{Found, ReadError, Source, Walk, file_name};
use super::shaping::decode_shaping;

/// See the module.
#[derive(Debug)]
pub(super) struct Scan<F> {
    index: Index<F>,
    /// Segments that were not read yet.
    rest: VecDeque<u32>,
    report: Report,
}

impl<F: DiskFile> Scan<F> {
    /// Of all segments in `known`, some of which are known to be damaged.
    pub(super) fn new(known: &Index<F>, damaged: &BTreeSet<u32>, report: Report) -> Self {
        let mut index = Index::default();
        for (number, segment) in &known.segments {
            index.add_segment(Arc::clone(&segment.source), segment.end);
            if damaged.contains(number) {
                index.mark_damaged(*number);
            }
        }
        let rest = index.segments.keys().copied().collect();
        Self { index, rest, report }
    }

    /// What is known so far.
    pub(super) const fn report(&self) -> &Report {
        &self.report
    }

    /// Reads one segment. False when there was none left.
    ///
    /// # Errors
    ///
    /// The device failed; there is no going on.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let Some(number) = self.rest.pop_front() else { return Ok(false) };
        if let Some(segment) = self.index.segments.get(&number) {
            let (source, end) = (Arc::clone(&segment.source), segment.end);
            self.replay(&source, end)?;
        }
        Ok(true)
    }

    /// All messages, and all damage.
    pub(super) fn finish(mut self) -> (Index<F>, Report) {
        self.set_aside_bodiless();
        let Self { index, mut report, .. } = self;
        report.messages = index.messages.len();
        (index, report)
    }

    /// Takes over a segment's frames.
    fn replay(&mut self, source: &Arc<Source<F>>, end: u32) -> io::Result<()> {
        let mut walk = Walk::new(Arc::clone(source), end);
        while let Some(found) = walk.next()? {
            match found {
                Found::Hole(range) => {
                    let what = "unreadable bytes; what they held is unknown";
                    self.damage(source.number, range, None, what);
                }
                Found::Frame(header, at) => match effect(source, header, at) {
                    Ok(Some(effect)) => self.index.apply(effect),
                    Ok(None) => {}
                    Err(ReadError::Io(error)) => return Err(error),
                    Err(ReadError::Damaged) if header.kind == FrameKind::Shaping => {
                        let what = "what throttles have let pass is unreadable";
                        self.damage(source.number, at.offset..at.end(), None, what);
                    }
                    Err(ReadError::Damaged) => {
                        let what = "an envelope or a change of one is unreadable";
                        let message = Some(header.message);
                        self.damage(source.number, at.offset..at.end(), message, what);
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
            self.damage(at.segment, at.offset..at.end(), Some(message), what);
            self.index.apply(Effect::Remove { message });
        }
    }

    fn damage(
        &mut self,
        segment: u32,
        range: Range<u32>,
        message: Option<MessageId>,
        what: &'static str,
    ) {
        self.index.mark_damaged(segment);
        let (bytes, offset) = (range.len() as u64, range.start);
        self.report.add(Damage { file: file_name(segment), offset, bytes, message, what });
    }
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
            // The latest is known already; damage is not.
            decode_shaping(&source.read(at)?).map_err(|_| ReadError::Damaged)?;
            return Ok(None);
        }
    }))
}
