//! Why the authority cannot be used, or refuses to sign.

use std::io;
use std::path::PathBuf;

use tamis_transport::{SpiffeId, TlsError, TrustDomain};
use thiserror::Error;

/// Why the authority cannot be used, or refuses to sign.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not contain an authority.
    #[error("{} contains no usable authority: {rule}; restore it from the backup", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The fault.
        rule: String,
    },
    /// The folder has no intermediate, and without the root's key none can be made.
    #[error(
        "{} has a root without its key and no intermediate: `tamis identity authority request`, sign that where the root's key is, and `tamis identity authority install`",
        folder.display()
    )]
    NoIntermediate {
        /// The folder.
        folder: PathBuf,
    },
    /// The root's key is kept elsewhere.
    #[error(
        "the root's key is not on this machine: `tamis identity authority request` here, sign that where the key is, and `tamis identity authority install` here"
    )]
    RootOffline,
    /// The folder belongs to another trust domain.
    #[error(
        "{} is the authority of {found}, not of {wanted}: a trust domain never changes; use another folder for another domain",
        folder.display()
    )]
    OtherDomain {
        /// The folder.
        folder: PathBuf,
        /// The domain of its authority.
        found: String,
        /// The domain that was asked for.
        wanted: TrustDomain,
    },
    /// The id belongs to another trust domain, or to no member of this one.
    #[error(
        "{id} is not a member of the trust domain {domain}: write `identity` as spiffe://{domain}/PATH"
    )]
    OutsideDomain {
        /// The id.
        id: SpiffeId,
        /// The trust domain of the authority.
        domain: TrustDomain,
    },
    /// The id belongs to the authority itself.
    #[error("{id} belongs to the registry: write another path in `identity`")]
    Reserved {
        /// The id.
        id: SpiffeId,
    },
    /// The lifetime is out of bounds.
    #[error("an SVID is valid for {min} to {max} seconds, not for {asked}")]
    Lifetime {
        /// What was asked for, in seconds.
        asked: u64,
        /// The shortest, in seconds.
        min: u64,
        /// The longest, in seconds.
        max: u64,
    },
    /// The lifetime of an intermediate is out of bounds.
    #[error("an intermediate is valid for {min} to {max} seconds, not for {asked}")]
    IntermediateLifetime {
        /// What was asked for, in seconds.
        asked: u64,
        /// The shortest, in seconds.
        min: u64,
        /// The longest, in seconds.
        max: u64,
    },
    /// The intermediate expires too soon for any SVID.
    #[error("the intermediate expires at {at}: rotate it")]
    Expiring {
        /// When; RFC 3339.
        at: String,
    },
    /// The request of a proxy cannot be used.
    #[error("the certificate request cannot be used: {rule}")]
    Request {
        /// The broken rule.
        rule: &'static str,
    },
    /// An imported intermediate or root cannot be used.
    #[error("it cannot be imported: {rule}")]
    Import {
        /// The broken rule.
        rule: String,
    },
    /// The authority's own SVID cannot be used, or the authorities that it should accept.
    #[error("the registry's own SVID cannot be used")]
    Own(#[source] TlsError),
    /// The installed cryptography fails.
    #[error("a certificate cannot be signed")]
    Sign(#[from] rcgen::Error),
    /// The operating system provides no randomness.
    #[error(transparent)]
    Random(#[from] tamis_ambient::RandomSourceError),
}
