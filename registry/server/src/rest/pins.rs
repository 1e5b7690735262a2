//! Pins, rollbacks, approvals, revocations, history.

use axum::extract::State;
use serde::Deserialize;
use tamis_api::{
    ApiProblem, ApprovalResult, ApproveRequest, HistoryItem, PinRequest, PinResult, PinView,
    ReassignRequest, ReassignResult, RevocationView, RevokeRequest, RollbackRequest, UnpinRequest,
};
use tamis_oci::Verb;
use utoipa::IntoParams;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Caller, QueryOf, UnreadBody};

/// Which pins.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ServiceQuery {
    /// `namespace/name` of a service or gateway, or `*`; default: all.
    service: Option<String>,
}

/// Which history.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// `namespace/name` of a service or gateway, or `*`.
    service: String,
    /// The filter's name; default: all.
    filter: Option<String>,
}

/// Pins in force.
#[utoipa::path(get, path = "/v1/pins", tag = "pins", params(ServiceQuery), responses(
    (status = 200, body = Vec<PinView>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(asked): QueryOf<ServiceQuery>,
) -> Answer<Vec<PinView>> {
    caller.must(Verb::Observe)?;
    let mut pins = api.control.pins(asked.service.as_deref());
    pins.retain(|pin| caller.0.may_with(Verb::Observe, &pin.service));
    Ok(Json(pins))
}

/// Pin a filter of a service: resolved once, verified as proxies will.
#[utoipa::path(post, path = "/v1/pins", tag = "pins", request_body = PinRequest, responses(
    (status = 200, body = PinResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn pin(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<PinResult> {
    caller.must(Verb::Operate)?;
    let request: PinRequest = body.json().await?;
    caller.must_with(Verb::Operate, &request.service)?;
    Ok(Json(api.control.pin(&caller.0, &request).await?))
}

/// Remove a pin.
#[utoipa::path(delete, path = "/v1/pins", tag = "pins", request_body = UnpinRequest, responses(
    (status = 200, body = PinResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn unpin(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<PinResult> {
    caller.must(Verb::Operate)?;
    let request: UnpinRequest = body.json().await?;
    caller.must_with(Verb::Operate, &request.service)?;
    Ok(Json(api.control.unpin(&caller.0, &request).await?))
}

/// Restore the previous pin: a new, higher assignment of the older digest.
#[utoipa::path(post, path = "/v1/rollback", tag = "pins", request_body = RollbackRequest, responses(
    (status = 200, body = PinResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn rollback(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<PinResult> {
    caller.must(Verb::Operate)?;
    let request: RollbackRequest = body.json().await?;
    caller.must_with(Verb::Operate, &request.service)?;
    Ok(Json(api.control.rollback(&caller.0, &request).await?))
}

/// Assign every slot of a service, or of all services, again with higher versions than proxies have seen.
#[utoipa::path(post, path = "/v1/reassign", tag = "pins", request_body = ReassignRequest, responses(
    (status = 200, body = ReassignResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn reassign(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<ReassignResult> {
    caller.must(Verb::Operate)?;
    let request: ReassignRequest = body.json().await?;
    caller.must_with(Verb::Operate, &request.service)?;
    Ok(Json(api.control.reassign(&caller.0, &request).await?))
}

/// Approve another person's change.
#[utoipa::path(post, path = "/v1/approvals", tag = "pins", request_body = ApproveRequest, responses(
    (status = 200, body = ApprovalResult),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn approve(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<ApprovalResult> {
    caller.must(Verb::Approve)?;
    let request: ApproveRequest = body.json().await?;
    Ok(Json(api.control.approve(&caller.0, &request).await?))
}

/// What is revoked.
#[utoipa::path(get, path = "/v1/revocations", tag = "pins", responses(
    (status = 200, body = Vec<RevocationView>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn revocations(
    State(api): State<Api>,
    caller: Caller,
) -> Answer<Vec<RevocationView>> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.revocations(&caller.0)))
}

/// Revoke a digest or a key, at once and everywhere.
#[utoipa::path(post, path = "/v1/revocations", tag = "pins", request_body = RevokeRequest, responses(
    (status = 200, body = RevocationView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<RevocationView> {
    if !api.control.decides(&caller.0) {
        return Err(caller.denied(Verb::Operate, "*"));
    }
    let request: RevokeRequest = body.json().await?;
    Ok(Json(api.control.revoke(&caller.0, &request).await?))
}

/// The events of the filters of a service, oldest first.
#[utoipa::path(get, path = "/v1/history", tag = "audit", params(HistoryQuery), responses(
    (status = 200, body = Vec<HistoryItem>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn history(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(asked): QueryOf<HistoryQuery>,
) -> Answer<Vec<HistoryItem>> {
    caller.must_with(Verb::Observe, &asked.service)?;
    Ok(Json(api.control.history(&caller.0, &asked.service, asked.filter.as_deref())?))
}
