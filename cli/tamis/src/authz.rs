//! `tamis authz`: asks the policies of a folder about requests and connections, without a proxy, and proposes policies.

mod ask;
mod explain;
mod learn;
mod target;
mod test;

use crate::output::Output;
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

/// Arguments of `authz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Ask the policies of a folder about a table of requests and connections: exits with 1 if a decision is not the expected
    /// one.
    #[command(after_help = "Example:\n  tamis authz test examples/shop --cases cases.yaml")]
    Test(test::Arguments),
    /// Show what the policies of a folder decide about one request, or one connection of a `tcp` port, which rules cover it, and
    /// which conditions of the others do not hold.
    #[command(
        after_help = "Examples:\n  tamis authz explain examples/shop --to shop/payments --from spiffe://shop.example/ns/shop/service/storefront --path /pay\n  tamis authz explain examples/shop --to shop/stock --port 700 --from spiffe://shop.example/ns/shop/service/catalog"
    )]
    Explain(explain::Arguments),
    /// Propose the least policy that allows what access records show would be refused.
    #[command(
        after_help = "Example:\n  tamis authz learn --to shop/payments --since 1h access.jsonl"
    )]
    Learn(learn::Arguments),
}

/// The entry of `allow` that allows a request, and no other.
pub(crate) fn allowing_rule(from: Option<&str>, method: &str, path: &str) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let path = path.split('?').next().unwrap_or("/");
    format!(
        "- {{ {}methods: [{}], paths: [{{ type: Exact, value: {} }}] }}",
        identities(from),
        quoted(method),
        quoted(path)
    )
}

/// The entry of `allow` that allows connections to a `tcp` port.
fn connecting_rule(from: Option<&str>, port: u16) -> String {
    format!("- {{ {}ports: [{port}] }}", identities(from))
}

/// The condition on the client, with what separates it from the next one.
fn identities(from: Option<&str>) -> String {
    let one = |id: &str| format!("identities: [{}], ", Value::String(id.to_owned()));
    from.map(one).unwrap_or_default()
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Test(arguments) => test::run(arguments, output),
        Command::Explain(arguments) => explain::run(arguments, output),
        Command::Learn(arguments) => learn::run(arguments, output),
    }
}
