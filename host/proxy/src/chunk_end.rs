//! The end of an exchange in the middle of a body: at a chunk, or at the trailers.

use crate::body_budget::no_room;
use crate::exchange::ExchangeState;
use crate::slot::Slot;
use crate::stop::{ExchangeStop, FilterAnswer};
use std::cell::RefCell;
use std::rc::Rc;
use tamis_engine::CallFault;
use tamis_exchange::Outcome;

/// The slot that ended an exchange at a chunk or at the trailers, and how.
pub(crate) enum ChunkStop {
    /// The filter answered.
    Answered(FilterAnswer),
    /// Its call failed, and the failure mode refuses the exchange.
    Failed(Rc<Slot>, CallFault),
    /// There is no memory for what it holds.
    NoRoom,
}

impl ChunkStop {
    /// The end of the exchange.
    pub(crate) fn into_stop(self, state: &mut ExchangeState) -> ExchangeStop {
        match self {
            Self::Answered(answer) => ExchangeStop::Answered(answer),
            Self::Failed(slot, fault) => {
                let refusal = slot.failure(&fault);
                state.answered_by = Some(slot);
                refusal.into()
            }
            Self::NoRoom => no_room("request.no-room").into(),
        }
    }
}

/// Records the end of an exchange at a chunk.
#[derive(Clone, Default)]
pub(crate) struct ChunkEnd(Rc<RefCell<Option<ChunkStop>>>);

impl ChunkEnd {
    /// Checks whether a filter ended the exchange.
    ///
    /// # Errors
    /// A filter did.
    pub(crate) fn check(&self, state: &mut ExchangeState) -> Result<(), ExchangeStop> {
        self.take().map_or(Ok(()), |end| Err(end.into_stop(state)))
    }

    /// The end, if there was one.
    pub(crate) fn take(&self) -> Option<ChunkStop> {
        self.0.take()
    }

    /// Notes in the record what ended the request's body after the response began, which nothing can replace any more.
    pub(crate) fn record(&self, state: &mut ExchangeState) {
        let Some(stop) = self.take() else { return };
        match stop.into_stop(state) {
            ExchangeStop::Answered(FilterAnswer { slot, reply, reason }) => {
                state.outcome.insert(Outcome::REFUSED_BY_FILTER);
                state.calls.answered(slot.number, reply.status);
                state.answered_by = Some(slot);
                state.reason = reason.map(Into::into).or(state.reason.take());
                state.detail = Some("it refused the rest of the request".to_owned());
            }
            ExchangeStop::Refused(refusal) => {
                state.outcome.insert(Outcome::REFUSED_BY_FILTER);
                state.reason = Some(refusal.code.into());
                state.detail = Some(refusal.detail);
            }
            ExchangeStop::LastHop(_) => {}
        }
    }

    /// Notes the end.
    pub(crate) fn note(&self, stop: ChunkStop) {
        self.0.replace(Some(stop));
    }
}
