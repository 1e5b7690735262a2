//! Documents in force, and who runs what.

use axum::extract::{Path, State};
use serde::Deserialize;
use tamis_api::{Problem, Resource, ResourceList, Status};
use tamis_oci::Verb;
use utoipa::IntoParams;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Asked, Caller};

/// Which documents.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Their kind; all when not said.
    kind: Option<String>,
    /// Their namespace; all when not said.
    namespace: Option<String>,
}

/// Whose status.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// `namespace/name` of a service or gateway; all when not said.
    service: Option<String>,
}

/// Documents in force.
#[utoipa::path(get, path = "/v1/resources", tag = "documents", params(Which), responses(
    (status = 200, body = ResourceList),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<Which>,
) -> Answer<ResourceList> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.resources(asked.kind.as_deref(), asked.namespace.as_deref())))
}

/// A document in force, its conditions, and whether each proxy does what it says.
#[utoipa::path(get, path = "/v1/resources/{kind}/{namespace}/{name}", tag = "documents", params(
    ("kind" = String, Path, description = "Its kind."),
    ("namespace" = String, Path, description = "Its namespace."),
    ("name" = String, Path, description = "Its name."),
), responses(
    (status = 200, body = Resource),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Answer<Resource> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.resource(&kind, &namespace, &name)?))
}

/// Every proxy and slot: what it is assigned, what it runs, since when, why not.
#[utoipa::path(get, path = "/v1/status", tag = "status", params(Whose), responses(
    (status = 200, body = Status),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn status(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<Whose>,
) -> Answer<Status> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.status(asked.service.as_deref())))
}
