//! The registry that commands use: its address and the caller's credentials.

use crate::named_file;
use crate::output;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use tamis_client::{Client, ClientError, ClientOptions, OwnFiles, Server};
use tokio::runtime::Runtime;

/// Heading of these arguments; the reference lists them once.
pub(crate) const HEADING: &str = "Registry";
/// The variable with its address.
const REGISTRY: &str = "TAMIS_REGISTRY";
/// The address of the registry by default.
const DEFAULT: &str = "http://127.0.0.1:5000";

/// The registry and the caller's credentials.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct RegistryAccess {
    /// Address of the registry: http://HOST:PORT, https://HOST:PORT or unix:/absolute/path. Default: the
    /// variable TAMIS_REGISTRY, else http://127.0.0.1:5000.
    #[arg(long, value_name = "URL", help_heading = HEADING)]
    registry: Option<Server>,
    /// Authorities that may have issued its certificate, in PEM; required for https.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    ca: Option<PathBuf>,
    /// Certificate chain to show to the registry, in PEM, leaf first.
    #[arg(long, value_name = "FILE", requires = "client_key", help_heading = HEADING)]
    client_certificate: Option<PathBuf>,
    /// Key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_certificate", help_heading = HEADING)]
    client_key: Option<PathBuf>,
    /// File with the token; TAMIS_TOKEN may contain the token instead.
    #[arg(long, value_name = "FILE", conflicts_with = "token", help_heading = HEADING)]
    token_file: Option<PathBuf>,
    /// The token. Everybody on this machine can read a command line, so a file is better.
    #[arg(long, value_name = "TOKEN", help_heading = HEADING)]
    token: Option<String>,
}

/// A registry to send requests to.
pub(crate) struct Remote {
    client: Client,
    runtime: Runtime,
}

impl RegistryAccess {
    /// Whether an argument names the registry.
    pub(crate) fn is_named(&self) -> bool {
        self.registry.is_some()
    }

    /// Whether the variable names it, which counts where no argument does.
    pub(crate) fn is_in_environment() -> bool {
        set(REGISTRY).is_some()
    }

    /// Reads the files that are needed; opens no connection.
    pub(crate) fn remote(&self) -> Result<Remote> {
        let server = match (&self.registry, set(REGISTRY)) {
            (Some(server), _) => server.clone(),
            (None, Some(text)) => text.parse().context("TAMIS_REGISTRY cannot be used")?,
            (None, None) => DEFAULT.parse()?,
        };
        let own = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => {
                Some(OwnFiles { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };
        let (token, ca) = (self.token()?, self.ca.clone());
        let client = Client::new(ClientOptions { token, ca, own, ..ClientOptions::new(server) });
        let client = client.map_err(|error| match error {
            ClientError::NoAuthority { .. } => anyhow::Error::new(error).context("--ca is missing"),
            other => other.into(),
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Remote { client, runtime })
    }

    fn token(&self) -> Result<Option<String>> {
        if let Some(path) = &self.token_file {
            let text = named_file::text(path);
            let text =
                text.with_context(|| format!("the token {} cannot be read", path.display()))?;
            if text.trim().is_empty() {
                bail!("{} contains no token: it must be one line", path.display());
            }
            return Ok(Some(text));
        }
        Ok(self.token.clone().or_else(|| set("TAMIS_TOKEN")))
    }
}

/// A variable of the environment; an empty one counts as unset.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Remote {
    /// Sends a request; shows on a terminal what is in progress when it takes a while.
    pub(crate) fn ask<T>(
        &self,
        what: &str,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T> {
        self.attempt(what, question).map_err(|error| match error.problem().map(|problem| problem.status) {
            Some(401) => anyhow::Error::new(error).context(
                "the registry requires a token: give --token-file, or set TAMIS_TOKEN (the first token is in admin.token of its folder)",
            ),
            _ => error.into(),
        })
    }

    /// The same, for a caller who continues after some errors.
    pub(crate) fn attempt<T>(
        &self,
        what: &str,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let busy = output::busy(what);
        let answer = self.runtime.block_on(question(&self.client));
        drop(busy);
        answer
    }

    /// Where it is.
    pub(crate) fn server(&self) -> &Server {
        self.client.server()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        at: RegistryAccess,
    }

    fn parsed(line: &[&str]) -> RegistryAccess {
        Line::try_parse_from([&["x"], line].concat()).unwrap_or_else(|error| panic!("{error}")).at
    }

    #[test]
    fn the_address_on_the_command_line_is_the_one_asked() {
        let at = parsed(&["--registry", "http://127.0.0.1:7"]);
        assert_eq!(at.remote().unwrap().server().to_string(), "http://127.0.0.1:7");
        assert!(Line::try_parse_from(["x", "--registry", "127.0.0.1:7"]).is_err());
    }

    #[test]
    fn https_without_an_authority_names_the_missing_argument() {
        let error = parsed(&["--registry", "https://a"]).remote().err().unwrap();
        assert!(format!("{error:#}").starts_with("--ca is missing"), "{error:#}");
    }

    #[test]
    fn a_token_comes_from_its_file_and_an_empty_file_is_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t").display().to_string();
        let at = parsed(&["--token-file", &path]);
        assert!(at.token().unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(&path, "\n").unwrap();
        assert!(at.token().unwrap_err().to_string().contains("no token"));
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(at.token().unwrap().as_deref(), Some("secret\n"));
    }
}
