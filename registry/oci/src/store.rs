//! The store: journal, blobs and the view, and the one way in which anything is written.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tamis_journal::{BlobDigest, Blobs, Journal, JournalError};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::access::{self, Anonymous, Pattern, Secret, Verb};
use crate::change::Change;
use crate::refusal::Refusal;
use crate::view::View;

/// Who writes what is done on the machine itself.
const OPERATOR: &str = "operator";
/// How often a write is tried again because another replica wrote first.
const ATTEMPTS: usize = 100;
/// How many entries are read at a time.
const PAGE: usize = 1_000;
/// How long [`Store::follow`] rests after the journal failed.
const REST: Duration = Duration::from_secs(1);

/// What the registry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest blob, in bytes; 4 GiB.
    pub max_blob_bytes: u64,
    /// The largest manifest, in bytes; 4 MiB, the least that OCI Distribution 1.1 allows.
    pub max_manifest_bytes: u64,
    /// How many manifests may speak about one subject; 256. Clients read all of them.
    pub max_referrers: usize,
    /// How long the annotations of a manifest with a subject may be in all, in bytes; 64 KiB. They are repeated in
    /// every list of referrers.
    pub max_referrer_annotation_bytes: usize,
    /// What may become of the tags that name versions.
    pub versions: Versions,
    /// What callers without a token may do.
    pub anonymous: Anonymous,
}

/// What may become of tags such as `1.2.3` and `v1.2.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// Once pushed they stay, even through deletion: a version never means other bytes.
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
            anonymous: Anonymous::default(),
        }
    }
}

/// A token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name, by which the journal says who did what.
    pub name: String,
    /// Where it may do something.
    pub patterns: Vec<Pattern>,
    /// What it may do there.
    pub verbs: Vec<Verb>,
    /// It opens nothing from this moment on, in milliseconds since the Unix epoch; none: it has no end.
    pub expires_ms: Option<u64>,
}

/// Why there is no store, or no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The journal cannot be read.
    #[error("the registry cannot read its journal")]
    Journal(#[source] JournalError),
    /// A name is not one.
    #[error(
        "{0:?} cannot be a token's name: lower-case letters, digits and dashes, at most 64 bytes, and none of the registry's own"
    )]
    TokenName(String),
    /// The name is taken.
    #[error("there is a token {0:?} already; revoke it first or take another name")]
    TokenExists(String),
    /// There is none of that name.
    #[error("there is no token {0:?}")]
    TokenUnknown(String),
    /// Something else is in the way.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A registry's state and how to change it. A clone is another handle on the same.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
    pub(crate) limits: Arc<Limits>,
    view: Arc<RwLock<View>>,
    /// Held by whoever reads on in the journal, so that every entry is taken in once.
    reading: Arc<Mutex<()>>,
    /// Held by whoever writes: writers of one process would only make each other try again.
    writing: Arc<Mutex<()>>,
}

/// What a write comes to when the view is what it was decided on.
#[derive(Debug)]
pub(crate) struct Decision<T> {
    /// What to write; nothing when it is so already.
    pub(crate) changes: Vec<Change>,
    /// Blobs that must be in storage, and not about to be removed, for this to be written.
    pub(crate) present: Vec<BlobDigest>,
    /// What the caller wants to know.
    pub(crate) value: T,
}

impl Store {
    /// Opens a registry: folds the whole journal, which takes a while for a long one.
    ///
    /// # Errors
    /// [`StoreError::Journal`].
    pub async fn open(journal: Journal, blobs: Blobs, limits: Limits) -> Result<Self, StoreError> {
        let store = Self {
            journal,
            blobs,
            limits: Arc::new(limits),
            view: Arc::default(),
            reading: Arc::default(),
            writing: Arc::default(),
        };
        store.catch_up().await.map_err(StoreError::Journal)?;
        Ok(store)
    }

    /// Takes in what other processes write, for as long as it is polled: one task of every process runs it.
    pub async fn follow(&self) {
        loop {
            let revision = self.view().revision();
            let news = async {
                self.journal.wait(revision).await?;
                self.catch_up().await
            };
            if let Err(error) = news.await {
                tracing::warn!(%error, "the journal cannot be followed, trying again");
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Lets the bearer of `secret` do `verbs` in the repositories of `patterns`, everywhere as soon as the other replicas
    /// hear of it.
    ///
    /// # Errors
    /// [`StoreError::TokenName`], [`StoreError::TokenExists`], [`StoreError::Refused`].
    pub async fn create_token(
        &self,
        name: &str,
        secret: &Secret,
        patterns: &[Pattern],
        verbs: &[Verb],
    ) -> Result<(), StoreError> {
        let (patterns, verbs) = (patterns.to_vec(), verbs.to_vec());
        let token = NewToken { name: name.to_owned(), patterns, verbs, expires_ms: None };
        self.create_token_by(OPERATOR, token, secret).await
    }

    /// The same, made by somebody, and perhaps with an end.
    ///
    /// # Errors
    /// [`StoreError::TokenName`], [`StoreError::TokenExists`], [`StoreError::Refused`].
    pub async fn create_token_by(
        &self,
        actor: &str,
        token: NewToken,
        secret: &Secret,
    ) -> Result<(), StoreError> {
        let NewToken { name, patterns, verbs, expires_ms } = token;
        if !access::is_token_name(&name) {
            return Err(StoreError::TokenName(name));
        }
        let create = Change::TokenCreated {
            name: name.clone(),
            sha256: secret.hash(),
            repositories: patterns,
            verbs,
            expires_ms,
        };
        let name = name.as_str();
        let made = self
            .commit(actor, |view| {
                let taken = view.tokens().contains(name);
                let changes = if taken { Vec::new() } else { vec![create.clone()] };
                Ok(Decision { changes, present: Vec::new(), value: !taken })
            })
            .await?;
        if made { Ok(()) } else { Err(StoreError::TokenExists(name.to_owned())) }
    }

    /// Makes a token useless, everywhere, as soon as the other replicas hear of it.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`], [`StoreError::Refused`].
    pub async fn revoke_token(&self, name: &str) -> Result<(), StoreError> {
        self.revoke_token_by(OPERATOR, name).await
    }

    /// The same, by somebody.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`], [`StoreError::Refused`].
    pub async fn revoke_token_by(&self, actor: &str, name: &str) -> Result<(), StoreError> {
        let known = self
            .commit(actor, |view| {
                let known = view.tokens().contains(name);
                let revoke = Change::TokenRevoked { name: name.to_owned() };
                let changes = if known { vec![revoke] } else { Vec::new() };
                Ok(Decision { changes, present: Vec::new(), value: known })
            })
            .await?;
        if known { Ok(()) } else { Err(StoreError::TokenUnknown(name.to_owned())) }
    }

    /// Puts another secret in the place of a token's: the one before opens nothing any more. The token ends when
    /// `expires_ms` says; none: it has no end.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`], [`StoreError::Refused`].
    pub async fn rotate_token_by(
        &self,
        actor: &str,
        name: &str,
        secret: &Secret,
        expires_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let known = self
            .commit(actor, |view| {
                let known = view.tokens().contains(name);
                let (name, sha256) = (name.to_owned(), secret.hash());
                let rotate = Change::TokenRotated { name, sha256, expires_ms };
                let changes = if known { vec![rotate] } else { Vec::new() };
                Ok(Decision { changes, present: Vec::new(), value: known })
            })
            .await?;
        if known { Ok(()) } else { Err(StoreError::TokenUnknown(name.to_owned())) }
    }

    /// Whether anybody has a token.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.view().tokens().is_empty()
    }

    /// The view as it is now. Not to be held across an await.
    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        // Nothing that changes the view can stop half way: a poisoned lock holds a whole view.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` finds in the view; if nothing, once more in all there is by now: what another replica acknowledged is
    /// found here at once.
    pub(crate) async fn seek<T>(
        &self,
        look: impl Fn(&View) -> Option<T>,
    ) -> Result<Option<T>, JournalError> {
        let found = look(&self.view());
        if found.is_some() {
            return Ok(found);
        }
        self.catch_up().await?;
        Ok(look(&self.view()))
    }

    /// Writes what `decide` comes to, decided again each time somebody else wrote first. When it returns, the view has
    /// what was written.
    ///
    /// A future dropped before it returned may or may not have written.
    pub(crate) async fn commit<T>(
        &self,
        actor: &str,
        mut decide: impl FnMut(&View) -> Result<Decision<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let _turn = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            self.catch_up().await?;
            let (revision, decision) = {
                let view = self.view();
                let decision = decide(&view)?;
                if decision.present.iter().any(|digest| view.condemned().contains_key(digest)) {
                    return Err(Refusal::later(
                        "the blob is being removed from storage right now; push it again",
                    ));
                }
                (view.revision(), decision)
            };
            if decision.changes.is_empty() {
                return Ok(decision.value);
            }
            // A blob is removed only between an entry that condemns it and one that says it is collected. There is no
            // such pair open at `revision`, and none can be opened before our entry: what is there now stays.
            self.check_present(&decision.present).await?;
            let records: Option<Vec<_>> = decision.changes.iter().map(Change::record).collect();
            let records = records.unwrap_or_default();
            match self.journal.append(Some(revision), now_ms(), actor, &records).await {
                Ok(_) => {
                    self.catch_up().await?;
                    return Ok(decision.value);
                }
                Err(JournalError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::later("too many others write at the same time; try again"))
    }

    async fn check_present(&self, digests: &[BlobDigest]) -> Result<(), Refusal> {
        for digest in digests {
            if self.blobs.stat(digest).await?.is_none() {
                return Err(Refusal::later(
                    "the blob was removed from storage meanwhile; push it again",
                ));
            }
        }
        Ok(())
    }

    /// Takes in every entry there is by now.
    pub(crate) async fn catch_up(&self) -> Result<(), JournalError> {
        let _turn = self.reading.lock().await;
        loop {
            let after = self.view().revision();
            let entries = self.journal.read(after, PAGE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            entries.iter().for_each(|entry| view.apply(entry));
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
