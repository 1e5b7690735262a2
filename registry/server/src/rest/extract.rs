//! From a request to who asks and for what.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use tamis_oci::{Bearer, Verb};

use super::Api;
use super::answer::{Refused, problem};

/// Who asks.
pub(crate) struct Caller(pub(crate) Bearer);

impl Caller {
    pub(crate) fn actor(&self) -> &str {
        self.0.actor()
    }

    /// Refuses who may not do that anywhere.
    pub(crate) fn must(&self, verb: Verb) -> Result<(), Refused> {
        if self.0.may(verb) { Ok(()) } else { Err(self.denied(verb, "anywhere")) }
    }

    /// Refuses who may not do that there.
    pub(crate) fn must_at(&self, verb: Verb, place: &str) -> Result<(), Refused> {
        if self.0.may_at(verb, place) { Ok(()) } else { Err(self.denied(verb, place)) }
    }

    fn denied(&self, verb: Verb, place: &str) -> Refused {
        let (verb, actor) = (verb.as_str(), self.actor());
        let place: String = place.chars().filter(|one| !one.is_control()).take(120).collect();
        let title = format!("{actor} may not {verb} at {place}");
        let way =
            format!("`tamis registry token create NAME --verb {verb}` makes a token that may");
        if actor == "anonymous" {
            return unauthorized(&title);
        }
        problem(403, "denied", title, &way)
    }
}

fn unauthorized(title: &str) -> Refused {
    problem(401, "unauthorized", title, "send a token: `Authorization: Bearer TOKEN`")
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refused> {
        let bearer = api.store.bearer(&parts.headers).await.map_err(|error| {
            tracing::error!(%error, "the journal cannot be read");
            let title = "the journal cannot be read, so nobody can be known";
            problem(503, "unavailable", title, "try again; the registry's log says why")
        })?;
        bearer.map(Self).ok_or_else(|| unauthorized("nobody has these credentials"))
    }
}

/// A body of JSON.
pub(crate) struct Sent<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Sent<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refused> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let title = "the body has to be JSON";
            return Err(problem(415, "media-type", title, "send Content-Type: application/json"));
        }
        let bytes = Bytes::from_request(request, api).await.map_err(|error| unread(&error))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let title = format!("the body is not what this address takes: {error}");
            problem(400, "bad-request", title, "/v1/openapi.json says what it takes")
        })
    }
}

fn unread(error: &BytesRejection) -> Refused {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return problem(413, "too-large", "the body has more than 64 MiB", "send it in parts");
    }
    problem(400, "bad-request", "the body ended early", "send it again")
}

/// What stands behind the `?`.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refused> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            let title = format!("the query is not what this address takes: {error}");
            problem(400, "bad-request", title, "/v1/openapi.json says what it takes")
        })?;
        Ok(Self(query.0))
    }
}
