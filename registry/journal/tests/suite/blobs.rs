//! Promises of the blobs on every storage.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tamis_journal::{BlobDigest, BlobError, Blobs, DigestAlgorithm, Hasher, UploadId};
use tokio::task::JoinSet;

use crate::store::{Store, on_every_store};

on_every_store!(
    a_blob_put_is_read_back,
    an_empty_blob_is_a_blob,
    chunks_become_one_blob_at_finish,
    a_large_upload_of_sha512_comes_back_in_ranges,
    a_chunk_out_of_order_is_refused_with_the_right_place,
    of_concurrent_chunks_at_one_place_one_is_kept,
    wrong_bytes_never_become_a_blob,
    an_upload_is_gone_once_finished_or_cancelled,
    a_missing_blob_is_said_to_be_missing,
    ranges_outside_are_refused_and_long_ones_end_with_the_blob,
    a_blob_above_the_limit_is_not_read,
    deleting_twice_is_fine,
    old_blobs_and_stale_uploads_are_listed_and_young_ones_are_not,
);

fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

async fn all(blobs: &Blobs, digest: &BlobDigest, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let stream = blobs.get(digest, range).await.unwrap();
    stream.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

async fn a_blob_put_is_read_back(store: Store) {
    let digest = BlobDigest::of(b"hello");
    store.blobs.put(&digest, "hello".into()).await.unwrap();
    store.blobs.put(&digest, "hello".into()).await.unwrap();
    assert_eq!(store.blobs.stat(&digest).await.unwrap(), Some(5));
    assert_eq!(store.blobs.read(&digest, 5).await.unwrap(), "hello");
    assert_eq!(all(&store.blobs, &digest, Some(1..3)).await, b"el");
}

async fn an_empty_blob_is_a_blob(store: Store) {
    let digest = BlobDigest::of(b"");
    let upload = store.blobs.begin("ada").await.unwrap();
    assert_eq!(store.blobs.append(&upload, 0, Bytes::new()).await.unwrap(), 0);
    assert_eq!(store.blobs.finish(&upload, &digest).await.unwrap(), 0);
    assert_eq!(store.blobs.stat(&digest).await.unwrap(), Some(0));
    assert_eq!(store.blobs.read(&digest, 0).await.unwrap(), "");
    assert_eq!(all(&store.blobs, &digest, None).await, b"");
}

async fn chunks_become_one_blob_at_finish(store: Store) {
    let (blobs, bytes) = (store.blobs, pattern(10_000));
    let digest = BlobDigest::of(&bytes);
    let upload = blobs.begin("ada").await.unwrap();
    assert_eq!(blobs.size(&upload).await.unwrap(), 0);
    for chunk in [0..1, 1..5_000, 5_000..10_000] {
        let (start, end) = (chunk.start as u64, chunk.end as u64);
        let size = blobs.append(&upload, start, bytes.slice(chunk)).await.unwrap();
        assert_eq!(size, end);
        assert_eq!(blobs.size(&upload).await.unwrap(), end);
        assert_eq!(blobs.stat(&digest).await.unwrap(), None);
    }
    assert_eq!(blobs.finish(&upload, &digest).await.unwrap(), 10_000);
    assert_eq!(blobs.read(&digest, 10_000).await.unwrap(), bytes);
}

async fn a_large_upload_of_sha512_comes_back_in_ranges(store: Store) {
    let (blobs, bytes) = (store.blobs, pattern(13_000_000));
    let mut hasher = Hasher::new(DigestAlgorithm::Sha512);
    hasher.update(&bytes);
    let digest = hasher.finish();
    let upload = blobs.begin("ada").await.unwrap();
    let mut size = 0;
    for start in (0..bytes.len()).step_by(4_000_000) {
        let chunk = bytes.slice(start..bytes.len().min(start + 4_000_000));
        size = blobs.append(&upload, size, chunk).await.unwrap();
    }
    assert_eq!(blobs.finish(&upload, &digest).await.unwrap(), 13_000_000);
    assert_eq!(blobs.read(&digest, u64::MAX).await.unwrap(), bytes);
    let middle = all(&blobs, &digest, Some(3_999_000..9_000_001)).await;
    assert_eq!(middle, bytes[3_999_000..9_000_001]);
}

async fn a_chunk_out_of_order_is_refused_with_the_right_place(store: Store) {
    let upload = store.blobs.begin("ada").await.unwrap();
    store.blobs.append(&upload, 0, "abc".into()).await.unwrap();
    for offset in [0, 2, 4, u64::MAX] {
        let refused = store.blobs.append(&upload, offset, "x".into()).await;
        assert!(matches!(refused, Err(BlobError::OutOfOrder { expected: 3 })), "{refused:?}");
    }
    assert_eq!(store.blobs.append(&upload, 3, "d".into()).await.unwrap(), 4);
    store.blobs.finish(&upload, &BlobDigest::of(b"abcd")).await.unwrap();
}

async fn of_concurrent_chunks_at_one_place_one_is_kept(store: Store) {
    let upload = store.blobs.begin("ada").await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0_u8..8 {
        let (blobs, upload) = (store.blobs.clone(), upload.clone());
        writers.spawn(async move {
            match blobs.append(&upload, 0, vec![writer; 100].into()).await {
                Ok(100) => Some(writer),
                Err(BlobError::OutOfOrder { expected: 100 }) => None,
                other => panic!("{other:?}"),
            }
        });
    }
    let won: Vec<u8> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "{won:?}");
    store.blobs.finish(&upload, &BlobDigest::of(&[won[0]; 100])).await.unwrap();
}

async fn wrong_bytes_never_become_a_blob(store: Store) {
    let (blobs, wanted) = (store.blobs, BlobDigest::of(b"right"));
    let refused = blobs.put(&wanted, "wrong".into()).await;
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })), "{refused:?}");
    let upload = blobs.begin("ada").await.unwrap();
    blobs.append(&upload, 0, "wrong".into()).await.unwrap();
    let refused = blobs.finish(&upload, &wanted).await;
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })), "{refused:?}");
    assert_eq!(blobs.stat(&wanted).await.unwrap(), None);
    assert_eq!(blobs.older_than(u64::MAX).await.unwrap(), []);
    // The upload stays, and can still be finished.
    blobs.finish(&upload, &BlobDigest::of(b"wrong")).await.unwrap();
}

async fn an_upload_is_gone_once_finished_or_cancelled(store: Store) {
    let (blobs, digest) = (store.blobs, BlobDigest::of(b"x"));
    let finished = blobs.begin("ada").await.unwrap();
    blobs.append(&finished, 0, "x".into()).await.unwrap();
    blobs.finish(&finished, &digest).await.unwrap();
    let cancelled = blobs.begin("ada").await.unwrap();
    blobs.append(&cancelled, 0, "x".into()).await.unwrap();
    blobs.cancel(&cancelled).await.unwrap();
    let never = UploadId::parse(&"0f".repeat(32)).unwrap();
    for upload in [finished, cancelled, never] {
        let unknown = |error: BlobError| matches!(error, BlobError::UnknownUpload(_));
        assert!(unknown(blobs.size(&upload).await.unwrap_err()));
        assert!(unknown(blobs.append(&upload, 0, "x".into()).await.unwrap_err()));
        assert!(unknown(blobs.append(&upload, 1, "x".into()).await.unwrap_err()));
        assert!(unknown(blobs.finish(&upload, &digest).await.unwrap_err()));
        assert!(unknown(blobs.cancel(&upload).await.unwrap_err()));
    }
    assert_eq!(blobs.read(&digest, 1).await.unwrap(), "x");
}

async fn a_missing_blob_is_said_to_be_missing(store: Store) {
    let digest = BlobDigest::of(b"missing");
    assert_eq!(store.blobs.stat(&digest).await.unwrap(), None);
    assert!(matches!(store.blobs.get(&digest, None).await, Err(BlobError::NotFound(_))));
    assert!(matches!(store.blobs.get(&digest, Some(0..1)).await, Err(BlobError::NotFound(_))));
    assert!(matches!(store.blobs.read(&digest, 9).await, Err(BlobError::NotFound(_))));
}

async fn ranges_outside_are_refused_and_long_ones_end_with_the_blob(store: Store) {
    let digest = BlobDigest::of(b"0123456789");
    store.blobs.put(&digest, "0123456789".into()).await.unwrap();
    assert_eq!(all(&store.blobs, &digest, Some(8..u64::MAX)).await, b"89");
    assert_eq!(all(&store.blobs, &digest, Some(0..10)).await, b"0123456789");
    for (start, end) in [(10, 11), (5, 5), (6, 5), (u64::MAX, u64::MAX)] {
        match store.blobs.get(&digest, Some(start..end)).await {
            Err(BlobError::Range { size: 10, .. }) => {}
            Err(other) => panic!("{start}..{end}: {other:?}"),
            Ok(_) => panic!("{start}..{end} was read"),
        }
    }
}

async fn a_blob_above_the_limit_is_not_read(store: Store) {
    let digest = BlobDigest::of(b"0123456789");
    store.blobs.put(&digest, "0123456789".into()).await.unwrap();
    let refused = store.blobs.read(&digest, 9).await;
    assert!(matches!(refused, Err(BlobError::TooLarge { size: 10, limit: 9, .. })), "{refused:?}");
}

async fn deleting_twice_is_fine(store: Store) {
    let digest = BlobDigest::of(b"x");
    store.blobs.put(&digest, "x".into()).await.unwrap();
    store.blobs.delete(&digest).await.unwrap();
    store.blobs.delete(&digest).await.unwrap();
    assert_eq!(store.blobs.stat(&digest).await.unwrap(), None);
}

async fn old_blobs_and_stale_uploads_are_listed_and_young_ones_are_not(store: Store) {
    let blobs = store.blobs;
    let mut digests: Vec<_> = [b"1", b"2", b"3"].into_iter().map(|b| BlobDigest::of(b)).collect();
    for (digest, text) in digests.iter().zip(["1", "2", "3"]) {
        blobs.put(digest, text.into()).await.unwrap();
    }
    let (empty, begun) = (blobs.begin("ada").await.unwrap(), blobs.begin("ada").await.unwrap());
    blobs.append(&begun, 0, "part".into()).await.unwrap();
    digests.sort();
    let old = blobs.older_than(u64::MAX).await.unwrap();
    assert_eq!(old.iter().map(|stored| stored.digest.clone()).collect::<Vec<_>>(), digests);
    assert!(old.iter().all(|stored| stored.size == 1 && stored.written_ms > 1_600_000_000_000));
    let mut uploads = vec![empty, begun];
    uploads.sort();
    assert_eq!(blobs.stale_uploads(u64::MAX).await.unwrap(), uploads);
    assert_eq!(blobs.older_than(1_600_000_000_000).await.unwrap(), []);
    assert_eq!(blobs.stale_uploads(1_600_000_000_000).await.unwrap(), []);
}
