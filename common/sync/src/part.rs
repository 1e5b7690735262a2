//! Named, versioned parts of a plan.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_trust::{Digest, config_digest};

/// A named, versioned part of a proxy's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name: `node`, `listener/NAME`, `upstream/NAME`, `slot/SLOT`, `trust/NAME`, or one of the caller's.
    pub name: String,
    /// [`config_digest`] of `body`.
    pub version: Digest,
    /// Its content.
    pub body: Value,
}

impl Part {
    /// A part with the version of its body.
    #[must_use]
    pub fn new(name: String, body: Value) -> Self {
        Self { name, version: config_digest(&body), body }
    }

    /// Whether its version matches its body.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.version == config_digest(&self.body)
    }
}

/// All parts of a proxy, by name. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts(Arc<BTreeMap<Arc<str>, Arc<Part>>>);

impl Parts {
    /// Adds a part, replacing one of the same name.
    pub fn insert(&mut self, part: impl Into<Arc<Part>>) {
        let part = part.into();
        let all = Arc::make_mut(&mut self.0);
        match all.get_mut(part.name.as_str()) {
            Some(there) => *there = part,
            None => drop(all.insert(part.name.as_str().into(), part)),
        }
    }

    /// Removes a part.
    pub fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).remove(name);
    }

    /// The part with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Part>> {
        self.0.get(name)
    }

    /// All parts, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Part>> {
        self.0.values()
    }

    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The version of each part.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, Digest> {
        self.iter().map(|part| (part.name.clone(), part.version)).collect()
    }

    /// The parts that are new or changed since `before`, and the names of those removed. Parts shared in
    /// memory are not compared.
    pub(crate) fn since(&self, before: &Self) -> (Vec<Arc<Part>>, Vec<String>) {
        let (mut upserts, mut removes) = (Vec::new(), Vec::new());
        if Arc::ptr_eq(&self.0, &before.0) {
            return (upserts, removes);
        }
        let (mut new, mut old) = (self.iter().peekable(), before.iter().peekable());
        loop {
            let order = match (new.peek(), old.peek()) {
                (None, None) => return (upserts, removes),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) => Ordering::Equal,
                (Some(new), Some(old)) => new.name.cmp(&old.name),
            };
            let new = if order.is_le() { new.next() } else { None };
            let old = if order.is_ge() { old.next() } else { None };
            match (new, old) {
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) || new.version == old.version => {}
                (Some(new), _) => upserts.push(Arc::clone(new)),
                (None, Some(old)) => removes.push(old.name.clone()),
                (None, None) => {}
            }
        }
    }
}

impl<T: Into<Arc<Part>>> FromIterator<T> for Parts {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        let mut all = Self::default();
        parts.into_iter().for_each(|part| all.insert(part));
        all
    }
}
