//! Changes: the records that the registry writes to the journal, and reads back.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tamis_journal::{BlobDigest, Hash, Record};

use crate::access::{RepositoryPattern, Verb};
use crate::name::{Repository, Tag};

/// A change of the registry. As a record: the variant's name in kebab case is the kind, its fields are the
/// body.
///
/// Fields may be added; a missing one must have a default, since old entries stay unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "kebab-case")]
pub(crate) enum Change {
    /// A blob can be pulled from a repository.
    BlobLinked { repository: Repository, digest: BlobDigest, size: u64 },
    /// It can no longer be pulled from there.
    BlobUnlinked { repository: Repository, digest: BlobDigest },
    /// A manifest can be pulled; its bytes are a blob. Annotations are not repeated here: they may be
    /// large.
    ManifestPut {
        repository: Repository,
        digest: BlobDigest,
        media_type: String,
        size: u64,
        #[serde(default)]
        tags: Vec<Tag>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<BlobDigest>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        artifact_type: Option<String>,
        #[serde(default)]
        blobs: Vec<BlobDigest>,
        #[serde(default)]
        manifests: Vec<BlobDigest>,
    },
    /// It can no longer be pulled, nor by any tag.
    ManifestDeleted { repository: Repository, digest: BlobDigest },
    /// A tag names a manifest.
    TagPut { repository: Repository, tag: Tag, digest: BlobDigest },
    /// A tag was deleted.
    TagDeleted { repository: Repository, tag: Tag },
    /// Blobs without references are about to be removed from storage. Until they are collected nobody may
    /// refer to them.
    BlobsCondemned { digests: Vec<BlobDigest> },
    /// They have been removed.
    BlobsCollected { digests: Vec<BlobDigest> },
    /// A token was made, with these rights. Only its hash is stored.
    TokenCreated {
        name: String,
        sha256: Hash,
        repositories: Vec<RepositoryPattern>,
        verbs: Vec<Verb>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_ms: Option<u64>,
    },
    /// A new secret replaces the old one, possibly with another expiry.
    TokenRotated {
        name: String,
        sha256: Hash,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_ms: Option<u64>,
    },
    /// A token was revoked.
    TokenRevoked { name: String },
}

impl Change {
    /// Its record; `None` only if it cannot be JSON, which never happens.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_value(serde_json::to_value(self).ok()?).ok()
    }

    /// The change in a record; `None` for a kind, or a form, that the registry does not know.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        serde_json::from_value(json!({ "kind": record.kind, "body": record.body })).ok()
    }
}

/// Every digest in a record of another kind.
pub(crate) fn digests(body: &Value, found: &mut Vec<BlobDigest>) {
    match body {
        Value::String(text) => found.extend(BlobDigest::parse(text).ok()),
        Value::Array(values) => values.iter().for_each(|value| digests(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| digests(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_comes_back_from_its_record() {
        let change = Change::TagPut {
            repository: "a/b".parse().unwrap(),
            tag: "1.0.0".parse().unwrap(),
            digest: BlobDigest::of(b"x"),
        };
        let record = change.record().unwrap();
        assert_eq!(record.kind, "tag-put");
        assert_eq!(record.body["repository"], "a/b");
        assert_eq!(Change::of(&record), Some(change));
    }

    #[test]
    fn records_of_others_and_broken_ones_are_no_changes() {
        let record = |kind: &str, body| Record { kind: kind.to_owned(), body };
        assert_eq!(Change::of(&record("rollout-begun", json!({}))), None);
        assert_eq!(Change::of(&record("tag-put", json!({ "repository": "A" }))), None);
        assert_eq!(Change::of(&record("tag-put", Value::Null)), None);
    }

    #[test]
    fn digests_are_found_at_any_depth() {
        let digest = BlobDigest::of(b"x");
        let mut found = Vec::new();
        digests(&json!({ "a": [1, { "b": digest }], "c": "sha256:no" }), &mut found);
        assert_eq!(found, [digest]);
    }
}
