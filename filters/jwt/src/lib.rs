//! The built-in `jwt` policy: lets requests pass that carry a valid JSON Web Token (RFC 7519).
//!
//! It refuses tokens that are not strictly a compact JWS, algorithms that the issuer is not configured for,
//! keys that do not fit the algorithm, and every key or address of a key that a token brings along. For
//! each request, [`policy`] finds the token and looks it up in the [`cache`]; a new token is parsed and its
//! signature is checked with the issuer's keys ([`tamis_jose`]), and its [`claims`] are checked and
//! become headers. Keys come from the configuration, or are fetched in the background and shared through the store.
//!
//! The logic knows the host only through the traits in [`tamis_jose::host`], so that it runs natively in tests.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod cache;
pub mod claims;
pub mod component;
pub mod config;
pub mod policy;
pub mod refusal;

tamis_sdk::export_refreshing_authorizer!(component::Jwt);
