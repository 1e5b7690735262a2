//! The entry that names the keys of a journal.
//!
//! Replicas have the same keys, which an operator copies. Two that start for the first time at once each find no keys and make
//! some; the entry is written at the head on which it was decided, so that one of them finds the other's and does not start.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_journal::Record;

use crate::plane::keys::Keys;

/// The kind of the entry.
const KIND: &str = "registry-keys";

/// The keys that sign for a journal from this entry on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeysRecord {
    /// The id of the director's key.
    director: String,
    /// The log's key for verifiers, `NAME+ID+BASE64`.
    log: String,
}

impl KeysRecord {
    /// Reads an entry; `None`: it is another kind, or cannot be read.
    pub(crate) fn read(kind: &str, body: &Value) -> Option<Self> {
        if kind != KIND {
            return None;
        }
        let read = Self::deserialize(body);
        read.inspect_err(|error| tracing::error!(%error, "the keys of the journal cannot be read"))
            .ok()
    }

    /// Those of this process.
    pub(crate) fn of(keys: &Keys) -> Self {
        let director = keys.director.public_key().id().to_string();
        Self { director, log: keys.log_verifier() }
    }

    /// The entry.
    ///
    /// # Errors
    /// It is no JSON.
    pub(crate) fn record(&self) -> serde_json::Result<Record> {
        Ok(Record { kind: KIND.to_owned(), body: serde_json::to_value(self)? })
    }
}
