//! `TrustPolicy`: which keys are trusted for which filters.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::Millis;
use crate::kinds::RuleFault;

/// Most keys of a policy: each refusal looks at all of them.
const MAX_KEYS: usize = 64;
/// Bytes of the name of a key.
const MAX_NAME: usize = 253;

shapes! {
    /// Keys that are trusted for filters. In a registry, a TrustPolicy outside the security namespaces (`tamis registry --security`)
    /// only adds requirements for filters of its own namespace: a filter runs when the policy of security and
    /// this one are both satisfied.
    pub struct TrustPolicySpec {
        /// `*`, `NAMESPACE/*` or `NAMESPACE/NAME` of filters.
        #[schemars(length(min = 1))]
        pub namespaces: Vec<String>,
        /// The trusted keys.
        #[schemars(length(min = 1))]
        pub keys: Vec<TrustKey>,
        /// How many distinct keys must have signed.
        #[schemars(range(min = 1))]
        pub threshold: u32,
        /// Lowest allowed version of a filter, by its name.
        #[serde(default)]
        pub floor_versions: BTreeMap<String, String>,
        /// Revoked manifests.
        #[serde(default)]
        #[schemars(extend("items" = { "type": "string", "format": "digest" }))]
        pub revoked_digests: Vec<String>,
        /// Revoked keys: by name or id (revoked entirely), or `key` and `fromIndex`.
        #[serde(default)]
        pub revoked_keys: Vec<RevokedKey>,
        /// Greatest age of this policy at which something new may be activated; default: any age. What runs
        /// keeps running.
        pub staleness_bound: Option<Millis>,
    }
    /// A key that is revoked from a log index on.
    pub struct KeyRevocation {
        /// Its name or id.
        #[schemars(length(min = 1))]
        pub key: String,
        /// Index of the log: a signature counts only if the log recorded it before.
        pub from_index: u64,
    }
    /// A key; one of `publicKey` and `publicKeyFile` is set.
    pub struct TrustKey {
        /// Its name in grants and revocations.
        #[schemars(length(min = 1))]
        pub name: String,
        /// PEM.
        pub public_key: Option<String>,
        /// Path of a PEM file.
        pub public_key_file: Option<String>,
        /// Not trusted before this moment (RFC 3339).
        pub not_before: Option<String>,
        /// Not trusted from this moment on (RFC 3339).
        pub expires: Option<String>,
    }
}

/// A revoked key.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum RevokedKey {
    /// Its name or id: no signature of it counts.
    Ever(String),
    /// Only signatures that the log recorded before an index count.
    From(KeyRevocation),
}

impl TrustPolicySpec {
    /// Faults beyond the schema. A policy with one trusts nobody. It is no mistake of the document itself: one that a journal
    /// has would be left out, and a wider policy would decide for what it covers.
    pub(crate) fn wrong(&self) -> Vec<RuleFault> {
        let mut wrong = Vec::new();
        let (mut names, mut texts) = (BTreeSet::new(), BTreeSet::new());
        for (at, key) in self.keys.iter().enumerate() {
            let place = |field: &str| format!("/spec/keys/{at}/{field}");
            let name = &key.name;
            if name.len() > MAX_NAME || name.chars().any(char::is_control) {
                let message = format!("the name of a key is one line of 1 to {MAX_NAME} bytes");
                wrong.push((place("name"), message, "shorten it"));
            } else if !names.insert(name) {
                let message = format!("another key of this policy has the name `{name}`");
                wrong.push((place("name"), message, "give each key a name of its own"));
            }
            let text = key.public_key.as_deref().map(str::trim);
            let (field, text) = match text {
                Some(_) => ("publicKey", text),
                None => ("publicKeyFile", key.public_key_file.as_deref()),
            };
            if text.is_some_and(|text| !texts.insert((field, text))) {
                let message = format!("`{name}` is the same key as another one of this policy");
                wrong.push((
                    place(field),
                    message,
                    "remove one of them: a threshold counts people",
                ));
            }
        }
        if self.keys.len() > MAX_KEYS {
            let message = format!("the policy has more than {MAX_KEYS} keys");
            wrong.push(("/spec/keys".to_owned(), message, "split the policy by filters"));
        }
        let threshold = usize::try_from(self.threshold).unwrap_or(usize::MAX);
        if threshold > self.keys.len() {
            let message = format!(
                "{} keys would have to sign, and there are {}",
                self.threshold,
                self.keys.len()
            );
            wrong.push(("/spec/threshold".to_owned(), message, "lower it, or add keys"));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use crate::{NodeName, Security, fold, parse, trust_policies};

    #[test]
    fn a_policy_that_would_trust_nobody_is_a_mistake_with_its_place() {
        let key = |name: &str, pem: &str| format!("{{ name: {name}, publicKey: {pem} }}");
        let file = |name: &str, path: &str| format!("{{ name: {name}, publicKeyFile: {path} }}");
        let many: Vec<String> =
            (0..65).map(|at| file(&format!("k{at}"), &format!("{at}.pem"))).collect();
        for (what, keys, threshold, pointer, says) in [
            (
                "two of one name",
                [key("a", "A"), key("a", "B")].join(", "),
                1,
                Some("/spec/keys/1/name"),
                "has the name `a`",
            ),
            (
                "one key twice",
                [key("a", "A"), key("b", "A")].join(", "),
                1,
                Some("/spec/keys/1/publicKey"),
                "same key",
            ),
            (
                "one file twice",
                [file("a", "k.pem"), file("b", "k.pem")].join(", "),
                1,
                Some("/spec/keys/1/publicKeyFile"),
                "same key",
            ),
            ("a long name", key(&"n".repeat(254), "A"), 1, Some("/spec/keys/0/name"), "one line"),
            ("too many", many.join(", "), 1, Some("/spec/keys"), "more than 64"),
            ("more than there are", key("a", "A"), 2, Some("/spec/threshold"), "there are 1"),
            ("two people", [key("a", "A"), key("b", "B")].join(", "), 2, None, ""),
        ] {
            let text = format!(
                "kind: TrustPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: local, namespace: security }}\nspec:\n  \
                 namespaces: [\"*\"]\n  threshold: {threshold}\n  keys: [{keys}]\n"
            );
            // A document is read whatever is wrong with its keys, so that what it covers stays its own.
            let (documents, problems) = parse("t.yaml", &text);
            assert!(problems.is_empty(), "{what}: {problems:?}");
            let folded =
                fold(
                    &documents,
                    &NodeName::Gateway { key: "a/b".into() },
                    &|_| Ok(b"PEM".to_vec()),
                );
            let found: Vec<_> =
                folded.problems.iter().filter(|one| one.code == "trust.keys").collect();
            let trust = trust_policies(&documents, &|_| Ok(b"PEM".to_vec()), Security::Everybody);
            assert_eq!(trust[0]["namespaces"], serde_json::json!(["*"]), "{what}: it is kept");
            let Some(pointer) = pointer else {
                assert!(found.is_empty(), "{what}: {found:?}");
                continue;
            };
            assert_eq!(found.len(), 1, "{what}: {pointer}: {found:?}");
            assert!(found[0].message.contains(says) && found[0].help.is_some(), "{what}");
            assert!(found[0].place.line > 4, "{what}: its place");
        }
    }
}
