//! Foreign bytes and what must hold for all of them: the bodies of the fuzz targets.
//!
//! [`Search`] runs them over the committed corpus and over altered entries of it, briefly in every test run and for a
//! minute each in `cargo xtask test`. `cargo xtask fuzz --guided` builds the same bodies with libFuzzer, which looks where
//! the code has not been yet; that is the crate in `guided`, on its own because it needs other compiler flags.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a fuzz target says that something does not hold"
)]

#[cfg(feature = "documents")]
mod apply;
#[cfg(feature = "documents")]
mod bundle;
mod edits;
#[cfg(feature = "hooks")]
mod hooks;
#[cfg(feature = "connections")]
mod http1;
#[cfg(feature = "documents")]
mod resources;
mod search;
mod target;
mod upgrade;

#[cfg(feature = "documents")]
pub use apply::apply;
#[cfg(feature = "documents")]
pub use bundle::bundle;
pub use edits::edits;
#[cfg(feature = "hooks")]
pub use hooks::hooks;
#[cfg(feature = "connections")]
pub use http1::http1;
#[cfg(feature = "documents")]
pub use resources::resources;
pub use search::{BrokenInput, Budget, Search};
pub use target::target;
pub use upgrade::upgrade;
