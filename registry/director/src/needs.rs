//! What somebody must hold a right to before a change is his to make.
//!
//! It is the effect that decides, not the name of what is written: a document needs its own place and everything it
//! speaks of, in its old form and in its new one, since what is taken away is an effect as well. A file belongs to the
//! documents that name it. Nothing here knows who asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tamis_resources::Document;

use crate::change::{Change, PlanError};
use crate::documents::{NotTaken, read};
use crate::pins::ALL;
use crate::record::{Applied, short};
use crate::state::State;

mod claim;
mod documents;

use documents::Documents;

/// The most needs that are told apart where they are kept; past them it is everything.
const MAX_KEPT: usize = 200;

/// Something that one holds a right to, or does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A document, service or repository, by its `namespace/name`.
    Place(String),
    /// All that is or will be in a namespace.
    Namespace(String),
    /// Every proxy of everybody.
    Mesh,
    /// All there is and will be.
    Everything,
}

/// Which files without an owner are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// Those that the change leaves without one.
    OfChange,
    /// Those too that have none already.
    All,
}

/// What a change needs, each with the words that say why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs(BTreeMap<Need, Why>);

/// Why something is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Why {
    words: String,
    /// Whether it is about what somebody else wrote: who asks has not named it and perhaps may not see it.
    elsewhere: bool,
}

impl Needs {
    /// Each need, and why it is one: in words that name nothing that the change does not name itself.
    pub fn iter(&self) -> impl Iterator<Item = (&Need, &str)> {
        self.0.iter().map(|(need, why)| (need, why.words.as_str()))
    }

    /// Whether a need is about what somebody else wrote and the change does not name.
    #[must_use]
    pub fn is_elsewhere(&self, need: &Need) -> bool {
        self.0.get(need).is_some_and(|why| why.elsewhere)
    }

    /// What a pin, an unpin or a rollout of these services needs.
    pub fn of_services<'a>(services: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needs = Self::default();
        for service in services {
            let need = if service == ALL { Need::Mesh } else { Need::Place(service.to_owned()) };
            needs.add(need, || format!("it is about {service}"));
        }
        needs
    }

    /// The same to be kept in a record of bounded size.
    #[must_use]
    pub fn kept(&self) -> Vec<Need> {
        if self.0.len() > MAX_KEPT {
            vec![Need::Everything]
        } else {
            self.0.keys().cloned().collect()
        }
    }

    fn add(&mut self, need: Need, why: impl FnOnce() -> String) {
        let why = self.0.entry(need).or_insert_with(|| Why { words: why(), elsewhere: false });
        why.elsewhere = false;
    }

    /// Adds what is needed for something that somebody else wrote.
    fn add_elsewhere(&mut self, other: Self, why: &str) {
        for need in other.0.into_keys() {
            let why = || Why { words: why.to_owned(), elsewhere: true };
            self.0.entry(need).or_insert_with(why);
        }
    }
}

impl State {
    /// What a change needs. `security` are the namespaces in which grants and trust policies live.
    ///
    /// # Errors
    /// [`PlanError`] when a document of it is none.
    pub fn needs(&self, change: &Change, security: &[String]) -> Result<Needs, PlanError> {
        match change {
            Change::Pin(pinned) => Ok(Needs::of_services([pinned.service.as_str()])),
            Change::Unpin(unpinned) => Ok(Needs::of_services([unpinned.service.as_str()])),
            Change::Apply(applied) => self.needs_of_apply(applied, security),
        }
    }

    /// What it needs to take documents out, one after the other.
    #[must_use]
    pub fn removals<'a>(&'a self, security: &'a [String]) -> Removals<'a> {
        let all = self.documents().iter().map(|(key, held)| (key, &held.document));
        Removals { before: Documents::of(all), security }
    }

    /// Files that nobody names once `applied` is in force: those that documents named which it takes out or changes, or
    /// all of them.
    #[must_use]
    pub fn orphaned(&self, applied: &Applied, files: Orphans) -> Vec<String> {
        let keys = applied.documents.iter().map(|one| &one.key).chain(&applied.removed);
        let going: BTreeSet<&String> = keys.collect();
        let named = going.iter().filter_map(|key| self.documents().get(*key));
        let mut files: BTreeSet<String> = match files {
            Orphans::OfChange => named.flat_map(|held| held.document.files()).collect(),
            Orphans::All => self.files().keys().cloned().collect(),
        };
        let fresh: Vec<Document> =
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

    fn needs_of_apply(&self, applied: &Applied, security: &[String]) -> Result<Needs, PlanError> {
        let fresh = parsed(applied)?;
        let held = self.documents();
        let before = Documents::of(held.iter().map(|(key, held)| (key, &held.document)));
        let after = before.with(applied.removed.iter(), fresh.iter());
        let mut needs = Needs::default();
        let keys = fresh.keys().chain(&applied.removed);
        for key in keys {
            let (old, new) = (before.by_key.get(key.as_str()), fresh.get(key));
            if old.is_none() && new.is_none() {
                // Nothing is there to be taken out; whose it would be is not said either.
                needs.add(place(key), || format!("it names {key}"));
            }
            if let Some(old) = old {
                before.speaks(old, security, &mut needs);
                before.hangs(old, &mut needs);
            }
            if let Some(new) = new {
                after.speaks(new, security, &mut needs);
                after.claims(new, old.copied(), &mut needs);
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
                needs.add(Need::Everything, || format!("no document names the file {path}"));
            }
        }
        Ok(needs)
    }

    /// A file that a document begins to name is everybody's who names it already.
    fn newly_named<'a>(
        &self,
        applied: &Applied,
        (new, old): (&Document, Option<&Document>),
        (before, after): (&Documents<'a>, &Documents<'a>),
        security: &[String],
        needs: &mut Needs,
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
                needs.add(Need::Everything, || format!("the file {path} is nobody's yet"));
            }
        }
    }
}

/// What it needs to take documents out.
pub struct Removals<'a> {
    before: Documents<'a>,
    security: &'a [String],
}

impl Removals<'_> {
    /// What it needs to take out the document of that `Kind/namespace/name`; nothing when there is none.
    #[must_use]
    pub fn needs(&self, key: &str) -> Needs {
        let mut needs = Needs::default();
        if let Some(document) = self.before.by_key.get(key) {
            self.before.speaks(document, self.security, &mut needs);
            self.before.hangs(document, &mut needs);
        }
        needs
    }
}

fn parsed(applied: &Applied) -> Result<BTreeMap<String, Document>, PlanError> {
    let (mut fresh, mut problems) = (BTreeMap::new(), Vec::new());
    for one in &applied.documents {
        match read(one) {
            Ok(document) => drop(fresh.insert(one.key.clone(), document)),
            Err(NotTaken::Problems(found)) => problems.extend(found),
            Err(NotTaken::Rule(rule)) => return Err(PlanError::Rule(short(&rule))),
        }
    }
    if problems.is_empty() { Ok(fresh) } else { Err(PlanError::Documents(problems)) }
}

/// The place of a document by its `Kind/namespace/name`.
fn place(key: &str) -> Need {
    Need::Place(key.split_once('/').map_or(key, |(_, place)| place).to_owned())
}

#[cfg(test)]
mod tests;
