//! All tokens, and which go back to which.
//!
//! A token goes back to the token by which it was made, and to every other by which it was rotated since: whoever has one of
//! those knows a secret of it. It never goes back to fewer, however its bearer has it rotated, as long as they are there.

use std::collections::{BTreeMap, BTreeSet};

use tamis_journal::Hash;

use super::{Form, RepositoryPattern, Verb};

/// Most tokens that go back to one token of a tenant: several for each of its pipelines and people, and so few that ending
/// all of them with it takes a moment.
pub(crate) const MAX_TOKENS: usize = 200;

/// The stored facts about a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) sha256: Hash,
    pub(crate) repositories: Vec<RepositoryPattern>,
    pub(crate) verbs: Vec<Verb>,
    /// When it expires, in milliseconds since the Unix epoch; `None`: never.
    pub(crate) expires_ms: Option<u64>,
    /// When it was made.
    pub(crate) created_ms: u64,
    /// Who made it.
    pub(crate) by: String,
    /// The other tokens, of those that are there, by which it was made or rotated.
    pub(crate) makers: BTreeSet<String>,
}

impl Token {
    /// Whether some right of it is for everything.
    pub(crate) fn covers_everything(&self) -> bool {
        self.repositories.iter().any(|pattern| pattern.0 == Form::All)
    }

    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

/// All tokens.
///
/// Invariants:
/// * `names` has the hash of each token, and `made` has [`Token::makers`] the other way round.
/// * Each maker is there, and the tokens by which others were made form no circle: the maker is the older one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tokens {
    by_name: BTreeMap<String, Token>,
    names: BTreeMap<Hash, String>,
    made: BTreeMap<String, BTreeSet<String>>,
}

impl Tokens {
    /// Adds a token, which goes back to that of its maker, if there is one. One of the same name is replaced.
    pub(crate) fn insert(&mut self, token: Token) {
        self.remove(&token.name);
        let makers = self.contains(&token.by).then(|| token.by.clone());
        let token = Token { makers: makers.into_iter().collect(), ..token };
        for maker in &token.makers {
            self.made.entry(maker.clone()).or_default().insert(token.name.clone());
        }
        self.names.insert(token.sha256, token.name.clone());
        self.by_name.insert(token.name.clone(), token);
    }

    /// Removes a token, and those that go back to nobody else: none outlives all that it goes back to. A revocation names
    /// all that go back to a token; journals have some that left out tokens which had rotated each other.
    pub(crate) fn remove(&mut self, name: &str) {
        let all = self.going_back_to(name);
        let stay = self.held_by_others(name, &all);
        for gone in all.difference(&stay) {
            self.take(gone);
        }
    }

    /// Of these, which are all that go back to a token: those that also go back to another, or that no token made.
    fn held_by_others(&self, name: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
        let is_held = |token: &Token| {
            is_first(token) || token.makers.iter().any(|maker| !all.contains(maker))
        };
        let others = || all.iter().map(String::as_str).filter(|one| *one != name);
        let held = others().filter(|one| self.named(one).is_some_and(is_held));
        let (mut todo, mut stay) = (held.collect::<Vec<_>>(), BTreeSet::new());
        while let Some(one) = todo.pop() {
            if stay.insert(one.to_owned()) {
                todo.extend(self.made_with(one).filter(|one| *one != name));
            }
        }
        stay
    }

    fn take(&mut self, name: &str) {
        let Some(token) = self.by_name.remove(name) else { return };
        if self.names.get(&token.sha256).is_some_and(|there| there == name) {
            self.names.remove(&token.sha256);
        }
        for maker in &token.makers {
            if let Some(made) = self.made.get_mut(maker) {
                made.remove(name);
            }
            if self.made.get(maker).is_some_and(BTreeSet::is_empty) {
                self.made.remove(maker);
            }
        }
        for made in self.made.remove(name).unwrap_or_default() {
            if let Some(token) = self.by_name.get_mut(&made) {
                token.makers.remove(name);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All tokens, ordered by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Token> {
        self.by_name.values()
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Token> {
        self.by_name.get(name)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Replaces the secret and the expiry of a token; the old secret stops working. The bearer of another token who does that
    /// knows the new secret, so the token goes back to that one too from then on.
    pub(crate) fn rotate(
        &mut self,
        name: &str,
        sha256: Hash,
        expires_ms: Option<u64>,
        actor: &str,
    ) {
        let is_of_another = actor != name && self.contains(actor);
        let Some(token) = self.by_name.get_mut(name) else { return };
        if self.names.get(&token.sha256).is_some_and(|there| there == name) {
            self.names.remove(&token.sha256);
        }
        (token.sha256, token.expires_ms) = (sha256, expires_ms);
        self.names.insert(sha256, name.to_owned());
        if is_of_another {
            token.makers.insert(actor.to_owned());
            self.made.entry(actor.to_owned()).or_default().insert(name.to_owned());
        }
    }

    /// The token of that name, if it is there, and all that go back to it: made or rotated by its bearer, or by the bearer of
    /// one of those.
    pub(crate) fn going_back_to(&self, name: &str) -> BTreeSet<String> {
        let (mut found, mut todo) = (BTreeSet::new(), vec![name]);
        while let Some(one) = todo.pop() {
            if self.contains(one) && found.insert(one.to_owned()) {
                todo.extend(self.made_with(one));
            }
        }
        found
    }

    fn made_with(&self, name: &str) -> impl Iterator<Item = &str> {
        self.made.get(name).into_iter().flatten().map(String::as_str)
    }

    /// The first of the tokens that one goes back to, over makers that count: those that no token made which counts. There
    /// is always one; a name that no token has is its own.
    pub(crate) fn origins(&self, name: &str, counts: impl Fn(&Token) -> bool) -> BTreeSet<String> {
        let does_count = |maker: &str| self.named(maker).is_some_and(&counts);
        let (mut seen, mut todo, mut origins) = (BTreeSet::new(), vec![name], BTreeSet::new());
        while let Some(one) = todo.pop() {
            if !seen.insert(one) {
                continue;
            }
            let token = self.named(one);
            if token.is_none_or(|token| is_first(token) || !does_count(&token.by)) {
                origins.insert(one.to_owned());
            }
            let makers = token.into_iter().flat_map(|token| &token.makers);
            todo.extend(makers.map(String::as_str).filter(|maker| does_count(maker)));
        }
        origins
    }

    /// Whose share of the registry the bearer of a token uses up: the origins over makers without a right to everything.
    /// Tenants make tokens, and no owners.
    pub(crate) fn owners(&self, name: &str) -> BTreeSet<String> {
        self.origins(name, |maker| !maker.covers_everything())
    }

    /// The owner who has as many tokens as one may have, if another would go back to the token of that name.
    pub(crate) fn full_owner(&self, name: &str) -> Option<String> {
        let is_full = |owner: &String| self.going_back_to(owner).len() > MAX_TOKENS;
        self.owners(name).into_iter().find(|owner| {
            self.named(owner).is_some_and(|one| !one.covers_everything()) && is_full(owner)
        })
    }

    /// Whether the token is there as it was, with the same secret and the same rights, and has not expired.
    pub(crate) fn has(&self, token: &Token, now_ms: u64) -> bool {
        self.named(&token.name).is_some_and(|there| there == token && there.holds(now_ms))
    }

    /// Found by hash, so that the time of a lookup reveals nothing about the secret.
    pub(super) fn find(&self, secret: &str, now_ms: u64) -> Option<&Token> {
        let name = self.names.get(&Hash::of(secret.as_bytes()))?;
        self.named(name).filter(|token| token.holds(now_ms))
    }
}

/// Whether no token made it, of those that are there.
fn is_first(token: &Token) -> bool {
    !token.makers.contains(&token.by)
}

#[cfg(test)]
mod tests;
