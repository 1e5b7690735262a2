//! The vectors of project Wycheproof for JWS and JWK, applied to the check of signatures.
//!
//! The files are not in this repository: `TAMIS_WYCHEPROOF` names a folder that contains them
//! (`testvectors_v1`), or the Go module with them is downloaded at the pinned version.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests: what is wrong here fails the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tamis_jose::algorithm::SigningAlgorithm;
use tamis_jose::jws::Token;
use tamis_jose::keys::{KeyOrigin, KeySet};

#[cfg(test)]
#[path = "harness/native.rs"]
mod native;

use native::Native;

const MODULE: &str = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a";

/// Vectors whose verdict no strict verifier can share, each with the proof that the test below checks.
const DISPUTED: [(u64, Dispute); 8] = [
    (346, Dispute::KeyLabel("PS384")),
    (347, Dispute::KeyLabel("ES512")),
    (350, Dispute::KeyLabel("PS384")),
    (351, Dispute::KeyLabel("ES512")),
    (367, Dispute::SameAsValid(357)),
    (370, Dispute::SameAsValid(357)),
    (372, Dispute::StrayCharacter(357)),
    (373, Dispute::StrayCharacter(357)),
];

/// The defect of a vector.
#[derive(Clone, Copy)]
enum Dispute {
    /// Declared valid, although the key's own `alg` differs from the token's (PS256 for PS384) or is not
    /// registered (ES521). With the right label the token verifies. Vectors 338 and 340 require that the
    /// label counts.
    KeyLabel(&'static str),
    /// Declared invalid, but byte for byte equal to the token of a vector declared valid, under the same
    /// key.
    SameAsValid(u64),
    /// Declared valid, although it is the named valid token with a character outside base64url in it (RFC
    /// 7515 §2), which also changes the signed text.
    StrayCharacter(u64),
}

struct Vector {
    key: Value,
    token: String,
    valid: bool,
    comment: String,
}

#[test]
fn every_jws_vector_gets_its_verdict_or_a_proof_that_it_is_wrong() {
    let vectors = vectors("json_web_signature_test.json");
    let native = Native::default();
    let differing: Vec<u64> = vectors
        .iter()
        .filter(|(_, vector)| verifies(&vector.key, &vector.token, &native) != vector.valid)
        .map(|(id, _)| *id)
        .collect();
    let agreed = vectors.len() - differing.len();
    println!(
        "JWS: {} vectors, {agreed} agree, {} disputed {differing:?}; {} signatures checked",
        vectors.len(),
        differing.len(),
        native.take_counts().0,
    );
    assert_eq!(differing, DISPUTED.map(|(id, _)| id), "a verdict differs that should not");
    assert_eq!(vectors.len(), 401, "the number of vectors changed");
    assert_eq!(agreed, 393);
    for (id, dispute) in DISPUTED {
        prove(&vectors, id, dispute);
    }
}

#[test]
fn every_jwk_vector_gets_its_verdict() {
    let vectors = vectors("json_web_key_test.json");
    let native = Native::default();
    for (id, vector) in &vectors {
        let verdict = verifies(&vector.key, &vector.token, &native);
        assert_eq!(verdict, vector.valid, "vector {id}: {}", vector.comment);
    }
    println!("JWK: {0} of {0} agree; {1} calls", vectors.len(), native.take_counts().1);
    assert_eq!(vectors.len(), 26, "the number of vectors changed");
}

fn prove(vectors: &BTreeMap<u64, Vector>, id: u64, dispute: Dispute) {
    let vector = &vectors[&id];
    match dispute {
        Dispute::KeyLabel(right) => {
            let mut key = vector.key.clone();
            assert!(vector.valid && key["alg"] != right, "vector {id}");
            key["alg"] = Value::from(right);
            assert!(verifies(&key, &vector.token, &Native::default()), "vector {id}");
        }
        Dispute::SameAsValid(other) => {
            let other = &vectors[&other];
            assert!(!vector.valid && other.valid, "vector {id}");
            assert_eq!((&vector.key, &vector.token), (&other.key, &other.token), "vector {id}");
        }
        Dispute::StrayCharacter(other) => {
            let other = &vectors[&other];
            assert!(vector.valid && vector.token.contains('?'), "vector {id}");
            assert_eq!(vector.token.replace('?', ""), other.token, "vector {id}");
            assert_eq!(vector.key, other.key, "vector {id}");
        }
    }
}

/// The check without claims: key or set → keys → token → signature, every algorithm allowed.
fn verifies(key: &Value, token: &str, native: &Native) -> bool {
    let ring = KeySet::parse(key.to_string().as_bytes(), KeyOrigin::Inline)
        .and_then(|set| set.import(native));
    let token = Token::parse(token.as_bytes());
    match (ring, token) {
        (Ok(ring), Ok(token)) => token.check(&ring, &SigningAlgorithm::ALL, native).is_ok(),
        _ => false,
    }
}

fn vectors(name: &str) -> BTreeMap<u64, Vector> {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_slice(&text).unwrap();
    let mut vectors = BTreeMap::new();
    for group in file["testGroups"].as_array().unwrap() {
        let key = group.get("public").or(group.get("private")).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let vector = Vector {
                key: key.clone(),
                token: test["jws"].as_str().unwrap().to_owned(),
                valid: match test["result"].as_str().unwrap() {
                    "valid" => true,
                    "invalid" => false,
                    other => panic!("a verdict this test does not know: {other}"),
                },
                comment: test["comment"].as_str().unwrap_or_default().to_owned(),
            };
            let before = vectors.insert(test["tcId"].as_u64().unwrap(), vector);
            assert!(before.is_none(), "two vectors have one number");
        }
    }
    assert_eq!(file["numberOfTests"], vectors.len(), "vectors are missing from {name}");
    vectors
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("TAMIS_WYCHEPROOF") {
        return PathBuf::from(folder);
    }
    let place = std::env::temp_dir();
    let output = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "on")
        .current_dir(place)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "the Wycheproof vectors come with `go`, which does not start ({error}): run `cargo xtask setup`, \
                 or let TAMIS_WYCHEPROOF name their folder"
            )
        });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go mod download {MODULE} failed: {said}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    Path::new(answer["Dir"].as_str().unwrap()).join("testvectors_v1")
}
