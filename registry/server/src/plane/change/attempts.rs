//! Attempts of a change that is checked while others write.
//!
//! What was checked holds as long as nothing else is decided. So a change that others overtake is checked again, and after
//! [`ATTEMPTS`] times the others wait: nobody is kept from a change by people who make small ones all the time. They wait for
//! [`LONGEST`] at most, whatever the change has to read and compute.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tamis_api::ApiProblem;
use tokio::time::Instant;

use crate::plane::control::Control;
use crate::plane::control::commit::{AloneTurn, WriteTurn};
use crate::plane::control::compute_turns::{ComputingPlace, Size};
use crate::plane::control::precedence::{Decision, LONGEST};
use crate::plane::problem::{journal, problem};
use crate::plane::rights::AuthorizedCaller;

/// How often a change is checked while others write.
pub(crate) const ATTEMPTS: usize = 2;
/// How often it is checked while nobody else writes in this process; other replicas may.
const ALONE: usize = 5;

/// A change that is checked while others write.
pub(crate) trait AttemptedChange: Sync {
    /// What was found about it. It holds as long as nothing else is decided.
    type Check: Send;
    /// What became of it.
    type Done: Send;

    /// Reads and computes what it is about, on the state of now, in that place.
    fn check(
        &self,
        place: ComputingPlace<'_>,
    ) -> impl Future<Output = Result<Self::Check, ApiProblem>> + Send;

    /// Writes it in the turn of the attempt; `None`: something else was decided since it was checked.
    fn decide(
        &self,
        check: Self::Check,
        turn: WriteTurn<'_>,
    ) -> impl Future<Output = Result<Option<Self::Done>, ApiProblem>> + Send;
}

/// The attempts of a change of a caller.
pub(crate) struct Attempts<'a> {
    holder: &'a AuthorizedCaller,
    /// It waits for no large change of another.
    is_urgent: bool,
    made: usize,
    left: TimeLeft,
}

/// How long others still wait for the attempts of a change, all together.
#[derive(Clone)]
struct TimeLeft(Arc<Mutex<Duration>>);

/// One of them.
struct Attempt<'a> {
    holder: &'a AuthorizedCaller,
    is_urgent: bool,
    /// Where everybody else waits for it: the turns to compute and to write.
    alone: Option<AloneTurn<'a>>,
    /// What a large change of another waits for while this is alone.
    decision: Option<Decision<'a>>,
    left: TimeLeft,
}

impl TimeLeft {
    fn whole() -> Self {
        Self(Arc::new(Mutex::new(LONGEST)))
    }

    fn now(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spend(&self, time: Duration) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(time);
    }
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(holder: &'a AuthorizedCaller) -> Self {
        Self { holder, is_urgent: false, made: 0, left: TimeLeft::whole() }
    }

    /// Those of a change that waits for no large change of another.
    pub(crate) fn urgent(holder: &'a AuthorizedCaller) -> Self {
        Self { holder, is_urgent: true, made: 0, left: TimeLeft::whole() }
    }

    /// Makes them until one is written.
    ///
    /// # Errors
    /// [`ApiProblem`] of the change; or when others overtook all attempts, there is no turn for one, or its check takes too long.
    pub(crate) async fn run<C: AttemptedChange>(
        mut self,
        control: &'a Control,
        change: &C,
    ) -> Result<C::Done, ApiProblem> {
        loop {
            let attempt = self.next(control).await?;
            let checked = attempt.within(change.check(attempt.place())).await?;
            let turn = attempt.into_turn(control).await;
            if let Some(done) = change.decide(checked, turn).await? {
                return Ok(done);
            }
        }
    }

    /// The next one.
    ///
    /// # Errors
    /// [`ApiProblem`] when others overtook all of them, or there is no turn for it.
    async fn next(&mut self, control: &'a Control) -> Result<Attempt<'a>, ApiProblem> {
        let (holder, is_urgent, left) = (self.holder, self.is_urgent, self.left.clone());
        self.made = self.made.saturating_add(1);
        if self.made <= ATTEMPTS {
            return Ok(Attempt { holder, is_urgent, alone: None, decision: None, left });
        }
        if self.made > ATTEMPTS.saturating_add(ALONE) {
            return Err(overtaken());
        }
        // First: whoever writes waits for nobody.
        let decision = if is_urgent { None } else { Some(control.decision().await) };
        let computing = control.turn(holder, Size::Small).await?;
        let writer = control.writer(holder.actor()).await;
        drop(writer.fresh().await.map_err(|error| journal(&error))?);
        let alone = Some(AloneTurn { computing, writer });
        Ok(Attempt { holder, is_urgent, alone, decision, left })
    }
}

impl<'a> Attempt<'a> {
    /// Where it is computed.
    fn place(&self) -> ComputingPlace<'_> {
        match &self.alone {
            None => ComputingPlace::Own(self.holder, Size::Small),
            Some(turn) => ComputingPlace::In(&turn.computing),
        }
    }

    /// Reads and computes what it is about; where others wait for it, no longer than they do for all attempts of this change.
    ///
    /// # Errors
    /// [`ApiProblem`] of `check`, or when it takes too long.
    async fn within<T>(
        &self,
        check: impl Future<Output = Result<T, ApiProblem>>,
    ) -> Result<T, ApiProblem> {
        if self.alone.is_none() {
            return check.await;
        }
        let began = Instant::now();
        let checked = tokio::time::timeout(self.left.now(), check).await;
        self.left.spend(began.elapsed());
        checked.map_err(|_| too_long())?
    }

    /// Ends it: the turn to write.
    async fn into_turn(self, control: &'a Control) -> WriteTurn<'a> {
        let decision = match self.decision {
            None if !self.is_urgent => Some(control.decision().await),
            held => held,
        };
        WriteTurn { alone: self.alone, decision }
    }
}

fn overtaken() -> ApiProblem {
    let title = "others changed something each time this change was computed; nothing was changed";
    ApiProblem { remedy: Some("try again".to_owned()), ..problem(503, "busy", title) }
}

/// A change whose artifacts or computations take longer than others may have to wait.
pub(super) fn too_long() -> ApiProblem {
    let title = "others change something each time this change is computed, and what it needs cannot be read and computed while \
                 they wait; nothing was changed";
    ApiProblem { remedy: Some("try again".to_owned()), ..problem(503, "busy", title) }
}

#[cfg(test)]
mod tests;
