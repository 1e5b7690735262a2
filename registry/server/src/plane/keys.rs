//! The signing keys of a control plane.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use tamis_journal::log::{LogError, NoteKey};
use tamis_journal::private_folder;
use tamis_private::read_regular;
use tamis_trust::{Digest, PrivateKey};
use thiserror::Error;

/// The longest file of keys that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// Keys that are read from a folder, or made there at the first start.
///
/// `director.key` signs assignments (PKCS#8 PEM, P-256); `director.json` is the file with which proxies
/// check them. `log.key` is the seed of the key that signs checkpoints, in hexadecimal digits; `log.pub` is
/// its verifier line. Both secret files are readable by their owner only. Replicas of one journal have the
/// same keys: copy them.
pub struct Keys {
    pub(crate) director: PrivateKey,
    pub(crate) log: NoteKey,
    pub(crate) replica: Replica,
    documents: PathBuf,
}

/// The id of this process in records of connections: a new one after each start.
pub(crate) struct Replica {
    pub(crate) id: String,
    /// The id of the process that this one replaces.
    pub(crate) former: String,
}

/// Handling of missing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingKeys {
    /// They are made: the journal is new, or an operator declared the old ones lost.
    Made,
    /// The registry does not start: the keys of this journal exist elsewhere.
    Refused,
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
    /// The journal is in use, and one of its keys is missing here.
    #[error(
        "{} is missing, and the journal is in use: replicas of one journal have the same keys, so copy director.key and \
         log.key from another replica or from the backup; if they are lost, start once with --make-new-keys, and give all \
         proxies the new director.json",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The director's key is invalid.
    #[error("{} is not a private key; restore it, or remove it and start once with --make-new-keys, and give all proxies the new director.json", path.display())]
    Director {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tamis_trust::TrustError,
    },
    /// The log's key is invalid.
    #[error("{} is not a seed of 64 hexadecimal digits: without its key a log cannot continue, so restore it", path.display())]
    Log {
        /// The file.
        path: PathBuf,
    },
    /// The log's key has no usable name.
    #[error(transparent)]
    Name(#[from] LogError),
}

impl Keys {
    /// Reads the keys of `folder`; `missing` decides about missing ones. `origin` names the log; it is only
    /// used when its key is made.
    ///
    /// # Errors
    /// [`KeysError`].
    pub(crate) fn open(
        folder: &Path,
        origin: &str,
        missing: MissingKeys,
    ) -> Result<Self, KeysError> {
        private_folder(folder)
            .map_err(|source| KeysError::File { path: folder.to_owned(), source })?;
        for name in ["director.key", "log.key"] {
            let path = folder.join(name);
            if missing == MissingKeys::Refused && !path.exists() {
                return Err(KeysError::Missing { path });
            }
        }
        let director = director(folder)?;
        let log = log(folder, origin)?;
        let replica = replica(folder)?;
        Ok(Self { director, log, replica, documents: folder.join("director.json") })
    }

    /// The file with which proxies check assignments.
    #[must_use]
    pub fn director_document(&self) -> &Path {
        &self.documents
    }

    /// Whether the director's key made one of these signatures over an assignment.
    #[must_use]
    pub fn signed(&self, envelopes: &[String]) -> bool {
        let director = read_regular(&self.documents, MAX_BYTES).ok();
        let director = director.and_then(|bytes| tamis_trust::DirectorKeys::from_json(&bytes).ok());
        let Some(director) = director else { return false };
        envelopes.iter().any(|envelope| director.signed(envelope.as_bytes()))
    }

    /// The log's key for verifiers, `NAME+ID+BASE64`.
    #[must_use]
    pub fn log_verifier(&self) -> String {
        self.log.verifier().to_string()
    }
}

fn replica(folder: &Path) -> Result<Replica, KeysError> {
    let path = folder.join("replica");
    let former = text(&path).unwrap_or_default().trim().chars().take(64).collect();
    let id: String =
        NoteKey::random_seed()?.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    named(&path, &id, former, open)
}

/// This process under a new id, which `write` keeps for the next one. A full disk must not keep a registry from starting: nothing
/// can be changed then, and everything can be read. So the process goes on under the id of the former one.
fn named(
    path: &Path,
    id: &str,
    former: String,
    write: impl FnOnce(&Path, &str) -> Result<(), KeysError>,
) -> Result<Replica, KeysError> {
    match write(path, &format!("{id}\n")) {
        Ok(()) => Ok(Replica { id: id.to_owned(), former }),
        Err(KeysError::File { source, .. }) if is_full(&source) && is_replica(&former) => {
            tracing::error!(path = %path.display(), "the disk of the registry is full: nothing can be changed; free some of it");
            Ok(Replica { id: former, former: String::new() })
        }
        Err(error) => Err(error),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a text is the id of a process.
fn is_replica(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|octet| octet.is_ascii_hexdigit())
}

fn director(folder: &Path) -> Result<PrivateKey, KeysError> {
    let path = folder.join("director.key");
    let failed = |source| KeysError::Director { path: path.clone(), source };
    let key = match text(&path) {
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
    let text = match text(&path) {
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

/// The text of a file, as long as it is a file.
fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_regular(path, MAX_BYTES)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a new file that only its owner can read.
fn secret(path: &Path, text: &str) -> Result<(), KeysError> {
    tamis_private::put(path, text.as_bytes())
        .map_err(|source| KeysError::File { path: path.to_owned(), source })
}

/// Writes a file that anybody may read, unless it has this content already.
fn open(path: &Path, text: &str) -> Result<(), KeysError> {
    if self::text(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    tamis_private::put_readable(path, text.as_bytes())
        .map_err(|source| KeysError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tamis_trust::DirectorKeys;

    use super::*;

    #[test]
    fn keys_are_made_once_and_secret_ones_are_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let one = Keys::open(folder.path(), "tamis.test/log", MissingKeys::Made).unwrap();
        let two = Keys::open(folder.path(), "another", MissingKeys::Refused).unwrap();
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
    fn a_full_disk_keeps_no_registry_from_starting_again() {
        let path = Path::new("replica");
        let (id, former) = ("b".repeat(16), "a".repeat(16));
        let fails = |kind: io::ErrorKind| {
            move |path: &Path, _: &str| {
                Err(KeysError::File { path: path.to_owned(), source: kind.into() })
            }
        };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let replica = named(path, &id, former.clone(), fails(kind)).ok().unwrap();
            assert_eq!((&*replica.id, &*replica.former), (&*former, ""), "{kind}");
        }
        // A first start makes what has to be kept, and other faults are somebody's to mend.
        for (former, kind) in [
            (String::new(), io::ErrorKind::StorageFull),
            ("not an id".to_owned(), io::ErrorKind::StorageFull),
            (former.clone(), io::ErrorKind::PermissionDenied),
        ] {
            assert!(named(path, &id, former, fails(kind)).is_err(), "{kind}");
        }
        let replica = named(path, &id, former.clone(), |_, _| Ok(())).ok().unwrap();
        assert_eq!((replica.id, replica.former), (id, former));
    }

    #[test]
    fn no_key_is_written_through_a_link_that_somebody_planted() {
        for planted in ["log.pub", "director.pub", "director.json", "log.new", "director.new"] {
            let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let target = out.path().join("target");
            fs::write(&target, "precious").unwrap();
            std::os::unix::fs::symlink(&target, folder.path().join(planted)).unwrap();
            drop(Keys::open(folder.path(), "log", MissingKeys::Made).unwrap());
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious", "{planted}");
        }
    }

    #[test]
    fn keys_of_a_journal_in_use_are_never_made_again() {
        for name in ["director.key", "log.key"] {
            let folder = tempfile::tempdir().unwrap();
            drop(Keys::open(folder.path(), "log", MissingKeys::Made).unwrap());
            fs::remove_file(folder.path().join(name)).unwrap();
            let error = Keys::open(folder.path(), "log", MissingKeys::Refused).err().unwrap();
            let words = error.to_string();
            assert!(words.contains(name) && words.contains("--make-new-keys"), "{words}");
            assert!(!folder.path().join(name).exists(), "{name}");
            assert!(Keys::open(folder.path(), "log", MissingKeys::Made).is_ok());
        }
    }

    #[test]
    fn a_director_knows_what_it_signed_itself() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = folders
            .each_ref()
            .map(|folder| Keys::open(folder.path(), "log", MissingKeys::Made).unwrap());
        let assignment = tamis_trust::Assignment {
            service: "shop/a".into(),
            slot: "shop/f".into(),
            filter: "acme/f".parse().unwrap(),
            manifest: Digest::of(b"m"),
            config: Digest::of(b"c"),
            version: 1,
            issued: 1,
            expires: 2,
            mode: tamis_trust::AssignmentMode::Serve,
        };
        let envelope = tamis_trust::sign_assignment(&one.director, &assignment).unwrap();
        assert!(one.signed(std::slice::from_ref(&envelope)));
        assert!(!other.signed(&[envelope]) && !one.signed(&["{}".to_owned()]) && !one.signed(&[]));
    }

    /// A key that is no file, or has no end, is waited for and read by nobody.
    #[test]
    fn what_is_no_file_is_refused_for_a_key_and_replaced_for_what_is_made_of_one() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        type Plant<'a> = &'a dyn Fn(&Path);
        let plants: [(&str, Plant<'_>); 5] = [
            ("a device", &|path| symlink("/dev/zero", path).unwrap()),
            ("a pipe", &|path| {
                let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            }),
            ("a socket", &|path| drop(UnixListener::bind(path).unwrap())),
            ("a folder", &|path| fs::create_dir(path).unwrap()),
            ("longer than", &|path| {
                fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
            }),
        ];
        for (what, plant) in plants {
            for (name, is_key) in [
                ("director.key", true),
                ("log.key", true),
                ("director.json", false),
                ("log.pub", false),
                ("replica", false),
            ] {
                let folder = tempfile::tempdir().unwrap();
                plant(&folder.path().join(name));
                let opened = Keys::open(folder.path(), "log", MissingKeys::Made);
                // No file takes the place of a folder.
                if !is_key && what != "a folder" {
                    let found = fs::symlink_metadata(folder.path().join(name)).unwrap();
                    assert!(
                        opened.is_ok() && found.is_file() && found.len() < 1_000,
                        "{what} {name}"
                    );
                    continue;
                }
                let Some(KeysError::File { path, source }) = opened.err() else {
                    panic!("{what} {name}");
                };
                assert_eq!(path, folder.path().join(name), "{what}");
                assert!(!is_key || source.to_string().contains(what), "{what} {name}: {source}");
            }
        }
    }

    #[test]
    fn a_broken_key_is_named_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["director.key", "log.key"] {
            fs::write(folder.path().join(name), "rubbish").unwrap();
            let error = Keys::open(folder.path(), "log", MissingKeys::Made).err().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"rubbish");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
