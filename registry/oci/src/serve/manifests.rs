//! Manifests: `/v2/NAME/manifests/REFERENCE`.

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::{HeaderName, StatusCode, header};
use tamis_journal::{BlobDigest, Hasher};

use super::{CONTENT_DIGEST, Call, empty, entity_tag, reference};
use crate::author::Author;
use crate::change::Change;
use crate::condition::NoneMatch;
use crate::manifest::{OciManifest, Target};
use crate::name::{Reference, Repository, Tag};
use crate::refusal::{Code, OciRefusal};
use crate::store::{Decision, Limits, Versions};
use crate::view::{Contents, KeptManifest, RegistryView};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Most references in a manifest, so that the entry that records them fits the journal.
const MAX_REFERENCES: usize = 400;
/// Most tags that one push may set.
const MAX_TAGS: usize = 32;

pub(super) async fn get(
    call: &Call,
    repository: &Repository,
    text: &str,
) -> Result<Response, OciRefusal> {
    let wanted = read_reference(text)?;
    let look = |view: &RegistryView| {
        find(view, repository, &wanted).map(|(digest, kept)| (digest.clone(), kept.clone()))
    };
    let found = call.store.seek(look).await?;
    let (digest, kept) = found.ok_or_else(|| unknown(text))?;
    let (text, tag) = (digest.to_string(), entity_tag(&digest));
    let known = [(CONTENT_DIGEST, text.as_str()), (header::ETAG, tag.as_str())];
    if call.none_match(Some(&tag)) == NoneMatch::Fails {
        return Ok(empty(StatusCode::NOT_MODIFIED, &known));
    }
    // Limited by its own size: a manifest that was accepted is served even if the limit is lower now.
    let bytes = call.store.blobs.read(&digest, kept.size).await?;
    let length = bytes.len().to_string();
    let [digest, tag] = known;
    let headers = [
        digest,
        tag,
        (header::CONTENT_TYPE, kept.media_type.as_str()),
        (header::CONTENT_LENGTH, length.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = empty(StatusCode::OK, &headers);
    *response.body_mut() = Body::from(bytes);
    Ok(response)
}

fn find<'a>(
    view: &'a RegistryView,
    repository: &Repository,
    wanted: &'a Reference,
) -> Option<(&'a BlobDigest, &'a KeptManifest)> {
    let contents = view.contents(repository)?;
    let digest = match wanted {
        Reference::Digest(digest) => digest,
        Reference::Tag(tag) => contents.tags.get(tag)?,
    };
    contents.manifests.get_key_value(digest)
}

/// A reference to something that should exist: an invalid tag does not exist.
fn read_reference(text: &str) -> Result<Reference, OciRefusal> {
    reference(text).map_err(|refusal| match refusal.code() {
        Code::ManifestInvalid => unknown(text),
        _ => refusal,
    })
}

/// A manifest being pushed.
struct Push {
    repository: Repository,
    digest: BlobDigest,
    size: u64,
    tags: Vec<Tag>,
    manifest: OciManifest,
}

pub(super) async fn put(
    call: &Call,
    repository: Repository,
    text: &str,
    body: Body,
) -> Result<Response, OciRefusal> {
    let (wanted, store) = (reference(text)?, &call.store);
    let tags = tags(call, &wanted)?;
    let bytes = whole(body, call.content_length(), store.limits.max_manifest_bytes).await?;
    let digest = match &wanted {
        Reference::Tag(_) => BlobDigest::of(&bytes),
        Reference::Digest(digest) => verified(digest.clone(), &bytes)?,
    };
    let media_type = call.header(&header::CONTENT_TYPE).unwrap_or_default();
    let manifest = OciManifest::parse(media_type, &bytes)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let push = Push { repository, digest, size, tags, manifest };
    // Checked before anything is stored: a refused push leaves nothing behind.
    store.must_still_hold(Author::from(&call.caller)).await?;
    condition(call, &store.view(), &push, &wanted)?;
    push.changes(&store.view(), &store.limits)?;
    store.blobs.put(&push.digest, bytes).await?;
    store
        .commit(&call.caller, |view| {
            condition(call, view, &push, &wanted)?;
            let changes = push.changes(view, &store.limits)?;
            Ok(Decision { changes, present: vec![push.digest.clone()], value: () })
        })
        .await?;
    Ok(push.created(text))
}

/// Refuses a push whose sender wanted to write over nothing, or not over that (`If-None-Match`).
fn condition(
    call: &Call,
    view: &RegistryView,
    push: &Push,
    wanted: &Reference,
) -> Result<(), OciRefusal> {
    let current = find(view, &push.repository, wanted).map(|(digest, _)| entity_tag(digest));
    match call.none_match(current.as_deref()) {
        NoneMatch::Holds => Ok(()),
        NoneMatch::Fails => {
            let current = current.unwrap_or_default();
            let message =
                format!("the repository has {current} there, which If-None-Match excludes");
            Err(OciRefusal::new(Code::Denied, message).status(StatusCode::PRECONDITION_FAILED))
        }
        NoneMatch::Unreadable => {
            let message = "If-None-Match is neither * nor a list of entity tags in quotes";
            Err(OciRefusal::new(Code::ManifestInvalid, message))
        }
    }
}

/// The tags that a push sets: its reference, or `?tag=` with a digest.
fn tags(call: &Call, wanted: &Reference) -> Result<Vec<Tag>, OciRefusal> {
    let mut tags: Vec<Tag> = call.query.all("tag").map(str::parse).collect::<Result<_, _>>()?;
    match wanted {
        Reference::Digest(_) => {}
        Reference::Tag(tag) if tags.is_empty() => tags.push(tag.clone()),
        Reference::Tag(_) => {
            let message = "?tag= goes with a push by digest; put the digest into the path";
            return Err(OciRefusal::new(Code::ManifestInvalid, message));
        }
    }
    if tags.len() > MAX_TAGS {
        let message = format!("one push sets at most {MAX_TAGS} tags; push again for the others");
        return Err(OciRefusal::new(Code::Unsupported, message).status(StatusCode::BAD_REQUEST));
    }
    Ok(tags)
}

async fn whole(body: Body, length: Option<u64>, limit: u64) -> Result<Bytes, OciRefusal> {
    let too_large = || {
        OciRefusal::new(
            Code::SizeInvalid,
            format!("a manifest may have at most {limit} bytes here"),
        )
    };
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let (mut stream, mut bytes) = (body.into_data_stream(), BytesMut::new());
    loop {
        match stream.try_next().await {
            Ok(Some(data)) => bytes.extend_from_slice(&data),
            Ok(None) => return Ok(bytes.freeze()),
            Err(error) => {
                let message = format!("the body ended early ({error}); send it again");
                return Err(OciRefusal::new(Code::ManifestInvalid, message));
            }
        }
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
            return Err(too_large());
        }
    }
}

fn verified(digest: BlobDigest, bytes: &[u8]) -> Result<BlobDigest, OciRefusal> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == digest {
        return Ok(digest);
    }
    let message = format!("the manifest has the digest {actual}, not {digest}");
    Err(OciRefusal::new(Code::DigestInvalid, message))
}

impl Push {
    /// What to write, if the repository has what the manifest refers to and no rule refuses.
    fn changes(&self, view: &RegistryView, limits: &Limits) -> Result<Vec<Change>, OciRefusal> {
        let nothing = Contents::default();
        let contents = view.contents(&self.repository).unwrap_or(&nothing);
        self.check_references(contents)?;
        self.check_subject(contents, limits)?;
        self.check_versions(contents, limits)?;
        let there = contents.manifests.get(&self.digest);
        let same = there.is_some_and(|kept| kept.media_type == self.manifest.media_type);
        if same && self.tags.iter().all(|tag| contents.tags.get(tag) == Some(&self.digest)) {
            return Ok(Vec::new());
        }
        let digests = |targets: &[Target]| targets.iter().map(|one| one.digest.clone()).collect();
        Ok(vec![Change::ManifestPut {
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            media_type: self.manifest.media_type.clone(),
            size: self.size,
            tags: self.tags.clone(),
            subject: self.manifest.subject.clone(),
            artifact_type: self.manifest.artifact_type.clone(),
            blobs: digests(&self.manifest.blobs),
            manifests: digests(&self.manifest.manifests),
        }])
    }

    /// A manifest with missing parts could be pulled but not used.
    fn check_references(&self, contents: &Contents) -> Result<(), OciRefusal> {
        let OciManifest { blobs, manifests, .. } = &self.manifest;
        if blobs.len().saturating_add(manifests.len()) > MAX_REFERENCES {
            let message = format!("a manifest may refer to at most {MAX_REFERENCES} things here");
            return Err(OciRefusal::new(Code::ManifestInvalid, message));
        }
        let blobs = blobs.iter().map(|target| {
            ("blob", target, contents.blobs.get(&target.digest).map(|link| link.size))
        });
        let manifests = manifests.iter().map(|target| {
            ("manifest", target, contents.manifests.get(&target.digest).map(|kept| kept.size))
        });
        for (what, Target { digest, size }, found) in blobs.chain(manifests) {
            match found {
                Some(actual) if actual == *size => {}
                Some(actual) => {
                    let message = format!("the {what} {digest} has {actual} bytes, not {size}");
                    return Err(OciRefusal::new(Code::ManifestInvalid, message));
                }
                None => {
                    let message = format!("the repository has no {what} {digest}; push it first");
                    return Err(OciRefusal::new(Code::ManifestBlobUnknown, message));
                }
            }
        }
        Ok(())
    }

    /// Clients read all referrers of a subject, so they are limited in number and in size of annotations.
    fn check_subject(&self, contents: &Contents, limits: &Limits) -> Result<(), OciRefusal> {
        let Some(subject) = &self.manifest.subject else { return Ok(()) };
        let annotations = self.manifest.annotations.iter();
        let lengths = annotations.flat_map(|(key, value)| [key.len(), value.len()]);
        let bytes = lengths.fold(0, usize::saturating_add);
        let (most, referrers) = (limits.max_referrer_annotation_bytes, limits.max_referrers);
        if bytes > most {
            let message = format!(
                "a manifest with a subject may have at most {most} bytes of annotations, not {bytes}; put the rest into \
                 a blob"
            );
            return Err(OciRefusal::new(Code::ManifestInvalid, message));
        }
        let others = contents.referrers.get(subject);
        let full = others.is_some_and(|all| all.len() >= referrers && !all.contains(&self.digest));
        if full {
            let message = format!(
                "{referrers} manifests refer to {subject} already; delete an outdated one first"
            );
            return Err(OciRefusal::new(Code::Denied, message));
        }
        Ok(())
    }

    fn check_versions(&self, contents: &Contents, limits: &Limits) -> Result<(), OciRefusal> {
        if limits.versions == Versions::Mutable {
            return Ok(());
        }
        let taken =
            |tag: &&Tag| contents.versions.get(*tag).is_some_and(|digest| *digest != self.digest);
        match self.tags.iter().find(taken) {
            None => Ok(()),
            Some(tag) => {
                let message = format!(
                    "the version {tag} of {} exists already and cannot change; push another version",
                    self.repository
                );
                Err(OciRefusal::new(Code::Denied, message).status(StatusCode::CONFLICT))
            }
        }
    }

    fn created(&self, reference: &str) -> Response {
        let location = format!("/v2/{}/manifests/{reference}", self.repository);
        let (digest, subject) =
            (self.digest.to_string(), self.manifest.subject.as_ref().map(ToString::to_string));
        let mut headers = vec![(header::LOCATION, location.as_str()), (CONTENT_DIGEST, &digest)];
        if let Some(subject) = &subject {
            headers.push((SUBJECT, subject));
        }
        headers.extend(self.tags.iter().map(|tag| (TAG, tag.as_str())));
        empty(StatusCode::CREATED, &headers)
    }
}

/// Deletes a tag, or a manifest and every tag that names it.
pub(super) async fn delete(
    call: &Call,
    repository: Repository,
    text: &str,
) -> Result<Response, OciRefusal> {
    let wanted = read_reference(text)?;
    call.store
        .commit(&call.caller, |view| {
            let _ = find(view, &repository, &wanted).ok_or_else(|| unknown(text))?;
            let repository = repository.clone();
            let change = match &wanted {
                Reference::Tag(tag) => Change::TagDeleted { repository, tag: tag.clone() },
                Reference::Digest(digest) => {
                    Change::ManifestDeleted { repository, digest: digest.clone() }
                }
            };
            Ok(Decision { changes: vec![change], present: Vec::new(), value: () })
        })
        .await?;
    Ok(empty(StatusCode::ACCEPTED, &[]))
}

fn unknown(reference: &str) -> OciRefusal {
    let shown: String = reference.chars().take(160).collect();
    OciRefusal::new(Code::ManifestUnknown, format!("the repository has no manifest {shown:?}"))
}
