//! Files that only their owner can read, as commands write them.

use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes a new file that only its owner can read; fails when the file exists.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<()> {
    tamis_private::create_new(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Writes a file that only its owner can read, whatever mode it had before.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    tamis_private::file(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Atomically replaces a file by one that only its owner can read.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    tamis_private::put(path, content)
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// A path with an ending appended; dots in the name stay.
pub(crate) fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}
