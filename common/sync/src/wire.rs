//! The lines of a stream: one JSON object each, at most 4 MiB.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tamis_trust::Digest;
use thiserror::Error;

use crate::part::Part;
use crate::report::NodeReport;

/// The protocol of this release.
pub const PROTOCOL: u32 = 1;

/// A line from a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageFromNode {
    /// Its name and what it has; only as the first line.
    Hello(Hello),
    /// What became of a change.
    Outcome(ChangeOutcome),
    /// What it runs and its counts.
    Report(NodeReport),
}

/// The name of a proxy, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL`] of its release.
    pub protocol: u32,
    /// Its name, like `sidecar:shop/a/0`.
    pub node: String,
    /// Its release.
    pub release: String,
    /// The revision that it accepted last; 0 when there was none yet.
    pub revision: u64,
    /// The version of every part it has: only differences are sent.
    pub parts: BTreeMap<String, Digest>,
    /// The checkpoint of the log that it saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOutcome {
    /// The number of the change.
    pub nonce: u64,
    /// Whether its parts form a plan, which is now in use. Individual slots may still have refused their
    /// content.
    pub taken: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What every slot runs now.
    pub report: NodeReport,
}

/// A line to a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageToNode {
    /// A change of its plan.
    #[serde(rename = "push")]
    Parts(PartsFrame),
    /// The proxy is not served, and the stream ends.
    Refused {
        /// Stable name of the rule.
        code: String,
        /// What the rule requires.
        rule: String,
        /// What would satisfy it.
        remedy: String,
        /// Do not reconnect before this many milliseconds.
        retry_after_ms: u64,
    },
    /// A sign of life.
    Ping,
}

/// A part of a change. Frames with one nonce form one change, which is accepted when the last frame has
/// arrived, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartsFrame {
    /// The number of the change; it rises within a stream.
    pub nonce: u64,
    /// The journal's revision behind it.
    pub revision: u64,
    /// Parts to add or replace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upserts: Vec<Arc<Part>>,
    /// Names of parts to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<String>,
    /// Whether this frame completes the change.
    pub last: bool,
}

/// The other side violates the protocol; the stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// An answer to a change that is not in progress.
    #[error("the answer is for change {0}, which is not the one in progress")]
    Nonce(u64),
    /// A frame of another change inside a change.
    #[error("a frame of change {got} comes in the middle of change {within}")]
    Interleaved {
        /// The incomplete change.
        within: u64,
        /// The one received.
        got: u64,
    },
    /// A part does not match its version.
    #[error("part {0} does not match its version; it was altered on the way")]
    Altered(String),
    /// A change has more parts than a proxy accepts, or removes more.
    #[error("a change has or removes more than {0} parts")]
    TooLarge(usize),
    /// A change, or the plan after it, takes more memory than a proxy gives to one.
    #[error("a change, or the plan after it, takes more than {0} bytes")]
    TooLong(usize),
}
