//! Promises of the blobs in an S3 service.

use std::error::Error as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Bytes that a store sends instead of a few.
const FLOOD: u64 = 1 << 30;

/// What a store says about the one upload that it has, and sends.
#[derive(Clone, Copy)]
struct Answers {
    /// Places and sizes of chunks, as it lists them.
    listed: &'static [(u64, u64)],
    /// Length of each chunk that it sends; its bytes are all 7.
    sent: u64,
}

/// An object store that says what it likes, on a thread of its own. The number counts the bytes of chunks that it sent.
fn liar(answers: Answers) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, counted) = (socket.unwrap(), Arc::clone(&counted));
            std::thread::spawn(move || serve(socket, answers, &counted));
        }
    });
    (endpoint, sent)
}

/// Answers until the client goes.
fn serve(socket: TcpStream, answers: Answers, sent: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    let mut socket = socket;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok()).unwrap_or(0);
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let target = head.split(' ').nth(1)?;
        let meta = "ETag: \"1\"\r\nLast-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n";
        let (status, body) = match head.split(' ').next()? {
            "GET" if target.contains("list-type=2") => {
                ("200 OK", list(answers, target).into_bytes())
            }
            "GET" => {
                let length = answers.sent;
                let head = format!("HTTP/1.1 200 OK\r\n{meta}Content-Length: {length}\r\n\r\n");
                socket.write_all(head.as_bytes()).ok()?;
                let (mut left, piece) = (length, [7; 65_536]);
                while left > 0 {
                    let next = left.min(65_536);
                    socket.write_all(&piece[..usize::try_from(next).ok()?]).ok()?;
                    sent.fetch_add(next, Ordering::SeqCst);
                    left -= next;
                }
                continue;
            }
            "PUT" if lower.contains("if-none-match") => ("412 Precondition Failed", Vec::new()),
            "DELETE" => ("204 No Content", Vec::new()),
            "POST" => {
                let text = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";
                ("200 OK", text.as_bytes().to_vec())
            }
            _ => ("200 OK", Vec::new()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{meta}Content-Length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).ok()?;
        socket.write_all(&body).ok()?;
    }
}

fn list(answers: Answers, target: &str) -> String {
    let prefix = target.split("prefix=").nth(1).unwrap_or_default();
    let prefix = prefix.split('&').next().unwrap_or_default().replace("%2F", "/");
    let chunks = answers.listed.iter().map(|(at, size)| (format!("{at:020}"), *size));
    let objects = std::iter::once(("begun".to_owned(), 0)).chain(chunks);
    let objects: String = objects
        .map(|(name, size)| {
            format!(
                "<Contents><Key>{prefix}{name}</Key><Size>{size}</Size><ETag>1</ETag>\
                 <LastModified>2025-01-01T00:00:00Z</LastModified></Contents>"
            )
        })
        .collect();
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>")
}

async fn blobs_at(endpoint: &str) -> Blobs {
    let options = [
        ("aws_endpoint", endpoint),
        ("aws_region", "here"),
        ("aws_access_key_id", "key"),
        ("aws_secret_access_key", "secret"),
        ("allow_http", "true"),
        ("aws_disable_bulk_delete", "true"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Blobs::objects("s3://tamis/registry/", options).await.unwrap()
}

#[tokio::test]
async fn no_more_is_read_of_a_chunk_than_was_listed() {
    let large = 20 << 20;
    let rows: [(&str, Answers, usize, &str); 7] = [
        ("as listed", Answers { listed: &[(0, 1_000)], sent: 1_000 }, 1_000, ""),
        ("less", Answers { listed: &[(0, 1_000)], sent: 10 }, 1_000, "another number of bytes"),
        ("more", Answers { listed: &[(0, 1_000)], sent: 1_001 }, 1_000, "another number of bytes"),
        ("a flood", Answers { listed: &[(0, 1_000)], sent: FLOOD }, 1_000, "another number"),
        ("a flood in parts", Answers { listed: &[(0, 20 << 20)], sent: FLOOD }, large, "another"),
        ("a gap", Answers { listed: &[(0, 10), (20, 10)], sent: 10 }, 20, "do not follow"),
        // Their end is near, and their sum is not.
        (
            "one over another",
            Answers { listed: &[(0, 1 << 29), (1, 10)], sent: FLOOD },
            20,
            "do not follow",
        ),
    ];
    for (row, answers, length, fault) in rows {
        let (endpoint, sent) = liar(answers);
        let blobs = blobs_at(&endpoint).await;
        let upload = UploadId::parse(&"ab".repeat(32)).unwrap();
        let digest = BlobDigest::of(&vec![7; length]);
        let finished = blobs.finish(&upload, &digest).await;
        match finished {
            Ok(size) => assert!(fault.is_empty() && size == length as u64, "{row}: {size}"),
            // The fault is the store's, and the client is not told that its bytes are others.
            Err(BlobError::Storage { source, .. }) => {
                let text = source.to_string();
                assert!(!fault.is_empty() && text.contains(fault), "{row}: {text}");
            }
            Err(other) => panic!("{row}: {other} {:?}", other.source()),
        }
        assert!(sent.load(Ordering::SeqCst) < FLOOD / 2, "{row}: it sent all that it had");
    }
}

#[tokio::test]
async fn no_more_is_read_of_a_chunk_that_is_there_than_its_comparison_takes() {
    // Somebody wrote at this place first, which the list does not have yet.
    for (sent, is_same) in [(1_000, true), (999, false), (1_001, false), (0, false), (FLOOD, false)]
    {
        let (endpoint, counted) = liar(Answers { listed: &[], sent });
        let blobs = blobs_at(&endpoint).await;
        let upload = UploadId::parse(&"ab".repeat(32)).unwrap();
        let appended = blobs.append(&upload, 0, vec![7; 1_000].into()).await;
        match appended {
            Ok(size) => assert!(is_same && size == 1_000, "{sent}: {size}"),
            Err(BlobError::OutOfOrder { .. }) => assert!(!is_same, "{sent}"),
            Err(other) => panic!("{sent}: {other} {:?}", other.source()),
        }
        assert!(counted.load(Ordering::SeqCst) < FLOOD / 2, "{sent}: it sent all that it had");
    }
}
