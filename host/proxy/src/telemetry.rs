//! What telemetry filters receive: summaries of exchanges in batches, and the names behind their numbers.

use crate::names::Names;
use crate::slot::Slot;
use std::cell::RefCell;
use std::rc::Rc;
use tamis_engine::CallFault;
use tamis_exchange::{NONE, NameKind, Summary};
use tokio::sync::Notify;

/// Summaries sent in one call (contract: 64 or 100 ms, whichever comes first).
const BATCH: usize = 64;

/// The pending summaries of one chain, and their receivers.
pub(crate) struct Telemetry {
    slots: Vec<Rc<Slot>>,
    /// The telemetry slots of all chains: each receives every name, whichever chain it serves.
    all: Rc<[Rc<Slot>]>,
    /// One numbering for all generations of a worker: a telemetry filter may live through several.
    names: Rc<RefCell<Names>>,
    batch: RefCell<Vec<Summary>>,
    /// Notified by the first summary of a batch.
    pending: Rc<Notify>,
}

impl Telemetry {
    pub(crate) fn new(
        slots: Vec<Rc<Slot>>,
        all: Rc<[Rc<Slot>]>,
        names: Rc<RefCell<Names>>,
    ) -> Self {
        Self { slots, all, names, batch: RefCell::default(), pending: Rc::default() }
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

    /// The interned number of a name in summaries and in calls of other filters.
    pub(crate) fn intern(&self, kind: NameKind, name: Option<&str>) -> u32 {
        name.map_or(NONE, |name| self.names.borrow_mut().intern(kind, name))
    }

    /// Adds an exchange that ended.
    pub(crate) fn add(&self, summary: Summary) {
        let full = {
            let mut batch = self.batch.borrow_mut();
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

    /// Sends the pending summaries.
    pub(crate) fn flush(&self) {
        let batch = self.batch.take();
        if batch.is_empty() {
            return;
        }
        let news = self.names.borrow_mut().unsent();
        if !news.is_empty() {
            for slot in &*self.all {
                for (kind, first, names) in &news {
                    self.check(slot, slot.call(|i| i.on_names(*kind, *first, names)));
                }
            }
        }
        for slot in &self.slots {
            self.check(slot, slot.call(|instance| instance.on_exchanges(&batch)));
        }
    }

    /// A fault of a telemetry filter loses its batch and makes it forget the names.
    fn check(&self, slot: &Slot, answer: Result<(), CallFault>) {
        if let Err(fault) = answer {
            self.names.borrow_mut().forget_sent();
            let (attachment, kind) = (slot.name(), fault.kind());
            tracing::warn!(attachment, kind, "a telemetry filter failed: {fault}");
        }
    }
}

/// The last exchanges of a generation end after its worker has left it.
impl Drop for Telemetry {
    fn drop(&mut self) {
        self.flush();
    }
}
