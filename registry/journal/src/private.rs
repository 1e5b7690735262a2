//! Files and folders for their owner alone: what a registry keeps may hold secrets.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The mode of folders.
const FOLDER: u32 = 0o700;
/// The mode of files.
const FILE: u32 = 0o600;

/// Makes a folder, and those above it that are not there, for its owner alone. One that is there is closed to others, but
/// for the folder one works in: that is shared on purpose.
///
/// # Errors
/// When it cannot be made, or is no folder. One that belongs to somebody else stays as it is.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)?;
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let shared = here.and_then(|here| Ok(here == path.canonicalize()?)).unwrap_or(false);
    if shared { Ok(()) } else { close(path, FOLDER) }
}

/// Makes sure that a file is there, and for its owner alone.
pub(crate) fn private_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(FILE).open(path)?;
    close(path, FILE)
}

/// The same of a file that need not be there.
pub(crate) fn close_file(path: &Path) -> io::Result<()> {
    match close(path, FILE) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn close(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        // Somebody else's to decide.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_with_wider_rights_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("a/b"), folder.path().join("a/b/c"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        private_folder(&inner).unwrap();
        assert_eq!((mode(&folder.path().join("a")), mode(&inner)), (0o700, 0o700));
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        private_folder(&inner).unwrap();
        private_file(&file).unwrap();
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"x");
        close_file(&folder.path().join("none")).unwrap();
    }
}
