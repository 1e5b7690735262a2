//! Sigstore bundle v0.3 around a DSSE envelope around an in-toto statement v1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, KeyId, SignaturePolicy, TrustError, json};

/// Most bundles that are tried with every trusted key; further ones are only checked if they name one. A
/// client that fetches some of many bundles fetches this many.
pub const MAX_BUNDLES: usize = 32;
/// A larger bundle is refused without being read.
pub const MAX_BUNDLE_BYTES: usize = 256 * 1024;

pub(crate) const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
pub(crate) const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BundleDocument {
    pub(crate) media_type: String,
    pub(crate) verification_material: VerificationMaterial,
    pub(crate) dsse_envelope: EnvelopeDocument,
}

/// Only a public key is accepted: a certificate or chain is an unknown member here, hence an error. Log
/// entries and timestamps may be present but prove nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct VerificationMaterial {
    pub(crate) public_key: KeyHint,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted and ignored: unauthenticated here")]
    tlog_entries: Value,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted and ignored: unauthenticated here")]
    timestamp_verification_data: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyHint {
    #[serde(default)]
    pub(crate) hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EnvelopeDocument {
    pub(crate) payload: String,
    pub(crate) payload_type: String,
    pub(crate) signatures: Vec<SignatureDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignatureDocument {
    pub(crate) sig: String,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted and ignored: unsigned, keys come from the policy")]
    keyid: String,
}

/// A bundle with a well-formed envelope whose signature has not been checked yet. The payload stays raw
/// bytes: it is parsed by [`Envelope::statement`], after the signature is checked.
pub(crate) struct Envelope {
    /// Orders the candidate keys; proves nothing.
    pub(crate) hint: Option<KeyId>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// The key that a bundle claims to be signed by, which proves nothing; `None` when it names no key or is
/// not a bundle.
pub(crate) fn hint(bundle: &[u8]) -> Option<KeyId> {
    let document: BundleDocument = json::read("bundle", bundle, MAX_BUNDLE_BYTES).ok()?;
    document.verification_material.public_key.hint.parse().ok()
}

/// Whether a bundle is signed by the key that it names, if a policy has that key, and is about this manifest.
/// What else it says does not matter.
#[must_use]
pub fn is_by(bundle: &[u8], manifest: &Digest, policies: &[SignaturePolicy]) -> bool {
    signed_by(bundle, manifest, policies).is_some()
}

/// Whether a bundle says that it is about this manifest, whoever wrote it: its signature is not checked.
#[must_use]
pub fn is_about(bundle: &[u8], manifest: &Digest) -> bool {
    Envelope::parse(bundle).is_ok_and(|envelope| envelope.is_about(manifest))
}

/// The key that a bundle names, if a policy has that key, the bundle is signed by it and is about this manifest.
#[must_use]
pub fn signed_by(bundle: &[u8], manifest: &Digest, policies: &[SignaturePolicy]) -> Option<KeyId> {
    let envelope = Envelope::parse(bundle).ok()?;
    let keys = policies.iter().flat_map(SignaturePolicy::keys);
    let mut named = keys.filter(|key| envelope.hint == Some(key.id));
    let signed = envelope.signed_bytes();
    let key = named.find(|key| key.key.verifies(&signed, &envelope.signature))?.id;
    // Bundles of the same key about other manifests are public, so anybody may bring them here.
    envelope.is_about(manifest).then_some(key)
}

impl Envelope {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let document: BundleDocument = json::read("bundle", bytes, MAX_BUNDLE_BYTES)?;
        require(
            document.media_type == BUNDLE_TYPE,
            "mediaType must be that of Sigstore bundle v0.3",
        )?;
        let envelope = document.dsse_envelope;
        require(envelope.payload_type == PAYLOAD_TYPE, "payloadType must be that of in-toto")?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(TrustError::Bundle(
                "there must be exactly one signature; more signers need a bundle each".to_owned(),
            ));
        };
        Ok(Self {
            hint: document.verification_material.public_key.hint.parse().ok(),
            payload: base64(&envelope.payload, "the payload is not base64")?,
            signature: base64(&signature.sig, "the signature is not base64")?,
        })
    }

    /// The bytes that are signed.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(PAYLOAD_TYPE, &self.payload)
    }

    fn is_about(&self, manifest: &Digest) -> bool {
        let statement = self.statement();
        statement.is_ok_and(|statement| statement.subject.iter().any(|one| one.is(manifest)))
    }

    /// Reads the payload. What it says counts only after the signature was checked.
    pub(crate) fn statement(&self) -> Result<Statement, TrustError> {
        json::read("signed statement", &self.payload, MAX_BUNDLE_BYTES)
    }
}

fn base64(text: &str, reason: &str) -> Result<Vec<u8>, TrustError> {
    STANDARD.decode(text).map_err(|_| TrustError::Bundle(reason.to_owned()))
}

fn require(holds: bool, rule: &str) -> Result<(), TrustError> {
    if holds { Ok(()) } else { Err(TrustError::Bundle(rule.to_owned())) }
}

/// DSSE's PAE: type and body with their lengths, so that no two pairs have the same encoding.
pub(crate) fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// An in-toto statement v1. The predicate depends on its type, and we do not use its content.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    pub(crate) statement_type: String,
    pub(crate) subject: Vec<Subject>,
    pub(crate) predicate_type: String,
    #[serde(default)]
    pub(crate) predicate: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    pub(crate) digest: SubjectDigest,
    /// `cosign sign -a KEY=VALUE` writes these.
    #[serde(default)]
    pub(crate) annotations: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectDigest {
    pub(crate) sha256: String,
}

impl Subject {
    pub(crate) fn is(&self, digest: &Digest) -> bool {
        Digest::from_hex(&self.digest.sha256).as_ref() == Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_of_the_dsse_protocol() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
