//! A proxy's half of a stream: its parts, which change as a whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::part::{Part, Parts};
use crate::wire::{Hello, PROTOCOL, PartsFrame, ProtocolError};

/// Most parts of a proxy, and most names of parts that a change removes.
pub const MAX_PARTS: usize = 200_000;
/// Most bytes of memory of the parts of a proxy, and of a change in progress, as far as they are counted: twice the longest
/// request with documents that a registry takes.
pub const MAX_BYTES: usize = 128 << 20;

/// The parts of a proxy, and those of an incomplete change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldParts {
    revision: u64,
    parts: Parts,
    /// [`weight`] of `parts`.
    bytes: usize,
    /// A change in progress, on top of `parts`.
    coming: Option<PendingChange>,
}

#[derive(Debug, Clone, PartialEq)]
struct PendingChange {
    nonce: u64,
    upserts: BTreeMap<String, Arc<Part>>,
    removes: Vec<String>,
    /// Bytes of memory of everything that arrived of it.
    bytes: usize,
}

/// A complete change: all parts as they will be. It takes effect when the proxy calls [`HeldParts::keep`].
#[derive(Debug, Clone, PartialEq)]
pub struct PartsChange {
    /// Named in the outcome.
    pub nonce: u64,
    /// The journal's revision behind it.
    pub revision: u64,
    /// All parts after the change.
    pub parts: Parts,
    /// [`weight`] of `parts`.
    bytes: usize,
}

/// The file that stores the parts of a proxy.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    revision: u64,
    parts: Vec<Part>,
}

impl HeldParts {
    /// Before the proxy has any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The current parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The journal's revision behind them.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The first line of a proxy. Drops an incomplete change.
    pub fn hello(&mut self, node: &str, release: &str) -> Hello {
        self.coming = None;
        Hello {
            protocol: PROTOCOL,
            node: node.to_owned(),
            release: release.to_owned(),
            revision: self.revision,
            parts: self.parts.versions(),
            checkpoint: None,
        }
    }

    /// Processes a frame; returns the change when this frame completes it.
    ///
    /// # Errors
    /// [`ProtocolError`]; the caller must end the stream, and the current parts stay.
    pub fn take(&mut self, frame: PartsFrame) -> Result<Option<PartsChange>, ProtocolError> {
        let PartsFrame { nonce, revision, upserts, removes, last } = frame;
        let coming = self.coming.get_or_insert_with(|| PendingChange {
            nonce,
            upserts: BTreeMap::new(),
            removes: Vec::new(),
            bytes: 0,
        });
        if coming.nonce != nonce {
            return Err(ProtocolError::Interleaved { within: coming.nonce, got: nonce });
        }
        let arrived =
            upserts.iter().map(|part| weight(part)).chain(removes.iter().map(|name| named(name)));
        coming.bytes = arrived.fold(coming.bytes, usize::saturating_add);
        must_fit(coming.bytes)?;
        coming.removes.extend(removes);
        for part in upserts {
            if !part.holds() {
                return Err(ProtocolError::Altered(part.name.chars().take(120).collect()));
            }
            coming.upserts.insert(part.name.clone(), part);
        }
        let parts = coming.upserts.len().saturating_add(self.parts.len());
        if parts.max(coming.removes.len()) > MAX_PARTS {
            return Err(ProtocolError::TooLarge(MAX_PARTS));
        }
        if !last {
            return Ok(None);
        }
        let Some(PendingChange { upserts, removes, .. }) = self.coming.take() else {
            return Ok(None);
        };
        let (mut parts, mut bytes) = (self.parts.clone(), self.bytes);
        let known = |parts: &Parts, name: &str| parts.get(name).map_or(0, |part| weight(part));
        for name in &removes {
            bytes = bytes.saturating_sub(known(&parts, name));
            parts.remove(name);
        }
        for part in upserts.into_values() {
            bytes = bytes.saturating_sub(known(&parts, &part.name)).saturating_add(weight(&part));
            parts.insert(part);
        }
        must_fit(bytes)?;
        Ok(Some(PartsChange { nonce, revision, parts, bytes }))
    }

    /// Adopts a change.
    pub fn keep(&mut self, change: PartsChange) {
        self.revision = change.revision;
        self.parts = change.parts;
        self.bytes = change.bytes;
    }

    /// The current parts, for a file.
    ///
    /// # Errors
    /// They cannot be written as JSON, which does not happen for valid parts.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let parts = self.parts.iter().map(|part| Part::clone(part)).collect();
        serde_json::to_vec(&File { revision: self.revision, parts })
    }

    /// Reads the file. Every part is hashed again; parts that do not match their version are dropped, and
    /// their names returned.
    ///
    /// # Errors
    /// It is not such a file.
    pub fn from_json(bytes: &[u8]) -> Result<(Self, Vec<String>), serde_json::Error> {
        let File { revision, parts } = serde_json::from_slice(bytes)?;
        let (good, bad): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(Part::holds);
        let bytes = good.iter().map(weight).fold(0, usize::saturating_add);
        let held = Self { revision, parts: good.into_iter().collect(), bytes, coming: None };
        Ok((held, bad.into_iter().map(|part| part.name).collect()))
    }
}

fn must_fit(bytes: usize) -> Result<(), ProtocolError> {
    if bytes > MAX_BYTES { Err(ProtocolError::TooLong(MAX_BYTES)) } else { Ok(()) }
}

/// About as many bytes as a part takes in memory: a short text of JSON may become many times as long.
fn weight(part: &Part) -> usize {
    let (mut bytes, mut todo) =
        (named(&part.name).saturating_add(size_of::<Part>()), vec![&part.body]);
    while let Some(value) = todo.pop() {
        let own = match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => {
                todo.extend(values);
                0
            }
            Value::Object(fields) => {
                todo.extend(fields.values());
                fields.keys().map(|name| named(name)).fold(0, usize::saturating_add)
            }
        };
        bytes = bytes.saturating_add(size_of::<Value>()).saturating_add(own);
    }
    bytes
}

fn named(name: &str) -> usize {
    size_of::<String>().saturating_add(name.len())
}
