//! Ends of exchanges that a filter whose calls take long is shown in a turn of their own.

use super::Slot;
use crate::chain::Chain;
use std::rc::Rc;
use tamis_exchange::{Exchange, ExchangeEnding};

/// An exchange that ended, until the last of its filters has seen that.
pub(crate) struct EndedExchange {
    pub(crate) exchange: Exchange,
    pub(crate) ending: ExchangeEnding,
    pub(crate) chain: Rc<Chain>,
}

impl Drop for EndedExchange {
    fn drop(&mut self) {
        self.chain.end(self.exchange.id);
    }
}

impl Slot {
    /// [`Self::finished`] in a turn of its own, after the exchange. A filter that is too far behind is not shown the end, which
    /// counts as a fault.
    pub(crate) fn finished_later(self: &Rc<Self>, ended: &Rc<EndedExchange>) {
        let Some(running) = &self.running else { return };
        if let Err(fault) = running.instances.add_end() {
            running.cells.faulted(&fault);
            let (attachment, exchange) = (self.name(), ended.exchange.id);
            tracing::debug!(attachment, exchange, %fault, "a filter is not shown an end");
            return;
        }
        let (slot, ended) = (Rc::clone(self), Rc::clone(ended));
        self.long_calls.later(Box::new(move || {
            slot.running.iter().for_each(|running| running.instances.take_end());
            slot.finished(&ended.exchange, &ended.ending);
        }));
    }
}
