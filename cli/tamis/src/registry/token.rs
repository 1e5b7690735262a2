//! `tamis registry token`: tokens and their rights, managed on the registry's machine or remotely.

use super::StorageOptions;
use crate::get::items;
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::table::table;
use crate::when::{ago, now_ms, rfc3339};
use anyhow::{Result, bail};
use clap::Subcommand;
use serde_json::json;
use std::process::ExitCode;
use tamis_api::{CreatedToken, RotateRequest, TokenRequest, TokenView};
use tamis_oci::{Limits, NewToken, RepositoryPattern, Store, TokenSecret, Verb};

/// The actor recorded for tokens made on the machine itself.
const OPERATOR: &str = "operator";

/// Arguments of `token`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a token and print it, once: the registry stores only its hash.
    #[command(
        after_help = "A token covers repositories, services and documents: '*' means all of them, 'NAMESPACE/*' all of a namespace,\nNAMESPACE/NAME one of them, and 'mesh' every proxy of every owner, which documents with `kind: Mesh` and pins of `*` need.\nThe verb operate on all of a security namespace (`tamis registry --security`) includes writing grants and trust policies.\n\nExample:\n  tamis registry token create ci --repository 'acme/*' --verb pull --verb push"
    )]
    Create(Create),
    /// List tokens, without their secrets.
    #[command(after_help = "Example:\n  tamis registry token list")]
    List(TokenRegistry),
    /// Replace the secret of a token; the old one stops working at once.
    #[command(after_help = "Example:\n  tamis registry token rotate ci --hours 720")]
    Rotate(Rotate),
    /// Revoke a token.
    #[command(after_help = "Example:\n  tamis registry token revoke ci")]
    Revoke(Revoke),
}

/// The registry: its folder or database, or its address.
#[derive(clap::Args)]
struct TokenRegistry {
    #[command(flatten)]
    kept: StorageOptions,
    #[command(flatten)]
    afar: RegistryAccess,
}

#[derive(clap::Args)]
struct Create {
    /// Name of the token; the journal records it as the actor.
    name: String,
    /// Repositories, services and documents that it covers: '*', 'NAMESPACE/*', NAMESPACE/NAME or 'mesh';
    /// may be repeated.
    #[arg(long, required = true)]
    repository: Vec<RepositoryPattern>,
    /// Its rights there; may be repeated.
    #[arg(long, required = true, value_enum)]
    verb: Vec<TokenVerb>,
    /// Hours until it expires; default: it never does.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=87_840))]
    hours: Option<u64>,
    #[command(flatten)]
    at: TokenRegistry,
}

#[derive(clap::Args)]
struct Rotate {
    /// Name of the token.
    name: String,
    /// Hours until it expires; default: it never does.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=87_840))]
    hours: Option<u64>,
    #[command(flatten)]
    at: TokenRegistry,
}

#[derive(clap::Args)]
struct Revoke {
    /// Name of the token.
    name: String,
    #[command(flatten)]
    at: TokenRegistry,
}

/// The verbs that a token may have.
#[derive(Clone, Copy, clap::ValueEnum)]
enum TokenVerb {
    /// Read blobs, manifests and tags.
    Pull,
    /// Write blobs, manifests and tags.
    Push,
    /// Delete blobs, manifests and tags.
    Delete,
    /// Read what runs: documents, status, pins, history and the journal, as far as they concern what it
    /// covers.
    Observe,
    /// Change what runs: apply, pin, roll out, roll back; and make tokens within its own rights.
    Operate,
    /// Approve other people's changes, if it covers everything that they touch.
    Approve,
}

impl From<TokenVerb> for Verb {
    fn from(may: TokenVerb) -> Self {
        match may {
            TokenVerb::Pull => Self::Pull,
            TokenVerb::Push => Self::Push,
            TokenVerb::Delete => Self::Delete,
            TokenVerb::Observe => Self::Observe,
            TokenVerb::Operate => Self::Operate,
            TokenVerb::Approve => Self::Approve,
        }
    }
}

/// Makes, lists, rotates or revokes a token.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Create(arguments) => create(arguments, output)?,
        Command::List(at) => list(at, output)?,
        Command::Rotate(arguments) => rotate(arguments, output)?,
        Command::Revoke(arguments) => revoke(arguments, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(arguments: &Create, output: Output) -> Result<()> {
    let Create { name, repository, verb, hours, at } = arguments;
    let verbs: Vec<Verb> = verb.iter().copied().map(Verb::from).collect();
    let made = if at.is_remote()? {
        let request = TokenRequest {
            name: name.clone(),
            repositories: repository.iter().map(ToString::to_string).collect(),
            verbs: verbs.iter().map(|verb| verb.as_str().to_owned()).collect(),
            hours: *hours,
        };
        let remote = at.afar.remote()?;
        remote.ask("making a token", async |client| client.create_token(&request).await)?
    } else {
        let (secret, expires_ms) = (TokenSecret::generate()?, end(*hours));
        let token =
            NewToken { name: name.clone(), patterns: repository.clone(), verbs, expires_ms };
        at.here(async |store| store.create_token_by(OPERATOR, token, &secret).await)?;
        CreatedToken { name: name.clone(), token: secret.expose().to_owned(), expires_ms }
    };
    output::result(output, &made, || made.token.clone());
    Ok(())
}

fn list(at: &TokenRegistry, output: Output) -> Result<()> {
    let tokens = if at.is_remote()? {
        at.afar.remote()?.ask("reading", async |client| client.tokens().await)?
    } else {
        let now = now_ms();
        let tokens =
            at.existing()?.here(async |store| Ok::<_, std::convert::Infallible>(store.tokens()))?;
        let view = |token: tamis_oci::TokenInfo| TokenView {
            name: token.name,
            repositories: token.repositories.iter().map(ToString::to_string).collect(),
            verbs: token.verbs.iter().map(|verb| verb.as_str().to_owned()).collect(),
            expires_ms: token.expires_ms,
            expired: token.expires_ms.is_some_and(|expires| now >= expires),
            created_ms: token.created_ms,
            by: token.by,
            rotated_by: token.rotated_by,
        };
        tokens.into_iter().map(view).collect()
    };
    output::result(output, &items(&tokens), || listed(&tokens, now_ms()));
    Ok(())
}

fn rotate(arguments: &Rotate, output: Output) -> Result<()> {
    let Rotate { name, hours, at } = arguments;
    let made = if at.is_remote()? {
        let request = RotateRequest { hours: *hours };
        let remote = at.afar.remote()?;
        remote.ask("renewing", async |client| client.rotate_token(name, &request).await)?
    } else {
        let (secret, expires_ms) = (TokenSecret::generate()?, end(*hours));
        at.existing()?.here(async |store| {
            store.rotate_token_by(OPERATOR, name, &secret, expires_ms, |_| true).await
        })?;
        CreatedToken { name: name.clone(), token: secret.expose().to_owned(), expires_ms }
    };
    output::result(output, &made, || made.token.clone());
    Ok(())
}

fn revoke(arguments: &Revoke, output: Output) -> Result<()> {
    let Revoke { name, at } = arguments;
    if at.is_remote()? {
        at.afar.remote()?.ask("ending", async |client| client.revoke_token(name).await)?;
    } else {
        at.existing()?.here(async |store| store.revoke_token(name).await)?;
    }
    let revoked = json!({ "name": name, "revoked": true });
    output::result(output, &revoked, || format!("token {name} revoked"));
    Ok(())
}

impl TokenRegistry {
    /// Whether the tokens are managed by requests to the registry; otherwise directly in its journal. An argument
    /// decides, then the variable, then the default folder if a registry is in it.
    fn is_remote(&self) -> Result<bool> {
        match (self.kept.is_named(), self.afar.is_named()) {
            (true, true) => bail!(
                "two registries are named: --registry is the address of one, --data, --database-url and --blobs the place of one on this machine; leave one of them out"
            ),
            (false, true) => Ok(true),
            (true, false) => Ok(false),
            (false, false) if RegistryAccess::is_in_environment() => Ok(true),
            (false, false) if self.kept.storage()?.exists() => Ok(false),
            (false, false) => bail!(
                "no registry is named, and {} has none; name one: --registry URL or the variable TAMIS_REGISTRY for its address, --data FOLDER or --database-url URL for its place on this machine",
                self.kept.folder().display()
            ),
        }
    }

    /// The place of a registry that exists. Making a token may be the first act of a new one.
    fn existing(&self) -> Result<&Self> {
        if !self.kept.storage()?.exists() {
            bail!(
                "{} has no registry; name the folder of one with --data, or its address with --registry",
                self.kept.folder().display()
            );
        }
        Ok(self)
    }

    /// Works directly on the registry's journal.
    fn here<T, E: std::error::Error + Send + Sync + 'static>(
        &self,
        act: impl AsyncFnOnce(Store) -> Result<T, E>,
    ) -> Result<T> {
        let storage = self.kept.storage()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let store = storage.open(Limits::default()).await?;
            Ok(act(store).await?)
        })
    }
}

/// The moment this many hours from now.
fn end(hours: Option<u64>) -> Option<u64> {
    hours.map(|hours| now_ms().saturating_add(hours.saturating_mul(3_600_000)))
}

fn listed(tokens: &[TokenView], now: u64) -> String {
    if tokens.is_empty() {
        return "there are no tokens\n".to_owned();
    }
    let row = |one: &TokenView| {
        let ends = match one.expires_ms {
            None => "never".to_owned(),
            Some(_) if one.expired => "ended".to_owned(),
            Some(expires) => rfc3339(expires),
        };
        let (places, verbs) = (one.repositories.join(", "), one.verbs.join(", "));
        let by = match one.rotated_by.as_slice() {
            [] => one.by.clone(),
            others => format!("{}, rotated by {}", one.by, others.join(", ")),
        };
        [one.name.clone(), places, verbs, ends, ago(now, one.created_ms), by]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    table(["NAME", "FOR", "MAY", "ENDS", "MADE", "BY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_table_that_says_when_they_end() {
        let token = |name: &str, expires_ms: Option<u64>, expired| TokenView {
            name: name.to_owned(),
            repositories: vec!["acme/*".to_owned(), "mesh".to_owned()],
            verbs: vec!["operate".to_owned()],
            expires_ms,
            expired,
            created_ms: 0,
            by: "operator".to_owned(),
            rotated_by: if expired { vec!["ada".to_owned()] } else { Vec::new() },
        };
        let all =
            [token("a", None, false), token("b", Some(1), true), token("c", Some(120_000), false)];
        let text = listed(&all, 60_000);
        let rotated = "operator, rotated by ada";
        for part in ["never", "ended", "1970-01-01T00:02:00Z", "acme/*, mesh", "1m ago", rotated] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(listed(&[], 0), "there are no tokens\n");
    }
}
