//! What is at a path in a folder of documents.
//!
//! What cannot be looked at may be a folder of guards, whatever its name is: a mount that is missing, or a link into a folder
//! that this process may not enter.

use std::io::ErrorKind;
use std::path::Path;

/// What is at a path.
pub(super) enum PathContent {
    /// A folder.
    Folder,
    /// A file, or anything else that is no folder.
    File,
    /// Nothing, or nothing any more.
    Gone,
    /// It cannot be looked at: why, and the way out.
    Unreadable(String),
}

/// Looks at a path, through links.
pub(super) fn look(path: &Path) -> PathContent {
    let error = match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => return PathContent::Folder,
        Ok(_) => return PathContent::File,
        Err(error) => error,
    };
    match std::fs::symlink_metadata(path) {
        Err(own) if own.kind() == ErrorKind::NotFound => PathContent::Gone,
        Ok(about) if about.is_symlink() => PathContent::Unreadable(format!(
            "what this link leads to cannot be looked at: {error}; restore it, remove the link, or begin its name with a dot to have it skipped"
        )),
        _ => PathContent::Unreadable(format!(
            "it cannot be looked at: {error}; let this process read it, or move it elsewhere"
        )),
    }
}
