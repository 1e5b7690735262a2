//! Rollouts.

use axum::extract::{Path, State};
use tamis_api::{MoveRequest, Problem, RolloutRequest, RolloutView};
use tamis_oci::Verb;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Caller, Sent};

/// All rollouts there ever were.
#[utoipa::path(get, path = "/v1/rollouts", tag = "rollouts", responses(
    (status = 200, body = Vec<RolloutView>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Answer<Vec<RolloutView>> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.rollouts()))
}

/// Begin a rollout.
#[utoipa::path(post, path = "/v1/rollouts", tag = "rollouts", request_body = RolloutRequest, responses(
    (status = 200, body = RolloutView),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn start(
    State(api): State<Api>,
    caller: Caller,
    Sent(request): Sent<RolloutRequest>,
) -> Answer<RolloutView> {
    caller.must(Verb::Operate)?;
    for service in &request.services {
        caller.must_at(Verb::Operate, service)?;
    }
    Ok(Json(api.control.start_rollout(caller.actor(), &request).await?))
}

/// A rollout and how far it is.
#[utoipa::path(get, path = "/v1/rollouts/{name}", tag = "rollouts",
    params(("name" = String, Path, description = "The rollout's name.")), responses(
    (status = 200, body = RolloutView),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<RolloutView> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.rollout(&name)?))
}

/// Pause, resume, advance, abort or kill a rollout.
#[utoipa::path(post, path = "/v1/rollouts/{name}/move", tag = "rollouts", request_body = MoveRequest,
    params(("name" = String, Path, description = "The rollout's name.")), responses(
    (status = 200, body = RolloutView),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Sent(request): Sent<MoveRequest>,
) -> Answer<RolloutView> {
    caller.must(Verb::Operate)?;
    for service in api.control.rollout(&name)?.services {
        caller.must_at(Verb::Operate, &service)?;
    }
    Ok(Json(api.control.move_rollout_by(caller.actor(), &name, &request).await?))
}
