//! The account at an ACME server: made once, and kept with its key in a file for its owner alone.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use instant_acme::{Account, AccountCredentials, NewAccount};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::AcmeError;
use crate::directory::Directory;

/// Largest file of an account in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// Longest part of a URL in the name of a file.
const NAME_MAX: usize = 100;

/// The account that orders are placed with.
pub(crate) struct OrderAccount {
    directory: Directory,
    contact: Vec<String>,
    file: PathBuf,
    /// Known by now.
    account: Mutex<Option<Account>>,
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
struct AccountFile {
    directory: String,
    contact: Vec<String>,
    credentials: AccountCredentials,
}

impl OrderAccount {
    /// At that directory, kept in that folder; nobody is asked yet. Contacts are email addresses.
    pub(crate) fn new(directory: Directory, contact: &[String], folder: &Path) -> Self {
        let file = folder.join(file_name(directory.url()));
        let contact = contact.iter().map(|one| format!("mailto:{one}")).collect();
        Self { directory, contact, file, account: Mutex::new(None) }
    }

    /// The account: the one in use, the one that is kept, or a new one.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub(crate) async fn open(&self) -> Result<Account, AcmeError> {
        let mut known = self.account.lock().await;
        if let Some(account) = known.as_ref() {
            return Ok(account.clone());
        }
        let account = match self.read()? {
            Some(kept) => self.reopened(kept).await?,
            None => self.created().await?,
        };
        *known = Some(account.clone());
        Ok(account)
    }

    /// What the server said is forgotten: the next order asks for its directory again.
    pub(crate) async fn close(&self) {
        self.account.lock().await.take();
    }

    /// The account is gone at the server: the next order makes a new one.
    pub(crate) async fn forget(&self) {
        self.close().await;
        // Without the file there is nothing to forget.
        let _gone = std::fs::remove_file(&self.file);
    }

    async fn reopened(&self, kept: AccountFile) -> Result<Account, AcmeError> {
        let AccountFile { directory, contact, credentials } = kept;
        let text = serde_json::to_value(&credentials).unwrap_or_default();
        let client = Box::new(self.directory.clone());
        let account = Account::builder_with_http(client).from_credentials(credentials).await?;
        if contact != self.contact {
            account.update_contacts(&self.contacts()).await?;
            let credentials = serde_json::from_value(text)
                .map_err(|error| AcmeError::Answer(error.to_string()))?;
            self.write(&AccountFile { directory, contact: self.contact.clone(), credentials })?;
        }
        Ok(account)
    }

    async fn created(&self) -> Result<Account, AcmeError> {
        let new = NewAccount {
            contact: &self.contacts(),
            // The documents do not allow an order otherwise.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (url, client) = (self.directory.url().to_owned(), Box::new(self.directory.clone()));
        let made = Account::builder_with_http(client).create(&new, url.clone(), None).await;
        let (account, credentials) = made?;
        let contact = self.contact.clone();
        self.write(&AccountFile { directory: url, contact, credentials })?;
        tracing::info!(account = account.id(), "an account at the ACME server is made");
        Ok(account)
    }

    fn contacts(&self) -> Vec<&str> {
        self.contact.iter().map(String::as_str).collect()
    }

    /// The account of the file; `None`: there is none for this directory.
    fn read(&self) -> Result<Option<AccountFile>, AcmeError> {
        let failed = |source| AcmeError::Kept { path: self.file.clone(), source };
        if !self.file.exists() {
            return Ok(None);
        }
        let file = tamis_private::open_existing(&self.file).map_err(failed)?;
        let mut text = String::new();
        file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
        let read: AccountFile = match serde_json::from_str(&text) {
            Ok(read) => read,
            Err(error) => {
                let file = self.file.display();
                tracing::warn!(%file, %error, "the file of the account cannot be read; a new account is made");
                return Ok(None);
            }
        };
        Ok(Some(read).filter(|read| read.directory == self.directory.url()))
    }

    fn write(&self, file: &AccountFile) -> Result<(), AcmeError> {
        let failed = |source| AcmeError::Kept { path: self.file.clone(), source };
        let text = serde_json::to_vec(file).map_err(|error| failed(error.into()))?;
        tamis_private::put(&self.file, &text).map_err(failed)
    }
}

/// The file of a directory's account. Two directories with one name share a file, in which the directory is written.
fn file_name(url: &str) -> String {
    let plain = |one: char| if one.is_ascii_alphanumeric() || one == '.' { one } else { '-' };
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let name: String = rest.chars().map(plain).take(NAME_MAX).collect();
    format!("account-{name}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_account_is_named_after_its_directory_and_stays_in_the_folder() {
        for (url, name) in [
            ("https://acme.example/directory", "account-acme.example-directory.json"),
            ("https://acme.example:14000/dir", "account-acme.example-14000-dir.json"),
            ("https://a/../../b", "account-a-..-..-b.json"),
        ] {
            assert_eq!(file_name(url), name);
        }
        assert!(file_name(&format!("https://a/{}", "b".repeat(2_000))).len() < 200);
    }
}
