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
