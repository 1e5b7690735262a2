//! The store: journal, blobs and the view, and the only way to write artifacts and tokens.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLockReadGuard};

use tamis_ambient::Clock;
use tamis_journal::{BlobDigest, Blobs, Fold as _, FoldedJournal, Journal, JournalError};
use thiserror::Error;

use crate::access::TokenInfo;
use crate::access::{self, AnonymousRights, RepositoryPattern, TokenSecret, Verb};
use crate::author::Author;
use crate::change::Change;
use crate::refusal::OciRefusal;
use crate::view::RegistryView;

/// How often a write is decided again because the blobs that it needs must be looked for again.
const LOOKS: u32 = 5;

/// The actor for what is done on the machine itself.
const OPERATOR: &str = "operator";

/// The limits of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest blob, in bytes; 4 GiB.
    pub max_blob_bytes: u64,
    /// The largest manifest, in bytes; 4 MiB, the least that OCI Distribution 1.1 allows.
    pub max_manifest_bytes: u64,
    /// Most manifests that may refer to one subject; 256. Clients read all of them.
    pub max_referrers: usize,
    /// Longest annotations of a manifest with a subject in total, in bytes; 64 KiB. They are repeated in
    /// every list of referrers.
    pub max_referrer_annotation_bytes: usize,
    /// Whether tags that name versions may move.
    pub versions: Versions,
    /// Rights of callers without a token.
    pub anonymous: AnonymousRights,
}

/// Whether tags such as `1.2.3` and `v1.2.3` may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// Once pushed they stay, even through deletion: a version never names other bytes.
    #[default]
    Immutable,
    /// They move like any other tag.
    Mutable,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_blob_bytes: 4 << 30,
            max_manifest_bytes: 4 << 20,
            max_referrers: 256,
            max_referrer_annotation_bytes: 64 << 10,
            versions: Versions::default(),
            anonymous: AnonymousRights::default(),
        }
    }
}

/// The description of a new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name, which the journal records as the actor.
    pub name: String,
    /// Where its rights apply.
    pub patterns: Vec<RepositoryPattern>,
    /// Its verbs.
    pub verbs: Vec<Verb>,
    /// When it expires, in milliseconds since the Unix epoch; `None`: never.
    pub expires_ms: Option<u64>,
}

/// Why there is no store, or no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The journal cannot be read.
    #[error("the registry cannot read its journal")]
    Journal(#[source] JournalError),
    /// The name is invalid.
    #[error(
        "{0:?} cannot be a token's name: lower-case letters, digits and dashes, at most 64 bytes, and not one of the registry's own names"
    )]
    TokenName(String),
    /// The name is in use.
    #[error("the token {0:?} exists already; revoke it first or choose another name")]
    TokenExists(String),
    /// The maker has as many tokens as one may have.
    #[error("{max} tokens go back to the token {0:?}, which is the most", max = access::MAX_TOKENS)]
    TokensFull(String),
    /// There is no token of that name.
    #[error("there is no token {0:?}")]
    TokenUnknown(String),
    /// Another refusal.
    #[error(transparent)]
    Refused(#[from] OciRefusal),
}

/// The state of a registry and how to change it. A clone is another handle on the same.
#[derive(Debug, Clone)]
pub struct Store {
    folded: Arc<FoldedJournal<RegistryView>>,
    pub(crate) blobs: Blobs,
    pub(crate) limits: Arc<Limits>,
}

/// The result of a decision, valid for the view it was based on.
#[derive(Debug)]
pub(crate) struct Decision<T> {
    /// What to write; empty when nothing has to change.
    pub(crate) changes: Vec<Change>,
    /// Blobs that must be in storage, and not about to be removed, for this to be written.
    pub(crate) present: Vec<BlobDigest>,
    /// The result for the caller.
    pub(crate) value: T,
}

impl<T> Decision<T> {
    /// The blobs that must be in storage: none where nothing has to change.
    fn needed(&self) -> BTreeSet<BlobDigest> {
        let present = self.present.iter().filter(|_| !self.changes.is_empty());
        present.cloned().collect()
    }
}

/// What became of a turn to write.
enum Written<T> {
    /// The changes are in the view.
    Done(T),
    /// Nothing was written: these blobs, of which none is condemned at that revision, must be looked for first.
    Unseen(u64, BTreeSet<BlobDigest>),
}

/// Blobs that storage had after a revision at which none of them was condemned.
///
/// A blob is removed only between an entry that condemns it and one that records that it is collected. So a blob that storage
/// had after that revision is there until a later entry condemns one.
struct SeenBlobs {
    blobs: BTreeSet<BlobDigest>,
    revision: u64,
}

impl SeenBlobs {
    /// Whether these blobs are in storage, where the last entry that condemned any is that one. The caller knows that none of
    /// them is condemned.
    fn has(&self, needed: &BTreeSet<BlobDigest>, condemned_at: u64) -> bool {
        needed.is_empty() || (condemned_at <= self.revision && needed.is_subset(&self.blobs))
    }
}

impl Store {
    /// Opens a registry: applies the whole journal, which takes a while for a long one. Entries are dated, and
    /// tokens expire, by `clock`.
    ///
    /// # Errors
    /// [`StoreError::Journal`].
    pub async fn open(
        journal: Journal,
        blobs: Blobs,
        limits: Limits,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let folded = FoldedJournal::open(journal, clock).await.map_err(StoreError::Journal)?;
        Ok(Self { folded: Arc::new(folded), blobs, limits: Arc::new(limits) })
    }

    /// Applies what other processes write, for as long as it is polled: one task of every process runs it.
    pub async fn follow(&self) {
        self.folded.follow().await;
    }

    /// Gives the holder of `secret` these rights, on every replica as soon as it reads the entry.
    ///
    /// # Errors
    /// [`StoreError::TokenName`], [`StoreError::TokenExists`], [`StoreError::Refused`].
    pub async fn create_token(
        &self,
        name: &str,
        secret: &TokenSecret,
        patterns: &[RepositoryPattern],
        verbs: &[Verb],
    ) -> Result<(), StoreError> {
        let (patterns, verbs) = (patterns.to_vec(), verbs.to_vec());
        let token = NewToken { name: name.to_owned(), patterns, verbs, expires_ms: None };
        self.create_token_by(OPERATOR, token, secret).await
    }

    /// The same, by somebody and optionally with an expiry. Whoever ended the maker's token ended all that it made by then;
    /// none comes after that. To a token without a right to everything only so many go back.
    ///
    /// # Errors
    /// [`StoreError::TokenName`], [`StoreError::TokenExists`], [`StoreError::TokensFull`], [`StoreError::Refused`].
    pub async fn create_token_by<'a>(
        &self,
        author: impl Into<Author<'a>>,
        token: NewToken,
        secret: &TokenSecret,
    ) -> Result<(), StoreError> {
        let NewToken { name, patterns, verbs, expires_ms } = token;
        if !access::is_token_name(&name) {
            return Err(StoreError::TokenName(name));
        }
        let create = Change::TokenCreated {
            name: name.clone(),
            sha256: secret.hash(),
            repositories: access::distinct(patterns),
            verbs: access::distinct(verbs),
            expires_ms,
        };
        let (author, name) = (author.into(), name.as_str());
        self.commit(author, |view| {
            let may = may_be_made(view, name, author.actor());
            let changes = if may.is_ok() { vec![create.clone()] } else { Vec::new() };
            Ok(Decision { changes, present: Vec::new(), value: may })
        })
        .await?
    }

    /// Revokes a token, on every replica as soon as it reads the entry.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`], [`StoreError::Refused`].
    pub async fn revoke_token(&self, name: &str) -> Result<(), StoreError> {
        self.revoke_token_by(OPERATOR, name, |_| true).await
    }

    /// The same, by somebody, if the token of that name still `is_it` when it ends: a name can be given again meanwhile. It
    /// takes the tokens along that were made or rotated by its bearer, and those by theirs: none outlives one that it goes
    /// back to.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`], [`StoreError::Refused`].
    pub async fn revoke_token_by<'a>(
        &self,
        author: impl Into<Author<'a>>,
        name: &str,
        is_it: impl Fn(&TokenInfo) -> bool,
    ) -> Result<(), StoreError> {
        let known = self
            .commit(author, |view| {
                let known = is_named(view, name, &is_it);
                let all = if known { view.tokens().going_back_to(name) } else { BTreeSet::new() };
                let changes = all.into_iter().map(|name| Change::TokenRevoked { name }).collect();
                Ok(Decision { changes, present: Vec::new(), value: known })
            })
            .await?;
        if known { Ok(()) } else { Err(StoreError::TokenUnknown(name.to_owned())) }
    }

    /// Replaces the secret of a token, if the token of that name still `is_it` when it is replaced: the old secret stops
    /// working. The token expires at `expires_ms`; `None`: never.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`], [`StoreError::Refused`].
    pub async fn rotate_token_by<'a>(
        &self,
        author: impl Into<Author<'a>>,
        name: &str,
        secret: &TokenSecret,
        expires_ms: Option<u64>,
        is_it: impl Fn(&TokenInfo) -> bool,
    ) -> Result<(), StoreError> {
        let known = self
            .commit(author, |view| {
                let known = is_named(view, name, &is_it);
                let (name, sha256) = (name.to_owned(), secret.hash());
                let rotate = Change::TokenRotated { name, sha256, expires_ms };
                let changes = if known { vec![rotate] } else { Vec::new() };
                Ok(Decision { changes, present: Vec::new(), value: known })
            })
            .await?;
        if known { Ok(()) } else { Err(StoreError::TokenUnknown(name.to_owned())) }
    }

    /// Whether there are any tokens.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.view().tokens().is_empty()
    }

    /// The current view. Must not be held across an await.
    pub(crate) fn view(&self) -> RwLockReadGuard<'_, RegistryView> {
        self.folded.state()
    }

    /// The result of `look` in the view. If it is `None`, all new entries are applied and `look` runs once more, so that what
    /// another replica acknowledged is found here at once. Nothing is looked for in a view of a journal that is another one, or
    /// that could not be read for some seconds: others may have revoked what it has.
    pub(crate) async fn seek<T>(
        &self,
        look: impl Fn(&RegistryView) -> Option<T>,
    ) -> Result<Option<T>, JournalError> {
        self.folded.must_be_current().await?;
        let found = look(&self.view());
        if found.is_some() {
            return Ok(found);
        }
        self.folded.catch_up().await?;
        Ok(look(&self.view()))
    }

    /// Appends the changes that `decide` returns; if another writer was first, calls `decide` again on the
    /// new view. When it returns, the view contains the changes. A caller whose token does not hold any more in that view is
    /// refused.
    ///
    /// If the future is dropped before it returns, the changes may or may not have been written.
    pub(crate) async fn commit<'a, T>(
        &self,
        author: impl Into<Author<'a>>,
        mut decide: impl FnMut(&RegistryView) -> Result<Decision<T>, OciRefusal>,
    ) -> Result<T, OciRefusal> {
        let author = author.into();
        // What will be written is guessed from the view as it is, so that storage is asked before the turn.
        let (mut revision, mut needed) = {
            let view = self.view();
            let mut needed = decide(&view).map(|guess| guess.needed()).unwrap_or_default();
            // One that is about to be removed may be there now and gone in a moment.
            needed.retain(|digest| !view.condemned().contains_key(digest));
            (view.revision(), needed)
        };
        for _ in 0..LOOKS {
            let seen = self.look_for(needed, revision).await?;
            match self.write(author, &mut decide, &seen).await? {
                Written::Done(value) => return Ok(value),
                Written::Unseen(at, others) => (revision, needed) = (at, others),
            }
        }
        Err(OciRefusal::later("blobs are being removed from storage right now; try again"))
    }

    /// One turn to write. Storage is not asked in it: all writers of this process would wait for that, and storage may be slow.
    async fn write<T>(
        &self,
        author: Author<'_>,
        decide: &mut impl FnMut(&RegistryView) -> Result<Decision<T>, OciRefusal>,
        seen: &SeenBlobs,
    ) -> Result<Written<T>, OciRefusal> {
        let mut writer = self.folded.writer(author.actor()).await;
        loop {
            let (revision, decision) = {
                let view = writer.fresh().await?;
                author.must_hold(view.tokens(), self.now_ms())?;
                let decision = decide(&view)?;
                if decision.present.iter().any(|digest| view.condemned().contains_key(digest)) {
                    return Err(OciRefusal::later(
                        "the blob is being removed from storage right now; push it again",
                    ));
                }
                if !seen.has(&decision.needed(), view.condemned_at()) {
                    return Ok(Written::Unseen(view.revision(), decision.needed()));
                }
                (view.revision(), decision)
            };
            if decision.changes.is_empty() {
                return Ok(Written::Done(decision.value));
            }
            let records: Option<Vec<_>> = decision.changes.iter().map(Change::record).collect();
            let records = records.unwrap_or_default();
            match writer.append(revision, &records).await {
                Ok(Some(_)) => return Ok(Written::Done(decision.value)),
                Ok(None) => {}
                Err(JournalError::Conflict { .. }) => {
                    return Err(OciRefusal::later("too many writes at the same time; try again"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Looks for blobs, of which none is condemned at that revision.
    async fn look_for(
        &self,
        needed: BTreeSet<BlobDigest>,
        revision: u64,
    ) -> Result<SeenBlobs, OciRefusal> {
        for digest in &needed {
            if self.blobs.stat(digest).await?.is_none() {
                return Err(OciRefusal::later(
                    "the blob was removed from storage meanwhile; push it again",
                ));
            }
        }
        Ok(SeenBlobs { blobs: needed, revision })
    }

    /// Reads the journal to its end, then refuses a caller whose token was revoked or replaced, or expired, since its
    /// request arrived. An append to a head that was read before this check therefore proves that the token was valid at
    /// that head.
    ///
    /// # Errors
    /// [`OciRefusal`] with [`Code::Unauthorized`](crate::Code::Unauthorized); as [`Store::catch_up`].
    pub async fn must_still_hold(&self, author: Author<'_>) -> Result<(), OciRefusal> {
        if !author.is_caller() {
            return Ok(());
        }
        self.catch_up().await?;
        author.must_hold(self.view().tokens(), self.now_ms())
    }

    /// Applies every journal entry written so far, also by other replicas.
    ///
    /// # Errors
    /// [`JournalError`] when the journal cannot be read.
    pub async fn catch_up(&self) -> Result<(), JournalError> {
        self.folded.catch_up().await
    }

    /// The journal behind the store.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        self.folded.journal()
    }

    /// The clock that dates entries and expires tokens.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.folded.clock()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.folded.clock().unix_ms()
    }
}

/// Whether a token of that name may be made, by this maker.
fn may_be_made(view: &RegistryView, name: &str, maker: &str) -> Result<(), StoreError> {
    if view.tokens().contains(name) {
        return Err(StoreError::TokenExists(name.to_owned()));
    }
    view.tokens().full_owner(maker).map_or(Ok(()), |owner| Err(StoreError::TokensFull(owner)))
}

/// Whether the token with this name is still the expected one.
fn is_named(view: &RegistryView, name: &str, is_it: &impl Fn(&TokenInfo) -> bool) -> bool {
    view.tokens().named(name).is_some_and(|token| is_it(&TokenInfo::from(token)))
}

#[cfg(test)]
mod tests;
