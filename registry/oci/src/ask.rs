//! What the control plane asks the store, beside the API.

use http::HeaderMap;
use tamis_journal::{BlobDigest, Blobs, Journal, JournalError};

use crate::access::{Caller, Pattern, Token, Verb};
use crate::name::{Reference, Repository};
use crate::store::{Limits, Store, now_ms};

/// A manifest that speaks about another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: BlobDigest,
    /// The journal's revision that has it; the first, where several repositories have it.
    pub revision: u64,
}

/// Somebody who makes a request, and what he may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Bearer(Caller);

impl Bearer {
    /// The name that the journal's entries bear.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.0.actor()
    }

    /// Whether he may do that somewhere at all.
    #[must_use]
    pub fn may(&self, verb: Verb) -> bool {
        self.0.may_somewhere(verb)
    }

    /// Whether he may do that there; `place` is a repository, or a service or document as `namespace/name`, or
    /// `namespace/*` for all that is or will be in a namespace, or `*` for everything.
    #[must_use]
    pub fn may_at(&self, verb: Verb, place: &str) -> bool {
        if place == "*" {
            return self.0.may_everywhere(verb);
        }
        if let Some(namespace) = place.strip_suffix("/*") {
            let namespace = namespace.parse::<Repository>();
            return namespace.is_ok_and(|namespace| self.0.may_below(verb, &namespace));
        }
        // Names of services and documents have the form of repositories; what has another form is nowhere.
        place.parse::<Repository>().is_ok_and(|place| self.0.may(verb, &place))
    }
}

impl Bearer {
    /// Whether he may do all that, wherever the patterns are: nobody hands on more than he has.
    #[must_use]
    pub fn may_all(&self, verbs: &[Verb], patterns: &[Pattern]) -> bool {
        self.0.may_all(verbs, patterns)
    }

    /// When his token ends; none: it has no end.
    #[must_use]
    pub fn expires_ms(&self) -> Option<u64> {
        match &self.0 {
            Caller::Token(token) => token.expires_ms,
            Caller::Anonymous(_) => None,
        }
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name, by which the journal says who did what.
    pub name: String,
    /// Where it may do something.
    pub repositories: Vec<Pattern>,
    /// What it may do there.
    pub verbs: Vec<Verb>,
    /// It opens nothing from this moment on, in milliseconds since the Unix epoch; none: it has no end.
    pub expires_ms: Option<u64>,
    /// When it was made.
    pub created_ms: u64,
    /// Who made it.
    pub by: String,
}

impl From<&Token> for TokenInfo {
    fn from(token: &Token) -> Self {
        Self {
            name: token.name.clone(),
            repositories: token.repositories.clone(),
            verbs: token.verbs.clone(),
            expires_ms: token.expires_ms,
            created_ms: token.created_ms,
            by: token.by.clone(),
        }
    }
}

impl Store {
    /// All tokens, by name.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenInfo> {
        self.view().tokens().all().into_iter().map(TokenInfo::from).collect()
    }

    /// What the bearer of the token of that name may do now; none: there is no such token, or it has ended.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Bearer> {
        let view = self.view();
        let token = view.tokens().named(name).filter(|token| token.holds(now_ms()))?;
        Some(Bearer(Caller::Token(token.clone())))
    }

    /// The journal that everything is folded from.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Where manifests and blobs are.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// What it takes.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who makes a request; none: with credentials that nobody has. A token that was made elsewhere a moment ago counts.
    ///
    /// # Errors
    /// [`JournalError`] when the journal cannot be read.
    pub async fn bearer(&self, headers: &HeaderMap) -> Result<Option<Bearer>, JournalError> {
        let anonymous = self.limits.anonymous;
        let caller =
            self.seek(|view| Caller::of(headers, view.tokens(), anonymous, now_ms())).await?;
        Ok(caller.map(Bearer))
    }

    /// The digest of the manifest that a tag or digest names in a repository.
    ///
    /// # Errors
    /// [`JournalError`] when the journal cannot be read.
    pub async fn find(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<BlobDigest>, JournalError> {
        self.seek(|view| {
            let contents = view.contents(repository)?;
            match reference {
                Reference::Tag(tag) => contents.tags.get(tag).cloned(),
                Reference::Digest(digest) => {
                    contents.manifests.contains_key(digest).then(|| digest.clone())
                }
            }
        })
        .await
    }

    /// Whether any repository has the manifest.
    #[must_use]
    pub fn has_manifest(&self, digest: &BlobDigest) -> bool {
        self.view().has_manifest(digest)
    }

    /// The manifests of one type that speak about another, in whichever repositories; those the journal had first come
    /// first.
    #[must_use]
    pub fn referrers_of(&self, subject: &BlobDigest, artifact_type: &str) -> Vec<Referrer> {
        self.view().referrers_of(subject, artifact_type)
    }

    /// The last revision that brought or took a manifest which speaks about another: until it changes, the answers of
    /// [`Store::referrers_of`] stay.
    #[must_use]
    pub fn referrers_seen(&self) -> u64 {
        self.view().referrers_seen()
    }
}
