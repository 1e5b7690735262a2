//! The files below a root: one complete, verified state of timestamp, snapshot, targets, delegated roles
//! and the documents that they vouch for.

use std::collections::BTreeMap;

use jiff::Timestamp as Moment;
use sigstore_tuf::{TargetFile, TrustedMetadataSet};
use tamis_trust::{Digest, Name, SignaturePolicy, Timestamp};

use super::{MAX_STATE_BYTES, RoleStatus, file, walk};
use crate::{Namespace, TufError};

pub(super) const TIMESTAMP: &str = "timestamp.json";
pub(super) const SNAPSHOT: &str = "snapshot.json";
const TARGETS: &str = "targets.json";
/// The member of a timestamp with the time of signing. TUF itself only has its expiry.
const ISSUED: &str = "x-tamis-issued";

#[derive(Debug)]
pub(super) struct LowerRoles {
    pub(super) set: TrustedMetadataSet,
    /// The files it was read from, by name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) documents: Vec<Document>,
    /// When the timestamp was signed, in seconds since the Unix epoch.
    pub(super) issued: u64,
    pub(super) standings: Vec<RoleStatus>,
}

/// A policy document and the roles that vouch for it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) namespace: Namespace,
    pub(super) policy: SignaturePolicy,
    /// The roles from `targets` to the one that lists it.
    pub(super) roles: Vec<String>,
}

impl LowerRoles {
    /// Verifies a complete state under the root of `set`; versions must not be lower than those in `set`.
    /// At [`Moment::MIN`] nothing counts as expired.
    pub(super) fn read(
        mut set: TrustedMetadataSet,
        files: &BTreeMap<String, Vec<u8>>,
        at: Moment,
    ) -> Result<Self, TufError> {
        let timestamp = file(files, TIMESTAMP, "the root")?;
        set.update_timestamp(timestamp, at).map_err(|error| TufError::tuf(TIMESTAMP, &error))?;
        let snapshot = file(files, SNAPSHOT, TIMESTAMP)?;
        set.update_snapshot(snapshot, at).map_err(|error| TufError::tuf(SNAPSHOT, &error))?;
        let targets = file(files, TARGETS, SNAPSHOT)?;
        set.update_targets(targets, at).map_err(|error| TufError::tuf(TARGETS, &error))?;
        let roles = walk::load(&mut set, files)?;
        let names = roles.iter().map(|role| format!("{role}.json"));
        let names = names.chain([TIMESTAMP, SNAPSHOT, TARGETS].map(str::to_owned));
        let mut used: BTreeMap<String, Vec<u8>> = names
            .filter_map(|name| Some((files.get(&name)?.clone(), name)))
            .map(|(bytes, name)| (name, bytes))
            .collect();
        let mut documents = Vec::new();
        for path in walk::paths(&set, &roles)? {
            // A role may list documents that were not delegated to it; they are ignored.
            let Some(found) = walk::responsible(&set, path)? else { continue };
            let Some(namespace) = Namespace::of_path(path)? else { continue };
            let bytes = file(files, path, &format!("{}.json", found.role()))?;
            documents.push(Document {
                policy: document(path, bytes, &found.target, &namespace)?,
                namespace,
                roles: found.roles,
            });
            used.insert(path.to_owned(), bytes.to_vec());
        }
        let actual = used.values().map(Vec::len).sum();
        if actual > MAX_STATE_BYTES {
            let (file, limit) = ("all files together".to_owned(), MAX_STATE_BYTES);
            return Err(TufError::Limit { file, actual, limit, unit: "bytes" });
        }
        let issued = issued(&set)?;
        let standings = standings(&set, &roles);
        Ok(Self { set, files: used, documents, issued, standings })
    }

    /// Whether a timestamp, signed as the root of `set` requires, has the version of the current one: by
    /// TUF §5.4.3.1 it is then ignored, whatever its content.
    pub(super) fn is_of(&self, set: &TrustedMetadataSet, timestamp: &[u8]) -> bool {
        let outcome = set.clone().update_timestamp(timestamp, Moment::MIN);
        matches!(outcome, Err(sigstore_tuf::Error::EqualVersion { .. }))
    }

    /// Refuses when the current timestamp or snapshot has expired.
    pub(super) fn in_time(&self, at: Moment) -> Result<(), TufError> {
        let set = &self.set;
        set.check_timestamp_expired(at).map_err(|error| TufError::tuf(TIMESTAMP, &error))?;
        set.check_snapshot_expired(at).map_err(|error| TufError::tuf(SNAPSHOT, &error))
    }

    /// One of the files it was read from.
    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Whether the role decides about this filter.
    pub(super) fn concerns(&self, role: &str, name: &Name) -> bool {
        let speaking = self.documents.iter().filter(|document| document.namespace.covers(name));
        matches!(role, "root" | "timestamp" | "snapshot" | "targets")
            || speaking.flat_map(|document| &document.roles).any(|one| one == role)
    }
}

fn document(
    path: &str,
    bytes: &[u8],
    target: &TargetFile,
    namespace: &Namespace,
) -> Result<SignaturePolicy, TufError> {
    let broken = |reason: String| TufError::Document { file: path.to_owned(), reason };
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let digest = Digest::of(bytes).hex();
    if length != target.length || target.hashes.get("sha256") != Some(&digest) {
        return Err(broken(
            "it is not the document that was signed (length or sha256 differ); send it unaltered"
                .to_owned(),
        ));
    }
    let policy = SignaturePolicy::from_json(bytes).map_err(|error| broken(error.to_string()))?;
    match policy.namespaces().iter().find(|pattern| !namespace.holds(pattern)) {
        Some(pattern) => Err(broken(format!(
            "the document of {namespace} covers {:?}, which is outside its namespace; it may only cover filters in {namespace}",
            pattern.as_str()
        ))),
        None => Ok(policy),
    }
}

fn issued(set: &TrustedMetadataSet) -> Result<u64, TufError> {
    let member = set.timestamp().and_then(|timestamp| timestamp.extra.get(ISSUED));
    let text = member.and_then(serde_json::Value::as_str).unwrap_or_default();
    let issued: Result<Timestamp, _> = text.parse();
    issued.map(|issued| issued.0).map_err(|error| {
        TufError::format(TIMESTAMP, format!("{ISSUED} must say when it was signed: {error}"))
    })
}

fn standings(set: &TrustedMetadataSet, roles: &[String]) -> Vec<RoleStatus> {
    let mut all = Vec::new();
    all.extend(set.timestamp().map(|role| standing("timestamp", role.version, role.expires)));
    all.extend(set.snapshot().map(|role| standing("snapshot", role.version, role.expires)));
    for name in std::iter::once(walk::TARGETS).chain(roles.iter().map(String::as_str)) {
        all.extend(set.targets_role(name).map(|role| standing(name, role.version, role.expires)));
    }
    all
}

pub(super) fn standing(role: &str, version: u64, expires: Moment) -> RoleStatus {
    let expires = Timestamp(u64::try_from(expires.as_second()).unwrap_or(0));
    RoleStatus { role: role.to_owned(), version, expires }
}
