//! Documents: the effect of an apply, and the apply itself.

use axum::extract::State;
use tamis_api::{ApiProblem, ApplyRequest, ApplyResult, PlanResult};
use tamis_oci::Verb;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Caller, UnreadBody};

/// The effect of an apply. Changes nothing.
#[utoipa::path(post, path = "/v1/plan", tag = "documents", request_body = ApplyRequest, responses(
    (status = 200, body = PlanResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn plan(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<PlanResult> {
    if !caller.0.may(Verb::Operate) {
        caller.must(Verb::Observe)?;
    }
    let (request, _turn) = body.documents::<ApplyRequest>(&api, &caller).await?;
    Ok(Json(api.control.plan(&caller.0, &request).await?))
}

/// Apply and remove documents, all or nothing.
#[utoipa::path(post, path = "/v1/apply", tag = "documents", request_body = ApplyRequest, responses(
    (status = 200, body = ApplyResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn apply(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<ApplyResult> {
    caller.must(Verb::Operate)?;
    let (request, _turn) = body.documents::<ApplyRequest>(&api, &caller).await?;
    Ok(Json(api.control.apply(&caller.0, &request).await?))
}
