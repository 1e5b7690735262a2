use tamis_sync::{
    CallCounts, ComparisonReport, DifferenceReport, NodeReport, RefusedReport, SlotReport,
    SlotStatistics,
};
use tamis_trust::Digest;

use crate::fixture::{JWT, World, applied, checked, digest, refusal, report, rollout, service};
use crate::rollout::{Cohort, Event, Judgement, RolloutTally, ShadowSpec};

const SLOT: &str = "shop/a-jwt";

/// A rollout in its second wave over forty sidecars; a node that it moves and one that it leaves.
fn half_way() -> (World, String, String) {
    let mut world = World::mesh();
    world.append("ada", applied([service("shop/a", 40)]));
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    world.step("r", Event::Advance);
    let of_a = |node: &&String| node.starts_with("sidecar:shop/a/");
    let all = &world.state.rollouts()["r"].moved;
    let moved = all.iter().find(of_a).unwrap().clone();
    let mut nodes = (0..40).map(|at| format!("sidecar:shop/a/{at}"));
    let stays = nodes.find(|node| !all.contains(node)).unwrap();
    (world, moved, stays)
}

fn counted(node: &str, slot: &str, of: Digest, exchanges: u64, traps: u64) -> NodeReport {
    let counts = CallCounts { exchanges, traps, ..CallCounts::default() };
    let statistics = vec![SlotStatistics { slot: slot.to_owned(), digest: of, counts }];
    NodeReport { statistics, ..report(node, &[]) }
}

fn tally(world: &World) -> &RolloutTally {
    &world.state.rollouts()["r"].tally
}

fn moved(world: &World) -> Vec<String> {
    world.state.rollouts()["r"].moved.iter().cloned().collect()
}

#[test]
fn each_wave_moves_at_least_one_and_at_most_its_share_rounded_up_on_fleets_of_any_size() {
    for sidecars in [1, 2, 3, 4, 10, 40] {
        let mut world = World::mesh();
        world.append("ada", applied([service("shop/a", sidecars)]));
        let mut spec = rollout("r", JWT, "1.0.0", "1.1.0");
        spec.services = vec!["shop/a".to_owned()];
        world.start(checked(spec));
        for percent in [10, 50, 100] {
            let wanted = (sidecars * percent).div_ceil(100);
            assert_eq!(moved(&world).len(), wanted, "{percent} % of {sidecars}");
            let rest = sidecars - wanted;
            assert_eq!(world.state.cohort("r"), Some(Cohort { moved: wanted, rest }));
            world.step("r", Event::Advance);
        }
        // When done it reports what it moved.
        assert_eq!(world.state.cohort("r"), Some(Cohort { moved: sidecars, rest: 0 }));
    }
}

#[test]
fn what_is_moved_stays_moved_when_other_nodes_come_and_go() {
    let (mut world, _, _) = half_way();
    let before = moved(&world);
    // Fewer nodes than are moved: no node returns. Then more: the share is filled up.
    for sidecars in [20, 80, 40] {
        world.append("ada", applied([service("shop/a", sidecars)]));
        let now = moved(&world);
        assert!(before.iter().all(|node| now.contains(node)), "{sidecars}");
        let Cohort { moved, rest } = world.state.cohort("r").unwrap();
        assert!(moved >= (moved + rest).div_ceil(2), "{sidecars}: {moved} {rest}");
    }
}

#[test]
fn only_moved_nodes_count_for_the_candidate() {
    let (mut world, moved, stays) = half_way();
    let (from, to) = (digest(JWT, "1.0.0"), digest(JWT, "1.1.0"));
    world.append("proxies", counted(&moved, SLOT, to, 7, 0));
    world.append("proxies", counted(&stays, SLOT, to, 100, 100));
    world.append("proxies", counted(&stays, SLOT, from, 5, 0));
    world.append("proxies", counted(&moved, "shop/a-jwt~shadow", to, 100, 100));
    world.append("proxies", counted(&moved, SLOT, digest(JWT, "3.0.0"), 100, 100));
    assert_eq!((tally(&world).candidate.exchanges, tally(&world).candidate.traps), (7, 0));
    assert_eq!(tally(&world).current.exchanges, 5);
}

#[test]
fn a_step_begins_with_an_empty_tally_of_the_candidate() {
    let (mut world, moved, stays) = half_way();
    world.append("proxies", counted(&moved, SLOT, digest(JWT, "1.1.0"), 7, 1));
    world.append("proxies", counted(&stays, SLOT, digest(JWT, "1.0.0"), 5, 0));
    world.step("r", Event::Advance);
    assert_eq!(tally(&world).candidate, CallCounts::default());
    assert_eq!(tally(&world).current.exchanges, 5);
}

#[test]
fn a_slot_that_refuses_the_candidate_is_counted_once() {
    let (mut world, moved, _) = half_way();
    let refused = RefusedReport { digest: digest(JWT, "1.1.0"), why: refusal("trust.key") };
    let slot = SlotReport {
        slot: SLOT.to_owned(),
        filter: JWT.parse().unwrap(),
        running: None,
        refused: Some(refused),
    };
    for _ in 0..3 {
        let slots = vec![slot.clone()];
        world.append("proxies", NodeReport { slots, ..report(&moved, &[]) });
    }
    assert_eq!(
        tally(&world).refusals,
        [(format!("{moved} {SLOT}"), "trust.key: ".to_owned())].into()
    );
}

#[test]
fn the_gates_judge_what_was_reported() {
    let (mut world, moved, _) = half_way();
    let judged = |world: &World| world.state.judge("r", world.now_ms).unwrap();
    assert!(matches!(judged(&world), Judgement::Baking { .. }));
    world.append("proxies", counted(&moved, SLOT, digest(JWT, "1.1.0"), 20, 1));
    world.now_ms += 1_000;
    assert!(matches!(judged(&world), Judgement::Passed { .. }));
    world.append("proxies", counted(&moved, SLOT, digest(JWT, "1.1.0"), 20, 19));
    assert!(matches!(judged(&world), Judgement::Breached { .. }));
    assert!(world.state.judge("nobody", 0).is_none());
}

#[test]
fn a_shadow_counts_differences_of_the_candidate_alone() {
    let mut world = World::mesh();
    let mut spec = rollout("r", JWT, "1.0.0", "1.1.0");
    spec.shadow = Some(ShadowSpec { min_samples: 10, max_differences: 0 });
    world.start(checked(spec));
    let differs = DifferenceReport { count: 1, examples: vec!["deny".to_owned()] };
    for version in ["1.1.0", "1.0.0"] {
        let shadows = vec![ComparisonReport {
            slot: SLOT.to_owned(),
            digest: digest(JWT, version),
            samples: 9,
            differences: [("verdict".to_owned(), differs.clone())].into(),
        }];
        world.append("proxies", NodeReport { shadows, ..report("sidecar:shop/a/0", &[]) });
    }
    assert_eq!((tally(&world).differences.samples, tally(&world).differences.count()), (9, 1));
    let judged = world.state.judge("r", world.now_ms);
    assert!(matches!(judged, Some(Judgement::Breached { .. })));
}

#[test]
fn what_comes_after_the_end_counts_no_more() {
    let (mut world, moved, _) = half_way();
    world.step("r", Event::Abort);
    let before = tally(&world).clone();
    world.append("proxies", counted(&moved, SLOT, digest(JWT, "1.1.0"), 7, 7));
    assert_eq!(*tally(&world), before);
}
