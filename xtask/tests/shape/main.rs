//! The shape of the source: what can be said of files and names without compiling them.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where the source is not what was expected"
)]

mod clocks;
mod cycles;
mod files;
mod host_fields;
mod lints;
mod names;
mod source;
