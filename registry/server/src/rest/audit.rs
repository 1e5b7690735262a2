//! The journal, and the transparency log (C2SP tlog-tiles).

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use tamis_api::{ApiProblem, LogPage, RunHistory};
use tamis_oci::Verb;
use utoipa::IntoParams;

use super::Api;
use super::answer::{Answer, Json, ProblemResponse, problem, typed};
use super::extract::{Caller, QueryOf};

/// Which part of the journal.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Entries after this revision; default: from the first on.
    #[serde(default)]
    after: u64,
    /// Most entries; default: 100, at most 1,000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000)]
    limit: usize,
}

fn hundred() -> usize {
    100
}

/// Which moment.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct HistoryMoment {
    /// `namespace/name` of a service or gateway.
    service: String,
    /// The moment, or the start of a range; milliseconds since the Unix epoch.
    at_ms: u64,
    /// The end of a range; default: a single moment.
    to_ms: Option<u64>,
}

/// A part of the journal.
#[utoipa::path(get, path = "/v1/log", tag = "audit", params(Page), responses(
    (status = 200, body = LogPage),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn log(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(page): QueryOf<Page>,
) -> Answer<LogPage> {
    caller.must(Verb::Observe)?;
    if !(1..=1_000).contains(&page.limit) {
        let title = format!("limit is {}, it must be 1 to 1000", page.limit);
        return Err(problem(
            400,
            "bad-request",
            title,
            "ask for fewer, and continue after the last one",
        ));
    }
    if i64::try_from(page.after).is_err() {
        let title = "after is larger than any revision";
        return Err(problem(
            400,
            "bad-request",
            title,
            "use the last revision of the previous page",
        ));
    }
    Ok(Json(api.control.log(&caller.0, page.after, page.limit).await?))
}

/// What ran for a service at a moment, with proof.
#[utoipa::path(get, path = "/v1/who-ran", tag = "audit", params(HistoryMoment), responses(
    (status = 200, body = RunHistory),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn who_ran(
    State(api): State<Api>,
    caller: Caller,
    QueryOf(moment): QueryOf<HistoryMoment>,
) -> Answer<RunHistory> {
    caller.must_at(Verb::Observe, &moment.service)?;
    Ok(Json(api.control.who_ran(&caller.0, &moment.service, moment.at_ms, moment.to_ms).await?))
}

/// The newest checkpoint of the transparency log, signed.
#[utoipa::path(get, path = "/log/checkpoint", tag = "audit", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn checkpoint(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Response, ProblemResponse> {
    caller.must(Verb::Observe)?;
    let note = api.control.checkpoint().await?;
    Ok(typed(StatusCode::OK, "text/plain; charset=utf-8", note.into_bytes()))
}

/// The key that signs checkpoints, as a verifier line of signed-note.
#[utoipa::path(get, path = "/log/key", tag = "audit", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn key(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Response, ProblemResponse> {
    caller.must(Verb::Observe)?;
    let line = format!("{}\n", api.control.log_key());
    Ok(typed(StatusCode::OK, "text/plain; charset=utf-8", line.into_bytes()))
}

/// A tile or an entry bundle: `/log/tile/…`.
pub(super) async fn tile(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, ProblemResponse> {
    // Tiles contain the hashes of all entries, and bundles the entries themselves.
    caller.must_at(Verb::Observe, "*")?;
    match api.control.tile(&path).await? {
        Some(bytes) => Ok(typed(StatusCode::OK, "application/octet-stream", bytes)),
        None => {
            let way = "/log/checkpoint has the size of the log";
            Ok(problem(404, "not-found", "the tile does not exist", way).into_response())
        }
    }
}
