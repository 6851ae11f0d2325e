//! Bytes on their way to a peer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// What was written and is not yet taken by the socket.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// The stream took bytes that it may still hold, as TLS does.
    held: bool,
}

impl Outgoing {
    /// Appends; takes the buffer over when nothing waits.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if self.is_empty() {
            self.bytes = bytes;
            self.sent = 0;
        } else {
            self.buffer().extend_from_slice(&bytes);
        }
    }

    /// The buffer, to append to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.sent > 0 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// Bytes that wait.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Hands everything to the socket; `count` learns of every piece it takes.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        mut count: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        if self.is_empty() && !self.held {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            let rest = &self.bytes[self.sent..];
            let taken = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
            self.held = true;
            count(taken);
        }
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.held = false;
        Poll::Ready(Ok(()))
    }
}

/// A larger buffer is given back once it is empty: most connections are idle most of the time.
const KEPT_BYTES_MAX: usize = 4 << 10;
