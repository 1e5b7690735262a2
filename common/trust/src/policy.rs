//! Which keys are trusted for which filters: the checked form of a `TrustPolicy`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::name::is_component;
use crate::policy::salvage::Withdrawals;
use crate::revoke::{Revocation, RevokedKey};
use crate::time::Span;
use crate::{Digest, KeyId, Name, PublicKey, Timestamp, TrustError, Version, json};

mod salvage;

pub(crate) const MAX_POLICY_BYTES: usize = 1024 * 1024;
/// Most keys of a policy. Bounds the work of a refusal: keys × bundles signature checks.
pub(crate) const MAX_KEYS: usize = 64;

/// A checked trust policy.
///
/// Invariants: at least one pattern and one key; names and keys are each distinct, so that the threshold
/// counts people; 1 ≤ threshold ≤ number of keys. One with a fault breaks some of them, and accepts nothing
/// ([`SignaturePolicy::read_or_nobody`]).
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Document")]
pub struct SignaturePolicy {
    name: String,
    namespaces: Vec<NamePattern>,
    keys: Vec<TrustedKey>,
    threshold: usize,
    floor_versions: BTreeMap<Name, Version>,
    revoked_digests: BTreeSet<Digest>,
    revoked_keys: BTreeMap<KeyId, Revocation>,
    staleness_bound: Option<Duration>,
    narrows: bool,
    /// It withdraws something that cannot be read.
    unread: bool,
    /// Why it trusts nobody, in words; `None`: its keys count.
    fault: Option<String>,
}

/// A key a policy trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its name in the policy.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Its id.
    pub id: KeyId,
    /// Not trusted before this moment; `None`: no such limit.
    pub not_before: Option<Timestamp>,
    /// Not trusted from this moment on; `None`: no such limit.
    pub expires: Option<Timestamp>,
}

/// The document as people write it. A key is revoked by its name in this policy or by its id.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    name: String,
    namespaces: Vec<NamePattern>,
    keys: Vec<KeyDocument>,
    threshold: usize,
    #[serde(default)]
    floor_versions: BTreeMap<Name, Version>,
    #[serde(default)]
    revoked_digests: Vec<Digest>,
    #[serde(default)]
    revoked_keys: Vec<RevokedKey>,
    #[serde(default)]
    staleness_bound: Option<Span>,
    #[serde(default)]
    narrows: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyDocument {
    name: String,
    public_key: String,
    #[serde(default)]
    not_before: Option<Timestamp>,
    #[serde(default)]
    expires: Option<Timestamp>,
}

impl TryFrom<Document> for SignaturePolicy {
    type Error = TrustError;

    fn try_from(document: Document) -> Result<Self, TrustError> {
        let broken = |reason: String| TrustError::Policy { name: document.name.clone(), reason };
        let name_fits = !document.name.is_empty()
            && document.name.len() <= 253
            && !document.name.chars().any(char::is_control);
        if !name_fits {
            return Err(broken("name must be one line of 1 to 253 bytes".to_owned()));
        }
        if document.namespaces.is_empty() {
            return Err(broken("namespaces is empty; write \"*\" to mean all".to_owned()));
        }
        if document.keys.len() > MAX_KEYS {
            return Err(broken(format!("more than {MAX_KEYS} keys; split the policy")));
        }
        let keys = trusted_keys(&document.keys).map_err(broken)?;
        if document.threshold == 0 || document.threshold > keys.len() {
            return Err(broken(format!(
                "threshold {} must lie between 1 and the number of keys, {}",
                document.threshold,
                keys.len()
            )));
        }
        let revoked_keys = revoked_keys(&document.revoked_keys, &keys).map_err(broken)?;
        if document.staleness_bound == Some(Span(Duration::ZERO)) {
            return Err(broken(
                "stalenessBound must be more than 0s; omit it for no bound".to_owned(),
            ));
        }
        Ok(Self {
            name: document.name,
            namespaces: document.namespaces,
            keys,
            threshold: document.threshold,
            floor_versions: document.floor_versions,
            revoked_digests: document.revoked_digests.into_iter().collect(),
            revoked_keys,
            staleness_bound: document.staleness_bound.map(|span| span.0),
            narrows: document.narrows,
            unread: false,
            fault: None,
        })
    }
}

impl SignaturePolicy {
    /// Reads a policy; a policy with a fault trusts nobody for what it covers, and the fault is reported. Left out, a
    /// wider policy would count in its place. What it withdraws stays withdrawn, also where a closer one decides.
    #[must_use]
    pub fn read_or_nobody(document: &serde_json::Value) -> (Self, Option<TrustError>) {
        let error = match Self::from_json(document.to_string().as_bytes()) {
            Ok(policy) => return (policy, None),
            Err(error) => error,
        };
        if let Some(policy) = Self::read_above_its_keys(document) {
            return (policy, Some(error));
        }
        let name = document.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let patterns = document.get("namespaces").cloned().unwrap_or_default();
        let patterns: Vec<String> = serde_json::from_value(patterns).unwrap_or_default();
        let narrows = document.get("narrows") == Some(&serde_json::Value::Bool(true));
        let fault = Some(fault(document, &error));
        let nobody = Self { narrows, fault, ..Self::trusting_nobody(name, &patterns) };
        (Withdrawals::of(document).of_policy(nobody), Some(error))
    }

    /// A policy whose only fault is that more keys must sign than it has: nothing satisfies it, and a refusal counts its keys
    /// as they are.
    fn read_above_its_keys(document: &serde_json::Value) -> Option<Self> {
        let threshold = document.get("threshold").and_then(serde_json::Value::as_u64)?;
        let threshold = usize::try_from(threshold).unwrap_or(usize::MAX);
        let keys = document.get("keys").and_then(serde_json::Value::as_array)?.len();
        if threshold <= keys {
            return None;
        }
        let mut reachable = document.clone();
        *reachable.get_mut("threshold")? = keys.into();
        let policy = Self::from_json(reachable.to_string().as_bytes()).ok()?;
        Some(Self { threshold, ..policy })
    }

    /// A policy that trusts no key for these filters. It replaces an invalid policy: if that were simply
    /// ignored, a wider policy would decide. An invalid pattern stands for every filter.
    #[must_use]
    pub fn trusting_nobody(name: &str, namespaces: &[String]) -> Self {
        let all = || NamePattern("*".to_owned());
        let pattern = |text: &String| text.parse().unwrap_or_else(|_| all());
        let mut patterns: Vec<NamePattern> = namespaces.iter().map(pattern).collect();
        if patterns.is_empty() {
            patterns.push(all());
        }
        Self {
            name: name.chars().filter(|c| !c.is_control()).take(253).collect(),
            namespaces: patterns,
            keys: Vec::new(),
            threshold: 1,
            floor_versions: BTreeMap::new(),
            revoked_digests: BTreeSet::new(),
            revoked_keys: BTreeMap::new(),
            staleness_bound: None,
            narrows: false,
            unread: false,
            fault: None,
        }
    }
}

/// Why a policy that cannot be read trusts nobody.
fn fault(document: &serde_json::Value, error: &TrustError) -> String {
    let keys = document.get("keys").and_then(serde_json::Value::as_array);
    if keys.is_some_and(Vec::is_empty) {
        return "it has no key that counts".to_owned();
    }
    // A refusal names the policy itself.
    let name = document.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
    let (text, named) = (error.to_string(), format!("trust policy {name:?}: "));
    text.rsplit_once(&named).map_or(text.as_str(), |(_, reason)| reason).to_owned()
}

/// Of two entries for one key the stricter one applies.
fn revoked_keys(
    documents: &[RevokedKey],
    keys: &[TrustedKey],
) -> Result<BTreeMap<KeyId, Revocation>, String> {
    let mut revoked = BTreeMap::new();
    for RevokedKey { key: text, since } in documents {
        let named = keys.iter().find(|key| key.name == *text).map(|key| key.id);
        let id = named.or_else(|| text.parse().ok()).ok_or_else(|| {
            format!("revokedKeys: {text:?} is neither a key of this policy nor a key id")
        })?;
        revoked
            .entry(id)
            .and_modify(|old: &mut Revocation| *old = (*old).min(*since))
            .or_insert(*since);
    }
    Ok(revoked)
}

impl TrustedKey {
    /// Whether the key is within its period of validity; if not, why.
    pub(crate) fn in_time(&self, now: u64) -> Result<(), String> {
        if let Some(expires) = self.expires.filter(|expires| Timestamp(now) >= *expires) {
            return Err(format!("key {:?} expired at {expires}", self.name));
        }
        if let Some(from) = self.not_before.filter(|from| Timestamp(now) < *from) {
            return Err(format!("key {:?} is not valid before {from}", self.name));
        }
        Ok(())
    }
}

pub(crate) fn trusted_keys(documents: &[KeyDocument]) -> Result<Vec<TrustedKey>, String> {
    let mut keys: Vec<TrustedKey> = Vec::new();
    for document in documents {
        let name = document.name.clone();
        let key = PublicKey::from_pem(&document.public_key)
            .map_err(|error| format!("key {name:?}: {error}"))?;
        let id = key.id();
        if name.is_empty() || keys.iter().any(|other| other.name == name) {
            return Err(format!("key {name:?}: names must be present and distinct"));
        }
        // It is shown to people, in refusals.
        if name.len() > 253 || name.chars().any(char::is_control) {
            return Err("a key's name must be one line of 1 to 253 bytes".to_owned());
        }
        if let Some(other) = keys.iter().find(|other| other.id == id) {
            return Err(format!("key {name:?} is the same key as {:?}; remove one", other.name));
        }
        if document.not_before.zip(document.expires).is_some_and(|(from, to)| from >= to) {
            return Err(format!("key {name:?}: notBefore must lie before expires"));
        }
        let (not_before, expires) = (document.not_before, document.expires);
        keys.push(TrustedKey { name, key, id, not_before, expires });
    }
    Ok(keys)
}

impl SignaturePolicy {
    /// Reads a policy from strict JSON.
    ///
    /// # Errors
    /// It is malformed, has an unknown or duplicate member, or contradicts itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrustError> {
        json::read("trust policy", bytes, MAX_POLICY_BYTES)
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The filters it covers, in the order written.
    #[must_use]
    pub fn namespaces(&self) -> &[NamePattern] {
        &self.namespaces
    }

    /// The keys it trusts, in the order written, including revoked and expired ones.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// How many distinct keys must have signed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// How specifically the policy covers this filter; `None` when it does not. Greater is more specific.
    #[must_use]
    pub fn covers(&self, name: &Name) -> Option<usize> {
        self.namespaces.iter().filter_map(|pattern| pattern.matches(name)).max()
    }

    /// The lowest version of this filter that may run.
    #[must_use]
    pub fn floor(&self, name: &Name) -> Option<&Version> {
        self.floor_versions.get(name)
    }

    /// The lowest versions that may run, by filter.
    pub fn floors(&self) -> impl Iterator<Item = (&Name, &Version)> {
        self.floor_versions.iter()
    }

    /// The revoked manifest digests.
    pub fn revoked_digests(&self) -> impl Iterator<Item = &Digest> {
        self.revoked_digests.iter()
    }

    /// The revoked keys, and from when each is revoked.
    pub fn revocations(&self) -> impl Iterator<Item = (&KeyId, Revocation)> {
        self.revoked_keys.iter().map(|(key, since)| (key, *since))
    }

    /// Whether this manifest digest is revoked.
    #[must_use]
    pub fn revokes_digest(&self, digest: &Digest) -> bool {
        self.revoked_digests.contains(digest)
    }

    /// From when this key is revoked; `None` when it is not.
    #[must_use]
    pub fn revocation(&self, id: &KeyId) -> Option<Revocation> {
        self.revoked_keys.get(id).copied()
    }

    /// Whether it only narrows: it never decides whose signatures are enough, and its requirements hold in addition to those
    /// of the deciding policy.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.narrows
    }

    /// Why it trusts nobody although it is in force, in words; `None`: its keys count.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether it withdraws something that cannot be read, so that nothing that it speaks of is known not to be.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Greatest age of the policies at which something new may be activated; `None`: any age.
    #[must_use]
    pub fn staleness_bound(&self) -> Option<Duration> {
        self.staleness_bound
    }
}

/// Which filters a policy covers: `*` (all), `NAMESPACE/*` (all below), `NAMESPACE/NAME` (one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamePattern(String);

impl NamePattern {
    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of the literal match (an exact name counts one more than any prefix), or `None`.
    fn matches(&self, name: &Name) -> Option<usize> {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.as_str().starts_with(prefix).then_some(prefix.len()),
            None => (self.0 == name.as_str()).then_some(self.0.len().saturating_add(1)),
        }
    }
}

impl FromStr for NamePattern {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let ok = text == "*"
            || text.parse::<Name>().is_ok()
            || text.strip_suffix("/*").is_some_and(|prefix| prefix.split('/').all(is_component));
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(TrustError::Pattern(text.chars().take(80).collect()))
        }
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;
    use serde_json::{Value, json};

    fn document() -> Value {
        let keys: Vec<Value> = (0..2)
            .map(|at| {
                let pem = PrivateKey::generate().unwrap().public_key().to_pem();
                json!({ "name": format!("k{at}"), "publicKey": pem })
            })
            .collect();
        json!({ "name": "p", "namespaces": ["acme/*", "beta/x"], "keys": keys, "threshold": 2,
                "floorVersions": { "acme/a": "1.2.0" }, "revokedKeys": ["k1"] })
    }

    fn read(value: &Value) -> Result<SignaturePolicy, TrustError> {
        SignaturePolicy::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn a_policy_speaks_of_its_namespaces_only() {
        let policy = read(&document()).unwrap();
        let covers = |name: &str| policy.covers(&name.parse().unwrap());
        assert_eq!(covers("acme/a"), Some(5));
        assert_eq!(covers("beta/x"), Some(7));
        assert_eq!(covers("beta/y"), None);
        assert_eq!(covers("acmes/a"), None);
        assert_eq!(policy.revocation(&policy.keys()[1].id), Some(Revocation::Ever));
        assert_eq!(policy.revocation(&policy.keys()[0].id), None);
        assert_eq!(policy.staleness_bound(), None);
    }

    #[test]
    fn a_policy_that_trusts_nobody_speaks_of_what_the_wrong_one_spoke_of() {
        let policy = SignaturePolicy::trusting_nobody("p", &["acme/*".to_owned()]);
        let covers = |policy: &SignaturePolicy, name: &str| policy.covers(&name.parse().unwrap());
        assert_eq!((covers(&policy, "acme/a"), covers(&policy, "beta/a")), (Some(5), None));
        assert!(policy.keys().is_empty() && policy.threshold() == 1);
        for unreadable in [vec![], vec!["*me".to_owned()]] {
            let policy = SignaturePolicy::trusting_nobody("p", &unreadable);
            assert_eq!(covers(&policy, "beta/a"), Some(0));
        }
    }

    #[test]
    fn a_key_is_revoked_by_name_or_id_and_the_wider_of_two_revocations_holds() {
        let mut document = document();
        let id = read(&document).unwrap().keys()[0].id;
        for (entries, since) in [
            (json!([{ "key": "k0", "fromIndex": 9 }]), Some(Revocation::From(9))),
            (json!([{ "key": id.to_string(), "fromIndex": 9 }]), Some(Revocation::From(9))),
            (
                json!([{ "key": "k0", "fromIndex": 9 }, { "key": "k0", "fromIndex": 4 }]),
                Some(Revocation::From(4)),
            ),
            (json!([{ "key": "k0", "fromIndex": 0 }, "k0"]), Some(Revocation::Ever)),
            (json!(["k0", { "key": "k0", "fromIndex": 9 }]), Some(Revocation::Ever)),
            (json!(["k1"]), None),
        ] {
            document["revokedKeys"] = entries;
            assert_eq!(read(&document).unwrap().revocation(&id), since, "{document}");
        }
        document["stalenessBound"] = json!("1h30m");
        let bound = read(&document).unwrap().staleness_bound();
        assert_eq!(bound, Some(Duration::from_secs(5400)));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let good = document();
        let mut rows: Vec<(&str, Value)> = vec![
            ("threshold", json!(0)),
            ("threshold", json!(3)),
            ("namespaces", json!([])),
            ("namespaces", json!(["acme*"])),
            ("namespaces", json!(["*/x"])),
            ("keys", json!([])),
            ("treshold", json!(1)),
            ("revokedKeys", json!(["nobody"])),
            ("revokedKeys", json!([{ "key": "k0" }])),
            ("revokedKeys", json!([{ "key": "k0", "fromIndex": -1 }])),
            ("revokedKeys", json!([{ "key": "k0", "fromIndex": 1, "until": 2 }])),
            ("revokedKeys", json!([7])),
            ("stalenessBound", json!("1d")),
            ("stalenessBound", json!("0s")),
            ("stalenessBound", json!(24)),
            ("revokedDigests", json!(["sha256:1"])),
            ("floorVersions", json!({ "acme/a": "1" })),
            ("name", json!("")),
        ];
        let mut same_key = good["keys"].clone();
        same_key[1]["publicKey"] = same_key[0]["publicKey"].clone();
        let mut same_name = good["keys"].clone();
        same_name[1]["name"] = json!("k0");
        let mut backwards = good["keys"].clone();
        backwards[0]["notBefore"] = json!("2027-01-01T00:00:00Z");
        backwards[0]["expires"] = json!("2026-01-01T00:00:00Z");
        rows.extend([("keys", same_key), ("keys", same_name), ("keys", backwards)]);
        for (member, value) in rows {
            let mut bad = good.clone();
            bad[member] = value;
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
