//! The verifier on arbitrary bytes.

use std::sync::LazyLock;
use tamis_trust::{
    AssignmentRequest, BuildInput, Digest, DirectorKeys, Manifest, PrivateKey, SignaturePolicy,
    VerificationRequest, build, bundle_lines, verify, verify_assignment,
};

const COMPONENT: &[u8] = b"\0asm";

static SCENE: LazyLock<(Vec<u8>, SignaturePolicy)> = LazyLock::new(|| {
    let manifest = build(COMPONENT, &BuildInput::new("acme/retry", "1.0.0")).expect("valid input");
    let key = PrivateKey::generate().expect("randomness").public_key().to_pem();
    let policy = serde_json::json!({
        "name": "fuzz", "namespaces": ["*"], "threshold": 1,
        "keys": [{ "name": "nobody", "publicKey": key }],
    });
    let policy = SignaturePolicy::from_json(policy.to_string().as_bytes()).expect("valid policy");
    (manifest, policy)
});

/// Never accepts, because no key of the policy ever signed anything. The first byte selects the kind of the
/// rest: bundles (or envelopes of assignments, which look alike), a manifest, or a policy.
pub fn bundle(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let (manifest, policy) = &*SCENE;
    match kind % 3 {
        0 => {
            refused(manifest, &bundle_lines(rest), policy);
            unassigned(&bundle_lines(rest), policy);
        }
        1 => {
            // What it is does not matter: a manifest of anybody's is refused like any other.
            let _ = Manifest::parse(rest);
            refused(rest, &[], policy);
        }
        _ => {
            if let Err(error) = SignaturePolicy::from_json(rest) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

fn refused(manifest: &[u8], bundles: &[&[u8]], policy: &SignaturePolicy) {
    let request = VerificationRequest {
        pinned: &Digest::of(manifest),
        name: None,
        manifest,
        bundles,
        logged: &[],
        policies: std::slice::from_ref(policy),
        policy_age: std::time::Duration::ZERO,
        now: 0,
    };
    let refused = verify(&request, COMPONENT).expect_err("nobody signed this");
    assert!(refused.code.starts_with("trust."));
}

fn unassigned(envelopes: &[&[u8]], policy: &SignaturePolicy) {
    let director = DirectorKeys::new(policy.keys().to_vec(), 1).expect("one key");
    let asked = AssignmentRequest {
        service: "shop/checkout",
        slot: "shop/retries",
        manifest: &Digest::of(b""),
        config: &serde_json::Value::Null,
        envelopes,
        director: &director,
        floor: 0,
        now: 0,
    };
    let refused = verify_assignment(&asked).expect_err("nobody signed this");
    assert!(refused.code.starts_with("assign."));
}
