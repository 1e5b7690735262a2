use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tamis_api::{ApplyRequest, SourceText};

use super::*;
use crate::plane::control::compute_turns::{SMALL_BYTES, Size};
use crate::plane::fixture::World;

/// Services of `acme` with these names.
fn services(names: impl IntoIterator<Item = String>, port: u16) -> ApplyRequest {
    let text = names.into_iter().map(|name| {
        format!(
            "---\nkind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: acme }}\nspec: {{ ports: [{{ port: {port}, protocol: http }}] }}\n"
        )
    });
    let source = SourceText { source: "a.yaml".to_owned(), text: text.collect() };
    ApplyRequest { sources: vec![source], confirm: true, ..ApplyRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_applies_all_the_time_keeps_nobody_from_a_large_apply() {
    let world = World::new().await;
    let control = &world.control;
    let over = Arc::new(AtomicBool::new(false));
    let greedy = {
        let (control, holder) = (control.clone(), world.holder("other"));
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let mut made = 0_u16;
            while !over.load(Ordering::Relaxed) {
                let small = services(["small".to_owned()], 1_000 + made % 1_000);
                control.apply(&holder, &small).await.unwrap();
                made += 1;
            }
            made
        })
    };
    let large = services((0..1_200).map(|at| format!("large-{at}")), 80);
    assert_eq!(Size::of(large.sources[0].text.len()), Size::Large, "{SMALL_BYTES}");
    let before = control.state().decided();
    let made = control.apply(&world.holder("acme"), &large).await;
    let after = control.state().decided();
    over.store(true, Ordering::Relaxed);
    // The small ones were made too, before and after.
    assert!(greedy.await.unwrap() > 0 && after > before);
    made.unwrap();
}

#[tokio::test]
async fn others_decide_again_for_as_long_as_a_large_change_took() {
    let world = World::new().await;
    tokio::time::pause();
    let control = &world.control;
    for took in [Duration::from_secs(1), Duration::from_secs(7), LONGEST] {
        let first = control.precedence(&world.holder("acme")).await.unwrap();
        assert_eq!(first.ends() - Instant::now(), LONGEST);
        let deciding = {
            let control = control.clone();
            tokio::spawn(async move {
                drop(control.decision().await);
                Instant::now()
            })
        };
        tokio::time::sleep(took).await;
        let ended = Instant::now();
        drop(first);
        // Another owner's comes next, and no sooner than that.
        drop(control.precedence(&world.holder("other")).await.unwrap());
        // Timers of the runtime are rounded up to their ticks.
        let tick = Duration::from_millis(20);
        let rested = Instant::now() - ended;
        assert!((took..took + tick).contains(&rested), "{rested:?}");
        let waited = deciding.await.unwrap() - ended;
        assert!(waited < tick, "whoever decides waited for it alone: {waited:?}");
    }
}

#[tokio::test]
async fn owners_take_turns_and_who_gets_none_in_time_is_told() {
    let world = World::new().await;
    tokio::time::pause();
    let control = &world.control;
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let held = control.precedence(&world.holder("third")).await.unwrap();
    let wait = |name: &'static str| {
        let (control, holder, order) = (control.clone(), world.holder(name), Arc::clone(&order));
        tokio::spawn(async move {
            let taken = control.precedence(&holder).await.unwrap();
            order.lock().unwrap().push(name);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(taken);
        })
    };
    // Two tokens of one owner, and another owner that comes last.
    let mut all = Vec::new();
    for name in ["acme", "acme-ci", "acme", "other"] {
        all.push(wait(name));
        tokio::task::yield_now().await;
    }
    drop(held);
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(order.lock().unwrap()[1], "other");
    let held = control.precedence(&world.holder("third")).await.unwrap();
    let refused = control.precedence(&world.holder("acme")).await.err().unwrap();
    assert_eq!((refused.status, &*refused.code), (503, "busy"));
    drop(held);
}
