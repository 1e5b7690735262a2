//! The response body on its way to the client: passed through hooks, counted, limited in time. Its end is
//! the end of the exchange.

use crate::body::HookedBody;
use crate::body_budget::{TakenRoom, no_room};
use crate::chunk_end::ChunkEnd;
use crate::encoding::Encoding;
use crate::exchange::ExchangeState;
use crate::gathered_chunks::gathered;
use crate::grpc_web::{GrpcWebCall, GrpcWebResponse};
use crate::heads::{Owners, is_grpc};
use crate::slot::{ChunkSlot, FILTER_FAILED, HeldTrailers, ShownChunk, Slot, TrailerSlot};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tamis_exchange::{Body, BodyError, Outcome};
use tamis_transport::ServedBody;
use tokio::time::Sleep;

/// The response body that a connection sends. It moves through several functions with its head, so parts that most responses
/// do not have are boxed.
pub(crate) struct ResponseBody {
    inner: Body,
    state: Option<Box<ExchangeState>>,
    hooks: Option<Box<ChunkHooks>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Owners of the trailers.
    owners: Option<Arc<Owners>>,
    /// Filters that see the trailers.
    watching: Vec<TrailerSlot>,
    /// Those that wait for their turn.
    held: HeldTrailers,
    /// What ended it at the trailers.
    end: Option<Box<EarlyEnd>>,
    /// What ended the body of the request meanwhile.
    request_end: Option<ChunkEnd>,
    /// The encoder that it passes behind all filters.
    encoding: Option<Box<Encoding>>,
    /// Whether it has one: what is sent is counted behind it.
    is_encoded: bool,
    /// It answers a call of gRPC-Web.
    web: Option<Box<GrpcWebResponse>>,
    /// The room for what its upstream has sent of it and its client does not take.
    unread: Option<Box<TakenRoom>>,
}

/// What ended a body before its end.
struct EarlyEnd {
    /// The filter, if one did.
    slot: Option<Rc<Slot>>,
    /// The rule.
    reason: &'static str,
    why: String,
}

impl EarlyEnd {
    fn by(slot: &Rc<Slot>, why: String) -> Self {
        Self { slot: Some(Rc::clone(slot)), reason: FILTER_FAILED, why }
    }

    /// There is no memory for what a filter holds.
    fn without_room() -> Self {
        let refusal = no_room("response.no-room");
        Self { slot: None, reason: refusal.code, why: refusal.detail }
    }
}

/// Response body hooks that see chunks.
struct ChunkHooks {
    slots: Vec<ChunkSlot>,
    /// The last call, with no bytes, was made.
    closed: bool,
    /// What was read and waits for a turn, the end too; pending if nothing waits.
    waiting: Poll<Option<Result<Frame<Bytes>, BodyError>>>,
    /// `None`: nothing waits for a turn.
    turn: Option<Pin<Box<dyn Future<Output = ()>>>>,
    trailers: Option<Frame<Bytes>>,
    /// What ended the body.
    end: Option<EarlyEnd>,
}

impl ResponseBody {
    /// Sends a body, and ends the exchange with it.
    pub(crate) fn new(body: HookedBody, state: Box<ExchangeState>) -> Self {
        let mut body = Self::from(body);
        body.web = state.grpc_web.map(GrpcWebCall::response).map(Box::new);
        body.state = Some(state);
        body
    }

    /// The next frame that the hooks may be shown now.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(hooks) = self.hooks.as_mut() else {
            return Pin::new(&mut self.inner).poll_frame(cx);
        };
        if hooks.closed {
            return Poll::Ready(None);
        }
        let frame = match std::mem::replace(&mut hooks.waiting, Poll::Pending) {
            Poll::Ready(frame) => frame,
            Poll::Pending => ready!(Pin::new(&mut self.inner).poll_frame(cx)),
        };
        if hooks.poll_turn(cx).is_pending() {
            hooks.waiting = Poll::Ready(frame);
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    /// A frame without the trailers that the upstream may not send.
    fn cleaned(&self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let (Some(trailers), Some(owners)) = (frame.trailers_mut(), &self.owners) {
            owners.clean_trailers(trailers);
        }
        frame
    }

    /// A frame as it leaves: trailers as filters changed them.
    fn leaving(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let Some(trailers) = frame.trailers_mut() {
            for filter in &mut self.watching {
                let end = match (filter.show(trailers), self.state.as_mut()) {
                    (Ok(Some(reason)), Some(state)) => {
                        state.reason = Some(reason.into());
                        continue;
                    }
                    (Ok(_), _) => continue,
                    (Err(fault), _) => format!("in the trailers of the response: {fault}"),
                };
                self.end = Some(Box::new(EarlyEnd::by(&filter.slot, end)));
                return Err(BodyError::Ended("a filter failed"));
            }
        }
        self.seen(&frame);
        Ok(frame)
    }

    /// The body ended early; the record names the filter if one ended it.
    fn broken(&mut self) {
        let of_trailers = self.end.take().map(|end| *end);
        let end = self.hooks.as_mut().and_then(|hooks| hooks.end.take()).or(of_trailers);
        if let (Some(EarlyEnd { slot, reason, why }), Some(state)) = (end, self.state.as_mut()) {
            state.answered_by = slot.or(state.answered_by.take());
            state.reason = Some(reason.into());
            state.detail = Some(why);
        }
        self.ended(Outcome::RESET);
    }

    fn ended(&mut self, outcome: Outcome) {
        if let Some(mut state) = self.state.take() {
            if let Some(end) = &self.request_end {
                end.record(&mut state);
            }
            state.end(outcome);
        }
    }

    fn seen(&mut self, frame: &Frame<Bytes>) {
        let Some(state) = self.state.as_mut() else { return };
        if let Some(data) = frame.data_ref() {
            state.bytes_out += if self.is_encoded { 0 } else { data.len() as u64 };
        } else if let Some(trailers) = frame.trailers_ref() {
            state.note_trailers(trailers);
        }
    }
}

impl From<HookedBody> for ResponseBody {
    /// A body without an exchange.
    fn from(hooked: HookedBody) -> Self {
        let HookedBody { body, chunks, trailers, owners, deadline, request_end, encoding } = hooked;
        Self {
            inner: gathered(body, &chunks),
            state: None,
            hooks: ChunkHooks::of(chunks),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            owners,
            watching: trailers,
            held: HeldTrailers::default(),
            end: None,
            request_end,
            is_encoded: encoding.is_some(),
            encoding,
            web: None,
            unread: None,
        }
    }
}

impl ChunkHooks {
    /// The hooks of those slots; `None` without any.
    fn of(slots: Vec<ChunkSlot>) -> Option<Box<Self>> {
        if slots.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            slots,
            closed: false,
            waiting: Poll::Pending,
            turn: None,
            trailers: None,
            end: None,
        }))
    }

    /// Ready when the filters may be shown a chunk: at once, unless one of them has to wait for a turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_none() {
            let owed = self.slots.iter_mut().filter_map(ChunkSlot::owed_turn);
            let Some(turns) = owed.reduce(|_, turns| turns) else { return Poll::Ready(()) };
            self.turn = Some(Box::pin(async move { turns.next().await }));
        }
        if let Some(turn) = self.turn.as_mut() {
            ready!(turn.as_mut().poll(cx));
            self.turn = None;
        }
        Poll::Ready(())
    }

    /// Passes bytes through the filters, each receiving the result of the one before.
    fn show(&mut self, mut octets: Bytes, last: bool) -> Result<Bytes, BodyError> {
        for filter in &mut self.slots {
            match filter.show(octets, last) {
                Ok(ShownChunk::Pass(by)) => octets = by,
                // The head was sent: no answer is possible any more, and continuing would send what was
                // refused.
                Ok(ShownChunk::Answer(..)) => {
                    filter.slot.cells().inspect(|cells| cells.denied());
                    let why = "it refused the rest of the response".to_owned();
                    self.end = Some(EarlyEnd::by(&filter.slot, why));
                    return Err(BodyError::Ended("a filter refused the rest of the response"));
                }
                Ok(ShownChunk::NoRoom) => {
                    self.end = Some(EarlyEnd::without_room());
                    return Err(BodyError::Ended("there is no room for what a filter holds"));
                }
                Err(fault) => {
                    let why = format!("in a chunk of the response: {fault}");
                    self.end = Some(EarlyEnd::by(&filter.slot, why));
                    return Err(BodyError::Ended("a filter failed"));
                }
            }
        }
        Ok(octets)
    }
}

impl ResponseBody {
    /// The next frame after all hooks.
    fn poll_leaving(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self;
        if let Some(deadline) = this.deadline.as_mut()
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.ended(Outcome::TIMED_OUT);
            return Poll::Ready(Some(Err(BodyError::Ended("the exchange ran out of time"))));
        }
        loop {
            if let Some(hooks) = this.hooks.as_mut()
                && let Some(trailers) = hooks.trailers.take()
                && let Some(trailers) = this.held.keep(trailers, &this.watching)
            {
                let trailers = this.leaving(trailers).inspect_err(|_| this.broken());
                return Poll::Ready(Some(trailers));
            }
            if let Some(trailers) = ready!(this.held.poll(cx)) {
                let trailers = this.leaving(trailers).inspect_err(|_| this.broken());
                return Poll::Ready(Some(trailers));
            }
            let frame = ready!(this.poll_next(cx));
            let frame = frame.map(|frame| frame.map(|frame| this.cleaned(frame)));
            let frame = match (frame, this.hooks.as_mut()) {
                (Some(Ok(frame)), Some(hooks)) => match frame.into_data() {
                    Ok(data) => hooks.show(data, false).map(Frame::data),
                    Err(trailers) => {
                        hooks.closed = true;
                        hooks.trailers = Some(trailers);
                        hooks.show(Bytes::new(), true).map(Frame::data)
                    }
                },
                (None, Some(hooks)) if !hooks.closed => {
                    hooks.closed = true;
                    hooks.show(Bytes::new(), true).map(Frame::data)
                }
                (Some(frame), _) => frame,
                (None, _) => return Poll::Ready(None),
            };
            match frame {
                // A filter swallowed the chunk.
                Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Ok(frame) => {
                    let Some(frame) = this.held.keep(frame, &this.watching) else { continue };
                    let frame = this.leaving(frame).inspect_err(|_| this.broken());
                    return Poll::Ready(Some(frame));
                }
                Err(error) => {
                    if tamis_upstream::is_broken_by(&error)
                        && let Some(state) = this.state.as_mut()
                    {
                        state.broke_protocol(tamis_transport::causes(&error));
                    }
                    this.broken();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl ResponseBody {
    /// The next frame behind the encoder, if there is one.
    fn poll_encoded(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(mut encoding) = self.encoding.take() else { return self.poll_leaving(cx) };
        let frame = encoding.poll_frame(cx, |cx| self.poll_leaving(cx));
        self.encoding = Some(encoding);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let sent = frame.data_ref().map_or(0, Bytes::len);
                self.state.iter_mut().for_each(|state| state.bytes_out += sent as u64);
            }
            // An error of the body itself has ended the exchange already.
            Poll::Ready(Some(Err(error))) => {
                if let Some(state) = self.state.as_mut() {
                    state.detail = Some(tamis_transport::causes(error));
                }
                self.broken();
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(piece) = this.web.as_mut().and_then(|web| web.next_piece()) {
            return Poll::Ready(Some(Ok(piece)));
        }
        let frame = ready!(this.poll_encoded(cx));
        if frame.is_none() {
            this.ended(Outcome::default());
        }
        Poll::Ready(match (frame, this.web.as_mut()) {
            (Some(Ok(frame)), Some(web)) => Some(web.part(frame).inspect_err(|error| {
                if let Some(state) = this.state.as_mut() {
                    state.broke_protocol(error.to_string());
                }
                this.broken();
            })),
            (frame, _) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        let web = self.web.as_ref().is_none_or(|web| web.is_done());
        let encoded = self.encoding.as_ref().is_none_or(|encoding| encoding.is_done());
        web && encoded && self.hooks.is_none() && self.held.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let as_it_came = self.hooks.is_none() && self.web.is_none() && !self.is_encoded;
        if as_it_came { self.inner.size_hint() } else { SizeHint::default() }
    }
}

/// How long a client may take nothing of a response for which others wait: it holds a connection of a crowded endpoint.
const PAUSE_WHILE_OTHERS_WAIT: Duration = Duration::from_secs(1);
/// How long a client may take nothing of a response in any case, and of one of gRPC, whose clients may take messages when they
/// are ready for them.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const GRPC_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// What an upstream may send of a response over HTTP/2 that nobody reads: the window of its stream, and what there is to keep of
/// a stream. Of one over HTTP/1 the socket holds it.
const UNREAD_BYTES: u64 = 280 * 1024;

impl ResponseBody {
    /// Whether there is room for what its client does not take; asked for only once.
    fn has_room_unread(&mut self) -> bool {
        let Some(state) = self.state.as_ref().filter(|state| state.comes_over_http2()) else {
            return true;
        };
        if self.unread.is_none() {
            self.unread = state.body_room().take(UNREAD_BYTES).ok().map(Box::new);
        }
        self.unread.is_some()
    }
}

impl ServedBody for ResponseBody {
    fn may_wait(mut self: Pin<&mut Self>, waited: Duration) -> bool {
        let has_room = self.has_room_unread();
        let Some(state) = self.state.as_mut() else { return waited < PAUSE_MAX };
        let most = match is_grpc(&state.exchange.headers) {
            true => GRPC_PAUSE_MAX,
            false => PAUSE_MAX,
        };
        let others_wait = waited >= PAUSE_WHILE_OTHERS_WAIT && state.endpoint_is_crowded();
        if waited < most && !others_wait && has_room {
            return true;
        }
        let seconds = waited.as_secs();
        let why = match (others_wait, has_room) {
            (true, _) => ", while others waited for its connection",
            (false, false) => ", and had its share of the room for responses that nobody reads",
            (false, true) => "",
        };
        state.reason = Some("response.unread".into());
        state.detail =
            Some(format!("the client took nothing of the response for {seconds} s{why}"));
        self.ended(Outcome::CLIENT_GONE);
        false
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A connection does not poll a body that says it has ended.
        let whole = self.is_end_stream();
        self.ended(if whole { Outcome::default() } else { Outcome::CLIENT_GONE });
    }
}
