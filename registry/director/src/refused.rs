//! Refusals of the director, in the form of the trust crate's.

pub use tamis_trust::Refused;

/// The codes of the director's refusals. Stable: status, metrics and documentation use them.
pub mod code {
    /// A chain that has filters would lose all of them.
    pub const EMPTY_CHAIN: &str = "guard.empty-chain";
    /// What decides who may pass would no longer be asked about some requests.
    pub const PROTECTION: &str = "guard.protection";
    /// Too many services would change at once.
    pub const BLAST_RADIUS: &str = "guard.blast-radius";
    /// What runs would be refused under changed trust policies.
    pub const TRUST: &str = "guard.trust";
    /// Too few people have approved.
    pub const APPROVALS: &str = "guard.approvals";
    /// A revocation would stop something that runs.
    pub const REVOKE: &str = "guard.revoke";
    /// The digest that is, was or would be pinned is revoked.
    pub const PIN_REVOKED: &str = "pin.revoked";
    /// An older version than the one pinned.
    pub const PIN_OLDER: &str = "pin.older";
    /// A rollout of that filter is in progress.
    pub const PIN_ROLLOUT: &str = "pin.rollout";
    /// There is no earlier pin.
    pub const ROLLBACK_NONE: &str = "rollback.none";
    /// The name was used before.
    pub const ROLLOUT_NAME: &str = "rollout.name";
    /// Another rollout of that filter is in progress.
    pub const ROLLOUT_BUSY: &str = "rollout.busy";
    /// It would not start from what is pinned.
    pub const ROLLOUT_FROM: &str = "rollout.from";
    /// It names too many services, or one that there is not.
    pub const ROLLOUT_SERVICE: &str = "rollout.service";
    /// It does not allow that move.
    pub const ROLLOUT_MOVE: &str = "rollout.move";
    /// There is no such service.
    pub const REASSIGN_SERVICE: &str = "reassign.service";
    /// The numbers of epochs are used up.
    pub const REASSIGN_EPOCH: &str = "reassign.epoch";
    /// The person who asked for a change approves it.
    pub const APPROVAL_OWN: &str = "approval.own";
    /// The documents allow nothing to run in the slot.
    pub const SLOT_REFUSED: &str = "assign.refused";
    /// Proxies of one service need different filters in one slot.
    pub const AMBIGUOUS: &str = "assign.ambiguous";
}
