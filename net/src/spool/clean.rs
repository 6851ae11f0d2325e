//! Winning space back.
//!
//! Segments go strictly oldest first. So a record that ends an older one (a removal, an update, a
//! segment's seal) always outlives what it ends, and no record of deletions is needed. A segment
//! with nothing live in it is deleted; when more than half of the journal is dead, what is live in
//! the oldest segment is copied to the newest. That bounds the journal to twice its live bytes and
//! a few segments, at the price of at most one byte copied for each byte written, and keeps one
//! message that waits for days from pinning everything written since.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::shaping::history::ShapingHistory;

use super::disk::Disk;
use super::frame::{FrameHeader, FrameKind};
use super::index::{Effect, Location, Needed};
use super::log::{Log, Plan};
use super::payload::encode_insert;
use super::read::EnvelopePlaces;
use super::recovery::set_aside_name;
use super::segment::{Found, ReadError, Source, Walk, file_name};
use super::shaping::encode_shaping;

/// Bytes copied in one step; new mail waits no longer than that.
const STEP_BYTES: usize = 1 << 20;

/// Frames looked at in one step.
const STEP_FRAMES: usize = 4096;

/// Segments that may exist however little is in them.
const SEGMENTS_MIN: u64 = 16;

/// The copying of one segment's live frames.
#[derive(Debug)]
struct Cleaner<F> {
    source: Arc<Source<F>>,
    /// `None` when every frame was looked at.
    walk: Option<Walk<F>>,
    /// Messages that need a new envelope, with the pieces of their bodies copied so far. Until
    /// that envelope is durable the old places count.
    messages: BTreeMap<MessageId, BTreeMap<Location, Location>>,
}

/// How far the upkeep of a journal has come.
#[derive(Debug)]
pub(super) struct Upkeep<F> {
    cleaner: Option<Cleaner<F>>,
    copying_rests: bool,
    deleting_rests: bool,
}

impl<F> Default for Upkeep<F> {
    fn default() -> Self {
        Self { cleaner: None, copying_rests: false, deleting_rests: false }
    }
}

impl<F> Upkeep<F> {
    /// Whatever failed may work again.
    pub(super) const fn try_again(&mut self) {
        self.copying_rests = false;
        self.deleting_rests = false;
    }
}

/// Whether copying is worth it.
fn is_worth_it(total_bytes: u64, live_bytes: u64, segments: u64, segment_bytes: u64) -> bool {
    let dead_bytes = total_bytes.saturating_sub(live_bytes);
    dead_bytes > live_bytes + 2 * segment_bytes
        || segments > SEGMENTS_MIN + 2 * live_bytes.div_ceil(segment_bytes)
}

impl<D: Disk> Log<D> {
    /// Whether [`Self::maintain`] has something to do.
    pub(super) fn needs_maintenance(&self) -> bool {
        if !self.is_read_through() {
            return false;
        }
        let deletes = !self.upkeep.deleting_rests && self.oldest_is_dead();
        let copies = !self.upkeep.copying_rests
            && (self.upkeep.cleaner.is_some()
                || !self.index().crowded.is_empty()
                || self.wants_cleaning());
        deletes || copies
    }

    /// Does a bounded piece of what there is to do. What fails rests until the next segment
    /// begins; a full disk does not keep dead segments from being deleted.
    pub(super) fn maintain(&mut self) {
        if !self.is_read_through() {
            return;
        }
        if !self.upkeep.deleting_rests
            && let Err(error) = self.delete_dead()
        {
            tracing::error!(%error, "a spool segment could not be deleted");
            self.upkeep.deleting_rests = true;
        }
        if !self.upkeep.copying_rests
            && let Err(error) = self.fold_updates().and_then(|()| self.clean())
        {
            tracing::error!(%error, "spool space could not be won back");
            self.upkeep.cleaner = None;
            self.upkeep.copying_rests = true;
        }
    }

    /// Whether it is known what is alive: start-up has read all that earlier processes wrote.
    fn is_read_through(&self) -> bool {
        self.index().unread.is_none()
    }

    fn oldest_is_dead(&self) -> bool {
        let active = self.active_number();
        let index = self.index();
        index
            .segments
            .first_key_value()
            .is_some_and(|(number, segment)| segment.live_bytes == 0 && Some(*number) != active)
    }

    fn wants_cleaning(&self) -> bool {
        let index = self.index();
        let total = index.segments.values().map(|segment| u64::from(segment.end)).sum();
        let live = index.segments.values().map(|segment| segment.live_bytes).sum();
        let segments = index.segments.len() as u64;
        segments > 1 && is_worth_it(total, live, segments, self.options.segment_bytes.into())
    }

    /// Deletes dead segments, each for good before a newer one may go.
    fn delete_dead(&mut self) -> io::Result<()> {
        while self.oldest_is_dead() {
            // Without a segment to write to, the last one that was given up seals those before it.
            if self.active_number().is_some() {
                self.remove_void();
            }
            let oldest = self.index().segments.first_key_value().map(|(n, s)| (*n, s.damaged));
            let Some((number, damaged)) = oldest else { break };
            let name = file_name(number);
            let gone = match damaged {
                true => self.disk.rename(&name, &set_aside_name(&name)),
                false => self.disk.remove(&name),
            };
            match gone {
                // An earlier try got as far as this.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            self.disk.sync_names()?;
            self.index().segments.remove(&number);
            self.upkeep.cleaner.take_if(|cleaner| cleaner.source.number == number);
        }
        Ok(())
    }

    /// Writes new envelopes for messages with many updates.
    fn fold_updates(&mut self) -> io::Result<()> {
        if self.index().crowded.is_empty() {
            return Ok(());
        }
        let mut plan = self.plan()?;
        while plan.batch.bytes.len() < STEP_BYTES {
            let Some(message) = self.index().crowded.pop_first() else { break };
            // An unreadable envelope is left alone: the body may still be delivered.
            self.rewrite(&mut plan, message, &BTreeMap::new())?;
        }
        self.commit(plan)
    }

    /// One step of copying the oldest segment, when that is worth it.
    fn clean(&mut self) -> io::Result<()> {
        if self.upkeep.cleaner.is_none() && self.wants_cleaning() {
            let cleaner = self.index().segments.first_key_value().map(|(_, oldest)| Cleaner {
                walk: Some(Walk::new(Arc::clone(&oldest.source), oldest.end)),
                source: Arc::clone(&oldest.source),
                messages: BTreeMap::new(),
            });
            self.upkeep.cleaner = cleaner;
        }
        let Some(mut cleaner) = self.upkeep.cleaner.take() else { return Ok(()) };
        let mut plan = self.plan()?;
        for _ in 0..STEP_FRAMES {
            let Some(walk) = &mut cleaner.walk else { break };
            match walk.next()? {
                None => cleaner.walk = None,
                Some(Found::Hole(_)) => self.mark_damaged(cleaner.source.number),
                Some(Found::Frame(header, at)) => {
                    self.copy_frame(&mut plan, &mut cleaner, header, at)?;
                }
            }
            if plan.batch.bytes.len() >= STEP_BYTES {
                break;
            }
        }
        while cleaner.walk.is_none() && plan.batch.bytes.len() < STEP_BYTES {
            let Some((message, moves)) = cleaner.messages.pop_first() else { break };
            if self.exists(message, &plan) && !self.rewrite(&mut plan, message, &moves)? {
                self.lose(&mut plan, message, cleaner.source.number);
            }
        }
        self.commit(plan)?;
        if cleaner.walk.is_some() || !cleaner.messages.is_empty() {
            self.upkeep.cleaner = Some(cleaner);
        } else if !self.oldest_is_dead() {
            // A body that is being received holds a piece that went down with a failed write.
            self.upkeep.copying_rests = true;
        }
        Ok(())
    }

    /// Copies a frame if somebody needs it and it is a piece of a body; envelopes and updates
    /// become one new envelope when all pieces have been copied.
    fn copy_frame(
        &self,
        plan: &mut Plan,
        cleaner: &mut Cleaner<D::File>,
        FrameHeader { kind, message, .. }: FrameHeader,
        at: Location,
    ) -> io::Result<()> {
        if kind == FrameKind::Shaping {
            return self.copy_shaping(plan, at);
        }
        let needed = self.index().needs(message, at);
        if needed == Needed::No || needed == Needed::ByMessage && !self.exists(message, plan) {
            return Ok(());
        }
        if kind != FrameKind::Chunk {
            cleaner.messages.entry(message).or_default();
            return Ok(());
        }
        let payload = match cleaner.source.read(at) {
            Ok(payload) => payload,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Damaged) => {
                cleaner.messages.remove(&message);
                self.lose(plan, message, at.segment);
                return Ok(());
            }
        };
        let to = plan.batch.push(FrameKind::Chunk, message, &payload);
        if needed == Needed::ByStagedBody {
            plan.change(Effect::Moved { message, from: at, to });
        } else {
            cleaner.messages.entry(message).or_default().insert(at, to);
        }
        Ok(())
    }

    /// Copies what throttles have let pass, if nothing newer was written.
    fn copy_shaping(&self, plan: &mut Plan, at: Location) -> io::Result<()> {
        if self.index().shaping == Some(at) {
            plan.shaping(&self.shaping_payload()?);
        }
        Ok(())
    }

    /// What throttles have let pass, as it was written. Unreadable, it is lost: throttles begin
    /// anew, which is no reason to hold mail.
    pub(super) fn shaping_payload(&self) -> io::Result<Bytes> {
        let index = self.index();
        let place = index.shaping.and_then(|at| Some((Arc::clone(index.source(at)?), at)));
        drop(index);
        let read = place.map(|(source, at)| (at.segment, source.read(at)));
        match read {
            Some((_, Ok(payload))) => return Ok(payload),
            Some((_, Err(ReadError::Io(error)))) => return Err(error),
            Some((segment, Err(ReadError::Damaged))) => self.mark_damaged(segment),
            None => {}
        }
        Ok(encode_shaping(&ShapingHistory::default()).into())
    }

    /// Writes a message's envelope anew: all updates folded in, its body where it is now. `false`
    /// when the old one is unreadable.
    fn rewrite(
        &self,
        plan: &mut Plan,
        message: MessageId,
        moves: &BTreeMap<Location, Location>,
    ) -> io::Result<bool> {
        let Some(places) = EnvelopePlaces::find(&self.index(), message) else {
            return Ok(true);
        };
        let envelope = match places.load() {
            Ok(envelope) => envelope,
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Damaged) => return Ok(false),
        };
        let moved = |at: &Location| moves.get(at).copied().unwrap_or(*at);
        let chunks: Vec<_> = places.chunks.iter().map(moved).collect();
        let payload = encode_insert(&envelope, &chunks);
        plan.insert(message, &payload, chunks).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(true)
    }

    /// Gives up a message that can be neither delivered nor copied. Its segment is set aside for
    /// the operator when its time comes.
    fn lose(&self, plan: &mut Plan, message: MessageId, segment: u32) {
        let file = file_name(segment);
        tracing::error!(%message, file, "spool damage: the message is set aside with its segment");
        self.mark_damaged(segment);
        // A staged body is not known by an envelope; its insert will find it unreadable.
        if self.exists(message, plan) {
            plan.remove(message);
        }
    }

    fn mark_damaged(&self, number: u32) {
        self.index().mark_damaged(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_starts_when_more_than_half_is_dead() {
        const MIB: u64 = 1 << 20;
        let table = [
            // (total, live, segments), worth it
            ((64, 0, 1), false),
            ((128, 0, 2), false),
            ((129, 0, 3), true),
            ((1000, 436, 16), false),
            ((1000, 435, 16), true),
            ((1, 1, 18), false),
            ((1, 1, 19), true),
        ];
        for ((total, live, segments), worth_it) in table {
            assert_eq!(
                is_worth_it(total * MIB, live * MIB, segments, 64 * MIB),
                worth_it,
                "{total} MiB, {live} live, {segments} segments"
            );
        }
    }
}
