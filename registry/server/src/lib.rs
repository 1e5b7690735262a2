//! HTTP around the control plane: the registry on a listener.
//!
//! A [`Registry`] is one replica: it opens the journal and the blobs of a [`Storage`], serves the OCI API of `tamis-oci`
//! through the transport of the proxy, follows what other replicas write, and removes what nobody needs. It runs on a
//! thread of its own until it is stopped.
//!
//! Without TLS it listens on loopback and on unix sockets only: tokens would be read by whoever is in between.
//!
//! ```
//! use tamis_server::{Options, Registry, Storage};
//!
//! let folder = tempfile::tempdir()?;
//! let options = Options::new(Storage::folder(folder.path()), "127.0.0.1:0".parse()?);
//! let registry = Registry::start(options)?;
//! assert!(registry.address().to_string().starts_with("127.0.0.1:"));
//! assert!(registry.admin_token().is_some());
//! registry.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admin;
mod error;
mod registry;
mod storage;

pub use error::ServerError;
pub use registry::{Options, Registry};
pub use storage::Storage;
