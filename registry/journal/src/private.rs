//! Files and folders for their owner only: a registry's files may contain secrets.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The mode of folders.
const FOLDER: u32 = 0o700;
/// The mode of files.
const FILE: u32 = 0o600;

/// Creates a folder, and missing parents, for its owner only. An existing one is closed to others, except
/// the current folder, which is shared on purpose.
///
/// # Errors
/// It cannot be created, or is not a folder. A folder of another owner stays unchanged.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)?;
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let shared = here.and_then(|here| Ok(here == path.canonicalize()?)).unwrap_or(false);
    if shared { Ok(()) } else { close(path, FOLDER) }
}

/// Makes sure that a file exists and is readable by its owner only.
pub(crate) fn private_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(FILE).open(path)?;
    close(path, FILE)
}

/// The same for a file that may not exist.
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
        // Its owner decides.
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
