//! `tamis completions`: completion scripts for shells.

use crate::output;
use anyhow::Result;
use clap::Command;
use clap_complete::Shell;
use std::process::ExitCode;

/// Arguments of `completions`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell.
    shell: Kind,
}

/// Supported shells.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Prints the script.
pub(crate) fn run(arguments: &Arguments, mut program: Command) -> Result<ExitCode> {
    let shell = match arguments.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "tamis", &mut script);
    output::line(&String::from_utf8(script)?);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::Tamis::command(), "tamis", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("rollback") && script.contains("who-ran"), "{shell}");
        }
    }
}
