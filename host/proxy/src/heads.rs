//! Heads on their way through this proxy: which fields end here, which it adds, and who owns the others.
//!
//! `request` does this for the head of a request, `response` and `interim` for those of responses. Both read heads by the
//! same rules (`fields`, `grpc`) and by the same [`Owners`], which are made with a chain.

mod fields;
mod forwarded;
mod grpc;
pub(crate) mod interim;
mod loops;
mod owners;
pub(crate) mod request;
pub(crate) mod response;

pub(crate) use fields::RETRIES;
pub(crate) use grpc::{grpc_status, is_grpc};
pub(crate) use loops::{CopyMark, Origin, mark_copy, origin};
pub use owners::Owners;

#[cfg(test)]
mod tests;
