//! `cargo xtask lint`: the format, then clippy with every warning an error.

use anyhow::Result;

use crate::{fmt, shell};

/// Checks every target of every crate.
pub(crate) fn run() -> Result<()> {
    fmt::check()?;
    let mut clippy = shell::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    shell::run(&mut clippy)
}
