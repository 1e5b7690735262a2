//! The API of OCI Distribution 1.1 over a journal and blobs.
//!
//! Everything served comes from a view computed from the journal. A write is decided on the view and
//! appended only if the journal is still at the view's revision; otherwise it is decided again. So any
//! number of replicas share one journal, a response is sent only after its content is durable, and a writer
//! can read what it wrote.
//!
//! A push takes this way: [`router`] → the endpoint → the blobs (bytes, durable, verified) →
//! `Store::commit` (one entry of the journal) → the view → the response. The crate opens no socket and does
//! not know the purpose of the artifacts.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tamis_ambient::Clock;
//! use tamis_journal::{Blobs, Journal};
//! use tamis_oci::{Limits, TokenSecret, Store, Verb};
//!
//! let folder = tempfile::tempdir()?;
//! let journal = Journal::sqlite(folder.path()).await?;
//! let blobs = Blobs::files(folder.path()).await?;
//! let store = Store::open(journal, blobs, Limits::default(), Clock::system()).await?;
//! let secret = TokenSecret::generate()?;
//! store.create_token("ci", &secret, &["acme/*".parse()?], &[Verb::Pull, Verb::Push]).await?;
//! assert!(secret.expose().starts_with("tamis_"));
//! let service = tamis_oci::router(store);
//! # drop(service);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
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

mod access;
mod ask;
mod author;
mod change;
mod collect;
mod condition;
mod manifest;
mod name;
mod path;
mod range;
mod refusal;
mod serve;
mod store;
mod view;

pub use access::{AnonymousRights, RepositoryPattern, SecretError, TokenInfo, TokenSecret, Verb};
pub use ask::Bearer;
pub use author::Author;
pub use collect::{CollectionResult, collect};
pub use manifest::{ManifestError, OciManifest, Target};
pub use name::{MAX_REPOSITORY_BYTES, MAX_TAG_BYTES, NameError, Reference, Repository, Tag};
pub use refusal::{Code, OciRefusal};
pub use serve::router;
pub use store::{Limits, NewToken, Store, StoreError, Versions};
pub use view::{Referrer, RegistryView};
