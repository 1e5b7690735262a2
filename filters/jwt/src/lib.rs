//! The built-in `jwt` policy: lets requests pass that carry a valid JSON Web Token (RFC 7519).
//!
//! It refuses tokens that are not strictly a compact JWS, algorithms that the issuer is not configured for,
//! keys that do not fit the algorithm, and every key or address of a key that a token brings along. For
//! each request, [`policy`] finds the token and looks it up in the [`cache`]; a new token is parsed by
//! [`jws`], its signature is checked with the issuer's [`keyring`], and its [`claims`] are checked and
//! become headers. Keys come from the configuration, or [`refresh`] fetches them in the background and
//! shares them through the store.
//!
//! The logic knows the host only through the traits in [`host`], so that it runs natively in tests.

pub mod algorithm;
pub mod cache;
pub mod claims;
pub mod component;
pub mod config;
pub mod host;
pub mod json;
pub mod jws;
pub mod keyring;
pub mod keys;
pub mod policy;
pub mod refresh;
pub mod refusal;
mod roca;

tamis_sdk::export_refreshing_authorizer!(component::Jwt);
