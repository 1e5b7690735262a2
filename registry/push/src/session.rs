//! The director's half of a stream: what one proxy has, and what it lacks.

use std::collections::BTreeMap;

use tamis_trust::Digest;

use crate::part::{Part, Parts};
use crate::wire::{Hello, Outcome, ProtocolError, Push};

/// How many bytes of parts go into one frame, about; a part of more has a frame of its own.
const FRAME_BYTES: usize = 1 << 20;

/// What one proxy has and was sent. One change is under way at a time: what comes meanwhile is in the next.
#[derive(Debug)]
pub struct Session {
    has: BTreeMap<String, Digest>,
    nonce: u64,
    /// What it is being sent, until it answers.
    sent: Option<BTreeMap<String, Digest>>,
    /// What it refused as a whole; it is sent again when it is something else.
    refused: Option<BTreeMap<String, Digest>>,
}

impl Session {
    /// The session of a proxy that says hello.
    #[must_use]
    pub fn new(hello: &Hello) -> Self {
        Self { has: hello.parts.clone(), nonce: 0, sent: None, refused: None }
    }

    /// The frames that lead from what the proxy has to `wanted`; none when it has that, refused that, or has not answered
    /// yet.
    pub fn push(&mut self, wanted: &Parts, revision: u64) -> Option<Vec<Push>> {
        if self.sent.is_some() {
            return None;
        }
        let versions = wanted.versions();
        if versions == self.has || self.refused.as_ref() == Some(&versions) {
            return None;
        }
        let differs = |part: &Part| self.has.get(&part.name) != Some(&part.version);
        let gone = self.has.keys().filter(|name| !versions.contains_key(*name));
        self.nonce += 1;
        let mut frames = vec![Push {
            nonce: self.nonce,
            revision,
            upserts: Vec::new(),
            removes: gone.cloned().collect(),
            last: false,
        }];
        let mut bytes = 0;
        for part in wanted.iter().filter(|part| differs(part)) {
            let size = part.name.len() + part.body.to_string().len();
            if bytes > 0 && bytes + size > FRAME_BYTES {
                frames.push(Push {
                    nonce: self.nonce,
                    revision,
                    upserts: Vec::new(),
                    removes: Vec::new(),
                    last: false,
                });
                bytes = 0;
            }
            bytes += size;
            if let Some(frame) = frames.last_mut() {
                frame.upserts.push(Part::clone(part));
            }
        }
        if let Some(frame) = frames.last_mut() {
            frame.last = true;
        }
        self.sent = Some(versions);
        Some(frames)
    }

    /// Takes in what became of the change under way.
    ///
    /// # Errors
    /// [`ProtocolError::Nonce`] when another one is answered.
    pub fn answered(&mut self, outcome: &Outcome) -> Result<(), ProtocolError> {
        if outcome.nonce != self.nonce {
            return Err(ProtocolError::Nonce(outcome.nonce));
        }
        let sent = self.sent.take().ok_or(ProtocolError::Nonce(outcome.nonce))?;
        if outcome.taken {
            self.has = sent;
            self.refused = None;
        } else {
            self.refused = Some(sent);
        }
        Ok(())
    }

    /// Whether a change is under way.
    #[must_use]
    pub fn outstanding(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether the proxy has exactly that.
    #[must_use]
    pub fn is_current(&self, wanted: &Parts) -> bool {
        self.sent.is_none() && wanted.versions() == self.has
    }
}
