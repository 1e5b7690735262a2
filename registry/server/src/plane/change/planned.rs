//! What follows from a change before it is made: its effect, and the configurations of the filter that it pins.

use std::collections::BTreeSet;

use tamis_api::ApiProblem;
use tamis_director::{Change, ChangeEffect, PinRecord, Plans, State};
use tamis_trust::Name;

use crate::plane::control::Control;
use crate::plane::control::compute_turns::{CallerPresence, ComputingPlace, StateCopy};

/// A change as it was computed. It holds as long as nothing else is decided.
pub(crate) struct PlannedChange {
    /// What the change does; `None` when it cannot be made at all.
    pub(super) effect: Option<ChangeEffect>,
    /// The configurations of the filter where it runs now; see [`Control::planned_change`].
    pub(super) configs: Vec<String>,
}

impl Control {
    /// The effect of a change on the current state, which pins a filter in a service or removes its pin (for all
    /// services: `*`), and the configurations of that filter there.
    ///
    /// # Errors
    /// [`ApiProblem`] when too many changes are computed at once.
    pub(crate) async fn planned_change(
        &self,
        place: impl Into<ComputingPlace<'_>>,
        change: &Change,
        (service, filter): (&str, &Name),
    ) -> Result<PlannedChange, ApiProblem> {
        let (turn, change) = (self.turn_in(place.into()).await?, change.clone());
        let (service, filter) = (service.to_owned(), filter.clone());
        let planned =
            move |_: &Self, StateCopy { state, plans }: &mut StateCopy, _: &CallerPresence| {
                let configs = configurations(state, plans, &[service], &filter);
                PlannedChange { effect: plans.effect(state, &change).ok(), configs }
            };
        self.compute_on_state(turn, planned).await
    }

    /// The effect of all these pins together, and the configurations of the filter that they pin in their services.
    ///
    /// # Errors
    /// [`ApiProblem`] when too many changes are computed at once.
    pub(crate) async fn planned_pins(
        &self,
        place: impl Into<ComputingPlace<'_>>,
        pins: Vec<PinRecord>,
        filter: &Name,
    ) -> Result<PlannedChange, ApiProblem> {
        let (turn, filter) = (self.turn_in(place.into()).await?, filter.clone());
        let planned =
            move |_: &Self, StateCopy { state, plans }: &mut StateCopy, _: &CallerPresence| {
                let services: Vec<String> = pins.iter().map(|pin| pin.service.clone()).collect();
                let configs = configurations(state, plans, &services, &filter);
                PlannedChange { effect: Some(plans.effect_of_pins(state, &pins)), configs }
            };
        self.compute_on_state(turn, planned).await
    }
}

/// The configurations of a filter in the proxies of these services (of all services for `*`), each once.
fn configurations(
    state: &State,
    plans: &mut Plans,
    services: &[String],
    filter: &Name,
) -> Vec<String> {
    let services: BTreeSet<&str> = services.iter().map(String::as_str).collect();
    let mut configs = BTreeSet::new();
    for node in state.nodes() {
        if !services.contains("*") && !services.contains(node.key()) {
            continue;
        }
        let Some(plan) = plans.node_plan(state, &node) else { continue };
        let here = plan.filters.iter().filter(|one| one.filter == filter.as_str());
        configs.extend(here.map(|one| one.config.to_string()));
    }
    if configs.is_empty() {
        configs.insert("{}".to_owned());
    }
    configs.into_iter().collect()
}
