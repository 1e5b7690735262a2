//! The files of an authority: secrets are readable by their owner only, and each file is replaced as a whole.

use std::io;
use std::path::Path;

use crate::AuthorityError;

/// Longest file that is read: certificates and keys have a few kilobytes.
const MAX_BYTES: u64 = 256 * 1024;

/// Who may read a file.
#[derive(Clone, Copy)]
pub(crate) enum Readers {
    Owner,
    Everybody,
}

/// Makes the folder, for its owner only, who alone can put another in its place.
pub(crate) fn folder(path: &Path) -> Result<(), AuthorityError> {
    tamis_private::folder(path).map_err(|source| failed(path, source))
}

/// The text of a file; `None` when it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    let octets = match tamis_private::read_regular(path, MAX_BYTES) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    String::from_utf8(octets).map(Some).map_err(|_| {
        let rule = "it is not text".to_owned();
        AuthorityError::Broken { path: path.to_owned(), rule }
    })
}

/// Replaces a file; whoever reads it gets the old one or the new one.
pub(crate) fn write(path: &Path, text: &str, readers: Readers) -> Result<(), AuthorityError> {
    let put = match readers {
        Readers::Owner => tamis_private::put,
        Readers::Everybody => tamis_private::put_readable,
    };
    put(path, text.as_bytes()).map_err(|source| failed(path, source))
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), AuthorityError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), source }
}
