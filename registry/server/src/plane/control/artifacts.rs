//! What the repositories have of a digest: its manifest, the bundles that refer to it, and its component. Each is read once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tamis_api::ApiProblem;
use tamis_journal::BlobDigest;
use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::{
    Digest, MAX_BUNDLE_BYTES, MAX_BUNDLES, MAX_MANIFEST_BYTES, Manifest, SignaturePolicy, is_by,
};

use crate::plane::control::Control;
use crate::plane::problem::{blob, problem};

/// The type of the manifests that hold signatures: Sigstore bundles of version 0.3.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Most referrers of one digest that are read.
const MAX_REFERRERS: usize = 256;
/// Most bytes of all bundles of one digest together: a proxy receives them in one line, of at most 4 MiB.
const MAX_BUNDLES_BYTES: usize = 1 << 20;
/// Most digests that are kept in memory.
const MAX_KEPT: usize = 10_000;

/// Everything that a proxy needs to verify a digest, except the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// The manifest, byte for byte.
    pub(crate) manifest: String,
    /// Bundles, one per line.
    pub(crate) bundles: Vec<String>,
    /// Where the log recorded each of them.
    pub(crate) logged: Vec<Option<u64>>,
}

/// Artifacts read before. Manifests never change; bundles may be added, and each is read once.
#[derive(Default)]
pub(crate) struct Artifacts(Mutex<BTreeMap<Digest, CachedArtifact>>);

/// An artifact, and the referrers from which its bundles were read.
struct CachedArtifact {
    referrers: Vec<BlobDigest>,
    /// The keys that were trusted when some of many bundles were chosen; `None`: there were few bundles.
    trusted: Option<Vec<String>>,
    artifact: Arc<Artifact>,
}

impl Control {
    /// The artifact of a manifest's digest, from any repository that has it; `None` when no repository has
    /// it.
    pub(crate) async fn artifact(
        &self,
        digest: &Digest,
    ) -> Result<Option<Arc<Artifact>>, ApiProblem> {
        let name = blob_digest(digest)?;
        let referrers = self.0.store.referrers_of(&name, BUNDLE);
        let known: Vec<BlobDigest> = referrers.iter().map(|one| one.digest.clone()).collect();
        let kept = {
            let kept = self.0.artifacts.0.lock().unwrap_or_else(PoisonError::into_inner);
            let same = kept.get(digest).filter(|it| it.referrers == known);
            same.map(|it| (Arc::clone(&it.artifact), it.trusted.clone()))
        };
        match kept {
            Some((artifact, None)) => return Ok(Some(artifact)),
            Some((artifact, Some(ids))) if ids == key_ids(&self.policies(&self.state())) => {
                return Ok(Some(artifact));
            }
            Some(_) | None => {}
        }
        let Some(bytes) = self.manifest_of(&name).await? else { return Ok(None) };
        let Ok(manifest) = String::from_utf8(bytes.to_vec()) else { return Ok(None) };
        let mut found = Vec::new();
        for referrer in referrers.iter().take(MAX_REFERRERS) {
            if let Some(bundle) = self.bundle(&referrer.digest).await? {
                found.push((bundle, referrer.revision.checked_sub(1)));
            }
        }
        let mut trusted = None;
        if is_crowded(&found) {
            // Anyone who may push can attach bundles. Bundles that a trusted key signed come first, so that others cannot
            // crowd them out, the shortest before the others, since blanks are free; then the oldest.
            let mut policies = self.policies(&self.state());
            trusted = Some(key_ids(&policies));
            if let Ok(manifest) = Manifest::parse(manifest.as_bytes()) {
                policies.retain(|policy| policy.covers(manifest.name()).is_some());
            }
            found.sort_by_cached_key(|(bundle, _)| {
                let is_trusted = is_by(bundle.as_bytes(), digest, &policies);
                (!is_trusted, if is_trusted { bundle.len() } else { 0 })
            });
            found.truncate(MAX_BUNDLES);
            while is_crowded(&found) && found.pop().is_some() {}
        }
        let (bundles, logged) = found.into_iter().unzip();
        let artifact = Arc::new(Artifact { manifest, bundles, logged });
        let mut kept = self.0.artifacts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.pop_first();
        }
        kept.insert(
            *digest,
            CachedArtifact { referrers: known, trusted, artifact: Arc::clone(&artifact) },
        );
        Ok(Some(artifact))
    }

    async fn manifest_of(&self, digest: &BlobDigest) -> Result<Option<Bytes>, ApiProblem> {
        if !self.0.store.has_manifest(digest) {
            return Ok(None);
        }
        let limit = u64::try_from(MAX_MANIFEST_BYTES).unwrap_or(u64::MAX);
        self.0.blobs.read(digest, limit).await.map(Some).map_err(|error| blob(&error))
    }

    /// The bundle in a referrer, on one line; `None` when it contains none.
    async fn bundle(&self, referrer: &BlobDigest) -> Result<Option<String>, ApiProblem> {
        let limit = self.0.store.limits().max_manifest_bytes;
        let manifest = self.0.blobs.read(referrer, limit).await.map_err(|error| blob(&error))?;
        let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&manifest) else {
            return Ok(None);
        };
        let layer = manifest.pointer("/layers/0");
        let text = |name: &str| layer.and_then(|it| it.get(name)).and_then(|it| it.as_str());
        let size = layer.and_then(|it| it.get("size")).and_then(serde_json::Value::as_u64);
        let limit = u64::try_from(MAX_BUNDLE_BYTES).unwrap_or(u64::MAX);
        let fits = text("mediaType") == Some(BUNDLE) && size.is_some_and(|size| size <= limit);
        let digest = text("digest").and_then(|it| it.parse::<BlobDigest>().ok());
        let (true, Some(digest)) = (fits, digest) else { return Ok(None) };
        let bytes = self.0.blobs.read(&digest, limit).await.map_err(|error| blob(&error))?;
        // Line breaks in JSON occur only between tokens: inside a string they are not allowed (RFC 8259
        // §7).
        let line = String::from_utf8(bytes.to_vec()).ok();
        Ok(line.map(|text| text.replace(['\n', '\r'], " ")))
    }

    /// The component that a manifest describes.
    pub(crate) async fn component(&self, artifact: &Artifact) -> Result<Bytes, ApiProblem> {
        let manifest = Manifest::parse(artifact.manifest.as_bytes())
            .map_err(|error| problem(422, "artifact", error.to_string()))?;
        let digest = blob_digest(&manifest.component_digest())?;
        self.0.blobs.read(&digest, MAX_COMPONENT_BYTES).await.map_err(|error| blob(&error))
    }
}

/// Whether more bundles were found than a proxy takes.
fn is_crowded(found: &[(String, Option<u64>)]) -> bool {
    let bytes = found.iter().map(|(bundle, _)| bundle.len()).fold(0, usize::saturating_add);
    found.len() > MAX_BUNDLES || bytes > MAX_BUNDLES_BYTES
}

/// The ids of the policies' keys, in order.
fn key_ids(policies: &[SignaturePolicy]) -> Vec<String> {
    policies.iter().flat_map(SignaturePolicy::keys).map(|key| key.id.to_string()).collect()
}

fn blob_digest(digest: &Digest) -> Result<BlobDigest, ApiProblem> {
    let text = digest.to_string();
    text.parse().map_err(|_| problem(500, "internal", format!("{text} is not a digest")))
}
