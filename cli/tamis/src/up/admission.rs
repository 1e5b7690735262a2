//! How the proxies of a folder get their identity: each joins the folder's registry with a token of its own.
//!
//! A token goes from the registry to the proxy inside this process and is in no file. A proxy that starts again gets
//! a new one.

use crate::identity::join_file;
use crate::output::one_line;
use crate::proxy::JoinedProxy;
use anyhow::{Context as _, Result};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use tamis_api::JoinTokenRequest;
use tamis_client::{Client, ClientOptions};
use tamis_resources::NodeName;
use tokio::runtime::Builder;

/// How long a token can be used: it is used at once.
const TOKEN_SECONDS: u64 = 60;

/// Admits proxies to the mesh of a folder, with the rights of its registry's first token.
pub(super) struct FolderAdmission {
    url: String,
    token: PathBuf,
}

/// Somebody revoked the identity of a proxy: starting it again does not undo that.
#[derive(Debug)]
pub(super) struct RevokedProxy {
    node: String,
    by: String,
    reason: String,
}

impl fmt::Display for RevokedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, by, reason } = self;
        write!(
            f,
            "{by} revoked its identity ({reason}); `tamis identity token {node}` lets the next start of `tamis up` admit it again"
        )
    }
}

impl Error for RevokedProxy {}

impl FolderAdmission {
    /// At the registry with that address and that file with its token.
    pub(super) fn new(url: &str, token: &Path) -> Self {
        Self { url: url.to_owned(), token: token.to_owned() }
    }

    /// Lets a proxy join with a new token.
    ///
    /// # Errors
    /// [`RevokedProxy`], what the registry refuses, or a token that cannot be read.
    pub(super) fn admit(&self, node: &NodeName) -> Result<JoinedProxy> {
        let client = client(&self.url, &self.token)?;
        let name = node.to_string();
        let asked = async {
            let known = client.identities(Some(&name)).await?;
            let revoked = known.into_iter().find_map(|one| one.revoked);
            if let Some(one) = revoked.filter(|one| !one.readmitted) {
                let (by, reason) = (one_line(&one.by), one_line(&one.reason));
                return Err(RevokedProxy { node: name.clone(), by, reason }.into());
            }
            let request = JoinTokenRequest { node: name.clone(), ttl_seconds: Some(TOKEN_SECONDS) };
            anyhow::Ok(client.join_token(&request).await?)
        };
        let made = Builder::new_current_thread().enable_all().build()?.block_on(asked)?;
        JoinedProxy::with(&join_file(made))
    }
}

/// A client of a folder's registry.
///
/// # Errors
/// The token cannot be read, or the address is none of a registry.
pub(super) fn client(url: &str, token: &Path) -> Result<Client> {
    let text = std::fs::read_to_string(token).with_context(|| {
        let kept = token.parent().unwrap_or(token).display();
        let token = token.display();
        format!("the token {token} cannot be read; restore it, or remove {kept} to start from an empty registry")
    })?;
    Ok(Client::new(ClientOptions { token: Some(text), ..ClientOptions::new(url.parse()?) })?)
}
