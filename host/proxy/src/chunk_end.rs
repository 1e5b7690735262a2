//! The end of an exchange in the middle of a body: at a chunk, or at the trailers.

use crate::body::no_room;
use crate::exchange::ExchangeState;
use crate::slot::Slot;
use crate::stop::{ExchangeStop, FilterAnswer};
use std::cell::RefCell;
use std::rc::Rc;
use tamis_engine::CallFault;

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
                let refusal = slot.failure(", in a part of the body", &fault);
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

    /// Notes the end.
    pub(crate) fn note(&self, stop: ChunkStop) {
        self.0.replace(Some(stop));
    }
}
