//! Queries of the control plane to the store, outside of the OCI API.

use http::HeaderMap;
use tamis_journal::{BlobDigest, Blobs, JournalError};

use crate::access::{Caller, RepositoryPattern, Token, TokenInfo, Verb, is_token_name};
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
        self.view().tokens().all().into_iter().map(TokenInfo::from).collect()
    }

    /// The current rights of the token of that name; `None` when there is no such token, or it has expired.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Bearer> {
        let view = self.view();
        let token = view.tokens().named(name).filter(|token| token.holds(self.now_ms()))?;
        Some(Bearer(Caller::Token(token.clone())))
    }

    /// Who is behind the token of that name: the name of the first of the tokens that it goes back to, each of which was made
    /// by the bearer of the one before. Tokens made on the registry's machine go back to no other.
    #[must_use]
    pub fn person(&self, name: &str) -> String {
        self.first(name, |_| true)
    }

    /// The same, but for tokens made by somebody with a right to everything, which go back to no other: whose share of the
    /// registry a caller uses up. Tenants make tokens, and no owners.
    #[must_use]
    pub fn owner(&self, name: &str) -> String {
        self.first(name, |maker| !maker.covers_everything())
    }

    /// The first of the tokens that one goes back to, over makers that count.
    fn first(&self, name: &str, counts: impl Fn(&Token) -> bool) -> String {
        let view = self.view();
        let mut names = vec![name];
        while let Some(token) = names.last().and_then(|name| view.tokens().named(name)) {
            let by = token.by.as_str();
            if !is_token_name(by) || view.tokens().named(by).is_some_and(|maker| !counts(maker)) {
                break;
            }
            if names.contains(&by) {
                // Names that were given again may go round in a circle: it is one person, whoever of it is asked about.
                return names.iter().min().map_or_else(String::new, |name| (*name).to_owned());
            }
            names.push(by);
        }
        names.last().map_or_else(String::new, |name| (*name).to_owned())
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
