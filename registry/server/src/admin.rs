//! The first token, with which an operator can make others remotely.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tamis_journal::private_folder;
use tamis_oci::{RepositoryPattern, Store, StoreError, TokenSecret, Verb};

use crate::ServerError;

pub(crate) const NAME: &str = "admin";
const FILE: &str = "admin.token";

/// Makes a token with all rights, if there is no token at all, and returns its file.
///
/// The file is written before the token becomes valid: a crash in between leaves a file with an invalid
/// token that is written again, never a token that nobody knows.
pub(crate) async fn first_token(
    store: &Store,
    folder: &Path,
) -> Result<Option<PathBuf>, ServerError> {
    if store.has_tokens() {
        return Ok(None);
    }
    let (secret, path) = (TokenSecret::generate()?, folder.join(FILE));
    let failed = |source| ServerError::Token { path: path.clone(), source };
    keep(&path, secret.expose()).map_err(failed)?;
    let everywhere: RepositoryPattern = "*".parse().map_err(|_| ServerError::Ended)?;
    match store.create_token(NAME, &secret, &[everywhere], &Verb::ALL).await {
        Ok(()) => Ok(Some(path)),
        // Another replica started at the same time; its token is the first one.
        Err(StoreError::TokenExists(_)) => {
            fs::remove_file(&path).map_err(failed)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes to a temporary file and renames it, so that an existing file with wider rights is not written to.
fn keep(path: &Path, secret: &str) -> io::Result<()> {
    // With journal and blobs elsewhere, nothing else has created the folder.
    path.parent().map_or(Ok(()), private_folder)?;
    tamis_private::put(path, format!("{secret}\n").as_bytes())
}
