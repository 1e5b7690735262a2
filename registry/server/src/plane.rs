//! The director at work: one journal, the plans that follow from it, and the proxies that take them.
//!
//! A [`Control`] folds the journal and writes to it: what people change ([`Control::apply`], [`Control::pin`], …), what the
//! director decides by itself (assignments, the steps of rollouts), and what proxies report. It hands each connected proxy
//! the parts of its plan as they change ([`Control::join`]). It serves nothing: HTTP is around it.
//!
//! Any number of them may share a journal. None leads: each acts on what all wrote, and an append at a head that has moved
//! is decided again.

mod artifact;
mod change;
mod control;
mod examine;
mod fleet;
mod keys;
mod parts;
mod policy;
mod problem;
mod reconcile;
mod revoke;
mod rights;
mod sources;
mod start;
mod view;
mod wanted;

pub(crate) use control::now_ms;
pub use control::{Control, Rules};
pub use examine::Examine;
pub use fleet::{Membership, Wanted};
pub(crate) use keys::Missing;
pub use keys::{Keys, KeysError};
pub use policy::PolicyFolder;
pub(crate) use problem::chain;
pub use rights::Holder;
pub use sources::read_apply;
pub use tamis_director::{Guards, Terms};
