//! What telemetry filters receive: summaries of exchanges in batches, and the names behind their numbers.

use crate::names::NumberedNames;
use crate::slot::Slot;
use std::cell::RefCell;
use std::rc::Rc;
use tamis_engine::{CallFault, Contract, Filter};
use tamis_exchange::{Exchange, KeptFields, Summary, View};
use tokio::sync::Notify;

/// Summaries sent in one call (contract: 64 or 100 ms, whichever comes first).
const BATCH: usize = 64;

/// The pending summaries of one chain, and their receivers.
pub(crate) struct Telemetry {
    slots: Vec<Rc<Slot>>,
    /// The telemetry slots of all chains: each receives every name, whichever chain it serves.
    all: Rc<[Rc<Slot>]>,
    names: NumberedNames,
    batch: RefCell<Vec<Summary>>,
    /// What the exchanges of the batch had in the fields that each slot declares, in the order of the slots;
    /// empty if none declares any.
    kept: RefCell<Vec<KeptFields>>,
    /// Buffer for the view of one exchange.
    view: RefCell<View>,
    /// Notified by the first summary of a batch.
    pending: Rc<Notify>,
}

impl Telemetry {
    pub(crate) fn new(slots: Vec<Rc<Slot>>, all: Rc<[Rc<Slot>]>, names: NumberedNames) -> Self {
        let reads = |slot: &Rc<Slot>| slot.filter().is_some_and(reads_fields);
        let kept = if slots.iter().any(reads) { slots.len() } else { 0 };
        let kept = RefCell::new(vec![KeptFields::default(); kept]);
        let (batch, view, pending) = (RefCell::default(), RefCell::default(), Rc::default());
        Self { slots, all, names, batch, kept, view, pending }
    }

    /// The same, notifying `pending` when a batch begins, so that it is flushed in time.
    pub(crate) fn notifying(mut self, pending: Rc<Notify>) -> Self {
        self.pending = pending;
        self
    }

    /// The slots that receive summaries of this chain.
    pub(crate) fn slots(&self) -> &[Rc<Slot>] {
        &self.slots
    }

    /// Adds an exchange that ended.
    pub(crate) fn add(&self, summary: Summary, exchange: &Exchange) {
        let full = {
            let mut batch = self.batch.borrow_mut();
            self.keep(batch.len(), exchange);
            batch.push(summary);
            if batch.len() == 1 {
                self.pending.notify_one();
            }
            batch.len() >= BATCH
        };
        if full {
            self.flush();
        }
    }

    /// Keeps the declared fields of the exchange with that index in the batch.
    fn keep(&self, index: usize, exchange: &Exchange) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let mut view = self.view.borrow_mut();
        for (slot, kept) in self.slots.iter().zip(self.kept.borrow_mut().iter_mut()) {
            if let Some(filter) = slot.filter().filter(|filter| reads_fields(filter)) {
                view.fill_request(filter.reads(), exchange);
                kept.add(index, &view);
            }
        }
    }

    /// Sends the pending summaries.
    pub(crate) fn flush(&self) {
        let batch = self.batch.take();
        if batch.is_empty() {
            return;
        }
        let news = self.names.unsent();
        if !news.is_empty() {
            for slot in &*self.all {
                for (kind, first, names) in &news {
                    self.check(slot, slot.call(|i| i.on_names(*kind, *first, names)));
                }
            }
        }
        let mut kept = self.kept.take();
        for (number, slot) in self.slots.iter().enumerate() {
            let none = KeptFields::default();
            let kept = kept.get(number).unwrap_or(&none);
            self.check(slot, slot.call(|instance| instance.on_exchanges(&batch, kept)));
        }
        kept.iter_mut().for_each(|kept| {
            kept.octets.clear();
            kept.spans.clear();
        });
        self.kept.replace(kept);
    }

    /// A fault of a telemetry filter loses its batch and makes it forget the names.
    fn check(&self, slot: &Slot, answer: Result<(), CallFault>) {
        if let Err(fault) = answer {
            self.names.forget_sent();
            let (attachment, kind) = (slot.name(), fault.kind());
            tracing::warn!(attachment, kind, "a telemetry filter failed: {fault}");
        }
    }
}

/// Whether a telemetry filter declares fields that exchanges keep for it. One of contract 0.1 cannot receive them.
fn reads_fields(filter: &Filter) -> bool {
    !filter.reads().selectors().is_empty() && filter.contract() != Contract::V0_1
}

/// The last exchanges of a generation end after its worker has left it.
impl Drop for Telemetry {
    fn drop(&mut self) {
        self.flush();
    }
}
