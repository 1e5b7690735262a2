//! `tamis audit`: the journal, who ran what when, and the proofs of both.

mod log;
mod verify;
mod who;
mod words;

use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `audit`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print entries of the journal, oldest first: who, what, when and why in a line each; the whole entries with --output json.
    #[command(after_help = "Example:\n  tamis audit log --since 1h --follow")]
    Log(log::Arguments),
    /// Show what ran for a service at a moment, according to the reports of its proxies.
    #[command(
        after_help = "Example:\n  tamis audit who-ran shop/checkout --at 2027-01-31T12:00:00Z --proof proof.json"
    )]
    WhoRan(who::Arguments),
    /// Check proofs offline: the checkpoint's signature, the place of every entry in the log, and what the
    /// entries report.
    #[command(after_help = "Example:\n  tamis audit verify proof.json --log-key log.pub")]
    Verify(verify::Arguments),
    /// Print the public key of the log. Keep a copy: a proof is checked against the key that you kept.
    #[command(after_help = "Example:\n  tamis audit key > log.pub")]
    Key(Key),
}

#[derive(clap::Args)]
struct Key {
    #[command(flatten)]
    at: RegistryAccess,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Log(arguments) => log::run(arguments, output),
        Command::WhoRan(arguments) => who::run(arguments, output),
        Command::Verify(arguments) => verify::run(arguments, output),
        Command::Key(Key { at }) => {
            let key = at.remote()?.ask("reading", async |client| client.log_key().await)?;
            output::answer(output, &json!({ "key": key }), || key.clone());
            Ok(ExitCode::SUCCESS)
        }
    }
}
