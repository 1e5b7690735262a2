//! A file for appended lines: private to its owner, and opened again when it was moved away.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_private::appended;

/// How often to check that the file is still the one at its path.
const LOOK: Duration = Duration::from_secs(1);

/// A file that lines are appended to.
///
/// Records contain paths and queries of requests, and those contain tokens: the file is created with
/// `mode`, and the permissions of an existing file are narrowed to it. When the file is renamed or removed,
/// as rotation does, a new one is created at its path within a second, or at once when [`LogFile::reopen`]
/// is set.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    mode: u32,
    file: File,
    looked: Instant,
    reopen: Arc<AtomicBool>,
}

impl LogFile {
    /// Opens it, or creates it, with these permissions, such as 0o600.
    ///
    /// # Errors
    /// As [`appended`].
    pub fn open(path: &Path, mode: u32) -> io::Result<Self> {
        let file = appended(path, mode)?;
        let reopen = Arc::default();
        Ok(Self { path: path.to_owned(), mode, file, looked: Clock::system().now(), reopen })
    }

    /// Set this flag, for example from a signal handler, to have the file opened again before the next
    /// line.
    #[must_use]
    pub fn reopen(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    fn look(&mut self) -> io::Result<()> {
        let asked = self.reopen.swap(false, Ordering::Relaxed);
        if !asked && Clock::system().since(self.looked) < LOOK {
            return Ok(());
        }
        self.looked = Clock::system().now();
        let about = self.file.metadata()?;
        // Other than a regular file, such as a pipe, cannot be rotated.
        let moved = about.is_file()
            && fs::metadata(&self.path)
                .map_or(true, |there| (there.dev(), there.ino()) != (about.dev(), about.ino()));
        if asked || moved {
            self.file = appended(&self.path, self.mode)?;
        }
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    /// Called after a batch of complete lines, and once a second when there are none.
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.look()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_was_moved_away_gets_a_successor() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a"), folder.path().join("a.1"));
        let mut log = LogFile::open(&path, 0o600).unwrap();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        log.flush().unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n", "not looked at so soon");
        // The signal that rotation sends.
        log.reopen().store(true, Ordering::Relaxed);
        log.flush().unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(mode(&path), 0o600);
        // Without a signal, the path is checked once a second.
        fs::remove_file(&path).unwrap();
        log.looked = Instant::now().checked_sub(2 * LOOK).unwrap();
        log.flush().unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
    }
}
