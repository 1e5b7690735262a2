//! Files and folders with secrets: configurations with keys, requests with tokens.
//!
//! They are created readable by their owner only, whatever the umask. An existing one that others can read
//! is closed to them if it is ours, and refused if it belongs to somebody else: the owner of a folder can
//! put anything there.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

/// Depth to which folders are closed to others.
const DEPTH_MAX: usize = 8;

/// Creates a folder, and missing parents, for its owner only; an existing one is closed to others.
///
/// # Errors
/// It cannot be created, belongs to another user, or is a symbolic link.
pub fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let about = fs::symlink_metadata(path)?;
    if about.file_type().is_symlink() {
        // The user chooses where a link points to, and that folder must belong to the user.
        return owned(path, &fs::metadata(path)?).and_then(|()| set(path, 0o700));
    }
    owned(path, &about)?;
    set(path, 0o700)
}

/// Opens a file for its owner only, and empties it; an existing one is closed to others before anything is
/// written. A link to another file is not followed, and a file with a second name is left as it is.
///
/// # Errors
/// The system's error, or that the name is a link.
pub fn file(path: &Path) -> io::Result<File> {
    // Emptied only once it is known which file it is.
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let (opened, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    let same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    if !same || opened.nlink() > 1 {
        let path = path.display();
        let why = format!("{path} is a link to another file, which is not overwritten; remove it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    owned(path, &opened)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    Ok(file)
}

/// Puts a file in the place of the one that is there, for its owner alone: a crash leaves the old one or the new one.
///
/// # Errors
/// What the system says.
pub fn put(path: &Path, octets: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = file(&beside).and_then(|mut file| {
        file.write_all(octets)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// Closes everything in a folder to others; symbolic links are skipped.
///
/// # Errors
/// Something there belongs to another user.
pub fn narrow(path: &Path) -> io::Result<()> {
    narrow_to(path, DEPTH_MAX)
}

fn narrow_to(path: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            // Renamed or removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mode = match about.file_type() {
            kind if kind.is_dir() => 0o700,
            kind if kind.is_file() => 0o600,
            _ => continue,
        };
        if about.permissions().mode() & 0o077 != 0 {
            owned(&path, &about)?;
            set(&path, mode)?;
        }
        if about.is_dir() && depth > 0 {
            narrow_to(&path, depth - 1)?;
        }
    }
    Ok(())
}

fn set(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Refuses what belongs to another user than that of this process.
fn owned(path: &Path, about: &fs::Metadata) -> io::Result<()> {
    // The owner of a process's folder is its effective user (proc(5)).
    let own = fs::metadata("/proc/self").map(|process| process.uid());
    if own.is_ok_and(|own| own != about.uid()) {
        let path = path.display();
        let why = format!("{path} belongs to another user; name a folder of your own");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_holds_secrets_is_its_owners_alone_from_the_start_and_when_it_was_not() {
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        folder(&at("a/b")).unwrap();
        assert_eq!((mode(&at("a")), mode(&at("a/b"))), (0o700, 0o700));
        drop(file(&at("a/secret")).unwrap());
        assert_eq!(mode(&at("a/secret")), 0o600);
        fs::write(at("put"), "old").unwrap();
        put(&at("put"), b"new").unwrap();
        assert_eq!((mode(&at("put")), fs::read(at("put")).unwrap()), (0o600, b"new".to_vec()));
        for (name, wide) in [("a", 0o755), ("a/b", 0o777), ("a/secret", 0o644)] {
            fs::set_permissions(at(name), Permissions::from_mode(wide)).unwrap();
        }
        drop(file(&at("a/secret")).unwrap());
        folder(&at("a")).unwrap();
        assert_eq!((mode(&at("a")), mode(&at("a/secret"))), (0o700, 0o600));
        fs::write(at("a/b/deep"), "x").unwrap();
        fs::set_permissions(at("a/b/deep"), Permissions::from_mode(0o664)).unwrap();
        symlink("/etc/passwd", at("a/link")).unwrap();
        narrow(&at("a")).unwrap();
        assert_eq!((mode(&at("a/b")), mode(&at("a/b/deep"))), (0o700, 0o600));
    }

    #[test]
    fn no_other_file_is_written_through_a_link() {
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("mine"), "precious").unwrap();
        fs::set_permissions(at("mine"), Permissions::from_mode(0o644)).unwrap();
        symlink(at("mine"), at("link")).unwrap();
        fs::hard_link(at("mine"), at("name")).unwrap();
        for link in ["link", "name"] {
            let said = file(&at(link)).unwrap_err().to_string();
            assert!(said.contains("not overwritten"), "{said}");
        }
        assert_eq!(fs::read_to_string(at("mine")).unwrap(), "precious");
        assert_eq!(mode(&at("mine")), 0o644, "not even its mode");
        symlink(at("nowhere"), at("dangling")).unwrap();
        assert!(file(&at("dangling")).is_err());
    }
}
