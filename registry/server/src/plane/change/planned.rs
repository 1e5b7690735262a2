//! What follows from a change before it is made: its effect, and the configurations of the filter that it pins.

use tamis_api::ApiProblem;
use tamis_director::{Change, ChangeEffect, Plans, State};
use tamis_trust::Name;

use crate::plane::control::Control;
use crate::plane::control::compute_turns::{Size, StateCopy, Waiting};
use crate::plane::rights::AuthorizedCaller;

/// A change as it was computed.
pub(crate) struct PlannedChange {
    /// The last decision in the journal when it was computed.
    decided: u64,
    /// `None` when it cannot be made at all.
    pub(super) effect: Option<ChangeEffect>,
    /// The configurations of the filter where it runs now; see [`Control::planned_change`].
    pub(super) configs: Vec<String>,
}

impl PlannedChange {
    /// The effect, if nothing was decided since it was computed: then it is still the same.
    pub(super) fn effect_in(&self, state: &State) -> Option<&ChangeEffect> {
        self.effect.as_ref().filter(|_| self.decided == state.decided())
    }
}

impl Control {
    /// The effect of a change of a caller on the current state, which pins a filter in a service or removes its pin (for all
    /// services: `*`), and the configurations of that filter there.
    ///
    /// # Errors
    /// [`ApiProblem`] when too many changes are computed at once.
    pub(crate) async fn planned_change(
        &self,
        holder: &AuthorizedCaller,
        change: &Change,
        (service, filter): (&str, &Name),
    ) -> Result<PlannedChange, ApiProblem> {
        let (turn, change) = (self.turn(holder, Size::Small).await?, change.clone());
        let (service, filter) = (service.to_owned(), filter.clone());
        let planned = move |_: &Self, StateCopy { state, plans }: &mut StateCopy, _: &Waiting| {
            let configs = configurations(state, plans, &service, &filter);
            let effect = plans.effect(state, &change).ok();
            PlannedChange { decided: state.decided(), effect, configs }
        };
        self.compute_on_state(turn, planned).await
    }

    /// The configurations of a filter in a service (for all services: `*`).
    ///
    /// # Errors
    /// [`ApiProblem`] when too many changes are computed at once.
    pub(crate) async fn configurations_of(
        &self,
        holder: &AuthorizedCaller,
        (service, filter): (&str, &Name),
    ) -> Result<Vec<String>, ApiProblem> {
        let turn = self.turn(holder, Size::Small).await?;
        let (service, filter) = (service.to_owned(), filter.clone());
        let found = move |_: &Self, StateCopy { state, plans }: &mut StateCopy, _: &Waiting| {
            configurations(state, plans, &service, &filter)
        };
        self.compute_on_state(turn, found).await
    }
}

/// The configurations of a filter in the proxies of a service (of all services for `*`), each once.
fn configurations(state: &State, plans: &mut Plans, service: &str, filter: &Name) -> Vec<String> {
    let mut configs: Vec<String> = Vec::new();
    for node in state.nodes() {
        if service != "*" && node.key() != service {
            continue;
        }
        let Some(plan) = plans.node_plan(state, &node) else { continue };
        for one in plan.filters.iter().filter(|one| one.filter == filter.as_str()) {
            let config = one.config.to_string();
            if !configs.contains(&config) {
                configs.push(config);
            }
        }
    }
    if configs.is_empty() {
        configs.push("{}".to_owned());
    }
    configs
}
