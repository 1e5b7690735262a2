//! Requests of proxies: one stream each, and blobs by digest. Only on a listener that requires
//! certificates.

use std::sync::Arc;
use std::time::Duration;

use crate::plane::{Control, Membership, ProvenProxy};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{HeaderValue, StatusCode, header};
use tamis_ambient::Clock;
use tamis_api::ApiProblem;
use tamis_journal::{BlobDigest, BlobError};
use tamis_oci::Store;
use tamis_sync::{Hello, MessageFromNode, MessageToNode, Session};
use tokio::sync::{Semaphore, mpsc};

use crate::lines::{Lines, MAX_LINE_BYTES};
use crate::rest::{ProblemResponse, problem};

/// Time limit for the first line of a proxy.
const HELLO: Duration = Duration::from_secs(10);
/// Interval of signs of life on a silent stream.
const PING: Duration = Duration::from_secs(15);
/// How long a proxy may be silent: it reports every 10 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// Proxies that may catch up with their plan at the same time; others queue. After a restart of the
/// registry, every proxy queues.
const SETTLING: usize = 64;
/// How long a proxy queues before the registry sends it away with a time to return.
const TURN: Duration = Duration::from_secs(5);
/// Most milliseconds until it should come back.
const LATER_MS: u64 = 2_000;
/// Lines queued for a proxy that does not read.
const QUEUE: usize = 64;

#[derive(Clone)]
struct Proxies {
    control: Control,
    store: Store,
    settling: Arc<Semaphore>,
}

/// `POST /v1/nodes/{node}/stream` and `GET /v1/blobs/{digest}`.
pub(crate) fn router(control: Control, store: Store) -> Router {
    let settling = Arc::new(Semaphore::new(SETTLING));
    Router::new()
        .route("/v1/nodes/{node}/stream", post(stream))
        .route("/v1/blobs/{digest}", get(blob))
        .with_state(Proxies { control, store, settling })
}

/// Any blob, for any proxy: it must know the digest, which only assignments and manifests contain.
async fn blob(
    State(proxies): State<Proxies>,
    Extension(peer): Extension<ProvenProxy>,
    Path(digest): Path<String>,
) -> Result<Response, ProblemResponse> {
    if peer.id.is_none() {
        return Err(stranger());
    }
    proxies.control.refuse_revoked(&peer)?;
    let digest: BlobDigest = digest.parse().map_err(|_| {
        problem(400, "bad-request", "that is not a digest", "write it as in the manifest")
    })?;
    let blobs = proxies.store.blobs();
    let failed = |error: BlobError| {
        tracing::warn!(%error, %digest, "a blob cannot be read");
        problem(503, "unavailable", "the blobs cannot be reached", "try again")
    };
    let Some(size) = blobs.stat(&digest).await.map_err(failed)? else {
        return Err(problem(404, "not-found", "the blob does not exist", "push the filter again"));
    };
    let body = blobs.get(&digest, None).await.map_err(failed)?;
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn stranger() -> ProblemResponse {
    let title = "a proxy must show a certificate";
    problem(401, "node.identity", title, "connect with the certificate of the proxy's service")
}

async fn stream(
    State(proxies): State<Proxies>,
    Extension(peer): Extension<ProvenProxy>,
    Path(node): Path<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let Some(id) = peer.id.as_deref() else { return Err(stranger()) };
    // Decided on the head: no body of an unknown client is read.
    proxies.control.identify(&node, Some(id)).await?;
    proxies.control.refuse_revoked(&peer)?;
    let mut lines = Lines::new(request.into_body());
    let first = tokio::time::timeout(HELLO, lines.next()).await;
    let hello = match first {
        Ok(Ok(Some(line))) => hello(&line, &node)?,
        Ok(Ok(None)) | Err(_) => {
            return Err(problem(408, "node.hello", "nothing came", "send a hello line first"));
        }
        Ok(Err(why)) => return Err(problem(400, "node.line", why, "send lines of JSON")),
    };
    // Queue first: the work is bounded by the number of permits, and no proxy comes back in vain.
    let turn = Arc::clone(&proxies.settling).acquire_owned();
    let Ok(Ok(settling)) = tokio::time::timeout(TURN, turn).await else {
        return Ok(later());
    };
    let membership = proxies.control.join(&hello, Some(id)).await?;
    let (to_node, from_here) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(QUEUE);
    let served = NodeStream {
        clock: proxies.store.clock(),
        control: proxies.control,
        peer: peer.clone(),
        session: Session::new(&hello),
        membership,
        to_node,
        settling: Some(settling),
        pushed: Vec::new(),
    };
    drop(tokio::spawn(async move {
        if let Err(why) = served.run(lines).await {
            tracing::info!(node = hello.node, why, "a proxy's stream ended");
        }
    }));
    let body = futures_util::stream::unfold(from_here, async |mut from_here| {
        from_here.recv().await.map(|line| (line, from_here))
    });
    let mut response = Response::new(Body::from_stream(body));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn hello(line: &[u8], node: &str) -> Result<Hello, ProblemResponse> {
    let said = serde_json::from_slice::<MessageFromNode>(line).map_err(|error| {
        let title = format!("the first line is not a hello: {error}");
        problem(400, "node.hello", title, "run a proxy of this release")
    })?;
    match said {
        MessageFromNode::Hello(hello) if hello.protocol != tamis_sync::PROTOCOL => {
            let title = format!(
                "the proxy speaks protocol {}, the registry {}",
                hello.protocol,
                tamis_sync::PROTOCOL
            );
            Err(problem(400, "node.protocol", title, "upgrade the older of the two"))
        }
        MessageFromNode::Hello(hello) if hello.node == node => Ok(hello),
        MessageFromNode::Hello(hello) => {
            let title = format!("the hello names {}, but the address names {node}", hello.node);
            Err(problem(400, "node.hello", title, "use one name"))
        }
        MessageFromNode::Outcome(_) | MessageFromNode::Report(_) => Err(problem(
            400,
            "node.hello",
            "the first line is not a hello",
            "send a hello line first",
        )),
    }
}

/// Spread over time, so that they do not all come back at once.
fn later() -> Response {
    let mut response = ProblemResponse(ApiProblem {
        status: 503,
        code: "busy".to_owned(),
        title: "too many proxies connect at once".to_owned(),
        remedy: Some("come back after Retry-After".to_owned()),
        refusals: Vec::new(),
        problems: Vec::new(),
        subject: None,
    })
    .into_response();
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let seconds = HeaderValue::from(LATER_MS.div_ceil(1_000));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

/// A stream in progress.
struct NodeStream {
    clock: Clock,
    control: Control,
    peer: ProvenProxy,
    session: Session,
    membership: Membership,
    to_node: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    /// Held until the proxy has its plan.
    settling: Option<tokio::sync::OwnedSemaphorePermit>,
    /// Nonces without an answer, with the revision of each push.
    pushed: Vec<(u64, u64)>,
}

impl NodeStream {
    async fn run(mut self, mut lines: Lines) -> Result<(), String> {
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = self.clock.now();
        loop {
            self.push().await?;
            tokio::select! {
                line = lines.next() => match line? {
                    Some(line) => {
                        heard = self.clock.now();
                        self.said(&line)?;
                    }
                    None => return Ok(()),
                },
                changed = self.membership.wanted().changed() => {
                    changed.map_err(|_| "another connection took its place".to_owned())?;
                }
                _ = ping.tick() => {
                    if self.clock.since(heard) > SILENCE {
                        return Err("it was silent for a minute".to_owned());
                    }
                    // The journal may have a revocation that another replica wrote.
                    self.control.refuse_revoked(&self.peer).map_err(|problem| problem.title)?;
                    self.send(&MessageToNode::Ping).await?;
                }
            }
        }
    }

    /// Sends the changed parts, unless the previous push is not answered yet.
    async fn push(&mut self) -> Result<(), String> {
        let wanted = Arc::clone(&self.membership.wanted().borrow_and_update());
        if !wanted.is_known() {
            return Ok(());
        }
        if let Some(frames) = self.session.push(&wanted.parts, wanted.revision) {
            for frame in frames {
                if frame.last {
                    self.pushed.push((frame.nonce, wanted.revision));
                }
                self.send(&MessageToNode::Push(frame)).await?;
            }
        } else if !self.session.outstanding() {
            self.membership.current(wanted.revision);
            self.settling = None;
        }
        Ok(())
    }

    fn said(&mut self, line: &[u8]) -> Result<(), String> {
        let said = serde_json::from_slice::<MessageFromNode>(line);
        match said.map_err(|error| format!("a line does not follow the protocol: {error}"))? {
            MessageFromNode::Hello(_) => Err("it sent two hello lines".to_owned()),
            MessageFromNode::Outcome(outcome) => {
                self.session.answered(&outcome).map_err(|error| error.to_string())?;
                let answered = self.pushed.iter().find(|(nonce, _)| *nonce == outcome.nonce);
                let revision = answered.map_or(0, |(_, revision)| *revision);
                self.pushed.retain(|(nonce, _)| *nonce > outcome.nonce);
                self.settling = None;
                self.membership.outcome(outcome, revision).map_err(|problem| problem.title)
            }
            MessageFromNode::Report(report) => {
                self.membership.report(report).map_err(|problem| problem.title)
            }
        }
    }

    async fn send(&self, message: &MessageToNode) -> Result<(), String> {
        let mut line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        if line.len() >= MAX_LINE_BYTES {
            return Err(format!("a line would have {} bytes", line.len()));
        }
        line.push(b'\n');
        let sent = self.to_node.send(Ok(Bytes::from(line))).await;
        sent.map_err(|_| "it is gone".to_owned())
    }
}
