//! Promises of the transparency log on every storage.

use serde_json::json;
use tamis_journal::log::{Log, NoteKey, TilePath, verify_consistency, verify_inclusion};
use tamis_journal::{Hash, Record};

use crate::store::{Store, on_every_store};

on_every_store!(
    the_log_proves_every_entry_and_its_own_growth,
    a_proof_holds_while_the_log_grows,
    tiles_and_bundles_rebuild_the_root,
);

fn records(from: u64, to: u64) -> Vec<Record> {
    (from..to)
        .map(|number| Record { kind: "note".into(), body: json!({ "number": number }) })
        .collect()
}

async fn the_log_proves_every_entry_and_its_own_growth(store: Store) {
    let journal = store.journal;
    journal.append(None, 1, "ada", &records(0, 20)).await.unwrap();
    let log = Log::open(journal.clone()).await.unwrap();
    let key = NoteKey::from_seed("log.example", &[3; 32]).unwrap();
    let old = key.verifier().verify(&log.checkpoint(&key).await.unwrap()).unwrap();
    assert_eq!(old.size, 20);
    journal.append(None, 1, "ada", &records(20, 33)).await.unwrap();
    assert_eq!(log.catch_up().await.unwrap(), 33);
    let new = key.verifier().verify(&log.checkpoint(&key).await.unwrap()).unwrap();
    let proof = log.consistency(old.size, new.size).await.unwrap();
    verify_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
    for entry in journal.read(0, 100).await.unwrap() {
        let proof = log.inclusion(entry.revision, new.size).await.unwrap();
        let leaf = entry.leaf().unwrap();
        verify_inclusion(&leaf, entry.revision - 1, new.size, &proof, &new.root).unwrap();
    }
    assert!(log.inclusion(0, 33).await.is_err());
    assert!(log.inclusion(34, 33).await.is_err());
    assert!(log.root(34).await.is_err());
}

/// Whoever appends between a checkpoint and the paths to its root takes nothing from the proof.
async fn a_proof_holds_while_the_log_grows(store: Store) {
    let journal = store.journal;
    journal.append(None, 1, "ada", &records(0, 5)).await.unwrap();
    let log = Log::open(journal.clone()).await.unwrap();
    let key = NoteKey::from_seed("log.example", &[3; 32]).unwrap();
    let grow = async {
        for number in 5..60 {
            journal.append(None, 1, "ada", &records(number, number + 1)).await.unwrap();
            log.catch_up().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let prove = async {
        let mut sizes = std::collections::BTreeSet::new();
        while log.size().await < 60 {
            let proof = log.prove(&key, [1, 3, 5]).await.unwrap();
            let checkpoint = key.verifier().verify(&proof.checkpoint).unwrap();
            let (size, root) = (checkpoint.size, checkpoint.root);
            let of: Vec<u64> = proof.entries.iter().map(|entry| entry.revision).collect();
            assert_eq!(of, [1, 3, 5]);
            for entry in &proof.entries {
                let (leaf, index) = (Hash::leaf(&entry.canonical), entry.revision - 1);
                verify_inclusion(&leaf, index, size, &entry.hashes, &root).unwrap();
            }
            sizes.insert(size);
            tokio::task::yield_now().await;
        }
        sizes
    };
    let ((), sizes) = tokio::join!(grow, prove);
    assert!(sizes.len() > 2, "the log grew meanwhile: {sizes:?}");
    for missing in [0, 61] {
        assert!(log.prove(&key, [1, missing]).await.is_err(), "{missing}");
    }
}

async fn tiles_and_bundles_rebuild_the_root(store: Store) {
    store.journal.append(None, 1, "ada", &records(0, 515)).await.unwrap();
    let log = Log::open(store.journal).await.unwrap();
    let tile = async |path: &str| log.tile(path.parse::<TilePath>().unwrap()).await.unwrap();
    let mut leaves = Vec::new();
    for (bundle, hashes) in [
        ("tile/entries/000", "tile/0/000"),
        ("tile/entries/001", "tile/0/001"),
        ("tile/entries/002.p/3", "tile/0/002.p/3"),
    ] {
        let (bundle, hashes) = (tile(bundle).await.unwrap(), tile(hashes).await.unwrap());
        let before = leaves.len();
        let mut rest = bundle.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (entry, behind) = behind.split_at(u16::from_be_bytes(*length).into());
            leaves.push(Hash::leaf(entry));
            rest = behind;
        }
        let from_bundle: Vec<u8> = leaves[before..].iter().flat_map(|leaf| leaf.0).collect();
        assert_eq!(hashes, from_bundle);
    }
    let mut tree = tamis_journal::log::Tree::new();
    leaves.into_iter().for_each(|leaf| tree.push(leaf));
    assert_eq!(tree.root(515).unwrap(), log.root(515).await.unwrap());
    let above = tile("tile/1/000.p/2").await.unwrap();
    assert_eq!(above[..32], tree.root(256).unwrap().0);
    for missing in
        ["tile/0/002", "tile/0/002.p/4", "tile/entries/002.p/4", "tile/1/000", "tile/9/000"]
    {
        assert_eq!(tile(missing).await, None, "{missing}");
    }
}
