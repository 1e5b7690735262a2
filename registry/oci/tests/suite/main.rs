//! What the registry promises, through its API.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: what is wrong here fails the test"
)]

mod access;
mod client;
mod conditions;
mod limits;
mod manifests;
mod replicas;
mod uploads;
