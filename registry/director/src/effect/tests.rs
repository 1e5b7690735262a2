use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{
    JWT, ROUTE, World, applied, document, entry, guard_of, pinned, removed, service, unpinned,
};
use crate::record::{ApplyRecord, PinRecord, RecordBody};

fn diff(world: &mut World, change: impl Into<RecordBody>) -> ChangeEffect {
    let change = change_of(change.into()).unwrap();
    world.plans.effect(&world.state, &change).unwrap()
}

fn change_of(body: RecordBody) -> Option<Change> {
    match body {
        RecordBody::Applied(applied) => Some(Change::Apply(applied)),
        RecordBody::Pinned(pinned) => Some(Change::Pin(pinned)),
        RecordBody::Unpinned(unpinned) => Some(Change::Unpin(unpinned)),
        _ => None,
    }
}

/// Service, slot, how many nodes, and how it changes.
fn slots_of(diff: &ChangeEffect) -> Vec<(&str, &str, usize, String)> {
    let row = |one: &SlotEffect| {
        let json = serde_json::to_value(one).unwrap();
        let parts = json.get("parts").map(ToString::to_string).unwrap_or_default();
        format!("{}{parts}", json["change"].as_str().unwrap())
    };
    let rows = diff.slots.iter();
    rows.map(|one| (one.service.as_str(), one.slot.as_str(), one.nodes.len(), row(one))).collect()
}

/// Where a rollout ends, its services have one effect together, which is that of each of them.
#[test]
fn many_pins_have_the_effect_of_each_of_them_and_one_that_cannot_be_made_has_none() {
    let mut world = World::mesh();
    let pin = |service: &str| pinned(service, JWT, "1.1.0");
    let [a, b] = ["shop/a", "shop/b"].map(pin);
    let alone =
        |world: &World, pin: &PinRecord| effect(&world.state, &Change::Pin(pin.clone())).unwrap();
    let (of_a, of_b) = (alone(&world, &a), alone(&world, &b));
    let wrong = PinRecord { service: "no name".to_owned(), ..a.clone() };
    assert!(effect(&world.state, &Change::Pin(wrong.clone())).is_err());
    let both = world.plans.effect_of_pins(&world.state, &[a, wrong, b]);
    let slots = |all: &[&ChangeEffect]| {
        let mut slots: Vec<_> =
            all.iter().flat_map(|one| &one.slots).map(|one| format!("{one:?}")).collect();
        slots.sort();
        slots
    };
    assert!(!of_a.slots.is_empty() && !of_b.slots.is_empty());
    assert_eq!(slots(&[&both]), slots(&[&of_a, &of_b]));
    let touched: BTreeSet<String> = of_a.touched.union(&of_b.touched).cloned().collect();
    assert_eq!(both.touched, touched);
    assert!(world.plans.effect_of_pins(&world.state, &[]).is_empty());
}

#[test]
fn a_pin_changes_the_digest_in_every_proxy_of_its_service() {
    let mut world = World::mesh();
    let diff = diff(&mut world, pinned("shop/a", JWT, "1.1.0"));
    assert_eq!(slots_of(&diff), [("shop/a", "shop/a-jwt", 2, r#"changed["digest"]"#.to_owned())]);
    assert_eq!((diff.services, diff.touched.len()), (4, 1));
    let SlotTransition::Changed { before, after, .. } = &diff.slots[0].change else { panic!() };
    assert_eq!((before.version.as_str(), after.version.as_str()), ("1.0.0", "1.1.0"));
    assert!(diff.problems.is_empty() && diff.others.is_empty() && !diff.is_empty());
}

#[test]
fn what_is_pinned_already_changes_nothing() {
    let mut world = World::mesh();
    assert!(diff(&mut world, pinned("*", JWT, "1.0.0")).is_empty());
    assert!(diff(&mut world, pinned("shop/nowhere", JWT, "1.1.0")).is_empty());
    assert!(diff(&mut world, applied([guard_of("shop/a", "https://idp.example")])).is_empty());
    assert!(diff(&mut world, ApplyRecord::default()).is_empty());
}

#[test]
fn a_pin_taken_out_leaves_its_slots_refused_and_says_so() {
    let mut world = World::mesh();
    let diff = diff(&mut world, unpinned("*", JWT));
    assert_eq!(diff.slots.len(), 3);
    let SlotTransition::Changed { after, parts, .. } = &diff.slots[0].change else { panic!() };
    assert_eq!(after.refused.as_deref(), Some("pin.missing"));
    assert_eq!(*parts, [SlotAspect::Digest, SlotAspect::Refused]);
    let codes: Vec<&str> = diff.problems.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, ["pin.missing"; 3]);
}

#[test]
fn each_part_of_a_slot_that_changes_is_named() {
    let attachment = |field: &str, value: serde_json::Value| {
        let mut spec = json!({
            "targetRefs": [{ "kind": "Service", "name": "a" }],
            "filter": JWT, "phase": "authn", "order": 10, "config": { "issuer": "https://idp.example" },
        });
        spec[field] = value;
        applied([document("FilterAttachment", "shop/a-jwt", &spec)])
    };
    let grant = json!({ "filter": JWT, "limits": { "memory": "8MiB" } });
    let rows = [
        (attachment("config", json!({ "issuer": "https://x.example" })), vec![SlotAspect::Config]),
        (attachment("order", json!(11)), vec![SlotAspect::Placement]),
        (attachment("isolation", json!("request")), vec![SlotAspect::Faults]),
        (applied([document("Grant", JWT, &grant)]), vec![SlotAspect::Grant]),
    ];
    for (change, expected) in rows {
        let mut world = World::mesh();
        let diff = diff(&mut world, change);
        let SlotTransition::Changed { parts, .. } = &diff.slots[0].change else { panic!() };
        assert_eq!(*parts, expected);
    }
}

#[test]
fn proxies_come_and_go_with_their_slots() {
    let mut world = World::mesh();
    let more = diff(&mut world, applied([service("shop/a", 3)]));
    assert_eq!(more.nodes_added, ["sidecar:shop/a/2"]);
    let added = |slot| ("shop/a", slot, 1, "added".to_owned());
    let slots = ["shop/a-jwt", "shop/route/inbound", "shop/route/outbound"];
    assert_eq!(slots_of(&more), slots.map(added));
    let less = diff(&mut world, removed("Service/shop/c"));
    assert_eq!(less.nodes_removed, ["sidecar:shop/c/0", "sidecar:shop/c/1"]);
    assert!(
        less.touched.contains("shop/c") && less.others["shop/a"].contains("upstream shop/c:80")
    );
    let new = diff(&mut world, applied([service("shop/d", 1)]));
    assert_eq!((new.services, new.nodes_added.len()), (4, 1));
    assert!(!new.touched.contains("shop/d"), "{:?}", new.touched);
}

#[test]
fn a_chain_that_would_be_empty_is_named() {
    let mut world = World::mesh();
    let removed = vec!["FilterAttachment/shop/route".to_owned()];
    let diff = diff(&mut world, ApplyRecord { removed, ..ApplyRecord::default() });
    let emptied: Vec<(&str, &str)> =
        diff.emptied.iter().map(|(node, listener)| (node.as_str(), listener.as_str())).collect();
    let outbound = |node| (node, "outbound");
    assert_eq!(emptied[0], ("gateway:shop/edge", "http"));
    assert_eq!(emptied[1], outbound("sidecar:shop/a/0"));
    assert_eq!(emptied.len(), 7);
    assert_eq!(diff.touched.len(), 4);
}

#[test]
fn documents_that_are_wrong_make_no_plan_and_name_all_their_problems() {
    let world = World::mesh();
    let change = Change::Apply(applied([
        document("Service", "shop/a", &json!({ "prots": [] })),
        document("Grant", JWT, &json!({})),
    ]));
    let PlanError::Documents(problems) = effect(&world.state, &change).unwrap_err() else {
        panic!()
    };
    assert!(problems.len() >= 3, "{problems:#?}");
    let rules = [
        change_of(unpinned("shop/a", JWT).into()).unwrap(),
        change_of(pinned("a", JWT, "1.0.0").into()).unwrap(),
    ];
    for change in rules {
        assert!(matches!(effect(&world.state, &change), Err(PlanError::Rule(_))));
    }
}

#[test]
fn an_attachment_without_its_grant_is_a_new_problem_of_the_change() {
    let mut world = World::mesh();
    let diff = diff(&mut world, removed(&format!("Grant/{ROUTE}")));
    assert!(diff.problems.iter().all(|one| one.code == "grant.missing"));
    assert!(!diff.problems.is_empty());
    assert!(slots_of(&diff).iter().all(|row| row.3.contains("refused")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_diff_is_empty_exactly_when_no_plan_changes(
        entries in prop::collection::vec(entry(), 1..15),
        last in entry(),
    ) {
        let mut world = World::mesh();
        for entry in entries {
            world.raw(&entry.actor, &entry.kind, entry.body);
        }
        let body = RecordBody::from_body(&last.kind, &last.body).ok().flatten();
        let Some(change) = body.and_then(change_of) else { return Ok(()) };
        let Ok(diff) = world.plans.effect(&world.state, &change) else { return Ok(()) };
        let before = world.state.clone();
        prop_assert_eq!(
            serde_json::to_value(&diff).unwrap(),
            serde_json::to_value(effect(&before, &change).unwrap()).unwrap()
        );
        for body in change.bodies().unwrap() {
            world.append("ada", body);
        }
        let fold = |state: &State, node: &NodeName| state.desired.folder().fold(node).plan;
        let nodes = |state: &State| state.nodes();
        let changed: BTreeSet<String> = nodes(&before)
            .iter()
            .chain(&nodes(&world.state))
            .filter(|node| fold(&before, node) != fold(&world.state, node))
            .map(|node| node.key().to_owned())
            .collect();
        prop_assert_eq!(diff.is_empty(), changed.is_empty(), "{:?} {:?}", diff, changed);
        let named: BTreeSet<String> =
            diff.slots.iter().map(|one| one.service.clone()).chain(diff.others.keys().cloned()).collect();
        prop_assert!(named.is_subset(&changed));
        prop_assert!(diff.touched.is_subset(&changed));
    }
}
