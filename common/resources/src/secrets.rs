//! Secrets written in documents.
//!
//! The API shows documents, the journal stores them for ever, and proxies receive them. So a document may
//! only refer to a secret: by the name of a file, or of a secret that the host holds.

use crate::tree::{Value, YamlNode};

/// Names of fields whose text is a secret, in lower case and without `-` and `_`.
const FIELDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "clientsecret",
    "secretkey",
    "privatekey",
    "apikey",
    "accesstoken",
    "refreshtoken",
    "bearertoken",
];

/// Kind of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A private key: PEM (RFC 7468 §10, §11, §13) or a JWK with `d` (RFC 7518 §6.2.2, §6.3.2).
    PrivateKey,
    /// A key that signs and verifies: a JWK of type `oct` (RFC 7518 §6.4).
    SymmetricKey,
    /// A password or similar, recognised by the name of its field.
    Word,
}

impl SecretKind {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "a private key",
            Self::SymmetricKey => "a symmetric key",
            Self::Word => "a password or token",
        }
    }

    /// The alternative to writing it in the document.
    pub(crate) fn way_out(self) -> &'static str {
        match self {
            Self::PrivateKey => {
                "a verifier needs only the public key; keep this one where it signs"
            }
            Self::SymmetricKey => {
                "put the key set into a file and name it: `jwks: {file: PATH}`; or sign with ES256 or EdDSA, whose verifiers need no secret"
            }
            Self::Word => {
                "put it into a file and write `{file: PATH}`, or the name of a secret that the host holds"
            }
        }
    }
}

/// The secret in a text, such as the content of a file; `None` when no secret is recognised.
#[must_use]
pub fn secret_of(text: &str) -> Option<SecretKind> {
    if text.contains("PRIVATE KEY-----") {
        return Some(SecretKind::PrivateKey);
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) if json.is_object() || json.is_array() => in_json(&json),
        _ => None,
    }
}

fn in_json(json: &serde_json::Value) -> Option<SecretKind> {
    match json {
        serde_json::Value::Object(map) => {
            let text = |name: &str| map.get(name).and_then(serde_json::Value::as_str);
            key(text("kty"), text("k"), text("d")).or_else(|| map.values().find_map(in_json))
        }
        serde_json::Value::Array(items) => items.iter().find_map(in_json),
        serde_json::Value::String(text) => secret_of(text),
        _ => None,
    }
}

/// The secret part of a JWK.
fn key(kind: Option<&str>, symmetric: Option<&str>, private: Option<&str>) -> Option<SecretKind> {
    match (kind?, symmetric, private) {
        (_, _, Some(_)) => Some(SecretKind::PrivateKey),
        ("oct", Some(_), _) => Some(SecretKind::SymmetricKey),
        _ => None,
    }
}

/// The secrets in a document, each with its place.
pub(crate) fn written(tree: &YamlNode) -> Vec<(String, SecretKind)> {
    let mut found = Vec::new();
    walk(tree, String::new(), "", &mut found);
    found
}

fn walk(node: &YamlNode, pointer: String, name: &str, found: &mut Vec<(String, SecretKind)>) {
    match &node.value {
        Value::Text(text) => {
            let secret = secret_of(text)
                .or_else(|| (!text.is_empty() && is_secret(name)).then_some(SecretKind::Word));
            found.extend(secret.map(|secret| (pointer, secret)));
        }
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(item, format!("{pointer}/{at}"), name, found);
            }
        }
        Value::Map(entries) => {
            let part = if node.text("d").is_some() { "d" } else { "k" };
            if let Some(secret) = key(node.text("kty"), node.text("k"), node.text("d")) {
                found.push((format!("{pointer}/{part}"), secret));
                return;
            }
            for entry in entries {
                walk(&entry.value, format!("{pointer}/{}", entry.key), &entry.key, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
    }
}

/// Whether a field of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|one| !matches!(one, '-' | '_')).collect();
    FIELDS.contains(&plain.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn problems(config: &str) -> Vec<(String, String)> {
        let text = format!(
            "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: b }}\nspec:\n  \
             targetRefs: [{{ kind: Mesh }}]\n  filter: c/d\n  phase: authn\n  order: 1\n  config: {config}\n"
        );
        let (documents, problems) = parse("t", &text);
        assert_eq!(documents.is_empty(), !problems.is_empty());
        problems.into_iter().map(|one| (one.code, one.help.unwrap_or_default())).collect()
    }

    #[test]
    fn a_secret_in_a_document_is_refused_with_the_way_out() {
        for (config, way) in [
            ("{ jwks: { inline: { keys: [{ kty: oct, k: c2VjcmV0 }] } } }", "file: PATH"),
            (
                "{ jwks: { inline: { keys: [{ kty: EC, crv: P-256, x: a, y: b, d: c }] } } }",
                "public key",
            ),
            (
                "{ jwks: { inline: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}' } }",
                "file: PATH",
            ),
            (
                "{ key: \"-----BEGIN EC PRIVATE KEY-----\\nAAAA\\n-----END EC PRIVATE KEY-----\" }",
                "public key",
            ),
            ("{ upstream: { password: hunter2 } }", "host holds"),
            ("{ client_secret: hunter2 }", "host holds"),
            ("{ Api-Key: hunter2 }", "host holds"),
            ("{ passwords: { a: 1 }, secret: [hunter2] }", "host holds"),
        ] {
            let found = problems(config);
            assert_eq!(found.len(), 1, "{config}: {found:?}");
            assert_eq!(found[0].0, "document.secret", "{config}");
            assert!(found[0].1.contains(way), "{config}: {}", found[0].1);
        }
    }

    #[test]
    fn references_and_public_keys_are_no_secrets() {
        for config in [
            "{ jwks: { file: keys.json } }",
            "{ password: { file: password.txt } }",
            "{ jwks: { inline: { keys: [{ kty: EC, crv: P-256, x: a, y: b }] } } }",
            "{ secretName: shop, key: \"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\" }",
            "{ password: '' }",
            "{ header: x-api-key, forward: true }",
        ] {
            assert_eq!(problems(config), [], "{config}");
        }
    }

    #[test]
    fn a_file_with_a_secret_is_known_by_its_content() {
        for (text, secret) in [
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}", Some(SecretKind::SymmetricKey)),
            (
                "{\"kty\":\"RSA\",\"n\":\"a\",\"e\":\"AQAB\",\"d\":\"b\"}",
                Some(SecretKind::PrivateKey),
            ),
            ("-----BEGIN PRIVATE KEY-----\n", Some(SecretKind::PrivateKey)),
            ("-----BEGIN PUBLIC KEY-----\n", None),
            ("{\"keys\":[]}", None),
            ("", None),
        ] {
            assert_eq!(secret_of(text), secret, "{text}");
        }
    }
}
