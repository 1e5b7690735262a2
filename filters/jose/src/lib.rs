//! Signed tokens (RFC 7515, RFC 7519) and the keys of their issuers (RFC 7517), for the built-in filters that verify
//! them. Not a filter itself.
//!
//! A token is parsed by [`jws`], and its signature is checked with the issuer's [`keyring`]; [`claims`] has the rules about
//! dates and audiences. [`refresh`] fetches keys in the background and shares them between instances through the
//! store; [`keys`] and [`algorithm`] say which key may verify what. [`names`] has the rules about what an operator
//! names: addresses that are fetched, headers that claims are written to.
//!
//! Everything here knows the host only through the traits in [`host`], so that it runs natively in tests;
//! [`imports`] implements them in a component.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod algorithm;
pub mod claims;
pub mod fault;
pub mod host;
pub mod imports;
pub mod json;
pub mod jws;
pub mod keyring;
pub mod keys;
pub mod names;
pub mod refresh;
mod roca;
