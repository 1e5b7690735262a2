//! Manifests, as far as the registry has to understand them (OCI Image 1.1, "image manifest" and "image
//! index").
//!
//! The bytes are stored and served unchanged. Other fields are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tamis_journal::BlobDigest;
use thiserror::Error;

/// An OCI image manifest, which artifacts are as well.
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest.
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's type of a layer that must not be redistributed, and so is in no registry.
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// The longest media type: two names of 127 bytes and the slash (RFC 6838 §4.2).
const MAX_MEDIA_TYPE_BYTES: usize = 255;

/// Why bytes are not a manifest. Names the field, the rule and, where it is not obvious, the way out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("manifest: {0}")]
pub struct ManifestError(String);

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its digest.
    pub digest: BlobDigest,
    /// Its size according to the manifest.
    pub size: u64,
}

/// The facts about a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciManifest {
    /// The type it was pushed with, without parameters.
    pub media_type: String,
    /// The manifest it refers to, which need not exist.
    pub subject: Option<BlobDigest>,
    /// Its `artifactType`, otherwise its config's media type.
    pub artifact_type: Option<String>,
    /// Config and layers that must be in the repository; each digest once.
    pub blobs: Vec<Target>,
    /// Manifests that must be in the repository; each digest once.
    pub manifests: Vec<Target>,
    /// Its own annotations.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// A field of the artifact manifest in an earlier draft.
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    /// The layers of Docker's first schema, by which some clients recognise it.
    fs_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    /// What has other names.
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

/// Fields that mean something here.
const FIELDS: [&str; 10] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "fsLayers",
    "subject",
    "annotations",
];

/// Fields of a descriptor (OCI Image 1.1, "content descriptors").
const DESCRIPTOR_FIELDS: [&str; 8] =
    ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: BlobDigest,
    size: u64,
    /// What has other names.
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

impl OciManifest {
    /// Reads a manifest that was pushed with this `Content-Type`.
    ///
    /// The types of OCI and Docker must have the fields that their specifications require; in any other
    /// type the fields of the same names count, so that nothing a manifest refers to is deleted.
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are not a JSON object, a field has the wrong form or is repeated, a
    /// field is missing, or the two media types differ.
    pub fn parse(content_type: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let media_type = media_type(content_type)?;
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| ManifestError(error.to_string()))?;
        document.check(&media_type)?;
        let Document { artifact_type, config, layers, blobs, manifests, subject, .. } = document;
        let artifact_type = artifact_type.filter(|text| !text.is_empty());
        let artifact_type =
            artifact_type.or_else(|| config.as_ref().map(|config| config.media_type.clone()));
        if artifact_type.as_ref().is_some_and(|text| text.len() > MAX_MEDIA_TYPE_BYTES) {
            return refused(format!("artifactType has more than {MAX_MEDIA_TYPE_BYTES} bytes"));
        }
        let layers = layers.into_iter().flatten().filter(Descriptor::is_kept_here);
        let blobs = config.into_iter().chain(layers).chain(blobs.into_iter().flatten());
        Ok(Self {
            media_type,
            subject: subject.map(|subject| subject.digest),
            artifact_type,
            blobs: targets(blobs)?,
            manifests: targets(manifests.into_iter().flatten())?,
            annotations: document.annotations.unwrap_or_default(),
        })
    }
}

impl Document {
    /// Checks the requirements of the known types.
    fn check(&self, media_type: &str) -> Result<(), ManifestError> {
        spelled_as_specified(&self.others, &FIELDS)?;
        for descriptor in self.descriptors() {
            spelled_as_specified(&descriptor.others, &DESCRIPTOR_FIELDS)?;
        }
        if self.media_type.as_deref().is_some_and(|stated| stated != media_type) {
            let stated = self.media_type.as_deref().unwrap_or_default();
            return refused(format!(
                "mediaType is {stated:?} but it was pushed as {media_type:?}; they must be the same"
            ));
        }
        self.is_one_thing(media_type)?;
        let demanded: &[(&str, bool)] = match media_type {
            IMAGE | DOCKER_IMAGE => {
                &[("config", self.config.is_some()), ("layers", self.layers.is_some())]
            }
            INDEX | DOCKER_LIST => &[("manifests", self.manifests.is_some())],
            _ => return Ok(()),
        };
        if self.schema_version != Some(2) {
            return refused("schemaVersion must be 2".to_owned());
        }
        match demanded.iter().find(|(_, there)| !there) {
            Some((field, _)) => refused(format!("{field} is missing")),
            None => Ok(()),
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        let lists = [&self.layers, &self.blobs, &self.manifests].into_iter().flatten().flatten();
        lists.chain(&self.config).chain(&self.subject)
    }

    /// Refuses bytes that one client reads as an image and another as an index (CVE-2021-41190; OCI Image
    /// 1.1, "image manifest", on `mediaType`).
    fn is_one_thing(&self, media_type: &str) -> Result<(), ManifestError> {
        let image = [
            ("config", self.config.is_some()),
            ("layers", self.layers.is_some()),
            ("blobs", self.blobs.is_some()),
        ];
        let there = image.iter().find(|(_, there)| *there).map(|(field, _)| *field);
        if self.fs_layers.is_some() {
            return refused(
                "`fsLayers` is of Docker's first schema, which is not served; push schema 2"
                    .to_owned(),
            );
        }
        match (media_type, there, self.manifests.is_some()) {
            (_, Some(field), true) => refused(format!(
                "`{field}` belongs to an image and `manifests` to an index; push one or the other"
            )),
            (IMAGE | DOCKER_IMAGE, _, true) => refused(format!(
                "it was pushed as {media_type}, but `manifests` belongs to an index"
            )),
            (INDEX | DOCKER_LIST, Some(field), _) => {
                refused(format!("it was pushed as {media_type}, but `{field}` belongs to an image"))
            }
            _ => Ok(()),
        }
    }
}

impl Descriptor {
    /// Whether this layer is stored in the registry: some may only be fetched from their owner.
    fn is_kept_here(&self) -> bool {
        !self.media_type.contains(".nondistributable.") && self.media_type != DOCKER_FOREIGN
    }
}

/// Refuses a field in another spelling: readers that take names in any case, such as those in Go, would see another
/// manifest than those that do not.
fn spelled_as_specified(
    others: &BTreeMap<String, IgnoredAny>,
    fields: &[&str],
) -> Result<(), ManifestError> {
    // Two letters beyond ASCII are cases of letters in ASCII (Unicode CaseFolding: U+017F, U+212A).
    let plain = |name: &str| name.replace('\u{17f}', "s").replace('\u{212a}', "k");
    let is_alike = |name: &str| fields.iter().any(|field| field.eq_ignore_ascii_case(name));
    // A name as specified is among the others where the fields are not read.
    let mut others = others.keys().filter(|other| !fields.contains(&other.as_str()));
    match others.find(|other| is_alike(&plain(other))) {
        Some(other) => {
            refused(format!("{other:?} is a field in another spelling; write it as specified"))
        }
        None => Ok(()),
    }
}

/// Each digest once; a repeated one must have one size.
fn targets(descriptors: impl Iterator<Item = Descriptor>) -> Result<Vec<Target>, ManifestError> {
    let mut sizes: BTreeMap<BlobDigest, u64> = BTreeMap::new();
    for Descriptor { digest, size, .. } in descriptors {
        if *sizes.entry(digest.clone()).or_insert(size) != size {
            return refused(format!("{digest} is listed with two sizes"));
        }
    }
    Ok(sizes.into_iter().map(|(digest, size)| Target { digest, size }).collect())
}

/// The media type of a `Content-Type`, without its parameters, which have no meaning for a manifest.
fn media_type(content_type: &str) -> Result<String, ManifestError> {
    let text = content_type.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !part.is_empty() && part.bytes().all(legal)
    };
    let two = text.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name));
    if two && text.len() <= MAX_MEDIA_TYPE_BYTES {
        // Upper case means the same (RFC 6838 §4.2), so it leads round no rule of a type that is known here.
        let known = [IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST].into_iter();
        let known = known.into_iter().find(|known| known.eq_ignore_ascii_case(text));
        return Ok(known.unwrap_or(text).to_owned());
    }
    refused(format!(
        "Content-Type must be the manifest's media type, such as {IMAGE} (RFC 6838 §4.2)"
    ))
}

fn refused<T>(why: String) -> Result<T, ManifestError> {
    Err(ManifestError(why))
}

#[cfg(test)]
mod tests;
