//! Files of other tools, unchanged.
//!
//! `golden/` holds a manifest that `tamis filter sign` made and the bundle that cosign v3.1.2 made for it
//! with a key of its own: `cosign sign --key … --use-signing-config=false --tlog-upload=false -a
//! org.opencontainers.image.title=acme/retry -a org.opencontainers.image.version=1.0.0
//! REGISTRY/acme/retry@DIGEST`. Only the public half of that key is here. The files of v2 are the same with
//! cosign v2.6.4, a key of its own and `--new-bundle-format --tlog-upload=false`: it omits the annotations
//! from the statement, so name and version are those of the signed manifest.

use tamis_trust::{Digest, Refused, SignaturePolicy, VerificationRequest, code, verify_manifest};

const MANIFEST: &[u8] = include_bytes!("golden/acme-retry-1.0.0.manifest.json");
const BUNDLE: &[u8] = include_bytes!("golden/cosign-v3.1.2.bundle.json");
const KEY: &str = include_str!("golden/test-key.pub");
const BUNDLE_V2: &[u8] = include_bytes!("golden/cosign-v2.6.4.bundle.json");
const KEY_V2: &str = include_str!("golden/test-key-v2.pub");

/// The verified name and version, or why verification fails.
fn verified(manifest: &[u8], bundle: &[u8]) -> Result<String, Refused> {
    let policy = serde_json::json!({
        "name": "golden", "namespaces": ["acme/*"], "threshold": 1,
        "keys": [{ "name": "cosign", "publicKey": KEY }, { "name": "cosign v2", "publicKey": KEY_V2 }],
    });
    let policy =
        SignaturePolicy::from_json(policy.to_string().as_bytes()).map_err(|error| Refused {
            code: code::FORMAT.into(),
            rule: error.to_string(),
            set_by: String::new(),
            remedy: String::new(),
        })?;
    let verified = verify_manifest(&VerificationRequest {
        pinned: &Digest::of(manifest),
        name: Some("acme/retry"),
        manifest,
        bundles: &[bundle],
        policies: &[policy],
        logged: &[],
        policy_age: std::time::Duration::ZERO,
        now: 1_795_000_000,
    })?;
    Ok(format!("{} {}", verified.name, verified.version))
}

#[test]
fn what_cosign_signs_is_believed() {
    assert_eq!(verified(MANIFEST, BUNDLE).unwrap(), "acme/retry 1.0.0");
    assert_eq!(verified(MANIFEST, BUNDLE_V2).unwrap(), "acme/retry 1.0.0");
}

#[test]
fn no_flipped_bit_of_the_signed_parts_is_believed() {
    for bundle in [BUNDLE, BUNDLE_V2] {
        let document: serde_json::Value = serde_json::from_slice(bundle).unwrap();
        let text = std::str::from_utf8(bundle).unwrap();
        for pointer in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
            let part = document.pointer(pointer).unwrap().as_str().unwrap();
            let start = text.find(part).unwrap();
            for at in start..start + part.len() {
                for bit in 0..8 {
                    let mut altered = bundle.to_vec();
                    altered[at] ^= 1 << bit;
                    let refused = verified(MANIFEST, &altered).unwrap_err();
                    assert!(refused.code.starts_with("trust."), "{pointer} at {at}, bit {bit}");
                }
            }
        }
    }
}

#[test]
fn a_bundle_says_nothing_of_another_manifest() {
    let other = std::str::from_utf8(MANIFEST).unwrap().replace("1.0.0", "1.0.1");
    assert_eq!(verified(other.as_bytes(), BUNDLE).unwrap_err().code, code::WRONG_SUBJECT);
    assert_eq!(verified(other.as_bytes(), BUNDLE_V2).unwrap_err().code, code::WRONG_SUBJECT);
}
