use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fixture::{
    JWT, ROUTE, World, applied, checked, digest, entry, gateway, guard_of, name, pinned, rollout,
    service, unpinned,
};
use crate::record::{AssignmentRecord, RevocationRecord, RevocationTarget};
use crate::refused::code;
use crate::rollout::{Event, ShadowSpec};
use tamis_trust::AssignmentMode;

const SLOT: &str = "shop/a-jwt";

fn versions(world: &World) -> BTreeMap<(String, String), u64> {
    let all = world.state.assigned();
    all.map(|one| ((one.service.clone(), one.slot.clone()), one.version)).collect()
}

#[test]
fn every_slot_of_a_mesh_is_assigned_once() {
    let mut world = World::mesh();
    assert_eq!(world.assign(), 3 * 3 + 1);
    assert_eq!(world.assign(), 0);
    world.is_well();
    let slots: Vec<(String, String)> = versions(&world).into_keys().collect();
    let of = |service: &str, slot: &str| (service.to_owned(), slot.to_owned());
    assert_eq!(slots[0], of("shop/a", "shop/a-jwt"));
    assert_eq!(slots[1], of("shop/a", "shop/route/inbound"));
    assert_eq!(slots[2], of("shop/a", "shop/route/outbound"));
    assert_eq!(slots[9], of("shop/edge", "shop/route"));
    let kept = assign(&world.state, "shop/a", world.now(), &AssignmentTerms::default());
    assert_eq!((kept.kept, kept.drafts.len(), kept.refused.len()), (3, 0, 0));
}

#[test]
fn a_pin_moves_its_slots_and_no_others() {
    let mut world = World::mesh();
    world.assign();
    let before = versions(&world);
    world.append("ada", pinned("shop/a", JWT, "1.1.0"));
    assert_eq!(world.assign(), 1);
    for (slot, version) in versions(&world) {
        if slot.1 == SLOT {
            assert!(version > before[&slot]);
        } else {
            assert_eq!(version, before[&slot], "{slot:?}");
        }
    }
}

#[test]
fn going_back_to_an_older_digest_is_a_higher_assignment() {
    let mut world = World::mesh();
    world.assign();
    let first = world.assigned("sidecar:shop/a/0", SLOT).unwrap();
    world.append("ada", pinned("*", JWT, "1.1.0"));
    world.assign();
    let second = world.assigned("sidecar:shop/a/0", SLOT).unwrap();
    let back = world.state.rollback("*", &JWT.parse().unwrap()).unwrap();
    world.append("ada", back);
    world.assign();
    let third = world.assigned("sidecar:shop/a/0", SLOT).unwrap();
    assert_eq!((first.0, second.0), (third.0, digest(JWT, "1.1.0")));
    assert!(first.1 < second.1 && second.1 < third.1);
}

#[test]
fn an_assignment_is_made_anew_when_half_of_its_life_is_over() {
    let mut world = World::mesh();
    let terms = AssignmentTerms::default();
    world.assign();
    world.now_ms += (terms.lifetime - terms.renew - 1) * 1_000;
    assert_eq!(world.assign(), 0);
    world.now_ms += 1_000;
    assert_eq!(world.assign(), 10);
    world.now_ms += terms.lifetime * 1_000;
    let now = world.now();
    let wants = world.plans.node(&world.state, &name("sidecar:shop/a/0"), now);
    assert!(wants.assigned.is_empty());
    assert_eq!(wants.missing.len(), 3);
}

#[test]
fn terms_that_make_no_sense_assign_nothing_twice() {
    for (lifetime, renew) in [(0, 0), (1, 9), (10, 10), (10, u64::MAX), (u64::MAX, 0)] {
        let mut world = World::mesh();
        let terms = AssignmentTerms { lifetime, renew };
        let (now, drafts) = (world.now(), world.plans.drafts(&world.state, world.now(), &terms));
        assert_eq!(drafts.len(), 10);
        for draft in drafts {
            world.append("director", draft.record(Vec::new()));
        }
        assert!(world.plans.drafts(&world.state, now, &terms).is_empty(), "{lifetime} {renew}");
    }
}

/// A rollout of the authorizer in its first wave, and the nodes out of a hundred that it moves.
fn half_way() -> World {
    let mut world = World::mesh();
    world.append("ada", applied([service("shop/a", 40)]));
    world.assign();
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    world.step("r", Event::Advance);
    world.assign();
    world
}

fn running(world: &mut World, version: &str) -> usize {
    let nodes = (0..40).map(|at| format!("sidecar:shop/a/{at}"));
    let assigned = nodes.filter_map(|node| world.assigned(&node, SLOT));
    assigned.filter(|(found, _)| *found == digest(JWT, version)).count()
}

#[test]
fn a_wave_lifts_its_nodes_and_the_others_stay() {
    let mut world = half_way();
    let moved = world.state.cohort("r").unwrap();
    let new = running(&mut world, "1.1.0");
    assert!((10..30).contains(&new), "{new}");
    assert_eq!(running(&mut world, "1.0.0"), 40 - new);
    // 40 sidecars of one service, two of each of the two others, a gateway.
    assert_eq!((moved.moved, moved.rest), (23, 22));
    assert_eq!(world.assign(), 0);
}

#[test]
fn the_kill_switch_leads_all_nodes_back_with_a_higher_assignment() {
    let mut world = half_way();
    let nodes: Vec<String> = (0..40).map(|at| format!("sidecar:shop/a/{at}")).collect();
    let before: Vec<_> = nodes.iter().map(|node| world.assigned(node, SLOT).unwrap()).collect();
    world.step("r", Event::Kill);
    world.assign();
    for (node, (was, version)) in nodes.iter().zip(before) {
        let (now, higher) = world.assigned(node, SLOT).unwrap();
        assert_eq!(now, digest(JWT, "1.0.0"));
        assert!(higher > version || was == now, "{node}");
    }
}

#[test]
fn a_node_is_lifted_only_above_what_the_others_just_got() {
    let mut world = half_way();
    world.now_ms += AssignmentTerms::default().renew * 1_000;
    let drafts = world.plans.drafts(&world.state, world.now(), &AssignmentTerms::default());
    // Written in parts: the wave grows when only the others have their new assignment.
    let base = drafts.into_iter().find(|it| it.slot == SLOT && it.rollout.is_none()).unwrap();
    world.append("director", base.record(Vec::new()));
    let lifted = world.state.rollouts()["r"].moved.clone();
    let mut nodes = (0..40).map(|at| format!("sidecar:shop/a/{at}"));
    let stays = |node: &String| !lifted.contains(node);
    let node = nodes.find(stays).unwrap();
    let (_, had) = world.assigned(&node, SLOT).unwrap();
    world.step("r", Event::Advance);
    assert_eq!(world.assigned(&node, SLOT), None);
    world.assign();
    let (lifted, version) = world.assigned(&node, SLOT).unwrap();
    assert_eq!(lifted, digest(JWT, "1.1.0"));
    assert!(version > had);
}

#[test]
fn a_shadow_has_a_slot_of_its_own_whose_verdicts_do_not_count() {
    let mut world = World::mesh();
    let mut spec = rollout("r", JWT, "1.0.0", "1.1.0");
    spec.shadow = Some(ShadowSpec { min_samples: 10, max_differences: 0 });
    world.start(checked(spec));
    world.assign();
    let now = world.now();
    let wants = world.plans.node(&world.state, &name("sidecar:shop/a/0"), now);
    let shadow = wants.assigned["shop/a-jwt~shadow"];
    assert_eq!((shadow.digest, shadow.mode), (digest(JWT, "1.1.0"), AssignmentMode::Shadow));
    assert_eq!(wants.assigned[SLOT].digest, digest(JWT, "1.0.0"));
    assert_eq!(wants.assigned[SLOT].config, shadow.config);
    world.step("r", Event::Passed);
    let wants = world.plans.node(&world.state, &name("sidecar:shop/a/0"), now);
    assert!(!wants.assigned.contains_key("shop/a-jwt~shadow"));
}

#[test]
fn a_revoked_pin_takes_its_slot_from_every_node_and_leaves_the_lifted_ones() {
    let mut world = half_way();
    let new = running(&mut world, "1.1.0");
    let what = RevocationTarget::Digest { digest: digest(JWT, "1.0.0") };
    world.append("ada", RevocationRecord { what, reason: "stolen".to_owned(), now: true });
    assert_eq!(running(&mut world, "1.0.0"), 0);
    assert_eq!(running(&mut world, "1.1.0"), new);
    // The configuration of the lifted ones can still change.
    world.append("ada", applied([guard_of("shop/a", "https://other.example")]));
    world.assign();
    assert_eq!(running(&mut world, "1.1.0"), new);
    let refused = assign(&world.state, "shop/a", world.now(), &AssignmentTerms::default()).refused;
    assert_eq!((refused[0].0.as_str(), &*refused[0].1.code), (SLOT, code::PIN_REVOKED));
}

#[test]
fn what_is_not_pinned_is_refused_and_blocks_no_other_slot() {
    let mut world = World::mesh();
    world.append("ada", unpinned("*", JWT));
    assert_eq!(world.assign(), 7);
    let out = assign(&world.state, "shop/a", world.now(), &AssignmentTerms::default());
    assert_eq!((out.refused[0].0.as_str(), &*out.refused[0].1.code), (SLOT, code::SLOT_REFUSED));
    assert!(out.refused[0].1.rule.contains("pin.missing"), "{}", out.refused[0].1.rule);
}

#[test]
fn proxies_of_one_name_that_want_different_things_in_a_slot_get_nothing_in_it() {
    let mut world = World::mesh();
    world.append("ada", applied([gateway("shop/a")]));
    let spec = serde_json::json!({
        "targetRefs": [{ "kind": "Service", "name": "a" }, { "kind": "Gateway", "name": "a" }],
        "filter": ROUTE, "phase": "traffic", "order": 20, "direction": "inbound",
    });
    let removed = vec!["FilterAttachment/shop/route".to_owned()];
    let documents = vec![crate::fixture::document("FilterAttachment", "shop/both", &spec)];
    world.append("ada", crate::record::ApplyRecord { removed, documents, ..Default::default() });
    let out = assign(&world.state, "shop/a", world.now(), &AssignmentTerms::default());
    let refused: Vec<_> = out.refused.iter().map(|(slot, it)| (slot.as_str(), &*it.code)).collect();
    assert_eq!(refused, [("shop/both", code::AMBIGUOUS)]);
    assert!(out.drafts.iter().all(|draft| draft.slot != "shop/both"));
    for node in ["gateway:shop/a", "sidecar:shop/a/0"] {
        let wants = world.plans.node(&world.state, &name(node), 0);
        assert_eq!(wants.refused["shop/both"].code, code::AMBIGUOUS, "{node}");
        assert!(!wants.missing.contains(&"shop/both".to_owned()));
        assert_eq!(wants, crate::node_wants::for_node(&world.state, &name(node), 0));
    }
}

#[test]
fn a_version_at_the_end_of_numbers_breaks_nothing() {
    let mut world = World::mesh();
    let drafts = assign(&world.state, "shop/a", world.now(), &AssignmentTerms::default()).drafts;
    let last = AssignmentRecord { version: u64::MAX, ..drafts[0].clone().record(Vec::new()) };
    world.append("eve", AssignmentRecord { config: digest("other", "1"), ..last });
    world.assign();
    assert_eq!(world.state.faults().1, 1);
    assert!(world.assigned("sidecar:shop/a/0", "shop/route/inbound").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_node_is_ever_led_back_or_given_what_is_revoked(
        entries in prop::collection::vec((entry(), any::<bool>(), 0u64..200_000), 1..40),
    ) {
        let mut world = World::mesh();
        let mut had: BTreeMap<(String, String), AssignmentRecord> = BTreeMap::new();
        for (entry, assigned, later_s) in entries {
            world.now_ms += later_s * 1_000;
            world.raw(&entry.actor, &entry.kind, entry.body);
            let drafts = if assigned {
                world.plans.drafts(&world.state, world.now(), &AssignmentTerms::default())
            } else {
                Vec::new()
            };
            // Nodes look at any moment, also between two of the assignments.
            for draft in drafts.into_iter().map(Some).chain([None]) {
                if let Some(draft) = draft {
                    world.append("director", draft.record(vec![String::new()]));
                }
                let now = world.now();
                for node in world.state.nodes() {
                    let wants = world.plans.node(&world.state, &node, now);
                    for (slot, one) in wants.assigned {
                        prop_assert!(!world.state.revoked_digests().contains_key(&one.digest));
                        prop_assert!(one.expires > now);
                        let key = (node.to_string(), slot);
                        if let Some(before) = had.get(&key) {
                            let same = before == one;
                            prop_assert!(same || one.version > before.version, "{key:?}");
                        }
                        had.insert(key, one.clone());
                    }
                }
            }
        }
        let faults = world.state.faults().0;
        prop_assert!(faults.iter().all(|fault| fault.kind != "assigned"), "{faults:?}");
    }
}

#[test]
fn a_journal_that_lost_its_end_assigns_above_all_that_was_seen_once_somebody_agrees() {
    let node = "sidecar:shop/a/0";
    let mut lost = World::mesh();
    lost.assign();
    let backup = lost.entries.len();
    for version in ["1.1.0", "1.2.0"] {
        lost.append("ada", pinned("*", JWT, version));
        lost.assign();
    }
    // Somebody agreed before; the backup does not contain it.
    for agreed in [0, 1, 3] {
        for _ in 0..agreed {
            let body = lost.state.reassign("*", "so").unwrap();
            lost.append("ada", body);
            lost.assign();
        }
        let (_, seen) = lost.assigned(node, SLOT).unwrap();
        let mut restored = World::empty();
        for entry in &lost.entries[..backup] {
            restored.raw(&entry.actor, &entry.kind, entry.body.clone());
        }
        assert!(restored.assigned(node, SLOT).unwrap().1 < seen);
        restored.append("proxies", crate::fixture::report(node, &[(SLOT, JWT, "1.2.0", seen, 0)]));
        let body = restored.state.reassign("*", "restored").unwrap();
        restored.append("ada", body);
        assert_eq!(restored.assigned(node, SLOT), None, "what was assigned counts no more");
        assert!(restored.assign() > 0);
        restored.is_well();
        let (now, version) = restored.assigned(node, SLOT).unwrap();
        assert_eq!(now, digest(JWT, "1.0.0"), "what is wanted stays what it was");
        assert!(version > seen, "{version} {seen}");
        assert_eq!(tamis_trust::epoch(version), tamis_trust::epoch(seen) + 1);
        assert_eq!(restored.assign(), 0, "once");
    }
}

#[test]
fn an_epoch_of_one_service_is_no_others_and_one_of_nobody_is_refused() {
    let mut world = World::mesh();
    world.assign();
    let (a, b) = ("sidecar:shop/a/0", "sidecar:shop/b/0");
    let before = world.assigned(b, "shop/b-jwt");
    let body = world.state.reassign("shop/a", "so").unwrap();
    world.append("ada", body);
    world.assign();
    assert_eq!(tamis_trust::epoch(world.assigned(a, SLOT).unwrap().1), 1);
    assert_eq!(world.assigned(b, "shop/b-jwt"), before);
    // Then all: above the highest of them.
    let body = world.state.reassign("*", "so").unwrap();
    world.append("ada", body);
    world.assign();
    for (node, slot) in [(a, SLOT), (b, "shop/b-jwt")] {
        assert_eq!(tamis_trust::epoch(world.assigned(node, slot).unwrap().1), 2, "{node}");
    }
    let refused = world.state.reassign("shop/nobody", "so").unwrap_err();
    assert_eq!(refused.code, code::REASSIGN_SERVICE);
    // A proxy that reports a version that was never assigned uses up no epochs.
    let absurd = crate::fixture::report(a, &[(SLOT, JWT, "1.0.0", u64::MAX, 0)]);
    world.append("proxies", absurd);
    let body = world.state.reassign("*", "so").unwrap();
    world.append("ada", body);
    world.assign();
    assert_eq!(tamis_trust::epoch(world.assigned(a, SLOT).unwrap().1), 3);
    world.is_well();
}
