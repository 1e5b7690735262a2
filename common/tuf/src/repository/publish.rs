//! Publishing: files with enough signatures become visible to readers, under a new snapshot and timestamp.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;
use tamis_trust::{PrivateKey, Timestamp};

use super::format::{Envelope, Head, HeadedRole, Key, MetaFile, Root, Targets, Versions};
use super::{DOCUMENTS, METADATA, PolicyRepository, STAGED, StagedFile, TARGETS_FILE};
use crate::{TrustedPolicies, TufError, kept};

const SNAPSHOT: &str = "snapshot.json";
const TIMESTAMP: &str = "timestamp.json";

/// The result of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishResult {
    /// The staged files that are now published.
    pub files: Vec<String>,
    /// The version of the timestamp.
    pub timestamp: u64,
    /// When the timestamp expires; the next refresh must come before.
    pub expires: Timestamp,
    /// What still waits for signatures.
    pub waiting: Vec<StagedFile>,
}

/// A state that is about to be published.
struct Candidate {
    /// Metadata by file name.
    metadata: BTreeMap<String, Vec<u8>>,
    /// Documents by path.
    documents: BTreeMap<String, Vec<u8>>,
}

impl Candidate {
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.metadata.iter().chain(&self.documents).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

impl PolicyRepository {
    /// Publishes every staged file that has enough signatures, with a new snapshot and a new timestamp
    /// signed by the online key. Before anything is written, the whole state is read as two nodes read it:
    /// one that has the previous state, and one that has only the first root. What they would refuse is not
    /// published.
    ///
    /// # Errors
    /// There is no root with enough signatures yet, the key is not one of the online keys, a reader would
    /// refuse the whole, or files cannot be written.
    pub fn refresh(&self, online: &PrivateKey, now: u64) -> Result<PublishResult, TufError> {
        let (ready, waiting): (Vec<_>, Vec<_>) =
            self.waiting()?.into_iter().partition(|one| one.signatures >= one.threshold);
        let ready: Vec<String> = ready.into_iter().map(|one| one.file).collect();
        let mut candidate = self.candidate(&ready)?;
        self.check_online(&candidate, online)?;
        let snapshot = self.snapshot(&candidate, now)?;
        let version = put(&mut candidate, SNAPSHOT, snapshot, online)?;
        let bytes = candidate.metadata.get(SNAPSHOT).map(Vec::as_slice).unwrap_or_default();
        let meta = BTreeMap::from([(SNAPSHOT.to_owned(), MetaFile::of(version, bytes))]);
        let expires = self.end(now, self.lifetimes.timestamp);
        let mut timestamp = self.next_versions(TIMESTAMP, "timestamp", expires)?;
        timestamp.meta = meta;
        timestamp.issued = Some(Timestamp(now));
        let version = put(&mut candidate, TIMESTAMP, timestamp, online)?;
        self.read_as_nodes_do(&candidate, now)?;
        self.write(&candidate, &ready)?;
        Ok(PublishResult { files: ready, timestamp: version, expires, waiting })
    }

    /// The published files, with staged files that are ready in place of their old versions, and the
    /// documents that all of them vouch for.
    fn candidate(&self, ready: &[String]) -> Result<Candidate, TufError> {
        let (mut metadata, mut documents) = (BTreeMap::new(), BTreeMap::new());
        for (folder, names) in [(METADATA, self.names(METADATA)?), (STAGED, ready.to_vec())] {
            for name in names {
                metadata.extend(self.read(folder, &name)?.map(|bytes| (name, bytes)));
            }
        }
        for (file, bytes) in metadata.iter().filter(|(name, _)| is_targets(name)) {
            let targets: Envelope<Targets> = Envelope::parse(file, bytes)?;
            for (path, target) in &targets.signed.targets {
                // A missing document is not an error here; if a reader needs it, the reader reports it.
                documents.extend(self.matching(path, target)?.map(|bytes| (path.clone(), bytes)));
            }
        }
        Ok(Candidate { metadata, documents })
    }

    fn check_online(&self, candidate: &Candidate, online: &PrivateKey) -> Result<(), TufError> {
        let roots = candidate.metadata.iter().filter_map(|(name, bytes)| {
            let version: u64 = name.strip_suffix(".root.json")?.parse().ok()?;
            Some((version, name, bytes))
        });
        let Some((_, file, bytes)) = roots.max_by_key(|(version, ..)| *version) else {
            return Err(TufError::Change(
                "no root has enough signatures yet; `tamis policy sign` adds one".to_owned(),
            ));
        };
        let root: Envelope<Root> = Envelope::parse(file, bytes)?;
        let id = Key::of(&online.public_key()).id()?;
        let signs =
            |role: &str| root.signed.roles.get(role).is_some_and(|r| r.keyids.contains(&id));
        if signs("snapshot") && signs("timestamp") {
            return Ok(());
        }
        Err(TufError::Change(format!(
            "the key {} is not one of the online keys of {file}; use one of them",
            online.public_key().id()
        )))
    }

    /// The next snapshot: the versions of all files with documents, including all former ones.
    fn snapshot(&self, candidate: &Candidate, now: u64) -> Result<Versions, TufError> {
        let expires = self.end(now, self.lifetimes.snapshot);
        let mut snapshot = self.next_versions(SNAPSHOT, "snapshot", expires)?;
        for (file, bytes) in candidate.metadata.iter().filter(|(name, _)| is_targets(name)) {
            let targets: Envelope<Targets> = Envelope::parse(file, bytes)?;
            let version = targets.signed.head.version;
            snapshot.meta.insert(file.clone(), MetaFile::of(version, bytes));
        }
        Ok(snapshot)
    }

    fn next_versions(
        &self,
        file: &str,
        kind: &str,
        expires: Timestamp,
    ) -> Result<Versions, TufError> {
        let Some(bytes) = self.read(METADATA, file)? else {
            return Ok(Versions {
                head: Head::new(kind, expires),
                meta: BTreeMap::new(),
                issued: None,
            });
        };
        let mut versions = Envelope::<Versions>::parse(file, &bytes)?.signed;
        versions.head.version = versions.head.version.saturating_add(1);
        versions.head.expires = expires;
        Ok(versions)
    }

    fn read_as_nodes_do(&self, candidate: &Candidate, now: u64) -> Result<(), TufError> {
        let files = candidate.files();
        let first = files.get("1.root.json").map(Vec::as_slice).unwrap_or_default();
        TrustedPolicies::new(first)?.take(&files, now)?;
        let before = self.files()?;
        if let Some(issued) = issued(&before) {
            let mut node = TrustedPolicies::new(first)?;
            // The published state may be broken; then this is the way to repair it.
            if node.take(&before, issued).is_ok() {
                node.take(&files, now)?;
            }
        }
        Ok(())
    }

    /// Writes in an order in which a reader in between is refused and keeps its old state.
    fn write(&self, candidate: &Candidate, ready: &[String]) -> Result<(), TufError> {
        for (path, bytes) in &candidate.documents {
            kept::replace(&self.folder.join(DOCUMENTS).join(path), bytes)?;
        }
        let last = [SNAPSHOT, TIMESTAMP];
        let first = ready.iter().map(String::as_str);
        for file in first.chain(last) {
            if let Some(bytes) = candidate.metadata.get(file) {
                kept::replace(&self.folder.join(METADATA).join(file), bytes)?;
            }
        }
        for file in ready {
            self.unstage(file)?;
        }
        for name in self.names("staged/policy")? {
            let path = format!("policy/{name}");
            let published = candidate.documents.get(&path);
            if published.is_some() && self.read(STAGED, &path)?.as_ref() == published {
                let path = self.folder.join(STAGED).join(&path);
                fs::remove_file(&path).map_err(|source| TufError::File {
                    path,
                    act: "cannot be removed",
                    source,
                })?;
            }
        }
        Ok(())
    }
}

/// Whether a metadata file belongs to `targets` or to a delegated role.
fn is_targets(name: &str) -> bool {
    name == TARGETS_FILE || name.starts_with("ns.")
}

fn issued(files: &BTreeMap<String, Vec<u8>>) -> Option<u64> {
    let timestamp: Envelope<Versions> = Envelope::parse(TIMESTAMP, files.get(TIMESTAMP)?).ok()?;
    Some(timestamp.signed.issued?.0)
}

/// Signs a file and adds it; returns its version.
fn put(
    candidate: &mut Candidate,
    file: &str,
    signed: Versions,
    online: &PrivateKey,
) -> Result<u64, TufError> {
    let mut envelope = Envelope::unsigned(signed);
    envelope.sign(online)?;
    candidate.metadata.insert(file.to_owned(), envelope.to_bytes()?);
    Ok(envelope.signed.head().version)
}
