//! Documents in force, and what each proxy runs.

use axum::extract::{Path, State};
use serde::Deserialize;
use tamis_api::{
    ApiProblem, DocumentText, DocumentVersion, FleetStatus, ResourceList, ResourceView,
};
use tamis_oci::Verb;
use tamis_resources::NodeName;
use utoipa::IntoParams;

use super::Api;
use super::answer::{Answer, Json, problem};
use super::extract::{Caller, QueryOf};

/// Which documents.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DocumentQuery {
    /// Their kind; default: all.
    kind: Option<String>,
    /// Their namespace; default: all.
    namespace: Option<String>,
}

/// Whose status.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// `namespace/name` of a service or gateway; default: all.
    service: Option<String>,
}

/// Documents in force.
#[utoipa::path(get, path = "/v1/resources", tag = "documents", params(DocumentQuery), responses(
    (status = 200, body = ResourceList),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(asked): QueryOf<DocumentQuery>,
) -> Answer<ResourceList> {
    caller.must(Verb::Observe)?;
    api.control.know_plans().await;
    api.control.know_signatures().await;
    let mut list = api.control.resources(asked.kind.as_deref(), asked.namespace.as_deref());
    list.items
        .retain(|one| caller.0.may_at(Verb::Observe, &format!("{}/{}", one.namespace, one.name)));
    Ok(Json(list))
}

/// A document in force, its conditions, and whether each proxy does what it says.
#[utoipa::path(get, path = "/v1/resources/{kind}/{namespace}/{name}", tag = "documents", params(
    ("kind" = String, Path, description = "Its kind."),
    ("namespace" = String, Path, description = "Its namespace."),
    ("name" = String, Path, description = "Its name."),
), responses(
    (status = 200, body = ResourceView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Answer<ResourceView> {
    caller.must_at(Verb::Observe, &format!("{namespace}/{name}"))?;
    api.control.know_plans().await;
    api.control.know_signatures().await;
    let mut resource = api.control.resource(&kind, &namespace, &name)?;
    resource.programmed.retain(|one| sees(&caller, &one.node));
    Ok(Json(resource))
}

/// The versions of a document, oldest first, with who changed what and when.
#[utoipa::path(get, path = "/v1/resources/{kind}/{namespace}/{name}/versions", tag = "documents", params(
    ("kind" = String, Path, description = "Its kind."),
    ("namespace" = String, Path, description = "Its namespace."),
    ("name" = String, Path, description = "Its name."),
), responses(
    (status = 200, body = Vec<DocumentVersion>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn versions(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Answer<Vec<DocumentVersion>> {
    caller.must_at(Verb::Observe, &format!("{namespace}/{name}"))?;
    Ok(Json(api.control.versions(&kind, &namespace, &name)?))
}

/// The text of a document as a revision put it in force.
#[utoipa::path(get, path = "/v1/resources/{kind}/{namespace}/{name}/at/{revision}", tag = "documents", params(
    ("kind" = String, Path, description = "Its kind."),
    ("namespace" = String, Path, description = "Its namespace."),
    ("name" = String, Path, description = "Its name."),
    ("revision" = u64, Path, description = "The revision."),
), responses(
    (status = 200, body = DocumentText),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn text_at(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, namespace, name, revision)): Path<(String, String, String, String)>,
) -> Answer<DocumentText> {
    caller.must_at(Verb::Observe, &format!("{namespace}/{name}"))?;
    let revision = revision.parse().map_err(|_| {
        problem(400, "bad-request", "a revision must be a number", "`tamis history` lists them")
    })?;
    Ok(Json(api.control.text_at((&kind, &namespace, &name), revision).await?))
}

/// Every proxy and slot: what is assigned, what runs, since when, and why it does not.
#[utoipa::path(get, path = "/v1/status", tag = "status", params(StatusQuery), responses(
    (status = 200, body = FleetStatus),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn status(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(asked): QueryOf<StatusQuery>,
) -> Answer<FleetStatus> {
    match &asked.service {
        Some(service) => caller.must_at(Verb::Observe, service)?,
        None => caller.must(Verb::Observe)?,
    }
    api.control.know_plans().await;
    api.control.know_signatures().await;
    let mut status = api.control.status(asked.service.as_deref());
    status.proxies.retain(|proxy| caller.0.may_at(Verb::Observe, &proxy.service));
    Ok(Json(status))
}

/// Whether the caller may see a proxy.
fn sees(caller: &Caller, node: &str) -> bool {
    node.parse::<NodeName>().is_ok_and(|node| caller.0.may_at(Verb::Observe, node.key()))
}
