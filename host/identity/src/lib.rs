//! Who a proxy is inside the mesh: its key, how it joins, and how it renews its SVID.
//!
//! A [`Registrar`] asks the registry's authority. [`Registrar::joining`] exchanges a one-time token for the first
//! SVID; a [`Renewal`] then replaces it at 50 to 70 percent of its life, with a new key each time. A key is
//! made here and never leaves the process: the registry gets a request that it signed. While the registry is
//! away the proxy serves on with what it has, and asks again and again.
//!
//! Where a SPIFFE agent signs instead, [`AgentSvid`] takes SVIDs, their keys and all authorities from its socket.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod ask;
mod background;
mod error;
mod key;
mod registrar;
mod renewal;
#[cfg(test)]
mod testing;
mod workload;

pub use error::IdentityError;
pub use registrar::{JoiningProxy, Registrar};
pub use renewal::Renewal;
pub use workload::{AgentSocket, AgentSvid, WantedSvid, WorkloadError};
