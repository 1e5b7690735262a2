//! The lines of a stream: one JSON object each, at most 4 MiB.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tamis_trust::Digest;
use thiserror::Error;

use crate::part::Part;
use crate::report::NodeReported;

/// The protocol that this release speaks.
pub const PROTOCOL: u32 = 1;

/// What a proxy says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromNode {
    /// Who it is and what it has; its first line and no other.
    Hello(Hello),
    /// What became of a push.
    Outcome(Outcome),
    /// What it runs and counted.
    Report(NodeReported),
}

/// Who a proxy is, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL`] of its release.
    pub protocol: u32,
    /// Its name, like `sidecar:shop/a/0`.
    pub node: String,
    /// Its release.
    pub release: String,
    /// The revision that it took last; 0 when none.
    pub revision: u64,
    /// The version of every part it has: only what differs is sent.
    pub parts: BTreeMap<String, Digest>,
    /// The log's checkpoint that it saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of which push.
    pub nonce: u64,
    /// Whether its parts make a plan, which is in use now. Slots may have refused what is in them all the same.
    pub taken: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What every slot runs now.
    pub report: NodeReported,
}

/// What a proxy is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToNode {
    /// What changes for it.
    Push(Push),
    /// It is not served, and the stream ends.
    Refused {
        /// Stable name of the rule.
        code: String,
        /// What it asks for.
        rule: String,
        /// What would satisfy it.
        remedy: String,
        /// Not before this many milliseconds.
        retry_after_ms: u64,
    },
    /// The stream is alive.
    Ping,
}

/// A part of a change. Frames of one nonce are one change, taken when the last is there, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Which change; it rises within a stream.
    pub nonce: u64,
    /// The journal's revision that it follows from.
    pub revision: u64,
    /// Parts that come, or come in the place of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upserts: Vec<Arc<Part>>,
    /// Names of parts that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<String>,
    /// Whether the change is whole with this frame.
    pub last: bool,
}

/// The other end does not keep to the protocol; the stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// An answer to what was not asked.
    #[error("push {0} is answered, which is not the one under way")]
    Nonce(u64),
    /// A frame of another change in the middle of one.
    #[error("push {got} comes in the middle of push {within}")]
    Interleaved {
        /// The change that is not whole.
        within: u64,
        /// The one that came.
        got: u64,
    },
    /// A part has another digest than its version says.
    #[error("part {0} is not what its version says; it was altered on the way")]
    Altered(String),
    /// A change has more than a proxy can hold.
    #[error("a push has more than {0} parts")]
    TooLarge(usize),
}
