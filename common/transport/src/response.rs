//! The intake between the socket of a server that filters call and hyper's HTTP/1 client; the rules that it checks are those of
//! [`crate::client`], which reads the responses of upstreams.
//!
//! It finds the ends of heads and bodies itself and passes to hyper only bytes it has checked: a response
//! that two readers could frame in two ways, that belongs to no request, or that carries more in addition
//! to its content than a budget allows, ends in an error of the kind [`io::ErrorKind::InvalidData`]. Bytes
//! are checked in the buffer that hyper reads into, and are copied only when a line arrived in pieces.
//!
//! After a turn without a pause it yields, so that the other exchanges of its worker get theirs.
//!
//! It also makes sure that a response that has already arrived is not lost when writing the rest of the
//! request fails: the failure is reported once the response was read.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

pub(crate) mod head;
mod refusal;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::head::{Framing, HeadEnd};
pub use self::refusal::ResponseRefusal;
use crate::intake::{Body, IntakeRefusal};
use crate::turn::ConnectionTurn;

/// The budget of a response in addition to its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Longest head, including all interim heads of a response; 64 KiB.
    pub max_head_bytes: usize,
    /// Most fields in a head; 100.
    pub max_fields: usize,
    /// Most interim responses (1xx) before the final one; 32.
    pub max_interim: u32,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self { max_head_bytes: 64 * 1024, max_fields: 100, max_interim: 32 }
    }
}

/// The property of a request that decides how its response is framed (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Expectation {
    /// A response with content.
    Content = 1,
    /// To `HEAD`: it has no content.
    Head = 2,
    /// To `CONNECT`: a 2xx opens a tunnel.
    Connect = 3,
    /// To a request with `upgrade`: a 101 opens a tunnel.
    Switch = 4,
}

impl Expectation {
    fn of(value: u8) -> Option<Self> {
        [Self::Content, Self::Head, Self::Connect, Self::Switch]
            .into_iter()
            .find(|one| *one as u8 == value)
    }
}

/// Announces requests to a [`ResponseIntake`] that hyper owns.
#[derive(Debug, Clone, Default)]
pub struct ResponseControl(Arc<AtomicU8>);

impl ResponseControl {
    /// Announces the kind of the next request. Call it before each request; an unannounced response is
    /// refused.
    pub fn expect(&self, expectation: Expectation) {
        self.0.store(expectation as u8, Ordering::Release);
    }

    fn is_announced(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    fn take(&self) -> Option<Expectation> {
        Expectation::of(self.0.swap(0, Ordering::AcqRel))
    }
}

/// The position of the next byte in the responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two responses: no request is waiting.
    Idle,
    /// In a head; this many bytes are known not to end it.
    Head(usize),
    Body(Body),
    UntilClose,
    /// The protocol changed.
    Passing,
}

/// A stream that only lets unambiguous HTTP/1 responses through.
///
/// Invariants: `pending` holds bytes that were read and not passed on, of which the first `cleared` are
/// checked; while it is not empty nothing further is read. After `refused` nothing is passed on.
#[derive(Debug)]
pub struct ResponseIntake<IO> {
    io: IO,
    limits: ResponseLimits,
    control: ResponseControl,
    state: State,
    expected: Expectation,
    interim: u32,
    interim_bytes: usize,
    pending: BytesMut,
    cleared: usize,
    refused: Option<ResponseRefusal>,
    ended: bool,
    /// The reader asked for more after it was shown a complete response, so it has parsed that response.
    came_back: bool,
    /// Bytes passed on since we last had to wait for the peer.
    turn: ConnectionTurn,
    broken: Option<WriteFailure>,
}

/// A write that failed and is not reported yet.
#[derive(Debug)]
struct WriteFailure {
    kind: io::ErrorKind,
    /// Receiver of the result.
    waker: Option<Waker>,
    /// When it is reported even so: whoever was to read the answer may have left.
    limit: Pin<Box<Sleep>>,
}

/// How long a failed write waits for a reader that reads nothing.
const HELD_MAX: Duration = Duration::from_secs(60);

impl<IO> ResponseIntake<IO> {
    /// Puts an intake before `io`.
    pub fn new(io: IO, limits: ResponseLimits) -> Self {
        Self {
            io,
            limits,
            control: ResponseControl::default(),
            state: State::Idle,
            expected: Expectation::Content,
            interim: 0,
            interim_bytes: 0,
            pending: BytesMut::new(),
            cleared: 0,
            refused: None,
            ended: false,
            came_back: false,
            turn: ConnectionTurn::default(),
            broken: None,
        }
    }

    /// The handle that outlives the intake's move into hyper.
    #[must_use]
    pub fn control(&self) -> ResponseControl {
        self.control.clone()
    }

    /// Checks `bytes`, which begin where the last checked piece ended, and returns how many of them may be
    /// passed on. The rest needs more bytes.
    ///
    /// If a refused response comes with its head in one piece, the head is not passed on either, so that
    /// the caller can still send another response.
    fn judge(&mut self, bytes: &[u8]) -> Result<usize, ResponseRefusal> {
        let mut done = 0_usize;
        loop {
            let rest = bytes.get(done..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(done);
            }
            if self.state == State::Idle && done > 0 {
                // Content after `HEAD`, or more than was announced: the response is complete, but its
                // connection is unusable.
                self.refused = Some(ResponseRefusal::Unasked);
                return Ok(done);
            }
            let Some(taken) = self.step(rest)? else { return Ok(done) };
            done = done.saturating_add(taken);
        }
    }

    /// One head or piece of a body at the beginning of `bytes`; `None` when more bytes are needed.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, ResponseRefusal> {
        match self.state {
            State::Idle => Err(ResponseRefusal::Unasked),
            State::Head(scanned) => self.step_head(scanned, bytes),
            State::Body(body) => {
                let stepped = body.step(bytes).map_err(|refusal| match refusal {
                    IntakeRefusal::Chunk | IntakeRefusal::LineEnd => ResponseRefusal::Chunk,
                    _ => ResponseRefusal::Trailer,
                })?;
                let Some((taken, next)) = stepped else { return Ok(None) };
                self.state = if next == Body::Done { State::Idle } else { State::Body(next) };
                Ok(Some(taken))
            }
            State::UntilClose | State::Passing => Ok(Some(bytes.len())),
        }
    }

    fn step_head(
        &mut self,
        scanned: usize,
        bytes: &[u8],
    ) -> Result<Option<usize>, ResponseRefusal> {
        let end = match head::find_end(scanned, bytes, self.limits.max_head_bytes)? {
            HeadEnd::At(end) => end,
            HeadEnd::Unknown(scanned) => {
                self.state = State::Head(scanned);
                return Ok(None);
            }
        };
        let head = bytes.get(..end).unwrap_or_default();
        self.state = match head::judge(head, self.expected, &self.limits, |_, _| Ok(()))?.framing {
            Framing::Interim => {
                self.interim = self.interim.saturating_add(1);
                self.interim_bytes = self.interim_bytes.saturating_add(end);
                if self.interim > self.limits.max_interim {
                    return Err(ResponseRefusal::TooManyInterim);
                }
                if self.interim_bytes > self.limits.max_head_bytes {
                    return Err(ResponseRefusal::HeadTooLarge);
                }
                State::Head(0)
            }
            Framing::Empty => State::Idle,
            Framing::Length(length) => State::Body(Body::Length(length)),
            Framing::Chunked => State::Body(Body::ChunkSize),
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Passing,
        };
        Ok(Some(end))
    }

    /// Whether the current response is complete and parsed. hyper takes the bytes before it parses them, and
    /// forgets all of them when a write fails meanwhile.
    fn is_answered(&self) -> bool {
        (self.is_whole() && self.came_back) || self.ended || self.refused.is_some()
    }

    fn is_whole(&self) -> bool {
        self.cleared == 0 && matches!(self.state, State::Idle | State::Passing)
    }

    /// Reports a failed write as soon as the response is complete.
    fn wake_writer(&mut self) {
        if (self.is_whole() || self.is_answered())
            && let Some(waker) = self.broken.as_mut().and_then(|broken| broken.waker.take())
        {
            waker.wake();
        }
    }

    /// The first bytes of a request start the wait for its response.
    fn note_request(&mut self, bytes: usize) {
        if bytes > 0
            && self.state == State::Idle
            && let Some(expected) = self.control.take()
        {
            (self.expected, self.state) = (expected, State::Head(0));
            (self.interim, self.interim_bytes) = (0, 0);
            self.came_back = false;
        }
    }

    /// A failed write waits until the response was read: the peer may have sent one and closed at once.
    fn hold_failure(
        &mut self,
        cx: &mut Context<'_>,
        bytes: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if !self.is_answered() => {
                let limit = Box::pin(tokio::time::sleep(HELD_MAX));
                self.broken = Some(WriteFailure { kind: error.kind(), waker: None, limit });
                self.after_failure(cx, bytes).unwrap_or(Poll::Pending)
            }
            other => other,
        }
    }

    /// The result for a writer after a failed write.
    ///
    /// The rest of a request whose response is complete is dropped, and the writer gets no error until the response is parsed.
    /// The next request gets the error at once.
    fn after_failure(
        &mut self,
        cx: &mut Context<'_>,
        bytes: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        let (answered, whole) = (self.is_answered(), self.is_whole());
        let next = self.control.is_announced();
        let broken = self.broken.as_mut()?;
        if answered || next || broken.limit.as_mut().poll(cx).is_ready() {
            return Some(Poll::Ready(Err(broken.kind.into())));
        }
        if whole {
            return Some(Poll::Ready(Ok(bytes)));
        }
        broken.waker = Some(cx.waker().clone());
        Some(Poll::Pending)
    }

    fn show(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.cleared.min(out.remaining());
        out.put_slice(self.pending.get(..count).unwrap_or_default());
        self.pending.advance(count);
        self.cleared = self.cleared.saturating_sub(count);
        if self.pending.is_empty() {
            // An idle connection keeps no buffer.
            self.pending = BytesMut::new();
        }
    }

    fn refuse(&mut self, refusal: ResponseRefusal) -> Poll<io::Result<()>> {
        self.refused = Some(refusal);
        (self.pending, self.cleared) = (BytesMut::new(), 0);
        self.wake_writer();
        Poll::Ready(Err(refusal.into()))
    }
}

impl<IO: AsyncRead + Unpin> ResponseIntake<IO> {
    /// Reads once into `out`, and checks the bytes; ready when something is passed on or nothing more will
    /// come.
    fn poll_judged(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, out) {
            Poll::Pending => {
                self.turn.end();
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                self.ended = true;
                self.wake_writer();
                return Poll::Ready(Err(error));
            }
        }
        if let Some(broken) = self.broken.as_mut() {
            let now = Instant::now();
            broken.limit.as_mut().reset(now.checked_add(HELD_MAX).unwrap_or(now));
        }
        let new = out.filled().get(before..).unwrap_or_default();
        self.turn.count_bytes(new.len());
        if new.is_empty() {
            self.ended = true;
            self.wake_writer();
            return Poll::Ready(Ok(()));
        }
        if self.pending.is_empty() {
            let shown = match self.judge(new) {
                Ok(shown) => shown,
                Err(refusal) => {
                    out.set_filled(before);
                    return self.refuse(refusal);
                }
            };
            self.pending.extend_from_slice(new.get(shown..).unwrap_or_default());
            out.set_filled(before.saturating_add(shown));
        } else {
            self.pending.extend_from_slice(new);
            out.set_filled(before);
            let pending = std::mem::take(&mut self.pending);
            let judged = self.judge(&pending);
            self.pending = pending;
            match judged {
                Ok(cleared) => self.cleared = cleared,
                Err(refusal) => return self.refuse(refusal),
            }
            self.show(out);
        }
        self.wake_writer();
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ResponseIntake<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_whole() {
            this.came_back = true;
            this.wake_writer();
        }
        if this.cleared > 0 {
            this.show(out);
            this.wake_writer();
            return Poll::Ready(Ok(()));
        }
        if let Some(refusal) = this.refused {
            return Poll::Ready(Err(refusal.into()));
        }
        let before = out.filled().len();
        loop {
            ready!(this.turn.poll(cx));
            ready!(this.poll_judged(cx, out))?;
            if out.filled().len() > before || this.ended {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ResponseIntake<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(failed) = this.after_failure(cx, bytes.len()) {
            return failed;
        }
        this.note_request(bytes.len());
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.hold_failure(cx, bytes.len(), written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if let Some(failed) = this.after_failure(cx, bytes) {
            return failed;
        }
        this.note_request(bytes);
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.hold_failure(cx, bytes, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(failed) = this.after_failure(cx, 0) {
            return failed.map_ok(|_| ());
        }
        let flushed = Pin::new(&mut this.io).poll_flush(cx).map_ok(|()| 0);
        this.hold_failure(cx, 0, flushed).map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
