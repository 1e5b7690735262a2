//! The `tamis` binary, for operators, authors and auditors of filters: it runs proxies and registries, builds, tests and
//! signs filters, and asks a registry for changes.
//!
//! One file for each command. Only this crate reads the environment and prints; decisions stand in the other crates.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests read what they have written themselves")
)]

mod audit;
mod authz;
mod builtin;
mod capture;
mod certificates;
mod change;
mod check;
mod completions;
mod consent;
mod declared;
mod document;
mod ending;
mod explain;
mod failure;
mod filter;
mod get;
mod identity;
mod keys;
mod log;
mod named_file;
mod names;
mod output;
#[cfg(test)]
mod pages;
mod pin;
mod plaintext_use;
mod policy;
mod private_file;
mod problem_text;
mod proxy;
mod proxy_identities;
mod reassign;
mod reference;
mod registry;
mod registry_engine;
mod remote;
mod rollout;
mod schema;
mod secrets;
mod status;
mod table;
mod up;
mod user_state;
mod watch;
mod when;

use clap::error::ErrorKind;
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
    /// Run a whole mesh from a folder of documents: gateway, sidecars, sample services.
    #[command(after_help = "Example:\n  tamis up examples/shop")]
    Up(up::Arguments),
    /// Run one proxy: a gateway, or the sidecar of a service.
    #[command(
        after_help = "Examples:\n  tamis proxy --node gateway:demo/edge --documents demo --store demo/.tamis/store\n  tamis proxy --join edge.join --follow 127.0.0.1:5001 --state state --director-keys director.json\n  tamis proxy --node sidecar:shop/pay --documents mesh --store mesh/.tamis/store --workload-api unix:///run/spire/agent.sock"
    )]
    Proxy(Box<proxy::Arguments>),
    /// Check a folder of documents and report its errors.
    #[command(
        after_help = "Examples:\n  tamis check examples/shop\n  tamis check my-team --live --registry https://registry.example:5000 --ca ca.crt"
    )]
    Check(check::Arguments),
    /// Print a JSON Schema, for editors.
    #[command(
        after_help = "Examples:\n  tamis schema > tamis.schema.json\n  tamis schema cases > cases.schema.json"
    )]
    Schema(schema::Arguments),
    /// Make signing keys, and certificates for machines of your own.
    #[command(after_help = "Example:\n  tamis keys generate release")]
    Keys(keys::Arguments),
    /// Write, build, test, inspect, sign and verify filters.
    #[command(after_help = "Example:\n  tamis filter new my-filter")]
    Filter(filter::Arguments),
    /// Write, sign and check trust policies as metadata that proxies verify: who may decide whose signatures count.
    #[command(after_help = "Example:\n  tamis policy show --folder policy")]
    Policy(policy::Arguments),
    /// Ask authorization policies about requests, without a proxy, and propose policies from access records.
    #[command(
        after_help = "Example:\n  tamis authz explain examples/shop --to shop/payments --path /pay"
    )]
    Authz(authz::Arguments),
    /// Run a registry: it stores and serves filters and other OCI artifacts, and directs proxies.
    #[command(
        after_help = "Example:\n  tamis registry --data /var/lib/tamis --listen 127.0.0.1:5000"
    )]
    Registry(Box<registry::Arguments>),
    /// Show the effect of applying a folder of documents, and the rules that would refuse it: exits with 3 if any would.
    #[command(after_help = "Example:\n  tamis plan -f examples/shop")]
    Plan(change::Plan),
    /// Put a folder of documents in force, all of it or nothing, and show the effect.
    #[command(after_help = "Example:\n  tamis apply -f examples/shop --confirm")]
    Apply(change::Apply),
    /// List the documents in force, or print one.
    #[command(after_help = "Example:\n  tamis get services -n shop")]
    Get(get::GetArguments),
    /// Show how the texts of a folder of documents differ from those in force: exits with 1 if any does.
    #[command(after_help = "Example:\n  tamis diff -f examples/shop")]
    Diff(document::Diff),
    /// Take a document out of force.
    #[command(after_help = "Example:\n  tamis delete httproute payments -n shop")]
    Delete(document::Delete),
    /// Show one document with its conditions and its state in each proxy.
    #[command(after_help = "Example:\n  tamis describe service payments -n shop")]
    Describe(get::Describe),
    /// Pin a filter of a service to a digest.
    #[command(after_help = "Example:\n  tamis pin shop/checkout acme/retry@1.4.2")]
    Pin(pin::Arguments),
    /// Remove a pin.
    #[command(after_help = "Example:\n  tamis unpin shop/checkout acme/retry")]
    Unpin(pin::UnpinArguments),
    /// List the pins in force.
    #[command(after_help = "Example:\n  tamis pins")]
    Pins(pin::PinsArguments),
    /// Go back: pin again what was pinned before, or put the earlier version of a document in force again.
    #[command(
        after_help = "Example:\n  tamis rollback shop/checkout acme/retry\n  tamis rollback httproute payments -n shop --to 41"
    )]
    Rollback(pin::Rollback),
    /// List the changes to a service, its filters and the documents that name it, or to one document.
    #[command(
        after_help = "Example:\n  tamis history shop/checkout acme/retry\n  tamis history httproute payments -n shop"
    )]
    History(pin::History),
    /// Assign every slot again, with epochs above all that proxies have seen: for example after a restore from a backup.
    #[command(
        after_help = "Example:\n  tamis reassign --reason 'restored from the backup of Sunday'"
    )]
    Reassign(reassign::Arguments),
    /// Approve another person's change.
    #[command(
        after_help = "Example:\n  tamis approve sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    Approve(consent::Approve),
    /// Withdraw a filter or an author's key.
    #[command(
        after_help = "Example:\n  tamis revoke key release --from-index 4711 --reason 'laptop lost'"
    )]
    Revoke(consent::Revoke),
    /// Let proxies join the mesh and show their identities: join tokens, revocation, rotation.
    #[command(
        after_help = "Example:\n  tamis identity token sidecar:shop/payments/0 --out pay.join"
    )]
    Identity(identity::Arguments),
    /// Lead the connections of applications on this machine to their sidecar.
    #[command(after_help = "Example:\n  tamis capture show")]
    Capture(capture::Arguments),
    /// Replace one digest by another, wave by wave.
    #[command(after_help = "Example:\n  tamis rollout status retry-1.4.2 --watch")]
    Rollout(rollout::Arguments),
    /// Show what every proxy runs, since when, and why it differs from what is assigned.
    #[command(after_help = "Example:\n  tamis status --service shop/checkout --watch")]
    Status(status::Arguments),
    /// Read the journal, report which proxies ran which filter, and check proofs of both.
    #[command(after_help = "Example:\n  tamis audit who-ran shop/checkout --at 10m")]
    Audit(audit::Arguments),
    /// Explain the code of a refusal: its meaning, who set the rule, and the way out.
    #[command(after_help = "Example:\n  tamis explain trust.threshold")]
    Explain(explain::Arguments),
    /// Print a script that makes a shell complete commands.
    #[command(after_help = "Example:\n  tamis completions bash > /etc/bash_completion.d/tamis")]
    Completions(completions::Arguments),
    /// Write the reference pages that are made from the program.
    #[command(hide = true, after_help = "Example:\n  tamis reference docs/reference")]
    Reference(reference::Arguments),
}

fn main() -> ExitCode {
    let tamis = match Tamis::try_parse() {
        Ok(tamis) => tamis,
        Err(error) => return misused(&error, std::env::args().skip(1)),
    };
    let _log = log::start();
    let output = match &tamis.command {
        Some(Command::Filter(arguments)) => arguments.output(tamis.output),
        _ => tamis.output,
    };
    let done = match tamis.command {
        None => Tamis::command().print_help().map_err(Into::into).map(|()| ExitCode::SUCCESS),
        Some(Command::Up(arguments)) => up::run(&arguments, output),
        Some(Command::Proxy(arguments)) => proxy::run(&arguments, output),
        Some(Command::Check(arguments)) => check::run(&arguments, output),
        Some(Command::Schema(arguments)) => schema::run(&arguments),
        Some(Command::Keys(arguments)) => keys::run(&arguments, output),
        Some(Command::Filter(arguments)) => filter::run(&arguments, output),
        Some(Command::Policy(arguments)) => policy::run(&arguments, output),
        Some(Command::Authz(arguments)) => authz::run(&arguments, output),
        Some(Command::Registry(arguments)) => registry::run(&arguments, output),
        Some(Command::Plan(arguments)) => change::plan(&arguments, output),
        Some(Command::Apply(arguments)) => change::apply(&arguments, output),
        Some(Command::Get(arguments)) => get::get(&arguments, output),
        Some(Command::Describe(arguments)) => get::describe(&arguments, output),
        Some(Command::Diff(arguments)) => document::diff(&arguments, output),
        Some(Command::Delete(arguments)) => document::delete(&arguments, output),
        Some(Command::Reassign(arguments)) => reassign::run(&arguments, output),
        Some(Command::Pin(arguments)) => pin::pin(&arguments, output),
        Some(Command::Unpin(arguments)) => pin::unpin(&arguments, output),
        Some(Command::Pins(arguments)) => pin::pins(&arguments, output),
        Some(Command::Rollback(arguments)) => pin::rollback(&arguments, output),
        Some(Command::History(arguments)) => pin::history(&arguments, output),
        Some(Command::Approve(arguments)) => consent::approve(&arguments, output),
        Some(Command::Revoke(arguments)) => consent::revoke(&arguments, output),
        Some(Command::Identity(arguments)) => identity::run(&arguments, output),
        Some(Command::Capture(arguments)) => capture::run(&arguments, output),
        Some(Command::Rollout(arguments)) => rollout::run(&arguments, output),
        Some(Command::Status(arguments)) => status::run(&arguments, output),
        Some(Command::Audit(arguments)) => audit::run(&arguments, output),
        Some(Command::Explain(arguments)) => explain::run(&arguments, output),
        Some(Command::Completions(arguments)) => completions::run(&arguments, Tamis::command()),
        Some(Command::Reference(arguments)) => reference::run(&arguments, Tamis::command()),
    };
    done.unwrap_or_else(|error| failure::report(output, &error))
}

/// Exit code of a command line that makes no sense.
const MISUSED: u8 = 2;

/// A command line that makes no sense, or one that asks for help.
fn misused(error: &clap::Error, arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    let json = arguments.iter().any(|one| one == "--output=json")
        || arguments.windows(2).any(|two| two == ["--output", "json"]);
    let output = if json { Output::Json } else { Output::Text };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {}
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if output == Output::Text => {}
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::failed(output, "a subcommand is missing; `--help` lists them");
            return ExitCode::from(MISUSED);
        }
        _ => {
            output::failed(output, &misuse(&error.render().to_string()));
            return ExitCode::from(MISUSED);
        }
    }
    // Fails when nobody reads, which is as good.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(MISUSED))
}

/// What is wrong with a command line, in one line: the paragraphs of the parser, without its headings.
fn misuse(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = words.trim_start_matches("error: ");
        if words.starts_with("For more information") {
            parts.push("`--help` says more".to_owned());
        } else if !words.is_empty() {
            parts.push(words.replace("Usage:", "usage:"));
        }
    }
    parts.join("; ")
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
    fn a_command_line_that_makes_no_sense_is_told_in_one_line() {
        let said = |line: &str| {
            let error = Tamis::try_parse_from(line.split(' ')).err().unwrap();
            misuse(&error.render().to_string())
        };
        for (line, parts) in [
            ("tamis frobnicate", &["'frobnicate'", "usage: tamis"][..]),
            ("tamis filtr", &["'filtr'", "'filter'"]),
            ("tamis proxy", &["--node <NODE>", "usage: tamis proxy --node <NODE>"]),
            ("tamis proxy --node nobody", &["gateway:namespace/name"]),
            ("tamis check --output xml", &["'xml'", "text, json"]),
            ("tamis filter verify a.wasm", &["--key", "--policy"]),
            ("tamis keys generate", &["<NAME>"]),
        ] {
            let said = said(line);
            assert!(!said.contains('\n') && said.ends_with("`--help` says more"), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
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
