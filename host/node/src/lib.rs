//! Makes generations: follows the documents, verifies, builds, self-tests, stages.
//!
//! A [`Node`] is one proxy with its documents, or with the plan of a director. It computes the plan for its name, and builds
//! a generation from it outside the workers: every pinned artifact is verified, checked against its grant, compiled,
//! configured and self-tested before it handles an exchange. A failure is reported in its slot with the broken rule, and
//! what ran there before keeps running if the current policies still allow it; other slots are not affected.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]

mod build;
mod certificates;
mod chains;
mod code;
mod documents;
mod error;
mod fetch;
mod follow;
mod good;
mod issuance;
mod names;
mod node;
mod node_resources;
mod plan_examiner;
mod policies;
mod refusal_text;
mod rehearsal;
mod sockets;
mod staging;
mod stand_in_secrets;
mod store;
#[cfg(test)]
mod testing;
mod ticks;
mod watch;

pub use certificates::CertificateWatch;
pub use documents::{DocumentPlaces, Documents, ReadFailure};
pub use error::NodeError;
pub use fetch::check_granted_authorities;
pub use follow::{DirectorLogin, FollowSettings, FollowedNode};
pub use node::{Node, NodeOptions, Reload};
pub use node_resources::NodeResources;
pub use plan_examiner::{Finding, PlanExaminer};
pub use refusal_text::{false_claim, refusal};
pub use rehearsal::WantedAddress;
pub use stand_in_secrets::stand_ins;
pub use store::{ArtifactStore, StoreIndex, StoredArtifact, artifact_file_name};
pub use tamis_engine::{CacheFolders, Secrets};
pub use tamis_transport::causes;
pub use watch::Watch;
