//! A filter that decides about trailers, when they arrive after a body.

use super::Slot;
use super::question::fill;
use http::HeaderMap;
use std::rc::Rc;
use tamis_engine::CallFault;
use tamis_exchange::{Exchange, HeadSide, View};

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
