//! Why a proxy does not start or does not switch.

use std::path::PathBuf;
use std::time::Duration;
use tamis_transport::ListenError;

/// Why a proxy did not start, or did not switch to a generation.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The proxy cannot listen on a socket.
    #[error("listener `{listener}`: {source}")]
    Listen {
        /// Its name.
        listener: String,
        /// Why, and the way out.
        source: ListenError,
    },
    /// The operating system provides no thread.
    #[error("the operating system provides no thread for a worker")]
    Thread(#[source] std::io::Error),
    /// A name for the admin listener is invalid.
    #[error("the admin listener: {0}")]
    AdminHost(String),
    /// The socket for successors cannot be created.
    #[error("cannot listen on {}", path.display())]
    Handover {
        /// Its path.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A worker ended or does not answer.
    #[error("a worker did not switch to the generation within {0:?}")]
    Worker(Duration),
}
