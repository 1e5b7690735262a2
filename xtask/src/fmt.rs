//! `cargo xtask fmt`: one format for every crate.

use anyhow::Result;

use crate::shell;

/// Arguments of `fmt`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail when a file is not formatted.
    #[arg(long)]
    check: bool,
}

/// Formats, or checks the format.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check { check() } else { shell::run(shell::cargo().args(["fmt", "--all"])) }
}

/// Fails when a file is not formatted.
pub(crate) fn check() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}
