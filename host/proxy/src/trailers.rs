//! Trailers and the filters that decide about them, when they arrive after a body.

use crate::chunk_end::{ChunkEnd, ChunkStop};
use crate::slot::Slot;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tamis_engine::CallFault;
use tamis_exchange::{Body, BodyError, Exchange, HeadSide, View};

/// A filter that sees the trailers of one message.
pub(crate) struct TrailerSlot {
    pub(crate) slot: Rc<Slot>,
    side: HeadSide,
    /// The fields of the head that it declared, as they were when the body began.
    view: View,
}

impl TrailerSlot {
    /// Those of `slots` that take part in exchanges of `rule`, in their order.
    pub(crate) fn of(
        slots: &[Rc<Slot>],
        rule: Option<&str>,
        side: HeadSide,
        exchange: &Exchange,
    ) -> Vec<Self> {
        let slots = slots.iter().filter(|slot| slot.is_for(rule));
        let viewing = slots.map(|slot| {
            let mut view = View::default();
            if let Some(filter) = slot.filter() {
                match side {
                    HeadSide::Request => view.fill_request(filter.reads(), exchange),
                    HeadSide::Response => view.fill_response(filter.reads(), exchange),
                }
            }
            Self { slot: Rc::clone(slot), side, view }
        });
        viewing.collect()
    }

    /// Shows the trailers, and changes them as the filter decides. Returns the rule behind its decision.
    ///
    /// # Errors
    /// The call failed, or its answer breaks the contract, and the failure mode refuses the exchange.
    pub(crate) fn show(&mut self, trailers: &mut HeaderMap) -> Result<Option<String>, CallFault> {
        if let Some(filter) = self.slot.filter() {
            self.view.add_trailers(filter.reads(), trailers);
        }
        self.slot.ask_trailers(self.side, &self.view, trailers)
    }
}

/// Adds the trailers that the filters of `slots` write to those that a head names. A head that names none has
/// nothing that it could state too late.
pub(crate) fn announce(slots: &[TrailerSlot], headers: &mut HeaderMap) {
    let Some(named) = headers.get(header::TRAILER) else { return };
    let filters = slots.iter().filter_map(|one| one.slot.filter());
    let written = filters.flat_map(|filter| filter.writes().trailers()).filter(|name| *name != "*");
    let mut names = named.as_bytes().to_vec();
    for name in written {
        names.extend_from_slice(b", ");
        names.extend_from_slice(name.as_bytes());
    }
    if let Ok(names) = HeaderValue::from_bytes(&names) {
        headers.insert(header::TRAILER, names);
    }
}

/// A request body whose trailers pass through filters.
pub(crate) struct WatchedBody {
    pub(crate) inner: Body,
    pub(crate) slots: Vec<TrailerSlot>,
    /// Where the end is noted if a filter causes one.
    pub(crate) end: ChunkEnd,
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
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.and_then(|frame| this.show(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
