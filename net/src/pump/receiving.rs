//! A body on its way from the socket to the spool.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolError;
use traject_engine::smtp::data::{BodyError, BodyInfo, BodyRules, DotReader};

use super::meter::Meter;
use crate::world::{BodyWriter as _, Spool};

/// Decodes a body and stages it, piece by piece.
pub(super) struct Receiving<P: Spool> {
    spool: P,
    message: MessageId,
    dots: DotReader,
    prefix_bytes: u64,
    /// Decoded and not yet handed to the spool; the prefix comes first.
    decoded: Vec<u8>,
    sink: Sink<P::Writer>,
    end: Option<Result<BodyInfo, BodyError>>,
    /// What the peer sent behind the end.
    leftover: Vec<u8>,
    pub(super) meter: Meter,
}

/// Writing takes the writer and the bytes along; it brings both back, but no writer once the
/// body is finished.
type Writing<W> = Pin<Box<dyn Future<Output = Result<(Option<W>, Vec<u8>), SpoolError>> + Send>>;

enum Sink<W> {
    /// Nothing staged yet: a small body is staged, written and finished in one go.
    Unopened,
    Open(W),
    Writing(Writing<W>),
    Finished,
    Failed(SpoolError),
}

/// What [`Receiving::poll_drain`] wants next.
#[derive(Debug)]
pub(super) enum Drained {
    /// More bytes from the peer.
    Hungry,
    /// Nothing: the body is staged, or refused.
    Done(Result<BodyInfo, BodyError>),
}

impl<P: Spool> Receiving<P> {
    pub(super) fn new(
        spool: P,
        message: MessageId,
        prefix: Vec<u8>,
        rules: BodyRules,
        now: Timestamp,
    ) -> Self {
        Self {
            spool,
            message,
            dots: DotReader::new(rules),
            prefix_bytes: prefix.len() as u64,
            decoded: prefix,
            sink: Sink::Unopened,
            end: None,
            leftover: Vec::new(),
            meter: Meter::new(now),
        }
    }

    /// Takes what the peer sent. Not to be called again after the end.
    pub(super) fn decode(&mut self, input: &[u8]) {
        let decoded = self.dots.decode(input, &mut self.decoded);
        self.meter.count(decoded.consumed);
        self.end = decoded.end;
        if matches!(self.sink, Sink::Failed(_)) {
            self.decoded.clear();
        }
        self.leftover.extend_from_slice(&input[decoded.consumed..]);
    }

    /// What the peer sent behind the body, at most one call's worth.
    pub(super) fn take_leftover(&mut self) -> Vec<u8> {
        mem::take(&mut self.leftover)
    }

    /// Hands what was decoded to the spool, when it is worth it.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Drained> {
        loop {
            if let Sink::Writing(writing) = &mut self.sink {
                self.sink = match ready!(writing.as_mut().poll(cx)) {
                    Ok((Some(writer), bytes)) => {
                        self.decoded = bytes;
                        Sink::Open(writer)
                    }
                    Ok((None, _)) => Sink::Finished,
                    Err(error) => Sink::Failed(error),
                };
            }
            let finish = match (&self.end, &self.sink) {
                (Some(Err(error)), _) => return Poll::Ready(Drained::Done(Err(error.clone()))),
                (Some(Ok(_)), Sink::Failed(error)) => {
                    return Poll::Ready(Drained::Done(Err(BodyError::Spool(error.clone()))));
                }
                (Some(Ok(info)), Sink::Finished) => {
                    let size_bytes = info.size_bytes + self.prefix_bytes;
                    return Poll::Ready(Drained::Done(Ok(BodyInfo { size_bytes, ..info.clone() })));
                }
                (Some(Ok(_)), _) => true,
                (None, Sink::Unopened | Sink::Open(_)) if self.decoded.len() >= APPEND_BYTES => {
                    false
                }
                (None, _) => return Poll::Ready(Drained::Hungry),
            };
            self.write(finish);
        }
    }

    fn write(&mut self, finish: bool) {
        let bytes = mem::take(&mut self.decoded);
        let opened = match mem::replace(&mut self.sink, Sink::Finished) {
            Sink::Open(writer) => Some(writer),
            _ => None,
        };
        let (spool, message) = (self.spool.clone(), self.message);
        self.sink = Sink::Writing(Box::pin(async move {
            let mut writer = match opened {
                Some(writer) => writer,
                None => spool.stage(message).await?,
            };
            let mut bytes = bytes;
            writer.append(&bytes).await?;
            if finish {
                writer.finish().await?;
                return Ok((None, Vec::new()));
            }
            bytes.clear();
            Ok((Some(writer), bytes))
        }));
    }
}

impl<P: Spool> fmt::Debug for Receiving<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// Decoded bytes that are worth a call of the spool before the body's end.
const APPEND_BYTES: usize = 64 << 10;
