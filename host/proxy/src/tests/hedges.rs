//! What a hedge filter plans, for which rules, and what of it outlives a generation.

use super::*;
use std::time::Duration;

const RULES: [(&str, &str); 2] = [("/a", "ns/a/0"), ("/b", "ns/b/0")];

fn hedge(scope: Option<&str>) -> Attachment {
    attached(&json!({ "hedge_us": 1000 }), scope, FailureMode::Open)
}

fn world(hedge: Attachment, router: Attachment, before: Option<&Local>) -> Local {
    let chain = ChainLayout { hedge: Some(0), router: Some(1), ..ChainLayout::default() };
    let filters = vec![Arc::new(hedge), Arc::new(router)];
    let generation = Generation { filters, chains: vec![chain], ..Generation::empty() };
    let local = Local::new(
        Arc::new(generation),
        Vec::new(),
        before,
        Place { worker: 0, ledger: &Ledger::default(), shadows: &Shadows::default() },
    );
    local.look();
    local
}

/// Milliseconds planned for each rule.
fn planned(local: &Local) -> [Option<u128>; 2] {
    [0, 1].map(|rule| local.hedges(0).unwrap().delay(rule).map(|delay| delay.as_millis()))
}

#[test]
fn rules_are_planned_at_once_and_again_when_their_statistics_changed() {
    let local = world(hedge(None), router(&RULES), None);
    assert_eq!(planned(&local), [Some(1), Some(1)]);
    let hedges = local.hedges(0).unwrap();
    hedges.note(1, Duration::from_millis(3));
    hedges.note(7, Duration::from_millis(3));
    assert_eq!(planned(&local), [Some(1), Some(1)], "not on the way of a request");
    local.look();
    assert_eq!(planned(&local), [Some(1), Some(2)]);
    assert_eq!(hedges.delay(7), None);
    assert!(local.hedges(1).is_none());
}

#[test]
fn a_scope_bounds_what_is_hedged() {
    let local = world(hedge(Some("ns/b/")), router(&RULES), None);
    assert_eq!(planned(&local), [None, Some(1)]);
}

#[test]
fn without_a_hedge_filter_nothing_is_planned_or_kept() {
    let filters = vec![router(&RULES)];
    let chain = ChainLayout { router: Some(0), ..ChainLayout::default() };
    assert!(local(filters, chain).hedges(0).is_none());
}

#[test]
fn statistics_outlive_a_generation_that_changes_neither_router_nor_hedge() {
    let (hedge, router_one) = (hedge(None), router(&RULES));
    let first = world(hedge.clone(), router_one.clone(), None);
    first.hedges(0).unwrap().note(0, Duration::from_millis(3));
    let second = world(hedge.clone(), router_one, Some(&first));
    assert_eq!(planned(&second), [Some(2), Some(1)]);
    // Rules of another router are other rules.
    let third = world(hedge, router(&RULES), Some(&second));
    assert_eq!(planned(&third), [Some(1), Some(1)]);
}
