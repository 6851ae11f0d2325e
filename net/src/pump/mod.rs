//! One connection's bytes: what the engine wrote goes out, what the peer sends comes in, and
//! bodies run between socket and spool without passing through the engine.
//!
//! A pump is a state machine without a task of its own: the driver polls it when its socket has
//! something to say or the engine wants something. It keeps the rules of
//! [`traject_engine::io`]:
//!
//! - it writes before it reads, so a peer that does not read is not read from;
//! - during a body it reads for the body alone;
//! - after a received body it reads nothing until the engine has written;
//! - nothing that was read before a handshake is seen after it.

mod meter;
mod outgoing;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::NetError;
use traject_engine::smtp::data::{BodyError, BodyInfo, BodyRules};
use traject_engine::tls::info::{TlsError, TlsInfo};

use crate::net_error::net_error;
use crate::pump::outgoing::Outgoing;
use crate::pump::receiving::{Drained, Receiving};
use crate::pump::sending::Sending;
use crate::tls::{Handshaking, MaybeTls, Starter};
use crate::world::Spool;

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// So many bytes came in; they are at the start of the buffer. None at the end of the stream.
    Received(usize),
    /// A body moves on.
    BodyProgress(u64),
    /// A body has been transferred, or not.
    BodyDone(Result<BodyInfo, BodyError>),
    /// A handshake is over.
    Secured(Result<TlsInfo, TlsError>),
    /// The last event. The pump is to be taken apart with [`Pump::into_ending`].
    Closed(Option<NetError>),
}

/// What to do with the stream of a closed connection.
#[derive(Debug)]
pub(crate) enum Ending<S> {
    /// Nothing: it is dropped.
    Drop,
    /// End it with a reset.
    Abort(S),
    /// Read and forget what the peer still sends: closing a socket with unread data makes a
    /// reset of it, which would overtake our last reply.
    Linger(S),
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Pump<S, P: Spool> {
    stream: MaybeTls<S>,
    out: Outgoing,
    mode: Mode<S, P>,
    /// The engine wants no more of this connection.
    closing: Option<Closing>,
    /// The peer has ended its stream.
    peer_ended: bool,
}

#[derive(Debug)]
enum Mode<S, P: Spool> {
    /// Bytes go to the engine.
    Dialogue,
    Sending(Box<Sending<P>>),
    Receiving(Box<Receiving<P>>),
    /// A body was received: what came behind it waits until the engine has written.
    AwaitingReply(Vec<u8>),
    /// What came behind a body, after the reply to it.
    Leftover(Vec<u8>),
    /// TLS is to begin when everything written has been sent.
    Starting(Result<Box<Starter>, TlsError>),
    Handshaking(Box<Handshaking<S>>),
    /// A body broke off inside, or a handshake failed: there is nothing to say that the peer would
    /// understand.
    Broken,
    /// The connection is gone, and the engine does not know yet.
    Lost(Option<NetError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// After everything written has been sent.
    Orderly,
    Abort,
}

impl<S: AsyncRead + AsyncWrite + Unpin, P: Spool> Pump<S, P> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream: MaybeTls::Plain(stream),
            out: Outgoing::default(),
            mode: Mode::Dialogue,
            closing: None,
            peer_ended: false,
        }
    }

    /// [`Output::Write`](traject_engine::Output::Write).
    pub(crate) fn write(&mut self, bytes: Vec<u8>) {
        if matches!(self.mode, Mode::Broken) {
            return;
        }
        self.out.push(bytes);
        if let Mode::AwaitingReply(leftover) = &mut self.mode {
            self.mode = if leftover.is_empty() {
                Mode::Dialogue
            } else {
                Mode::Leftover(mem::take(leftover))
            };
        }
    }

    /// [`Output::WriteBody`](traject_engine::Output::WriteBody).
    pub(crate) fn send_body(&mut self, spool: P, message: MessageId, now: Timestamp) {
        if !matches!(self.mode, Mode::Lost(_)) {
            self.mode = Mode::Sending(Box::new(Sending::new(spool, message, now)));
        }
    }

    /// [`Output::ReceiveBody`](traject_engine::Output::ReceiveBody).
    pub(crate) fn receive_body(
        &mut self,
        spool: P,
        message: MessageId,
        prefix: Vec<u8>,
        rules: BodyRules,
        now: Timestamp,
    ) {
        if !matches!(self.mode, Mode::Lost(_)) {
            let receiving = Receiving::new(spool, message, prefix, rules, now);
            self.mode = Mode::Receiving(Box::new(receiving));
        }
    }

    /// [`Output::StartTls`](traject_engine::Output::StartTls); an error when there is nothing to
    /// begin it with.
    pub(crate) fn start_tls(&mut self, starter: Result<Starter, TlsError>) {
        if matches!(self.mode, Mode::Lost(_)) {
            return;
        }
        let starter = match self.stream {
            MaybeTls::Plain(_) => starter.map(Box::new),
            MaybeTls::Tls(_) | MaybeTls::Lent => Err(TlsError::Local("TLS has begun".into())),
        };
        self.mode = Mode::Starting(starter);
    }

    /// [`Output::Close`](traject_engine::Output::Close).
    pub(crate) fn close(&mut self, abort: bool) {
        self.closing = Some(if abort { Closing::Abort } else { Closing::Orderly });
    }

    /// Moves bytes until something has happened that the engine should know. `buffer` is scratch
    /// space, the same for all connections.
    pub(crate) fn poll(
        &mut self,
        now: Timestamp,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Event> {
        if let Some(closing) = self.closing {
            return self.poll_close(closing, now, cx);
        }
        match &mut self.mode {
            Mode::Dialogue => self.poll_dialogue(cx, buffer),
            Mode::Leftover(leftover) => {
                if let Err(error) = ready!(self.out.poll_flush(&mut self.stream, cx, |_| ())) {
                    return self.lose(net_error(&error));
                }
                let len = leftover.len();
                buffer[..len].copy_from_slice(leftover);
                self.mode = Mode::Dialogue;
                Poll::Ready(Event::Received(len))
            }
            Mode::Sending(_) => self.poll_sending(now, cx),
            Mode::Receiving(_) => self.poll_receiving(now, cx, buffer),
            Mode::Starting(_) | Mode::Handshaking(_) => self.poll_securing(cx),
            Mode::AwaitingReply(_) | Mode::Broken => Poll::Pending,
            Mode::Lost(error) => Poll::Ready(Event::Closed(*error)),
        }
    }

    /// What is left to do for the stream after [`Event::Closed`].
    pub(crate) fn into_ending(self) -> Ending<S> {
        let (closing, false) = (self.closing, matches!(self.mode, Mode::Lost(_))) else {
            return Ending::Drop;
        };
        match (closing, self.stream.into_inner()) {
            (Some(Closing::Abort), Some(stream)) => Ending::Abort(stream),
            (Some(Closing::Orderly), Some(stream)) if !self.peer_ended => Ending::Linger(stream),
            _ => Ending::Drop,
        }
    }

    /// The stream below, whatever was agreed on over it.
    #[cfg(test)]
    pub(crate) fn into_stream(self) -> S {
        self.stream.into_inner().expect("no handshake is under way")
    }

    fn poll_dialogue(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Event> {
        if let Err(error) = ready!(self.out.poll_flush(&mut self.stream, cx, |_| ())) {
            return self.lose(net_error(&error));
        }
        if self.peer_ended {
            return Poll::Pending;
        }
        match ready!(poll_read(&mut self.stream, cx, buffer)) {
            Ok(len) => {
                self.peer_ended = len == 0;
                Poll::Ready(Event::Received(len))
            }
            Err(error) => self.lose(net_error(&error)),
        }
    }

    fn poll_securing(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Mode::Starting(starter) = &mut self.mode {
            if let Err(error) = ready!(self.out.poll_flush(&mut self.stream, cx, |_| ())) {
                return self.lose(net_error(&error));
            }
            let nothing = Err(TlsError::Lost);
            let stream = mem::replace(&mut self.stream, MaybeTls::Lent);
            self.mode = match (mem::replace(starter, nothing), stream) {
                (Ok(starter), MaybeTls::Plain(stream)) => {
                    Mode::Handshaking(Box::new(starter.start(stream)))
                }
                (starter, stream) => {
                    self.stream = stream;
                    self.mode = Mode::Broken;
                    return Poll::Ready(Event::Secured(Err(starter
                        .err()
                        .unwrap_or(TlsError::Lost))));
                }
            };
        }
        let Mode::Handshaking(handshaking) = &mut self.mode else { return Poll::Pending };
        let (stream, result) = ready!(handshaking.poll(cx));
        self.stream = stream;
        self.mode = if result.is_ok() { Mode::Dialogue } else { Mode::Broken };
        Poll::Ready(Event::Secured(result))
    }

    fn poll_sending(&mut self, now: Timestamp, cx: &mut Context<'_>) -> Poll<Event> {
        let Mode::Sending(sending) = &mut self.mode else { return Poll::Pending };
        loop {
            // Fill up first: commands written before and a small body leave in one go.
            let filled = if self.out.len() < FILL_BYTES {
                sending.poll_fill(cx, self.out.buffer())
            } else {
                Poll::Ready(Ok(None))
            };
            if let Poll::Ready(Err(error)) = filled {
                self.out.clear();
                self.mode = Mode::Broken;
                return Poll::Ready(Event::BodyDone(Err(error)));
            }
            if matches!(filled, Poll::Ready(Ok(None))) && self.out.len() < FILL_BYTES {
                continue;
            }
            let meter = &mut sending.meter;
            let flushed = self.out.poll_flush(&mut self.stream, cx, |sent| meter.count(sent));
            if let Poll::Ready(Err(error)) = flushed {
                let error = net_error(&error);
                self.mode = Mode::Lost(Some(error));
                return Poll::Ready(Event::BodyDone(Err(BodyError::Lost(Some(error)))));
            }
            if let (Poll::Ready(Ok(Some(info))), true) = (&filled, flushed.is_ready()) {
                let info = info.clone();
                self.mode = Mode::Dialogue;
                return Poll::Ready(Event::BodyDone(Ok(info)));
            }
            if let Some(total) = meter.due(now) {
                return Poll::Ready(Event::BodyProgress(total));
            }
            if filled.is_pending() || flushed.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_receiving(
        &mut self,
        now: Timestamp,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Event> {
        let Mode::Receiving(receiving) = &mut self.mode else { return Poll::Pending };
        // The 354 goes first; before it the peer has no body to send.
        if let Err(error) = ready!(self.out.poll_flush(&mut self.stream, cx, |_| ())) {
            return self.lose_body(Some(net_error(&error)));
        }
        loop {
            match ready!(receiving.poll_drain(cx)) {
                Drained::Done(result) => {
                    self.mode = Mode::AwaitingReply(receiving.take_leftover());
                    return Poll::Ready(Event::BodyDone(result));
                }
                Drained::Hungry => {}
            }
            if let Some(total) = receiving.meter.due(now) {
                return Poll::Ready(Event::BodyProgress(total));
            }
            match ready!(poll_read(&mut self.stream, cx, buffer)) {
                Ok(0) => return self.lose_body(None),
                Ok(len) => receiving.decode(&buffer[..len]),
                Err(error) => return self.lose_body(Some(net_error(&error))),
            }
        }
    }

    /// Nothing but [`Event::Closed`] comes of a connection that the engine has closed.
    fn poll_close(
        &mut self,
        closing: Closing,
        now: Timestamp,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        let unsaid = matches!(self.mode, Mode::Lost(_) | Mode::Handshaking(_));
        if closing == Closing::Abort || unsaid {
            return Poll::Ready(Event::Closed(None));
        }
        while matches!(self.mode, Mode::Sending(_)) {
            ready!(self.poll_sending(now, cx));
        }
        let sent = match ready!(self.out.poll_flush(&mut self.stream, cx, |_| ())) {
            Ok(()) => ready!(Pin::new(&mut self.stream).poll_shutdown(cx)),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            self.mode = Mode::Lost(None);
        }
        Poll::Ready(Event::Closed(None))
    }

    fn lose(&mut self, error: NetError) -> Poll<Event> {
        self.mode = Mode::Lost(Some(error));
        Poll::Ready(Event::Closed(Some(error)))
    }

    fn lose_body(&mut self, error: Option<NetError>) -> Poll<Event> {
        self.mode = Mode::Lost(error);
        Poll::Ready(Event::BodyDone(Err(BodyError::Lost(error))))
    }
}

/// Reads once; 0 at the end of the stream.
pub(crate) fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut filled = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(cx, &mut filled))?;
    Poll::Ready(Ok(filled.filled().len()))
}

/// Bytes of a body that are gathered before the socket is asked to take them.
const FILL_BYTES: usize = 64 << 10;
