//! The answer no of the director, in the form that trust gives its own.

pub use tamis_trust::Refused;

/// The codes a refusal of the director may carry. Stable: status, metrics and documentation name them.
pub mod code {
    /// A chain that has filters would have none.
    pub const EMPTY_CHAIN: &str = "guard.empty-chain";
    /// Too many services would change at once.
    pub const BLAST_RADIUS: &str = "guard.blast-radius";
    /// Too few people agreed.
    pub const APPROVALS: &str = "guard.approvals";
    /// Something that runs would end by a revocation.
    pub const REVOKE: &str = "guard.revoke";
    /// What was, is or would be pinned is revoked.
    pub const PIN_REVOKED: &str = "pin.revoked";
    /// An older version than the one pinned.
    pub const PIN_OLDER: &str = "pin.older";
    /// A rollout is at work on that filter.
    pub const PIN_ROLLOUT: &str = "pin.rollout";
    /// Nothing to go back to.
    pub const ROLLBACK_NONE: &str = "rollback.none";
    /// The name was used before.
    pub const ROLLOUT_NAME: &str = "rollout.name";
    /// Another rollout is at work on that filter.
    pub const ROLLOUT_BUSY: &str = "rollout.busy";
    /// It would not start from what is pinned.
    pub const ROLLOUT_FROM: &str = "rollout.from";
    /// It does not allow that move.
    pub const ROLLOUT_MOVE: &str = "rollout.move";
    /// There is no such service to be assigned again.
    pub const REASSIGN_SERVICE: &str = "reassign.service";
    /// There is no epoch left.
    pub const REASSIGN_EPOCH: &str = "reassign.epoch";
    /// Whoever asked for a change approves it.
    pub const APPROVAL_OWN: &str = "approval.own";
    /// The documents let nothing run in the slot.
    pub const SLOT_REFUSED: &str = "assign.refused";
    /// Proxies of one service want different things in one slot.
    pub const AMBIGUOUS: &str = "assign.ambiguous";
}
