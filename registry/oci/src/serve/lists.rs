//! Lists: the tags of a repository, and the manifests that refer to another.

use std::ops::Bound;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tamis_journal::BlobDigest;

use super::{Call, empty};
use crate::manifest::{INDEX, OciManifest};
use crate::name::{Repository, Tag};
use crate::refusal::{Code, OciRefusal};
use crate::view::{KeptManifest, RegistryView};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Most tags in a response.
const MAX_PAGE: usize = 1_000;

/// `GET /v2/NAME/tags/list?n=&last=`: the tags after `last` in the order of their bytes, at most `n`.
pub(super) async fn tags(call: &Call, repository: &Repository) -> Result<Response, OciRefusal> {
    let most = match call.query.first("n") {
        None => MAX_PAGE,
        Some(text) => {
            let number = text.parse::<usize>().map_err(|_| {
                let message = format!("n is {text:?}, not a number of tags");
                OciRefusal::new(Code::Unsupported, message).status(StatusCode::BAD_REQUEST)
            })?;
            number.min(MAX_PAGE)
        }
    };
    let last = call.query.first("last").unwrap_or_default();
    let look = |view: &RegistryView| {
        let mut behind = behind(&view.contents(repository)?.tags, last);
        let page: Vec<Tag> = behind.by_ref().take(most).cloned().collect();
        Some((page, behind.next().is_some()))
    };
    let found = call.store.seek(look).await?;
    let (page, more) = found.ok_or_else(|| {
        OciRefusal::new(Code::NameUnknown, format!("there is no repository {repository}"))
    })?;
    let body = json!({ "name": repository, "tags": page }).to_string();
    let mut response = empty(StatusCode::OK, &[(header::CONTENT_TYPE, "application/json")]);
    // No link after an empty page: it would point to itself.
    if let Some(last) = page.last().filter(|_| more) {
        let link = format!("</v2/{repository}/tags/list?n={most}&last={last}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    *response.body_mut() = Body::from(body);
    Ok(response)
}

/// The tags after `last`, which need not be a tag itself.
fn behind<'a>(
    tags: &'a std::collections::BTreeMap<Tag, BlobDigest>,
    last: &str,
) -> Box<dyn Iterator<Item = &'a Tag> + 'a> {
    match last.parse::<Tag>() {
        Ok(last) => {
            Box::new(tags.range((Bound::Excluded(last), Bound::Unbounded)).map(|(tag, _)| tag))
        }
        Err(_) => {
            let last = last.to_owned();
            Box::new(tags.keys().filter(move |tag| tag.as_str() > last.as_str()))
        }
    }
}

/// `GET /v2/NAME/referrers/DIGEST?artifactType=`: an index of the manifests whose subject this is. Without
/// such manifests, the index is empty, whether the digest exists or not.
pub(super) async fn referrers(
    call: &Call,
    repository: &Repository,
    digest: &str,
) -> Result<Response, OciRefusal> {
    let subject: BlobDigest = digest.parse()?;
    let filter = call.query.first("artifactType").filter(|kind| !kind.is_empty());
    let look = |view: &RegistryView| {
        let contents = view.contents(repository)?;
        let kept = |digest: &BlobDigest| contents.manifests.get(digest).cloned();
        let all = contents.referrers.get(&subject)?.iter();
        let all = all.filter_map(|digest| Some((digest.clone(), kept(digest)?)));
        let wanted = |kept: &KeptManifest| {
            filter.is_none_or(|kind| kept.artifact_type.as_deref() == Some(kind))
        };
        Some(all.filter(|(_, kept)| wanted(kept)).collect::<Vec<_>>())
    };
    let found = call.store.seek(look).await?.unwrap_or_default();
    let mut manifests = Vec::with_capacity(found.len());
    for (digest, kept) in found {
        manifests.push(descriptor(call, &digest, kept).await?);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    // Exactly this type: with parameters, clients assume that the registry has no such list.
    let mut response = empty(StatusCode::OK, &[(header::CONTENT_TYPE, INDEX)]);
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        response.headers_mut().insert(FILTERS_APPLIED, applied);
    }
    *response.body_mut() = Body::from(index.to_string());
    Ok(response)
}

async fn descriptor(
    call: &Call,
    digest: &BlobDigest,
    kept: KeptManifest,
) -> Result<Value, OciRefusal> {
    let bytes = call.store.blobs.read(digest, kept.size).await?;
    // It was parsed when it was accepted, so it can be parsed again.
    let manifest = OciManifest::parse(&kept.media_type, &bytes)
        .map_err(|error| OciRefusal::failed("read a manifest it has", &error))?;
    let mut descriptor = Map::new();
    descriptor.insert("mediaType".to_owned(), kept.media_type.into());
    descriptor.insert("digest".to_owned(), digest.to_string().into());
    descriptor.insert("size".to_owned(), kept.size.into());
    if let Some(kind) = kept.artifact_type {
        descriptor.insert("artifactType".to_owned(), kind.into());
    }
    if !manifest.annotations.is_empty() {
        descriptor.insert("annotations".to_owned(), json!(manifest.annotations));
    }
    Ok(Value::Object(descriptor))
}
