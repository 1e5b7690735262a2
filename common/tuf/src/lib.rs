//! Trust policy as TUF metadata: who may say whose signatures are believed, and until when.
//!
//! The documents are those [`tamis_trust::Policy`] reads, one a namespace. Around them lies metadata in the
//! format of [The Update Framework](https://theupdateframework.github.io/specification/latest/), so that its
//! clients can check what is written here. A *root*, signed by m of n keys kept offline, names the keys of all
//! other roles; *targets* and the roles it delegates namespaces to vouch for the documents; *snapshot* lists
//! the versions of all of them; *timestamp* says which snapshot is the newest, and when that was said.
//!
//! [`Trusted`] is the reader: from a root that an operator pinned it follows what it is sent by anybody, and
//! refuses what is forged, older, mixed or expired. [`Repository`] is the writer: a folder of files in which
//! changes wait until enough keys have signed them.
//!
//! The crate has no clock (`now` is an argument, in seconds since the Unix epoch) and no network.
//!
//! ```
//! use tamis_tuf::{Namespace, Repository, Signers, Taken, Trusted};
//! use tamis_trust::PrivateKey;
//!
//! let folder = tempfile::tempdir()?;
//! let (offline, online, now) = (PrivateKey::generate()?, PrivateKey::generate()?, 1_800_000_000);
//! let signers = |key: &PrivateKey| Signers { keys: vec![key.public_key()], threshold: 1 };
//! let repository = Repository::init(
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
//! let mut trusted = Trusted::open(&repository.first_root()?, &folder.path().join("trusted.json"))?;
//! assert_eq!(trusted.take(&repository.files()?, now)?, Taken::New);
//! assert!(trusted.fresh(&"acme/retry".parse()?, now).is_ok());
//! assert_eq!(trusted.policies().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod kept;
mod namespace;
mod repository;
#[cfg(test)]
mod testing;
mod trusted;

pub use error::{Error, Rule};
pub use namespace::Namespace;
pub use repository::{
    KeyChange, Lifetimes, Overview, Published, Repository, Role, RoleView, Signers, Waiting,
    Withdrawal,
};
pub use trusted::{MAX_FILE_BYTES, Standing, Taken, Trusted};
