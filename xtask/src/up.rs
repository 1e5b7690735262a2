//! `cargo xtask up`: from a checkout to a running mesh in one command.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{build, filters, setup, shell};

/// What `up` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Handed to `tamis up` as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds an optimised binary, then becomes it: signals reach `tamis` itself.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::wasm_target()?;
    filters::all()?;
    build::binary(true)?;
    let binary = Workspace::load()?.target_directory.join("release/tamis");
    let mut tamis = shell::command(&binary);
    tamis.arg("up").args(&arguments.arguments);
    // Paths among the arguments are meant from where the developer stands.
    tamis.current_dir(std::env::current_dir()?);
    Err(tamis.exec()).with_context(|| format!("could not start {}", binary.display()))
}
