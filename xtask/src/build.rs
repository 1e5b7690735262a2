//! `cargo xtask build`: the wasm target, the filters, then the binary that embeds them.

use anyhow::Result;

use crate::{filters, setup, shell};

/// Options of `build`.
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

/// Builds only `tamis`, with the components that exist.
///
/// Without `release` the dependencies are those of `cargo test --workspace`, so that `up`, `build`, `test`
/// and the tutorial compile each of them once. Cargo enables the features of the selected packages only,
/// and those of development dependencies only if a test is among the targets: hence the whole workspace and
/// a test that needs nothing which the binary does not need.
pub(crate) fn binary(release: bool) -> Result<()> {
    let mut build = shell::cargo();
    if release {
        build.args(["build", "--release", "--package", "tamis"]);
        println!("    building tamis, optimised: 10 to 20 minutes on two cores at the first time");
    } else {
        build.args(["build", "--workspace", "--bin", "tamis", "--test", "golden"]);
        println!(
            "    building tamis: about 10 minutes on two cores at the first time, then seconds"
        );
    }
    shell::run(&mut build)
}
