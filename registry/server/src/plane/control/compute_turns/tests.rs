use tokio::sync::oneshot;

use super::*;
use crate::plane::fixture::World;

impl World {
    /// A turn, if there is one for that token now.
    async fn soon(&self, name: &str, size: Size) -> Option<Turn> {
        let holder = self.holder(name);
        let turn = self.control.turn(&holder, size);
        tokio::time::timeout(Duration::from_millis(200), turn).await.ok().map(Result::unwrap)
    }
}

#[tokio::test]
async fn tokens_of_one_owner_share_its_turns_and_small_changes_wait_for_no_large_ones() {
    let world = World::new().await;
    let acme = world.soon("acme", Size::Large).await.unwrap();
    assert!(world.soon("acme-ci", Size::Large).await.is_none(), "it is the same owner");
    let other = world.soon("other", Size::Large).await.unwrap();
    assert!(world.soon("third", Size::Large).await.is_none(), "all places are taken");
    let small = world.soon("acme-ci", Size::Small).await.unwrap();
    assert!(world.soon("acme", Size::Small).await.is_none(), "it is the same owner");
    assert!(world.soon("third", Size::Small).await.is_some());
    drop((acme, other, small));
    assert!(world.soon("acme-ci", Size::Large).await.is_some());
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_ends_at_its_next_step_and_gives_its_turn_back() {
    let world = World::new().await;
    for leaves in [false, true] {
        let turn = world.soon("acme", Size::Large).await.unwrap();
        let (begun, begins) = oneshot::channel();
        let (next, step) = std::sync::mpsc::channel();
        let (ended, ends) = oneshot::channel();
        let control = world.control.clone();
        let asks = tokio::spawn(async move {
            let compute = move |caller: &CallerPresence| {
                begun.send(()).unwrap();
                step.recv().unwrap();
                ended.send(caller.check_caller().is_err()).unwrap();
            };
            control.compute(turn, compute).await
        });
        begins.await.unwrap();
        if leaves {
            asks.abort();
            while !asks.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        assert!(world.soon("acme-ci", Size::Large).await.is_none(), "it is computed still");
        next.send(()).unwrap();
        assert_eq!(ends.await.unwrap(), leaves);
        let again = world.control.turn(&world.holder("acme-ci"), Size::Large).await;
        assert!(again.is_ok());
    }
}

#[tokio::test]
async fn a_token_that_ends_while_it_waits_for_a_turn_gets_none() {
    let world = World::new().await;
    let all = [world.soon("acme", Size::Large).await, world.soon("other", Size::Large).await];
    let (control, holder) = (world.control.clone(), world.holder("third"));
    let waits = tokio::spawn(async move { control.turn(&holder, Size::Large).await.err() });
    tokio::task::yield_now().await;
    world.control.0.store.revoke_token("third").await.unwrap();
    drop(all);
    let refused = waits.await.unwrap().unwrap();
    assert_eq!((refused.status, &*refused.code), (401, "unauthorized"));
}
