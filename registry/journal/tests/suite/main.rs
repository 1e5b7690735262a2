//! The promises of the journal and the blobs, on every storage.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod blobs;
mod files;
mod journal;
mod log;
mod objects;
mod postgres;
mod sqlite;
mod store;
