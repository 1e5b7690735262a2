//! `tamis capture`: makes the kernel of a machine lead the connections of applications to their sidecar, so that nobody
//! has to point them there.
//!
//! All rules stand in one table of nftables, which is replaced and removed as a whole.

mod install;
mod nft;
mod owner;
mod rules;
#[cfg(test)]
mod tests;

use crate::output::{self, Output};
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `capture`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lead new connections of this machine to its sidecar; replaces what was installed before.
    #[command(
        after_help = "Connections that are open stay as they are. It needs CAP_NET_ADMIN and nft, of the Debian package nftables.\n\nExamples:\n  tamis capture install --proxy-user tamis --dry-run\n  tamis capture install --proxy-user tamis --dns 15053 --inbound 10.0.0.2:15006 --app-port 8080"
    )]
    Install(Box<install::Install>),
    /// Remove all rules; does nothing where none is installed.
    #[command(after_help = "Example:\n  tamis capture remove")]
    Remove,
    /// Print the rules in force, with the connections that each has met.
    #[command(after_help = "Example:\n  tamis capture show")]
    Show,
}

/// Runs a command of `capture`.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Install(arguments) => install::run(arguments, output)?,
        Command::Remove => {
            nft::apply(rules::REMOVED)?;
            output::result(output, &json!({ "installed": false }), || {
                "no rules of Tamis are installed: connections go where applications send them"
                    .to_owned()
            });
        }
        Command::Show => {
            let rules = nft::installed()?;
            let shown = json!({ "installed": rules.is_some(), "rules": &rules });
            output::result(output, &shown, || {
                rules.unwrap_or_else(|| {
                    "no rules of Tamis are installed; `tamis capture install` does that".to_owned()
                })
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
