//! Responses: JSON, or a problem.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tamis_api::ApiProblem;

/// A response with status 200.
pub(crate) struct Json<T>(pub(crate) T);

/// A refusal.
#[derive(Debug)]
pub(crate) struct ProblemResponse(pub(crate) ApiProblem);

pub(crate) type Answer<T> = Result<Json<T>, ProblemResponse>;

impl From<ApiProblem> for ProblemResponse {
    fn from(problem: ApiProblem) -> Self {
        Self(problem)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => typed(StatusCode::OK, "application/json", body),
            Err(error) => {
                tracing::error!(%error, "a response cannot be written");
                typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Vec::new())
            }
        }
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let problem = self.0;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = typed(status, "application/problem+json", body);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"tamis\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A response with a body of that type.
pub(crate) fn typed(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // The state of the fleet must not be cached.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    response
}

/// A problem without refusals.
pub(crate) fn problem(
    status: u16,
    code: &str,
    title: impl Into<String>,
    remedy: &str,
) -> ProblemResponse {
    ProblemResponse(ApiProblem {
        status,
        code: code.to_owned(),
        title: title.into(),
        remedy: Some(remedy.to_owned()),
        refusals: Vec::new(),
        problems: Vec::new(),
        subject: None,
    })
}
