//! What tests, suites and measurements share, each once: ports, programs, services, folders of resources.
//!
//! Every test has its own folder and its own ports, and waits by asking, never by sleeping a fixed time. The developer
//! commands take the feature `commands` alone, so that they are built quickly.

#![cfg_attr(
    feature = "services",
    expect(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::missing_panics_doc,
        reason = "helpers of tests: what is wrong here fails the test"
    )
)]
#![cfg_attr(
    feature = "commands",
    expect(
        clippy::print_stdout,
        reason = "a step and a process say what they do to the person who waits"
    )
)]

#[cfg(feature = "services")]
mod backend;
#[cfg(feature = "commands")]
mod beside;
#[cfg(feature = "services")]
mod chromium;
#[cfg(feature = "services")]
mod client;
#[cfg(feature = "services")]
mod folder;
#[cfg(feature = "services")]
mod nginx;
#[cfg(feature = "services")]
mod objects;
#[cfg(feature = "commands")]
pub mod packages;
pub mod ports;
#[cfg(feature = "services")]
mod postgres;
#[cfg(feature = "services")]
mod process;
#[cfg(feature = "services")]
mod python;
#[cfg(feature = "services")]
mod relay;
#[cfg(feature = "commands")]
pub mod shell;
#[cfg(feature = "services")]
mod wait;
#[cfg(feature = "commands")]
pub mod workspace;

#[cfg(feature = "services")]
pub use backend::{Answer, Backend, ReceivedRequest};
#[cfg(feature = "commands")]
pub use beside::Process;
#[cfg(feature = "services")]
pub use chromium::Chromium;
#[cfg(feature = "services")]
pub use client::{Reply, exchange, get, held_back, request};
#[cfg(feature = "services")]
pub use folder::{Folder, FolderOptions};
#[cfg(feature = "services")]
pub use nginx::Nginx;
#[cfg(feature = "services")]
pub use objects::Objects;
#[cfg(feature = "services")]
pub use postgres::Postgres;
#[cfg(feature = "services")]
pub use process::{RunningProcess, UnreadProcess, command, command_in, tamis, up};
#[cfg(feature = "services")]
pub use python::python_environment;
#[cfg(feature = "services")]
pub use relay::Relay;
#[cfg(feature = "services")]
pub use wait::{eventually, eventually_or};
#[cfg(feature = "commands")]
pub use workspace::Workspace;

use std::path::{Path, PathBuf};

/// Bare WebAssembly: what a filter imports is the contract and nothing else.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.ancestors().nth(2).unwrap_or(folder).to_owned()
}
