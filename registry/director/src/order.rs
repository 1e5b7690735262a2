//! What a slot should run, and for which of its nodes.

use tamis_trust::{AssignmentMode, Digest, Name};

/// A slot of a service, and the group of its nodes that an assignment is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) slot: String,
    /// The rollout whose waves the nodes are in; `None`: all other nodes.
    pub(crate) rollout: Option<String>,
}

/// The desired content of a slot in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotOrder {
    pub(crate) filter: Name,
    pub(crate) digest: Digest,
    pub(crate) config: Digest,
    pub(crate) mode: AssignmentMode,
}
