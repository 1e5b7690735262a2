//! The rights that a change requires.
//!
//! The effect decides, not the name of what is written: a document needs its own place and everything that
//! it touches, in its old and in its new version, since removing something is an effect too. A file belongs
//! to the documents that name it. Nothing here depends on the caller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tamis_resources::{Document, Problem, Resource, Security, federation_beyond, trust_beyond};

use crate::change::{Change, PlanError};
use crate::documents::{DocumentRefusal, read};
use crate::need::RequiredRight;
use crate::pins::ALL;
use crate::record::{ApplyRecord, short};
use crate::state::State;

mod claim;
mod documents;
mod hosts;

use documents::Documents;

/// Most needs stored individually; with more, everything is needed.
const MAX_KEPT: usize = 200;

/// Which files without an owner are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// Those that the change leaves without one.
    OfChange,
    /// Also those that have none already.
    All,
}

/// The needs of a change, each with its reason in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredRights(BTreeMap<RequiredRight, NeedReason>);

/// The reason of a need.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NeedReason {
    words: String,
    /// Whether it concerns a document of somebody else, which the caller has not named and perhaps may not
    /// see.
    elsewhere: bool,
}

impl RequiredRights {
    /// Each need, and its reason in words that name nothing that the change does not name itself.
    pub fn iter(&self) -> impl Iterator<Item = (&RequiredRight, &str)> {
        self.0.iter().map(|(need, why)| (need, why.words.as_str()))
    }

    /// Whether a need concerns a document of somebody else that the change does not name.
    #[must_use]
    pub fn is_elsewhere(&self, need: &RequiredRight) -> bool {
        self.0.get(need).is_some_and(|why| why.elsewhere)
    }

    /// The needs of a pin, an unpin or a rollout for these services.
    pub fn of_services<'a>(services: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needs = Self::default();
        for service in services {
            let need = if service == ALL {
                RequiredRight::Mesh
            } else {
                RequiredRight::Place(service.to_owned())
            };
            needs.add(need, || format!("it concerns {service}"));
        }
        needs
    }

    fn of(need: RequiredRight) -> Self {
        let why = NeedReason { words: String::new(), elsewhere: false };
        Self(BTreeMap::from([(need, why)]))
    }

    /// The needs in a form of bounded size, for a record.
    #[must_use]
    pub fn kept(&self) -> Vec<RequiredRight> {
        if self.0.len() > MAX_KEPT {
            vec![RequiredRight::Everything]
        } else {
            self.0.keys().cloned().collect()
        }
    }

    fn add(&mut self, need: RequiredRight, why: impl FnOnce() -> String) {
        let why =
            self.0.entry(need).or_insert_with(|| NeedReason { words: why(), elsewhere: false });
        why.elsewhere = false;
    }

    /// Adds the needs of a document of somebody else.
    fn add_elsewhere(&mut self, other: Self, why: &str) {
        for need in other.0.into_keys() {
            let why = || NeedReason { words: why.to_owned(), elsewhere: true };
            self.0.entry(need).or_insert_with(why);
        }
    }
}

impl State {
    /// What a change needs.
    ///
    /// # Errors
    /// [`PlanError`] when a document is invalid, or when a trust policy covers filters outside of its namespace.
    pub fn needs(&self, change: &Change) -> Result<RequiredRights, PlanError> {
        match change {
            Change::Pin(pinned) => Ok(RequiredRights::of_services([pinned.service.as_str()])),
            Change::Unpin(unpinned) => Ok(RequiredRights::of_services([unpinned.service.as_str()])),
            Change::Apply(applied) => self.needs_of_apply(applied),
        }
    }

    /// The needs for removing documents, one after the other.
    #[must_use]
    pub fn removals(&self) -> Removals<'_> {
        let all = self.documents().iter().map(|(key, held)| (key, &*held.document));
        Removals { before: Documents::of(all), security: self.desired.security() }
    }

    /// What an apply changes, with the removal of the files that it leaves without a document, and what it needs. `asked` is the
    /// whole request, including what would not change; `None`: what changes is judged alone.
    ///
    /// # Errors
    /// As [`State::needs`].
    pub fn judge_apply(
        &self,
        mut applied: ApplyRecord,
        asked: Option<ApplyRecord>,
        orphans: Orphans,
    ) -> Result<(ApplyRecord, RequiredRights), PlanError> {
        let written: BTreeSet<&String> = applied.files.iter().map(|file| &file.path).collect();
        let mut orphaned = self.orphaned(&applied, orphans);
        orphaned.retain(|path| !written.contains(path) && !applied.removed_files.contains(path));
        applied.removed_files.extend(orphaned);
        let needs = match asked {
            None => self.needs_of_apply(&applied)?,
            Some(asked) => {
                let removed_files = applied.removed_files.clone();
                self.needs_of_apply(&ApplyRecord { removed_files, ..asked })?
            }
        };
        Ok((applied, needs))
    }

    /// Files that no document names once `applied` is in force: those that documents named which it removes
    /// or changes, or all such files.
    fn orphaned(&self, applied: &ApplyRecord, files: Orphans) -> Vec<String> {
        let keys = applied.documents.iter().map(|one| &one.key).chain(&applied.removed);
        let going: BTreeSet<&String> = keys.collect();
        let named = going.iter().filter_map(|key| self.documents().get(*key));
        let mut files: BTreeSet<String> = match files {
            Orphans::OfChange => named.flat_map(|held| held.document.files()).collect(),
            Orphans::All => self.files().keys().cloned().collect(),
        };
        let fresh: Vec<Arc<Document>> =
            applied.documents.iter().filter_map(|one| read(one).ok()).collect();
        let rest = self.documents().iter().filter(|(key, _)| !going.contains(key));
        for document in rest.map(|(_, held)| &held.document).chain(&fresh) {
            for file in document.files() {
                files.remove(&file);
            }
        }
        files.retain(|file| self.files().contains_key(file));
        files.into_iter().collect()
    }

    fn needs_of_apply(&self, applied: &ApplyRecord) -> Result<RequiredRights, PlanError> {
        let security = self.desired.security();
        let fresh = parsed(applied)?;
        let strange: Vec<Problem> = fresh.values().flat_map(|one| beyond(one, security)).collect();
        if !strange.is_empty() {
            return Err(PlanError::Documents(strange));
        }
        let held = self.documents();
        let before = Documents::of(held.iter().map(|(key, held)| (key, &*held.document)));
        let fresh: BTreeMap<&String, &Document> =
            fresh.iter().map(|(key, document)| (*key, &**document)).collect();
        let after = before.with(applied.removed.iter(), fresh.iter().map(|(key, it)| (*key, *it)));
        let mut needs = RequiredRights::default();
        let keys = || fresh.keys().copied().chain(&applied.removed);
        after.closes_kinds(keys().map(String::as_str), &before, &mut needs);
        for key in keys() {
            let (old, new) = (before.by_key.get(key.as_str()), fresh.get(key).copied());
            if old.is_none() && new.is_none() {
                // There is nothing to remove, and the caller does not learn whose it would be.
                needs.add(place(key), || format!("it names {key}"));
            }
            if let Some(old) = old {
                before.speaks(old, security, &mut needs);
                before.reaches(old, &mut needs);
                before.hangs(old, &mut needs);
                before.users(old, new, &mut needs);
            }
            after.closes(key, &before, &mut needs);
            if let Some(new) = new {
                after.speaks(new, security, &mut needs);
                after.reaches(new, &mut needs);
                after.claims(new, old.copied(), &mut needs);
                after.callees(new, old.copied(), security, &mut needs);
                self.newly_named(
                    applied,
                    (new, old.copied()),
                    (&before, &after),
                    security,
                    &mut needs,
                );
            }
        }
        let written = applied.files.iter().map(|file| &file.path).chain(&applied.removed_files);
        for path in written {
            let mut named = false;
            for document in before.naming(path).chain(after.naming(path)) {
                named = true;
                let why = format!("the file {path} belongs to the documents that name it");
                needs.add_elsewhere(before.spoken(document, security), &why);
            }
            if !named {
                needs.add(RequiredRight::Everything, || {
                    format!("no document names the file {path}")
                });
            }
        }
        Ok(needs)
    }

    /// A file that a document starts to name belongs to every document that names it already.
    fn newly_named<'a>(
        &self,
        applied: &ApplyRecord,
        (new, old): (&Document, Option<&Document>),
        (before, after): (&Documents<'a>, &Documents<'a>),
        security: Security<'_>,
        needs: &mut RequiredRights,
    ) {
        let known = old.map(Document::files).unwrap_or_default();
        for path in new.files().into_iter().filter(|path| !known.contains(path)) {
            for document in before.naming(&path).chain(after.naming(&path)) {
                let why = format!("the file {path} belongs to the documents that name it");
                needs.add_elsewhere(before.spoken(document, security), &why);
            }
            let sent = applied.files.iter().any(|file| file.path == path);
            let orphan = self.files().contains_key(&path) && before.naming(&path).next().is_none();
            if orphan && !sent {
                needs.add(RequiredRight::Everything, || {
                    format!("no document names the file {path} yet")
                });
            }
        }
    }
}

/// The needs for removing documents.
pub struct Removals<'a> {
    before: Documents<'a>,
    security: Security<'a>,
}

impl Removals<'_> {
    /// The needs for removing the document with that `Kind/namespace/name`; empty when it does not exist.
    #[must_use]
    pub fn needs(&self, key: &str) -> RequiredRights {
        let mut needs = RequiredRights::default();
        if let Some(document) = self.before.by_key.get(key) {
            self.before.speaks(document, self.security, &mut needs);
            self.before.reaches(document, &mut needs);
            self.before.hangs(document, &mut needs);
        }
        needs
    }
}

fn parsed(applied: &ApplyRecord) -> Result<BTreeMap<&String, Arc<Document>>, PlanError> {
    let (mut fresh, mut problems) = (BTreeMap::new(), Vec::new());
    for one in &applied.documents {
        match read(one) {
            Ok(document) => drop(fresh.insert(&one.key, document)),
            Err(DocumentRefusal::Problems(found)) => problems.extend(found),
            Err(DocumentRefusal::Rule(rule)) => return Err(PlanError::Rule(short(&rule))),
        }
    }
    if problems.is_empty() { Ok(fresh) } else { Err(PlanError::Documents(problems)) }
}

/// What a trust policy outside the namespaces of security says about filters of others, and what any other says about other
/// trust domains there: it would hold for nobody.
fn beyond(document: &Document, security: Security<'_>) -> Vec<Problem> {
    match &document.resource {
        Resource::TrustPolicy(spec) if !security.is_in(&document.metadata.namespace) => {
            trust_beyond(document, spec)
        }
        Resource::FederatedTrustDomain(_) if !security.is_in(&document.metadata.namespace) => {
            vec![federation_beyond(document)]
        }
        _ => Vec::new(),
    }
}

/// The place of a document by its `Kind/namespace/name`.
fn place(key: &str) -> RequiredRight {
    RequiredRight::Place(key.split_once('/').map_or(key, |(_, place)| place).to_owned())
}

#[cfg(test)]
mod tests;
