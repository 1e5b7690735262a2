//! The effect of a change before it is made.

use tamis_api::ApiProblem;
use tamis_director::{Change, ChangeEffect, State};

use crate::plane::control::Control;
use crate::plane::control::compute_turns::{Size, StateCopy, Waiting};
use crate::plane::rights::AuthorizedCaller;

/// A change that can be made, as far as rules about its effect allow it.
pub(crate) struct PlannedChange {
    /// The last decision in the journal when it was computed.
    decided: u64,
    pub(super) effect: ChangeEffect,
}

impl PlannedChange {
    /// Whether nothing was decided since: then the effect is still the same.
    pub(super) fn holds_in(&self, state: &State) -> bool {
        self.decided == state.decided()
    }
}

impl Control {
    /// The effect of a change of a caller on the current state; `None` when it cannot be made at all.
    ///
    /// # Errors
    /// [`ApiProblem`] when too many changes are computed at once.
    pub(crate) async fn planned_change(
        &self,
        holder: &AuthorizedCaller,
        change: &Change,
    ) -> Result<Option<PlannedChange>, ApiProblem> {
        let (turn, change) = (self.turn(holder, Size::Small).await?, change.clone());
        let planned = move |_: &Self, StateCopy { state, plans }: &mut StateCopy, _: &Waiting| {
            let effect = plans.effect(state, &change).ok()?;
            Some(PlannedChange { decided: state.decided(), effect })
        };
        self.compute_on_state(turn, planned).await
    }
}
