//! Who may do what, by the effect of a change.

use std::collections::BTreeSet;

use tamis_api::ApiProblem;
use tamis_director::{RequiredRight, RequiredRights, State};
use tamis_oci::{AnonymousRights, Author, Bearer, Code, RepositoryPattern, Store, Verb};
use tamis_trust::{Digest, Name};

use crate::plane::control::{Control, repository};
use crate::plane::problem::{ended, problem, unreadable};

/// The place of a token that covers every proxy of every owner; no document can have it.
const MESH: &str = "mesh";

/// A caller with rights.
#[derive(Debug, Clone)]
pub struct AuthorizedCaller(Bearer);

impl<'a> From<&'a AuthorizedCaller> for Author<'a> {
    fn from(caller: &'a AuthorizedCaller) -> Self {
        Self::from(&caller.0)
    }
}

impl AuthorizedCaller {
    pub(crate) fn new(bearer: Bearer) -> Self {
        Self(bearer)
    }

    /// The actor that the journal records.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.0.actor()
    }

    /// When the caller's token was made, in milliseconds since the Unix epoch; `None`: the caller has none.
    pub(crate) fn created_ms(&self) -> Option<u64> {
        self.0.created_ms()
    }

    /// Whether the caller has that right anywhere.
    pub(crate) fn may(&self, verb: Verb) -> bool {
        self.0.may(verb)
    }

    /// Whether the caller may do `verb` at a place: `namespace/name`, `namespace/*`, or `*`.
    pub(crate) fn may_at(&self, verb: Verb, place: &str) -> bool {
        self.0.may_at(verb, place)
    }

    /// Whether the caller may see or change a place.
    pub(crate) fn sees(&self, place: &str) -> bool {
        [Verb::Observe, Verb::Operate]
            .iter()
            .any(|verb| self.may_at(*verb, "*") || self.may_at(*verb, place))
    }

    /// Whether the caller has any right at a place.
    pub(crate) fn has_part_in(&self, place: &str) -> bool {
        Verb::ALL.iter().any(|verb| self.may_at(*verb, place))
    }

    /// Whether the caller has all these rights, for all these patterns.
    pub(crate) fn may_all(&self, verbs: &[Verb], patterns: &[RepositoryPattern]) -> bool {
        self.0.may_all(verbs, patterns)
    }

    /// When the caller's token expires; `None`: never.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        self.0.expires_ms()
    }

    /// Whether the caller has that right for a service: `*` means the services of every owner.
    pub(crate) fn may_with(&self, verb: Verb, service: &str) -> bool {
        if service == "*" {
            self.holds(verb, &RequiredRight::Mesh)
        } else {
            self.may_at(verb, service)
        }
    }

    /// Whether the caller has the needed right.
    pub(crate) fn holds(&self, verb: Verb, need: &RequiredRight) -> bool {
        match need {
            RequiredRight::Place(place) => self.may_at(verb, place),
            RequiredRight::Namespace(namespace) => self.may_at(verb, &format!("{namespace}/*")),
            RequiredRight::Mesh => self.may_at(verb, "*") || self.may_at(verb, MESH),
            RequiredRight::Everything => self.may_at(verb, "*"),
        }
    }

    pub(crate) fn holds_all<'a>(
        &self,
        verb: Verb,
        needs: impl IntoIterator<Item = &'a RequiredRight>,
    ) -> bool {
        needs.into_iter().all(|need| self.holds(verb, need))
    }

    /// Whether the caller decides what filters may do and which keys are trusted.
    pub(crate) fn is_security(&self, verb: Verb, security: &[String]) -> bool {
        self.may_at(verb, "*")
            || security.iter().any(|namespace| self.may_at(verb, &format!("{namespace}/*")))
    }

    /// Refuses a caller without all needed rights. About documents that the caller did not name and may not
    /// see, it reveals only that they exist.
    pub(crate) fn must_hold(&self, verb: Verb, needs: &RequiredRights) -> Result<(), ApiProblem> {
        let Some((need, why)) = needs.iter().find(|(need, _)| !self.holds(verb, need)) else {
            return Ok(());
        };
        if needs.is_elsewhere(need) {
            let title = format!("{} may not do that: {why}", self.actor());
            let remedy = "ask the owner of those documents, or use a token with rights for both";
            return Err(ApiProblem {
                remedy: Some(remedy.to_owned()),
                ..problem(403, "denied", title)
            });
        }
        let (right, way) = match need {
            RequiredRight::Place(place) => {
                (format!("`{}` for {place}", verb.as_str()), place.as_str())
            }
            RequiredRight::Namespace(space) => {
                (format!("`{}` for {space}/*", verb.as_str()), "NAMESPACE/*")
            }
            RequiredRight::Mesh => (format!("`{}` for the Mesh", verb.as_str()), MESH),
            RequiredRight::Everything => (format!("`{}` for everything", verb.as_str()), "*"),
        };
        let title = format!("{} does not have {right}: {why}", self.actor());
        let remedy = format!(
            "ask somebody who has it, or ask for a token that covers it: `tamis registry token create NAME --verb {} \
             --repository '{way}'`",
            verb.as_str()
        );
        Err(ApiProblem { remedy: Some(remedy), ..problem(403, "denied", title) })
    }
}

/// Those who agreed to a change and may: they hold `approve` for everything it needs, now, and are another person than
/// whoever asks, and than each other. The tokens that somebody made or rotated are himself.
pub(crate) fn may_agree(
    store: &Store,
    state: &State,
    subject: &Digest,
    needs: &[RequiredRight],
    asker: &str,
) -> BTreeSet<String> {
    let mut persons = store.persons(asker);
    let may = state.approved(subject).filter(|(actor, agreed_ms)| {
        let token = store.named(actor);
        // One that got the name of a token that is gone did not agree to anything.
        let token = token.filter(|token| token.created_ms().is_some_and(|made| made <= *agreed_ms));
        let holder = token.map(AuthorizedCaller::new);
        if !holder.is_some_and(|holder| holder.holds_all(Verb::Approve, needs)) {
            return false;
        }
        let others = store.persons(actor);
        let is_another = persons.is_disjoint(&others);
        persons.extend(others);
        is_another
    });
    may.map(|(actor, _)| actor.to_owned()).collect()
}

/// Whether everybody who is known to have asked for a change is this person, by one token or another.
pub(crate) fn asked_alone(store: &Store, state: &State, subject: &Digest, actor: &str) -> bool {
    let persons = store.persons(actor);
    let mut askers = state.askers(subject).peekable();
    askers.peek().is_some() && askers.all(|asker| !store.persons(asker).is_disjoint(&persons))
}

impl Control {
    /// Whether the caller decides what filters may do and which keys are trusted.
    #[must_use]
    pub fn decides(&self, holder: &AuthorizedCaller) -> bool {
        holder.is_security(Verb::Operate, &self.0.rules.security)
    }

    /// Whether the caller may know which artifacts a filter has: by a right at the filter or in its repository, because
    /// everybody may pull, or because a `Grant` of security offers it to whoever attaches it.
    pub(crate) fn may_know(&self, holder: &AuthorizedCaller, filter: &Name) -> bool {
        let state = self.state();
        self.0.store.limits().anonymous != AnonymousRights::None
            || holder.has_part_in(filter.as_str())
            || holder.has_part_in(&repository(&state, filter))
            || state.is_granted(filter)
    }

    /// Refuses a caller who may not know which artifacts a filter has, in the same words whether there are any.
    pub(crate) fn must_know(
        &self,
        holder: &AuthorizedCaller,
        filter: &Name,
    ) -> Result<(), ApiProblem> {
        if self.may_know(holder, filter) {
            return Ok(());
        }
        let title = format!(
            "{} has no right at the filter {filter}, and no Grant of security offers it to others",
            holder.actor()
        );
        let remedy =
            "ask for a token that covers its repository, or ask security for a Grant of it";
        Err(ApiProblem { remedy: Some(remedy.to_owned()), ..problem(403, "denied", title) })
    }

    /// Refuses a caller whose token was revoked, replaced or expired since its request came. Asked between a decision and its
    /// append: a token that ends later ends in an entry behind the head that was decided on, so that the append fails.
    ///
    /// # Errors
    /// [`ApiProblem`]; also when the journal cannot be read.
    pub(crate) async fn must_still_hold(&self, author: Author<'_>) -> Result<(), ApiProblem> {
        let held = self.0.store.must_still_hold(author).await;
        held.map_err(|refusal| match refusal.code() {
            Code::Unauthorized => ended(author.actor()),
            _ => unreadable(),
        })
    }
}
