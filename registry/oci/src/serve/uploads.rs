//! Writing blobs: everything below `/v2/NAME/blobs/uploads/`.

use axum::body::Body;
use axum::response::Response;
use bytes::BytesMut;
use futures_util::TryStreamExt as _;
use http::{HeaderName, StatusCode, header};
use tamis_journal::{BlobDigest, BlobError, Blobs, UploadId};

use super::{CONTENT_DIGEST, Call, empty};
use crate::access::Verb;
use crate::author::Author;
use crate::change::Change;
use crate::name::Repository;
use crate::range;
use crate::refusal::{Code, OciRefusal};
use crate::store::Decision;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Bytes of a body gathered before they are written to storage.
const PIECE: usize = 1 << 20;

/// `POST`: mounts a blob, accepts a whole one, or begins an upload.
pub(super) async fn begin(
    call: &Call,
    repository: Repository,
    body: Body,
) -> Result<Response, OciRefusal> {
    if let Some(algorithm) = call.query.first("digest-algorithm")
        && !matches!(algorithm, "sha256" | "sha512")
    {
        let message = format!("digests are sha256 or sha512 here, not {algorithm:?}");
        return Err(OciRefusal::new(Code::DigestInvalid, message));
    }
    if let Some(digest) = call.query.first("mount") {
        let digest = digest.parse()?;
        if mount(call, &repository, &digest).await? {
            return Ok(created(&repository, &digest));
        }
    }
    let digest = call.query.first("digest").map(str::parse::<BlobDigest>).transpose()?;
    let upload = call.store.blobs.begin(&owner(call, &repository)).await?;
    let Some(digest) = digest else {
        return Ok(going_on(StatusCode::ACCEPTED, &repository, &upload, 0));
    };
    let chunk = Chunk { start: 0, length: call.content_length() };
    receive(call, &upload, chunk, body).await?;
    link(call, repository, &upload, digest).await
}

/// Makes a blob of another repository available in this one, if the caller may pull it there. The caller
/// names the other repository, or any that it may pull from is used.
async fn mount(call: &Call, to: &Repository, digest: &BlobDigest) -> Result<bool, OciRefusal> {
    let from: Option<Repository> = match call.query.first("from") {
        None => None,
        Some(text) => Some(text.parse()?),
    };
    call.store
        .commit(&call.caller, |view| {
            let mut sources = view.holders(digest).filter(|holder| {
                from.as_ref().is_none_or(|from| from == *holder)
                    && call.caller.may(Verb::Pull, holder)
            });
            let Some(link) = sources.find_map(|source| view.link(source, digest)) else {
                // The same as if there were no such blob: a caller who may not pull it does not learn that
                // it exists.
                return Ok(Decision { changes: Vec::new(), present: Vec::new(), value: false });
            };
            let (repository, digest) = (to.clone(), digest.clone());
            let present = vec![digest.clone()];
            let changes = vec![Change::BlobLinked { repository, digest, size: link.size }];
            Ok(Decision { changes, present, value: true })
        })
        .await
}

/// The owner of an upload. Only the caller that began it may continue it, in the same repository.
fn owner(call: &Call, repository: &Repository) -> String {
    format!("{repository} {}", call.caller.actor())
}

/// The upload of that id; one of somebody else is not there.
fn own(call: &Call, repository: &Repository, id: &str) -> Result<UploadId, OciRefusal> {
    let upload: UploadId = id.parse()?;
    if upload.is_of(&owner(call, repository)) {
        return Ok(upload);
    }
    Err(BlobError::UnknownUpload(upload).into())
}

/// `GET`: the progress of an upload.
pub(super) async fn status(
    call: &Call,
    repository: &Repository,
    id: &str,
) -> Result<Response, OciRefusal> {
    let upload = own(call, repository, id)?;
    let size = call.store.blobs.size(&upload).await?;
    Ok(going_on(StatusCode::NO_CONTENT, repository, &upload, size))
}

/// `PATCH`: the next chunk, or everything.
pub(super) async fn append(
    call: &Call,
    repository: &Repository,
    id: &str,
    body: Body,
) -> Result<Response, OciRefusal> {
    let upload = own(call, repository, id)?;
    let chunk = chunk(call, repository, &upload).await?;
    let size = receive(call, &upload, chunk, body).await?;
    Ok(going_on(StatusCode::ACCEPTED, repository, &upload, size))
}

/// `PUT`: the last chunk, or none, and the digest of the whole.
pub(super) async fn finish(
    call: &Call,
    repository: Repository,
    id: &str,
    body: Body,
) -> Result<Response, OciRefusal> {
    let upload = own(call, &repository, id)?;
    let Some(digest) = call.query.first("digest") else {
        let message = "the digest is missing; add ?digest=ALGORITHM:HEX of the whole content";
        return Err(OciRefusal::new(Code::DigestInvalid, message));
    };
    let digest = digest.parse()?;
    let chunk = chunk(call, &repository, &upload).await?;
    receive(call, &upload, chunk, body).await?;
    link(call, repository, &upload, digest).await
}

/// `DELETE`: cancels it.
pub(super) async fn cancel(
    call: &Call,
    repository: &Repository,
    id: &str,
) -> Result<Response, OciRefusal> {
    call.store.blobs.cancel(&own(call, repository, id)?).await?;
    Ok(empty(StatusCode::NO_CONTENT, &[]))
}

/// A piece of content being uploaded.
struct Chunk {
    /// Its offset in the blob.
    start: u64,
    /// The number of bytes it must have; `None`: until it ends.
    length: Option<u64>,
}

/// The chunk described by the request; it must begin where the upload ends.
async fn chunk(
    call: &Call,
    repository: &Repository,
    upload: &UploadId,
) -> Result<Chunk, OciRefusal> {
    let size = call.store.blobs.size(upload).await?;
    let length = call.content_length();
    let Some(field) = call.header(&header::CONTENT_RANGE) else {
        return Ok(Chunk { start: size, length });
    };
    let Some((first, last)) = range::chunk(field) else {
        let message = format!("Content-Range is {field:?}, not FIRST-LAST such as 0-1023");
        return Err(OciRefusal::new(Code::BlobUploadInvalid, message));
    };
    if first != size {
        let message = format!("the upload has {size} bytes: the next chunk must begin there");
        return Err(OciRefusal::new(Code::BlobUploadInvalid, message)
            .status(StatusCode::RANGE_NOT_SATISFIABLE)
            .header(header::LOCATION, &location(repository, upload))
            .header(header::RANGE, &held(size)));
    }
    let stated = last.saturating_sub(first).saturating_add(1);
    if length.is_some_and(|length| length != stated) {
        let message = format!("Content-Range says {stated} bytes, Content-Length another number");
        return Err(OciRefusal::new(Code::SizeInvalid, message).status(StatusCode::BAD_REQUEST));
    }
    Ok(Chunk { start: first, length: Some(stated) })
}

/// Receives a body piece by piece, and returns the size of the upload. Bytes received before a failure are
/// kept, so that the client can continue from there.
async fn receive(
    call: &Call,
    upload: &UploadId,
    chunk: Chunk,
    body: Body,
) -> Result<u64, OciRefusal> {
    let store = &call.store;
    let limit = store.limits.max_blob_bytes;
    if chunk.start.saturating_add(chunk.length.unwrap_or(0)) > limit {
        return Err(too_large(&store.blobs, upload, limit).await);
    }
    let mut stream = body.into_data_stream();
    let (mut size, mut buffer, mut received) = (chunk.start, BytesMut::new(), 0_u64);
    let broken = loop {
        match stream.try_next().await {
            Ok(Some(data)) => {
                received = received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                if chunk.start.saturating_add(received) > limit {
                    return Err(too_large(&store.blobs, upload, limit).await);
                }
                buffer.extend_from_slice(&data);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
        if buffer.len() >= PIECE {
            size = write(call, upload, size, &mut buffer).await?;
        }
    };
    if !buffer.is_empty() {
        size = write(call, upload, size, &mut buffer).await?;
    }
    if let Some(error) = broken {
        let message = format!("the body ended early ({error}); continue after the bytes in Range");
        return Err(OciRefusal::new(Code::BlobUploadInvalid, message));
    }
    match chunk.length {
        Some(length) if length != received => {
            let message = format!("{received} bytes arrived, not the stated {length}");
            Err(OciRefusal::new(Code::SizeInvalid, message).status(StatusCode::BAD_REQUEST))
        }
        _ => Ok(size),
    }
}

/// A token that was revoked meanwhile stores no more.
async fn write(
    call: &Call,
    upload: &UploadId,
    offset: u64,
    buffer: &mut BytesMut,
) -> Result<u64, OciRefusal> {
    call.must_hold()?;
    match call.store.blobs.append(upload, offset, buffer.split().freeze()).await {
        Err(BlobError::OutOfOrder { expected }) => {
            let message = "another request writes to the upload at the same time; ask for its size";
            Err(OciRefusal::new(Code::BlobUploadInvalid, message)
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::RANGE, &held(expected)))
        }
        Err(full @ BlobError::Full) => {
            // What was received would take the room of others until it is stale.
            if let Err(error) = call.store.blobs.cancel(upload).await {
                tracing::debug!(%error, "an upload that has no room stays until it is stale");
            }
            Err(full.into())
        }
        other => Ok(other?),
    }
}

/// The upload can never be finished, so it is deleted.
async fn too_large(blobs: &Blobs, upload: &UploadId, limit: u64) -> OciRefusal {
    if let Err(error) = blobs.cancel(upload).await {
        tracing::debug!(%error, "an upload that is too large stays until it is stale");
    }
    OciRefusal::new(Code::SizeInvalid, format!("a blob may have at most {limit} bytes here"))
}

/// Makes the upload a blob of the repository.
async fn link(
    call: &Call,
    repository: Repository,
    upload: &UploadId,
    digest: BlobDigest,
) -> Result<Response, OciRefusal> {
    let store = &call.store;
    store.must_still_hold(Author::from(&call.caller)).await?;
    let finished = store.blobs.finish(upload, &digest).await;
    if let Err(BlobError::DigestMismatch { .. }) = &finished
        && let Err(error) = store.blobs.cancel(upload).await
    {
        tracing::debug!(%error, "an upload of another digest stays until it is stale");
    }
    let size = finished?;
    store
        .commit(&call.caller, |_| {
            // Written even if it exists already: pushing a blob again renews its age for garbage
            // collection.
            let (repository, digest) = (repository.clone(), digest.clone());
            let present = vec![digest.clone()];
            let changes = vec![Change::BlobLinked { repository, digest, size }];
            Ok(Decision { changes, present, value: () })
        })
        .await?;
    Ok(created(&repository, &digest))
}

fn created(repository: &Repository, digest: &BlobDigest) -> Response {
    let location = format!("/v2/{repository}/blobs/{digest}");
    let headers = [(header::LOCATION, location.as_str()), (CONTENT_DIGEST, &digest.to_string())];
    empty(StatusCode::CREATED, &headers)
}

fn going_on(status: StatusCode, repository: &Repository, upload: &UploadId, size: u64) -> Response {
    let location = location(repository, upload);
    let headers = [
        (header::LOCATION, location.as_str()),
        (header::RANGE, &held(size)),
        (UPLOAD_ID, upload.as_str()),
    ];
    empty(status, &headers)
}

fn location(repository: &Repository, upload: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{upload}")
}

/// First and last byte received; the specification cannot express that there are none.
fn held(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}
