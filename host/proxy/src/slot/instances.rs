//! The instances of a filter in one worker.

use std::cell::{Cell, RefCell};
use tamis_engine::{CallFault, Filter, Instance};
use tamis_exchange::{Decision, View};

/// Spare instances for calls that may wait, for each filter of a worker.
const SPARE_MAX: usize = 16;
/// Calls of one filter that may wait at once on a worker.
const WAITING_MAX: usize = 64;

/// A filter's instances in this worker; shared by generations that have the same filter.
pub(super) struct Instances {
    pub(super) filter: Filter,
    direct: RefCell<Instance>,
    spare: RefCell<Vec<Instance>>,
    waiting: Cell<usize>,
}

impl Instances {
    pub(super) fn new(filter: &Filter) -> Self {
        Self {
            filter: filter.clone(),
            direct: RefCell::new(filter.instance()),
            spare: RefCell::default(),
            waiting: Cell::new(0),
        }
    }

    /// Calls a hook that does not wait.
    pub(super) fn call<R>(
        &self,
        hook: impl FnOnce(&mut Instance) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        hook(&mut self.direct.borrow_mut())
    }

    /// Calls a request hook that may wait for the requests it sends.
    pub(super) async fn request_waiting(&self, view: &View) -> Result<Decision, CallFault> {
        if self.waiting.get() >= WAITING_MAX {
            return Err(CallFault::Instantiate("too many of its calls are waiting".to_owned()));
        }
        self.waiting.set(self.waiting.get() + 1);
        let _done = WaitingCall(&self.waiting);
        let spare = self.spare.borrow_mut().pop();
        let mut instance = spare.unwrap_or_else(|| self.filter.instance());
        let decision = instance.on_request_async(view).await;
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(instance);
        }
        decision
    }
}

/// A call that waits; counted until it ends, however it does.
struct WaitingCall<'a>(&'a Cell<usize>);

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
