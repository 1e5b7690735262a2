//! Checks that a chain has at most one router, one retry policy, and so on, whatever worlds their filters claim.

use crate::build::BuiltAttachment;
use crate::refusal_text::by_proxy;
use std::collections::BTreeSet;
use tamis_engine::Hook;
use tamis_proxy::{SlotOccupant, SlotState};
use tamis_resources::plan::{FilterPlan, NodePlan, OnFailure, Phase, World};

/// Hooks of which a chain has at most one, with the worlds that are for them.
const ALONE: [(Hook, World); 5] = [
    (Hook::Router, World::RoutePolicy),
    (Hook::Retry, World::RetryPolicy),
    (Hook::CircuitBreaker, World::BreakerPolicy),
    (Hook::Hedge, World::HedgePolicy),
    (Hook::Balancer, World::BalancePolicy),
];

/// A chain has room for one router, and for one filter of each of the other hooks in [`ALONE`]. The filter whose world is
/// exactly that hook keeps the place, also from one of the world `everything` that has the hook too. If no filter or
/// several have that world, all of them are refused.
pub(crate) fn one_of_each(
    plan: &NodePlan,
    mut built: Vec<BuiltAttachment>,
) -> Vec<BuiltAttachment> {
    // Whoever loses to one that stays is left out; where none stays, all are refused.
    let mut lost: BTreeSet<(usize, bool)> = BTreeSet::new();
    for listener in &plan.listeners {
        for ((hook, world), extend) in ALONE.into_iter().flat_map(|one| [(one, false), (one, true)])
        {
            let members: Vec<usize> = listener
                .chain
                .attachments
                .iter()
                .copied()
                .filter(|at| plan.filters.get(*at).is_some_and(|one| one.extend == extend))
                .filter(|at| built.get(*at).is_some_and(|one| has(one, hook)))
                .collect();
            let of = |at: &usize| {
                plan.filters.get(*at).and_then(|one: &std::sync::Arc<FilterPlan>| one.world)
            };
            let own: Vec<usize> =
                members.iter().copied().filter(|at| of(at) == Some(world)).collect();
            if members.len() > 1 {
                let stays = own.len() == 1;
                let others = members.into_iter().filter(|at| own.as_slice() != [*at]);
                lost.extend(others.map(|at| (at, stays)));
            }
        }
    }
    for (at, stays) in lost {
        if let Some(one) = built.get_mut(at) {
            refuse(one, stays);
        }
    }
    built
}

fn has(one: &BuiltAttachment, hook: Hook) -> bool {
    match one.attached.as_ref().map(|attached| &attached.occupant) {
        Some(SlotOccupant::Running(filter)) => filter.has(hook),
        Some(SlotOccupant::Refused(_)) | None => false,
    }
}

fn refuse(one: &mut BuiltAttachment, stays: bool) {
    let rule = "a chain has one router, retry policy, circuit breaker, hedge and balancer, and this would be another";
    let remedy = "set `world` of its Filter to the hook that it is for, or detach the other filter";
    let refusal = by_proxy("attachment.second", rule, remedy);
    one.status.state = SlotState::Refused(refusal.clone());
    one.status.detail = Some(refusal.sentence());
    one.running = None;
    let guards = |phase| matches!(phase, Phase::Authn | Phase::Authz);
    let closed = one
        .attached
        .as_ref()
        .is_some_and(|it| it.failure == OnFailure::Closed && (!stays || guards(it.phase)));
    if !closed {
        one.attached = None;
    } else if let Some(attached) = &mut one.attached {
        attached.occupant = SlotOccupant::Refused(refusal);
        attached.shadow = None;
    }
}
