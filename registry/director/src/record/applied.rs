//! Applied and removed documents, in records of bounded size.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tamis_resources::Document;
use tamis_trust::Digest;

use super::{MAX_BODY_BYTES, MAX_TEXT_BYTES, RecordError, short, written};

/// Documents applied and removed in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRecord {
    /// Applied documents; each replaces the one with its key.
    #[serde(default)]
    pub documents: Vec<DocumentRecord>,
    /// Files that documents name: key sets and public keys. Each replaces the one with its path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRecord>,
    /// Keys of removed documents; a missing one is not an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Paths of removed files; a missing one is not an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_files: Vec<String>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// `Kind/namespace/name`.
    pub key: String,
    /// The name of its source in problems, like the name of a file; the key when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Lines of that source before `text`: problems count from the first line of the source.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lines_before: usize,
    /// Digest of `text`.
    pub digest: Digest,
    /// The text of this document only; at most [`MAX_TEXT_BYTES`].
    pub text: String,
    /// What was made of it already.
    #[serde(skip)]
    pub parsed: ParsedOnce,
}

/// The document of a record, if it was parsed already: everything that judges a change needs it. It follows from the record,
/// so all are equal.
#[derive(Debug, Clone, Default)]
pub struct ParsedOnce(OnceLock<Arc<Document>>);

impl ParsedOnce {
    pub(crate) fn known(&self) -> Option<Arc<Document>> {
        self.0.get().cloned()
    }

    pub(crate) fn keep(&self, document: &Arc<Document>) {
        self.0.get_or_init(|| Arc::clone(document));
    }
}

impl PartialEq for ParsedOnce {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ParsedOnce {}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// One file that documents name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its path as documents write it.
    pub path: String,
    /// Its content; at most [`MAX_TEXT_BYTES`].
    pub text: String,
}

impl ApplyRecord {
    /// The same in as few records as their order allows, to be appended all or none.
    ///
    /// # Errors
    /// [`RecordError::Text`] and [`RecordError::TooLarge`] for what fits into no record.
    pub fn pack(self) -> Result<Vec<Self>, RecordError> {
        let mut parts = Vec::new();
        parts.extend(
            self.removed.into_iter().map(|one| Self { removed: vec![one], ..Self::default() }),
        );
        let gone = self.removed_files.into_iter();
        parts.extend(gone.map(|one| Self { removed_files: vec![one], ..Self::default() }));
        parts
            .extend(self.files.into_iter().map(|one| Self { files: vec![one], ..Self::default() }));
        let documents = self.documents.into_iter();
        parts.extend(documents.map(|one| Self { documents: vec![one], ..Self::default() }));
        let mut packed: Vec<Self> = Vec::new();
        let mut room = 0;
        for part in parts {
            part.check()?;
            // Every part includes the frame, so that the sum is never too small.
            let bytes = written("applied", &part)?.to_string().len();
            match packed.last_mut() {
                Some(last) if bytes <= room => {
                    last.merge(part);
                    room -= bytes;
                }
                _ => {
                    packed.push(part);
                    room = MAX_BODY_BYTES - bytes;
                }
            }
        }
        Ok(packed)
    }

    fn check(&self) -> Result<(), RecordError> {
        let documents = self.documents.iter().map(|one| (&one.key, one.text.len()));
        let files = self.files.iter().map(|one| (&one.path, one.text.len()));
        match documents.chain(files).find(|(_, bytes)| *bytes > MAX_TEXT_BYTES) {
            Some((key, bytes)) => Err(RecordError::Text { key: short(key), bytes }),
            None => Ok(()),
        }
    }

    fn merge(&mut self, other: Self) {
        self.documents.extend(other.documents);
        self.files.extend(other.files);
        self.removed.extend(other.removed);
        self.removed_files.extend(other.removed_files);
    }
}
