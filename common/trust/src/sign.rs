//! Signing: one key, one manifest, one bundle, as `cosign sign --key` writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::bundle::{
    BUNDLE_TYPE, PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, Statement, Subject, SubjectDigest,
    pre_authentication_encoding,
};
use crate::{KeyId, Manifest, PrivateKey, TITLE, TrustError, VERSION};

/// Signs a manifest: its digest, and the name and version in it. The result is one line of JSON without a
/// line end. The payload is a pure function of the manifest; the signature is randomised.
///
/// # Errors
/// A verifier would not accept the manifest, or the cryptographic library fails.
pub fn sign(key: &PrivateKey, manifest: &[u8]) -> Result<String, TrustError> {
    let statement = statement(&Manifest::parse(manifest)?);
    bundle(key, PAYLOAD_TYPE, &to_json(&statement)?)
}

pub(crate) fn statement(manifest: &Manifest) -> Statement {
    let mut annotations = Map::new();
    annotations.insert(TITLE.to_owned(), manifest.name().to_string().into());
    annotations.insert(VERSION.to_owned(), manifest.version().to_string().into());
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject {
            name: manifest.name().to_string(),
            digest: SubjectDigest { sha256: manifest.digest().hex() },
            annotations,
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Map::new(),
    }
}

/// Signs any payload of any type; the verifier refuses all but the right ones.
pub(crate) fn bundle(
    key: &PrivateKey,
    payload_type: &str,
    payload: &[u8],
) -> Result<String, TrustError> {
    let signature = key.sign(&pre_authentication_encoding(payload_type, payload))?;
    Ok(written(&key.public_key().id(), payload_type, payload, &signature))
}

/// The only encoding of a bundle that we write.
pub(crate) fn written(
    hint: &KeyId,
    payload_type: &str,
    payload: &[u8],
    signature: &[u8],
) -> String {
    let value: Value = json!({
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": { "publicKey": { "hint": hint.to_string() } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        },
    });
    value.to_string()
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, TrustError> {
    serde_json::to_vec(value).map_err(|error| TrustError::Bundle(error.to_string()))
}
