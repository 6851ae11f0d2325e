//! What the journal holds, in memory: where each live message is, and how much of each segment is
//! still needed. A few dozen bytes a message, no envelope and no body.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use traject_engine::ids::MessageId;

use super::frame::FRAME_HEADER_BYTES;
use super::segment::Source;

/// Updates of a small message that may pile up before they are folded into its envelope.
const UPDATE_BYTES_MIN: u64 = 1 << 10;

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) payload_bytes: u32,
}

impl Location {
    /// The frame's length, header included.
    pub(super) const fn frame_bytes(self) -> u64 {
        FRAME_HEADER_BYTES as u64 + self.payload_bytes as u64
    }

    /// The offset behind the frame.
    pub(super) const fn end(self) -> u32 {
        self.offset + FRAME_HEADER_BYTES as u32 + self.payload_bytes
    }
}

/// A live message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its latest envelope.
    pub(super) insert: Location,
    /// The updates since then, in order.
    pub(super) updates: Vec<Location>,
    /// Its body.
    pub(super) chunks: Box<[Location]>,
}

impl Entry {
    fn locations(&self) -> impl Iterator<Item = Location> {
        let body = self.chunks.iter().copied();
        [self.insert].into_iter().chain(self.updates.iter().copied()).chain(body)
    }

    /// Whether the updates weigh more than the envelope they change. Folding them in then costs
    /// no more than they did, and neither memory nor start-up time grows with their number.
    fn is_crowded(&self) -> bool {
        let updates: u64 = self.updates.iter().map(|update| update.frame_bytes()).sum();
        updates > self.insert.frame_bytes().max(UPDATE_BYTES_MIN)
    }
}

/// A body on its way in.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    /// The pieces already written, durable or not.
    pub(super) chunks: Vec<Location>,
    /// The rest, when [finished](Self::finished).
    pub(super) tail: Bytes,
    /// Whether the body is complete.
    pub(super) finished: bool,
}

/// A segment's share of the index.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) source: Arc<Source<F>>,
    /// The journal does not reach beyond this offset, whatever the file holds there.
    pub(super) end: u32,
    /// Bytes of frames somebody still needs.
    pub(super) live_bytes: u64,
    /// Whether something in it could not be read. Then it is set aside and not deleted.
    pub(super) damaged: bool,
}

/// What a frame, once durable, means for the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A piece of a staged body was written.
    Chunk { message: MessageId, at: Location },
    /// A message, or its new envelope, with the places of its body.
    Insert { message: MessageId, at: Location, chunks: Box<[Location]> },
    /// An update.
    Update { message: MessageId, at: Location },
    /// The message is done.
    Remove { message: MessageId },
    /// What throttles have let pass was written, or copied.
    Shaping { at: Location },
    /// A piece of a staged body was copied.
    Moved { message: MessageId, from: Location, to: Location },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index<F> {
    pub(super) messages: BTreeMap<MessageId, Entry>,
    pub(super) staged: BTreeMap<MessageId, Staged>,
    pub(super) segments: BTreeMap<u32, Segment<F>>,
    /// Messages whose updates want to be folded in.
    pub(super) crowded: BTreeSet<MessageId>,
    /// What throttles have let pass.
    pub(super) shaping: Option<Location>,
    /// No message that was ever in the journal has a higher id.
    pub(super) ids_max: MessageId,
    /// Until start-up has read through what earlier processes wrote: messages up to this one may be
    /// in the journal and not be known here.
    pub(super) unread: Option<MessageId>,
}

impl<F> Default for Index<F> {
    fn default() -> Self {
        Self {
            messages: BTreeMap::new(),
            staged: BTreeMap::new(),
            segments: BTreeMap::new(),
            crowded: BTreeSet::new(),
            shaping: None,
            ids_max: MessageId(0),
            unread: None,
        }
    }
}

impl<F> Index<F> {
    pub(super) fn add_segment(&mut self, source: Arc<Source<F>>, end: u32) {
        let segment = Segment { end, live_bytes: 0, damaged: false, source: Arc::clone(&source) };
        self.segments.insert(source.number, segment);
    }

    /// Takes over what has been written.
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Chunk { message, at } => {
                // The body may have been given up meanwhile.
                if let Some(staged) = self.staged.get_mut(&message) {
                    staged.chunks.push(at);
                    self.hold(at);
                }
            }
            Effect::Insert { message, at, chunks } => {
                let entry = Entry { insert: at, updates: Vec::new(), chunks };
                entry.locations().for_each(|location| self.hold(location));
                self.drop_staged(message);
                self.ids_max = self.ids_max.max(message);
                if let Some(earlier) = self.messages.insert(message, entry) {
                    earlier.locations().for_each(|location| self.release(location));
                }
                self.crowded.remove(&message);
            }
            Effect::Update { message, at } => {
                if let Some(entry) = self.messages.get_mut(&message) {
                    entry.updates.push(at);
                    if entry.is_crowded() {
                        self.crowded.insert(message);
                    }
                    self.hold(at);
                }
            }
            Effect::Remove { message } => {
                if let Some(entry) = self.messages.remove(&message) {
                    entry.locations().for_each(|location| self.release(location));
                }
                self.crowded.remove(&message);
            }
            Effect::Shaping { at } => {
                self.hold(at);
                if let Some(earlier) = self.shaping.replace(at) {
                    self.release(earlier);
                }
            }
            Effect::Moved { message, from, to } => {
                let chunks = self.staged.get_mut(&message).map(|staged| &mut staged.chunks);
                let chunk = chunks.and_then(|chunks| chunks.iter_mut().find(|c| **c == from));
                if let Some(chunk) = chunk {
                    *chunk = to;
                    self.hold(to);
                    self.release(from);
                }
            }
        }
    }

    /// Whether a new message may have this id: no other has it, nor may one have it that start-up
    /// has not read of yet.
    pub(super) fn is_free(&self, id: MessageId) -> bool {
        let known = self.messages.contains_key(&id) || self.staged.contains_key(&id);
        !known && self.unread.is_none_or(|last| id > last)
    }

    /// Takes over the messages that start-up has found in segments which are known here already.
    pub(super) fn absorb(&mut self, found: Self) {
        for (number, segment) in found.segments {
            if let Some(known) = self.segments.get_mut(&number) {
                known.live_bytes += segment.live_bytes;
                known.damaged |= segment.damaged;
            }
        }
        // What came since has other ids, and is little.
        let since = std::mem::replace(&mut self.messages, found.messages);
        self.messages.extend(since);
        self.crowded.extend(found.crowded);
        self.unread = None;
    }

    /// Forgets a body on its way in.
    pub(super) fn drop_staged(&mut self, message: MessageId) {
        if let Some(staged) = self.staged.remove(&message) {
            staged.chunks.into_iter().for_each(|chunk| self.release(chunk));
        }
    }

    /// The segment a frame is in, if the journal reaches so far there.
    pub(super) fn source(&self, at: Location) -> Option<&Arc<Source<F>>> {
        let segment = self.segments.get(&at.segment)?;
        (at.end() <= segment.end).then_some(&segment.source)
    }

    /// Whether a message, or a body on its way in, still needs this frame.
    pub(super) fn needs(&self, message: MessageId, at: Location) -> Needed {
        let entry = self.messages.get(&message);
        if entry.is_some_and(|entry| entry.locations().any(|location| location == at)) {
            return Needed::ByMessage;
        }
        match self.staged.get(&message) {
            Some(staged) if staged.chunks.contains(&at) => Needed::ByStagedBody,
            _ => Needed::No,
        }
    }

    /// Something in a segment is unreadable.
    pub(super) fn mark_damaged(&mut self, number: u32) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.damaged = true;
        }
    }

    /// Counts the live bytes from scratch and compares.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut live: BTreeMap<u32, u64> = BTreeMap::new();
        let messages = self.messages.values().flat_map(Entry::locations);
        let staged = self.staged.values().flat_map(|staged| staged.chunks.clone());
        let all = messages.chain(staged).chain(self.shaping);
        for at in all.filter(|at| self.segments.contains_key(&at.segment)) {
            *live.entry(at.segment).or_default() += at.frame_bytes();
        }
        for (number, segment) in &self.segments {
            assert_eq!(segment.live_bytes, live.remove(number).unwrap_or(0), "{number}");
        }
    }

    fn hold(&mut self, at: Location) {
        if let Some(segment) = self.segments.get_mut(&at.segment) {
            segment.live_bytes += at.frame_bytes();
        }
    }

    fn release(&mut self, at: Location) {
        if let Some(segment) = self.segments.get_mut(&at.segment) {
            segment.live_bytes -= at.frame_bytes();
        }
    }
}

/// Answer of [`Index::needs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    ByMessage,
    ByStagedBody,
    No,
}
