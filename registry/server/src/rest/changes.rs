//! Documents: what an apply would do, and doing it.

use axum::extract::State;
use tamis_api::{Applied, ApplyRequest, Planned, Problem};
use tamis_oci::Verb;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Caller, Sent};

/// What an apply would do. Changes nothing.
#[utoipa::path(post, path = "/v1/plan", tag = "documents", request_body = ApplyRequest, responses(
    (status = 200, body = Planned),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn plan(
    State(api): State<Api>,
    caller: Caller,
    Sent(request): Sent<ApplyRequest>,
) -> Answer<Planned> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.plan(caller.actor(), &request).await?))
}

/// Put documents in force and take documents out, all or nothing.
#[utoipa::path(post, path = "/v1/apply", tag = "documents", request_body = ApplyRequest, responses(
    (status = 200, body = Applied),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn apply(
    State(api): State<Api>,
    caller: Caller,
    Sent(request): Sent<ApplyRequest>,
) -> Answer<Applied> {
    caller.must(Verb::Operate)?;
    let may = |place: &str| caller.0.may_at(Verb::Operate, place);
    Ok(Json(api.control.apply(caller.actor(), &request, &may).await?))
}
