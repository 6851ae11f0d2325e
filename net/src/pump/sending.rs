//! A body on its way from the spool to the socket.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::smtp::data::{BodyError, BodyInfo, DotWriter};

use super::meter::Meter;
use crate::world::{BodyReader as _, Spool};

/// Reads a body and encodes it, piece by piece.
pub(super) struct Sending<P: Spool> {
    source: Source<P::Reader>,
    /// What was read and is not yet encoded.
    piece: Bytes,
    dots: DotWriter,
    size_bytes: u64,
    eight_bit: bool,
    pub(super) meter: Meter,
}

/// Reading takes the reader along and brings it back with the next piece.
type Reading<R> = Pin<Box<dyn Future<Output = Result<(R, Option<Bytes>), BodyError>> + Send>>;

enum Source<R> {
    Reading(Reading<R>),
    /// The final dot is encoded.
    Ended,
}

impl<P: Spool> Sending<P> {
    /// Begins with opening the body.
    pub(super) fn new(spool: P, message: MessageId, now: Timestamp) -> Self {
        let open = async move {
            let reader = spool.read(message).await.map_err(BodyError::Spool)?;
            let Some(mut reader) = reader else {
                return Err(BodyError::Missing(format!("message {message}").into()));
            };
            let piece = reader.next().await.map_err(BodyError::Spool)?;
            Ok((reader, piece))
        };
        Self {
            source: Source::Reading(Box::pin(open)),
            piece: Bytes::new(),
            dots: DotWriter::new(),
            size_bytes: 0,
            eight_bit: false,
            meter: Meter::new(now),
        }
    }

    /// Encodes some of the body into `out`; answers with the body's facts when all of it, the
    /// final dot included, has been.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<Option<BodyInfo>, BodyError>> {
        if self.piece.is_empty() {
            match &mut self.source {
                Source::Ended => return Poll::Ready(Ok(Some(self.info()))),
                Source::Reading(reading) => match ready!(reading.as_mut().poll(cx))? {
                    (mut reader, Some(piece)) => {
                        self.piece = piece;
                        self.source = Source::Reading(Box::pin(async move {
                            let piece = reader.next().await.map_err(BodyError::Spool)?;
                            Ok((reader, piece))
                        }));
                    }
                    (_, None) => {
                        self.dots.finish(out);
                        self.source = Source::Ended;
                        return Poll::Ready(Ok(Some(self.info())));
                    }
                },
            }
        }
        let some = self.piece.len().min(ENCODE_BYTES_MAX);
        self.eight_bit = self.eight_bit || !self.piece[..some].is_ascii();
        self.size_bytes += some as u64;
        self.dots.encode(&self.piece[..some], out);
        self.piece.advance(some);
        Poll::Ready(Ok(None))
    }

    const fn info(&self) -> BodyInfo {
        BodyInfo {
            size_bytes: self.size_bytes,
            eight_bit: self.eight_bit,
            received_headers: 0,
            header: None,
            head: None,
        }
    }
}

impl<P: Spool> fmt::Debug for Sending<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// Encoded at once, however large the pieces of the spool.
const ENCODE_BYTES_MAX: usize = 64 << 10;
