//! A proxy's half of a stream: its parts, which change as a whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::part::{Part, Parts};
use crate::wire::{Hello, PROTOCOL, ProtocolError, Push};

/// Most parts of a proxy.
pub const MAX_PARTS: usize = 200_000;

/// The parts of a proxy, and those of an incomplete change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldParts {
    revision: u64,
    parts: Parts,
    /// A change in progress, on top of `parts`.
    coming: Option<PendingChange>,
}

#[derive(Debug, Clone, PartialEq)]
struct PendingChange {
    nonce: u64,
    upserts: BTreeMap<String, Arc<Part>>,
    removes: Vec<String>,
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
    pub fn take(&mut self, push: Push) -> Result<Option<PartsChange>, ProtocolError> {
        let Push { nonce, revision, upserts, removes, last } = push;
        let coming = self.coming.get_or_insert_with(|| PendingChange {
            nonce,
            upserts: BTreeMap::new(),
            removes: Vec::new(),
        });
        if coming.nonce != nonce {
            return Err(ProtocolError::Interleaved { within: coming.nonce, got: nonce });
        }
        coming.removes.extend(removes);
        for part in upserts {
            if !part.holds() {
                return Err(ProtocolError::Altered(part.name.chars().take(120).collect()));
            }
            coming.upserts.insert(part.name.clone(), part);
        }
        if coming.upserts.len().saturating_add(self.parts.len()) > MAX_PARTS {
            return Err(ProtocolError::TooLarge(MAX_PARTS));
        }
        if !last {
            return Ok(None);
        }
        let Some(PendingChange { upserts, removes, .. }) = self.coming.take() else {
            return Ok(None);
        };
        let mut parts = self.parts.clone();
        removes.iter().for_each(|name| parts.remove(name));
        upserts.into_values().for_each(|part| parts.insert(part));
        Ok(Some(PartsChange { nonce, revision, parts }))
    }

    /// Adopts a change.
    pub fn keep(&mut self, change: PartsChange) {
        self.revision = change.revision;
        self.parts = change.parts;
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
        let held = Self { revision, parts: good.into_iter().collect(), coming: None };
        Ok((held, bad.into_iter().map(|part| part.name).collect()))
    }
}
