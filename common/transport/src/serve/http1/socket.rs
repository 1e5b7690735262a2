//! One connection: the bytes that arrived, the request they belong to, and what waits to be written.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::request::{self, RequestFacts};
use crate::first_read::poll_first_read;
use crate::intake::scan::HeadScan;
use crate::intake::{IntakeLimits, IntakeRefusal, RefusedRequest};
use crate::message::content::Content;
use crate::message::outbox::Outbox;
use crate::serve::side::RequestBodyError;
use crate::serve::tunnel::ServerTunnel;
use crate::turn::{ConnectionTurn, TURN_BYTES};

/// Bytes of the first read that continues a head or begins a body.
const READ_MIN: usize = 8 * 1024;
/// Bytes of a read while a body flows: a read is no more than a turn.
const READ_MAX: usize = TURN_BYTES;
/// After so long without a request a connection gives back the memory that the next one would use.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// Pauses of a response that a client which ended its side waits for: most such clients have left, and the others read on.
const LEFT_PAUSE: Duration = Duration::from_secs(10);

/// The kind of the current wait; each has its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For a request, shortly after the one before.
    Soon,
    /// For a request.
    Idle,
    Head,
    Body,
    /// For the response to a client that ended its side.
    PeerGone,
    /// For the next piece of a response to a client that ended its side.
    PeerLeft,
}

/// Result of waiting for a request.
#[derive(Debug)]
pub(super) enum RequestArrival {
    Request(Request<()>, RequestFacts),
    /// No request yet; wait longer.
    Nothing,
    /// No further request: the peer ended.
    End,
    /// An ambiguous request.
    Refused(RefusedRequest),
}

/// Invariants: `buffer` holds bytes that were read and belong to nothing passed on so far; they are of the current request
/// until `content` is done, and after that of the next, or of the tunnel.
#[derive(Debug)]
pub(super) struct ServerSocket<IO> {
    /// `None` once it was taken out.
    io: Option<IO>,
    limits: IntakeLimits,
    pub(super) buffer: BytesMut,
    scan: HeadScan,
    pub(super) content: Content,
    pub(super) outbox: Outbox,
    /// The number of the current exchange.
    pub(super) exchange: u64,
    /// `None` between two exchanges.
    pub(super) facts: Option<RequestFacts>,
    /// A final response has begun.
    pub(super) replied: bool,
    /// The body waits for a `100 Continue` that was not sent yet.
    continues: bool,
    pub(super) tunnel: Option<oneshot::Sender<ServerTunnel>>,
    /// Bytes of the next read.
    reading: usize,
    turn: ConnectionTurn,
    timer: Option<Pin<Box<Sleep>>>,
    /// The current wait, and when it has lasted too long. The timer may be set to an earlier time.
    waiting: Option<(Wait, Instant)>,
    quiet: bool,
    peer_ended: bool,
    /// The task of the connection, while a handler runs.
    pub(super) driver: Option<Waker>,
    /// The task that waits for the next piece of the body.
    reader: Option<Waker>,
}

impl<IO> ServerSocket<IO> {
    /// `seen` are bytes that were read from `io` already.
    pub(super) fn new(io: IO, seen: BytesMut, limits: IntakeLimits) -> Self {
        Self {
            io: Some(io),
            limits,
            buffer: seen,
            scan: HeadScan::default(),
            content: Content::Done,
            outbox: Outbox::default(),
            exchange: 0,
            facts: None,
            replied: false,
            continues: false,
            tunnel: None,
            reading: READ_MIN,
            turn: ConnectionTurn::default(),
            timer: None,
            waiting: None,
            quiet: false,
            peer_ended: false,
            driver: None,
            reader: None,
        }
    }

    /// The stream, once; what is left in `buffer` belongs to whoever takes it.
    pub(super) fn take_io(&mut self) -> Option<IO> {
        self.io.take()
    }

    /// Ends what is read from it, and takes the stream.
    pub(super) fn close(&mut self) -> Option<IO> {
        self.exchange = self.exchange.saturating_add(1);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.io.take()
    }

    /// Whether nothing of a request has arrived.
    pub(super) fn is_idle(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Ends the exchange; a body still held returns an error. Returns true when this request has arrived completely.
    pub(super) fn finish_exchange(&mut self) -> bool {
        self.exchange = self.exchange.saturating_add(1);
        (self.facts, self.tunnel, self.driver) = (None, None, None);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        while self.content != Content::Done {
            if !matches!(self.content.take(&mut self.buffer, &mut self.turn), Ok(Some(_)))
                && self.content != Content::Done
            {
                return false;
            }
        }
        self.waiting = None;
        true
    }

    /// Whether the end of the current request has arrived.
    pub(super) fn is_message_whole(&self) -> bool {
        self.content.judge(&self.buffer).unwrap_or(false)
    }

    fn begin(&mut self, content: Content, facts: RequestFacts) {
        (self.content, self.facts) = (content, Some(facts));
        (self.replied, self.continues) = (false, facts.waits);
        (self.waiting, self.quiet) = (None, false);
        self.reading = READ_MIN;
    }

    /// Ready when the peer has exceeded that time limit.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, wait: Wait) -> Poll<()> {
        let until = match self.waiting {
            Some((known, until)) if known == wait => until,
            _ => {
                let now = Instant::now();
                let until = now.checked_add(self.limit(wait)).unwrap_or(now);
                self.waiting = Some((wait, until));
                until
            }
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        // A timer that ends earlier stays as it is and is set again when it ends: most waits end long before.
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }

    fn limit(&self, wait: Wait) -> Duration {
        let IntakeLimits { idle_timeout, head_timeout, body_timeout, left_timeout, .. } =
            self.limits;
        match wait {
            Wait::Soon => QUIET_AFTER.min(idle_timeout),
            Wait::Idle => idle_timeout.saturating_sub(QUIET_AFTER),
            Wait::Head => head_timeout,
            Wait::Body => body_timeout,
            Wait::PeerGone => left_timeout,
            Wait::PeerLeft => LEFT_PAUSE,
        }
    }
}

impl<IO: AsyncRead + Unpin> ServerSocket<IO> {
    /// The next request, once its head is there.
    pub(super) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<RequestArrival>> {
        loop {
            if !self.buffer.is_empty() {
                match request::take_head(&mut self.scan, &mut self.buffer, &self.limits) {
                    Ok(Some(head)) => {
                        self.begin(head.content, head.facts);
                        return Poll::Ready(Ok(RequestArrival::Request(head.request, head.facts)));
                    }
                    Ok(None) => {}
                    Err(refused) => return Poll::Ready(Ok(RequestArrival::Refused(refused))),
                }
            }
            let Poll::Ready(read) = self.poll_fill(cx) else {
                return self.poll_patience(cx).map(Ok);
            };
            if read? == 0 {
                return Poll::Ready(Ok(if self.buffer.is_empty() {
                    RequestArrival::End
                } else {
                    RequestArrival::Refused(request::refused(
                        IntakeRefusal::Incomplete,
                        &self.buffer,
                    ))
                }));
            }
        }
    }

    /// Ready when a request was waited for long enough.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<RequestArrival> {
        let wait = match (self.buffer.is_empty(), self.quiet) {
            (false, _) => Wait::Head,
            (true, false) => Wait::Soon,
            (true, true) => Wait::Idle,
        };
        ready!(self.poll_deadline(cx, wait));
        Poll::Ready(match wait {
            Wait::Head => {
                RequestArrival::Refused(request::refused(IntakeRefusal::HeadTimeout, &self.buffer))
            }
            Wait::Soon => {
                self.quiet = true;
                self.outbox.shrink();
                self.buffer = BytesMut::new();
                RequestArrival::Nothing
            }
            Wait::Idle | Wait::Body | Wait::PeerGone | Wait::PeerLeft => RequestArrival::End,
        })
    }

    /// Reads once, and records the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.peer_ended {
            return Poll::Ready(Ok(0));
        }
        if self.buffer.is_empty() && self.content == Content::Done {
            return self.poll_first(cx);
        }
        ready!(self.turn.poll(cx));
        let Some(io) = self.io.as_mut() else { return Poll::Ready(Err(gone())) };
        let left = self.content.left().and_then(|left| usize::try_from(left).ok());
        let left = left.filter(|left| *left > 0);
        // Where others use their turns up, a read takes no more than the share of a turn.
        let most = self.reading.min(ConnectionTurn::bytes_max()).max(READ_MIN);
        let wanted = left.map_or(most, |left| left.clamp(READ_MIN, most));
        self.buffer.reserve(wanted);
        let mut room = (&mut self.buffer).limit(ConnectionTurn::read_max(wanted));
        let Poll::Ready(read) = std::pin::pin!(io.read_buf(&mut room)).poll(cx) else {
            self.turn.end();
            return Poll::Pending;
        };
        let read = read?;
        self.turn.count_bytes(read);
        if read >= wanted && self.content != Content::Done {
            self.reading = self.reading.saturating_mul(2).min(READ_MAX);
        }
        self.peer_ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Reads the first bytes of a head; an idle connection holds no memory for them.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = self.io.as_mut() else { return Poll::Ready(Err(gone())) };
        let read = ready!(poll_first_read(cx, io, &mut self.buffer))?;
        self.peer_ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// A piece of the response is there: a peer that ended its side may wait as long again for the next.
    pub(super) fn note_piece(&mut self) {
        if matches!(self.waiting, Some((Wait::PeerLeft, _))) {
            self.waiting = None;
        }
    }

    /// Ready once the peer that waits for its response, or for the next piece of it, counts as gone: its connection broke, or
    /// it ended its side and nothing came for too long. Bytes that arrive meanwhile are kept.
    pub(super) fn poll_peer_gone(&mut self, cx: &mut Context<'_>, wait: Wait) -> Poll<io::Error> {
        if self.content != Content::Done || !self.buffer.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx)) {
            Err(error) => return Poll::Ready(error),
            Ok(0) => {}
            Ok(_) => return Poll::Pending,
        }
        ready!(self.poll_deadline(cx, wait));
        let left = "the client ended its side of the connection, and the response did not begin within the time that is left then";
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, left))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServerSocket<IO> {
    /// Writes what waits.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = self.io.as_mut() else { return Poll::Ready(Err(gone())) };
        self.outbox.poll_flush(cx, io)
    }

    /// The next piece of the request's content, or its trailers; `None` after the last.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        loop {
            ready!(self.turn.poll(cx));
            let taken = self.content.take(&mut self.buffer, &mut self.turn);
            if self.content == Content::Done {
                self.wake_driver(cx);
            }
            match taken {
                Ok(Some(frame)) => {
                    self.waiting = None;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if self.content == Content::Done => return Poll::Ready(None),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Some(Err(self.refuse(refusal)))),
            }
            self.ask_for_content(cx);
            let Poll::Ready(read) = self.poll_fill(cx) else {
                if self.reader.as_ref().is_none_or(|reader| !reader.will_wake(cx.waker())) {
                    self.reader = Some(cx.waker().clone());
                }
                ready!(self.poll_deadline(cx, Wait::Body));
                return Poll::Ready(Some(Err(self.refuse(IntakeRefusal::BodyTimeout))));
            };
            match read {
                Ok(0) => {
                    let early = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Some(Err(RequestBodyError::Broken(early))));
                }
                Ok(_) => self.waiting = None,
                Err(error) => return Poll::Ready(Some(Err(RequestBodyError::Broken(error)))),
            }
        }
    }

    fn refuse(&self, refusal: IntakeRefusal) -> RequestBodyError {
        tracing::debug!(code = refusal.code(), exchange = self.exchange, "a body was refused");
        RequestBodyError::Refused(refusal)
    }

    /// Sends `100 Continue` to a client that waits for it, once somebody reads its body.
    fn ask_for_content(&mut self, cx: &mut Context<'_>) {
        if !std::mem::take(&mut self.continues) || self.replied || !self.buffer.is_empty() {
            return;
        }
        self.outbox.put(b"HTTP/1.1 100 Continue\r\n\r\n");
        // A failure is found by whoever writes or reads next.
        if self.poll_flush(cx).is_pending() {
            self.wake_driver(cx);
        }
    }

    /// The body may be read by another task than the one that watches the connection.
    fn wake_driver(&self, cx: &Context<'_>) {
        if let Some(driver) = self.driver.as_ref().filter(|driver| !driver.will_wake(cx.waker())) {
            driver.wake_by_ref();
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
