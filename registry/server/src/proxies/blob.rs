//! The bytes of components, for proxies.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, header};
use tamis_journal::{BlobDigest, BlobError};

use super::{Proxies, stranger};
use crate::plane::ProvenProxy;
use crate::rest::{ProblemResponse, problem};

/// Any blob, for any proxy: it must know the digest, which only assignments and manifests contain.
pub(super) async fn blob(
    State(proxies): State<Proxies>,
    Extension(peer): Extension<ProvenProxy>,
    Path(digest): Path<String>,
) -> Result<Response, ProblemResponse> {
    if peer.id.is_none() {
        return Err(stranger());
    }
    proxies.control.refuse_revoked(&peer).await?;
    let digest: BlobDigest = digest.parse().map_err(|_| {
        problem(400, "bad-request", "that is not a digest", "write it as in the manifest")
    })?;
    let blobs = proxies.store.blobs();
    let failed = |error: BlobError| {
        tracing::warn!(%error, %digest, "a blob cannot be read");
        problem(503, "unavailable", "the blobs cannot be reached", "try again")
    };
    let Some(size) = blobs.stat(&digest).await.map_err(failed)? else {
        return Err(problem(404, "not-found", "the blob does not exist", "push the filter again"));
    };
    let body = blobs.get(&digest, None).await.map_err(failed)?;
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
