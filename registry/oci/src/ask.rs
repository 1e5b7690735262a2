//! Queries of the control plane to the store, outside of the OCI API.

use std::collections::BTreeSet;

use http::HeaderMap;
use tamis_journal::{BlobDigest, Blobs, JournalError};

use crate::access::{Caller, RepositoryPattern, TokenInfo, Verb};
use crate::author::Author;
use crate::name::{Reference, Repository};
use crate::store::{Limits, Store};
use crate::view::Referrer;

/// The caller of a request, with its rights.
#[derive(Debug, Clone, PartialEq)]
pub struct Bearer(Caller);

impl Bearer {
    /// The actor that the journal records.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.0.actor()
    }

    /// Whether the caller has that right anywhere.
    #[must_use]
    pub fn may(&self, verb: Verb) -> bool {
        self.0.may_somewhere(verb)
    }

    /// Whether the caller has that right there; `place` is a repository, or a service or document as
    /// `namespace/name`, or `namespace/*` for all in a namespace, now and later, or `*` for everything.
    #[must_use]
    pub fn may_at(&self, verb: Verb, place: &str) -> bool {
        if place == "*" {
            return self.0.may_everywhere(verb);
        }
        if let Some(namespace) = place.strip_suffix("/*") {
            let namespace = namespace.parse::<Repository>();
            return namespace.is_ok_and(|namespace| self.0.may_below(verb, &namespace));
        }
        // Names of services and documents have the form of repositories; another form never matches.
        place.parse::<Repository>().is_ok_and(|place| self.0.may(verb, &place))
    }
}

impl Bearer {
    /// Whether the caller has all these rights, for all these patterns: nobody can pass on more than they
    /// have.
    #[must_use]
    pub fn may_all(&self, verbs: &[Verb], patterns: &[RepositoryPattern]) -> bool {
        self.0.may_all(verbs, patterns)
    }

    /// When the caller's token was made, in milliseconds since the Unix epoch; `None`: the caller has none.
    #[must_use]
    pub fn created_ms(&self) -> Option<u64> {
        match &self.0 {
            Caller::Token(token) => Some(token.created_ms),
            Caller::Anonymous(_) => None,
        }
    }

    /// When the caller's token expires; `None`: never.
    #[must_use]
    pub fn expires_ms(&self) -> Option<u64> {
        match &self.0 {
            Caller::Token(token) => token.expires_ms,
            Caller::Anonymous(_) => None,
        }
    }
}

impl<'a> From<&'a Bearer> for Author<'a> {
    fn from(bearer: &'a Bearer) -> Self {
        Self::from(&bearer.0)
    }
}

impl Store {
    /// All tokens, ordered by name.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenInfo> {
        self.view().tokens().all().map(TokenInfo::from).collect()
    }

    /// The token of that name, whether it has expired or not.
    #[must_use]
    pub fn token(&self, name: &str) -> Option<TokenInfo> {
        self.view().tokens().named(name).map(TokenInfo::from)
    }

    /// The current rights of the token of that name; `None` when there is no such token, or it has expired.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Bearer> {
        let view = self.view();
        let token = view.tokens().named(name).filter(|token| token.holds(self.now_ms()))?;
        Some(Bearer(Caller::Token(token.clone())))
    }

    /// Who may be behind the token of that name: the names of the first of the tokens that it goes back to, by which it, or one
    /// that it goes back to, was made or rotated. Of two tokens that have one of them in common nobody knows that they are two
    /// persons. Tokens made on the registry's machine are first ones. Never empty: for a name that no token has, it is that
    /// name.
    #[must_use]
    pub fn persons(&self, name: &str) -> BTreeSet<String> {
        self.view().tokens().origins(name, |_| true)
    }

    /// The one of them whose share of the registry a caller uses up, the first by name. Tokens made by somebody with a right
    /// to everything have shares of their own.
    #[must_use]
    pub fn owner(&self, name: &str) -> String {
        self.view().tokens().owners(name).into_iter().next().unwrap_or_else(|| name.to_owned())
    }

    /// The blobs, which include the manifests.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The caller of a request; `None` for unknown credentials. A token that another process made a moment
    /// ago is accepted.
    ///
    /// # Errors
    /// [`JournalError`] when the journal cannot be read.
    pub async fn bearer(&self, headers: &HeaderMap) -> Result<Option<Bearer>, JournalError> {
        let anonymous = self.limits.anonymous;
        let caller =
            self.seek(|view| Caller::of(headers, view.tokens(), anonymous, self.now_ms())).await?;
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

    /// The manifests of one type that speak about another, in whichever repositories: of each namespace in turn the one that
    /// the journal had first, so that nobody crowds out what others say.
    #[must_use]
    pub fn referrers_of(&self, subject: &BlobDigest, artifact_type: &str) -> Vec<Referrer> {
        self.view().referrers_of(subject, artifact_type)
    }

    /// The last revision that added or removed a manifest which refers to another: while it is the same,
    /// the results of [`Store::referrers_of`] stay the same.
    #[must_use]
    pub fn referrers_seen(&self) -> u64 {
        self.view().referrers_seen()
    }
}
