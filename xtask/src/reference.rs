//! `cargo xtask reference`: pages that the contract and the program itself write.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{build, filters, setup, shell, wit};

/// What `reference` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a page is stale.
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or compares them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::wasm_target()?;
    filters::all()?;
    build::binary(false)?;
    pages(arguments.check)
}

/// Compares them, with what was built before.
pub(crate) fn check() -> Result<()> {
    pages(true)
}

fn pages(check: bool) -> Result<()> {
    if check {
        wit::check()?;
    } else {
        wit::write()?;
    }
    let binary = Workspace::load()?.target_directory.join("debug/tamis");
    let mut tamis = shell::command(&binary);
    tamis.args(["reference", "docs/reference"]);
    if check {
        tamis.arg("--check");
    }
    shell::run(&mut tamis)
}
