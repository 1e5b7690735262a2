//! Small chunks of a body, gathered before filters that read much of the head are shown them.
//!
//! Each call of a filter comes with the fields of the head that it declared, by the contract, and their copy costs what they
//! are long: the head of one who sends octet by octet would be copied for each octet. So filters whose view is large are shown
//! larger chunks: those that have arrived anyway, and what arrives until the copies fit into a rate.

#![cfg_attr(
    not(test),
    expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")
)]

use crate::slot::ChunkSlot;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tamis_exchange::{Body, BodyError};
use tamis_transport::yield_turn;
use tokio::time::{Instant, Sleep};

/// Octets of views that cost no more than the call itself: below, filters are shown chunks as they arrive.
const SMALL_VIEWS: usize = 4 * 1024;
/// Octets of a chunk that is as large as any: nothing waits behind so many.
const CHUNK_ENOUGH: usize = 64 * 1024;
/// Octets of views that may be shown with small chunks at once.
const BURST: usize = 256 * 1024;
/// Octets of views a second that may be shown with small chunks after that. A stream of small messages that somebody waits for
/// is delayed only above it.
const PER_SECOND: usize = 4 * 1024 * 1024;
/// Frames that are gathered before the other tasks of the worker run.
const FRAMES_AT_ONCE: usize = 1_024;

/// The body as those filters are to be shown it.
pub(crate) fn gathered(body: Body, slots: &[ChunkSlot]) -> Body {
    let views = slots.iter().map(ChunkSlot::view_octets).fold(0, usize::saturating_add);
    match views > SMALL_VIEWS {
        true => Body::stream(GatheredChunks::new(body, views)),
        false => body,
    }
}

/// A body whose small chunks are gathered: with `n` octets of content come at most about as many octets of views, beside
/// [`BURST`] and [`PER_SECOND`].
struct GatheredChunks {
    inner: Body,
    /// Octets that all filters together are shown of the head, with each chunk.
    views: usize,
    /// A chunk of so many octets waits for nothing.
    enough: usize,
    /// What arrived and was not shown.
    chunk: BytesMut,
    /// What comes behind it: trailers, an error, the end.
    behind: Option<Option<Result<Frame<Bytes>, BodyError>>>,
    room: ViewRoom,
    /// Ends when there is room for the views of the next chunk.
    until_room: Option<Pin<Box<Sleep>>>,
}

/// How much was gathered.
enum Gathered {
    /// A large chunk, or everything before what comes behind it.
    Enough,
    /// Everything that has arrived.
    All,
    /// A part of what has arrived.
    Part,
}

impl GatheredChunks {
    fn new(inner: Body, views: usize) -> Self {
        Self {
            inner,
            views,
            enough: views.min(CHUNK_ENOUGH),
            chunk: BytesMut::new(),
            behind: None,
            room: ViewRoom { octets: BURST, at: Instant::now() },
            until_room: None,
        }
    }

    /// What was gathered.
    fn take(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.until_room = None;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.split().freeze()))))
    }

    fn keep(&mut self, data: Bytes) {
        if !self.chunk.is_empty() {
            self.chunk.extend_from_slice(&data);
            return;
        }
        // Most often nobody else has it, and it needs no copy.
        self.chunk = data.try_into_mut().unwrap_or_else(|data| BytesMut::from(&data[..]));
    }

    /// Gathers what has arrived.
    fn gather(&mut self, cx: &mut Context<'_>) -> Gathered {
        for _ in 0..FRAMES_AT_ONCE {
            let Poll::Ready(next) = Pin::new(&mut self.inner).poll_frame(cx) else {
                return Gathered::All;
            };
            match next {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.keep(data),
                    Err(trailers) => {
                        self.behind = Some(Some(Ok(trailers)));
                        return Gathered::Enough;
                    }
                },
                end => {
                    self.behind = Some(end);
                    return Gathered::Enough;
                }
            }
            if self.chunk.len() >= self.enough {
                return Gathered::Enough;
            }
        }
        Gathered::Part
    }

    /// Ready when there is room for the views of a small chunk, which is taken.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(wait) = self.room.take(self.views) else { return Poll::Ready(()) };
            let sleep = self.until_room.insert(Box::pin(tokio::time::sleep(wait)));
            ready!(sleep.as_mut().poll(cx));
        }
    }
}

impl HttpBody for GatheredChunks {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.behind.is_none() {
            match this.gather(cx) {
                Gathered::Enough => {}
                Gathered::All if this.chunk.is_empty() => return Poll::Pending,
                Gathered::All => ready!(this.poll_room(cx)),
                Gathered::Part => {
                    yield_turn(cx);
                    return Poll::Pending;
                }
            }
        }
        if !this.chunk.is_empty() {
            return this.take();
        }
        // The end stays: a body may be polled behind it.
        Poll::Ready(this.behind.replace(None).flatten())
    }
}

/// Octets of views that may be shown now.
struct ViewRoom {
    octets: usize,
    at: Instant,
}

impl ViewRoom {
    /// Takes so many octets; how long to wait if there are fewer.
    fn take(&mut self, octets: usize) -> Option<Duration> {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at).as_micros();
        let more =
            usize::try_from(passed).unwrap_or(usize::MAX).saturating_mul(PER_SECOND) / 1_000_000;
        // What is less than one octet stays to be counted.
        if more > 0 {
            (self.octets, self.at) = (self.octets.saturating_add(more).min(BURST), now);
        }
        // Views larger than the burst take all of it.
        let wanted = octets.min(BURST);
        let Some(left) = self.octets.checked_sub(wanted) else {
            let missing = (wanted - self.octets) as u64;
            let micros = missing.saturating_mul(1_000_000).div_ceil(PER_SECOND as u64);
            return Some(Duration::from_micros(micros));
        };
        self.octets = left;
        None
    }
}

#[cfg(test)]
mod tests;
