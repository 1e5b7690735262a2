//! What the director writes into the journal, and reads back.
//!
//! A record is a kind and a JSON body. Fields may be added to a body; one that is missing must have a
//! default, since what was written stays as it is. Fields a reader does not know are ignored.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_trust::{Digest, Mode, Name, Version};
use thiserror::Error;

use crate::needs::Need;
use crate::rollout::{Event, Outcome, Rollout};
use tamis_sync::NodeReported;

mod applied;

pub use applied::{Applied, AppliedDocument, AppliedFile};

/// The most bytes a body may have as JSON. An entry of the journal has at most 65,535; the difference is
/// for its revision, time, actor and hashes.
pub const MAX_BODY_BYTES: usize = 60_000;
/// The most bytes of one document or file.
pub const MAX_TEXT_BYTES: usize = 48 * 1024;

/// A body cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BodyError {
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
    /// It is not what its kind says.
    #[error("a {kind} record cannot be read: {reason}")]
    Malformed {
        /// Kind of the record.
        kind: String,
        /// What is wrong, cut to 300 characters.
        reason: String,
    },
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident = $kind:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Body { $($(#[$doc])* $name($name),)* }

        impl Body {
            /// The kind of its record.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// Its body as JSON.
            ///
            /// # Errors
            /// [`BodyError::TooLarge`].
            pub fn to_body(&self) -> Result<Value, BodyError> {
                match self { $(Self::$name(body) => written($kind, body),)* }
            }

            /// Reads a record; none when its kind is not one of the director's.
            ///
            /// # Errors
            /// [`BodyError::Malformed`].
            pub fn from_body(kind: &str, body: &Value) -> Result<Option<Self>, BodyError> {
                match kind {
                    $($kind => read(kind, body).map(|body| Some(Self::$name(body))),)*
                    _ => Ok(None),
                }
            }
        }

        $(impl From<$name> for Body {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

bodies! {
    /// Documents were put in force or taken out.
    Applied = "applied",
    /// A filter of a service resolves to this digest.
    Pinned = "pinned",
    /// It no longer does.
    Unpinned = "unpinned",
    /// A change waits for others to agree.
    Proposed = "proposed",
    /// The entry's actor agrees to a change.
    Approved = "approved",
    /// A rollout began.
    RolloutStarted = "rollout-started",
    /// A rollout took a step that is not its last.
    RolloutMoved = "rollout-moved",
    /// A rollout ended.
    RolloutEnded = "rollout-ended",
    /// A digest or a key was withdrawn.
    Revoked = "revoked",
    /// A proxy said what it runs.
    NodeReported = "node-reported",
    /// Proxies connected to a replica, or left it.
    NodeConnections = "node-connections",
    /// A slot of a service was assigned.
    Assigned = "assigned",
    /// All slots of a service, or of all of them, are to be assigned again, in a higher epoch.
    Reassigned = "reassigned",
}

fn written<T: Serialize>(kind: &'static str, body: &T) -> Result<Value, BodyError> {
    let malformed = |error: serde_json::Error| BodyError::Malformed {
        kind: kind.to_owned(),
        reason: short(&error.to_string()),
    };
    let value = serde_json::to_value(body).map_err(malformed)?;
    match value.to_string().len() {
        bytes if bytes > MAX_BODY_BYTES => Err(BodyError::TooLarge { kind, bytes }),
        _ => Ok(value),
    }
}

fn read<T: DeserializeOwned>(kind: &str, body: &Value) -> Result<T, BodyError> {
    T::deserialize(body).map_err(|error| BodyError::Malformed {
        kind: kind.to_owned(),
        reason: short(&error.to_string()),
    })
}

pub(crate) fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// A filter of a service resolved to a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// `namespace/name` of a service or gateway; `*` for all that have no pin of their own.
    pub service: String,
    /// The filter's name.
    pub filter: Name,
    /// Version of the artifact.
    pub version: Version,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Whoever pinned knew that it is older than what was pinned before.
    #[serde(default)]
    pub allow_older: bool,
    /// It was pinned to go back to what was pinned before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rollback: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A pin taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// As it was pinned.
    pub service: String,
    /// The filter's name.
    pub filter: Name,
}

/// Consent to a change. Whose it is says the entry's actor, never the body: nobody consents for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// [`Change::subject`](crate::Change::subject) of the change.
    pub subject: Digest,
}

/// A change that somebody would make and others have to agree to first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// [`Change::subject`](crate::Change::subject) of the change.
    pub subject: Digest,
    /// What one must hold a right to before one agrees to it.
    pub needs: Vec<Need>,
}

/// The beginning of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStarted {
    /// What is rolled out, where and how.
    pub rollout: Rollout,
}

/// A step of a rollout that is not its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutMoved {
    /// Its name.
    pub rollout: String,
    /// What made it move.
    pub event: Event,
    /// In words.
    pub why: String,
}

/// The end of a rollout. `done` pins its digest for every service it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEnded {
    /// Its name.
    pub rollout: String,
    /// How.
    pub outcome: Outcome,
    /// In words.
    pub why: String,
}

/// Proxies that connected to a replica of the registry, or left it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConnections {
    /// The replica, by its id.
    pub replica: String,
    /// Proxies that connected to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    /// Proxies that left it, and came back to none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// A withdrawal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// What is withdrawn.
    #[serde(flatten)]
    pub what: Withdrawn,
    /// In words.
    pub reason: String,
    /// Whether what runs has to end; otherwise nothing new is pinned. What was written before this was said did end.
    #[serde(default = "yes")]
    pub now: bool,
}

fn yes() -> bool {
    true
}

/// What is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Withdrawn {
    /// A manifest: at once, everywhere.
    Digest {
        /// Its digest.
        digest: Digest,
    },
    /// An author's key.
    Key {
        /// Its id.
        key: String,
        /// What the log recorded before this index still counts; none: nothing it ever signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_index: Option<u64>,
    },
}

/// What is assigned from here on is above everything assigned before, also by a registry whose journal was lost: somebody
/// agreed that this journal is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassigned {
    /// `namespace/name` of a service or gateway; `*` for all.
    pub service: String,
    /// The epoch, higher than the one before.
    pub epoch: u64,
    /// In words.
    #[serde(default)]
    pub reason: String,
}

/// A slot of a service was assigned, and signed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
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
    /// Higher than every one before it of this slot of this service.
    pub version: u64,
    /// Holds before this moment; seconds since the Unix epoch.
    pub expires: u64,
    /// Whether its verdicts count.
    pub mode: Mode,
    /// For the nodes of this rollout's waves only; none: for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Signed assignments, one a key of the director.
    pub envelopes: Vec<String>,
}

#[cfg(test)]
mod tests;
