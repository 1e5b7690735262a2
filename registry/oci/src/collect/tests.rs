use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use tamis_ambient::{Clock, ManualTime};
use tamis_journal::{Blobs, Journal};
use tempfile::TempDir;

use super::*;
use crate::name::Repository;
use crate::refusal::Code;
use crate::store::Limits;

async fn store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = replica(&folder).await;
    (folder, store)
}

async fn replica(folder: &TempDir) -> Store {
    replica_at(folder, Clock::system()).await
}

async fn replica_at(folder: &TempDir, clock: Clock) -> Store {
    let journal = Journal::sqlite(folder.path()).await.unwrap();
    let blobs = Blobs::files(folder.path()).await.unwrap();
    Store::open(journal, blobs, Limits::default(), clock).await.unwrap()
}

fn repository(number: u8) -> Repository {
    format!("r/{number}").parse().unwrap()
}

fn digest(number: u8) -> BlobDigest {
    BlobDigest::of(&[number])
}

/// A push as the API does it: bytes into storage, then one entry that refers to them.
async fn write(store: &Store, change: Change, present: &BlobDigest) -> Result<(), OciRefusal> {
    store
        .commit("test", |_| {
            let (changes, present) = (vec![change.clone()], vec![present.clone()]);
            Ok(Decision { changes, present, value: () })
        })
        .await
}

async fn push(store: &Store, to: u8, blob: u8) -> Result<(), OciRefusal> {
    let bytes = Bytes::copy_from_slice(&[blob]);
    store.blobs.put(&digest(blob), bytes).await?;
    let (repository, digest) = (repository(to), digest(blob));
    let link = Change::BlobLinked { repository, digest: digest.clone(), size: 1 };
    write(store, link, &digest).await
}

/// A manifest of one blob, if the repository has it.
async fn put(store: &Store, to: u8, manifest: u8, blob: u8) -> Result<(), OciRefusal> {
    let bytes = Bytes::copy_from_slice(&[manifest]);
    store.blobs.put(&digest(manifest), bytes).await?;
    let repository = repository(to);
    store
        .commit("test", |view| {
            if view.link(&repository, &digest(blob)).is_none() {
                return Err(OciRefusal::new(Code::ManifestBlobUnknown, "push it first"));
            }
            let put = Change::ManifestPut {
                repository: repository.clone(),
                digest: digest(manifest),
                media_type: "a/b".to_owned(),
                size: 1,
                tags: Vec::new(),
                subject: None,
                artifact_type: None,
                blobs: vec![digest(blob)],
                manifests: Vec::new(),
            };
            Ok(Decision { changes: vec![put], present: vec![digest(manifest)], value: () })
        })
        .await
}

/// Collects until storage no longer has the blob: a blob written in this very millisecond is not old yet.
async fn collect_until_gone(store: &Store, digest: &BlobDigest) {
    while store.blobs.stat(digest).await.unwrap().is_some() {
        collect(store, Duration::ZERO).await.unwrap();
    }
}

/// Everything the view refers to is in storage.
async fn assert_whole(store: &Store) {
    store.catch_up().await.unwrap();
    let referred: Vec<BlobDigest> = {
        let view = store.view();
        (0..=u8::MAX).map(digest).filter(|digest| view.refers_to(digest)).collect()
    };
    for digest in referred {
        assert!(store.blobs.stat(&digest).await.unwrap().is_some(), "{digest} was lost");
    }
}

#[tokio::test]
async fn what_a_manifest_needs_stays_and_the_rest_goes_after_its_grace() {
    let (_folder, store) = store().await;
    // Created before the blob that is waited for: when that is old, so is this.
    let upload = store.blobs.begin("ada").await.unwrap();
    push(&store, 0, 1).await.unwrap();
    push(&store, 0, 2).await.unwrap();
    put(&store, 0, 9, 1).await.unwrap();
    let young = collect(&store, Duration::from_secs(3_600)).await.unwrap();
    assert_eq!(young, CollectionResult::default());
    collect_until_gone(&store, &digest(2)).await;
    for kept in [1, 9] {
        assert!(store.blobs.stat(&digest(kept)).await.unwrap().is_some());
    }
    assert!(store.view().link(&repository(0), &digest(2)).is_none());
    assert!(store.blobs.size(&upload).await.is_err());
    let delete = Change::ManifestDeleted { repository: repository(0), digest: digest(9) };
    write(&store, delete, &digest(9)).await.unwrap();
    collect_until_gone(&store, &digest(1)).await;
    collect_until_gone(&store, &digest(9)).await;
    assert!(store.view().condemned().is_empty());
}

#[tokio::test]
async fn a_blob_that_another_repository_has_stays() {
    let (_folder, store) = store().await;
    push(&store, 0, 1).await.unwrap();
    push(&store, 1, 1).await.unwrap();
    put(&store, 1, 9, 1).await.unwrap();
    push(&store, 2, 2).await.unwrap();
    collect_until_gone(&store, &digest(2)).await;
    assert!(store.view().link(&repository(0), &digest(1)).is_none());
    assert!(store.blobs.stat(&digest(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_condemned_blob_cannot_be_referred_to_until_it_is_collected() {
    let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
    let store = replica_at(&folder, time.clock()).await;
    store.blobs.put(&digest(1), Bytes::from_static(&[1])).await.unwrap();
    let condemn = Change::BlobsCondemned { digests: vec![digest(1)] };
    write(&store, condemn, &digest(1)).await.unwrap();
    assert_eq!(push(&store, 0, 1).await.unwrap_err().code(), Code::TooManyRequests);
    // Another collector leaves these blobs alone.
    collect(&store, Duration::ZERO).await.unwrap();
    assert!(store.blobs.stat(&digest(1)).await.unwrap().is_some());
    collected(&store, &[digest(1)]).await.unwrap();
    push(&store, 0, 1).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_gone_when_they_are_referred_to_are_asked_for_again() {
    let (_folder, store) = store().await;
    let (repository, digest) = (repository(0), digest(1));
    let link = Change::BlobLinked { repository, digest: digest.clone(), size: 1 };
    let refused = write(&store, link, &digest).await.unwrap_err();
    assert_eq!(refused.code(), Code::TooManyRequests);
    assert!(!store.view().refers_to(&digest));
}

#[tokio::test]
async fn what_a_collector_left_half_done_is_finished_after_an_hour() {
    let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
    let store = replica_at(&folder, time.clock()).await;
    store.blobs.put(&digest(1), Bytes::from_static(&[1])).await.unwrap();
    let condemn = Change::BlobsCondemned { digests: vec![digest(1)] };
    let records = [condemn.record().unwrap()];
    store.journal().append(None, store.now_ms(), "collector", &records).await.unwrap();
    store.catch_up().await.unwrap();
    time.advance(TAKE_OVER);
    collect(&store, Duration::from_secs(3_600)).await.unwrap();
    assert!(store.blobs.stat(&digest(1)).await.unwrap().is_some(), "a collector may be at work");
    time.advance(Duration::from_millis(1));
    collect(&store, Duration::from_secs(3_600)).await.unwrap();
    assert!(store.blobs.stat(&digest(1)).await.unwrap().is_none());
    assert!(store.view().condemned().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_while_two_replicas_push_and_collect_at_once() {
    let (folder, first) = store().await;
    let second = replica(&folder).await;
    let mut pushers = tokio::task::JoinSet::new();
    for (seed, store) in [first.clone(), second.clone(), first.clone()].into_iter().enumerate() {
        pushers.spawn(async move {
            let mut kept = 0_u32;
            for round in 0..40_usize {
                // The same few blobs again and again, so that each is often needed and unneeded.
                let blob = u8::try_from((round * 7 + seed) % 5).unwrap();
                let to = u8::try_from(seed).unwrap();
                let manifest = 100 + blob;
                if push(&store, to, blob).await.is_err() {
                    continue;
                }
                if put(&store, to, manifest, blob).await.is_err() {
                    continue;
                }
                kept += 1;
                for digest in [digest(blob), digest(manifest)] {
                    let there = store.blobs.stat(&digest).await.unwrap();
                    assert!(there.is_some(), "{digest} was lost after it was acknowledged");
                }
                let (repository, digest) = (repository(to), digest(manifest));
                let delete = Change::ManifestDeleted { repository, digest: digest.clone() };
                write(&store, delete, &digest).await.unwrap();
            }
            kept
        });
    }
    let done = Arc::new(AtomicBool::new(false));
    let collectors = [first.clone(), second].map(|store| {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                // Refused when the others write all the time.
                let _ = collect(&store, Duration::ZERO).await;
                tokio::task::yield_now().await;
            }
        })
    });
    let kept: u32 = pushers.join_all().await.into_iter().sum();
    done.store(true, Ordering::Relaxed);
    for collector in collectors {
        collector.await.unwrap();
    }
    assert!(kept > 0, "no push came through");
    assert_whole(&first).await;
}

#[derive(Debug, Clone)]
enum Act {
    Push { to: u8, blob: u8 },
    Put { to: u8, manifest: u8, blob: u8 },
    DeleteManifest { from: u8, manifest: u8 },
    Unlink { from: u8, blob: u8 },
    Collect,
}

fn any_act() -> impl Strategy<Value = Act> {
    let (repository, blob, manifest) = (0_u8..2, 0_u8..4, 100_u8..103);
    prop_oneof![
        (repository.clone(), blob.clone()).prop_map(|(to, blob)| Act::Push { to, blob }),
        (repository.clone(), manifest.clone(), blob.clone())
            .prop_map(|(to, manifest, blob)| Act::Put { to, manifest, blob }),
        (repository.clone(), manifest)
            .prop_map(|(from, manifest)| Act::DeleteManifest { from, manifest }),
        (repository, blob).prop_map(|(from, blob)| Act::Unlink { from, blob }),
        Just(Act::Collect),
    ]
}

async fn act(store: &Store, act: Act) {
    match act {
        Act::Push { to, blob } => push(store, to, blob).await.unwrap(),
        // Refused when the repository does not have the blob.
        Act::Put { to, manifest, blob } => drop(put(store, to, manifest, blob).await),
        Act::DeleteManifest { from, manifest } => {
            let (repository, digest) = (repository(from), digest(manifest));
            let delete = Change::ManifestDeleted { repository, digest: digest.clone() };
            // Refused when its bytes are gone already.
            drop(write(store, delete, &digest).await);
        }
        Act::Unlink { from, blob } => {
            let repository = repository(from);
            let unlink = store.commit("test", |view| {
                let used = view.contents(&repository).is_some_and(|all| all.uses(&digest(blob)));
                let (repository, digest) = (repository.clone(), digest(blob));
                let unlink = Change::BlobUnlinked { repository, digest };
                let changes = if used { Vec::new() } else { vec![unlink] };
                Ok(Decision { changes, present: Vec::new(), value: () })
            });
            unlink.await.unwrap();
        }
        Act::Collect => drop(collect(store, Duration::ZERO).await.unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happened_before_a_collection_takes_nothing_that_is_referred_to(
        acts in prop::collection::vec(any_act(), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, store) = store().await;
            for one in acts {
                act(&store, one).await;
                assert_whole(&store).await;
            }
        });
    }
}
