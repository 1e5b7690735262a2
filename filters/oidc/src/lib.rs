//! The built-in `oidc` policy: logs people in at an OpenID Connect provider (authorization code flow with PKCE), and keeps
//! their session in an encrypted cookie.
//!
//! [`policy`] decides about a request: a valid [`session`] passes, and is confirmed at the provider before it ends
//! ([`renewal`]); a [`browser`] without one is sent to the provider ([`login`]); what it brings back becomes a session
//! ([`callback`]), if the [`tokens`] that the provider gives for it hold ([`id_token`]); and [`logout`] ends it. What the
//! filter gives a browser to keep is in [`cookies`], encrypted by [`seal`]. The [`provider`] is known by its
//! metadata, which is fetched in the background.
//!
//! The logic knows the host only through the traits in [`host`], so that it runs natively in tests.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod browser;
pub mod callback;
pub mod component;
pub mod config;
pub mod cookies;
pub mod endpoints;
pub mod host;
pub mod id_token;
pub mod login;
pub mod logout;
pub mod policy;
pub mod provider;
pub mod refusal;
pub mod renewal;
pub mod seal;
pub mod session;
pub mod tokens;

tamis_sdk::export!(component::Oidc: request, response, tick);

#[cfg(test)]
mod tests;
