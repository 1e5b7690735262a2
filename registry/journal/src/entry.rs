//! Records and entries: what a writer submits, and what it becomes in the journal.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Hash, Head, JournalError, canonical};

/// Most canonical bytes of an entry (C2SP tlog-tiles: the length of an entry is a 16-bit number).
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// Longest kind in bytes.
pub const MAX_KIND_BYTES: usize = 64;
/// Longest name of an actor in bytes.
pub const MAX_ACTOR_BYTES: usize = 1_024;

/// Content to write to the journal.
///
/// The journal knows no kinds: their writers define them, and readers ignore kinds that they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What happened, in kebab case: lower-case letters and digits in words joined by single `-`, a letter
    /// first, at most [`MAX_KIND_BYTES`].
    pub kind: String,
    /// The content. Large things are blobs, named here by their digests.
    pub body: Value,
}

/// A record at its place in the journal.
///
/// Its canonical bytes are the JSON object of `actor`, `body`, `kind`, `revision` and `time_ms`, keys
/// sorted by their UTF-8 bytes at every depth, without white space. `hash` is [`Hash::link`] of `previous`
/// and the [`Hash::leaf`] of these bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place: 1 for the first, without gaps.
    pub revision: u64,
    /// Milliseconds since the Unix epoch, never less than in the previous entry.
    pub time_ms: u64,
    /// Who wrote it.
    pub actor: String,
    /// What was written.
    pub record: Record,
    /// The hash of the previous entry; [`Hash::ZERO`] for the first.
    pub previous: Hash,
    /// The hash of this entry and, through the links, of all before it.
    pub hash: Hash,
}

impl Entry {
    /// The bytes whose hash is the entry's leaf, at most [`MAX_ENTRY_BYTES`] for accepted entries.
    ///
    /// # Errors
    /// [`JournalError::Body`] for a body without a canonical form; the journal contains none.
    pub fn canonical(&self) -> Result<Vec<u8>, JournalError> {
        let body = body_text(&self.record)?;
        Ok(canonical_bytes(self, &body))
    }

    /// The leaf of the transparency log (RFC 6962 §2.1).
    ///
    /// # Errors
    /// As [`Entry::canonical`].
    pub fn leaf(&self) -> Result<Hash, JournalError> {
        Ok(Hash::leaf(&self.canonical()?))
    }
}

/// An entry and its body's canonical text, as stored.
#[derive(Debug)]
pub(crate) struct StoredEntry {
    pub(crate) entry: Entry,
    pub(crate) body: String,
}

/// The place of the next entry: after which revision, and not before which time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NextPlace {
    pub(crate) head: Head,
    pub(crate) time_ms: u64,
}

/// A record checked once, before any lock is taken.
#[derive(Debug, Clone)]
pub(crate) struct CheckedRecord {
    record: Record,
    body: String,
}

/// Checks what does not depend on the place; sizes are checked again by [`place`].
pub(crate) fn check(actor: &str, records: &[Record]) -> Result<Vec<CheckedRecord>, JournalError> {
    let fits = (1..=MAX_ACTOR_BYTES).contains(&actor.len());
    if !fits || actor.chars().any(char::is_control) {
        return Err(JournalError::Actor(shown(actor)));
    }
    let checked = records.iter().map(|record| {
        if !kebab(&record.kind) {
            return Err(JournalError::Kind(shown(&record.kind)));
        }
        Ok(CheckedRecord { record: record.clone(), body: body_text(record)? })
    });
    checked.collect()
}

/// Places records after the tail, one after another.
pub(crate) fn place(
    mut tail: NextPlace,
    time_ms: u64,
    actor: &str,
    records: &[CheckedRecord],
) -> Result<Vec<StoredEntry>, JournalError> {
    // If the clock goes back, the journal must not.
    let time_ms = time_ms.max(tail.time_ms);
    let mut written = Vec::with_capacity(records.len());
    for CheckedRecord { record, body } in records {
        let revision = tail.head.revision.saturating_add(1);
        let previous = tail.head.hash;
        let mut entry = Entry {
            revision,
            time_ms,
            actor: actor.to_owned(),
            record: record.clone(),
            previous,
            hash: Hash::ZERO,
        };
        let bytes = canonical_bytes(&entry, body);
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(JournalError::TooLarge { kind: record.kind.clone(), bytes: bytes.len() });
        }
        entry.hash = Hash::link(&previous, &Hash::leaf(&bytes));
        tail.head = Head { revision, hash: entry.hash };
        written.push(StoredEntry { entry, body: body.clone() });
    }
    Ok(written)
}

/// A row as read from storage, not trusted yet.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) revision: i64,
    pub(crate) time_ms: i64,
    pub(crate) actor: String,
    pub(crate) kind: String,
    pub(crate) body: String,
    pub(crate) previous: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

impl Row {
    /// The entry, if it has the hash in its row.
    pub(crate) fn entry(self) -> Result<Entry, JournalError> {
        let revision = u64::try_from(self.revision).unwrap_or(0);
        let tampered = |what| JournalError::Tampered { revision, what };
        let time_ms = u64::try_from(self.time_ms).map_err(|_| tampered("its time is negative"))?;
        let body = canonical::parse(&self.body)
            .ok_or_else(|| tampered("its body is not canonical JSON"))?;
        let hash = |bytes: Vec<u8>| bytes.try_into().map(Hash);
        let previous = hash(self.previous)
            .map_err(|_| tampered("its link to the previous entry is not a hash"))?;
        let hash = hash(self.hash).map_err(|_| tampered("its hash is not a hash"))?;
        let record = Record { kind: self.kind, body };
        let entry = Entry { revision, time_ms, actor: self.actor, record, previous, hash };
        let bytes = canonical_bytes(&entry, &self.body);
        if Hash::link(&previous, &Hash::leaf(&bytes)) != hash {
            return Err(tampered("it does not have the hash it was written with"));
        }
        Ok(entry)
    }
}

fn body_text(record: &Record) -> Result<String, JournalError> {
    canonical::text(&record.body)
        .map_err(|reason| JournalError::Body { kind: shown(&record.kind), reason })
}

/// The keys are in order here, so only the body needed sorting, which is done.
fn canonical_bytes(entry: &Entry, body: &str) -> Vec<u8> {
    let string = |text: &str| Value::from(text).to_string();
    format!(
        r#"{{"actor":{},"body":{body},"kind":{},"revision":{},"time_ms":{}}}"#,
        string(&entry.actor),
        string(&entry.record.kind),
        entry.revision,
        entry.time_ms
    )
    .into_bytes()
}

fn kebab(kind: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
    };
    kind.len() <= MAX_KIND_BYTES
        && kind.starts_with(|first: char| first.is_ascii_lowercase())
        && kind.split('-').all(word)
}

/// The beginning of foreign text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
