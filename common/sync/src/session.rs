//! The director's half of a stream: what one proxy has, and what it still needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use tamis_trust::Digest;

use crate::part::{Part, Parts};
use crate::wire::{ChangeOutcome, Hello, PartsFrame, ProtocolError};

/// Approximate bytes of parts per frame; a larger part gets a frame of its own.
const FRAME_BYTES: usize = 1 << 20;

/// What one proxy has and was sent. Only one change is in progress at a time: what arises meanwhile is part
/// of the next.
#[derive(Debug)]
pub struct Session {
    has: PeerParts,
    nonce: u64,
    /// The parts being sent, until the proxy answers.
    sent: Option<Parts>,
    /// The parts that it refused as a whole; they are not sent again unchanged.
    refused: Option<Parts>,
}

/// What a proxy has.
#[derive(Debug)]
enum PeerParts {
    /// As it reported.
    Reported(BTreeMap<String, Digest>),
    /// What it was sent and acknowledged.
    Acknowledged(Parts),
}

impl PeerParts {
    /// The parts to send, and the names of parts to remove.
    fn lacks(&self, wanted: &Parts) -> (Vec<Arc<Part>>, Vec<String>) {
        match self {
            Self::Acknowledged(parts) => wanted.since(parts),
            Self::Reported(versions) => {
                let lacks = |part: &&Arc<Part>| versions.get(&part.name) != Some(&part.version);
                let gone = versions.keys().filter(|name| wanted.get(name).is_none());
                (wanted.iter().filter(lacks).cloned().collect(), gone.cloned().collect())
            }
        }
    }

    /// Whether it has exactly these parts.
    fn is(&self, wanted: &Parts) -> bool {
        let (lacks, gone) = self.lacks(wanted);
        lacks.is_empty() && gone.is_empty()
    }
}

impl Session {
    /// The session of a proxy, from its first line.
    #[must_use]
    pub fn new(hello: &Hello) -> Self {
        Self { has: PeerParts::Reported(hello.parts.clone()), nonce: 0, sent: None, refused: None }
    }

    /// The frames that change the proxy's parts to `wanted`; `None` when it has them, refused them, or has
    /// not answered yet.
    pub fn frames(&mut self, wanted: &Parts, revision: u64) -> Option<Vec<PartsFrame>> {
        if self.sent.is_some() {
            return None;
        }
        let (upserts, removes) = self.has.lacks(wanted);
        let refused = self.refused.clone().map(PeerParts::Acknowledged);
        if upserts.is_empty() && removes.is_empty() {
            // The reported parts equal the wanted ones: from now on, parts shared in memory need no
            // comparison.
            self.has = PeerParts::Acknowledged(wanted.clone());
            return None;
        }
        if refused.is_some_and(|refused| refused.is(wanted)) {
            return None;
        }
        self.nonce = self.nonce.wrapping_add(1);
        let mut frames = vec![PartsFrame {
            nonce: self.nonce,
            revision,
            upserts: Vec::new(),
            removes,
            last: false,
        }];
        let mut bytes = 0_usize;
        for part in upserts {
            let size = part.name.len().saturating_add(part.body.to_string().len());
            if bytes > 0 && bytes.saturating_add(size) > FRAME_BYTES {
                frames.push(PartsFrame {
                    nonce: self.nonce,
                    revision,
                    upserts: Vec::new(),
                    removes: Vec::new(),
                    last: false,
                });
                bytes = 0;
            }
            bytes = bytes.saturating_add(size);
            if let Some(frame) = frames.last_mut() {
                frame.upserts.push(part);
            }
        }
        if let Some(frame) = frames.last_mut() {
            frame.last = true;
        }
        self.sent = Some(wanted.clone());
        Some(frames)
    }

    /// Processes the outcome of the change in progress.
    ///
    /// # Errors
    /// [`ProtocolError::Nonce`] when it names another change.
    pub fn acknowledge(&mut self, outcome: &ChangeOutcome) -> Result<(), ProtocolError> {
        if outcome.nonce != self.nonce {
            return Err(ProtocolError::Nonce(outcome.nonce));
        }
        let sent = self.sent.take().ok_or(ProtocolError::Nonce(outcome.nonce))?;
        if outcome.taken {
            self.has = PeerParts::Acknowledged(sent);
            self.refused = None;
        } else {
            self.refused = Some(sent);
        }
        Ok(())
    }

    /// Whether a change is in progress.
    #[must_use]
    pub fn outstanding(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether the proxy has exactly these parts.
    #[must_use]
    pub fn is_current(&self, wanted: &Parts) -> bool {
        self.sent.is_none() && self.has.is(wanted)
    }
}
