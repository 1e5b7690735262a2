//! The REST API of the control plane: JSON in, JSON out, every refusal a problem with its way out.

#![expect(unused_qualifications, reason = "what the macros of the OpenAPI document write")]

use crate::plane::Control;
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use tamis_api::{ApiProblem, paths};
use tamis_oci::Store;

mod answer;
mod audit;
mod changes;
mod extract;
mod identities;
mod openapi;
mod pins;
mod resources;
mod rollouts;
mod tokens;

pub(crate) use answer::{ProblemResponse, problem, typed};
pub(crate) use extract::Caller;
pub use openapi::document;

/// The state that all endpoints share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) control: Control,
    pub(crate) store: Store,
    turns: extract::BodyPermits,
}

impl Api {
    pub(crate) fn new(control: Control, store: Store) -> Self {
        Self { control, store, turns: extract::BodyPermits::default() }
    }
}

/// The endpoints below `/v1`, and the log below `/log`.
pub(crate) fn router(control: Control, store: Store) -> Router {
    Router::new()
        .route(paths::PLAN, post(changes::plan))
        .route(paths::APPLY, post(changes::apply))
        .route(paths::RESOURCES, get(resources::list))
        .route("/v1/resources/{kind}/{namespace}/{name}", get(resources::one))
        .route("/v1/resources/{kind}/{namespace}/{name}/versions", get(resources::versions))
        .route("/v1/resources/{kind}/{namespace}/{name}/at/{revision}", get(resources::text_at))
        .route(paths::STATUS, get(resources::status))
        .route(paths::PINS, get(pins::list).post(pins::pin).delete(pins::unpin))
        .route(paths::ROLLBACK, post(pins::rollback))
        .route(paths::APPROVALS, post(pins::approve))
        .route(paths::REASSIGN, post(pins::reassign))
        .route(paths::REVOCATIONS, get(pins::revocations).post(pins::revoke))
        .route(paths::TOKENS, get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{name}", delete(tokens::revoke))
        .route("/v1/tokens/{name}/rotate", post(tokens::rotate))
        .route(paths::IDENTITIES, get(identities::list))
        .route(paths::JOIN_TOKENS, post(identities::token))
        .route(paths::IDENTITY_REVOCATIONS, post(identities::revoke))
        .route(paths::AUTHORITY, get(identities::authority))
        .route(paths::ROTATION, post(identities::rotate))
        .route(paths::HISTORY, get(pins::history))
        .route(paths::ROLLOUTS, get(rollouts::list).post(rollouts::start))
        .route("/v1/rollouts/{name}", get(rollouts::one))
        .route("/v1/rollouts/{name}/move", post(rollouts::change))
        .route(paths::LOG, get(audit::log))
        .route(paths::WHO_RAN, get(audit::who_ran))
        .route(paths::OPENAPI, get(openapi::served))
        .route(paths::CHECKPOINT, get(audit::checkpoint))
        .route(paths::LOG_KEY, get(audit::key))
        .route("/log/{*tile}", get(audit::tile))
        .method_not_allowed_fallback(not_allowed)
        .with_state(Api::new(control, store))
}

/// The address exists, but not with this method.
async fn not_allowed() -> Response {
    ProblemResponse(ApiProblem {
        status: 405,
        code: "method".to_owned(),
        title: "this address does not support that method".to_owned(),
        remedy: Some(format!("{} lists its methods", paths::OPENAPI)),
        refusals: Vec::new(),
        problems: Vec::new(),
        subject: None,
    })
    .into_response()
}
