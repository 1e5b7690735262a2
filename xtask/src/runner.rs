//! `cargo xtask conformance` and `cargo xtask bench`: programs of `tests`, built when they are asked for.

use std::ffi::OsString;

use anyhow::Result;

use crate::shell;

/// What is handed to the program, `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Its arguments; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds the program of that package if it is not up to date, and runs it.
pub(crate) fn run(package: &str, arguments: &Arguments) -> Result<()> {
    let mut command = shell::cargo();
    command.args(["run", "--quiet", "--package", package, "--"]).args(&arguments.arguments);
    shell::run(&mut command)
}
