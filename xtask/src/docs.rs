//! `cargo xtask docs`: the API documentation builds, and the generated references are current.

use anyhow::Result;

use crate::{reference, shell};

/// Builds the documentation with every warning an error, then compares the references.
pub(crate) fn run() -> Result<()> {
    let mut doc = shell::cargo();
    doc.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings");
    shell::run(&mut doc)?;
    reference::check()
}
