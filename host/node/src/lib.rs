//! Where generations come from: follow the documents, verify, build, self-test, stage.
//!
//! A [`Node`] is one proxy with its documents. It reads them, folds them to the plan of its name, and builds a
//! generation from it off the workers: every pinned artifact is verified, compiled, checked against its grant,
//! configured and self-tested before a single exchange meets it. What fails is reported in its slot with the rule it
//! broke, and what ran there before goes on; other slots are not held up.

mod build;
mod certificates;
mod chains;
mod claims;
mod documents;
mod error;
mod examine;
mod fetch;
mod follow;
mod good;
mod node;
pub mod private;
mod sockets;
mod store;
#[cfg(test)]
mod testing;
mod ticks;
mod watch;

pub use certificates::CertificateWatch;
pub use claims::check_claims;
pub use documents::{Documents, Source, Unreadable};
pub use error::NodeError;
pub use examine::{Examiner, Finding};
pub use follow::{Follow, Following};
pub use node::{Node, NodeOptions, Reload, Shared};
pub use sockets::causes;
pub use store::{Artifact, Store};
pub use tamis_engine::{CacheFolders, Secrets};
pub use watch::Watch;
