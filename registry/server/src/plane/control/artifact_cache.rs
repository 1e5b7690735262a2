//! The artifacts that were read before. Manifests never change; bundles may be added, and each is read once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tamis_api::ApiProblem;
use tamis_journal::BlobDigest;
use tamis_trust::{Digest, Manifest, SignaturePolicy, TrustError};

use crate::plane::control::Control;
use crate::plane::problem::problem;

/// The type of the manifests that hold signatures: Sigstore bundles of version 0.3.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Most digests that are kept in memory.
const MAX_KEPT: usize = 10_000;

/// Everything that a proxy needs to verify a digest, except the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// The manifest, byte for byte.
    pub(crate) manifest: String,
    /// The same, parsed.
    pub(crate) parsed: Result<Arc<Manifest>, TrustError>,
    /// Bundles, one per line.
    pub(crate) bundles: Vec<String>,
    /// Where the log recorded each of them.
    pub(crate) logged: Vec<Option<u64>>,
}

/// Artifacts by digest, as they were read.
#[derive(Default)]
pub(crate) struct ArtifactCache(Mutex<BTreeMap<Digest, CachedArtifact>>);

/// An artifact, and the referrers from which its bundles were read.
pub(super) struct CachedArtifact {
    pub(super) referrers: Vec<BlobDigest>,
    /// The keys that were trusted when some of many bundles were chosen; `None`: there were few bundles.
    pub(super) trusted: Option<Vec<String>>,
    pub(super) artifact: Arc<Artifact>,
}

impl ArtifactCache {
    pub(super) fn keep(&self, digest: Digest, artifact: CachedArtifact) {
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT {
            kept.pop_first();
        }
        kept.insert(digest, artifact);
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Digest, CachedArtifact>> {
        // What is in it is complete at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// An artifact as it was read; `None` when it was not, or when a bundle was added or a key that chose among its bundles
    /// changed since.
    pub(crate) fn known_artifact(
        &self,
        digest: &Digest,
    ) -> Result<Option<Arc<Artifact>>, ApiProblem> {
        let referrers = self.0.store.referrers_of(&blob_digest(digest)?, BUNDLE);
        let referrers: Vec<BlobDigest> = referrers.into_iter().map(|one| one.digest).collect();
        let known = {
            let kept = self.0.artifacts.kept();
            let same = kept.get(digest).filter(|it| it.referrers == referrers);
            same.map(|it| (Arc::clone(&it.artifact), it.trusted.clone()))
        };
        let still = |ids: &Option<Vec<String>>| {
            ids.as_ref().is_none_or(|ids| *ids == key_ids(&self.policies(&self.state())))
        };
        Ok(known.filter(|(_, ids)| still(ids)).map(|(artifact, _)| artifact))
    }
}

#[cfg(test)]
impl Control {
    /// Keeps an artifact as if it had been read: no repository has anything that refers to it.
    pub(crate) fn remember(&self, digest: Digest, artifact: Artifact) {
        let (referrers, artifact) = (Vec::new(), Arc::new(artifact));
        self.0.artifacts.keep(digest, CachedArtifact { referrers, trusted: None, artifact });
    }
}

/// The ids of the policies' keys, in order.
pub(super) fn key_ids(policies: &[SignaturePolicy]) -> Vec<String> {
    policies.iter().flat_map(SignaturePolicy::keys).map(|key| key.id.to_string()).collect()
}

/// The digest as blobs are named.
pub(super) fn blob_digest(digest: &Digest) -> Result<BlobDigest, ApiProblem> {
    let text = digest.to_string();
    text.parse().map_err(|_| problem(500, "internal", format!("{text} is not a digest")))
}
