//! Trust policies, with keys read from their files.

use serde_json::{Value as Json, json};

use super::{Fold, RESOLVED};
use crate::document::Document;
use crate::kinds::{TrustKey, TrustPolicySpec};

impl Fold<'_> {
    /// A policy stays though a key of it cannot be read: left out, a wider policy would count in its place. What
    /// cannot be satisfied any more refuses filters, which is safe.
    pub(super) fn trust(&mut self) -> Vec<Json> {
        let mut policies = Vec::new();
        for (document, spec) in self.all::<TrustPolicySpec>() {
            let keys: Vec<Json> = spec
                .keys
                .iter()
                .enumerate()
                .filter_map(|(at, key)| self.trust_key(document, at, key))
                .collect();
            let mut policy = json!({
                "name": document.key(),
                "namespaces": spec.namespaces,
                "keys": keys,
                "threshold": spec.threshold,
                "floorVersions": spec.floor_versions,
                "revokedDigests": spec.revoked_digests,
                "revokedKeys": spec.revoked_keys,
            });
            if let (Some(bound), Some(map)) = (spec.staleness_bound, policy.as_object_mut()) {
                map.insert("stalenessBound".to_owned(), json!(bound));
            }
            policies.push(policy);
        }
        policies
    }

    fn trust_key(&mut self, document: &Document, at: usize, key: &TrustKey) -> Option<Json> {
        let pem = match (&key.public_key, &key.public_key_file) {
            (Some(pem), None) => Ok(pem.clone()),
            (None, Some(path)) => (self.files)(path)
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned()))
                .map_err(|error| format!("could not read {path}: {error}")),
            _ => Err("a key has one of `publicKey` and `publicKeyFile`".to_owned()),
        };
        match pem {
            Ok(pem) => {
                let mut out = json!({ "name": key.name, "publicKey": pem });
                for (name, value) in [("notBefore", &key.not_before), ("expires", &key.expires)] {
                    if let (Some(value), Some(map)) = (value, out.as_object_mut()) {
                        map.insert(name.to_owned(), json!(value));
                    }
                }
                Some(out)
            }
            Err(message) => {
                let pointer = format!("/spec/keys/{at}/publicKeyFile");
                let problem = document.problem("trust.key", &pointer, message);
                self.fail(document, RESOLVED, "InvalidKey", problem);
                None
            }
        }
    }
}
