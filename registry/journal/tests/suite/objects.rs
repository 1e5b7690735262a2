//! An S3 service on loopback, and promises of the blobs in it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tamis_journal::{BlobDigest, BlobError, Blobs, UploadId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Blobs in the bucket `tamis` of a new service, which ends with the test.
pub(crate) async fn bucket(folder: &Path) -> Blobs {
    fs::create_dir_all(folder.join("tamis")).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(SimpleAuth::from_single("key", "secret"));
    let service = service.build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // S3 decides a conditional put in one step; this service checks first and writes later.
    let puts = Arc::new(Mutex::new(()));
    tokio::spawn(async move {
        let server = Builder::new(TokioExecutor::new());
        while let Ok((socket, _)) = listener.accept().await {
            let (service, puts) = (service.clone(), Arc::clone(&puts));
            let one_by_one = service_fn(move |request: Request<Incoming>| {
                let (service, puts) = (service.clone(), Arc::clone(&puts));
                async move {
                    let put = request.method() == Method::PUT;
                    let _turn = if put { Some(puts.lock().await) } else { None };
                    service.call(request.map(s3s::Body::from)).await
                }
            });
            let connection = server.serve_connection(TokioIo::new(socket), one_by_one);
            let connection = connection.into_owned();
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "key"),
        ("aws_secret_access_key", "secret"),
        ("allow_http", "true"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Blobs::objects("s3://tamis/registry/", options).await.unwrap()
}

#[tokio::test]
async fn what_a_crash_left_of_an_upload_is_no_blob_and_can_be_swept() {
    let folder = TempDir::new().unwrap();
    let blobs = bucket(folder.path()).await;
    // A chunk without its marker: the process died while it cleaned up.
    let left = UploadId::parse(&"ab".repeat(32)).unwrap();
    let chunks = folder.path().join("tamis/registry/uploads").join(left.as_str());
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
    let folder = TempDir::new().unwrap();
    let blobs = bucket(folder.path()).await;
    let upload = blobs.begin().await.unwrap();
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
