//! `cargo xtask build`: the wasm target, the filters, then the binary that embeds them.

use anyhow::Result;

use crate::{filters, setup, shell};

/// What `build` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Optimise; the binary is target/release/tamis instead of target/debug/tamis.
    #[arg(long)]
    release: bool,
}

/// Builds everything that runs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::wasm_target()?;
    filters::all()?;
    binary(arguments.release)
}

/// Builds `tamis` alone, with the components that are there.
pub(crate) fn binary(release: bool) -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--package", "tamis"]);
    if release {
        build.arg("--release");
    }
    shell::run(&mut build)
}
