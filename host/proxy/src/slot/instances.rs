//! The instances of a filter in one worker.

use super::call_duration::CallDuration;
use super::long_calls::LongCallTurns;
use super::question::Question;
use std::cell::{Cell, RefCell};
use tamis_engine::{CallFault, Filter, Instance};
use tamis_exchange::View;

/// Spare instances for calls that may wait, for each filter of a worker.
const SPARE_MAX: usize = 16;
/// Ends of exchanges that wait until a filter with long calls is shown them, for each filter of a worker.
const ENDS_MAX: usize = 256;

/// A filter's instances in this worker; shared by generations that have the same filter.
pub(super) struct Instances {
    pub(super) filter: Filter,
    direct: RefCell<Instance>,
    spare: RefCell<Vec<Instance>>,
    /// Of calls that do not wait.
    duration: CallDuration,
    /// Of calls that may wait, without their waiting.
    waiting: CallDuration,
    /// Ends of exchanges that it has not been shown yet.
    ends: Cell<usize>,
}

impl Instances {
    pub(super) fn new(filter: &Filter, turns: LongCallTurns) -> Self {
        Self {
            filter: filter.clone(),
            direct: RefCell::new(filter.instance()),
            spare: RefCell::default(),
            duration: CallDuration::new(turns.clone()),
            waiting: CallDuration::new(turns),
            ends: Cell::new(0),
        }
    }

    /// Calls a hook that does not wait.
    pub(super) fn call<R>(
        &self,
        hook: impl FnOnce(&mut Instance) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        self.check_trust()?;
        self.duration.measure(|| self.filter.epochs(), || hook(&mut self.direct.borrow_mut()))
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
        self.waiting.take_as_long();
    }

    /// Whether calls that do not wait take long.
    pub(super) fn are_calls_long(&self) -> bool {
        self.duration.is_long()
    }

    /// Whether calls that may wait take long, without their waiting.
    pub(super) fn are_waiting_calls_long(&self) -> bool {
        self.waiting.is_long()
    }

    /// Another end of an exchange waits for its turn.
    ///
    /// # Errors
    /// [`ENDS_MAX`] ends wait already.
    pub(super) fn add_end(&self) -> Result<(), CallFault> {
        let ends = self.ends.get();
        if ends >= ENDS_MAX {
            return Err(CallFault::Instantiate("too many of its calls are waiting".to_owned()));
        }
        self.ends.set(ends.saturating_add(1));
        Ok(())
    }

    /// One of them has its turn.
    pub(super) fn take_end(&self) {
        self.ends.set(self.ends.get().saturating_sub(1));
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
        // Before it takes its place among those that wait for answers.
        self.waiting.turn().await;
        let _place = self.filter.wait()?;
        let spare = self.spare.borrow_mut().pop();
        let mut instance = spare.unwrap_or_else(|| self.filter.instance());
        let answer = self.waiting.in_turns(question.put_waiting(&mut instance, view)).await;
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(instance);
        }
        answer
    }
}
