//! How a proxy connects: its certificate, its first line, and its place in the queue.

use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use tamis_api::ApiProblem;
use tamis_sync::{Hello, MessageFromNode, Session};
use tokio::sync::mpsc;

use super::stream::NodeStream;
use super::{Proxies, stranger};
use crate::lines::Lines;
use crate::plane::ProvenProxy;
use crate::rest::{ProblemResponse, problem};

/// Time limit for the first line of a proxy.
const HELLO: Duration = Duration::from_secs(10);
/// How long a proxy queues before the registry sends it away with a time to return.
const QUEUED: Duration = Duration::from_secs(5);
/// Most milliseconds until it should come back.
const LATER_MS: u64 = 2_000;
/// Lines queued for a proxy that does not read.
const QUEUE: usize = 64;

/// Admits a proxy, and begins its stream.
pub(super) async fn connect(
    State(proxies): State<Proxies>,
    Extension(peer): Extension<ProvenProxy>,
    Path(node): Path<String>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let Some(id) = peer.id.as_deref() else { return Err(stranger()) };
    // Decided on the head: no body of an unknown client is read.
    proxies.control.identify(&node, Some(id)).await?;
    proxies.control.refuse_revoked(&peer).await?;
    let mut lines = Lines::new(request.into_body(), proxies.store.clock());
    let hello = match tokio::time::timeout(HELLO, lines.next()).await {
        Ok(Ok(Some(line))) => hello(&line, &node)?,
        Ok(Ok(None)) | Err(_) => {
            return Err(problem(
                408,
                "node.hello",
                "no hello line arrived in time",
                "send a hello line first",
            ));
        }
        Ok(Err(why)) => return Err(problem(400, "node.line", why, "send lines of JSON")),
    };
    // Queue first: the work is bounded by the number of permits, and no proxy comes back in vain.
    let place = proxies.settling.place(namespace(&node));
    let Ok(settling) = tokio::time::timeout(QUEUED, place).await else { return Ok(later()) };
    let proxy = proxies.control.connect(&hello, Some(id)).await?;
    let (to_node, from_here) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(QUEUE);
    let stream = NodeStream {
        clock: proxies.store.clock(),
        control: proxies.control,
        peer: peer.clone(),
        session: Session::new(&hello),
        proxy,
        to_node,
        settling: Some(settling),
        connected: proxies.store.clock().now(),
        unanswered: Vec::new(),
    };
    drop(tokio::spawn(async move {
        if let Err(why) = stream.run(lines).await {
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

/// The namespace of a proxy's name, `KIND:NAMESPACE/NAME` and perhaps the number of an endpoint.
fn namespace(node: &str) -> &str {
    let key = node.split_once(':').map_or(node, |(_, key)| key);
    key.split('/').next().unwrap_or_default()
}

fn hello(line: &[u8], node: &str) -> Result<Hello, ProblemResponse> {
    let message = serde_json::from_slice::<MessageFromNode>(line).map_err(|error| {
        let title = format!("the first line is not a hello: {error}");
        problem(400, "node.hello", title, "run a proxy of this release")
    })?;
    match message {
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
