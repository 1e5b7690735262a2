//! `tamis identity`: who is who inside the mesh, managed at the registry that is its authority.

use crate::failure::NotFound;
use crate::get::items;
use crate::output::{self, Output};
use crate::private_file;
use crate::remote::RegistryAccess;
use crate::when::{dated, now_ms, rfc3339};
use anyhow::{Context as _, Result, anyhow};
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tamis_api::{
    AuthorityView, CreatedJoinToken, IdentityRevokeRequest, IdentityView, JoinTokenRequest,
};
use tamis_resources::{Millis, NodeName, SpiffeBundle};
use tamis_sync::JoinFile;

mod authority;
mod text;

/// Arguments of `identity`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a one-time token with which a proxy joins the mesh, as a join file.
    #[command(
        after_help = "The join file is a secret until the proxy has used it; whoever has it can become that proxy, once.\nIt needs the verb operate for the service or gateway of the proxy.\n\nExample:\n  tamis identity token sidecar:shop/payments/0 --ttl 10m --out pay.join"
    )]
    Token(Token),
    /// List the proxies that have an identity, a token or a revocation.
    #[command(after_help = "Example:\n  tamis identity list")]
    List(List),
    /// Show everything about the identity of one proxy.
    #[command(after_help = "Example:\n  tamis identity show sidecar:shop/payments/0")]
    Show(Show),
    /// Revoke all identities and unused tokens that a proxy has now.
    #[command(
        after_help = "The registry refuses the proxy at once. Other proxies accept its identity until it expires, an hour by default.\nIt needs the verb operate on all of a security namespace, as does the next token for that proxy.\n\nExample:\n  tamis identity revoke sidecar:shop/payments/0 --reason 'machine lost'"
    )]
    Revoke(Revoke),
    /// Show the authority, and give it an intermediate of a root that stays on another machine.
    #[command(
        after_help = "Example, from the registry's machine to the one with the root's key and back:\n  tamis identity authority request --data registry --trust-domain shop.example --out request.pem\n  tamis identity authority sign request.pem --root root.pem --out chain.pem\n  tamis identity authority install chain.pem --data registry --trust-domain shop.example"
    )]
    Authority(authority::Arguments),
    /// Rotate the intermediate that signs identities; those that the previous one signed stay valid.
    #[command(
        after_help = "It needs the verb operate on all of a security namespace.\n\nExample:\n  tamis identity rotate"
    )]
    Rotate(RegistryArguments),
    /// Print the authorities of the trust domain: those that its members trust, and that other trust domains federate with.
    #[command(
        after_help = "Give what --format spiffe prints to the other trust domain, over a way on which nobody can replace it.\n\nExamples:\n  tamis identity bundle > bundle.pem\n  tamis identity bundle --format spiffe > shop.example.json"
    )]
    Bundle(Bundle),
}

#[derive(clap::Args)]
struct Token {
    /// The proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    node: NodeName,
    /// How long the token can be used, such as 10m or 2h, at most 7 days.
    #[arg(long, value_parser = ttl, default_value = "1h")]
    ttl: Duration,
    /// File for the join file, readable by its owner only. Default: it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    at: RegistryAccess,
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    at: RegistryAccess,
}

#[derive(clap::Args)]
struct Show {
    /// The proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    node: NodeName,
    #[command(flatten)]
    at: RegistryAccess,
}

#[derive(clap::Args)]
struct Revoke {
    /// The proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    node: NodeName,
    /// Reason, which the proxy receives when it is refused.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    at: RegistryAccess,
}

#[derive(clap::Args)]
struct Bundle {
    /// How the authorities are written.
    #[arg(long, value_enum, default_value_t = BundleFormat::Pem)]
    format: BundleFormat,
    #[command(flatten)]
    at: RegistryAccess,
}

/// How authorities are written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BundleFormat {
    /// Certificates in PEM.
    Pem,
    /// A SPIFFE bundle: a set of JSON Web Keys with the certificates, a sequence and a refresh hint.
    Spiffe,
}

#[derive(clap::Args)]
struct RegistryArguments {
    #[command(flatten)]
    at: RegistryAccess,
}

fn ttl(text: &str) -> Result<Duration, String> {
    match Millis::parse(text).map(|read| Duration::from_millis(read.0)) {
        Some(read) if read.as_secs() > 0 => Ok(read),
        Some(_) => Err("write at least one second".to_owned()),
        None => Err("write a time such as 30s, 10m or 1h30m".to_owned()),
    }
}

/// Runs a command about identities.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Token(arguments) => token(arguments, output)?,
        Command::List(List { at }) => list(at, output)?,
        Command::Show(arguments) => show(arguments, output)?,
        Command::Revoke(arguments) => revoke(arguments, output)?,
        Command::Authority(arguments) => return authority::run(arguments, output),
        Command::Rotate(RegistryArguments { at }) => rotate(at, output)?,
        Command::Bundle(arguments) => bundle(arguments, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn token(arguments: &Token, output: Output) -> Result<()> {
    let Token { node, ttl, out, at } = arguments;
    let request = JoinTokenRequest { node: node.to_string(), ttl_seconds: Some(ttl.as_secs()) };
    let made =
        at.remote()?.ask("making a token", async |client| client.join_token(&request).await)?;
    let (node, expires_ms) = (made.node.clone(), made.expires_ms);
    let file = serde_json::to_string_pretty(&join_file(made)).context("the join file")?;
    let Some(path) = out else {
        // The file is JSON in either form of output.
        output::line(&file);
        return Ok(());
    };
    private_file::replace(path, format!("{file}\n").as_bytes())?;
    let written = json!({ "node": node, "file": path, "expiresMs": expires_ms });
    output::result(output, &dated(&written), || {
        let (path, until) = (path.display(), rfc3339(expires_ms));
        format!("{node} can join once with {path}, until {until}\n")
    });
    Ok(())
}

/// The join file with a token that was made.
pub(crate) fn join_file(made: CreatedJoinToken) -> JoinFile {
    let CreatedJoinToken { node, token, registry, registry_id, bundles, expires_ms: _ } = made;
    JoinFile { node, token, registry, registry_id, bundles }
}

fn list(at: &RegistryAccess, output: Output) -> Result<()> {
    let all = at.remote()?.ask("reading", async |client| client.identities(None).await)?;
    output::result(output, &items(&all), || text::listed(&all, now_ms()));
    Ok(())
}

/// The roots of the trust domain as others take them.
fn spiffe_bundle(now: &AuthorityView) -> Result<String> {
    let own = now.bundles.get(&now.trust_domain).map(String::as_str).unwrap_or_default();
    let mut bundle = SpiffeBundle::read(own, &now.trust_domain)
        .map_err(|rule| anyhow!("the authorities of {}: {rule}", now.trust_domain))?;
    bundle.sequence = Some(now.sequence);
    bundle.refresh_hint = Some(now.refresh_hint_seconds);
    serde_json::to_string_pretty(&bundle.json()).context("the bundle")
}

fn show(arguments: &Show, output: Output) -> Result<()> {
    let node = arguments.node.to_string();
    let remote = arguments.at.remote()?;
    let found = remote.ask("reading", async |client| client.identities(Some(&node)).await)?;
    let Some(one) = found.first() else {
        return Err(NotFound(format!(
            "{node} has no identity and no token that you may see; `tamis identity list` lists those that have one"
        ))
        .into());
    };
    shown(output, one);
    Ok(())
}

fn revoke(arguments: &Revoke, output: Output) -> Result<()> {
    let (node, reason) = (arguments.node.to_string(), arguments.reason.clone());
    let request = IdentityRevokeRequest { node, reason };
    let remote = arguments.at.remote()?;
    let one = remote.ask("revoking", async |client| client.revoke_identity(&request).await)?;
    shown(output, &one);
    Ok(())
}

fn shown(output: Output, one: &IdentityView) {
    output::result(output, &dated(one), || text::one(one, now_ms()));
}

fn rotate(at: &RegistryAccess, output: Output) -> Result<()> {
    let remote = at.remote()?;
    let now: AuthorityView =
        remote.ask("rotating", async |client| client.rotate_intermediate().await)?;
    output::result(output, &dated(&now), || {
        let until = rfc3339(now.intermediate_until_ms);
        format!("a new intermediate of {} signs until {until}\n", now.trust_domain)
    });
    Ok(())
}

fn bundle(arguments: &Bundle, output: Output) -> Result<()> {
    let Bundle { format, at } = arguments;
    let now = at.remote()?.ask("reading", async |client| client.authority().await)?;
    if *format == BundleFormat::Spiffe {
        // The file is JSON in either form of output.
        output::line(&spiffe_bundle(&now)?);
        return Ok(());
    }
    output::result(output, &dated(&now), || {
        now.bundles.values().map(|one| one.trim_end()).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}
