//! The request body and its hooks: with the complete body before the request is sent, or chunk by chunk
//! while it is sent.

use crate::body::{ChannelBody, buffered_body};
use crate::exchange::ExchangeState;
use crate::replay::Replay;
use crate::slot::{Life, Slot, WholeRequestBody, body_slots};
use crate::stop::{FilterAnswer, Stop};
use bytes::{Bytes, BytesMut};
use http::header;
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::cell::RefCell;
use std::rc::Rc;
use tamis_engine::{BodyMode, CallFault, Filter};
use tamis_exchange::{Body, BodyError, Decision, Fault, HeadSide, Refusal, Verdict};
use tokio::sync::mpsc;

/// The body of a request, as its filters let it pass.
pub(crate) struct OutgoingBody {
    pub(crate) replay: Replay,
    /// `None`: no filter sees it chunk by chunk.
    end: Option<ChunkEnd>,
}

impl OutgoingBody {
    /// Checks whether a filter ended the exchange at a chunk of the body.
    ///
    /// # Errors
    /// A filter did.
    pub(crate) fn check(&self, state: &mut ExchangeState) -> Result<(), Stop> {
        let end = self.end.as_ref().and_then(|end| end.take());
        end.map_or(Ok(()), |end| Err(end.stop(state)))
    }
}

/// Passes the request body to the filters that want it.
///
/// # Errors
/// A filter that buffers ends the exchange, or the complete body cannot be read.
pub(crate) async fn show(state: &mut ExchangeState) -> Result<OutgoingBody, Stop> {
    let mut replay = state.body.clone();
    let chain = Rc::clone(&state.chain);
    let slots = chain.request_body.as_slice();
    if slots.is_empty() || (replay.has_ended() && replay.bytes_in() == 0) {
        return Ok(OutgoingBody { replay, end: None });
    }
    let rule = state.rule_name();
    let whole = body_slots(slots, rule, Filter::request_body, BodyMode::Buffered);
    let chunks = body_slots(slots, rule, Filter::request_body, BodyMode::Chunks);
    let limit = state.max_body_bytes();
    if !whole.is_empty() {
        let body = show_whole(state, &whole, replay.body()).await?;
        replay = Replay::new(body, limit);
    }
    if chunks.is_empty() {
        return Ok(OutgoingBody { replay, end: None });
    }
    let (body, end) = show_chunks(state, chunks, replay.body());
    Ok(OutgoingBody { replay: Replay::new(body, limit), end: Some(end) })
}

/// Reads the complete body and passes it to the filters that buffer; the head is held meanwhile.
pub(crate) async fn show_whole(
    state: &mut ExchangeState,
    slots: &[Rc<Slot>],
    mut body: Body,
) -> Result<Body, Stop> {
    let limit = slots.iter().filter_map(|slot| slot.filter());
    let limit = limit.map(|filter| filter.body_limit_bytes() as usize).min().unwrap_or(0);
    let mut octets = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            // The body knows best: it was too long, say, or stalled.
            let broken = || Refusal::new("request.broken", 400, Fault::Client, error.to_string());
            state.body.refusal().unwrap_or_else(broken)
        })?;
        match frame.into_data() {
            Ok(data) if octets.len() + data.len() > limit => {
                let detail = format!("a filter judges bodies of at most {limit} bytes");
                return Err(Refusal::new("request.too-large", 413, Fault::Client, detail).into());
            }
            Ok(data) => octets.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let mut octets = octets.freeze();
    let mut replaced = false;
    for slot in slots {
        if let Verdict::Replace(by) = slot.decide(&WholeRequestBody(&octets), state)? {
            octets = Bytes::from(by);
            replaced = true;
        }
    }
    if replaced {
        state.exchange.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(buffered_body(octets, trailers, &mut state.exchange.headers))
}

/// The slot that ended an exchange at a chunk, and how.
pub(crate) enum ChunkStop {
    /// The filter answered.
    Answered(FilterAnswer),
    /// Its call failed, and the failure mode refuses the exchange.
    Failed(Rc<Slot>, CallFault),
}

/// Records the end of an exchange at a chunk.
#[derive(Clone, Default)]
pub(crate) struct ChunkEnd(Rc<RefCell<Option<ChunkStop>>>);

impl ChunkEnd {
    /// The end, if there was one.
    pub(crate) fn take(&self) -> Option<ChunkStop> {
        self.0.take()
    }

    fn note(&self, stop: ChunkStop) {
        self.0.replace(Some(stop));
    }
}

impl ChunkStop {
    /// The response to the client.
    pub(crate) fn stop(self, state: &mut ExchangeState) -> Stop {
        match self {
            Self::Answered(answer) => Stop::Answered(answer),
            Self::Failed(slot, fault) => {
                let detail = format!("filter {}, in a chunk of the body: {fault}", slot.name());
                state.answered_by = Some(slot);
                Refusal::new("filter.failed", 503, Fault::Filter, detail).into()
            }
        }
    }
}

/// Passes the body chunk by chunk, on a task of its own: the next chunk is read when the last was consumed.
pub(crate) fn show_chunks(
    state: &mut ExchangeState,
    slots: Vec<Rc<Slot>>,
    mut body: Body,
) -> (Body, ChunkEnd) {
    state.exchange.headers.remove(header::CONTENT_LENGTH);
    slots.iter().for_each(|slot| state.calls.note(slot.number));
    let end = ChunkEnd::default();
    let (send, receive) = mpsc::channel(1);
    let (noted, exchange) = (end.clone(), state.exchange.id);
    let slots: Vec<_> = slots.into_iter().map(|slot| (slot.life(), slot)).collect();
    drop(tokio::task::spawn_local(async move {
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            let next = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => show_chunk(&slots, exchange, data, false, &noted),
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
        let last = show_chunk(&slots, exchange, Bytes::new(), true, &noted);
        if !last.as_ref().is_ok_and(Bytes::is_empty) {
            drop(send.send(last.map(Frame::data)).await);
        }
        if let Some(trailers) = trailers {
            drop(send.send(Ok(trailers)).await);
        }
    }));
    (Body::stream(ChannelBody(receive)), end)
}

/// Passes one chunk through all filters, each receiving the result of the one before.
fn show_chunk(
    slots: &[(Life, Rc<Slot>)],
    exchange: u64,
    mut octets: Bytes,
    last: bool,
    end: &ChunkEnd,
) -> Result<Bytes, BodyError> {
    for (life, slot) in slots {
        let answer = slot.ask_chunk(*life, HeadSide::Request, exchange, &octets, last);
        let decision = answer.map_err(|fault| {
            end.note(ChunkStop::Failed(Rc::clone(slot), fault));
            BodyError::Ended("a filter failed")
        })?;
        let Some(Decision { verdict, reason }) = decision else { continue };
        match verdict {
            Verdict::Pass => {}
            Verdict::Replace(by) => octets = Bytes::from(by),
            Verdict::Answer(reply) => {
                let answer = FilterAnswer { slot: Rc::clone(slot), reply, reason };
                end.note(ChunkStop::Answered(answer));
                return Err(BodyError::Ended("a filter answered"));
            }
            Verdict::Change(_) => {
                return Err(BodyError::Ended("a filter changed a head that was sent before"));
            }
        }
    }
    Ok(octets)
}
