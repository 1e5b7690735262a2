//! An assignment before it is signed.

use serde::Serialize;
use tamis_trust::{Assignment, AssignmentMode, Digest, Name};

use crate::record::AssignmentRecord;

/// An assignment to be signed and written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssignmentDraft {
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
    /// Seconds since the Unix epoch.
    pub issued: u64,
    /// Seconds since the Unix epoch.
    pub expires: u64,
    /// Whether its verdicts take effect.
    pub mode: AssignmentMode,
    /// Only for the nodes of this rollout's waves; `None`: for all others.
    pub rollout: Option<String>,
}

impl AssignmentDraft {
    /// The assignment that the director signs.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        Assignment {
            service: self.service.clone(),
            slot: self.slot.clone(),
            filter: self.filter.clone(),
            manifest: self.digest,
            config: self.config,
            version: self.version,
            issued: self.issued,
            expires: self.expires,
            mode: self.mode,
        }
    }

    /// The journal's record of it, once it is signed.
    #[must_use]
    pub fn record(self, envelopes: Vec<String>) -> AssignmentRecord {
        AssignmentRecord {
            service: self.service,
            slot: self.slot,
            filter: self.filter,
            digest: self.digest,
            config: self.config,
            version: self.version,
            expires: self.expires,
            mode: self.mode,
            rollout: self.rollout,
            envelopes,
        }
    }
}
