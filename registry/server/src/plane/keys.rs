//! The keys that a control plane signs with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tamis_journal::log::{LogError, NoteKey};
use tamis_trust::{Digest, PrivateKey};
use thiserror::Error;

/// Keys that are read from a folder, or made there at the first start.
///
/// `director.key` signs assignments (PKCS#8 PEM, P-256); `director.json` is what proxies are given to check them.
/// `log.key` is the seed of the key that signs checkpoints, in hexadecimal digits; `log.pub` is its verifier line.
/// Both secret files are readable by their owner alone. Replicas of one journal have the same keys: copy them.
pub struct Keys {
    pub(crate) director: PrivateKey,
    pub(crate) log: NoteKey,
    documents: PathBuf,
}

/// A key cannot be read or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The director's key is none.
    #[error("{} is no key to sign with; remove it to have another made, and give proxies the new director.json", path.display())]
    Director {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tamis_trust::Error,
    },
    /// The log's key is none.
    #[error("{} is no seed of 64 hexadecimal digits: a log whose key is lost begins anew, so restore it", path.display())]
    Log {
        /// The file.
        path: PathBuf,
    },
    /// The log's key has no usable name.
    #[error(transparent)]
    Name(#[from] LogError),
}

impl Keys {
    /// Reads the keys of `folder`, and makes those that are not there. `origin` names the log; it is only used when its
    /// key is made.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(folder: &Path, origin: &str) -> Result<Self, KeysError> {
        fs::create_dir_all(folder)
            .map_err(|source| KeysError::File { path: folder.to_owned(), source })?;
        let director = director(folder)?;
        let log = log(folder, origin)?;
        Ok(Self { director, log, documents: folder.join("director.json") })
    }

    /// The file that proxies are given to check assignments.
    #[must_use]
    pub fn director_document(&self) -> &Path {
        &self.documents
    }

    /// The log's key as others verify with it, `NAME+ID+BASE64`.
    #[must_use]
    pub fn log_verifier(&self) -> String {
        self.log.verifier().to_string()
    }
}

fn director(folder: &Path) -> Result<PrivateKey, KeysError> {
    let path = folder.join("director.key");
    let failed = |source| KeysError::Director { path: path.clone(), source };
    let key = match fs::read_to_string(&path) {
        Ok(text) => PrivateKey::from_pem(&text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = PrivateKey::generate().map_err(failed)?;
            secret(&path, &key.to_pem().map_err(failed)?)?;
            key
        }
        Err(source) => return Err(KeysError::File { path, source }),
    };
    let public = json!({
        "threshold": 1,
        "keys": [{ "name": "director", "publicKey": key.public_key().to_pem() }],
    });
    open(&folder.join("director.json"), &format!("{public:#}\n"))?;
    Ok(key)
}

fn log(folder: &Path, origin: &str) -> Result<NoteKey, KeysError> {
    let path = folder.join("log.key");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = NoteKey::random_seed()?;
            let digits: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = format!("{origin} {digits}\n");
            secret(&path, &text)?;
            text
        }
        Err(source) => return Err(KeysError::File { path, source }),
    };
    let broken = || KeysError::Log { path: path.clone() };
    let (origin, digits) = text.trim_end().rsplit_once(' ').ok_or_else(broken)?;
    // A digest has the same form: 64 lower-case hexadecimal digits.
    let seed: Digest = format!("sha256:{digits}").parse().map_err(|_| broken())?;
    let key = NoteKey::from_seed(origin, seed.as_bytes())?;
    open(&folder.join("log.pub"), &format!("{}\n", key.verifier()))?;
    Ok(key)
}

/// Writes a file that was not there and that its owner alone can read.
fn secret(path: &Path, text: &str) -> Result<(), KeysError> {
    let beside = path.with_extension("new");
    let write = || {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| KeysError::File { path: path.to_owned(), source })
}

/// Writes what anybody may read, if it is not there like that already.
fn open(path: &Path, text: &str) -> Result<(), KeysError> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|source| KeysError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tamis_trust::DirectorKeys;

    use super::*;

    #[test]
    fn keys_are_made_once_and_secret_ones_are_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let one = Keys::open(folder.path(), "tamis.test/log").unwrap();
        let two = Keys::open(folder.path(), "another").unwrap();
        assert_eq!(one.director.public_key(), two.director.public_key());
        assert_eq!(one.log_verifier(), two.log_verifier());
        assert!(one.log_verifier().starts_with("tamis.test/log+"));
        for name in ["director.key", "log.key"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let document = fs::read(one.director_document()).unwrap();
        let keys = DirectorKeys::from_json(&document).unwrap();
        assert_eq!(keys.keys()[0].key, one.director.public_key());
    }

    #[test]
    fn a_broken_key_is_named_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["director.key", "log.key"] {
            fs::write(folder.path().join(name), "rubbish").unwrap();
            let error = Keys::open(folder.path(), "log").err().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"rubbish");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
