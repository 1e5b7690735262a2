//! The manifest of a filter: its name, its version and the digest of its component. The manifest's digest
//! is *the* digest of the filter.
//!
//! The layout is the CNCF's for Wasm in OCI registries: a config of type
//! `application/vnd.wasm.config.v0+json` and one layer of type `application/wasm`. The config is embedded
//! in the manifest (the descriptor's `data`), so that the manifest is complete by itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Digest, Name, Timestamp, TrustError, Version, json};

mod component;

/// The annotation that names the filter.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation with the version of the filter.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Largest manifest in bytes.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const LAYER_TYPE: &str = "application/wasm";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    schema_version: u32,
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    architecture: String,
    os: String,
    layer_digests: Vec<Digest>,
    component: ComponentConfig,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentConfig {
    exports: Vec<String>,
    imports: Vec<String>,
    #[serde(default)]
    target: Option<String>,
}

/// The content of a manifest, without the component's bytes.
#[derive(Debug, Clone, Default)]
pub struct BuildInput {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// The release, a semantic version.
    pub version: String,
    /// When it was made; for reproducible builds take it from the source, not from the clock.
    pub created: Option<Timestamp>,
    /// What the component imports, as derived from its bytes by the caller.
    pub imports: Vec<String>,
    /// What the component exports, as derived from its bytes by the caller.
    pub exports: Vec<String>,
    /// The world it was made for, such as `tamis:filter/retry@0.1.0`.
    pub target: Option<String>,
    /// Further annotations; the name and the version cannot be overridden here.
    pub annotations: BTreeMap<String, String>,
}

impl BuildInput {
    /// A name and a version, with everything else empty.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), ..Self::default() }
    }
}

/// Builds the canonical manifest for these component bytes. Equal input gives equal bytes.
///
/// # Errors
/// The name or the version is malformed, or the result would break a rule of [`Manifest::parse`].
pub fn build(component: &[u8], input: &BuildInput) -> Result<Vec<u8>, TrustError> {
    let name: Name = input.name.parse()?;
    let version: Version = input.version.parse()?;
    let layer = descriptor(LAYER_TYPE, component);
    let mut imports = input.imports.clone();
    imports.sort();
    let mut exports = input.exports.clone();
    exports.sort();
    let config = Config {
        created: input.created.unwrap_or(Timestamp(0)).to_string(),
        author: None,
        architecture: "wasm".to_owned(),
        os: "wasip2".to_owned(),
        layer_digests: vec![layer.digest],
        component: ComponentConfig { exports, imports, target: input.target.clone() },
    };
    let config = to_json(&config)?;
    let mut annotations = input.annotations.clone();
    annotations.insert(TITLE.to_owned(), name.to_string());
    annotations.insert(VERSION.to_owned(), version.to_string());
    let document = Document {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        artifact_type: None,
        config: Descriptor {
            data: Some(STANDARD.encode(&config)),
            ..descriptor(CONFIG_TYPE, &config)
        },
        layers: vec![layer],
        annotations,
    };
    let bytes = to_json(&document)?;
    Manifest::parse(&bytes)?;
    Ok(bytes)
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, TrustError> {
    serde_json::to_vec(value).map_err(|error| TrustError::Manifest(error.to_string()))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        data: None,
        annotations: BTreeMap::new(),
    }
}

/// A parsed manifest whose parts agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    digest: Digest,
    name: Name,
    version: Version,
    layer: Digest,
    size: u64,
    imports: Vec<String>,
    exports: Vec<String>,
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Parses manifest bytes and the config embedded in them.
    ///
    /// # Errors
    /// They are not strict JSON, do not have this layout, or the config is not the one that its descriptor
    /// names.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let document: Document = json::read("manifest", bytes, MAX_MANIFEST_BYTES)?;
        require(document.schema_version == 2, "schemaVersion must be 2")?;
        require(
            document.media_type == MANIFEST_TYPE,
            "mediaType must be that of an OCI image manifest",
        )?;
        require(
            document.config.media_type == CONFIG_TYPE,
            "the config must be of the type for Wasm, v0",
        )?;
        let [layer] = document.layers.as_slice() else {
            return Err(TrustError::Manifest("there must be exactly one layer".to_owned()));
        };
        require(layer.media_type == LAYER_TYPE, "the layer must be of type application/wasm")?;
        require(layer.data.is_none(), "the layer must not be embedded")?;
        let config = config_of(&document.config)?;
        require(config.architecture == "wasm", "config: architecture must be \"wasm\"")?;
        require(config.os == "wasip2", "config: os must be \"wasip2\", that of a component")?;
        require(
            config.layer_digests == [layer.digest],
            "config: layerDigests must list the layer and nothing else",
        )?;
        let (layer, size) = (layer.digest, layer.size);
        Ok(Self {
            digest: Digest::of(bytes),
            name: annotation(&document.annotations, TITLE)?.parse()?,
            version: annotation(&document.annotations, VERSION)?.parse()?,
            layer,
            size,
            imports: config.component.imports,
            exports: config.component.exports,
            annotations: document.annotations,
        })
    }

    /// The digest of the manifest, which identifies the filter.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The filter's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The filter's version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The digest of the component's bytes.
    #[must_use]
    pub fn component_digest(&self) -> Digest {
        self.layer
    }

    /// The size of the component in bytes.
    #[must_use]
    pub fn component_size(&self) -> u64 {
        self.size
    }

    /// The component's imports according to the config. A claim: derive them from the bytes and compare.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The component's exports according to the config. A claim: derive them from the bytes and compare.
    #[must_use]
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// All annotations, including the name and the version.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}

fn config_of(descriptor: &Descriptor) -> Result<Config, TrustError> {
    let data = descriptor.data.as_deref().ok_or_else(|| {
        TrustError::Manifest(
            "the config must be embedded as data; `tamis filter sign` writes it so".to_owned(),
        )
    })?;
    let bytes = STANDARD.decode(data).map_err(|_| {
        TrustError::Manifest("the inline data of the config is not base64".to_owned())
    })?;
    require(
        bytes.len() as u64 == descriptor.size,
        "the inline data of the config has another size than the manifest states",
    )?;
    require(
        Digest::of(&bytes) == descriptor.digest,
        "the inline data of the config has another digest than the manifest states",
    )?;
    json::read("config of the manifest", &bytes, MAX_MANIFEST_BYTES)
}

fn annotation<'a>(all: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str, TrustError> {
    let found = all.get(key).map(String::as_str);
    found.ok_or_else(|| TrustError::Manifest(format!("the annotation {key} is missing")))
}

fn require(holds: bool, rule: &str) -> Result<(), TrustError> {
    if holds { Ok(()) } else { Err(TrustError::Manifest(rule.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm component";

    fn manifest() -> Vec<u8> {
        let input = BuildInput {
            imports: vec![
                "tamis:filter/log@0.1.0".to_owned(),
                "tamis:filter/clock@0.1.0".to_owned(),
            ],
            annotations: BTreeMap::from([(TITLE.to_owned(), "evil/name".to_owned())]),
            ..BuildInput::new("acme/retry", "1.4.2")
        };
        build(COMPONENT, &input).unwrap()
    }

    #[test]
    fn a_built_manifest_says_what_was_put_in() {
        let bytes = manifest();
        let parsed = Manifest::parse(&bytes).unwrap();
        assert_eq!(bytes, manifest(), "canonical");
        assert_eq!(parsed.name().as_str(), "acme/retry");
        assert_eq!(parsed.version().to_string(), "1.4.2");
        assert_eq!(parsed.imports(), ["tamis:filter/clock@0.1.0", "tamis:filter/log@0.1.0"]);
        assert_eq!(parsed.digest(), Digest::of(&bytes));
        assert_eq!(parsed.check(COMPONENT), Ok(()));
    }

    #[test]
    fn every_flipped_byte_of_the_component_is_noticed() {
        let parsed = Manifest::parse(&manifest()).unwrap();
        for at in 0..COMPONENT.len() {
            let mut altered = COMPONENT.to_vec();
            altered[at] ^= 1;
            assert!(parsed.check(&altered).is_err());
        }
        assert!(parsed.check(&COMPONENT[1..]).is_err());
    }

    #[test]
    fn a_config_that_is_not_the_named_one_is_refused() {
        let text = String::from_utf8(manifest()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let data = value["config"]["data"].as_str().unwrap();
        let mut config = STANDARD.decode(data).unwrap();
        config[0] = b' ';
        let altered = text.replace(data, &STANDARD.encode(config));
        let error = Manifest::parse(altered.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("another digest"), "{error}");
    }

    #[test]
    fn another_layout_is_refused() {
        let text = String::from_utf8(manifest()).unwrap();
        for (from, to) in [
            ("\"schemaVersion\":2", "\"schemaVersion\":1"),
            ("\"schemaVersion\":2", "\"schemaVersion\":2,\"schemaVersion\":2"),
            ("\"schemaVersion\":2", "\"schemaVersion\":2,\"manifests\":[]"),
            ("application/wasm", "application/vnd.wasm.content.layer.v1+wasm"),
            ("wasm.config.v0", "wasm.config.v1"),
            ("image.manifest.v1", "image.index.v1"),
            (TITLE, "title"),
            ("1.4.2", "1.4"),
            ("acme/retry", "retry"),
        ] {
            assert!(text.contains(from));
            assert!(Manifest::parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
