//! `cargo xtask up`: from a checkout to a running mesh in one command.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{build, filters, setup, shell};

/// Options of `up`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Optimise Tamis itself as well, not its dependencies alone: slower to build, faster to serve.
    #[arg(long)]
    release: bool,
    /// Passed to `tamis up` unchanged.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the binary, then becomes it: signals reach `tamis` itself.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::wasm_target()?;
    filters::all()?;
    build::binary(arguments.release)?;
    let profile = if arguments.release { "release" } else { "debug" };
    let binary = Workspace::load()?.target_directory.join(profile).join("tamis");
    let mut tamis = shell::command(&binary);
    tamis.arg("up").args(&arguments.arguments);
    // Paths among the arguments are relative to the developer's folder.
    tamis.current_dir(std::env::current_dir()?);
    Err(tamis.exec()).with_context(|| format!("could not start {}", binary.display()))
}
