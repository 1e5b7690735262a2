//! Speaks with a registry: the REST API of the control plane, and the OCI API as far as filters go.
//!
//! A [`Client`] opens one connection for each request, over TCP, TLS or a unix socket, and believes nothing that comes
//! back: answers have a size limit and a time limit, blobs and manifests must have the digest that they were asked for by.
//! What the registry refuses comes back as its own words, [`ClientError::Refused`], with the rule, whose it is and the way
//! out.
//!
//! The token goes over TLS, to loopback addresses and to unix sockets, and nowhere else.
//!
//! ```
//! use tamis_client::{Client, Options};
//!
//! let client = Client::new(Options::new("http://127.0.0.1:5000".parse()?))?;
//! assert_eq!(client.server().to_string(), "http://127.0.0.1:5000");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod artifact;
mod client;
mod error;
mod exchange;
mod oci;
mod server;
#[cfg(test)]
mod testing;

pub use artifact::{Artifact, BUNDLE_TYPE, Pulled, Pushed};
pub use client::{Client, Options, OwnFiles};
pub use error::ClientError;
pub use oci::Reference;
pub use server::{BadServer, Server};
