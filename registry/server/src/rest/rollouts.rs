//! Rollouts.

use axum::extract::{Path, State};
use tamis_api::{ApiProblem, MoveRequest, RolloutRequest, RolloutView};
use tamis_oci::Verb;

use super::Api;
use super::answer::{Answer, Json, ProblemResponse};
use super::extract::{Caller, UnreadBody};

/// All rollouts, including ended ones.
#[utoipa::path(get, path = "/v1/rollouts", tag = "rollouts", responses(
    (status = 200, body = Vec<RolloutView>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Answer<Vec<RolloutView>> {
    caller.must(Verb::Observe)?;
    let mut rollouts = api.control.rollouts();
    rollouts.retain(|one| one.services.iter().all(|it| caller.0.may_with(Verb::Observe, it)));
    Ok(Json(rollouts))
}

/// Start a rollout.
#[utoipa::path(post, path = "/v1/rollouts", tag = "rollouts", request_body = RolloutRequest, responses(
    (status = 200, body = RolloutView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn start(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<RolloutView> {
    caller.must(Verb::Operate)?;
    let request: RolloutRequest = body.json().await?;
    for service in &request.services {
        caller.must_with(Verb::Operate, service)?;
    }
    Ok(Json(api.control.start_rollout(&caller.0, &request).await?))
}

/// A rollout and its progress.
#[utoipa::path(get, path = "/v1/rollouts/{name}", tag = "rollouts",
    params(("name" = String, Path, description = "The rollout's name.")), responses(
    (status = 200, body = RolloutView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<RolloutView> {
    caller.must(Verb::Observe)?;
    Ok(Json(found(&api, &caller, Verb::Observe, &name)?))
}

/// Pause, resume, advance, abort or kill a rollout.
#[utoipa::path(post, path = "/v1/rollouts/{name}/move", tag = "rollouts", request_body = MoveRequest,
    params(("name" = String, Path, description = "The rollout's name.")), responses(
    (status = 200, body = RolloutView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: UnreadBody,
) -> Answer<RolloutView> {
    caller.must(Verb::Operate)?;
    found(&api, &caller, Verb::Operate, &name)?;
    let request: MoveRequest = body.json().await?;
    Ok(Json(api.control.move_rollout_by(&caller.0, &name, &request).await?))
}

/// A rollout by its name. Its existence is only revealed to callers who have that right everywhere, or for
/// all of its services.
fn found(
    api: &Api,
    caller: &Caller,
    verb: Verb,
    name: &str,
) -> Result<RolloutView, ProblemResponse> {
    match api.control.rollout(name) {
        Err(_) if !caller.0.may_at(verb, "*") => Err(caller.denied(verb, "that rollout")),
        Ok(one) if !one.services.iter().all(|it| caller.0.may_with(verb, it)) => {
            Err(caller.denied(verb, "that rollout"))
        }
        found => Ok(found?),
    }
}
