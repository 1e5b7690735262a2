//! The running director: one journal, the plans that follow from it, and the proxies that run them.
//!
//! A [`Control`] reads the journal and writes to it: changes by people ([`Control::apply`],
//! [`Control::pin`], …), automatic decisions of the director (assignments, steps of rollouts), and reports
//! of proxies. It sends each connected proxy the parts of its plan as they change ([`Control::connect`]). It
//! contains no HTTP.
//!
//! Any number of them may share a journal. There is no leader: each acts on what all have written, and an
//! append at an outdated head is decided again.

mod change;
mod claim_keys;
mod component_examiner;
mod control;
#[cfg(test)]
mod fixture;
mod identity;
mod keys;
mod keys_record;
mod parse;
mod policy;
mod problem;
mod reconcile;
mod request_bounds;
mod revoke;
mod rights;
mod sources;
mod start;
mod view;

pub use change::read_apply;
pub use component_examiner::{ComponentExaminer, Faults};
pub use control::fleet::ConnectedProxy;
pub use control::proxy_plan::ProxyPlan;
pub use control::{Control, ControlSettings};
pub use identity::MeshOptions;
pub(crate) use identity::problems::expired_only_renews;
pub(crate) use identity::{ProvenProxy, RENEWAL_GRACE};
pub(crate) use keys::MissingKeys;
pub use keys::{Keys, KeysError};
pub use policy::PolicyFolder;
pub(crate) use problem::{disk_full, ended, refused};
pub use rights::AuthorizedCaller;
pub use tamis_director::{AssignmentTerms, Guards};
