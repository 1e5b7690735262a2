//! The request body and its hooks: with the complete body before the request is sent, or chunk by chunk
//! while it is sent.

use crate::body::{UnreadBody, buffered_body, read_whole};
use crate::body_budget::{BudgetSpent, no_room};
use crate::chunk_end::{ChunkEnd, ChunkStop};
use crate::exchange::{ExchangeState, Replay};
use crate::gathered_chunks::gathered;
use crate::slot::{
    ChunkSlot, HeldTrailers, ShownChunk, Slot, TrailerSlot, WholeBodyQuestion, body_limit,
    body_slots,
};
use crate::stop::{ExchangeStop, FilterAnswer};
use bytes::Bytes;
use http::header;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tamis_engine::{BodyMode, Filter};
use tamis_exchange::{Body, BodyError, Fault, HeadSide, Refusal, Verdict};

/// The body of a request, as its filters let it pass.
pub(crate) struct OutgoingBody {
    pub(crate) replay: Replay,
    /// Where a filter that sees it on its way notes that the exchange ends.
    /// `None`: no filter does, which saves its memory.
    pub(crate) end: Option<ChunkEnd>,
}

/// The body of a request while its head is held: which filters have seen it whole.
pub(crate) struct HeldBody {
    replay: Replay,
    /// There is a body, and a filter that may want it.
    is_shown: bool,
    /// By the number of their slots, each with the rule that matched.
    seen: Vec<(usize, Option<u32>)>,
}

impl HeldBody {
    /// The body as it arrives.
    pub(crate) fn of(state: &ExchangeState) -> Self {
        let replay = state.body.clone();
        let is_empty = replay.has_ended() && replay.bytes_in() == 0;
        let chain = &state.chain;
        let wanted = !chain.request_body.is_empty() || !chain.request_trailers.is_empty();
        let is_shown = wanted && !is_empty;
        Self { replay, is_shown, seen: Vec::new() }
    }

    /// Passes the complete body to those filters of the exchange that want it so and have not seen it yet, or have seen it
    /// while another rule matched that they read.
    /// Returns true if one of them changed something that the router reads.
    ///
    /// # Errors
    /// A filter ends the exchange, or the complete body cannot be read.
    pub(crate) async fn show(&mut self, state: &mut ExchangeState) -> Result<bool, ExchangeStop> {
        if !self.is_shown {
            return Ok(false);
        }
        let chain = Rc::clone(&state.chain);
        let slots = chain.request_body.as_slice();
        let mut whole =
            body_slots(slots, state.rule_name(), Filter::request_body, BodyMode::Buffered);
        let rule = state.rule;
        // A filter that reads the rule has judged the body for that rule only.
        let judged = |slot: &Rc<Slot>, about: Option<u32>| !slot.reads_route() || about == rule;
        whole.retain(|slot| {
            !self.seen.iter().any(|(seen, about)| *seen == slot.number && judged(slot, *about))
        });
        if whole.is_empty() {
            return Ok(false);
        }
        self.seen.extend(whole.iter().map(|slot| (slot.number, rule)));
        let mut moved = false;
        let body = show_whole(state, &whole, self.replay.body(None), &mut moved).await?;
        self.replay = Replay::new(body, state.max_body_bytes());
        Ok(moved)
    }

    /// Lets the head go; the filters that want chunks and trailers see them from now on.
    pub(crate) fn release(self, state: &mut ExchangeState) -> OutgoingBody {
        let (replay, end) = (self.replay, None);
        if !self.is_shown {
            return OutgoingBody { replay, end };
        }
        let chain = Rc::clone(&state.chain);
        let (slots, rule) = (chain.request_body.as_slice(), state.rule_name());
        let chunks = body_slots(slots, rule, Filter::request_body, BodyMode::Chunks);
        let trailers =
            TrailerSlot::of(&chain.request_trailers, rule, HeadSide::Request, &state.exchange);
        if chunks.is_empty() && trailers.is_empty() {
            return OutgoingBody { replay, end };
        }
        let (mut body, end) = match chunks.is_empty() {
            true => (replay.body(None), ChunkEnd::default()),
            false => show_chunks(state, chunks, replay.body(None)),
        };
        if !trailers.is_empty() {
            trailers.iter().for_each(|one| state.calls.note(one.slot.number));
            let end = end.clone();
            body = Body::stream(WatchedBody {
                inner: body,
                slots: trailers,
                held: HeldTrailers::default(),
                end,
            });
        }
        OutgoingBody { replay: Replay::new(body, state.max_body_bytes()), end: Some(end) }
    }
}

/// Reads the complete body and passes it to the filters that buffer; the head is held meanwhile. `moved`
/// becomes true if one of them changed something that the router reads.
pub(crate) async fn show_whole(
    state: &mut ExchangeState,
    slots: &[Rc<Slot>],
    body: Body,
    moved: &mut bool,
) -> Result<Body, ExchangeStop> {
    let limit = body_limit(slots);
    let room = state.body_room();
    let whole = read_whole(body, room.clone(), limit).await;
    let (mut octets, trailers) = whole.map_err(|why| match why {
        UnreadBody::Broken(error) => {
            // The body knows best: it was too long, say, or stalled.
            let broken = || Refusal::new("request.broken", 400, Fault::Client, error.to_string());
            state.body.refusal().unwrap_or_else(broken)
        }
        UnreadBody::TooLong => {
            let detail = format!("a filter reads whole bodies, of at most {limit} bytes");
            Refusal::new("request.too-large", 413, Fault::Client, detail)
        }
        UnreadBody::NoRoom => no_room("request.no-room"),
    })?;
    let mut replaced = false;
    for slot in slots {
        let verdict = slot.decide(&WholeBodyQuestion(HeadSide::Request, &octets), state).await?;
        if let Verdict::Rewrite { edits, .. } = &verdict {
            *moved |= state.chain.routers_read(edits);
        }
        if let Verdict::Replace(by) | Verdict::Rewrite { octets: Some(by), .. } = verdict {
            // What it saw gives its room back first.
            drop(octets);
            octets = room.keep(by).map_err(|BudgetSpent| no_room("request.no-room"))?;
            replaced = true;
        }
    }
    if replaced {
        state.exchange.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(buffered_body(octets, trailers, &mut state.exchange.headers))
}

/// Passes the body chunk by chunk, on a task of its own: the next chunk is read when the last was consumed.
pub(crate) fn show_chunks(
    state: &mut ExchangeState,
    slots: Vec<Rc<Slot>>,
    body: Body,
) -> (Body, ChunkEnd) {
    state.exchange.headers.remove(header::CONTENT_LENGTH);
    slots.iter().for_each(|slot| state.calls.note(slot.number));
    if slots.iter().any(|slot| slot.waits_for_turns()) {
        state.wait_for_long_call();
    }
    let mut slots = ChunkSlot::of(slots, HeadSide::Request, &state.exchange, &state.body_room());
    let mut body = gathered(body, &slots);
    let end = ChunkEnd::default();
    let (send, shown) = Body::channel(1);
    let noted = end.clone();
    drop(tokio::task::spawn_local(async move {
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            let next = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => show_chunk(&mut slots, data, false, &noted).await,
                Ok(Err(frame)) => {
                    trailers = Some(frame);
                    break;
                }
                Err(error) => Err(error),
            };
            let failed = next.is_err();
            let empty = next.as_ref().is_ok_and(Bytes::is_empty);
            if !empty && send.send(next.map(Frame::data)).await.is_err() || failed {
                return;
            }
        }
        let last = show_chunk(&mut slots, Bytes::new(), true, &noted).await;
        if !last.as_ref().is_ok_and(Bytes::is_empty) {
            drop(send.send(last.map(Frame::data)).await);
        }
        if let Some(trailers) = trailers {
            drop(send.send(Ok(trailers)).await);
        }
    }));
    (shown, end)
}

/// Passes one chunk through all filters, each receiving the result of the one before.
async fn show_chunk(
    slots: &mut [ChunkSlot],
    mut octets: Bytes,
    last: bool,
    end: &ChunkEnd,
) -> Result<Bytes, BodyError> {
    for filter in slots {
        filter.turn().await;
        match filter.show(octets, last) {
            Ok(ShownChunk::Pass(by)) => octets = by,
            Ok(ShownChunk::Answer(reply, reason)) => {
                let slot = Rc::clone(&filter.slot);
                end.note(ChunkStop::Answered(FilterAnswer { slot, reply, reason }));
                return Err(BodyError::Ended("a filter answered"));
            }
            Ok(ShownChunk::NoRoom) => {
                end.note(ChunkStop::NoRoom);
                return Err(BodyError::Ended("there is no room for what a filter holds"));
            }
            Err(fault) => {
                end.note(ChunkStop::Failed(Rc::clone(&filter.slot), fault));
                return Err(BodyError::Ended("a filter failed"));
            }
        }
    }
    Ok(octets)
}

/// A request body whose trailers pass through filters.
struct WatchedBody {
    inner: Body,
    slots: Vec<TrailerSlot>,
    held: HeldTrailers,
    /// Where the end is noted if a filter causes one.
    end: ChunkEnd,
}

impl WatchedBody {
    fn show(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let Some(trailers) = frame.trailers_mut() else { return Ok(frame) };
        for filter in &mut self.slots {
            if let Err(fault) = filter.show(trailers) {
                self.end.note(ChunkStop::Failed(Rc::clone(&filter.slot), fault));
                return Err(BodyError::Ended("a filter failed"));
            }
        }
        Ok(frame)
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(trailers) = ready!(this.held.poll(cx)) {
                return Poll::Ready(Some(this.show(trailers)));
            }
            let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            match frame.map(|frame| this.held.keep(frame, &this.slots)) {
                Ok(Some(frame)) => return Poll::Ready(Some(this.show(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
