//! Push and pull of filters: component, manifest and signatures.
//!
//! The artifact has the CNCF layout for Wasm. Each signature is a manifest that refers to it, laid out as
//! cosign 3 does (`application/vnd.dev.sigstore.bundle.v0.3+json` as artifact type and as layer, the empty
//! config). So `cosign verify --key` finds signatures pushed from here, and signatures made by cosign are
//! pulled here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::{Digest, MAX_BUNDLE_BYTES, MAX_BUNDLES, Manifest};

use crate::oci::{MANIFEST_TYPE, ManifestReference};
use crate::{Client, ClientError};

/// Artifact type and media type of signatures.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// A filter's files as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// The component.
    pub component: Vec<u8>,
    /// Sigstore bundles, one per signature.
    pub bundles: Vec<Vec<u8>>,
}

/// Whether a push may replace what its version names in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// No. It is looked up before anything is sent, since nothing else stops a push where tags may move. A token that may push
    /// but not pull cannot look it up; then only the registry's own rule applies.
    Forbidden,
    /// Yes, unless the registry forbids it.
    Allowed,
}

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushResult {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The tag that names it: its version.
    pub tag: String,
    /// Digests of the signatures' manifests.
    pub signatures: Vec<Digest>,
}

/// A pulled filter. Its digests were checked; its signers were not.
#[derive(Debug, Clone)]
pub struct PulledFilter {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The manifest, parsed.
    pub parsed: Manifest,
    /// The bytes.
    pub artifact: Artifact,
}

#[derive(Deserialize)]
struct WithConfig {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    digest: Digest,
    #[serde(default)]
    data: Option<String>,
}

/// The part of a signature's manifest that we read.
#[derive(Deserialize)]
struct SignatureManifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: Digest,
}

impl Client {
    /// Puts a filter into a repository and tags it with its version. Blobs that are there already are not
    /// sent again.
    ///
    /// The tag is written last: a client that finds the tag also finds the signatures.
    ///
    /// # Errors
    /// [`ClientError::Artifact`] when the manifest does not describe the component or the version cannot be
    /// a tag, [`ClientError::Released`] when the version names another filter and may not be overwritten,
    /// [`ClientError::Oci`] when the registry refuses, for example for the same reason.
    pub async fn push(
        &self,
        repository: &str,
        artifact: &Artifact,
        overwrite: Overwrite,
    ) -> Result<PushResult, ClientError> {
        checked(repository)?;
        let parsed = parsed(&artifact.manifest)?;
        self.push_parsed(repository, (artifact, &parsed), overwrite).await
    }

    /// The same for a caller that parsed the manifest before.
    ///
    /// # Errors
    /// As [`push`](Self::push); [`ClientError::Artifact`] when it is the manifest of another artifact.
    pub async fn push_parsed(
        &self,
        repository: &str,
        (artifact, parsed): (&Artifact, &Manifest),
        overwrite: Overwrite,
    ) -> Result<PushResult, ClientError> {
        let repository = checked(repository)?;
        if parsed.digest() != Digest::of(&artifact.manifest) {
            let why = "the manifest that was parsed is that of another artifact";
            return Err(ClientError::Artifact(why.to_owned()));
        }
        parsed.check(&artifact.component).map_err(|error| {
            ClientError::Artifact(format!("the component does not match its manifest: {error}"))
        })?;
        let tag: ManifestReference =
            parsed.version().to_string().parse().map_err(ClientError::Artifact)?;
        let digest = parsed.digest();
        if overwrite == Overwrite::Forbidden
            && let Ok(Some(there)) = self.released(repository, &parsed.version().to_string()).await
            && there != digest
        {
            return Err(ClientError::Released { there, here: digest });
        }
        let (config, bytes) = config(&artifact.manifest)?;
        self.ensure(repository, &config, bytes).await?;
        let component = parsed.component_digest();
        self.ensure(repository, &component, Bytes::from(artifact.component.clone())).await?;
        self.put_manifest(repository, &ManifestReference::Digest(digest), &artifact.manifest)
            .await?;
        let mut signatures = Vec::new();
        for bundle in &artifact.bundles {
            signatures.push(self.sign(repository, &artifact.manifest, bundle).await?);
        }
        self.put_manifest(repository, &tag, &artifact.manifest).await?;
        Ok(PushResult { digest, tag: tag.to_string(), signatures })
    }

    /// Attaches one more signature to a filter that is in a repository; tags stay as they are. Returns the digest
    /// of the signature's manifest.
    ///
    /// # Errors
    /// [`ClientError::Oci`] when the registry refuses.
    pub async fn attach(
        &self,
        repository: &str,
        manifest: &[u8],
        bundle: &[u8],
    ) -> Result<Digest, ClientError> {
        self.sign(checked(repository)?, manifest, bundle).await
    }

    /// The digest of the manifest that a version names in a repository; `None` when the version is not
    /// there.
    ///
    /// # Errors
    /// [`ClientError::Artifact`] when the version cannot be a tag, [`ClientError::Oci`] when the registry
    /// refuses.
    async fn released(
        &self,
        repository: &str,
        version: &str,
    ) -> Result<Option<Digest>, ClientError> {
        let repository = checked(repository)?;
        let tag: ManifestReference = version.parse().map_err(ClientError::Artifact)?;
        match self.manifest(repository, &tag).await {
            Ok(there) => Ok(Some(Digest::of(&there))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether exactly this filter is in a repository, tagged with its version and with all these
    /// signatures.
    ///
    /// # Errors
    /// As [`push`](Self::push); a missing filter is not an error.
    pub async fn has(&self, repository: &str, artifact: &Artifact) -> Result<bool, ClientError> {
        let repository = checked(repository)?;
        let parsed = parsed(&artifact.manifest)?;
        let tag: ManifestReference =
            parsed.version().to_string().parse().map_err(ClientError::Artifact)?;
        match self.manifest(repository, &tag).await {
            Ok(there) if *there == *artifact.manifest => {}
            Ok(_) => return Ok(false),
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        }
        let there = self.referrers(repository, &parsed.digest(), BUNDLE_TYPE).await?;
        let has = |bundle: &Vec<u8>| {
            let digest = Digest::of(&signature(&artifact.manifest, bundle)).to_string();
            there.iter().any(|one| one.digest == digest)
        };
        Ok(artifact.bundles.iter().all(has))
    }

    async fn ensure(
        &self,
        repository: &str,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), ClientError> {
        if self.has_blob(repository, digest).await? {
            return Ok(());
        }
        self.put_blob(repository, digest, bytes).await
    }

    /// Stores a signature of a manifest. Equal bundles give equal manifests, so a signature is never stored
    /// twice.
    async fn sign(
        &self,
        repository: &str,
        subject: &[u8],
        bundle: &[u8],
    ) -> Result<Digest, ClientError> {
        let (empty, bytes) = (Digest::of(b"{}"), Bytes::copy_from_slice(bundle));
        self.ensure(repository, &empty, Bytes::from_static(b"{}")).await?;
        self.ensure(repository, &Digest::of(bundle), bytes).await?;
        let manifest = signature(subject, bundle);
        let digest = Digest::of(&manifest);
        self.put_manifest(repository, &ManifestReference::Digest(digest), &manifest).await?;
        Ok(digest)
    }

    /// Fetches a filter from a repository, with at most 32 signatures; further ones are ignored.
    ///
    /// # Errors
    /// [`ClientError::Artifact`] when it is not a filter, [`ClientError::Tampered`] when bytes do not match
    /// their digest, [`ClientError::Oci`] when the registry refuses.
    pub async fn pull(
        &self,
        repository: &str,
        reference: &ManifestReference,
    ) -> Result<PulledFilter, ClientError> {
        let repository = checked(repository)?;
        let manifest = self.manifest(repository, reference).await?;
        let parsed = parsed(&manifest)?;
        let size = parsed.component_size();
        if size > MAX_COMPONENT_BYTES {
            let why = format!("its component has {size} bytes, more than {MAX_COMPONENT_BYTES}");
            return Err(ClientError::Artifact(why));
        }
        let limit = usize::try_from(size).unwrap_or(usize::MAX);
        let component = self.blob(repository, &parsed.component_digest(), limit).await?;
        let digest = parsed.digest();
        let mut bundles = Vec::new();
        for one in self.referrers(repository, &digest, BUNDLE_TYPE).await? {
            if bundles.len() == MAX_BUNDLES {
                break;
            }
            bundles.extend(self.signature(repository, &one.digest).await?);
        }
        let (manifest, component) = (manifest.to_vec(), component.to_vec());
        Ok(PulledFilter { digest, parsed, artifact: Artifact { manifest, component, bundles } })
    }

    /// The bundle in a signature's manifest; `None` when the manifest has another layout, which we ignore.
    async fn signature(
        &self,
        repository: &str,
        digest: &str,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let Ok(digest) = digest.parse() else { return Ok(None) };
        let manifest = self.manifest(repository, &ManifestReference::Digest(digest)).await?;
        let Ok(manifest) = serde_json::from_slice::<SignatureManifest>(&manifest) else {
            return Ok(None);
        };
        let [layer] = manifest.layers.as_slice() else { return Ok(None) };
        if layer.media_type != BUNDLE_TYPE {
            return Ok(None);
        }
        let bundle = self.blob(repository, &layer.digest, MAX_BUNDLE_BYTES).await?;
        Ok(one_line(&bundle))
    }
}

/// The manifest of a signature.
fn signature(subject: &[u8], bundle: &[u8]) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": BUNDLE_TYPE,
        "config": { "mediaType": EMPTY_TYPE, "digest": Digest::of(b"{}").to_string(), "size": 2 },
        "layers": [
            { "mediaType": BUNDLE_TYPE, "digest": Digest::of(bundle).to_string(), "size": bundle.len() },
        ],
        "subject": {
            "mediaType": MANIFEST_TYPE,
            "digest": Digest::of(subject).to_string(),
            "size": subject.len(),
        },
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": PREDICATE_TYPE,
        },
    });
    manifest.to_string().into_bytes()
}

/// A bundle on one line, as files with several bundles need it; `None` when it is not JSON.
fn one_line(bundle: &[u8]) -> Option<Vec<u8>> {
    if !bundle.contains(&b'\n') {
        return Some(bundle.to_vec());
    }
    // The envelope's payload is base64, so white space around it is not signed.
    let value: serde_json::Value = serde_json::from_slice(bundle).ok()?;
    serde_json::to_vec(&value).ok()
}

/// Checks a repository's name as far as it affects the path; the registry checks the rest.
fn checked(repository: &str) -> Result<&str, ClientError> {
    let sound =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    let parts = repository.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if parts && repository.bytes().all(sound) {
        return Ok(repository);
    }
    let why = format!(
        "`{repository}` is not a repository name; write lower-case letters and digits, such as acme/retry"
    );
    Err(ClientError::Artifact(why))
}

fn parsed(manifest: &[u8]) -> Result<Manifest, ClientError> {
    Manifest::parse(manifest)
        .map_err(|error| ClientError::Artifact(format!("this is not a filter: {error}")))
}

/// The config that the manifest carries.
fn config(manifest: &[u8]) -> Result<(Digest, Bytes), ClientError> {
    let lacks = || ClientError::Artifact("the manifest does not carry its config".to_owned());
    let WithConfig { config } = serde_json::from_slice(manifest).map_err(|_| lacks())?;
    let data = config.data.and_then(|data| STANDARD.decode(data).ok()).ok_or_else(lacks)?;
    Ok((config.digest, Bytes::from(data)))
}

#[cfg(test)]
mod tests;
