//! Why a registry does not start.

use std::io;
use std::path::PathBuf;

use crate::plane::KeysError;
use tamis_authority::AuthorityError;
use tamis_journal::log::LogError;
use tamis_journal::{BlobError, JournalError};
use tamis_oci::{SecretError, StoreError};
use tamis_transport::{Address, ListenError, TlsError};
use thiserror::Error;

/// Errors before a registry serves.
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
    /// The object store does not respond, or cannot be written to.
    #[error(
        "the object store {url} cannot be used: {why}; check --blobs and --blobs-options (endpoint, region, keys, and that the bucket exists)"
    )]
    Objects {
        /// Its address.
        url: String,
        /// The error.
        why: String,
    },
    /// The journal names filters that the blobs of this process do not contain.
    #[error(
        "the blobs here contain none of the pinned filters, such as {example}: replicas of one journal share their blobs, \
         so start with the --blobs of the others, or with their folder"
    )]
    OtherBlobs {
        /// The first of them.
        example: String,
    },
    /// The last assignments were signed by another director.
    #[error(
        "the director's key in {} did not sign what is assigned in this journal: copy director.key and log.key from another \
         replica; if they are lost, start once with --make-new-keys, and give all proxies the new director.json",
        folder.display()
    )]
    OtherDirector {
        /// The folder of the key.
        folder: PathBuf,
    },
    /// The journal has other keys than this process.
    #[error(
        "the keys in {} are not those of this journal, as another replica started with others: copy director.key and log.key \
         from another replica; if they are lost, start once with --make-new-keys, and give all proxies the new director.json",
        folder.display()
    )]
    OtherKeys {
        /// The folder of the keys.
        folder: PathBuf,
    },
    /// The entry that names the keys cannot be written.
    #[error("the keys of the journal cannot be recorded: {0}")]
    KeysUnwritten(String),
    /// The journal cannot be applied, or the first token cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness for the first token.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The folder cannot be created, or cannot be made private.
    #[error("the folder {} cannot be made", path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of the first token cannot be written.
    #[error("the admin token cannot be written to {}", path.display())]
    Token {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A key of the control plane cannot be read or made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The authority of the trust domain cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The journal has an authority, and its files are missing here.
    #[error(
        "{} is missing, and proxies of this journal trust the authority that was in it: copy the folder from another replica \
         or from the backup; if it is lost, start once with --make-new-keys, and let all proxies join again",
        folder.display()
    )]
    NoAuthority {
        /// The folder.
        folder: PathBuf,
    },
    /// The journal has another authority.
    #[error(
        "{} is not the authority that proxies of this journal trust: copy the folder from another replica or from the \
         backup; if it is lost, start once with --make-new-keys, and let all proxies join again",
        folder.display()
    )]
    OtherAuthority {
        /// The folder.
        folder: PathBuf,
    },
    /// A record about identities cannot be written.
    #[error("the authority cannot be recorded: {0}")]
    Identity(String),
    /// There is no address that proxies could use for the registry.
    #[error(
        "proxies cannot connect to {0}: give the address at which they reach this registry, --proxies-advertise HOST:PORT"
    )]
    Advertise(Address),
    /// The policy metadata cannot be opened.
    #[error("the policy metadata cannot be opened")]
    Policy(#[from] tamis_tuf::TufError),
    /// The journal fails its check: an entry was altered, or one is missing.
    #[error("the journal fails its check")]
    Log(#[from] LogError),
    /// After a restore, assignments cannot be made again.
    #[error("after the restore, assignments cannot be made again: {0}")]
    Restored(String),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Listening on the address failed.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system has no thread or no timer left.
    #[error("the registry cannot run")]
    Run(#[source] io::Error),
    /// The registry's thread ended before it served.
    #[error("the registry ended before it served; see its log")]
    Ended,
}
