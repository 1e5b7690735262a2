//! The documents: what is trusted in a namespace, and what is revoked.

use serde_json::{Value, json};
use tamis_trust::{Digest, SignaturePolicy};

use super::format::TargetFile;
use super::{DOCUMENTS, METADATA, PolicyRepository, STAGED, TARGETS_FILE};
use crate::{Namespace, TufError, kept};

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// The manifest of a filter.
    Digest(Digest),
    /// A key, by its name in the document or by its id.
    Key {
        /// The name or id.
        key: String,
        /// Signatures that the log recorded before this index stay valid; `None`: all become invalid.
        from_index: Option<u64>,
    },
}

impl PolicyRepository {
    /// Stages a document for a namespace, and the role that vouches for it. Returns the role's file.
    ///
    /// # Errors
    /// The document is not a policy, or covers filters outside the namespace.
    pub fn set(
        &self,
        namespace: &Namespace,
        document: &[u8],
        now: u64,
    ) -> Result<String, TufError> {
        let path = namespace.path();
        let policy = SignaturePolicy::from_json(document)?;
        if let Some(pattern) = policy.namespaces().iter().find(|one| !namespace.holds(one)) {
            let reason = format!(
                "the document of {namespace} covers {:?}; it may only cover filters in {namespace}",
                pattern.as_str()
            );
            return Err(TufError::Document { file: path, reason });
        }
        let file = self.keeper(namespace)?;
        kept::replace(&self.folder.join(STAGED).join(&path), document)?;
        self.change_targets(&file, now, |targets| {
            targets.targets.insert(path, TargetFile::of(document));
            Ok(())
        })?;
        Ok(file)
    }

    /// Stages the removal of a namespace's document: a wider document then covers its filters, or they are
    /// not trusted. Returns the file of the role that must sign that.
    ///
    /// # Errors
    /// The namespace has no document.
    pub fn unset(&self, namespace: &Namespace, now: u64) -> Result<String, TufError> {
        let file = self.keeper(namespace)?;
        let path = namespace.path();
        self.change_targets(&file, now, |targets| match targets.targets.remove(&path) {
            Some(_) => Ok(()),
            None => Err(TufError::Change(format!("{namespace} has no document to remove"))),
        })?;
        Ok(file)
    }

    /// Revokes a digest or a key in the document of a namespace: stages that document with one more entry.
    /// Returns the file of the role that must sign it.
    ///
    /// # Errors
    /// The namespace has no document, or the document does not contain the key.
    pub fn revoke(
        &self,
        namespace: &Namespace,
        withdrawal: &Withdrawal,
        now: u64,
    ) -> Result<String, TufError> {
        let path = namespace.path();
        let bytes = self.document(namespace)?.ok_or_else(|| {
            TufError::Change(format!(
                "{namespace} has no document for a revocation; create one with `tamis policy set`"
            ))
        })?;
        let mut document: Value = serde_json::from_slice(&bytes).map_err(|error| {
            TufError::Document { file: path.clone(), reason: error.to_string() }
        })?;
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
            .map_err(|error| TufError::Document { file: path, reason: error.to_string() })?;
        self.set(namespace, format!("{text}\n").as_bytes(), now)
    }

    /// The document of a namespace after publication; `None` when it has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn document(&self, namespace: &Namespace) -> Result<Option<Vec<u8>>, TufError> {
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
    ) -> Result<Option<Vec<u8>>, TufError> {
        for folder in [STAGED, DOCUMENTS] {
            let found = self.read(folder, path)?;
            if let Some(bytes) = found.filter(|bytes| TargetFile::of(bytes) == *target) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The file of the role that vouches for a namespace: the most specific one that was delegated the
    /// namespace or an enclosing one.
    fn keeper(&self, namespace: &Namespace) -> Result<String, TufError> {
        let delegations = self.delegations()?;
        let covering = delegations.iter().filter(|one| one.namespace.includes(namespace));
        let closest = covering.max_by_key(|one| one.role.len());
        let file = closest.map_or(TARGETS_FILE.to_owned(), |one| format!("{}.json", one.role));
        match self.current::<super::Targets>(&file)? {
            Some(_) => Ok(file),
            None => Err(TufError::Change(format!("{METADATA}/{file} is missing; restore it"))),
        }
    }
}
