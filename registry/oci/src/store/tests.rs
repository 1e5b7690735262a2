//! Writers take turns, and none waits in its turn for storage.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::refusal::Code;

/// How long a test waits for what comes at once, before it fails.
const SURELY: Duration = Duration::from_secs(60);

/// A question of the registry whether the store has a blob, which waits for its answer.
type Asked = oneshot::Sender<StatusCode>;

/// An object store that answers when the test says so.
struct SlowObjects {
    asked: mpsc::UnboundedReceiver<Asked>,
    address: SocketAddr,
}

impl SlowObjects {
    async fn start() -> Self {
        let (tell, asked) = mpsc::unbounded_channel::<Asked>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(tell);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { asked, address }
    }

    async fn blobs(&self) -> Blobs {
        let endpoint = format!("http://{}", self.address);
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_region", "here"),
            ("aws_access_key_id", "key"),
            ("aws_secret_access_key", "secret"),
            ("allow_http", "true"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Blobs::objects("s3://bucket", options).await.unwrap()
    }

    /// The next question.
    async fn next(&mut self) -> Asked {
        tokio::time::timeout(SURELY, self.asked.recv()).await.unwrap().unwrap()
    }
}

async fn answer(State(tell): State<mpsc::UnboundedSender<Asked>>, method: Method) -> Response {
    let status = if method == Method::HEAD {
        let (answer, answered) = oneshot::channel();
        tell.send(answer).unwrap();
        answered.await.unwrap_or(StatusCode::NOT_FOUND)
    } else {
        StatusCode::OK
    };
    Response::builder()
        .status(status)
        .header("content-length", "0")
        .header("etag", "\"1\"")
        .header("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        .body(axum::body::Body::empty())
        .unwrap()
}

async fn store(objects: &SlowObjects) -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let journal = Journal::sqlite(folder.path()).await.unwrap();
    let blobs = objects.blobs().await;
    let store = Store::open(journal, blobs, Limits::default(), Clock::system()).await.unwrap();
    (folder, store)
}

fn blob() -> BlobDigest {
    BlobDigest::of(b"blob")
}

/// What a push or a mount writes.
async fn link(store: Store) -> Result<(), OciRefusal> {
    store
        .commit("pusher", |_| {
            let repository = "acme/one".parse().unwrap();
            let changes = vec![Change::BlobLinked { repository, digest: blob(), size: 4 }];
            Ok(Decision { changes, present: vec![blob()], value: () })
        })
        .await
}

/// What a collector writes.
async fn write(store: &Store, change: Change) {
    let changes = || vec![change.clone()];
    let commit = store.commit("collector", |_| {
        Ok(Decision { changes: changes(), present: Vec::new(), value: () })
    });
    tokio::time::timeout(SURELY, commit).await.unwrap().unwrap();
}

fn linked(store: &Store) -> bool {
    store.view().link(&"acme/one".parse().unwrap(), &blob()).is_some()
}

#[tokio::test]
async fn nobody_waits_for_the_storage_that_the_push_of_another_waits_for() {
    let mut objects = SlowObjects::start().await;
    let (_folder, store) = store(&objects).await;
    let pushes: Vec<_> = (0..20).map(|_| tokio::spawn(link(store.clone()))).collect();
    let mut waiting = Vec::new();
    for _ in &pushes {
        waiting.push(objects.next().await);
    }
    let secret = TokenSecret::generate().unwrap();
    let others = async {
        store.create_token("other", &secret, &[], &[Verb::Pull]).await.unwrap();
        let next = TokenSecret::generate().unwrap();
        store.rotate_token_by(OPERATOR, "other", &next, None, |_| true).await.unwrap();
        store.revoke_token("other").await.unwrap();
    };
    tokio::time::timeout(SURELY, others).await.unwrap();
    assert!(!store.has_tokens() && !linked(&store));
    for waiting in waiting {
        waiting.send(StatusCode::OK).unwrap();
    }
    for push in pushes {
        push.await.unwrap().unwrap();
    }
    assert!(linked(&store));
}

#[tokio::test]
async fn what_storage_said_counts_only_while_nothing_is_removed() {
    let condemn = || Change::BlobsCondemned { digests: vec![blob()] };
    let collect = || Change::BlobsCollected { digests: vec![blob()] };
    let other = || Change::BlobsCondemned { digests: vec![BlobDigest::of(b"other")] };
    let (here, gone) = (StatusCode::OK, StatusCode::NOT_FOUND);
    // What is written before the push and while it waits, what storage answers each time, and whether it is linked.
    type Case = (&'static str, Vec<Change>, Vec<Change>, Vec<StatusCode>, bool);
    let cases: [Case; 8] = [
        ("it is there", vec![], vec![], vec![here], true),
        ("it is not", vec![], vec![], vec![gone], false),
        ("it is condemned meanwhile", vec![], vec![condemn()], vec![here], false),
        ("it is removed meanwhile", vec![], vec![condemn(), collect()], vec![here, gone], false),
        ("it is removed and pushed", vec![], vec![condemn(), collect()], vec![here, here], true),
        ("another one is condemned", vec![], vec![other()], vec![here, here], true),
        ("it was condemned before", vec![condemn()], vec![], vec![], false),
        ("it was removed before", vec![condemn(), collect()], vec![], vec![here], true),
    ];
    for (case, before, meanwhile, answers, is_linked) in cases {
        let mut objects = SlowObjects::start().await;
        let (_folder, store) = store(&objects).await;
        for change in before {
            write(&store, change).await;
        }
        let push = tokio::spawn(link(store.clone()));
        let (mut answers, mut meanwhile) = (VecDeque::from(answers), Some(meanwhile));
        while let Some(answer) = answers.pop_front() {
            let asked = objects.next().await;
            for change in meanwhile.take().into_iter().flatten() {
                write(&store, change).await;
            }
            asked.send(answer).unwrap();
        }
        let end = tokio::time::timeout(SURELY, push).await.unwrap().unwrap();
        assert_eq!((end.is_ok(), linked(&store)), (is_linked, is_linked), "{case}: {end:?}");
        if let Err(refusal) = end {
            assert!(refusal.to_string().contains("remove"), "{case}: {refusal}");
        }
        assert!(objects.asked.try_recv().is_err(), "{case}: no question is left");
    }
}

#[tokio::test]
async fn a_condemned_blob_that_is_removed_before_the_turn_is_looked_for_again() {
    let mut objects = SlowObjects::start().await;
    let (folder, store) = store(&objects).await;
    write(&store, Change::BlobsCondemned { digests: vec![blob()] }).await;
    // Another process collects it, which this one has not read yet when it guesses.
    let journal = Journal::sqlite(folder.path()).await.unwrap();
    let replica = Store::open(journal, objects.blobs().await, Limits::default(), Clock::system());
    let replica = replica.await.unwrap();
    write(&replica, Change::BlobsCollected { digests: vec![blob()] }).await;
    let push = tokio::spawn(link(store.clone()));
    objects.next().await.send(StatusCode::NOT_FOUND).unwrap();
    assert!(push.await.unwrap().is_err() && !linked(&store));
}

#[tokio::test]
async fn a_collector_that_never_rests_ends_the_wait_of_a_push() {
    let mut objects = SlowObjects::start().await;
    let (_folder, store) = store(&objects).await;
    let push = tokio::spawn(link(store.clone()));
    for n in 0..LOOKS {
        let asked = objects.next().await;
        let digests = vec![BlobDigest::of(&n.to_be_bytes())];
        write(&store, Change::BlobsCondemned { digests }).await;
        asked.send(StatusCode::OK).unwrap();
    }
    let refusal = push.await.unwrap().unwrap_err();
    assert!(!linked(&store), "{refusal}");
    assert_eq!(refusal.code(), Code::TooManyRequests, "{refusal}");
}
