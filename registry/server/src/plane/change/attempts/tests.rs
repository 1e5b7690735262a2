use serde_json::json;
use tamis_director::{RecordBody, State};

use super::*;
use crate::plane::fixture::World;

/// A record after which something else is decided.
fn revoked(number: usize) -> RecordBody {
    let digest = tamis_trust::Digest::of(&number.to_be_bytes());
    let body = json!({ "digest": digest.to_string(), "reason": "a test" });
    RecordBody::from_body("revoked", &body).unwrap().unwrap()
}

#[tokio::test]
async fn whoever_decides_something_all_the_time_keeps_nobody_from_a_change() {
    let world = World::new().await;
    let (control, holder) = (&world.control, world.holder("acme"));
    let decide = |number| {
        let control = control.clone();
        let write = async move {
            control.commit("operator", |_| Ok((vec![revoked(number)], ()))).await.unwrap()
        };
        tokio::spawn(write)
    };
    let (mut attempts, mut made) = (Attempts::new(&holder), 0);
    let mut others = Vec::new();
    loop {
        let attempt = attempts.next(control).await.unwrap();
        let decided = control.state().decided();
        let (other, is_alone) = (decide(made), attempt.alone.is_some());
        made += 1;
        if is_alone {
            // It waits, however long this takes.
            tokio::task::yield_now().await;
            assert!(!other.is_finished());
            others.push(other);
        } else {
            other.await.unwrap();
        }
        let decide = |state: &State| {
            let holds = state.decided() == decided;
            Ok((if holds { vec![revoked(1_000)] } else { Vec::new() }, holds))
        };
        let (_, written) = control
            .commit_in_turn(attempt.into_turn(control).await, &holder, decide)
            .await
            .unwrap();
        if written {
            break;
        }
    }
    assert_eq!(made, ATTEMPTS + 1, "the first one for which others wait");
    for other in others {
        other.await.unwrap();
    }
}

#[tokio::test]
async fn a_change_that_other_replicas_overtake_ends_with_a_way_out() {
    let world = World::new().await;
    let (control, holder) = (&world.control, world.holder("acme"));
    let mut attempts = Attempts::new(&holder);
    for _ in 0..ATTEMPTS + ALONE {
        drop(attempts.next(control).await.unwrap());
    }
    let refused = attempts.next(control).await.err().unwrap();
    assert_eq!((refused.status, &*refused.code), (503, "busy"));
    assert!(refused.remedy.is_some());
}

#[tokio::test]
async fn others_wait_for_all_attempts_of_a_change_together_no_longer_than_a_bound() {
    let world = World::new().await;
    let (control, holder) = (&world.control, world.holder("acme"));
    // As long as a store that is slow, on the clock of a test.
    let slow = async |attempt: &Attempt<'_>, time: Duration| {
        tokio::time::pause();
        let read = attempt.within(async {
            tokio::time::sleep(time).await;
            Ok(())
        });
        let read = read.await;
        tokio::time::resume();
        read
    };
    let mut attempts = Attempts::new(&holder);
    for _ in 0..ATTEMPTS {
        let attempt = attempts.next(control).await.unwrap();
        assert!(slow(&attempt, LONGEST * 2).await.is_ok(), "nobody waits for it");
    }
    let attempt = attempts.next(control).await.unwrap();
    assert!(slow(&attempt, LONGEST / 2).await.is_ok());
    // What follows is part of the same wait.
    assert!(slow(&attempt, LONGEST / 4).await.is_ok());
    drop(attempt);
    let attempt = attempts.next(control).await.unwrap();
    let refused = slow(&attempt, LONGEST / 2).await.unwrap_err();
    assert_eq!((refused.status, &*refused.code), (503, "busy"));
    assert!(refused.title.contains("nothing was changed") && refused.remedy.is_some());
    drop(attempt);
    // Another change has its own time, and nobody waits any more.
    control.commit("operator", |_| Ok((vec![revoked(1)], ()))).await.unwrap();
    let mut others = Attempts::new(&holder);
    for _ in 0..ATTEMPTS {
        drop(others.next(control).await.unwrap());
    }
    let attempt = others.next(control).await.unwrap();
    assert!(slow(&attempt, LONGEST / 2).await.is_ok());
}
