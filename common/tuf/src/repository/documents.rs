//! The documents: what is believed in a namespace, and what is believed no more.

use serde_json::{Value, json};
use tamis_trust::{Digest, Policy};

use super::format::TargetFile;
use super::{DOCUMENTS, METADATA, Repository, STAGED, TARGETS_FILE};
use crate::{Error, Namespace, kept};

/// What is to be believed no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// The manifest of a filter.
    Digest(Digest),
    /// A key, by its name in the document or by its id.
    Key {
        /// The name or id.
        key: String,
        /// What the log recorded before this index still counts; none: nothing counts.
        from_index: Option<u64>,
    },
}

impl Repository {
    /// Stages a document for a namespace, and the role that vouches for it. Returns the role's file.
    ///
    /// # Errors
    /// When the document is no policy or speaks of what does not lie in the namespace.
    pub fn set(&self, namespace: &Namespace, document: &[u8], now: u64) -> Result<String, Error> {
        let path = namespace.path();
        let policy = Policy::from_json(document)?;
        if let Some(pattern) = policy.namespaces().iter().find(|one| !namespace.holds(one)) {
            let reason = format!(
                "the document of {namespace} speaks of {:?}; say only what lies in {namespace}",
                pattern.as_str()
            );
            return Err(Error::Document { file: path, reason });
        }
        let file = self.keeper(namespace)?;
        kept::replace(&self.folder.join(STAGED).join(&path), document)?;
        self.change_targets(&file, now, |targets| {
            targets.targets.insert(path, TargetFile::of(document));
            Ok(())
        })?;
        Ok(file)
    }

    /// Stages the end of a namespace's document: what lies in it falls to a wider document, or to nobody's
    /// trust. Returns the file of the role that has to sign that.
    ///
    /// # Errors
    /// When the namespace has no document.
    pub fn unset(&self, namespace: &Namespace, now: u64) -> Result<String, Error> {
        let file = self.keeper(namespace)?;
        let path = namespace.path();
        self.change_targets(&file, now, |targets| match targets.targets.remove(&path) {
            Some(_) => Ok(()),
            None => Err(Error::Change(format!("{namespace} has no document to take out"))),
        })?;
        Ok(file)
    }

    /// Withdraws a digest or a key in the document of a namespace: stages that document with one more
    /// entry. Returns the file of the role that has to sign it.
    ///
    /// # Errors
    /// When the namespace has no document, or the document does not know the key.
    pub fn revoke(
        &self,
        namespace: &Namespace,
        withdrawal: &Withdrawal,
        now: u64,
    ) -> Result<String, Error> {
        let path = namespace.path();
        let bytes = self.document(namespace)?.ok_or_else(|| {
            Error::Change(format!(
                "{namespace} has no document to withdraw something in; `tamis policy set` makes one"
            ))
        })?;
        let mut document: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Document { file: path.clone(), reason: error.to_string() })?;
        let (member, entry) = match withdrawal {
            Withdrawal::Digest(digest) => ("revokedDigests", json!(digest)),
            Withdrawal::Key { key, from_index: None } => ("revokedKeys", json!(key)),
            Withdrawal::Key { key, from_index: Some(index) } => {
                ("revokedKeys", json!({ "key": key, "fromIndex": index }))
            }
        };
        let list = document.as_object_mut().map(|map| map.entry(member).or_insert(json!([])));
        if let Some(list) = list.and_then(Value::as_array_mut).filter(|list| !list.contains(&entry))
        {
            list.push(entry);
        }
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Error::Document { file: path, reason: error.to_string() })?;
        self.set(namespace, format!("{text}\n").as_bytes(), now)
    }

    /// The document of a namespace as it will be; none when it has none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn document(&self, namespace: &Namespace) -> Result<Option<Vec<u8>>, Error> {
        let file = self.keeper(namespace)?;
        let path = namespace.path();
        match self.targets(&file)?.signed.targets.get(&path) {
            Some(target) => self.matching(&path, target),
            None => Ok(None),
        }
    }

    /// The document at a path that a role vouches for, staged or published.
    pub(super) fn matching(
        &self,
        path: &str,
        target: &TargetFile,
    ) -> Result<Option<Vec<u8>>, Error> {
        for folder in [STAGED, DOCUMENTS] {
            let found = self.read(folder, path)?;
            if let Some(bytes) = found.filter(|bytes| TargetFile::of(bytes) == *target) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The file of the role that vouches for a namespace: the closest that was given it or what it lies in.
    fn keeper(&self, namespace: &Namespace) -> Result<String, Error> {
        let delegations = self.delegations()?;
        let covering = delegations.iter().filter(|one| one.namespace.includes(namespace));
        let closest = covering.max_by_key(|one| one.role.len());
        let file = closest.map_or(TARGETS_FILE.to_owned(), |one| format!("{}.json", one.role));
        match self.current::<super::Targets>(&file)? {
            Some(_) => Ok(file),
            None => Err(Error::Change(format!("{METADATA}/{file} is missing; restore it"))),
        }
    }
}
