//! Why a registry does not start.

use std::io;
use std::path::PathBuf;

use crate::plane::KeysError;
use tamis_journal::log::LogError;
use tamis_journal::{BlobError, JournalError};
use tamis_oci::{SecretError, StoreError};
use tamis_transport::{Address, ListenError, TlsError};
use thiserror::Error;

/// What can go wrong before a registry serves.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Tokens would travel in clear text.
    #[error(
        "{0} can be reached from other machines, and without TLS tokens travel in clear text: give a certificate and \
         its key, or listen on loopback or a unix socket"
    )]
    ClearText(Address),
    /// The journal cannot be opened, or was tampered with.
    #[error("the journal cannot be opened")]
    Journal(#[source] JournalError),
    /// The blobs cannot be opened.
    #[error("the blobs cannot be opened")]
    Blobs(#[source] BlobError),
    /// The object store does not answer, or takes nothing.
    #[error(
        "the object store {url} cannot be used: {why}; check --blobs and --blobs-options (endpoint, region, keys, and that \
         the bucket is there)"
    )]
    Objects {
        /// Its address.
        url: String,
        /// What came back.
        why: String,
    },
    /// The journal names filters that the blobs of this process do not have.
    #[error(
        "the blobs here have none of the filters that are pinned, such as {example}: replicas of one journal share their blobs, \
         so start with the --blobs of the others, or with their folder"
    )]
    OtherBlobs {
        /// The first of them.
        example: String,
    },
    /// What was assigned last was signed by another director.
    #[error(
        "the director's key in {} did not sign what is assigned in this journal: copy director.key and log.key from another \
         replica; if they are lost, start once with --make-new-keys, and give all proxies the new director.json",
        folder.display()
    )]
    OtherDirector {
        /// Where the key is.
        folder: PathBuf,
    },
    /// The journal cannot be folded, or the first token not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness for the first token.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The folder cannot be made, or not be kept for its owner.
    #[error("the folder {} cannot be made", path.display())]
    Folder {
        /// Where it was to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first token cannot be kept for its owner.
    #[error("the admin token cannot be written to {}", path.display())]
    Token {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key of the control plane cannot be read or made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The policy metadata cannot be opened.
    #[error("the policy metadata cannot be opened")]
    Policy(#[from] tamis_tuf::Error),
    /// The journal does not hold: an entry was altered, or one is missing.
    #[error("the journal does not hold")]
    Log(#[from] LogError),
    /// What was restored cannot be assigned again.
    #[error("what was restored cannot be assigned again: {0}")]
    Restored(String),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system has no thread or no timer left.
    #[error("the registry cannot run")]
    Run(#[source] io::Error),
    /// The registry's thread ended before it served.
    #[error("the registry ended before it served; its log says why")]
    Ended,
}
