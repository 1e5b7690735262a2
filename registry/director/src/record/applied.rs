//! Documents put in force and taken out, in records that fit.

use serde::{Deserialize, Serialize};
use tamis_trust::Digest;

use super::{BodyError, MAX_BODY_BYTES, MAX_TEXT_BYTES, short, written};

/// Documents put in force and taken out, in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Put in force; each takes the place of one with its key.
    #[serde(default)]
    pub documents: Vec<AppliedDocument>,
    /// What documents name: key sets and public keys. Each takes the place of one with its path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<AppliedFile>,
    /// Keys of documents taken out; one that is not there is no error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Paths of files taken out; one that is not there is no error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_files: Vec<String>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedDocument {
    /// `Kind/namespace/name`.
    pub key: String,
    /// What problems call its source, like the name of its file; the key when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Lines of that source before `text`: problems count from the first line of the source.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lines_before: usize,
    /// Digest of `text`.
    pub digest: Digest,
    /// The document, and no other; at most [`MAX_TEXT_BYTES`].
    pub text: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// One file that documents name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedFile {
    /// As documents write it.
    pub path: String,
    /// What is in it; at most [`MAX_TEXT_BYTES`].
    pub text: String,
}

impl Applied {
    /// The same in as few records as their order allows, to be appended all or none.
    ///
    /// # Errors
    /// [`BodyError::Text`] and [`BodyError::TooLarge`] for what fits into no record.
    pub fn pack(self) -> Result<Vec<Self>, BodyError> {
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
            // Every part pays for the frame too, so that the sum is never too small.
            let bytes = written("applied", &part)?.to_string().len();
            match packed.last_mut() {
                Some(last) if bytes <= room => {
                    last.join(part);
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

    fn check(&self) -> Result<(), BodyError> {
        let documents = self.documents.iter().map(|one| (&one.key, one.text.len()));
        let files = self.files.iter().map(|one| (&one.path, one.text.len()));
        match documents.chain(files).find(|(_, bytes)| *bytes > MAX_TEXT_BYTES) {
            Some((key, bytes)) => Err(BodyError::Text { key: short(key), bytes }),
            None => Ok(()),
        }
    }

    fn join(&mut self, other: Self) {
        self.documents.extend(other.documents);
        self.files.extend(other.files);
        self.removed.extend(other.removed);
        self.removed_files.extend(other.removed_files);
    }
}
