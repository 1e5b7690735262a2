use proptest::prelude::*;

use super::*;
use crate::assign::AssignmentTerms;
use crate::assign::assign;
use crate::fixture::{
    JWT, World, applied, checked, document, entry, guard_of, name, pinned, rollout, service,
};
use crate::node_wants::{NodeWants, for_node};
use crate::rollout::Event;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_remembered_is_what_would_be_folded(
        entries in prop::collection::vec((entry(), any::<bool>()), 1..25),
    ) {
        let mut world = World::mesh();
        let terms = AssignmentTerms::default();
        // What another thread computes with, which comes back when more has happened.
        let mut copy: Option<Plans> = None;
        for (entry, look) in entries {
            world.raw(&entry.actor, &entry.kind, entry.body);
            if !look {
                continue;
            }
            if let Some(copy) = copy.take() {
                world.plans.learn(copy);
            }
            let (state, now) = (&world.state, world.now());
            let naive: Vec<_> =
                state.services().iter().flat_map(|one| assign(state, one, now, &terms).drafts).collect();
            prop_assert_eq!(world.plans.drafts(state, now, &terms), naive);
            let mut other = world.plans.clone();
            for node in state.nodes() {
                let plan = other.node_plan(state, &node);
                prop_assert!(other.knows(state, &node));
                prop_assert_eq!(plan, for_node(state, &node, now).plan);
                prop_assert_eq!(world.plans.node(state, &node, now), for_node(state, &node, now));
            }
            copy = Some(other);
            world.assign();
        }
    }
}

#[test]
fn what_a_copy_found_out_is_known_unless_it_is_about_other_documents() {
    let mut world = World::mesh();
    let node = name("sidecar:shop/a/0");
    world.plans.node_plan(&world.state, &name("sidecar:shop/b/0"));
    for (changed, known) in [(false, true), (true, false)] {
        let mut copy = world.plans.clone();
        copy.node_plan(&world.state, &node);
        if changed {
            world.append("ada", applied([service("shop/c", 1)]));
            world.plans.node_plan(&world.state, &name("sidecar:shop/b/0"));
        }
        assert!(!world.plans.nodes.contains_key(&node));
        world.plans.learn(copy);
        assert_eq!(world.plans.nodes.contains_key(&node), known);
        world.plans.nodes.remove(&node);
    }
}

#[test]
fn a_name_that_no_document_has_costs_no_memory() {
    let mut world = World::mesh();
    for node in ["sidecar:shop/a/7", "sidecar:shop/nobody", "gateway:shop/a", "sidecar:shop/edge"] {
        let wants = world.plans.node(&world.state, &name(node), 0);
        assert_eq!(wants, NodeWants::default());
    }
    assert!(world.plans.nodes.is_empty());
}

#[test]
fn a_pin_of_one_service_leaves_the_plans_of_others_where_they_are() {
    let mut world = World::mesh();
    let plan = |world: &mut World, node: &str| {
        let now = world.now();
        world.plans.node(&world.state, &name(node), now).plan.unwrap()
    };
    let (a, b) = (plan(&mut world, "sidecar:shop/a/0"), plan(&mut world, "sidecar:shop/b/0"));
    world.append("ada", pinned("shop/a", JWT, "1.1.0"));
    let (new_a, new_b) =
        (plan(&mut world, "sidecar:shop/a/0"), plan(&mut world, "sidecar:shop/b/0"));
    assert!(Arc::ptr_eq(&b, &new_b));
    assert_ne!(a, new_a);
    let jwt = new_a.filters.iter().find(|one| one.filter == JWT).unwrap();
    assert_eq!(jwt.version, "1.1.0");
}

#[test]
fn the_state_of_before_is_answered_rightly_too() {
    let mut world = World::mesh();
    let before = world.state.clone();
    world.append("ada", applied([service("shop/a", 1)]));
    world.append("ada", pinned("*", JWT, "1.1.0"));
    let node = name("sidecar:shop/b/1");
    for state in [&world.state, &before, &world.state] {
        assert_eq!(world.plans.node(state, &node, 7), for_node(state, &node, 7));
    }
}

#[test]
fn a_condition_holds_when_it_holds_for_every_proxy() {
    let mut world = World::mesh();
    let well = world.plans.everything(&world.state);
    assert_eq!((well.statuses.len(), well.problems.len()), (12, 0));
    world.append("ada", crate::fixture::unpinned("*", JWT));
    world.append("ada", pinned("shop/a", JWT, "1.0.0"));
    let folded = world.plans.everything(&world.state);
    let holds = |name: &str| {
        let one = folded.statuses.iter().find(|one| one.name == name).unwrap();
        one.conditions.iter().all(|condition| condition.status)
    };
    assert!(!holds("b-jwt") && holds("route"));
    let missing = |one: &&Problem| one.code == "pin.missing";
    assert!(folded.problems.iter().filter(missing).count() >= 2);
    assert!(Arc::ptr_eq(&folded, &world.plans.everything(&world.state)));
}

#[test]
fn conditions_follow_pins_that_come_after_the_documents_and_go() {
    type Pins = fn(&mut World);
    let all: Pins = |world| world.append("ada", pinned("*", JWT, "1.0.0"));
    let one: Pins = |world| world.append("ada", pinned("shop/a", JWT, "1.0.0"));
    let others: Pins = |world| {
        for service in ["shop/b", "shop/c"] {
            world.append("ada", pinned(service, JWT, "1.0.0"));
        }
    };
    let none: Pins = |world| world.append("ada", crate::fixture::unpinned("*", JWT));
    let rows: [(&str, &[(Pins, bool)]); 4] = [
        ("for all, later", &[(all, true)]),
        ("for one, then the others", &[(one, false), (others, true)]),
        ("for the others, then one", &[(others, false), (one, true)]),
        ("for all, gone, back", &[(all, true), (none, false), (all, true)]),
    ];
    for (what, steps) in rows {
        for look_between in [true, false] {
            let mut world = World::mesh();
            world.append("ada", crate::fixture::unpinned("*", JWT));
            let well = |world: &mut World| {
                let folded = world.plans.everything(&world.state);
                folded.statuses.iter().flat_map(|one| &one.conditions).all(|one| one.status)
            };
            if look_between {
                assert!(!well(&mut world), "{what}");
            }
            for (pins, wanted) in steps {
                pins(&mut world);
                if look_between {
                    assert_eq!(well(&mut world), *wanted, "{what}");
                }
            }
            assert_eq!(Some(well(&mut world)), steps.last().map(|step| step.1), "{what}");
        }
    }
}

#[test]
fn documents_without_a_proxy_have_statuses_too() {
    let mut world = World::empty();
    let spec = serde_json::json!({ "world": "authorizer" });
    world.append("ada", applied([document("Filter", JWT, &spec), guard_of("shop/a", "x")]));
    let folded = world.plans.everything(&world.state);
    assert_eq!(folded.statuses.len(), 2);
    assert!(folded.problems.iter().any(|one| one.code == "attachment.target"));
}

#[test]
fn a_wave_repins_and_folds_nothing() {
    let mut world = World::mesh();
    world.assign();
    let parsed = world.plans.documents;
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    for _ in 0..3 {
        world.step("r", Event::Advance);
        world.assign();
    }
    assert_eq!(world.plans.documents, parsed);
    let now = world.now();
    for node in world.state.nodes() {
        assert_eq!(world.plans.node(&world.state, &node, now), for_node(&world.state, &node, now));
    }
}
