//! Reading messages back: envelopes whole, bodies piece by piece.
//!
//! Places are looked up once, under the index's lock; the open files are kept. So a reader goes
//! on undisturbed when its message is removed or its segment copied and deleted.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolError;
use traject_engine::message::StoredMessage;
use traject_engine::shaping::history::ShapingHistory;

use super::disk::DiskFile;
use super::index::{Index, Location};
use super::log::{refusal, spool_error};
use super::payload::{decode_insert, decode_update};
use super::segment::{ReadError, Source, file_name};
use super::shaping::decode_shaping;

/// A frame and the file it is in.
type Place<F> = (Arc<Source<F>>, Location);

/// Where a message's envelope is.
#[derive(Debug)]
pub(super) struct EnvelopePlaces<F> {
    message: MessageId,
    insert: Place<F>,
    updates: Vec<Place<F>>,
    /// The places of the body, for a new envelope.
    pub(super) chunks: Box<[Location]>,
}

impl<F: DiskFile> EnvelopePlaces<F> {
    /// Looks up a live message.
    pub(super) fn find(index: &Index<F>, message: MessageId) -> Option<Self> {
        let place = |at: Location| Some((Arc::clone(index.source(at)?), at));
        let entry = index.messages.get(&message)?;
        Some(Self {
            message,
            insert: place(entry.insert)?,
            updates: entry.updates.iter().map(|at| place(*at)).collect::<Option<_>>()?,
            chunks: entry.chunks.clone(),
        })
    }

    /// The envelope with all updates.
    pub(super) fn load(&self) -> Result<StoredMessage, ReadError> {
        let (source, at) = &self.insert;
        let mut message =
            decode_insert(self.message, &source.read(*at)?).map_err(|_| ReadError::Damaged)?;
        for (source, at) in &self.updates {
            let change = decode_update(&source.read(*at)?).map_err(|_| ReadError::Damaged)?;
            if !change.apply(&mut message) {
                return Err(ReadError::Damaged);
            }
        }
        Ok(message)
    }

    /// Puts into the log that [`Self::load`] failed, and says it in the engine's terms.
    pub(super) fn report(&self, error: &ReadError) -> SpoolError {
        let (source, at) = &self.insert;
        report(self.message, source, *at, error)
    }
}

/// A body, from where it is at present.
#[derive(Debug)]
pub(super) struct Body<F> {
    message: MessageId,
    pieces: VecDeque<Place<F>>,
    tail: Bytes,
}

impl<F: DiskFile> Body<F> {
    /// Looks up a body, of a message or staged and complete.
    pub(super) fn find(index: &Index<F>, message: MessageId) -> Option<Result<Self, SpoolError>> {
        let (chunks, tail) = match index.messages.get(&message) {
            Some(entry) => (&entry.chunks[..], Bytes::new()),
            None => {
                let staged = index.staged.get(&message).filter(|staged| staged.finished)?;
                (&staged.chunks[..], staged.tail.clone())
            }
        };
        let place = |at: &Location| Some((Arc::clone(index.source(*at)?), *at));
        let pieces: Option<_> = chunks.iter().map(place).collect();
        let lost = || refusal(message, "lost its body to a failed write");
        Some(pieces.ok_or_else(lost).map(|pieces| Self { message, pieces, tail }))
    }

    /// The next piece, `None` at the end. Where [`Self::next`] would have to wait for the disk,
    /// there is no answer, and nothing has changed.
    pub(super) fn next_at_once(&mut self) -> Option<Result<Option<Bytes>, SpoolError>> {
        let Some((source, at)) = self.pieces.front() else { return Some(Ok(self.take_tail())) };
        let piece = source.read_at_once(*at)?;
        let piece = piece.map_err(|error| report(self.message, source, *at, &error));
        self.pieces.pop_front();
        Some(piece.map(Some))
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        let Some((source, at)) = self.pieces.pop_front() else { return Ok(self.take_tail()) };
        match source.read(at) {
            Ok(piece) => Ok(Some(piece)),
            Err(error) => Err(report(self.message, &source, at, &error)),
        }
    }

    fn take_tail(&mut self) -> Option<Bytes> {
        let tail = std::mem::take(&mut self.tail);
        (!tail.is_empty()).then_some(tail)
    }
}

/// Says in the log what could not be read, and in the engine's terms that it could not.
fn report<F>(
    message: MessageId,
    source: &Source<F>,
    at: Location,
    error: &ReadError,
) -> SpoolError {
    let (file, offset) = (file_name(source.number), at.offset);
    match error {
        ReadError::Io(error) => {
            tracing::error!(%message, file, offset, %error, "spool read failed");
            spool_error(error)
        }
        ReadError::Damaged => {
            tracing::error!(%message, file, offset, "spool damage: a message is unreadable");
            refusal(message, "is damaged in the spool")
        }
    }
}

impl<F: DiskFile> Index<F> {
    /// What throttles have let pass. Damaged since start-up, it is as good as never written.
    pub(super) fn shaping_history(&self) -> Result<Option<ShapingHistory>, SpoolError> {
        let Some(at) = self.shaping else { return Ok(None) };
        let Some(source) = self.source(at) else { return Ok(None) };
        match source.read(at) {
            Ok(payload) => Ok(decode_shaping(&payload).ok()),
            Err(ReadError::Damaged) => Ok(None),
            Err(ReadError::Io(error)) => Err(spool_error(&error)),
        }
    }
}
