//! The codes of refusals.

pub use tamis_refused::Refused;

/// The codes of refusals: `trust.*` about the artifact, `assign.*` about its assignment. Stable: status,
/// metrics and documentation use them.
pub mod code {
    /// There is no signature.
    pub const UNSIGNED: &str = "trust.unsigned";
    /// Valid signatures, but of too few distinct keys.
    pub const THRESHOLD: &str = "trust.threshold";
    /// Signed by a key that the policy does not know, or no policy covers the filter.
    pub const UNKNOWN_KEY: &str = "trust.unknown-key";
    /// A signature names a trusted key but does not verify.
    pub const BAD_SIGNATURE: &str = "trust.bad-signature";
    /// A valid signature of something else.
    pub const WRONG_SUBJECT: &str = "trust.wrong-subject";
    /// The signed or pinned name or version differs from that in the manifest.
    pub const WRONG_NAME: &str = "trust.wrong-name";
    /// The bytes do not match the pin.
    pub const ALTERED: &str = "trust.altered";
    /// The digest is revoked, or its version is below the floor.
    pub const REVOKED_DIGEST: &str = "trust.revoked-digest";
    /// Signed by a revoked key.
    pub const REVOKED_KEY: &str = "trust.revoked-key";
    /// Signed by a key outside its period of validity.
    pub const EXPIRED: &str = "trust.expired";
    /// The available policies are older than one of them allows.
    pub const STALE: &str = "trust.stale";
    /// The manifest claims other imports or exports than the component has.
    pub const CLAIMS: &str = "trust.claims";
    /// It does not have the format, or exceeds its limits.
    pub const FORMAT: &str = "trust.format";

    /// There is no signature of a director.
    pub const ASSIGN_MISSING: &str = "assign.missing";
    /// No available envelope is an assignment signed by a key of the director.
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
    /// The assignment has expired, or is not valid yet.
    pub const ASSIGN_EXPIRED: &str = "assign.expired";
}
