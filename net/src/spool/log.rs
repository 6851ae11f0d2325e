//! The writing side of the journal: one turn takes all changes that wait, writes them with one
//! call and makes them durable with one sync.
//!
//! # When the disk fails
//!
//! A sync that fails leaves the file in an unknown state that no later sync can repair (Linux
//! marks the lost pages clean), and a write that fails may have written a part. So after any
//! failure the segment is abandoned: it counts up to its last good sync and no further. The next
//! segment's header says so, and is made durable before the failure is reported; a message whose
//! sender was told "not accepted" does not appear after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};

use super::clean::Upkeep;
use super::disk::{Disk, DiskFile};
use super::frame::{FrameKind, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::index::{Effect, Index, Location};
use super::payload::{encode_insert, encode_rerouted, encode_states};
use super::recovery::Opened;
use super::reserve::Reserve;
use super::segment::{Batch, Source, file_name};
use super::shaping::encode_shaping;

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that has reached this length is followed by a new one.
    pub segment_bytes: u32,
    /// What the segments' salts are made of: unguessable for senders of mail.
    pub salt: u64,
}

/// Default of [`Options::segment_bytes`]: 64 MiB.
pub(super) const SEGMENT_BYTES: u32 = 64 << 20;

/// Stands in the header of frames that are of no message; ids start from the clock.
pub(super) const NO_MESSAGE: MessageId = MessageId(0);

/// Tells the first frame of a segment from one of [`NO_MESSAGE`] where no message has been yet.
const LEAST_ID: MessageId = MessageId(1);

/// Something to be written.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A piece of a staged body. Written, not synced.
    Chunk { message: MessageId, bytes: Bytes },
    /// A change. Synced.
    Change(SpoolWrite),
}

/// See the module. Not thread-safe and without a thread: who owns it decides when turns happen.
#[derive(Debug)]
pub(super) struct Log<D: Disk> {
    pub(super) disk: D,
    pub(super) options: Options,
    index: Arc<Mutex<Index<D::File>>>,
    active: Option<Active<D::File>>,
    /// Where the journal ends while no segment is active.
    end: JournalEnd,
    next_number: u32,
    /// Files that hold nothing that counts and are still there.
    pub(super) void: BTreeSet<u32>,
    pub(super) upkeep: Upkeep<D::File>,
    reserve: Reserve,
}

/// The segment written to.
#[derive(Debug)]
struct Active<F> {
    source: Arc<Source<F>>,
    end: u32,
    durable_end: u32,
}

/// A place: the journal is good up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalEnd {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// Frames to be written together, and what they will mean.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) batch: Batch,
    pub(super) effects: Vec<Effect>,
    /// Whether the frames must be durable before the effects count.
    sync: bool,
    /// Messages that these frames create (true) or remove (false).
    exist: BTreeMap<MessageId, bool>,
}

impl<D: Disk> Log<D> {
    /// Goes on where recovery found the end, in a new segment.
    ///
    /// # Errors
    ///
    /// The segment could not be made.
    pub(super) fn start(disk: D, options: Options, found: Opened<D::File>) -> io::Result<Self> {
        let mut log = Self {
            disk,
            options,
            index: Arc::new(Mutex::new(found.index)),
            active: None,
            end: found.end,
            next_number: found.next_number,
            void: found.void,
            upkeep: Upkeep::default(),
            reserve: Reserve::new(options.segment_bytes),
        };
        if let Err(error) = log.make_room() {
            // What an earlier process has held is enough to begin with.
            if !is_full(&error) || !log.reserve.give_up(&log.disk) {
                return Err(error);
            }
            log.make_room()?;
        }
        log.reserve.hold(&log.disk);
        Ok(log)
    }

    /// Performs some operations: all together or, when the disk fails, none. When it is full, those
    /// that are not about new mail. Results come in the order of the operations.
    pub(super) fn turn(&mut self, ops: &[Op]) -> Vec<Result<(), SpoolError>> {
        if !self.reserve.is_held() && ops.iter().any(brings_mail) {
            // There may be room again.
            self.reserve.hold(&self.disk);
        }
        let mut turned = self.try_turn(ops, self.reserve.is_held());
        if turned.as_ref().is_err_and(is_full) && self.reserve.give_up(&self.disk) {
            turned = self.try_turn(ops, false);
        }
        turned.unwrap_or_else(|error| self.refuse_all(ops, &spool_error(&error)))
    }

    fn try_turn(&mut self, ops: &[Op], new_mail: bool) -> io::Result<Vec<Result<(), SpoolError>>> {
        let mut plan = self.plan()?;
        let mut add = |op| match new_mail || !brings_mail(op) {
            true => self.add(&mut plan, op),
            false => Err(SpoolError::Full),
        };
        let verdicts = ops.iter().map(&mut add).collect();
        self.commit(plan)?;
        Ok(verdicts)
    }

    /// An empty plan for the active segment, which is made if there is none.
    pub(super) fn plan(&mut self) -> io::Result<Plan> {
        self.make_room()?;
        let active = self.active.as_ref().ok_or(io::ErrorKind::Other)?;
        let Active { source, end, durable_end } = active;
        let is_first = *end == SEGMENT_HEADER_BYTES as u32;
        let mut plan = Plan {
            batch: Batch::new(source.number, source.salt, *end, *durable_end),
            effects: Vec::new(),
            sync: false,
            exist: BTreeMap::new(),
        };
        if is_first {
            let ids_max = self.index().ids_max;
            plan.root(ids_max, &self.shaping_payload()?);
        }
        Ok(plan)
    }

    /// Writes a plan and, once it is as durable as it wants to be, applies its effects.
    pub(super) fn commit(&mut self, plan: Plan) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::Other.into()) };
        if let Err(error) = active.store(&plan) {
            tracing::error!(segment = active.source.number, %error, "spool write failed");
            self.abandon();
            // The frames may have reached the disk all the same. From here on they do not count;
            // if this fails too, the next turn tries again.
            let _ = self.make_room();
            return Err(error);
        }
        let (number, end) = (active.source.number, active.end);
        let mut index = self.index();
        if let Some(segment) = index.segments.get_mut(&number) {
            segment.end = end;
        }
        plan.effects.into_iter().for_each(|effect| index.apply(effect));
        Ok(())
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index<D::File>> {
        // Every change of the index is one call that does not panic half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shared_index(&self) -> Arc<Mutex<Index<D::File>>> {
        Arc::clone(&self.index)
    }

    pub(super) fn active_number(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.source.number)
    }

    /// Nothing was written. A body can be given up all the same.
    fn refuse_all(&self, ops: &[Op], error: &SpoolError) -> Vec<Result<(), SpoolError>> {
        ops.iter()
            .map(|op| match op {
                Op::Change(SpoolWrite::Discard(message)) => {
                    self.index().drop_staged(*message);
                    Ok(())
                }
                _ => Err(error.clone()),
            })
            .collect()
    }

    fn add(&self, plan: &mut Plan, op: &Op) -> Result<(), SpoolError> {
        match op {
            Op::Chunk { message, bytes } => {
                let at = plan.batch.push(FrameKind::Chunk, *message, bytes);
                plan.effects.push(Effect::Chunk { message: *message, at });
            }
            Op::Change(SpoolWrite::Insert(message)) => {
                let (mut chunks, tail) = self.staged(message.id, plan)?;
                let chunk_bytes = chunks.iter().map(|chunk| u64::from(chunk.payload_bytes));
                if chunk_bytes.sum::<u64>() + tail.len() as u64 != message.size_bytes {
                    return Err(refusal(message.id, "has a body of another size"));
                }
                if !tail.is_empty() {
                    chunks.push(plan.batch.push(FrameKind::Chunk, message.id, &tail));
                }
                plan.insert(message.id, &encode_insert(message, &chunks), chunks)?;
            }
            Op::Change(SpoolWrite::Update { message, recipients }) => {
                self.update(plan, *message, &encode_states(recipients))?;
            }
            Op::Change(SpoolWrite::Reroute { message, recipients, to }) => {
                self.update(plan, *message, &encode_rerouted(recipients, to))?;
            }
            Op::Change(SpoolWrite::Remove(message)) => {
                if self.exists(*message, plan) {
                    plan.remove(*message);
                }
            }
            Op::Change(SpoolWrite::Discard(message)) => self.index().drop_staged(*message),
            Op::Change(SpoolWrite::Shaping(history)) => {
                let payload = encode_shaping(history);
                if payload.len() > PAYLOAD_BYTES_MAX {
                    return Err(refusal(NO_MESSAGE, "has too many throttles"));
                }
                plan.shaping(&payload);
            }
        }
        Ok(())
    }

    fn update(
        &self,
        plan: &mut Plan,
        message: MessageId,
        payload: &[u8],
    ) -> Result<(), SpoolError> {
        if !self.exists(message, plan) {
            return Err(refusal(message, "is not in the spool"));
        }
        let at = plan.batch.push(FrameKind::Update, message, payload);
        plan.change(Effect::Update { message, at });
        Ok(())
    }

    /// A complete body that waits for its envelope.
    fn staged(&self, id: MessageId, plan: &Plan) -> Result<(Vec<Location>, Bytes), SpoolError> {
        if self.exists(id, plan) {
            return Err(refusal(id, "is already in the spool"));
        }
        let index = self.index();
        let staged = index.staged.get(&id).filter(|staged| staged.finished);
        let staged = staged.ok_or_else(|| refusal(id, "has no staged body"))?;
        // Pieces that were written without a sync go down with their segment.
        if staged.chunks.iter().any(|chunk| index.source(*chunk).is_none()) {
            return Err(refusal(id, "lost its body to a failed write"));
        }
        Ok((staged.chunks.clone(), staged.tail.clone()))
    }

    pub(super) fn exists(&self, message: MessageId, plan: &Plan) -> bool {
        let known = plan.exist.get(&message).copied();
        known.unwrap_or_else(|| self.index().messages.contains_key(&message))
    }

    /// Sees to it that a segment with room is active.
    fn make_room(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            if active.end < self.options.segment_bytes {
                return Ok(());
            }
            if let Err(error) = active.sync() {
                tracing::error!(segment = active.source.number, %error, "spool sync failed");
                self.abandon();
            } else {
                self.end = JournalEnd { segment: active.source.number, offset: active.end };
                self.active = None;
            }
        }
        self.open_next()
    }

    /// Begins a segment.
    fn open_next(&mut self) -> io::Result<()> {
        let number = self.next_number;
        // A number is used once, whatever becomes of its file: what an abandoned file holds then
        // never lies between two segments that count.
        self.next_number = number.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
        let salt = mix(self.options.salt ^ u64::from(number));
        let JournalEnd { segment: previous, offset: previous_end } = self.end;
        let header = SegmentHeader { number, previous, previous_end, salt };
        let name = file_name(number);
        let file = self.disk.create(&name)?;
        let written = file
            .write_at(0, &header.encode())
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_names());
        if let Err(error) = written {
            // No header will name it as a predecessor.
            if self.disk.remove(&name).is_err() {
                self.void.insert(number);
            }
            return Err(error);
        }
        let end = SEGMENT_HEADER_BYTES as u32;
        let source = Arc::new(Source { number, salt, file });
        self.index().add_segment(Arc::clone(&source), end);
        self.active = Some(Active { source, end, durable_end: end });
        self.remove_void();
        self.upkeep.try_again();
        Ok(())
    }

    /// Removes files that hold nothing, as far as it goes.
    pub(super) fn remove_void(&mut self) {
        let disk = &self.disk;
        self.void.retain(|number| match disk.remove(&file_name(*number)) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
    }

    /// Gives the active segment up: it ends with its last good sync.
    fn abandon(&mut self) {
        let Some(active) = self.active.take() else { return };
        let number = active.source.number;
        if active.durable_end > SEGMENT_HEADER_BYTES as u32 {
            self.end = JournalEnd { segment: number, offset: active.durable_end };
            if let Some(segment) = self.index().segments.get_mut(&number) {
                segment.end = active.durable_end;
            }
        } else {
            // Nothing in it counts but its header, which seals the segment before: it must stay
            // until the next header does so.
            self.index().segments.remove(&number);
            self.void.insert(number);
        }
    }
}

impl<F: DiskFile> Active<F> {
    fn store(&mut self, plan: &Plan) -> io::Result<()> {
        let bytes = &plan.batch.bytes;
        if !bytes.is_empty() {
            self.source.file.write_at(u64::from(self.end), bytes)?;
            self.end += bytes.len() as u32;
        }
        if plan.sync { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.durable_end < self.end {
            self.source.file.sync()?;
            self.durable_end = self.end;
        }
        Ok(())
    }
}

impl Plan {
    /// Adds an envelope and the places of its body.
    pub(super) fn insert(
        &mut self,
        message: MessageId,
        payload: &[u8],
        chunks: Vec<Location>,
    ) -> Result<(), SpoolError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(refusal(message, "has too large an envelope"));
        }
        let at = self.batch.push(FrameKind::Insert, message, payload);
        self.change(Effect::Insert { message, at, chunks: chunks.into() });
        self.exist.insert(message, true);
        Ok(())
    }

    pub(super) fn shaping(&mut self, payload: &[u8]) {
        let at = self.batch.push(FrameKind::Shaping, NO_MESSAGE, payload);
        self.change(Effect::Shaping { at });
    }

    /// Begins a segment: all a start must know of the segments before, until it has read them.
    fn root(&mut self, ids_max: MessageId, shaping: &[u8]) {
        let message = ids_max.max(LEAST_ID);
        let at = self.batch.push(FrameKind::Shaping, message, shaping);
        self.change(Effect::Shaping { at });
    }

    pub(super) fn remove(&mut self, message: MessageId) {
        self.batch.push(FrameKind::Remove, message, &[]);
        self.change(Effect::Remove { message });
        self.exist.insert(message, false);
    }

    /// An effect that counts only when it is durable.
    pub(super) fn change(&mut self, effect: Effect) {
        self.effects.push(effect);
        self.sync = true;
    }
}

/// Whether an operation is about mail that is not ours yet.
const fn brings_mail(op: &Op) -> bool {
    matches!(op, Op::Chunk { .. } | Op::Change(SpoolWrite::Insert(_)))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A failure of the device, in the engine's terms.
pub(super) fn spool_error(error: &io::Error) -> SpoolError {
    match is_full(error) {
        true => SpoolError::Full,
        false => SpoolError::Io(error.to_string().into()),
    }
}

/// A change that makes no sense; our bug, or the trace of an earlier failure.
pub(super) fn refusal(message: MessageId, why: &str) -> SpoolError {
    SpoolError::Io(format!("message {message} {why}").into())
}

/// splitmix64's finaliser: neighbouring segments get unrelated salts.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
