//! The instances of a filter in one worker.

use super::long_calls::{CallDuration, LongCallTurns};
use super::question::Question;
use std::cell::RefCell;
use tamis_engine::{CallFault, Filter, Instance};
use tamis_exchange::View;

/// Spare instances for calls that may wait, for each filter of a worker.
const SPARE_MAX: usize = 16;

/// A filter's instances in this worker; shared by generations that have the same filter.
pub(super) struct Instances {
    pub(super) filter: Filter,
    direct: RefCell<Instance>,
    spare: RefCell<Vec<Instance>>,
    /// Of calls that do not wait.
    duration: CallDuration,
}

impl Instances {
    pub(super) fn new(filter: &Filter, turns: LongCallTurns) -> Self {
        Self {
            filter: filter.clone(),
            direct: RefCell::new(filter.instance()),
            spare: RefCell::default(),
            duration: CallDuration::new(turns),
        }
    }

    /// Calls a hook that does not wait.
    pub(super) fn call<R>(
        &self,
        hook: impl FnOnce(&mut Instance) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        self.check_trust()?;
        let since = self.duration.begin();
        let answer = hook(&mut self.direct.borrow_mut());
        self.duration.end(since);
        answer
    }

    /// An exchange keeps its filters to its end, which may be far away: one that is not trusted any more is not asked.
    fn check_trust(&self) -> Result<(), CallFault> {
        if self.filter.has_ended() {
            return Err(CallFault::Instantiate("the filter is not trusted any more".to_owned()));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn take_calls_as_long(&self) {
        self.duration.take_as_long();
    }

    /// Whether calls that do not wait take long.
    pub(super) fn are_calls_long(&self) -> bool {
        self.duration.is_long()
    }

    /// How many instances failed that had been called without waiting.
    pub(super) fn failures(&self) -> u64 {
        self.direct.borrow().failures()
    }

    /// Calls a hook that may wait for the requests it sends.
    pub(super) async fn call_waiting<Q: Question>(
        &self,
        question: &Q,
        view: &View,
    ) -> Result<Q::Answer, CallFault> {
        self.check_trust()?;
        let _place = self.filter.wait()?;
        let spare = self.spare.borrow_mut().pop();
        let mut instance = spare.unwrap_or_else(|| self.filter.instance());
        let answer = question.put_waiting(&mut instance, view).await;
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(instance);
        }
        answer
    }
}
