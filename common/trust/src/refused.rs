//! The answer no: a stable code, the rule, who set it and the way out.

use thiserror::Error;

/// Why a filter may not run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("refused ({code}): {rule}; set by {set_by}; to satisfy it: {remedy}")]
pub struct Refused {
    /// One of [`code`].
    pub code: &'static str,
    /// The rule that refused, and the evidence.
    pub rule: String,
    /// Who set that rule.
    pub set_by: String,
    /// What would satisfy it.
    pub remedy: String,
}

/// The codes a refusal may carry: `trust.*` about the artifact, `assign.*` about its assignment.
/// Stable: status, metrics and documentation name them.
pub mod code {
    /// No signature at all.
    pub const UNSIGNED: &str = "trust.unsigned";
    /// Good signatures, but by too few distinct keys.
    pub const THRESHOLD: &str = "trust.threshold";
    /// Signed by a key the policy does not know, or no policy speaks of the filter.
    pub const UNKNOWN_KEY: &str = "trust.unknown-key";
    /// Claims a trusted key, but the signature does not hold.
    pub const BAD_SIGNATURE: &str = "trust.bad-signature";
    /// A good signature about something else.
    pub const WRONG_SUBJECT: &str = "trust.wrong-subject";
    /// The name or version signed or pinned is not the manifest's.
    pub const WRONG_NAME: &str = "trust.wrong-name";
    /// The bytes are not the pinned ones.
    pub const ALTERED: &str = "trust.altered";
    /// The digest was withdrawn, or its version lies below the floor.
    pub const REVOKED_DIGEST: &str = "trust.revoked-digest";
    /// Signed by a key that was withdrawn.
    pub const REVOKED_KEY: &str = "trust.revoked-key";
    /// Signed by a key outside its time.
    pub const EXPIRED: &str = "trust.expired";
    /// The policies at hand are older than one of them lets them be.
    pub const STALE: &str = "trust.stale";
    /// The manifest claims other imports or exports than the component has.
    pub const CLAIMS: &str = "trust.claims";
    /// Not the format, or beyond its limits.
    pub const FORMAT: &str = "trust.format";

    /// No director's signature at all.
    pub const ASSIGN_MISSING: &str = "assign.missing";
    /// No envelope at hand is an assignment signed by a key of the director.
    pub const ASSIGN_SIGNATURE: &str = "assign.signature";
    /// Assigned by too few distinct keys of the director.
    pub const ASSIGN_THRESHOLD: &str = "assign.threshold";
    /// Assigned to another service.
    pub const ASSIGN_OTHER_SERVICE: &str = "assign.other-service";
    /// Assigned to another slot of the service.
    pub const ASSIGN_OTHER_SLOT: &str = "assign.other-slot";
    /// Another manifest is assigned.
    pub const ASSIGN_OTHER_DIGEST: &str = "assign.other-digest";
    /// Another configuration is assigned.
    pub const ASSIGN_OTHER_CONFIG: &str = "assign.other-config";
    /// A higher version was seen before.
    pub const ASSIGN_ROLLBACK: &str = "assign.rollback";
    /// The assignment holds no more, or not yet.
    pub const ASSIGN_EXPIRED: &str = "assign.expired";
}
