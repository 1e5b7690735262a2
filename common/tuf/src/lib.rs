//! Trust policies as TUF metadata: who may decide which keys are trusted, and until when.
//!
//! The documents are those that [`tamis_trust::SignaturePolicy`] reads, one per namespace. The metadata around them
//! has the format of [The Update Framework](https://theupdateframework.github.io/specification/latest/), so
//! that its clients can check what this crate writes. A *root*, signed by m of n offline keys, names the
//! keys of all other roles; *targets*, and the roles to which it delegates namespaces, vouch for the
//! documents; *snapshot* lists the versions of all of them; *timestamp* states which snapshot is the
//! newest, and when.
//!
//! [`TrustedPolicies`] is the reader: starting from a root that an operator pinned, it accepts metadata from any
//! source, and refuses what is forged, older, mixed or expired. [`PolicyRepository`] is the writer: a folder of
//! files in which changes wait until enough keys have signed them.
//!
//! The crate has no clock (`now` is an argument, in seconds since the Unix epoch) and no network.
//!
//! ```
//! use tamis_tuf::{Namespace, PolicyRepository, Signers, UpdateOutcome, TrustedPolicies};
//! use tamis_trust::PrivateKey;
//!
//! let folder = tempfile::tempdir()?;
//! let (offline, online, now) = (PrivateKey::generate()?, PrivateKey::generate()?, 1_800_000_000);
//! let signers = |key: &PrivateKey| Signers { keys: vec![key.public_key()], threshold: 1 };
//! let repository = PolicyRepository::init(
//!     &folder.path().join("policy"), &signers(&offline), &signers(&offline), &signers(&online), now,
//! )?;
//! let document = serde_json::json!({
//!     "name": "acme", "namespaces": ["acme/*"], "threshold": 1,
//!     "keys": [{ "name": "release", "publicKey": PrivateKey::generate()?.public_key().to_pem() }],
//! });
//! repository.set(&"acme".parse()?, document.to_string().as_bytes(), now)?;
//! repository.sign(&offline)?;
//! repository.refresh(&online, now)?;
//!
//! let mut trusted = TrustedPolicies::open(&repository.first_root()?, &folder.path().join("trusted.json"))?;
//! assert_eq!(trusted.take(&repository.files()?, now)?, UpdateOutcome::New);
//! assert!(trusted.fresh(&"acme/retry".parse()?, now).is_ok());
//! assert_eq!(trusted.policies().len(), 1);
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

mod error;
mod kept;
mod namespace;
mod repository;
#[cfg(test)]
mod testing;
mod trusted;

pub use error::{Rule, TufError};
pub use namespace::Namespace;
pub use repository::{
    KeyChange, Lifetimes, Overview, PolicyRepository, PublishResult, Role, RoleView, Signers,
    StagedFile, Withdrawal,
};
pub use trusted::{MAX_FILE_BYTES, RoleStatus, TrustedPolicies, UpdateOutcome};
