//! Why a node cannot start.

use std::path::PathBuf;

/// Why a node cannot start. A running one never ends because of a document: it reports and continues.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The documents do not declare this proxy.
    #[error("no document declares `{node}`: {why}")]
    NoPlan {
        /// Its name.
        node: String,
        /// What is missing.
        why: String,
    },
    /// A part of the documents cannot be read, and its content is unknown.
    #[error("`{node}` does not start: {} cannot be read as documents ({why}), so nobody knows what they guard; correct or remove them", files.join(", "))]
    Unready {
        /// Its name.
        node: String,
        /// The files that cannot be read.
        files: Vec<String>,
        /// What is wrong with it.
        why: String,
    },
    /// A guard stands in a namespace where nothing can be guarded, so it is unknown what it guards.
    #[error(
        "`{node}` does not start: a document that guards is in a namespace that has nothing to guard: {why}"
    )]
    Stray {
        /// Its name.
        node: String,
        /// Which guards, and the way out.
        why: String,
    },
    /// A folder or file cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The state folder cannot be used.
    #[error("{path} cannot be read or written; a proxy stores there the plan that it starts from", path = path.display())]
    State {
        /// Which file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The root of policy metadata is invalid, or the stored state does not follow from it.
    #[error("the policy metadata cannot be opened")]
    Policy(#[from] tamis_tuf::TufError),
    /// The folder for compiled code cannot be used.
    #[error("compiled code cannot be stored in {path}; name a writable folder", path = path.display())]
    Cache {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The engine cannot run here.
    #[error(transparent)]
    Engine(#[from] tamis_engine::EngineError),
    /// The proxy did not start.
    #[error(transparent)]
    Proxy(#[from] tamis_proxy::ProxyError),
    /// A thread cannot be started.
    #[error("the operating system provides no thread for background work")]
    Thread(#[source] std::io::Error),
    /// The system cannot watch the folders.
    #[error("the folders cannot be watched: {0}")]
    Watch(#[from] notify::Error),
}
