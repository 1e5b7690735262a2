//! Trust policies, with keys read from their files.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::problems::MAX_OF_DOCUMENT;
use super::{ACCEPTED, Claim, Fold, RESOLVED};
use crate::document::Document;
use crate::format::accepts;
use crate::kinds::{TrustKey, TrustPolicySpec};
use crate::problem::Problem;

impl<'a> Fold<'a> {
    /// A policy is kept even if one of its keys cannot be read: without it, a wider policy would decide. A
    /// policy that cannot be satisfied refuses filters, which is safe.
    pub(super) fn trust(&mut self) -> Vec<Json> {
        let mut policies = Vec::new();
        let all = self.all::<TrustPolicySpec>();
        let (all, narrowing): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(document, _)| self.decides(document));
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
            policies.push(self.policy(document, spec, kept));
        }
        for (document, spec) in self.doubled_of::<TrustPolicySpec>() {
            if self.decides(document) {
                nobodys.extend(spec.namespaces.iter().cloned());
            }
        }
        policies.extend(self.narrowing(narrowing));
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

    /// Policies outside the namespaces of security: each asks for more, and only about filters of its own namespace. All of
    /// them hold, also two of one name.
    fn narrowing(&mut self, all: Vec<(&'a Document, &'a TrustPolicySpec)>) -> Vec<Json> {
        let doubled = self.doubled_of::<TrustPolicySpec>();
        let doubled = doubled.into_iter().filter(|(document, _)| !self.decides(document));
        let all: Vec<_> = all.into_iter().chain(doubled).collect();
        let mut policies = Vec::new();
        for (document, spec) in all {
            for problem in beyond(document, spec) {
                self.fail(document, ACCEPTED, "Invalid", problem);
            }
            let own = |pattern: &&String| is_own(document, pattern);
            let kept: Vec<String> = spec.namespaces.iter().filter(own).cloned().collect();
            if kept.is_empty() {
                continue;
            }
            let mut policy = self.policy(document, spec, kept);
            if let Some(map) = policy.as_object_mut() {
                map.insert("narrows".to_owned(), json!(true));
            }
            policies.push(policy);
        }
        policies
    }

    /// A policy with a fault is kept as well: whoever reads it trusts nobody for what it covers.
    fn policy(&mut self, document: &Document, spec: &TrustPolicySpec, kept: Vec<String>) -> Json {
        for (pointer, message, help) in spec.wrong() {
            let problem = document.problem("trust.keys", &pointer, message).help(help);
            self.fail(document, ACCEPTED, "Invalid", problem);
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
        policy
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
                let mut problem = document.problem("trust.key", &pointer, message);
                if key.public_key_file.as_deref() == Some(LOCAL_KEY) {
                    problem = problem.help("`tamis up FOLDER --prepare` makes this file");
                }
                self.fail(document, RESOLVED, "InvalidKey", problem);
                None
            }
        }
    }
}

/// The key that `tamis up` makes for a folder.
const LOCAL_KEY: &str = ".tamis/keys/local-dev.pub";

/// Whether a pattern speaks of filters of the document's own namespace alone.
fn is_own(document: &Document, pattern: &str) -> bool {
    let space = pattern.split_once('/').map(|(space, _)| space);
    space == Some(document.metadata.namespace.as_str())
        && (pattern.ends_with("/*") && pattern.matches('/').count() == 1
            || accepts("filter-name", pattern))
}

/// What a trust policy outside the namespaces of security says about filters of others, which it may not: each pattern and
/// each floor.
#[must_use]
pub fn beyond(document: &Document, spec: &TrustPolicySpec) -> Vec<Problem> {
    let namespace = &document.metadata.namespace;
    let patterns = spec.namespaces.iter().enumerate();
    let patterns = patterns.map(|(at, pattern)| (format!("/spec/namespaces/{at}"), pattern));
    let floors = spec.floor_versions.keys();
    let floors = floors.map(|name| (format!("/spec/floorVersions/{name}"), name));
    let strange = patterns.chain(floors).filter(|(_, pattern)| !is_own(document, pattern));
    let problems = strange.map(|(pointer, pattern)| {
        let message = format!(
            "`{pattern}` is not of {namespace}: outside the namespaces of security a TrustPolicy only asks for more about \
             filters of its own"
        );
        let problem = document.problem("trust.beyond", &pointer, message);
        problem.help(format!(
            "write `{namespace}/*` or `{namespace}/NAME`, or have security write the policy"
        ))
    });
    problems.take(MAX_OF_DOCUMENT).collect()
}
