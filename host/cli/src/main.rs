//! The `tamis` binary: one program for whoever runs, writes, signs or looks at filters.

mod builtin;
mod check;
mod filter;
mod keys;
mod log;
mod output;
mod proxy;
mod reference;
mod schema;
mod up;

use clap::{CommandFactory as _, Parser, Subcommand};
use output::Output;
use std::process::ExitCode;

/// A proxy platform whose policies are signed WebAssembly components.
#[derive(Parser)]
#[command(name = "tamis", version, disable_help_subcommand = true)]
struct Tamis {
    #[command(subcommand)]
    command: Option<Command>,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole mesh from a folder of resources: gateway, sidecars, sample services.
    #[command(after_help = "Example:\n  tamis up examples/shop")]
    Up(up::Arguments),
    /// Run one proxy: a gateway, or the sidecar of a service.
    #[command(
        after_help = "Example:\n  tamis proxy --node gateway:shop/edge --documents examples/shop --store examples/shop/.tamis/store"
    )]
    Proxy(proxy::Arguments),
    /// Check a folder of resources and say what is wrong with it.
    #[command(after_help = "Example:\n  tamis check examples/shop")]
    Check(check::Arguments),
    /// Print the JSON Schema of resources, for editors.
    #[command(after_help = "Example:\n  tamis schema > tamis.schema.json")]
    Schema,
    /// Make signing keys.
    #[command(after_help = "Example:\n  tamis keys generate release")]
    Keys(keys::Arguments),
    /// Write, build, test, inspect, sign and verify filters.
    #[command(after_help = "Example:\n  tamis filter new my-filter")]
    Filter(filter::Arguments),
    /// Write the reference pages that are made from the program.
    #[command(hide = true, after_help = "Example:\n  tamis reference docs/reference")]
    Reference(reference::Arguments),
}

fn main() -> ExitCode {
    let tamis = Tamis::parse();
    log::start();
    let output = tamis.output;
    let done = match tamis.command {
        None => Tamis::command().print_help().map_err(Into::into).map(|()| ExitCode::SUCCESS),
        Some(Command::Up(arguments)) => up::run(&arguments, output),
        Some(Command::Proxy(arguments)) => proxy::run(&arguments, output),
        Some(Command::Check(arguments)) => check::run(&arguments, output),
        Some(Command::Schema) => schema::run(),
        Some(Command::Keys(arguments)) => keys::run(&arguments, output),
        Some(Command::Filter(arguments)) => filter::run(&arguments, output),
        Some(Command::Reference(arguments)) => reference::run(&arguments, Tamis::command()),
    };
    done.unwrap_or_else(|error| {
        output::failed(output, &error);
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command, those of commands included.
    fn every(command: &clap::Command, path: &str, seen: &mut Vec<(String, clap::Command)>) {
        for one in command.get_subcommands() {
            let path = format!("{path} {}", one.get_name());
            seen.push((path.clone(), one.clone()));
            every(one, &path, seen);
        }
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        let tamis = Tamis::command();
        tamis.clone().debug_assert();
        let mut seen = Vec::new();
        every(&tamis, "tamis", &mut seen);
        assert!(seen.len() > 8);
        for (path, command) in seen {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&path), "{path} shows no example of itself");
            assert!(command.get_about().is_some(), "{path} has no description");
        }
    }
}
