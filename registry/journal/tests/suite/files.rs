//! Promises of the blobs in files.

use std::fs;

use bytes::Bytes;
use tamis_journal::{BlobDigest, BlobError, Blobs, UploadId};
use tempfile::TempDir;

#[tokio::test]
async fn what_a_crash_left_before_the_rename_is_no_blob_and_can_be_swept() {
    let folder = TempDir::new().unwrap();
    let digest = BlobDigest::of(b"whole");
    // Leftovers of a process killed between writing and renaming.
    let blobs = Blobs::files(folder.path()).await.unwrap();
    let left = UploadId::parse(&"ab".repeat(32)).unwrap();
    fs::write(folder.path().join("uploads").join(left.as_str()), "who").unwrap();
    let reopened = Blobs::files(folder.path()).await.unwrap();
    assert_eq!(reopened.stat(&digest).await.unwrap(), None);
    assert_eq!(reopened.older_than(u64::MAX).await.unwrap(), []);
    assert_eq!(reopened.stale_uploads(u64::MAX).await.unwrap(), std::slice::from_ref(&left));
    // Its owner may continue where it ended.
    assert_eq!(reopened.size(&left).await.unwrap(), 3);
    blobs.append(&left, 3, "le".into()).await.unwrap();
    blobs.finish(&left, &digest).await.unwrap();
    assert_eq!(blobs.stale_uploads(u64::MAX).await.unwrap(), []);
    assert_eq!(blobs.read(&digest, 5).await.unwrap(), "whole");
}

#[tokio::test]
async fn a_damaged_blob_is_not_handed_on() {
    let folder = TempDir::new().unwrap();
    let blobs = Blobs::files(folder.path()).await.unwrap();
    let digest = BlobDigest::of(b"whole");
    blobs.put(&digest, "whole".into()).await.unwrap();
    let hex = digest.encoded();
    let path = folder.path().join("blobs/sha256").join(&hex[..2]).join(hex);
    for damaged in ["whale", "whol", "wholes", ""] {
        fs::write(&path, damaged).unwrap();
        let refused = blobs.read(&digest, 5).await.map(|_: Bytes| ());
        let told = matches!(refused, Err(BlobError::Corrupt(_) | BlobError::TooLarge { .. }));
        assert!(told, "{damaged}: {refused:?}");
    }
    // Put again, it is complete again.
    blobs.put(&digest, "whole".into()).await.unwrap();
    assert_eq!(blobs.read(&digest, 5).await.unwrap(), "whole");
}

#[tokio::test]
async fn strangers_among_the_files_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let blobs = Blobs::files(folder.path()).await.unwrap();
    fs::create_dir_all(folder.path().join("blobs/sha256/zz")).unwrap();
    fs::write(folder.path().join("blobs/sha256/zz/notes.txt"), "mine").unwrap();
    fs::write(folder.path().join("uploads/notes.txt"), "mine").unwrap();
    assert_eq!(blobs.older_than(u64::MAX).await.unwrap(), []);
    assert_eq!(blobs.stale_uploads(u64::MAX).await.unwrap(), []);
}
