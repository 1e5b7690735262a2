//! Files that somebody names, read as files and nothing else.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file to read it, also through a link. Nothing else is opened: a pipe or a terminal keeps its reader waiting
/// for ever, some devices have no end, and others do something when they are opened.
///
/// # Errors
/// The system's error, or what it is instead of a file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    is_regular(&path.metadata()?)?;
    // Something else may have taken its name meanwhile: opening that must not wait.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    is_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `most` octets; see [`open_regular`].
///
/// # Errors
/// The system's error, what it is instead of a file, or that it is longer.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let said = file.metadata()?.len();
    let mut octets = Vec::new();
    // What it says may be less than what it has: it may grow meanwhile, and files of /proc have no length.
    if said <= most {
        file.take(most.saturating_add(1)).read_to_end(&mut octets)?;
    }
    if said > most || octets.len() as u64 > most {
        let why = format!("it is longer than {most} bytes, the most that is read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(octets)
}

fn is_regular(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let what = kind(found.file_type());
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file")))
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use tempfile::TempDir;

    #[test]
    fn what_is_no_file_is_refused_at_once_and_named() {
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        mknodat(CWD, at("pipe"), Kind::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink(at("pipe"), at("link-to-pipe")).unwrap();
        symlink("/dev/zero", at("link-to-device")).unwrap();
        for (path, what) in [
            (at("pipe"), "a pipe"),
            (at("socket"), "a socket"),
            (root.path().to_owned(), "a folder"),
            ("/dev/zero".into(), "a device"),
            ("/dev/null".into(), "a device"),
            ("/dev/tty".into(), "a device"),
            (at("link-to-pipe"), "a pipe"),
            (at("link-to-device"), "a device"),
        ] {
            let refused = read_regular(&path, 10).unwrap_err().to_string();
            assert_eq!(refused, format!("it is {what}, not a file"), "{}", path.display());
        }
        assert_eq!(open_regular(&at("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_no_longer_one() {
        let root = TempDir::new().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "0123456789").unwrap();
        symlink(&path, root.path().join("link")).unwrap();
        for (most, fits) in [(0, false), (9, false), (10, true), (11, true), (u64::MAX, true)] {
            for name in ["file", "link"] {
                let read = read_regular(&root.path().join(name), most);
                match read {
                    Ok(octets) => assert!(fits && octets == b"0123456789", "{most}"),
                    Err(error) => assert!(!fits && error.to_string().contains("longer"), "{error}"),
                }
            }
        }
        // A sparse one takes no memory.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_regular(&path, 1 << 20).is_err());
        // One without a length.
        assert!(!read_regular(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
        assert!(read_regular(Path::new("/proc/self/status"), 10).is_err());
    }
}
