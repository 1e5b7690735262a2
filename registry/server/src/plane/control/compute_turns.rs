//! Turns for computations on other threads: what follows from many documents takes seconds, and nobody else waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tamis_api::ApiProblem;
use tamis_director::{Plans, State};

use crate::plane::control::Control;
use crate::plane::problem::problem;
use crate::plane::rights::AuthorizedCaller;
use crate::shares::{Place, Shares};

/// Computations of one size that may run at once; [`Shares`] says who gets them.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(30);

/// A snapshot of the state and of the plans that were known then; reading it takes no lock.
pub(crate) struct StateCopy {
    pub(crate) state: Arc<State>,
    pub(crate) plans: Plans,
}

/// How much a computation is about, apart from what is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// A pin, or documents of at most [`SMALL_BYTES`].
    Small,
    /// More.
    Large,
}

/// Bytes of the documents of a small change: a computation about them takes a moment.
pub(crate) const SMALL_BYTES: usize = 128 << 10;

impl Size {
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes <= SMALL_BYTES { Self::Small } else { Self::Large }
    }
}

/// The turns of computations. Small ones have places of their own: they do not wait for large ones.
pub(super) struct Turns {
    small: Shares,
    large: Shares,
}

impl Default for Turns {
    fn default() -> Self {
        Self { small: Shares::new(AT_ONCE), large: Shares::new(AT_ONCE) }
    }
}

/// A turn to compute. It lasts as long as a computation in it, also when nobody waits for the result any more.
#[derive(Clone)]
pub(crate) struct Turn {
    _place: Arc<Place>,
}

/// Where a computation takes its turn.
#[derive(Clone, Copy)]
pub(crate) enum ComputingPlace<'a> {
    /// It waits for one of the caller.
    Own(&'a AuthorizedCaller, Size),
    /// In a turn that the caller has: whoever holds the writer waits for nobody.
    In(&'a Turn),
}

impl<'a> From<&'a AuthorizedCaller> for ComputingPlace<'a> {
    fn from(holder: &'a AuthorizedCaller) -> Self {
        Self::Own(holder, Size::Small)
    }
}

impl ComputingPlace<'_> {
    /// The same for a computation of that size.
    pub(crate) fn sized(self, size: Size) -> Self {
        match self {
            Self::Own(holder, _) => Self::Own(holder, size),
            Self::In(turn) => Self::In(turn),
        }
    }
}

/// Whether somebody still waits for a computation.
pub(crate) struct CallerPresence(Weak<()>);

impl CallerPresence {
    /// Ends a computation between two of its steps when nobody waits for its result any more.
    ///
    /// # Errors
    /// [`ApiProblem`], which nobody sees.
    pub(crate) fn check_caller(&self) -> Result<(), ApiProblem> {
        if self.0.strong_count() > 0 {
            return Ok(());
        }
        Err(problem(503, "busy", "the caller left before it was computed"))
    }
}

impl Control {
    /// A turn of a caller. All tokens of one owner have one share: whoever makes tokens makes no more turns.
    ///
    /// # Errors
    /// [`ApiProblem`] when none comes in time, or the caller's token ended meanwhile: nothing is computed for it.
    pub(crate) async fn turn(
        &self,
        holder: &AuthorizedCaller,
        size: Size,
    ) -> Result<Turn, ApiProblem> {
        let Turns { small, large } = &self.0.computing;
        let places = match size {
            Size::Small => small,
            Size::Large => large,
        };
        let turn = turn_of(places, &self.0.store.owner(holder.actor())).await?;
        self.must_still_hold(holder.into()).await?;
        Ok(turn)
    }

    /// A turn of the director, which decides about rollouts by itself.
    ///
    /// # Errors
    /// [`ApiProblem`] when none comes in time.
    pub(crate) async fn turn_of_director(&self) -> Result<Turn, ApiProblem> {
        // The turns of callers have the names of their tokens, and no token has this name.
        turn_of(&self.0.computing.small, "director").await
    }

    /// A turn in a place.
    ///
    /// # Errors
    /// As for [`Control::turn`].
    pub(crate) async fn turn_in(&self, place: ComputingPlace<'_>) -> Result<Turn, ApiProblem> {
        match place {
            ComputingPlace::Own(holder, size) => self.turn(holder, size).await,
            ComputingPlace::In(turn) => Ok(turn.clone()),
        }
    }

    /// Computes on another thread.
    ///
    /// # Errors
    /// [`ApiProblem`] when the computation panics.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        turn: Turn,
        compute: impl FnOnce(&CallerPresence) -> T + Send + 'static,
    ) -> Result<T, ApiProblem> {
        // This value is dropped with the future, when the caller leaves.
        let asks = Arc::new(());
        let caller = CallerPresence(Arc::downgrade(&asks));
        let compute = move || {
            let value = compute(&caller);
            drop(turn);
            value
        };
        let computed = tokio::task::spawn_blocking(compute).await;
        drop(asks);
        computed.map_err(|_| problem(500, "internal", "the computation failed; the log shows why"))
    }

    /// The same for what follows from the state. What is found out about proxies is known to all afterwards.
    pub(crate) async fn compute_on_state<T: Send + 'static>(
        &self,
        turn: Turn,
        compute: impl FnOnce(&Self, &mut StateCopy, &CallerPresence) -> T + Send + 'static,
    ) -> Result<T, ApiProblem> {
        let (control, mut copy) = (self.clone(), self.copy());
        let compute = move |caller: &CallerPresence| {
            let value = compute(&control, &mut copy, caller);
            control.plans().learn(copy.plans);
            value
        };
        self.compute(turn, compute).await
    }

    fn copy(&self) -> StateCopy {
        let state = self.state();
        StateCopy { state: state.director(), plans: self.plans().clone() }
    }
}

async fn turn_of(places: &Shares, owner: &str) -> Result<Turn, ApiProblem> {
    let place = tokio::time::timeout(TURN, places.place(owner)).await;
    let place = place.map_err(|_| {
        let title =
            "the registry is already computing as many changes as it may, for this owner or in all";
        let remedy = Some("try again".to_owned());
        ApiProblem { remedy, ..problem(503, "busy", title) }
    })?;
    Ok(Turn { _place: Arc::new(place) })
}

#[cfg(test)]
mod tests;
