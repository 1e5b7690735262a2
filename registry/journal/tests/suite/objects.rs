//! Promises of the blobs in an S3 service.

use std::fs;

use tamis_harness::Objects;
use tamis_journal::{BlobDigest, BlobError, Blobs, UploadId};

/// Blobs in the bucket `tamis` of a service.
pub(crate) async fn bucket(objects: &Objects) -> Blobs {
    let options = objects.options().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Blobs::objects("s3://tamis/registry/", options).await.unwrap()
}

#[tokio::test]
async fn what_a_crash_left_of_an_upload_is_no_blob_and_can_be_swept() {
    let objects = Objects::start();
    let blobs = bucket(&objects).await;
    // A chunk without its marker: the process died while it cleaned up.
    let left = UploadId::parse(&"ab".repeat(32)).unwrap();
    let chunks = objects.folder().join("tamis/registry/uploads").join(left.as_str());
    fs::create_dir_all(&chunks).unwrap();
    fs::write(chunks.join(format!("{:020}", 0)), "who").unwrap();
    assert!(matches!(blobs.size(&left).await, Err(BlobError::UnknownUpload(_))));
    assert_eq!(blobs.older_than(u64::MAX).await.unwrap(), []);
    assert_eq!(blobs.stale_uploads(u64::MAX).await.unwrap(), std::slice::from_ref(&left));
    blobs.cancel(&left).await.unwrap();
    assert_eq!(blobs.stale_uploads(u64::MAX).await.unwrap(), []);
}

#[tokio::test]
async fn a_large_upload_of_the_wrong_digest_makes_no_object() {
    let objects = Objects::start();
    let blobs = bucket(&objects).await;
    let upload = blobs.begin("ada").await.unwrap();
    let chunk = vec![7; 9_000_000];
    blobs.append(&upload, 0, chunk.clone().into()).await.unwrap();
    blobs.append(&upload, 9_000_000, chunk.clone().into()).await.unwrap();
    let wrong = BlobDigest::of(&chunk);
    let refused = blobs.finish(&upload, &wrong).await;
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })), "{refused:?}");
    assert_eq!(blobs.stat(&wrong).await.unwrap(), None);
    let right = BlobDigest::of(&chunk.repeat(2));
    assert_eq!(blobs.finish(&upload, &right).await.unwrap(), 18_000_000);
    assert_eq!(blobs.read(&right, 18_000_000).await.unwrap().len(), 18_000_000);
    assert_eq!(blobs.stale_uploads(u64::MAX).await.unwrap(), []);
}

#[tokio::test]
async fn another_address_or_option_is_refused() {
    for url in ["", "s3://", "s3:///x", "https://bucket/x", "s3://bucket/a//b"] {
        let refused = Blobs::objects(url, []).await;
        assert!(matches!(refused, Err(BlobError::Address { .. })), "{url}: {refused:?}");
    }
    let unknown = [("aws_colour".to_owned(), "blue".to_owned())];
    let refused = Blobs::objects("s3://bucket", unknown).await.unwrap_err();
    assert!(refused.to_string().contains("aws_colour"), "{refused}");
}
