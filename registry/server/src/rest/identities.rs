//! Identities of proxies: join tokens, what proxies have, revocation and rotation.

use axum::extract::State;
use serde::Deserialize;
use tamis_api::{
    ApiProblem, AuthorityView, CreatedJoinToken, IdentityRevokeRequest, IdentityView,
    JoinTokenRequest,
};
use tamis_oci::Verb;
use utoipa::IntoParams;

use super::Api;
use super::answer::{Answer, Json};
use super::extract::{Caller, QueryOf, UnreadBody};

/// The query of a list of identities.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct IdentityQuery {
    /// Only that of this proxy, like `sidecar:shop/pay/0`.
    node: Option<String>,
}

/// The identities of the proxies that the caller may observe.
#[utoipa::path(get, path = "/v1/identity/nodes", tag = "identity", params(IdentityQuery), responses(
    (status = 200, body = Vec<IdentityView>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(asked): QueryOf<IdentityQuery>,
) -> Answer<Vec<IdentityView>> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.identities(&caller.0, asked.node.as_deref()).await?))
}

/// Make a one-time token with which a proxy joins the mesh.
#[utoipa::path(post, path = "/v1/identity/tokens", tag = "identity", request_body = JoinTokenRequest, responses(
    (status = 200, body = CreatedJoinToken),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn token(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<CreatedJoinToken> {
    caller.must(Verb::Operate)?;
    let request: JoinTokenRequest = body.json().await?;
    Ok(Json(api.control.make_join_token(&caller.0, &request).await?))
}

/// Revoke the SVIDs and the unused tokens of a proxy.
#[utoipa::path(post, path = "/v1/identity/revocations", tag = "identity", request_body = IdentityRevokeRequest,
    responses(
    (status = 200, body = IdentityView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<IdentityView> {
    if !api.control.decides(&caller.0) {
        return Err(caller.denied(Verb::Operate, "*"));
    }
    let request: IdentityRevokeRequest = body.json().await?;
    Ok(Json(api.control.revoke_identity(&caller.0, &request).await?))
}

/// The authority, with the bundle that members of the mesh trust.
#[utoipa::path(get, path = "/v1/identity/authority", tag = "identity", responses(
    (status = 200, body = AuthorityView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn authority(State(api): State<Api>, caller: Caller) -> Answer<AuthorityView> {
    caller.must(Verb::Observe)?;
    Ok(Json(api.control.authority_view()?))
}

/// Rotate the intermediate that signs SVIDs.
#[utoipa::path(post, path = "/v1/identity/rotation", tag = "identity", responses(
    (status = 200, body = AuthorityView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn rotate(State(api): State<Api>, caller: Caller) -> Answer<AuthorityView> {
    if !api.control.decides(&caller.0) {
        return Err(caller.denied(Verb::Operate, "*"));
    }
    Ok(Json(api.control.rotate_intermediate(&caller.0).await?))
}
