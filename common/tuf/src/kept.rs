//! The file that stores the trusted state: one file, so that it changes as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::TufError;

/// The only format so far.
const FORMAT: u32 = 1;
/// Largest state file in bytes; far more than any accepted state.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheFile {
    format: u32,
    /// Content by name. Metadata and documents are JSON, hence text.
    files: BTreeMap<String, String>,
}

/// The stored files; `None` when there is no state file yet.
pub(crate) fn read(path: &Path) -> Result<Option<BTreeMap<String, Vec<u8>>>, TufError> {
    let failed = |source| TufError::File { path: path.to_owned(), act: "cannot be read", source };
    let broken = |reason: String| TufError::Kept { path: path.to_owned(), reason };
    let bytes = match tamis_private::read_regular(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let kept: CacheFile =
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    if kept.format != FORMAT {
        return Err(broken(format!("it has the format {}, known is {FORMAT}", kept.format)));
    }
    Ok(Some(kept.files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()))
}

/// Replaces the stored files. After a power failure the file has either the old or the new content.
pub(crate) fn write(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), TufError> {
    let mut texts = BTreeMap::new();
    for (name, bytes) in files {
        let text = String::from_utf8(bytes.clone());
        texts.insert(name.clone(), text.map_err(|_| TufError::format(name, "it is not text"))?);
    }
    let bytes = serde_json::to_vec(&CacheFile { format: FORMAT, files: texts })
        .map_err(|error| TufError::format("the file that keeps the metadata", error.to_string()))?;
    replace(path, &bytes)
}

/// Writes a file atomically and durably, whether or not it existed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TufError> {
    let failed =
        |source| TufError::File { path: path.to_owned(), act: "cannot be written", source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    tamis_private::put_readable(path, bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link_that_somebody_planted() {
        for planted in ["x.json", "x.json.new"] {
            let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let target = out.path().join("target");
            fs::write(&target, "precious").unwrap();
            std::os::unix::fs::symlink(&target, root.path().join(planted)).unwrap();
            let path = root.path().join("x.json");
            replace(&path, b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious", "{planted}");
        }
    }
}
