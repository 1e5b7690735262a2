//! Reads what the repositories have of a digest: its manifest, the bundles that refer to it, and its component.

use std::sync::Arc;

use bytes::Bytes;
use tamis_api::ApiProblem;
use tamis_journal::BlobDigest;
use tamis_oci::Verb;
use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::{
    Digest, MAX_BUNDLE_BYTES, MAX_BUNDLES, MAX_MANIFEST_BYTES, Manifest, Name, is_by,
};

use crate::plane::control::Control;
use crate::plane::control::artifact_cache::{
    Artifact, BUNDLE, CachedArtifact, blob_digest, key_ids,
};
use crate::plane::problem::{blob, missing, problem};
use crate::plane::rights::AuthorizedCaller;

/// Most referrers of one digest that are read.
const MAX_REFERRERS: usize = 256;
/// Most bytes of all bundles of one digest together: a proxy receives them in one line, of at most 4 MiB.
const MAX_BUNDLES_BYTES: usize = 1 << 20;
/// An artifact with its component: read once for a change, and passed on to whoever judges it.
#[derive(Clone)]
pub(crate) struct WholeArtifact {
    pub(crate) digest: Digest,
    pub(crate) artifact: Arc<Artifact>,
    pub(crate) component: Bytes,
}

/// The component of the digest that a change replaces.
pub(crate) enum ReplacedComponent {
    /// Its bytes.
    Stored(Bytes),
    /// No repository has it any more.
    Gone(Digest),
}

impl Control {
    /// An artifact with its component, for a caller who may know that filter. What a manifest of another filter says is only
    /// for callers who may know that one: for others there is none.
    ///
    /// # Errors
    /// [`ApiProblem`] when no repository has it, or it cannot be read.
    pub(crate) async fn stored_artifact(
        &self,
        holder: &AuthorizedCaller,
        filter: &Name,
        digest: &Digest,
    ) -> Result<WholeArtifact, ApiProblem> {
        let known = self.artifact(digest).await?;
        let whole = match known.filter(|it| self.may_read(holder, filter, it)) {
            Some(_) => self.whole_artifact(digest).await?,
            None => None,
        };
        whole.ok_or_else(|| {
            missing(
                format!("no repository has a manifest {digest}"),
                "push the filter first, with `tamis filter push`",
            )
        })
    }

    /// Whether a caller who may know a filter may know an artifact.
    fn may_read(&self, holder: &AuthorizedCaller, filter: &Name, artifact: &Artifact) -> bool {
        match &artifact.parsed {
            Ok(manifest) if manifest.name() == filter => true,
            Ok(manifest) => self.may_know(holder, manifest.name()),
            // Of no filter at all.
            Err(_) => holder.may_at(Verb::Pull, "*"),
        }
    }

    /// An artifact with its component; `None` when no repository has it.
    pub(crate) async fn whole_artifact(
        &self,
        digest: &Digest,
    ) -> Result<Option<WholeArtifact>, ApiProblem> {
        let Some(artifact) = self.artifact(digest).await? else { return Ok(None) };
        let component = self.component(&artifact).await?;
        Ok(Some(WholeArtifact { digest: *digest, artifact, component }))
    }

    /// The component of the digest that a change replaces.
    pub(crate) async fn replaced_component(
        &self,
        digest: Option<Digest>,
    ) -> Result<Option<ReplacedComponent>, ApiProblem> {
        let Some(digest) = digest else { return Ok(None) };
        let replaced = match self.whole_artifact(&digest).await? {
            Some(whole) => ReplacedComponent::Stored(whole.component),
            None => ReplacedComponent::Gone(digest),
        };
        Ok(Some(replaced))
    }

    /// The artifact of a manifest's digest, from any repository that has it; `None` when no repository has
    /// it.
    pub(crate) async fn artifact(
        &self,
        digest: &Digest,
    ) -> Result<Option<Arc<Artifact>>, ApiProblem> {
        if let Some(artifact) = self.known_artifact(digest)? {
            return Ok(Some(artifact));
        }
        let name = blob_digest(digest)?;
        let referrers = self.0.store.referrers_of(&name, BUNDLE);
        let known: Vec<BlobDigest> = referrers.iter().map(|one| one.digest.clone()).collect();
        let Some(bytes) = self.manifest_of(&name).await? else { return Ok(None) };
        let Ok(manifest) = String::from_utf8(bytes.to_vec()) else { return Ok(None) };
        let parsed = Manifest::parse(manifest.as_bytes()).map(Arc::new);
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
            if let Ok(manifest) = &parsed {
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
        let artifact = Arc::new(Artifact { manifest, parsed, bundles, logged });
        let cached = CachedArtifact { referrers: known, trusted, artifact: Arc::clone(&artifact) };
        self.0.artifacts.keep(*digest, cached);
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
    async fn component(&self, artifact: &Artifact) -> Result<Bytes, ApiProblem> {
        let manifest = artifact.parsed.as_ref();
        let manifest = manifest.map_err(|error| problem(422, "artifact", error.to_string()))?;
        let digest = blob_digest(&manifest.component_digest())?;
        self.0.blobs.read(&digest, MAX_COMPONENT_BYTES).await.map_err(|error| blob(&error))
    }
}

/// Whether more bundles were found than a proxy takes.
fn is_crowded(found: &[(String, Option<u64>)]) -> bool {
    let bytes = found.iter().map(|(bundle, _)| bundle.len()).fold(0, usize::saturating_add);
    found.len() > MAX_BUNDLES || bytes > MAX_BUNDLES_BYTES
}
