//! The view: everything the registry serves, computed from the journal.

use std::collections::{BTreeMap, BTreeSet};

use tamis_journal::{BlobDigest, Entry, Fold};

use crate::access::{Token, Tokens, distinct};
use crate::change::{self, Change};
use crate::name::{Repository, Tag};

/// A manifest that refers to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: BlobDigest,
    /// The journal's revision of it; the first, where several repositories have it.
    pub revision: u64,
}

/// The result of the entries up to [`Fold::revision`].
///
/// Invariants:
/// * A tag names a manifest of its repository.
/// * `blob_holders` and `manifest_holders` have exactly the repositories that have the digest, and no empty
///   sets.
/// * `Contents::uses` counts, for each digest, the manifests of the repository that refer to it as a blob.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegistryView {
    revision: u64,
    repositories: BTreeMap<Repository, Contents>,
    blob_holders: BTreeMap<BlobDigest, BTreeSet<Repository>>,
    manifest_holders: BTreeMap<BlobDigest, BTreeSet<Repository>>,
    /// Blobs about to be removed, and since when.
    condemned: BTreeMap<BlobDigest, u64>,
    /// The last revision that condemned any.
    condemned_at: u64,
    /// Digests that records of other kinds name.
    foreign: BTreeSet<BlobDigest>,
    /// The last revision that added or removed a manifest with a subject.
    referrers_at: u64,
    tokens: Tokens,
}

/// The contents of a repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) blobs: BTreeMap<BlobDigest, RepositoryBlob>,
    pub(crate) manifests: BTreeMap<BlobDigest, KeptManifest>,
    pub(crate) tags: BTreeMap<Tag, BlobDigest>,
    /// The last manifest of each version, even if its tag has been deleted.
    pub(crate) versions: BTreeMap<Tag, BlobDigest>,
    /// Manifests by their subject.
    pub(crate) referrers: BTreeMap<BlobDigest, BTreeSet<BlobDigest>>,
    uses: BTreeMap<BlobDigest, usize>,
}

/// A blob in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RepositoryBlob {
    pub(crate) size: u64,
    /// When it was last pushed, in milliseconds since the Unix epoch.
    pub(crate) time_ms: u64,
}

/// A manifest in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptManifest {
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) subject: Option<BlobDigest>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) blobs: Vec<BlobDigest>,
    /// The revision of its entry.
    pub(crate) revision: u64,
}

impl Fold for RegistryView {
    fn revision(&self) -> u64 {
        self.revision
    }

    type PreparedEntry = ();

    fn prepare(_: &Entry) {}

    /// Applies the next entry. An entry that is not the next one changes nothing; one of an unknown kind
    /// only keeps the blobs that it names from being collected.
    fn apply(&mut self, entry: &Entry, (): ()) {
        if entry.revision != self.revision.saturating_add(1) {
            return;
        }
        self.revision = entry.revision;
        match Change::of(&entry.record) {
            Some(change) => self.change(change, entry.time_ms, &entry.actor),
            None => {
                let mut found = Vec::new();
                change::digests(&entry.record.body, &mut found);
                self.foreign.extend(found);
            }
        }
    }
}

impl RegistryView {
    /// The repository's contents; `None` when nothing was pushed to it, or all was deleted.
    pub(crate) fn contents(&self, repository: &Repository) -> Option<&Contents> {
        self.repositories.get(repository).filter(|contents| !contents.is_empty())
    }

    /// The blob in a repository.
    pub(crate) fn link(
        &self,
        repository: &Repository,
        digest: &BlobDigest,
    ) -> Option<RepositoryBlob> {
        self.repositories.get(repository)?.blobs.get(digest).copied()
    }

    /// The repositories that have the blob.
    pub(crate) fn holders(&self, digest: &BlobDigest) -> impl Iterator<Item = &Repository> {
        self.blob_holders.get(digest).into_iter().flatten()
    }

    /// Whether anything refers to the bytes that storage has under this digest.
    pub(crate) fn refers_to(&self, digest: &BlobDigest) -> bool {
        self.blob_holders.contains_key(digest)
            || self.manifest_holders.contains_key(digest)
            || self.foreign.contains(digest)
    }

    /// Blobs that are about to be removed from storage, and since when.
    pub(crate) fn condemned(&self) -> &BTreeMap<BlobDigest, u64> {
        &self.condemned
    }

    /// The last revision that condemned a blob; 0: none did.
    pub(crate) fn condemned_at(&self) -> u64 {
        self.condemned_at
    }

    /// The links that no manifest needs, last pushed before that time.
    pub(crate) fn unused_links(
        &self,
        before_ms: u64,
    ) -> impl Iterator<Item = (&Repository, &BlobDigest)> {
        self.repositories.iter().flat_map(move |(repository, contents)| {
            let unused = contents.blobs.iter().filter(move |(digest, link)| {
                link.time_ms < before_ms && !contents.uses.contains_key(*digest)
            });
            unused.map(move |(digest, _)| (repository, digest))
        })
    }

    /// Whether any repository has the manifest.
    pub(crate) fn has_manifest(&self, digest: &BlobDigest) -> bool {
        self.manifest_holders.contains_key(digest)
    }

    /// The manifests of one type that refer to another, in any repository, oldest first.
    pub(crate) fn referrers_of(&self, subject: &BlobDigest, artifact_type: &str) -> Vec<Referrer> {
        let mut found: BTreeMap<&BlobDigest, (u64, &str)> = BTreeMap::new();
        for (repository, contents) in &self.repositories {
            let namespace = repository.as_str().split('/').next().unwrap_or_default();
            for digest in contents.referrers.get(subject).into_iter().flatten() {
                let kept = contents.manifests.get(digest);
                let kept = kept.filter(|one| one.artifact_type.as_deref() == Some(artifact_type));
                if let Some(kept) = kept {
                    let first = found.entry(digest).or_insert((kept.revision, namespace));
                    *first = (kept.revision, namespace).min(*first);
                }
            }
        }
        // In turn of each namespace its oldest: whoever may push to one of them crowds nobody out who pushes to another.
        let mut turns: BTreeMap<&str, u64> = BTreeMap::new();
        let mut found: Vec<(&BlobDigest, (u64, &str))> = found.into_iter().collect();
        found.sort_by_key(|(_, (revision, _))| *revision);
        let mut found: Vec<(u64, Referrer)> = found
            .into_iter()
            .map(|(digest, (revision, namespace))| {
                let turn: &mut u64 = turns.entry(namespace).or_default();
                *turn = turn.saturating_add(1);
                (*turn, Referrer { digest: digest.clone(), revision })
            })
            .collect();
        found.sort_by_key(|(turn, one)| (*turn, one.revision));
        found.into_iter().map(|(_, one)| one).collect()
    }

    /// The last revision that added or removed a manifest with a subject.
    pub(crate) fn referrers_seen(&self) -> u64 {
        self.referrers_at
    }

    /// All tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    fn change(&mut self, change: Change, time_ms: u64, actor: &str) {
        match change {
            Change::BlobLinked { repository, digest, size } => {
                self.blob_holders.entry(digest.clone()).or_default().insert(repository.clone());
                let contents = self.repositories.entry(repository).or_default();
                contents.blobs.insert(digest, RepositoryBlob { size, time_ms });
            }
            Change::BlobUnlinked { repository, digest } => {
                release(&mut self.blob_holders, &digest, &repository);
                self.within(&repository, |contents| {
                    contents.blobs.remove(&digest);
                });
            }
            Change::ManifestPut {
                repository,
                digest,
                media_type,
                size,
                tags,
                subject,
                artifact_type,
                blobs,
                ..
            } => {
                self.manifest_holders.entry(digest.clone()).or_default().insert(repository.clone());
                let revision = self.revision;
                if subject.is_some() {
                    self.referrers_at = revision;
                }
                let kept =
                    KeptManifest { media_type, size, subject, artifact_type, blobs, revision };
                self.repositories.entry(repository).or_default().put(digest, kept, tags);
            }
            Change::ManifestDeleted { repository, digest } => {
                release(&mut self.manifest_holders, &digest, &repository);
                self.referrers_at = self.revision;
                self.within(&repository, |contents| contents.delete(&digest));
            }
            Change::TagPut { repository, tag, digest } => {
                self.within(&repository, |contents| contents.tag(tag, digest));
            }
            Change::TagDeleted { repository, tag } => {
                self.within(&repository, |contents| {
                    contents.tags.remove(&tag);
                });
            }
            Change::BlobsCondemned { digests } => {
                self.condemned_at = self.revision;
                self.condemned.extend(digests.into_iter().map(|digest| (digest, time_ms)));
            }
            Change::BlobsCollected { digests } => {
                self.condemned.retain(|digest, _| !digests.contains(digest));
            }
            Change::TokenCreated { name, sha256, repositories, verbs, expires_ms } => {
                let (created_ms, by) = (time_ms, actor.to_owned());
                self.tokens.insert(Token {
                    name,
                    sha256,
                    repositories: distinct(repositories),
                    verbs: distinct(verbs),
                    expires_ms,
                    created_ms,
                    by,
                    makers: BTreeSet::new(),
                });
            }
            Change::TokenRotated { name, sha256, expires_ms } => {
                self.tokens.rotate(&name, sha256, expires_ms, actor);
            }
            Change::TokenRevoked { name } => self.tokens.remove(&name),
        }
    }

    fn within(&mut self, repository: &Repository, act: impl FnOnce(&mut Contents)) {
        if let Some(contents) = self.repositories.get_mut(repository) {
            act(contents);
        }
    }
}

impl Contents {
    fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.manifests.is_empty()
    }

    /// Whether a manifest of the repository refers to this blob.
    pub(crate) fn uses(&self, digest: &BlobDigest) -> bool {
        self.uses.contains_key(digest)
    }

    fn put(&mut self, digest: BlobDigest, mut kept: KeptManifest, tags: Vec<Tag>) {
        // A manifest that is pushed again counts as stored since its first push.
        if let Some(before) = self.manifests.get(&digest) {
            kept.revision = before.revision;
        }
        // The same bytes may have been pushed with another media type.
        self.forget(&digest);
        for blob in &kept.blobs {
            let uses = self.uses.entry(blob.clone()).or_default();
            *uses = uses.saturating_add(1);
        }
        if let Some(subject) = &kept.subject {
            self.referrers.entry(subject.clone()).or_default().insert(digest.clone());
        }
        self.manifests.insert(digest.clone(), kept);
        for tag in tags {
            self.tag(tag, digest.clone());
        }
    }

    fn tag(&mut self, tag: Tag, digest: BlobDigest) {
        if !self.manifests.contains_key(&digest) {
            return;
        }
        if tag.is_version() {
            self.versions.insert(tag.clone(), digest.clone());
        }
        self.tags.insert(tag, digest);
    }

    fn delete(&mut self, digest: &BlobDigest) {
        self.forget(digest);
        self.tags.retain(|_, named| named != digest);
    }

    fn forget(&mut self, digest: &BlobDigest) {
        let Some(kept) = self.manifests.remove(digest) else { return };
        for blob in &kept.blobs {
            if let Some(count) = self.uses.get_mut(blob) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.uses.remove(blob);
                }
            }
        }
        if let Some(subject) = &kept.subject
            && let Some(referrers) = self.referrers.get_mut(subject)
        {
            referrers.remove(digest);
            if referrers.is_empty() {
                self.referrers.remove(subject);
            }
        }
    }
}

fn release(
    holders: &mut BTreeMap<BlobDigest, BTreeSet<Repository>>,
    digest: &BlobDigest,
    repository: &Repository,
) {
    if let Some(set) = holders.get_mut(digest) {
        set.remove(repository);
        if set.is_empty() {
            holders.remove(digest);
        }
    }
}

#[cfg(test)]
mod tests;
