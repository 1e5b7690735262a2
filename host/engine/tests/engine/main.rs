//! The guarantees of the engine, shown with well-behaved and hostile guests.
#![expect(clippy::disallowed_methods, reason = "a test waits in real time")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what is wrong here fails the test"
)]

mod cache;
mod contracts;
mod guests;
mod hostile;
mod imports;
mod policies;
mod raw;
mod rogue;
mod room;
