//! What the engine promises, shown with guests that behave and guests that do not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what is wrong here fails the test"
)]

mod cache;
mod guests;
mod hostile;
mod imports;
mod policies;
