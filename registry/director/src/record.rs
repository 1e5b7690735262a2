//! The director's records in the journal.
//!
//! A record is a kind and a JSON body. Fields may be added to a body; a missing one must have a default,
//! since old entries stay unchanged. A reader ignores fields that it does not know.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_trust::{AssignmentMode, Digest, Name, Version};
use thiserror::Error;

use crate::need::RequiredRight;
use crate::rollout::{Event, Rollout, RolloutOutcome};
use tamis_sync::NodeReport;

mod applied;

pub use applied::{ApplyRecord, DocumentRecord, FileRecord, ParsedOnce};

/// Most bytes of a body as JSON. An entry of the journal has at most 65,535; the difference is for its
/// revision, time, actor and hashes.
pub const MAX_BODY_BYTES: usize = 60_000;
/// Most bytes of one document or file.
pub const MAX_TEXT_BYTES: usize = 48 * 1024;

/// A body cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It would not fit into an entry of the journal.
    #[error("a {kind} record has {bytes} bytes, more than the limit of {MAX_BODY_BYTES}; split it")]
    TooLarge {
        /// Kind of the record.
        kind: &'static str,
        /// Its size as JSON.
        bytes: usize,
    },
    /// A document or file is too long for any record.
    #[error("{key} has {bytes} bytes, more than the limit of {MAX_TEXT_BYTES}; split it")]
    Text {
        /// Key of the document or path of the file.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// It does not have the form of its kind.
    #[error("a {kind} record cannot be read: {reason}")]
    Malformed {
        /// Kind of the record.
        kind: String,
        /// The fault, cut to 300 characters.
        reason: String,
    },
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident($body:ident) = $kind:literal,)*) => {
        /// An event.
        #[derive(Debug, Clone, PartialEq)]
        pub enum RecordBody { $($(#[$doc])* $name($body),)* }

        impl RecordBody {
            /// The kind of its record.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// Its body as JSON.
            ///
            /// # Errors
            /// [`RecordError::TooLarge`].
            pub fn to_body(&self) -> Result<Value, RecordError> {
                match self { $(Self::$name(body) => written($kind, body),)* }
            }

            /// Reads a record; `None` when its kind is not one of the director's.
            ///
            /// # Errors
            /// [`RecordError::Malformed`].
            pub fn from_body(kind: &str, body: &Value) -> Result<Option<Self>, RecordError> {
                match kind {
                    $($kind => read(kind, body).map(|body| Some(Self::$name(body))),)*
                    _ => Ok(None),
                }
            }
        }

        $(impl From<$body> for RecordBody {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })*
    };
}

bodies! {
    /// Documents were applied or removed.
    Applied(ApplyRecord) = "applied",
    /// A digest was pinned for a filter of a service.
    Pinned(PinRecord) = "pinned",
    /// The pin was removed.
    Unpinned(UnpinRecord) = "unpinned",
    /// A change waits for approvals.
    Proposed(ProposalRecord) = "proposed",
    /// The entry's actor approves a change.
    Approved(ApprovalRecord) = "approved",
    /// A rollout began.
    RolloutStarted(RolloutStartRecord) = "rollout-started",
    /// A rollout took a step that is not its last.
    RolloutMoved(RolloutMoveRecord) = "rollout-moved",
    /// A rollout ended.
    RolloutEnded(RolloutEndRecord) = "rollout-ended",
    /// A digest or a key was revoked.
    Revoked(RevocationRecord) = "revoked",
    /// A proxy reported what it runs.
    NodeReport(NodeReport) = "node-reported",
    /// Proxies connected to a replica, or disconnected.
    NodeConnections(NodeConnections) = "node-connections",
    /// A slot of a service was assigned.
    Assigned(AssignmentRecord) = "assigned",
    /// All slots of a service, or of all services, must be assigned again, in a higher epoch.
    Reassigned(ReassignRecord) = "reassigned",
}

fn written<T: Serialize>(kind: &'static str, body: &T) -> Result<Value, RecordError> {
    let malformed = |error: serde_json::Error| RecordError::Malformed {
        kind: kind.to_owned(),
        reason: short(&error.to_string()),
    };
    let value = serde_json::to_value(body).map_err(malformed)?;
    match value.to_string().len() {
        bytes if bytes > MAX_BODY_BYTES => Err(RecordError::TooLarge { kind, bytes }),
        _ => Ok(value),
    }
}

fn read<T: DeserializeOwned>(kind: &str, body: &Value) -> Result<T, RecordError> {
    T::deserialize(body).map_err(|error| RecordError::Malformed {
        kind: kind.to_owned(),
        reason: short(&error.to_string()),
    })
}

pub(crate) fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// A filter of a service resolves to a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// `namespace/name` of a service or gateway; `*` for all that have no pin of their own.
    pub service: String,
    /// The filter's name.
    pub filter: Name,
    /// Version of the artifact.
    pub version: Version,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The person allowed a version older than the one pinned before.
    #[serde(default)]
    pub allow_older: bool,
    /// It is a rollback to an earlier pin.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rollback: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A removed pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpinRecord {
    /// As it was pinned.
    pub service: String,
    /// The filter's name.
    pub filter: Name,
}

/// An approval of a change. The entry's actor is the approver, never the body: nobody approves for another
/// person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRecord {
    /// [`Change::subject`](crate::Change::subject) of the change.
    pub subject: Digest,
}

/// A change that somebody requests and that others have to approve first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// [`Change::subject`](crate::Change::subject) of the change.
    pub subject: Digest,
    /// What an approver needs `approve` for.
    pub needs: Vec<RequiredRight>,
}

/// The start of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStartRecord {
    /// What is rolled out, where and how.
    pub rollout: Rollout,
    /// What the candidate may do more than the one before, as it was agreed to, each in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grown: Vec<String>,
}

/// A step of a rollout that is not its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutMoveRecord {
    /// Its name.
    pub rollout: String,
    /// The event that moved it.
    pub event: Event,
    /// The reason.
    pub why: String,
}

/// The end of a rollout. `done` pins its digest for every service that it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEndRecord {
    /// Its name.
    pub rollout: String,
    /// The outcome.
    pub outcome: RolloutOutcome,
    /// The reason.
    pub why: String,
}

/// Proxies that connected to a replica of the registry, or disconnected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConnections {
    /// The replica, by its id.
    pub replica: String,
    /// Proxies that connected to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    /// Proxies that disconnected and did not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRecord {
    /// What is revoked.
    #[serde(flatten)]
    pub what: RevocationTarget,
    /// The reason.
    pub reason: String,
    /// Whether what runs must stop; otherwise it is only no longer pinned. In records without this field it
    /// does stop.
    #[serde(default = "yes")]
    pub now: bool,
}

fn yes() -> bool {
    true
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RevocationTarget {
    /// A manifest: at once, everywhere.
    Digest {
        /// Its digest.
        digest: Digest,
    },
    /// An author's key.
    Key {
        /// Its id.
        key: String,
        /// Signatures that the log recorded before this index stay valid; `None`: no signature of the key
        /// does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_index: Option<u64>,
    },
}

/// An operator decided that this journal is the one to follow: the versions of later assignments lie above those of all
/// earlier ones, including those of a registry whose journal was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignRecord {
    /// `namespace/name` of a service or gateway; `*` for all.
    pub service: String,
    /// The epoch, higher than the previous one.
    pub epoch: u64,
    /// The reason.
    #[serde(default)]
    pub reason: String,
}

/// An assignment of a slot of a service, with its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentRecord {
    /// `namespace/name` of the service or gateway.
    pub service: String,
    /// Its slot.
    pub slot: String,
    /// The filter's name.
    pub filter: Name,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the configuration.
    pub config: Digest,
    /// Higher than every earlier version of this slot of this service.
    pub version: u64,
    /// Valid before this moment; seconds since the Unix epoch.
    pub expires: u64,
    /// Whether its verdicts take effect.
    pub mode: AssignmentMode,
    /// Only for the nodes of this rollout's waves; `None`: for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Signed assignments, one per key of the director.
    pub envelopes: Vec<String>,
}

#[cfg(test)]
mod tests;
