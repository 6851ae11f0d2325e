//! The durable spool: a journal in segments.
//!
//! ```text
//!   stage, append ──► Chunk ┐                    ┌─► segment 7  ▒▒▒▒░░▒░  oldest: deleted when
//!   Insert ─────────────────┤  one thread:       │                        all in it is dead,
//!   Update ─────────────────┼─► one write, one ──┼─► segment 8  ▒░▒▒▒▒▒▒  copied to the newest
//!   Remove ─────────────────┘  sync for all      │                        when most is
//!                              that waits        └─► segment 9  ▒▒▒▒▏     written to
//! ```
//!
//! - **Durable** means synced to the device. All changes that arrive while one sync runs share the
//!   next one (group commit).
//! - **Bodies** are written as they arrive, in pieces of [`CHUNK_BYTES`], and are never whole in
//!   memory. They become durable with their message's `Insert`. A small body is written together
//!   with it.
//! - **A start** has to find the journal's end, no more: mail comes in while what is in the spool
//!   already is looked for.
//! - **A crash** loses nothing that was reported durable; a message that was never reported so may
//!   survive it. Damage is found by checksums, logged and set aside, never skipped in silence.
//! - **A failure** of the disk is reported for the changes it hit; the spool goes on in a new
//!   segment as soon as the disk does.

mod clean;
pub mod disk;
mod frame;
mod index;
mod inspection;
mod log;
pub mod memory_disk;
mod payload;
mod read;
mod recovery;
mod reserve;
mod scan;
mod segment;
mod shaping;
mod writer;

#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod start_tests;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::StoredMessage;
use traject_engine::shaping::history::ShapingHistory;

use crate::world::{BodyReader, BodyWriter, Spool};
use disk::{Disk, Folder};
use index::{Index, Staged};
pub use inspection::{Checked, Inspection};
pub use log::Options;
use log::{Log, Op, SEGMENT_BYTES, refusal, spool_error};
use read::{Body, EnvelopePlaces};
use recovery::RecoveryError;
pub use recovery::{Damage, Report};
use scan::Scan;
pub use writer::Turns;
use writer::{Answer, Writer};

/// Longest piece of a body. A body on its way in takes two of them of memory at most, one on its
/// way out takes one.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Messages read ahead of [`Spool::recover`].
const RECOVERY_AHEAD: usize = 256;

/// Messages between two lines of the log that say how far [`Spool::recover`] is.
const RECOVERY_STEP: usize = 100_000;

/// A durable spool. Clones share it; the last one to go ends its thread and lets go of its disk.
#[derive(Debug)]
pub struct Journal<D: Disk = Folder> {
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D: Disk> {
    index: Arc<Mutex<Index<D::File>>>,
    writer: Writer,
    report: Mutex<Report>,
    recovery: tokio::sync::Mutex<Recovery<D::File>>,
    reads: Reads,
}

/// Who waits for a disk that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Threads for such things.
    Beside,
    /// Nobody: the disk answers at once.
    Inline,
}

/// How far start-up has come with the mail that was there before.
#[derive(Debug)]
enum Recovery<F> {
    /// It is being looked for. By nobody any more, if that failed or was given up half-way.
    Scanning(Option<Box<Scan<F>>>),
    /// It is handed out.
    Found(Found),
}

/// What start-up found and has not handed out.
#[derive(Debug)]
struct Found {
    waiting: VecDeque<MessageId>,
    ready: VecDeque<StoredMessage>,
    total: usize,
}

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("{0}: the spool is in use by another process")]
    Locked(PathBuf),
    /// Written by a later version of this program.
    #[error("{file}: version {version} of the spool's format is not known to this program")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
    },
    /// The system refused something.
    #[error("the spool cannot be opened")]
    Io(#[from] io::Error),
}

impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Io(error) => Self::Io(error),
            RecoveryError::Version { file, version } => Self::Version { file, version },
        }
    }
}

impl Journal {
    /// Opens the spool in a folder, which is made when it does not exist. New mail can be written
    /// at once, however much is in it; [`Spool::recover`] reads what is.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Damage is no error: see [`Self::report`].
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let disk = Folder::lock(folder).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked(folder.to_owned()),
            _ => OpenError::Io(error),
        })?;
        // The standard library's only source of entropy.
        let salt = RandomState::new().hash_one(folder);
        Self::open_on(disk, Options { segment_bytes: SEGMENT_BYTES, salt })
    }
}

impl<D: Disk> Journal<D> {
    /// Opens the spool on a disk.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_on(disk: D, options: Options) -> Result<Self, OpenError> {
        Self::open_with(disk, options, Reads::Beside, |log| Ok((Writer::start(log)?, ())))
            .map(|(journal, ())| journal)
    }

    /// Opens the spool on a disk that answers at once, such as a simulated one, without any
    /// thread: the owner of the [`Turns`] decides when something is written.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_in_turns(disk: D, options: Options) -> Result<(Self, Turns<D>), OpenError> {
        Self::open_with(disk, options, Reads::Inline, |log| Ok(Writer::in_turns(log)))
    }

    fn open_with<T>(
        disk: D,
        options: Options,
        reads: Reads,
        start: impl FnOnce(Log<D>) -> io::Result<(Writer, T)>,
    ) -> Result<(Self, T), OpenError> {
        let (opened, scan) = recovery::open(&disk)?;
        let report = scan.report().clone();
        let Report { segments, bytes, torn_bytes, damage_total, .. } = &report;
        tracing::info!(segments, bytes, torn_bytes, damage_total, "spool opened");
        let log = Log::start(disk, options, opened)?;
        let index = log.shared_index();
        let recovery = tokio::sync::Mutex::new(Recovery::Scanning(Some(scan.into())));
        let (writer, other) = start(log)?;
        let shared = Shared { index, writer, report: report.into(), recovery, reads };
        Ok((Self { shared: Arc::new(shared) }, other))
    }

    /// Messages in it, as far as they are known: all when the first has been
    /// [recovered](Spool::recover).
    pub fn messages(&self) -> usize {
        self.shared.index().messages.len()
    }

    /// What opening it found and, when the first message has been [recovered](Spool::recover),
    /// what reading it did.
    pub fn report(&self) -> Report {
        self.shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<D: Disk> Clone for Journal<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> Spool for Journal<D> {
    type Writer = Staging<D>;
    type Reader = Reading<D>;

    async fn stage(&self, message: MessageId) -> Result<Staging<D>, SpoolError> {
        let mut index = self.shared.index();
        if !index.is_free(message) {
            return Err(refusal(message, "is already in the spool"));
        }
        index.staged.insert(message, Staged::default());
        drop(index);
        Ok(Staging {
            shared: Arc::clone(&self.shared),
            message,
            buffer: BytesMut::new(),
            writing: None,
            failure: None,
            finished: false,
        })
    }

    async fn read(&self, message: MessageId) -> Result<Option<Reading<D>>, SpoolError> {
        let body = Body::find(&self.shared.index(), message).transpose()?;
        let reads = self.shared.reads;
        Ok(body.map(|body| Reading { body: Some(body), reads }))
    }

    fn write(
        &self,
        change: SpoolWrite,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send + 'static {
        self.shared.writer.submit(Op::Change(change))
    }

    async fn recover_shaping(&self) -> Result<Option<Arc<ShapingHistory>>, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let reads = shared.reads;
        reading(reads, move || shared.index().shaping_history().map(|found| found.map(Arc::new)))
            .await
    }

    async fn recover(&self) -> Result<Option<StoredMessage>, SpoolError> {
        let mut recovery = self.shared.recovery.lock().await;
        let found = loop {
            match &mut *recovery {
                Recovery::Found(found) => break found,
                Recovery::Scanning(scan) => {
                    let scan = scan.take().ok_or_else(given_up)?;
                    *recovery = self.shared.scan(scan).await?;
                }
            }
        };
        while found.ready.is_empty() && !found.waiting.is_empty() {
            let count = found.waiting.len().min(RECOVERY_AHEAD);
            let messages: Vec<_> = found.waiting.drain(..count).collect();
            let shared = Arc::clone(&self.shared);
            let reads = shared.reads;
            found.ready = reading(reads, move || shared.load_all(&messages)).await;
            found.tell_progress();
        }
        Ok(found.ready.pop_front())
    }
}

/// Lets others have a turn. Tokio's own way of it waits for its I/O as well, which a simulated
/// world takes for a time in which nothing happens.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn given_up() -> SpoolError {
    SpoolError::Io("the spool was not read to its end".into())
}

impl Found {
    /// Says how far it is, when there is much to do.
    fn tell_progress(&self) {
        let (queued, total) = (self.total - self.waiting.len(), self.total);
        let is_step =
            queued / RECOVERY_STEP > queued.saturating_sub(RECOVERY_AHEAD) / RECOVERY_STEP;
        if total > RECOVERY_STEP && (is_step || queued == total) {
            tracing::info!(queued, total, "reading the spool");
        }
    }
}

impl<D: Disk> Shared<D> {
    fn index(&self) -> std::sync::MutexGuard<'_, Index<D::File>> {
        // Every change of the index is one call that does not panic half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of looking for messages. Whoever else has something to do does it between two.
    async fn scan(
        self: &Arc<Self>,
        mut scan: Box<Scan<D::File>>,
    ) -> Result<Recovery<D::File>, SpoolError> {
        let (step, scan) = reading(self.reads, move || (scan.step(), scan)).await;
        if step.map_err(|error| spool_error(&error))? {
            yield_now().await;
            return Ok(Recovery::Scanning(Some(scan)));
        }
        Ok(Recovery::Found(self.absorb(*scan)))
    }

    /// All is known.
    fn absorb(&self, scan: Scan<D::File>) -> Found {
        let (found, report) = scan.finish();
        let Report { messages, damage_total, .. } = &report;
        tracing::info!(messages, damage_total, "all mail in the spool is known");
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
        let waiting: VecDeque<_> = found.messages.keys().copied().collect();
        self.index().absorb(found);
        self.writer.look_for_upkeep();
        Found { total: waiting.len(), waiting, ready: VecDeque::new() }
    }

    /// The envelopes that can be read. The others stay where they are, and in the log.
    fn load_all(&self, messages: &[MessageId]) -> VecDeque<StoredMessage> {
        let load = |message: &MessageId| {
            let places = EnvelopePlaces::find(&self.index(), *message)?;
            places.load().map_err(|error| places.report(&error)).ok()
        };
        messages.iter().filter_map(load).collect()
    }
}

/// Runs what may wait for the disk beside the tasks that must not.
async fn reading<T: Send + 'static>(reads: Reads, work: impl FnOnce() -> T + Send + 'static) -> T {
    if reads == Reads::Inline {
        return work();
    }
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Writes one body.
#[derive(Debug)]
pub struct Staging<D: Disk> {
    shared: Arc<Shared<D>>,
    message: MessageId,
    /// Less than a chunk.
    buffer: BytesMut,
    /// The piece before, on its way to the disk.
    writing: Option<Answer>,
    /// A piece is missing for good.
    failure: Option<SpoolError>,
    finished: bool,
}

impl<D: Disk> BodyWriter for Staging<D> {
    async fn append(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        while !bytes.is_empty() {
            if self.buffer.len() == CHUNK_BYTES {
                // One piece is written while the next one fills.
                self.written().await?;
                let bytes = self.buffer.split().freeze();
                let message = self.message;
                self.writing = Some(self.shared.writer.submit(Op::Chunk { message, bytes }));
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), SpoolError> {
        self.written().await?;
        let tail = std::mem::take(&mut self.buffer).freeze();
        let mut index = self.shared.index();
        let staged = index.staged.get_mut(&self.message);
        let staged = staged.ok_or_else(|| refusal(self.message, "was discarded"))?;
        staged.tail = tail;
        staged.finished = true;
        drop(index);
        self.finished = true;
        Ok(())
    }
}

impl<D: Disk> Staging<D> {
    /// Waits until the piece before is written. Once one was not, the body stays broken.
    async fn written(&mut self) -> Result<(), SpoolError> {
        if let Some(writing) = &mut self.writing {
            let result = writing.await;
            self.writing = None;
            self.failure = self.failure.take().or_else(|| result.err());
        }
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl<D: Disk> Drop for Staging<D> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.index().drop_staged(self.message);
        }
    }
}

/// Reads one body.
#[derive(Debug)]
pub struct Reading<D: Disk> {
    /// `None` while it is at the disk, and for good when a read was given up half-way.
    body: Option<Body<D::File>>,
    reads: Reads,
}

impl<D: Disk> BodyReader for Reading<D> {
    async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        let gone = || SpoolError::Io("an earlier read was abandoned".into());
        let mut body = self.body.take().ok_or_else(gone)?;
        // Most bodies are in the page cache: they were written a moment ago. Handing them to
        // another thread and back would cost several times what copying them does.
        let (piece, body) = match body.next_at_once() {
            Some(piece) => (piece, body),
            None => reading(self.reads, move || (body.next(), body)).await,
        };
        self.body = Some(body);
        piece
    }
}
