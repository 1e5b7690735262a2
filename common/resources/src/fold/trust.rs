//! Trust policies, with keys read from their files.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{Claim, Fold, RESOLVED};
use crate::document::Document;
use crate::kinds::{Spec as _, TrustKey, TrustPolicySpec};

impl<'a> Fold<'a> {
    /// A policy is kept even if one of its keys cannot be read: without it, a wider policy would decide. A
    /// policy that cannot be satisfied refuses filters, which is safe.
    pub(super) fn trust(&mut self) -> Vec<Json> {
        let mut policies = Vec::new();
        let all = self.all::<TrustPolicySpec>();
        let claims: Vec<_> = all
            .iter()
            .flat_map(|(document, spec)| {
                spec.namespaces.iter().enumerate().map(|(at, pattern)| {
                    let pointer = format!("/spec/namespaces/{at}");
                    (pattern.clone(), Claim { document, pointer })
                })
            })
            .collect();
        let lost = self.contradictions(&claims, "trust.conflict", |pattern| {
            format!("more than one place names trusted keys for `{pattern}`")
        });
        let mut lost = claims.into_iter().zip(lost);
        let mut nobodys: BTreeSet<String> = BTreeSet::new();
        let mut somebodys: BTreeSet<String> = BTreeSet::new();
        for (document, spec) in all {
            let mut kept = Vec::new();
            for ((pattern, _), lost) in lost.by_ref().take(spec.namespaces.len()) {
                if lost {
                    nobodys.insert(pattern);
                } else {
                    somebodys.insert(pattern.clone());
                    kept.push(pattern);
                }
            }
            if kept.is_empty() {
                continue;
            }
            let keys: Vec<Json> = spec
                .keys
                .iter()
                .enumerate()
                .filter_map(|(at, key)| self.trust_key(document, at, key))
                .collect();
            let mut policy = json!({
                "name": document.key(),
                "namespaces": kept,
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
        for document in &self.doubles {
            if let Some(spec) = TrustPolicySpec::of(&document.resource) {
                nobodys.extend(spec.namespaces.iter().cloned());
            }
        }
        // Without a replacement, a wider policy would decide about contested filters. No key is trusted for
        // them.
        let nobodys: Vec<String> = nobodys.difference(&somebodys).cloned().collect();
        if !nobodys.is_empty() {
            policies.push(json!({
                "name": "contested", "namespaces": nobodys, "keys": [], "threshold": 1,
            }));
        }
        policies
    }

    fn trust_key(&mut self, document: &Document, at: usize, key: &TrustKey) -> Option<Json> {
        let pem = match (&key.public_key, &key.public_key_file) {
            (Some(pem), None) => Ok(pem.clone()),
            (None, Some(path)) => (self.files)(path)
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned()))
                .map_err(|error| format!("could not read {path}: {error}")),
            _ => Err("a key needs exactly one of `publicKey` and `publicKeyFile`".to_owned()),
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
