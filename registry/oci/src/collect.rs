//! Garbage collection: abandoned uploads, blobs that no manifest needs, bytes without references.
//!
//! Referenced blobs are never removed, whatever runs at the same time, on this replica or another. Bytes
//! are removed only between two entries of the journal: one that condemns them, which is written only if
//! nothing refers to them at that revision, and one that records that they are collected. In between nobody
//! may refer to them (see `Store::commit`), and before, a new reference moves the journal on, so that the
//! first entry is not written.
//!
//! A collector that stopped half way leaves condemned blobs behind. Another one finishes its work after an
//! hour; the first has given up long before that, if the clocks of the replicas agree within some minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use tamis_journal::{BlobDigest, BlobError};

use crate::change::Change;
use crate::refusal::OciRefusal;
use crate::store::{Decision, Store};

/// The actor of the entries.
const ACTOR: &str = "collector";
/// Blobs per entry.
const BATCH: usize = 100;
/// Time after which a collector removes nothing more of what it condemned.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time after which another collector takes over: long enough for the slowest deletion begun within
/// [`PATIENCE`].
const TAKE_OVER: Duration = Duration::from_secs(3_600);

/// The result of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionResult {
    /// Uploads deleted.
    pub uploads: u64,
    /// Blobs removed from repositories in which no manifest refers to them.
    pub links: u64,
    /// Blobs removed from storage.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes what is unused and was not touched for `grace`.
///
/// `grace` must be longer than a push takes from its first blob to its manifest: younger blobs may belong
/// to a push in progress, and older ones without a manifest are leftovers of pushes that never ended. Blobs
/// that entries of other kinds name are kept, whoever wrote them.
///
/// # Errors
/// [`OciRefusal`] when journal or storage fail; what was done until then stays done.
pub async fn collect(store: &Store, grace: Duration) -> Result<CollectionResult, OciRefusal> {
    let before_ms = store.now_ms().saturating_sub(milliseconds(grace));
    let mut collected = CollectionResult::default();
    for upload in store.blobs.stale_uploads(before_ms).await? {
        match store.blobs.cancel(&upload).await {
            Ok(()) => collected.uploads = collected.uploads.saturating_add(1),
            // Finished or cancelled since it was listed.
            Err(BlobError::UnknownUpload(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    collected.links = unlink(store, before_ms).await?;
    take_over(store).await?;
    let old = store.blobs.older_than(before_ms).await?;
    let sizes: BTreeMap<BlobDigest, u64> =
        old.into_iter().map(|stored| (stored.digest, stored.size)).collect();
    let candidates: Vec<BlobDigest> = sizes.keys().cloned().collect();
    for batch in candidates.chunks(BATCH) {
        for digest in remove(store, batch).await? {
            collected.blobs = collected.blobs.saturating_add(1);
            let size = sizes.get(&digest).copied().unwrap_or_default();
            collected.bytes = collected.bytes.saturating_add(size);
        }
    }
    Ok(collected)
}

/// Removes blobs that no manifest refers to from their repositories.
async fn unlink(store: &Store, before_ms: u64) -> Result<u64, OciRefusal> {
    let mut unlinked = 0_u64;
    loop {
        let count = store
            .commit(ACTOR, |view| {
                let unused = view.unused_links(before_ms).take(BATCH);
                let changes: Vec<Change> = unused
                    .map(|(repository, digest)| Change::BlobUnlinked {
                        repository: repository.clone(),
                        digest: digest.clone(),
                    })
                    .collect();
                let value = u64::try_from(changes.len()).unwrap_or(u64::MAX);
                Ok(Decision { changes, present: Vec::new(), value })
            })
            .await?;
        if count == 0 {
            return Ok(unlinked);
        }
        unlinked = unlinked.saturating_add(count);
    }
}

/// Removes those of the blobs that nothing refers to, and returns them.
async fn remove(store: &Store, candidates: &[BlobDigest]) -> Result<Vec<BlobDigest>, OciRefusal> {
    let begun = store.clock().now();
    let condemned = store
        .commit(ACTOR, |view| {
            let free = |digest: &&BlobDigest| {
                !view.refers_to(digest) && !view.condemned().contains_key(*digest)
            };
            let digests: Vec<_> = candidates.iter().filter(free).cloned().collect();
            let condemn = Change::BlobsCondemned { digests: digests.clone() };
            let changes = if digests.is_empty() { Vec::new() } else { vec![condemn] };
            Ok(Decision { changes, present: Vec::new(), value: digests })
        })
        .await?;
    let mut removed = Vec::with_capacity(condemned.len());
    for digest in condemned {
        // Later than this, another collector may assume that we stopped.
        if store.clock().since(begun) > PATIENCE {
            break;
        }
        store.blobs.delete(&digest).await?;
        removed.push(digest);
    }
    collected(store, &removed).await?;
    Ok(removed)
}

/// Finishes the work of a collector that stopped half way.
async fn take_over(store: &Store) -> Result<(), OciRefusal> {
    let before_ms = store.now_ms().saturating_sub(milliseconds(TAKE_OVER));
    let left: Vec<BlobDigest> = {
        let view = store.view();
        let left = view.condemned().iter().filter(|(_, since_ms)| **since_ms < before_ms);
        left.map(|(digest, _)| digest.clone()).collect()
    };
    for batch in left.chunks(BATCH) {
        for digest in batch {
            store.blobs.delete(digest).await?;
        }
        collected(store, batch).await?;
    }
    Ok(())
}

async fn collected(store: &Store, digests: &[BlobDigest]) -> Result<(), OciRefusal> {
    store
        .commit(ACTOR, |_| {
            let collected = Change::BlobsCollected { digests: digests.to_vec() };
            let changes = if digests.is_empty() { Vec::new() } else { vec![collected] };
            Ok(Decision { changes, present: Vec::new(), value: () })
        })
        .await
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
