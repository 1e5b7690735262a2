//! Every developer command: `cargo xtask` prints the list, `cargo xtask COMMAND --help` an example.
//!
//! One file per command. A command that needs another calls its function, so that
//! `cargo xtask test` on a fresh checkout does everything from the toolchain to the last test.
#![expect(clippy::print_stdout, reason = "a developer's tool talks to the developer")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};
use tamis_harness::{shell, workspace};

mod build;
mod deny;
mod docs;
mod filters;
mod fmt;
mod fuzz;
mod guests;
mod lint;
mod reference;
mod runner;
mod setup;
mod test;
mod up;
mod wit;

/// The developer commands of Tamis.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Xtask {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need: the wasm target, Debian packages, cargo-deny.
    #[command(after_help = "Example:\n  cargo xtask setup")]
    Setup(setup::Arguments),
    /// Build the filters into components, in target/components.
    #[command(after_help = "Examples:\n  cargo xtask filters\n  cargo xtask filters route jwt")]
    Filters(filters::Arguments),
    /// Build the guests in other languages than the built-in filters', in target/guests.
    #[command(after_help = "Examples:\n  cargo xtask guests\n  cargo xtask guests go c")]
    Guests(guests::Arguments),
    /// Check the contract in wit/ and render docs/reference/contract.md.
    #[command(after_help = "Examples:\n  cargo xtask wit\n  cargo xtask wit --check")]
    Wit(wit::Arguments),
    /// Build the filters, then the tamis binary that embeds them.
    #[command(after_help = "Example:\n  cargo xtask build --release")]
    Build(build::Arguments),
    /// Build tamis and run `tamis up` with the arguments given.
    #[command(
        after_help = "Example:\n  cargo xtask up examples/shop\n  cargo xtask up --release examples/shop"
    )]
    Up(up::Arguments),
    /// Format every crate.
    #[command(after_help = "Example:\n  cargo xtask fmt")]
    Fmt(fmt::Arguments),
    /// Check the formatting, then run clippy with every warning an error.
    #[command(after_help = "Example:\n  cargo xtask lint")]
    Lint,
    /// Check dependencies: who may name which, licences, sources, advisories.
    #[command(after_help = "Example:\n  cargo xtask deny")]
    Deny,
    /// Build the API documentation and check that the generated references are current.
    #[command(after_help = "Example:\n  cargo xtask docs")]
    Docs,
    /// Run outside suites against the gateway (h2spec, h1spec, desync, websocket, grpc, gibibyte) and the registry (oci,
    /// oci-clients, cosign, tuf), and a SPIRE agent for proxies (spire).
    #[command(
        after_help = "Examples:\n  cargo xtask conformance h2spec\n  cargo xtask conformance oci"
    )]
    Conformance(runner::Arguments),
    /// Measure cost per request, memory, start and swaps, compared with Envoy, nginx and HAProxy.
    #[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench cpu --rounds 9")]
    Bench(runner::Arguments),
    /// Look for inputs that break a parser or the engine, by altering a corpus or with libFuzzer.
    #[command(
        after_help = "Examples:\n  cargo xtask fuzz target --seconds 600\n  cargo xtask fuzz --guided edits"
    )]
    Fuzz(fuzz::Arguments),
    /// Write the reference pages of docs/reference from the contract and the program.
    #[command(after_help = "Example:\n  cargo xtask reference")]
    Reference(reference::Arguments),
    /// Set up, build, lint, test and check everything.
    #[command(after_help = "Example:\n  cargo xtask test")]
    Test,
    /// What continuous integration runs: the same as test.
    #[command(after_help = "Example:\n  cargo xtask ci")]
    Ci,
}

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes, and no backtrace: what failed is a command, and it is named.
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<()> {
    match Xtask::parse().command {
        None => Ok(Xtask::command().print_help()?),
        Some(Command::Setup(arguments)) => setup::run(&arguments),
        Some(Command::Filters(arguments)) => filters::run(&arguments),
        Some(Command::Guests(arguments)) => guests::run(&arguments),
        Some(Command::Wit(arguments)) => wit::run(&arguments),
        Some(Command::Build(arguments)) => build::run(&arguments),
        Some(Command::Up(arguments)) => up::run(&arguments),
        Some(Command::Fmt(arguments)) => fmt::run(&arguments),
        Some(Command::Lint) => lint::run(),
        Some(Command::Deny) => deny::run(),
        Some(Command::Docs) => docs::run(),
        Some(Command::Conformance(arguments)) => runner::run("tamis-conformance", &arguments),
        Some(Command::Bench(arguments)) => runner::run("tamis-bench", &arguments),
        Some(Command::Fuzz(arguments)) => fuzz::run(&arguments),
        Some(Command::Reference(arguments)) => reference::run(&arguments),
        Some(Command::Test | Command::Ci) => test::run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_explains_itself_with_an_example() {
        let list = Xtask::command();
        list.clone().debug_assert();
        for command in list.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains(&format!("cargo xtask {name}")), "{name} shows no example");
            assert!(command.get_about().is_some(), "{name} has no description");
        }
    }
}
