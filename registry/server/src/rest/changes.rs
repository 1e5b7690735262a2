//! Documents: the effect of an apply, and the apply itself.

use axum::extract::State;
use tamis_api::{Applied, ApplyRequest, Planned, Problem};
use tamis_oci::Verb;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Caller, Unread};

/// The effect of an apply. Changes nothing.
#[utoipa::path(post, path = "/v1/plan", tag = "documents", request_body = ApplyRequest, responses(
    (status = 200, body = Planned),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn plan(State(api): State<Api>, caller: Caller, body: Unread) -> Answer<Planned> {
    if !caller.0.may(Verb::Operate) {
        caller.must(Verb::Observe)?;
    }
    let (request, _turn) = body.documents::<ApplyRequest>().await?;
    Ok(Json(api.control.plan(&caller.0, &request).await?))
}

/// Apply and remove documents, all or nothing.
#[utoipa::path(post, path = "/v1/apply", tag = "documents", request_body = ApplyRequest, responses(
    (status = 200, body = Applied),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn apply(State(api): State<Api>, caller: Caller, body: Unread) -> Answer<Applied> {
    caller.must(Verb::Operate)?;
    let (request, _turn) = body.documents::<ApplyRequest>().await?;
    Ok(Json(api.control.apply(&caller.0, &request).await?))
}
