use tamis_director::code;
use tamis_trust::Refused;

use super::*;
use crate::plane::fixture::{FILTER, SignedRouter, apply};

/// The slots that a diff shows as refused, with their reasons.
fn refused(diff: &Diff) -> Vec<(&str, &str, &str)> {
    let slots = diff.slots.iter().filter(|slot| slot.parts.iter().any(|part| part == REFUSED));
    let mut found = Vec::new();
    for slot in slots {
        let after = slot.after.as_ref().unwrap();
        let (code, why) = (after.refused.as_deref().unwrap(), after.why.as_deref().unwrap());
        found.push((slot.service.as_str(), code, why));
    }
    found
}

const WHY: &str = "acme/route 1.0.0 must be signed by 2 distinct keys, but only 1 counts (release)";

#[tokio::test]
async fn a_policy_that_refuses_what_runs_is_shown_slot_by_slot_and_asks_first() {
    let scene = SignedRouter::new().await;
    let (control, root) = (&scene.world.control, scene.world.holder("root"));
    let change = |confirm| apply([scene.policy("security/all", "*", 2)], confirm);
    let planned = control.plan(&root, &change(false)).await.unwrap();
    let shown = refused(&planned.diff);
    let whose: Vec<_> = shown.iter().map(|(service, code, _)| (*service, *code)).collect();
    assert_eq!(whose, [("acme/edge", "trust.threshold"), ("rival/edge", "trust.threshold")]);
    assert!(shown.iter().all(|(_, _, why)| why.starts_with(WHY)), "{shown:?}");
    let codes: Vec<&str> = planned.refusals.iter().map(|one| &*one.code).collect();
    assert_eq!(codes, [code::TRUST, "document.problem"], "{:?}", planned.refusals);
    let rule = &planned.refusals[0].rule;
    assert!(rule.starts_with("2 slots that run of 2 services would be refused"), "{rule}");
    assert!(rule.contains("acme/route of acme/edge (trust.threshold: "), "{rule}");

    let before = control.state().head();
    let asked = control.apply(&root, &change(false)).await.unwrap_err();
    assert_eq!((asked.status, &*asked.refusals[0].code), (409, code::TRUST));
    assert_eq!(asked.refusals[0], planned.refusals[0]);
    assert!(asked.subject.is_some() && control.state().head() == before, "nothing was changed");

    let planned = control.plan(&root, &change(true)).await.unwrap();
    assert!(planned.refusals.is_empty(), "{:?}", planned.refusals);
    let made = control.apply(&root, &change(true)).await.unwrap();
    assert_eq!((made.revision, &made.diff), (before + 1, &planned.diff));
    assert_eq!(refused(&made.diff).len(), 2);
    // What is refused already is stopped by nothing; fewer keys than before need an agreement, as ever.
    let back = apply([scene.policy("security/all", "*", 1)], false);
    let planned = control.plan(&root, &back).await.unwrap();
    let codes: Vec<&str> = planned.refusals.iter().map(|one| &*one.code).collect();
    assert_eq!((codes, refused(&planned.diff)), (vec![code::APPROVALS], Vec::new()));
}

#[tokio::test]
async fn a_refusal_says_nothing_of_services_that_the_caller_may_not_see() {
    let scene = SignedRouter::new().await;
    let (control, acme) = (&scene.world.control, scene.world.holder("acme"));
    let change = apply([scene.policy("acme/strict", "acme/*", 2)], false);
    let planned = control.plan(&acme, &change).await.unwrap();
    let shown = refused(&planned.diff);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(shown[0].0, "acme/edge");
    let asked = control.apply(&acme, &change).await.unwrap_err();
    let rule = &asked.refusals[0].rule;
    assert!(rule.starts_with("1 slot that runs of 1 service"), "{rule}");
    assert!(rule.ends_with("and something that runs for others"), "{rule}");
    let all = serde_json::to_string(&(&planned, &asked)).unwrap();
    assert!(!all.contains("rival"), "{all}");
    // With nothing of their own that stops, they are asked as well.
    let others = StoppedSlots { seen: Vec::new(), others: true };
    let refusal = others.refusal().unwrap();
    assert!(refusal.rule.starts_with("something that runs for others would be refused"));
    assert!(StoppedSlots::default().refusal().is_none());
}

#[test]
fn a_refusal_names_some_slots_and_the_number_of_the_rest() {
    let content = || director::SlotContent {
        filter: FILTER.to_owned(),
        version: "1.0.0".to_owned(),
        digest: None,
        config: Digest::of(b"{}"),
        refused: None,
    };
    let slot = |at: usize| DistrustedSlot {
        service: format!("acme/{at}"),
        slot: "acme/route".to_owned(),
        nodes: vec![format!("gateway:acme/{at}")],
        guards: false,
        before: content(),
        after: content(),
        why: Refused::new("trust.expired", "it expired", "the policy", "renew it"),
    };
    let stopped = StoppedSlots { seen: (0..9).map(slot).collect(), others: false };
    let rule = stopped.refusal().unwrap().rule;
    assert!(rule.starts_with("9 slots that run of 9 services"), "{rule}");
    assert!(
        rule.ends_with("acme/route of acme/2 (trust.expired: it expired), and 6 more"),
        "{rule}"
    );
}
