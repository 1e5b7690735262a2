//! A filter that decides about trailers, when they arrive after a body.

use super::Slot;
use super::question::fill;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tamis_engine::CallFault;
use tamis_exchange::{Exchange, HeadSide, View};

/// A filter that sees the trailers of one message.
pub(crate) struct TrailerSlot {
    pub(crate) slot: Rc<Slot>,
    side: HeadSide,
    /// The fields of the head that it declared, as they were when the body began.
    view: View,
}

/// Trailers that wait until filters whose calls take long have their turn.
#[derive(Default)]
pub(crate) struct HeldTrailers(Option<Box<WaitingTrailers>>);

struct WaitingTrailers {
    frame: Frame<Bytes>,
    turn: Pin<Box<dyn Future<Output = ()>>>,
}

impl HeldTrailers {
    /// Keeps the trailers of a body if one of the filters that see them has to wait for a turn; returns what need not wait.
    pub(crate) fn keep(
        &mut self,
        frame: Frame<Bytes>,
        slots: &[TrailerSlot],
    ) -> Option<Frame<Bytes>> {
        let long = slots.iter().find(|one| frame.is_trailers() && one.slot.waits_for_turns());
        let Some(turns) = long.map(|one| one.slot.turns()) else { return Some(frame) };
        let turn = Box::pin(async move { turns.next().await });
        self.0 = Some(Box::new(WaitingTrailers { frame, turn }));
        None
    }

    /// Whether none are kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Ready with them in their turn, or with nothing if none are kept.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if let Some(waiting) = self.0.as_mut() {
            ready!(waiting.turn.as_mut().poll(cx));
        }
        Poll::Ready(self.0.take().map(|waiting| waiting.frame))
    }
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
                fill(side, &mut view, filter.reads(), exchange);
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
            self.view.add_trailers(filter.reads(), trailers, self.side);
        }
        self.slot.ask_trailers(self.side, &self.view, trailers)
    }
}
