//! The OpenAPI description.

use axum::response::Response;
use http::StatusCode;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::answer::typed;
use super::{audit, changes, identities, pins, resources, rollouts, tokens};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tamis control plane",
        description = "Documents, pins, rollouts, and what each proxy runs. Every refusal names the rule and the way out.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        changes::plan, changes::apply, resources::list, resources::one, resources::versions, resources::text_at,
        resources::status, pins::list, pins::pin, pins::unpin, pins::rollback, pins::approve, pins::reassign,
        tokens::list, tokens::create, tokens::revoke, tokens::rotate, pins::revocations, pins::revoke, pins::history,
        identities::list, identities::token, identities::revoke, identities::authority, identities::rotate,
        rollouts::list,
        rollouts::start, rollouts::one, rollouts::change, audit::log, audit::who_ran, audit::checkpoint, audit::key,
    ),
    modifiers(&Tokens),
    security(("token" = [])),
)]
struct OpenApiDocument;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", scheme);
    }
}

/// The OpenAPI 3.1 document of the API, as JSON with a line break at its end.
///
/// # Errors
/// It cannot be written as JSON, which would be a defect.
pub fn document() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&OpenApiDocument::openapi()).map(|text| text + "\n")
}

/// Needs no token: it reveals nothing about the registry's content.
pub(super) async fn served() -> Response {
    let document = document().unwrap_or_default();
    typed(StatusCode::OK, "application/json", document.into_bytes())
}
