//! Whether a filter may run: keys, signing, verification and policies.
//!
//! An author signs the digest of a manifest. Whoever is about to run the filter calls [`verify`] with the
//! pinned digest, the bytes and the policies in force. The result is [`VerifiedFilter`], or a [`Refused`] that
//! names the rule, who set it and what would satisfy it. There is no third result: no fallback to another
//! format, and nothing is allowed when no policy exists.
//!
//! This decides *what* may run. *Where* it runs, with which configuration and until when, is decided by the
//! director in a signed [`Assignment`], which [`verify_assignment`] checks with other keys. A node that
//! follows a director checks both.
//!
//! This crate opens no file and no socket and has no clock: bytes and the time (`now`, seconds since the
//! Unix epoch) are arguments, so the CLI, the registry and the proxy decide alike.
//!
//! ```
//! use tamis_trust::{build, sign, verify, BuildInput, Digest, SignaturePolicy, PrivateKey, VerificationRequest};
//!
//! let component = b"\0asm";
//! let manifest = build(component, &BuildInput::new("acme/retry", "1.4.2"))?;
//! let key = PrivateKey::generate()?;
//! let bundle = sign(&key, &manifest)?;
//!
//! let policy = SignaturePolicy::from_json(serde_json::json!({
//!     "name": "acme", "namespaces": ["acme/*"], "threshold": 1,
//!     "keys": [{ "name": "release", "publicKey": key.public_key().to_pem() }],
//! }).to_string().as_bytes())?;
//!
//! let verified = verify(&VerificationRequest {
//!     pinned: &Digest::of(&manifest),
//!     name: Some("acme/retry"),
//!     manifest: &manifest,
//!     bundles: &[bundle.as_bytes()],
//!     logged: &[],
//!     policies: &[policy],
//!     policy_age: std::time::Duration::ZERO,
//!     now: 1_800_000_000,
//! }, component)?;
//! assert_eq!(verified.version.to_string(), "1.4.2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
// Octets of strangers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod assign;
mod bundle;
mod canonical;
mod digest;
mod error;
mod json;
mod keys;
mod lines;
mod manifest;
mod name;
mod pem;
mod policy;
mod refused;
mod revoke;
mod sign;
mod time;
mod verify;

pub use assign::{
    Assignment, AssignmentMode, AssignmentRequest, CLOCK_SKEW_SECONDS, DirectorKeys, MAX_EPOCH,
    PLACE_BYTES, VersionFloors, epoch, first_version, sign_assignment, verify_assignment,
    version_words,
};
pub use bundle::{MAX_BUNDLE_BYTES, MAX_BUNDLES, is_about, is_by, signed_by};
pub use canonical::config_digest;
pub use digest::Digest;
pub use error::TrustError;
pub use keys::{KeyId, PrivateKey, PublicKey};
pub use lines::bundle_lines;
pub use manifest::{BuildInput, MAX_MANIFEST_BYTES, Manifest, TITLE, VERSION, build};
pub use name::{Name, Version};
pub use policy::{NamePattern, SignaturePolicy, TrustedKey};
pub use refused::{Refused, code};
pub use revoke::Revocation;
pub use sign::sign;
pub use time::Timestamp;
pub use verify::{
    SignerName, VerificationRequest, VerifiedFilter, verify, verify_manifest, verify_parsed,
};
