use super::*;
use crate::fixture::{JWT, World, digest, name, refusal, report};
use tamis_sync::{NodeReport, RefusedReport, RunningReport};

const NODE: &str = "sidecar:shop/a/0";
const SLOT: &str = "shop/a-jwt";

/// The report of a node that runs everything assigned to it.
fn obedient(world: &mut World) -> NodeReport {
    let now = world.now();
    let wants = world.plans.node(&world.state, &name(NODE), now);
    let slots = wants.assigned.iter().map(|(slot, one)| SlotReport {
        slot: slot.clone(),
        filter: one.filter.clone(),
        running: Some(RunningReport {
            digest: one.digest,
            config: one.config,
            version: "1.0.0".parse().unwrap(),
            assignment: one.version,
            since_ms: 0,
        }),
        refused: None,
    });
    let slots = slots.collect();
    NodeReport { slots, ..report(NODE, &[]) }
}

fn drifts(world: &mut World) -> Vec<Drift> {
    let now = world.now();
    let all = drift(&world.state, &mut world.plans, now);
    all.into_iter().filter(|one| one.node == NODE).collect()
}

fn reported(change: impl Fn(&mut NodeReport)) -> Vec<Drift> {
    let mut world = World::mesh();
    world.assign();
    let mut report = obedient(&mut world);
    change(&mut report);
    world.append("proxies", report);
    drifts(&mut world)
}

#[test]
fn a_node_that_runs_what_it_is_assigned_does_not_drift() {
    assert!(reported(|_| {}).is_empty());
}

#[test]
fn a_node_that_never_reported_drifts_in_every_slot() {
    let mut world = World::mesh();
    world.assign();
    let all = drifts(&mut world);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|one| one.running.is_none() && one.seen_ms.is_none()));
}

#[test]
fn another_digest_another_configuration_and_a_foreign_slot_are_drift() {
    let other = digest(JWT, "6.6.6");
    let found = reported(|report| {
        report.slots[0].running.as_mut().unwrap().digest = other;
        report.slots[1].running.as_mut().unwrap().config = other;
        let mut foreign = report.slots[2].clone();
        foreign.slot = "shop/foreign".to_owned();
        report.slots.push(foreign);
    });
    let slots: Vec<&str> = found.iter().map(|one| one.slot.as_str()).collect();
    assert_eq!(slots, [SLOT, "shop/route/inbound", "shop/foreign"]);
    assert_eq!(found[0].running.unwrap().0, other);
    assert!(found[2].assigned.is_none());
}

#[test]
fn a_refusal_says_why_a_slot_drifts() {
    let found = reported(|report| {
        let slot = &mut report.slots[0];
        slot.running = None;
        let refused = RefusedReport { digest: digest(JWT, "1.0.0"), why: refusal("trust.key") };
        slot.refused = Some(refused);
    });
    assert_eq!(found[0].refused.as_deref(), Some("trust.key"));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_newer_assignment_of_what_runs_already_is_no_drift() {
    let mut world = World::mesh();
    world.assign();
    let report = obedient(&mut world);
    world.append("proxies", report);
    world.now_ms += 4 * 86_400_000;
    assert_eq!(world.assign(), 10);
    assert!(drifts(&mut world).is_empty());
}
