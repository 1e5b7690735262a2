//! Heads on their way through this proxy: which fields end here, which it adds, and who owns the others.
//!
//! `request` does this for the head of a request, `response` and `interim` for those of responses. Both read heads by the
//! same rules (`fields`, `via`) and by the same [`Owners`], which are made with a chain.

mod fields;
mod forwarded;
pub(crate) mod interim;
mod owners;
pub(crate) mod request;
pub(crate) mod response;
mod via;

pub(crate) use fields::{RETRIES, is_grpc};
pub use owners::Owners;
pub(crate) use via::{CopyMark, Origin, mark_copy, origin};

#[cfg(test)]
mod tests;
