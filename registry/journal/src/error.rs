//! Errors, with the evidence and the way out.

use std::error::Error as StdError;

use thiserror::Error;

use crate::{BlobDigest, Head, UploadId};

/// The error of a library or of the system.
pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// Why an operation on the journal failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another writer was first: nothing was written.
    #[error(
        "the journal is at revision {} and not where the caller expected it; read the new entries and decide again",
        head.revision
    )]
    Conflict {
        /// Where the journal is.
        head: Head,
    },
    /// A kind does not follow the grammar.
    #[error(
        "kind {0:?} is not kebab case: words of lower-case letters and digits joined by '-', a letter first, at most 64 bytes"
    )]
    Kind(String),
    /// An actor's name does not follow the grammar.
    #[error("actor {0:?} is not 1 to 1,024 bytes of text without control characters")]
    Actor(String),
    /// A body has no canonical form.
    #[error("the body of a {kind:?} record {reason}")]
    Body {
        /// The record's kind.
        kind: String,
        /// The rule it breaks and the way out.
        reason: &'static str,
    },
    /// An entry would be larger than the transparency log can carry.
    #[error(
        "a {kind:?} record makes an entry of {bytes} bytes, more than 65,535 (C2SP tlog-tiles); put the large part into \
         a blob and record its digest"
    )]
    TooLarge {
        /// The record's kind.
        kind: String,
        /// The canonical bytes the entry would have.
        bytes: usize,
    },
    /// A time is beyond what storage can hold.
    #[error("time {0} ms is later than storage can hold (2^63 - 1)")]
    Time(u64),
    /// An entry differs from what was written.
    #[error(
        "revision {revision} of the journal was tampered with: {what}; restore the journal from a copy that passes its check"
    )]
    Tampered {
        /// The first revision that fails the check.
        revision: u64,
        /// What fails.
        what: &'static str,
    },
    /// The journal is not the one that was read before: it lost entries, or has others in their place.
    #[error(
        "the journal is another one than this process has read: revision {revision} is gone or differs, as after a restored \
         backup or a failover; restart this process, which then reads the journal as it is"
    )]
    Replaced {
        /// The first revision that is known to be gone or another.
        revision: u64,
    },
    /// The journal does not answer: what was read of it before is believed no more.
    #[error(
        "the journal has not answered for {seconds} seconds, so nobody knows what was revoked since; ask another replica, or try \
         again once this one reaches its journal"
    )]
    Silent {
        /// How long ago it was read, in seconds.
        seconds: u64,
    },
    /// The disk is full: nothing was written.
    #[error(
        "the journal could not {act}: the disk is full; free some of it. What runs keeps running"
    )]
    Full {
        /// The operation that failed.
        act: &'static str,
    },
    /// Storage failed. After a failed append it may be unknown whether it happened: read the head before
    /// trying again.
    #[error("the journal could not {act}")]
    Storage {
        /// The operation that failed.
        act: &'static str,
        /// The error of the storage.
        source: Source,
    },
}

impl JournalError {
    pub(crate) fn storage(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { act },
            _ => Self::Storage { act, source: source.into() },
        }
    }

    pub(crate) fn other(act: &'static str, source: impl Into<Source>) -> Self {
        Self::Storage { act, source: source.into() }
    }
}

/// Why an operation on blobs failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no blob with this digest.
    #[error("there is no blob {0}")]
    NotFound(BlobDigest),
    /// There is no such upload: it never began, was finished, or was cancelled.
    #[error("there is no upload {0}; begin a new one")]
    UnknownUpload(UploadId),
    /// A chunk does not begin where the upload ends. Nothing was written.
    #[error("the upload has {expected} bytes: the next chunk must begin there")]
    OutOfOrder {
        /// Where the next chunk must begin.
        expected: u64,
    },
    /// The bytes do not have the stated digest. No blob was made.
    #[error("the bytes have the digest {actual}, not {expected}; send them again")]
    DigestMismatch {
        /// The stated digest.
        expected: BlobDigest,
        /// The actual digest.
        actual: BlobDigest,
    },
    /// A range begins beyond the blob's end, or ends before it begins.
    #[error("the range {start}..{end} is not within the blob's {size} bytes")]
    Range {
        /// The first requested byte.
        start: u64,
        /// The byte after the last requested one.
        end: u64,
        /// The size of the blob.
        size: u64,
    },
    /// A blob is larger than the caller accepts.
    #[error("the blob {digest} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Which blob.
        digest: BlobDigest,
        /// Its size.
        size: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// A stored blob no longer has its digest.
    #[error(
        "the stored blob {0} is damaged: its bytes have another digest; delete it and push it again"
    )]
    Corrupt(BlobDigest),
    /// An object store's address or options cannot be used.
    #[error("the object store {url:?} cannot be used: {reason}")]
    Address {
        /// The address given.
        url: String,
        /// The rule it breaks and the way out.
        reason: String,
    },
    /// The disk is full, or has no more than is kept for the journal. Nothing was written.
    #[error(
        "the disk of the registry is full but for what is kept for its journal; free some of it, or delete what nobody needs"
    )]
    Full,
    /// Storage failed.
    #[error("the blob store could not {act}")]
    Storage {
        /// The operation that failed.
        act: &'static str,
        /// The error of the storage.
        source: Source,
    },
}

impl BlobError {
    pub(crate) fn storage<E: Into<Source>>(act: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Storage { act, source: source.into() }
    }
}
