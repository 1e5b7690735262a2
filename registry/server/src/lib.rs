//! HTTP around the control plane: the registry on a listener.
//!
//! A [`Registry`] is one replica: it opens the journal and the blobs of a [`Storage`] and serves, through
//! the transport of the proxy, the OCI API of `tamis-oci` (`/v2`), the REST API of the control plane
//! (`/v1`) and the transparency log (`/log`); on a separate listener, with mTLS, the streams of proxies. It
//! follows what other replicas write and removes what is no longer needed. It runs on a thread of its own
//! until it is stopped.
//!
//! Without TLS it listens on loopback and on unix sockets only: otherwise others on the network could read
//! tokens.
//!
//! ```
//! use std::sync::Arc;
//!
//! use tamis_api::GrowthView;
//! use tamis_server::{ComponentExaminer, RegistryOptions, Registry, Storage};
//! use tamis_trust::{Manifest, Refused};
//!
//! /// Whoever has no engine lets nothing be pinned.
//! struct Nobody;
//!
//! impl ComponentExaminer for Nobody {
//!     fn check_claims(&self, _: &Manifest, _: &[u8]) -> Result<(), Refused> {
//!         let (rule, remedy) = ("nobody can look into it".to_owned(), "have an engine".to_owned());
//!         Err(Refused { code: "nobody".into(), rule, set_by: "this example".to_owned(), remedy })
//!     }
//!
//!     fn capabilities_added(&self, _: &[u8], _: &[u8], _: &[String]) -> Vec<GrowthView> {
//!         Vec::new()
//!     }
//! }
//!
//! let folder = tempfile::tempdir()?;
//! let options = RegistryOptions::new(Storage::folder(folder.path()), "127.0.0.1:0".parse()?, Arc::new(Nobody));
//! let registry = Registry::start(options)?;
//! assert!(registry.address().to_string().starts_with("127.0.0.1:"));
//! assert!(registry.admin_token().is_some());
//! registry.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]

mod admin;
mod certificates;
mod error;
mod health;
mod identities;
mod lines;
mod plane;
mod proxies;
mod received;
mod registry;
mod rest;
mod shares;
mod storage;

pub use certificates::TlsFiles;
pub use error::ServerError;
pub use health::METRICS;
pub use plane::{
    AssignmentTerms, AuthorizedCaller, ComponentExaminer, ConnectedProxy, Control, ControlSettings,
    Faults, Guards, Keys, KeysError, MeshOptions, PolicyFolder, ProxyPlan, read_apply,
};
pub use registry::{MissingKeyRule, Registry, RegistryOptions};
pub use rest::document as openapi;
pub use storage::Storage;
pub use tamis_authority::{SVID_LIFETIME, SVID_LIFETIME_MAX, SVID_LIFETIME_MIN};
