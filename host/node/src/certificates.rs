//! Certificates are renewed while the proxy runs: their files are looked at every two seconds.
//!
//! The system's notices are not enough: files lie outside of the folders that are followed, are links to links (as secrets
//! of an orchestrator are), or come over a network.

use crate::{Node, NodeError, Reload};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at the certificates of a node until it is dropped.
#[derive(Debug)]
pub struct CertificateWatch {
    _alive: Sender<()>,
}

impl CertificateWatch {
    /// Reloads `node` when a file of its certificates changed; `on_reload` receives the result.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn start(
        node: Arc<Node>,
        on_reload: impl Fn(&Reload) + Send + 'static,
    ) -> Result<Self, NodeError> {
        Self::every(LOOK, node, on_reload)
    }

    pub(crate) fn every(
        pause: Duration,
        node: Arc<Node>,
        on_reload: impl Fn(&Reload) + Send + 'static,
    ) -> Result<Self, NodeError> {
        let (alive, ended) = channel::<()>();
        let run = move || {
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                if node.certificates_changed() {
                    on_reload(&node.reload());
                }
            }
        };
        let thread = std::thread::Builder::new().name("tamis-certificates".to_owned());
        thread.spawn(run).map_err(NodeError::Thread)?;
        Ok(Self { _alive: alive })
    }
}
