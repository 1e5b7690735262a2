//! The effect of a change before it is made.

use tamis_director::{Change, ChangeEffect, State};

use crate::plane::control::Control;

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
    /// The effect of a change on the current state; `None` when it cannot be made at all.
    pub(crate) fn planned_change(&self, change: &Change) -> Option<PlannedChange> {
        let state = self.state();
        let effect = self.plans().effect(&state, change).ok()?;
        Some(PlannedChange { decided: state.decided(), effect })
    }
}
