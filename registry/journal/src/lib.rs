//! The record of all events: one append-only, hash-linked journal, and the blobs that it names.
//!
//! The state of the control plane is computed from the journal's entries; large things (manifests,
//! components, documents) are blobs named by digest. The crate knows no kinds of records: their writers
//! define them.
//!
//! An entry's bytes are canonical JSON, its leaf is the RFC 6962 leaf hash of these bytes, and its hash
//! links the leaf to the previous entry: see [`Entry`]. A blob is visible only when it is complete, durable
//! and verified; an unfinished upload never becomes one.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tamis_journal::{BlobDigest, Blobs, Journal, Record};
//!
//! let folder = tempfile::tempdir()?;
//! let blobs = Blobs::files(folder.path()).await?;
//! let digest = BlobDigest::of(b"\0asm");
//! blobs.put(&digest, "\0asm".into()).await?;
//!
//! let journal = Journal::sqlite(folder.path()).await?;
//! let record = Record { kind: "publish".into(), body: serde_json::json!({ "digest": digest }) };
//! let head = journal.append(Some(0), 1_800_000_000_000, "ada", &[record]).await?;
//! assert_eq!(head.revision, 1);
//! assert_eq!(journal.check().await?, head);
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

mod blobs;
mod canonical;
mod digest;
mod entry;
mod error;
mod folded;
mod hash;
mod head;
mod hex;
mod journal;
pub mod log;
mod private;
mod upload;

pub use blobs::{BlobListing, Blobs};
pub use digest::{BlobDigest, DigestAlgorithm, DigestError, Hasher};
pub use entry::{Entry, MAX_ACTOR_BYTES, MAX_ENTRY_BYTES, MAX_KIND_BYTES, Record};
pub use error::{BlobError, JournalError};
pub use folded::{CommitFailure, Fold, FoldedJournal, FoldedWriter, causes};
pub use hash::Hash;
pub use head::Head;
pub use journal::{Journal, MAX_READ};
pub use private::private_folder;
pub use upload::{UploadId, UploadIdError};
