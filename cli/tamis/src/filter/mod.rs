//! `tamis filter`: write, build, test, inspect, compare, sign, verify, push, pull.

pub(crate) mod artifact;
mod build;
mod contract;
mod diff;
pub(crate) mod grants;
mod inspect;
pub(crate) mod lock;
mod lost_output;
mod new;
mod pull;
mod push;
mod run;
mod sign;
mod test;
mod trial;
mod verify;
mod world;

pub(crate) use inspect::declared_of;
#[cfg(test)]
pub(crate) use trial::configured_under;
pub(crate) use trial::{configured, configured_from};

use crate::output::Output;
use anyhow::Result;
use std::process::ExitCode;

/// Arguments of `filter`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a folder with a filter in Rust that builds and passes its tests.
    #[command(
        after_help = "Example:\n  tamis filter new my-filter\n  tamis filter new my-limits --world transformer --namespace shop"
    )]
    New(new::Arguments),
    /// Build the filter of a folder into a component.
    #[command(after_help = "Example:\n  tamis filter build my-filter")]
    Build(build::Arguments),
    /// Build a filter and run its tables of cases through the engine of the proxy.
    #[command(after_help = "Example:\n  tamis filter test my-filter")]
    Test(test::Arguments),
    /// Build a filter and serve with it on this machine: a gateway, its decisions line by line, and a new build whenever
    /// the folder is saved. A build that fails leaves the last good one serving.
    #[command(after_help = "Example:\n  tamis filter run my-filter --port 8080")]
    Run(run::Arguments),
    /// Show what a component is and may do: hooks, imports, declared fields, size, digest, signers.
    #[command(after_help = "Example:\n  tamis filter inspect my-filter/target/my-filter.wasm")]
    Inspect(inspect::Arguments),
    /// Show what a second component may do and a first may not, from their bytes, and how their settings differ: exits
    /// with 0 if it may do nothing more, with 3 if anything.
    #[command(
        after_help = "Example:\n  tamis filter diff store/acme-my-filter-0.1.0.wasm my-filter/target/my-filter.wasm"
    )]
    Diff(diff::Arguments),
    /// Sign a component: write it with its manifest and signature into a store; with --pin also pin it.
    #[command(
        after_help = "Example:\n  tamis filter sign my-filter.wasm --name acme/my-filter --version 0.1.0 --key release.key --store store"
    )]
    Sign(sign::Arguments),
    /// Check under keys or a trust policy that a signed component may run.
    #[command(
        after_help = "Example:\n  tamis filter verify store/acme-my-filter-0.1.0.wasm --key release.pub"
    )]
    Verify(verify::Arguments),
    /// Put a signed filter into a registry, with its signatures, tagged with its version.
    #[command(after_help = "Example:\n  tamis filter push store/acme-my-filter-0.1.0.wasm")]
    Push(push::Arguments),
    /// Fetch a filter with its signatures from a registry into a store.
    #[command(after_help = "Example:\n  tamis filter pull acme/my-filter:0.1.0 --store store")]
    Pull(pull::Arguments),
}

impl Arguments {
    /// The form of results: `inspect --json` also means JSON.
    pub(crate) fn output(&self, output: Output) -> Output {
        match &self.command {
            Command::Inspect(arguments) if arguments.json => Output::Json,
            _ => output,
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::New(arguments) => new::run(arguments, output),
        Command::Build(arguments) => build::run(arguments, output),
        Command::Test(arguments) => test::run(arguments, output),
        Command::Run(arguments) => run::run(arguments, output),
        Command::Inspect(arguments) => inspect::run(arguments, output),
        Command::Diff(arguments) => diff::run(arguments, output),
        Command::Sign(arguments) => sign::run(arguments, output),
        Command::Verify(arguments) => verify::run(arguments, output),
        Command::Push(arguments) => push::run(arguments, output),
        Command::Pull(arguments) => pull::run(arguments, output),
    }
}
