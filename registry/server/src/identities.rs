//! How proxies get their SVIDs: `POST /v1/identity/join` for a one-time token, without a certificate, and
//! `POST /v1/identity/renew` with the current SVID. On the listener for proxies.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use tamis_api::ApiProblem;
use tamis_sync::{JOIN_PATH, MAX_IDENTITY_BYTES, RENEW_PATH, SvidAnswer, SvidRequest};

use crate::plane::{Control, ProvenProxy, expired_only_renews};
use crate::rest::{ProblemResponse, problem, typed};

/// The longest request that is read, in bytes: a token, a name, and a certificate request of at most 4,096
/// bytes. Less than what the protocol allows, since strangers may send one.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
const _: () = assert!(MAX_REQUEST_BYTES <= MAX_IDENTITY_BYTES, "the protocol's bound is higher");
/// Time limit for a request to arrive.
const COMING: Duration = Duration::from_secs(10);

/// The two endpoints.
pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route(JOIN_PATH, post(join))
        .route(RENEW_PATH, post(renew))
        .layer(DefaultBodyLimit::disable())
        .with_state(control)
}

/// Lets a proxy whose SVID was expired when it connected renew it, and do nothing else.
pub(crate) async fn renewal_only(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ProvenProxy>();
    if peer.is_some_and(|peer| peer.expired) && request.uri().path() != RENEW_PATH {
        return ProblemResponse(expired_only_renews()).into_response();
    }
    next.run(request).await
}

async fn join(
    State(control): State<Control>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let asked = read(request.into_body()).await?;
    answer(control.admit_member(&asked).await)
}

async fn renew(
    State(control): State<Control>,
    Extension(peer): Extension<ProvenProxy>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    if peer.id.is_none() {
        let title = "a proxy renews its SVID with the current one, and this client shows none";
        return Err(problem(401, "node.identity", title, "join with a token"));
    }
    // Decided on the head: no body of a revoked proxy is read, and none of one that renews too often.
    control.refuse_revoked(&peer).await?;
    if let Err((wait, problem)) = control.pace_renewal(&peer) {
        let mut response = ProblemResponse(problem).into_response();
        let seconds = HeaderValue::from(wait.as_secs().saturating_add(1));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let asked = read(request.into_body()).await?;
    answer(control.renew_member(&peer, &asked).await)
}

async fn read(body: Body) -> Result<SvidRequest, ProblemResponse> {
    let read = Limited::new(body, MAX_REQUEST_BYTES).collect();
    let bytes: Bytes = match tokio::time::timeout(COMING, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let title = format!("the body ended early, or has more than {MAX_REQUEST_BYTES} bytes");
            return Err(problem(413, "too-large", title, "send one certificate request"));
        }
        Err(_) => {
            let title = format!("the body took more than {} seconds", COMING.as_secs());
            return Err(problem(408, "too-slow", title, "send it again, faster"));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        let title = format!("the body does not have the expected form: {error}");
        problem(400, "bad-request", title, "run a proxy of this release")
    })
}

fn answer(made: Result<SvidAnswer, ApiProblem>) -> Result<Response, ProblemResponse> {
    let body = serde_json::to_vec(&made?).map_err(|error| {
        problem(500, "internal", error.to_string(), "report it with the registry's log")
    })?;
    Ok(typed(StatusCode::OK, "application/json", body))
}
