//! Shared by end-to-end tests: the binary, folders of resources, backends, a client.
//!
//! Every test has its own folder and its own ports, and polls for what it waits for, never sleeping a fixed
//! time.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of tests: what is wrong here fails the test"
)]

mod backend;
mod client;
mod folder;
mod objects;
mod postgres;
mod process;
mod relay;

pub use backend::{Answer, Backend, Seen};
pub use client::{Reply, exchange, get, request};
pub use folder::Folder;
pub use objects::Objects;
pub use postgres::Postgres;
pub use process::{Running, tamis, up};
pub use relay::Relay;
pub use tamis_ports::{SHIFT as PORT_SHIFT, free as free_port};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// How long a test waits for an expected event.
const PATIENCE: Duration = Duration::from_secs(180);

/// Calls `ask` until it returns a value; fails with `what` after three minutes.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, || ask().ok_or_else(String::new))
}

/// The same, with each unexpected answer in the message of the failure.
pub fn eventually_or<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(last) => {
                assert!(Instant::now() < until, "not within three minutes: {what}; last: {last}");
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
