//! Reading blobs: `GET`, `HEAD` and `DELETE` of `/v2/NAME/blobs/DIGEST`.

use axum::body::Body;
use axum::response::Response;
use http::{StatusCode, header};
use tamis_journal::BlobDigest;

use super::{CONTENT_DIGEST, Call, empty, entity_tag};
use crate::change::Change;
use crate::condition::NoneMatch;
use crate::name::Repository;
use crate::range::{RequestedRange, asked};
use crate::refusal::{Code, OciRefusal};
use crate::store::Decision;

/// The content of a digest never changes.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

pub(super) async fn get(
    call: &Call,
    repository: &Repository,
    digest: &str,
) -> Result<Response, OciRefusal> {
    let digest: BlobDigest = digest.parse()?;
    let link = call.store.seek(|view| view.link(repository, &digest)).await?;
    let size = link.ok_or_else(|| unknown(&digest))?.size;
    let tag = entity_tag(&digest);
    // Before any range: nothing is sent of what the client has (RFC 9110 §13.2.2).
    if call.none_match(Some(&tag)) == NoneMatch::Fails {
        return Ok(not_modified(&digest));
    }
    // The client would append a range of another representation to what it has (RFC 9110 §13.1.5).
    let same = call.header(&header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let range = call.header(&header::RANGE).filter(|_| same);
    let (status, part) = match asked(range, size) {
        RequestedRange::Whole => (StatusCode::OK, 0..size),
        RequestedRange::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        RequestedRange::Unsatisfiable => {
            let message = format!("the blob has {size} bytes, and the range lies outside of it");
            return Err(OciRefusal::new(Code::SizeInvalid, message)
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let length = part.end.saturating_sub(part.start).to_string();
    let shown = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    let text = digest.to_string();
    let mut headers = vec![
        (CONTENT_DIGEST, text.as_str()),
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_LENGTH, length.as_str()),
        (header::ACCEPT_RANGES, "bytes"),
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, FOR_EVER),
        // Anybody may push blobs: a browser must not render them.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        headers.push((header::CONTENT_RANGE, shown.as_str()));
    }
    let mut response = empty(status, &headers);
    let wanted = (status == StatusCode::PARTIAL_CONTENT).then_some(part);
    // For HEAD the stream is dropped before it is read.
    *response.body_mut() = Body::from_stream(call.store.blobs.get(&digest, wanted).await?);
    Ok(response)
}

/// The client has the blob already. The fields are those that a 200 would have, as far as they help a cache
/// (RFC 9110 §15.4.5), and the digest.
fn not_modified(digest: &BlobDigest) -> Response {
    let headers = [
        (CONTENT_DIGEST, digest.to_string()),
        (header::ETAG, entity_tag(digest)),
        (header::CACHE_CONTROL, FOR_EVER.to_owned()),
    ];
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
    empty(StatusCode::NOT_MODIFIED, &headers)
}

/// Removes the blob from the repository. Its bytes stay until nothing refers to them.
pub(super) async fn delete(
    call: &Call,
    repository: Repository,
    digest: &str,
) -> Result<Response, OciRefusal> {
    let digest: BlobDigest = digest.parse()?;
    call.store
        .commit(&call.caller, |view| {
            let contents = view.contents(&repository).ok_or_else(|| unknown(&digest))?;
            if !contents.blobs.contains_key(&digest) {
                return Err(unknown(&digest));
            }
            if contents.uses(&digest) {
                let message = "a manifest of the repository refers to the blob; delete that first";
                return Err(OciRefusal::new(Code::Unsupported, message));
            }
            let (repository, digest) = (repository.clone(), digest.clone());
            let changes = vec![Change::BlobUnlinked { repository, digest }];
            Ok(Decision { changes, present: Vec::new(), value: () })
        })
        .await?;
    Ok(empty(StatusCode::ACCEPTED, &[]))
}

fn unknown(digest: &BlobDigest) -> OciRefusal {
    OciRefusal::new(Code::BlobUnknown, format!("the repository has no blob {digest}"))
}
