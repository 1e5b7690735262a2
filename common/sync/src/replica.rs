//! A proxy's half of a stream: the parts it has, changed as a whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::part::{Part, Parts};
use crate::wire::{Hello, PROTOCOL, ProtocolError, Push};

/// The most parts of a proxy.
pub const MAX_PARTS: usize = 200_000;

/// The parts that a proxy has, and those of a change that is not whole yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replica {
    revision: u64,
    parts: Parts,
    /// A change under way, on top of `parts`.
    coming: Option<Coming>,
}

#[derive(Debug, Clone, PartialEq)]
struct Coming {
    nonce: u64,
    upserts: BTreeMap<String, Arc<Part>>,
    removes: Vec<String>,
}

/// A change that is whole: what the proxy would have with it. It has it once it says so with [`Replica::keep`].
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// To be named in the outcome.
    pub nonce: u64,
    /// The journal's revision that it follows from.
    pub revision: u64,
    /// All parts with it.
    pub parts: Parts,
}

/// The file a replica is kept in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    revision: u64,
    parts: Vec<Part>,
}

impl Replica {
    /// One that has nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The parts it has.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The journal's revision that they follow from.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What a proxy says first. A change that was not whole before is forgotten.
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

    /// Takes in a frame; the change, when it is whole with it.
    ///
    /// # Errors
    /// [`ProtocolError`]; the stream is to be ended then, and what it has stays.
    pub fn take(&mut self, push: Push) -> Result<Option<Change>, ProtocolError> {
        let Push { nonce, revision, upserts, removes, last } = push;
        let coming = self.coming.get_or_insert_with(|| Coming {
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
        if coming.upserts.len() + self.parts.len() > MAX_PARTS {
            return Err(ProtocolError::TooLarge(MAX_PARTS));
        }
        if !last {
            return Ok(None);
        }
        let Some(Coming { upserts, removes, .. }) = self.coming.take() else { return Ok(None) };
        let mut parts = self.parts.clone();
        removes.iter().for_each(|name| parts.remove(name));
        upserts.into_values().for_each(|part| parts.insert(part));
        Ok(Some(Change { nonce, revision, parts }))
    }

    /// Has a change from now on.
    pub fn keep(&mut self, change: Change) {
        self.revision = change.revision;
        self.parts = change.parts;
    }

    /// What it has, for a file.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which parts always can.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let parts = self.parts.iter().map(|part| Part::clone(part)).collect();
        serde_json::to_vec(&File { revision: self.revision, parts })
    }

    /// Reads the file again. Every part is hashed again; names of those that are not what their version says are answered
    /// beside, and they are left out.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn from_json(bytes: &[u8]) -> Result<(Self, Vec<String>), serde_json::Error> {
        let File { revision, parts } = serde_json::from_slice(bytes)?;
        let (good, bad): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(Part::holds);
        let replica = Self { revision, parts: good.into_iter().collect(), coming: None };
        Ok((replica, bad.into_iter().map(|part| part.name).collect()))
    }
}
