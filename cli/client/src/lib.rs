//! A client for registries: the REST API of the control plane, and the part of the OCI API that filters
//! need.
//!
//! A [`Client`] opens one connection per request, over TCP, TLS or a unix socket, and trusts no response:
//! responses have a size limit and a time limit; blobs and manifests must match the digest by which they
//! were requested. A refusal of the registry is returned unchanged as [`ClientError::Refused`], with the
//! rule, who set it and the way out.
//!
//! The token is sent over TLS, to loopback addresses and to unix sockets, and nowhere else.
//!
//! ```
//! use tamis_client::{Client, ClientOptions};
//!
//! let client = Client::new(ClientOptions::new("http://127.0.0.1:5000".parse()?))?;
//! assert_eq!(client.server().to_string(), "http://127.0.0.1:5000");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod api;
mod artifact;
mod client;
mod error;
mod exchange;
mod oci;
mod server;
#[cfg(test)]
mod testing;

pub use artifact::{Artifact, BUNDLE_TYPE, Overwrite, PulledFilter, PushResult};
pub use client::{Client, ClientOptions, OwnFiles};
pub use error::ClientError;
pub use oci::ManifestReference;
pub use server::{Server, ServerAddressError};
