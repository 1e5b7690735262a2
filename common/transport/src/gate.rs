//! The gate between a socket and hyper's HTTP/1 server.
//!
//! It finds the ends of heads and bodies itself, by the strict reading of RFC 9112, and passes to hyper
//! only bytes it has checked. Hyper never gets a request that two servers could read in two ways: it sees
//! the end of the stream and finishes the exchanges before it, and the caller sends [`GateRefusal::reply`].
//!
//! Bytes after an `upgrade` request wait until [`GateControl::pass_through`] (the protocol changed) or
//! [`GateControl::continue_parsing`] (it did not), so that a request cannot be smuggled into a tunnel that
//! never opened.

mod body;
mod framer;
pub mod head;
pub mod refusal;
#[cfg(test)]
mod tests;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(crate) use self::body::Body;
use self::framer::Framer;
pub use self::refusal::{GateRefusal, RefusedRequest};
use crate::turn::Turn;

/// Bytes of a read between two requests, into memory that is not the connection's: an idle one holds none.
const READ_HEAD: usize = 4 * 1024;
/// Bytes of the first read that continues a head or begins a chunked body.
const READ_CHUNK: usize = 8 * 1024;
/// Bytes of a read while chunks flow.
const READ_MAX: usize = 256 * 1024;

/// The bytes kept of the first line of a refused request.
const REFUSED_LINE_MAX: usize = 1024;

/// The limits of a connection at the gate.
#[derive(Debug, Clone)]
pub struct GateLimits {
    /// Longest head in bytes; 64 KiB.
    pub max_head_bytes: usize,
    /// Most fields in a head; 100.
    pub max_fields: usize,
    /// From the first byte of a head to its last; 10 s.
    pub head_timeout: Duration,
    /// Between two requests, and before the first; 75 s.
    pub idle_timeout: Duration,
    /// Between two pieces of a body that is being read; 60 s.
    pub body_timeout: Duration,
    /// Time until a response begins after its client has ended its side; 1 s. Only writing could show
    /// whether the client left or has just finished sending.
    pub left_timeout: Duration,
    /// Whether `CONNECT` opens tunnels here; by default it does not.
    pub connect: ConnectMethod,
    /// Whether refused clients see the code; by default they do.
    pub reasons: GateReasons,
}

/// Whether a refusal of the gate names the broken rule to the client (`x-tamis-reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateReasons {
    /// It does.
    Show,
    /// Only the status is sent.
    Hide,
}

/// Handling of `CONNECT` by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectMethod {
    /// Refuse it with 501.
    Refuse,
    /// Pass it to the handler.
    Allow,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            max_head_bytes: 64 * 1024,
            max_fields: 100,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            left_timeout: Duration::from_secs(1),
            connect: ConnectMethod::Refuse,
            reasons: GateReasons::Show,
        }
    }
}

/// Reports the result of an upgrade to the gate, and exposes the gate's state.
#[derive(Debug, Clone, Default)]
pub struct GateControl(Arc<GateState>);

// Shared with hyper's `Upgraded`, which must be `Send` although a worker never sends it.
#[derive(Debug, Default)]
struct GateState {
    phase: AtomicU8,
    refused: OnceLock<GateRefusal>,
    reader: AtomicWaker,
}

/// The state of the gate, for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between messages.
    Whole = 0,
    /// The end of the current message has not arrived.
    Open = 1,
    /// Bytes after an upgrade are held back.
    Held = 2,
    /// The protocol changed: all bytes pass.
    Passing = 3,
}

impl GateControl {
    /// The protocol changed (101, or 200 to `CONNECT`): all further bytes pass unread.
    pub fn pass_through(&self) {
        self.release(Phase::Passing);
    }

    /// The protocol did not change: held bytes are the next request.
    pub fn continue_parsing(&self) {
        self.release(Phase::Whole);
    }

    /// Whether bytes are held back until one of the two functions above is called.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is(Phase::Held)
    }

    /// Whether the end of the current request has not arrived yet.
    #[must_use]
    pub fn is_message_open(&self) -> bool {
        self.is(Phase::Open)
    }

    /// Why the gate closed, if it did.
    #[must_use]
    pub fn refused(&self) -> Option<GateRefusal> {
        self.0.refused.get().copied()
    }

    fn is(&self, phase: Phase) -> bool {
        self.0.phase.load(Ordering::Acquire) == phase as u8
    }

    fn set(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Release);
    }

    fn release(&self, phase: Phase) {
        if self.is_held() {
            self.set(phase);
            self.0.reader.wake();
        }
    }
}

/// The kind of the current wait; each has its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Idle,
    Head,
    Body,
    /// For the response to a client that ended its side.
    Left,
}

/// A stream that only lets unambiguous HTTP/1 requests through. Writes pass unchanged.
///
/// Invariants: the first `cleared` bytes of `buffer` are checked and not yet passed on; nothing after a
/// message's end is checked before its last byte is passed on; after `ended` nothing is checked.
#[derive(Debug)]
pub struct MessageGate<IO> {
    io: IO,
    buffer: BytesMut,
    cleared: usize,
    /// Bytes of the next read into `buffer`.
    reading: usize,
    /// Bytes of a body read since we last had to wait for the peer.
    turn: Turn,
    framer: Framer,
    limits: GateLimits,
    control: GateControl,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: Option<Wait>,
    ended: bool,
    peer_ended: bool,
    /// A head was passed on.
    asked: bool,
    replied: bool,
    /// First line of the head that was refused.
    refused_line: Option<Vec<u8>>,
}

impl<IO> MessageGate<IO> {
    /// Puts a gate before `io`; `seen` are bytes that were read from it already.
    pub fn new(io: IO, seen: BytesMut, limits: GateLimits) -> Self {
        Self {
            io,
            buffer: seen,
            cleared: 0,
            reading: READ_CHUNK,
            turn: Turn::default(),
            framer: Framer::default(),
            limits,
            control: GateControl::default(),
            timer: None,
            waiting: None,
            ended: false,
            peer_ended: false,
            asked: false,
            replied: false,
            refused_line: None,
        }
    }

    /// The handle that outlives the gate's move into hyper.
    #[must_use]
    pub fn control(&self) -> GateControl {
        self.control.clone()
    }

    /// Whether refused clients see the code.
    #[must_use]
    pub fn reasons(&self) -> GateReasons {
        self.limits.reasons
    }

    /// Whether the peer will send nothing more.
    #[must_use]
    pub fn peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Whether a final response to the last request has begun.
    #[must_use]
    pub fn replied(&self) -> bool {
        self.replied
    }

    /// The request that was refused from its head. None when no request was, or when it was refused within a
    /// body, whose reader gets an error.
    pub(crate) fn refused_request(&mut self) -> Option<RefusedRequest> {
        Some(RefusedRequest { refusal: self.control.refused()?, line: self.refused_line.take()? })
    }

    /// The stream without the gate; bytes not passed on are lost.
    pub fn into_inner(self) -> IO {
        self.io
    }

    fn refuse(&mut self, refusal: GateRefusal) {
        self.ended = true;
        if !self.framer.in_body() {
            self.replied = false;
            let head = self.buffer.get(self.cleared..).unwrap_or_default();
            let head = head.get(..REFUSED_LINE_MAX).unwrap_or(head);
            let end = memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len());
            self.refused_line = head.get(..end).map(<[u8]>::to_vec);
        }
        // Only the first refusal counts, and there is only one: `ended` stops the checks.
        let _first = self.control.0.refused.set(refusal);
    }

    /// Checks the buffer, up to the end of the current message.
    fn judge(&mut self) {
        loop {
            let pending = self.buffer.get(self.cleared..).unwrap_or_default();
            match self.framer.step(pending, &self.limits) {
                Ok(framer::Step::More) => break,
                Ok(framer::Step::Skip(bytes)) => self.buffer.advance(bytes.min(pending.len())),
                Ok(framer::Step::Head(bytes)) => {
                    self.cleared = self.cleared.saturating_add(bytes);
                    (self.asked, self.replied) = (true, false);
                    self.waiting = None;
                    if !self.framer.in_body() {
                        break;
                    }
                }
                Ok(framer::Step::Body(bytes)) => {
                    self.cleared = self.cleared.saturating_add(bytes);
                    self.waiting = None;
                    if !self.framer.in_body() {
                        break;
                    }
                }
                Err(refusal) => {
                    self.refuse(refusal);
                    break;
                }
            }
        }
        self.note_phase();
    }

    fn note_phase(&self) {
        self.control.set(match (self.framer.is_held(), self.framer.in_body()) {
            (true, _) => Phase::Held,
            (false, true) => Phase::Open,
            (false, false) => Phase::Whole,
        });
    }

    fn wait(&self) -> (Wait, Duration) {
        if self.framer.in_body() {
            (Wait::Body, self.limits.body_timeout)
        } else if self.buffer.is_empty() {
            (Wait::Idle, self.limits.idle_timeout)
        } else {
            (Wait::Head, self.limits.head_timeout)
        }
    }

    /// Ready when the peer has exceeded a time limit.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, (wait, limit): (Wait, Duration)) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if self.waiting != Some(wait) {
            self.waiting = Some(wait);
            let now = Instant::now();
            timer.as_mut().reset(now.checked_add(limit).unwrap_or(now));
        }
        ready!(timer.as_mut().poll(cx));
        match wait {
            Wait::Idle => self.ended = true,
            Wait::Head => self.refuse(GateRefusal::HeadTimeout),
            Wait::Body => self.refuse(GateRefusal::BodyTimeout),
            Wait::Left => self.ended = true,
        }
        Poll::Ready(())
    }

    /// Ready when the bytes after an upgrade no longer have to wait.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.control.0.reader.register(cx.waker());
        if self.control.is_held() {
            return Poll::Pending;
        }
        if self.control.is(Phase::Passing) {
            self.framer.pass();
        } else {
            self.framer.resume();
        }
        Poll::Ready(())
    }

    fn show(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.cleared.min(out.remaining());
        if let Some(bytes) = self.buffer.get(..count) {
            out.put_slice(bytes);
            self.buffer.advance(count);
            self.cleared = self.cleared.saturating_sub(count);
        }
    }

    fn note_reply(&mut self, bytes: &[u8]) {
        self.replied |= !bytes.is_empty() && !bytes.starts_with(b"HTTP/1.1 100");
    }
}

impl<IO: AsyncRead + Unpin> MessageGate<IO> {
    /// Reads once, and records the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.peer_ended {
            return Poll::Ready(Ok(0));
        }
        if self.buffer.is_empty() && !self.framer.in_body() {
            return self.poll_first(cx);
        }
        ready!(self.turn.poll(cx));
        self.buffer.reserve(self.reading);
        let Poll::Ready(read) = std::pin::pin!(self.io.read_buf(&mut self.buffer)).poll(cx) else {
            self.turn.end();
            return Poll::Pending;
        };
        let read = read?;
        self.turn.count_bytes(read);
        if read >= self.reading && self.framer.in_body() {
            self.reading = self.reading.saturating_mul(2).min(READ_MAX);
        }
        self.peer_ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Reads the first bytes of a head.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.reading > READ_CHUNK {
            (self.buffer, self.reading) = (BytesMut::new(), READ_CHUNK);
        }
        let mut octets = [MaybeUninit::<u8>::uninit(); READ_HEAD];
        let mut out = ReadBuf::uninit(&mut octets);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut out))?;
        self.buffer.extend_from_slice(out.filled());
        self.peer_ended = out.filled().is_empty();
        Poll::Ready(Ok(out.filled().len()))
    }

    /// Reads content of a known length to where it is wanted. What follows it is kept for later.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<()>> {
        if self.peer_ended {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        ready!(self.turn.poll(cx));
        let before = out.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, out) else {
            self.turn.end();
            let wait = self.wait();
            return self.poll_deadline(cx, wait).map(Ok);
        };
        read?;
        let new = out.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            (self.peer_ended, self.ended) = (true, true);
            return Poll::Ready(Ok(()));
        }
        self.turn.count_bytes(new.len());
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(new.len());
        self.buffer.extend_from_slice(new.get(taken..).unwrap_or_default());
        out.set_filled(before.saturating_add(taken));
        self.framer.passed(taken);
        self.waiting = None;
        self.note_phase();
        Poll::Ready(Ok(()))
    }

    /// Whether a whole request was passed on and no response has begun.
    fn is_owing(&self) -> bool {
        let shown = self.asked && self.cleared == 0 && !self.framer.in_body();
        shown && !self.replied && !self.ended && !self.framer.is_passing()
    }

    /// Fails once the peer that waits for its response counts as gone: its connection broke, or it ended
    /// its side and no response began for too long. Once a response has begun, writing shows it. Bytes
    /// received meanwhile are kept and checked later.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.buffer.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_more(cx)) {
            Err(error) => return Poll::Ready(error),
            Ok(0) => {}
            Ok(_) => return Poll::Pending,
        }
        ready!(self.poll_deadline(cx, (Wait::Left, self.limits.left_timeout)));
        let left = "the peer ended its side and no response began in time";
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, left))
    }

    /// Reads once; ready when there is something new to check or nothing more will come.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_more(cx) {
            Poll::Pending => {
                let wait = self.wait();
                self.poll_deadline(cx, wait).map(Ok)
            }
            Poll::Ready(Ok(0)) => {
                if self.wait().0 == Wait::Head {
                    self.refuse(GateRefusal::Incomplete);
                }
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(_)) => {
                if self.waiting != Some(Wait::Head) {
                    self.waiting = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for MessageGate<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.show(out);
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if this.framer.is_passing() {
                if this.buffer.is_empty() {
                    return Pin::new(&mut this.io).poll_read(cx, out);
                }
                this.cleared = this.buffer.len();
                continue;
            }
            if this.framer.is_held() {
                ready!(this.poll_release(cx));
                continue;
            }
            if let Some(left) = this.framer.length_left()
                && this.buffer.is_empty()
            {
                return this.poll_through(cx, out, left);
            }
            this.judge();
            if this.cleared == 0 && !this.ended {
                ready!(this.poll_fill(cx))?;
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MessageGate<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.note_reply(bytes);
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        for slice in slices {
            this.note_reply(slice);
        }
        Pin::new(&mut this.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Also watches the peer: hyper calls this whenever the connection's task runs, and does not read while
    /// an exchange is in progress.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_owing()
            && let Poll::Ready(gone) = this.poll_left(cx)
        {
            return Poll::Ready(Err(gone));
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// Only flushes unless the protocol changed: the caller may still have a refusal to send, and ends the
    /// stream itself.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.framer.is_passing() || this.control.is(Phase::Passing) {
            Pin::new(&mut this.io).poll_shutdown(cx)
        } else {
            Pin::new(&mut this.io).poll_flush(cx)
        }
    }
}
