//! What a hedge filter plans, for which rules, and which state outlives a generation.

use super::*;
use crate::hedges::Hedges;
use std::time::Duration;

const RULES: [(&str, &str); 2] = [("/a", "ns/a/0"), ("/b", "ns/b/0")];

fn hedge(scope: Option<&str>) -> Attachment {
    attached(&json!({ "hedge_us": 1000 }), scope, OnFailure::Open)
}

fn world(hedge: Attachment, router: Attachment, before: Option<&TestWorker>) -> TestWorker {
    let chain = ChainLayout { hedge: Some(0), router: Some(1), ..ChainLayout::default() };
    let world = TestWorker::new(vec![hedge, router], chain, before);
    world.state.review_statistics();
    world
}

fn hedges(world: &TestWorker) -> &Hedges {
    world.chain().hedges.as_ref().unwrap()
}

/// Milliseconds planned for each rule.
fn planned(world: &TestWorker) -> [Option<u128>; 2] {
    [0, 1].map(|rule| hedges(world).delay(rule).map(|delay| delay.as_millis()))
}

#[test]
fn rules_are_planned_at_once_and_again_when_their_statistics_changed() {
    let world = world(hedge(None), router(&RULES), None);
    assert_eq!(planned(&world), [Some(1), Some(1)]);
    let hedges = hedges(&world);
    hedges.note(1, Duration::from_millis(3));
    hedges.note(7, Duration::from_millis(3));
    assert_eq!(planned(&world), [Some(1), Some(1)], "not on the way of a request");
    world.state.review_statistics();
    assert_eq!(planned(&world), [Some(1), Some(2)]);
    assert_eq!(hedges.delay(7), None);
}

#[test]
fn a_scope_bounds_what_is_hedged() {
    let world = world(hedge(Some("ns/b/")), router(&RULES), None);
    assert_eq!(planned(&world), [None, Some(1)]);
}

#[test]
fn without_a_hedge_filter_nothing_is_planned_or_kept() {
    let filters = vec![router(&RULES)];
    let chain = ChainLayout { router: Some(0), ..ChainLayout::default() };
    assert!(worker(filters, chain).chain().hedges.is_none());
}

#[test]
fn statistics_outlive_a_generation_that_changes_neither_router_nor_hedge() {
    let (hedge, router_one) = (hedge(None), router(&RULES));
    let first = world(hedge.clone(), router_one.clone(), None);
    hedges(&first).note(0, Duration::from_millis(3));
    let second = world(hedge.clone(), router_one, Some(&first));
    assert_eq!(planned(&second), [Some(2), Some(1)]);
    // Rules of another router are other rules.
    let third = world(hedge, router(&RULES), Some(&second));
    assert_eq!(planned(&third), [Some(1), Some(1)]);
}
