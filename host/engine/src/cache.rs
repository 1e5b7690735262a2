//! The local cache of compiled code, and which files it trusts.
//!
//! Compiled code is never accepted from outside, and a folder does not show who filled it: it may have been
//! unpacked from an archive that somebody sent. So a cache file is `MAC ‖ code`. The MAC is an HMAC-SHA-256
//! over the file's name and the code (so that no file can replace another), under a key that belongs to
//! this user on this machine. The key is in the user's state folder, outside the folder of the code, and is
//! combined with the machine's id and the user's number, so that a copy of the file elsewhere yields
//! another key. A file whose MAC is wrong is ignored and written again.

use aws_lc_rs::hmac;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tamis_ambient::Random;
use tamis_private::{
    OTHERS, OTHERS_WRITE, create_new, effective_user, is_ours, open_existing, put, put_first,
    read_regular, trusted_folder,
};

const MAC_BYTES: usize = 32;
const KEY_FILE: &str = "compiled-code.key";
/// Name of the key file in older versions, which kept it in the folder of the code.
const OLD_KEY_FILE: &str = "cache.key";
/// The machine code of the largest allowed component is far smaller; a larger file was not written by this
/// cache.
const MAX_CODE_BYTES: u64 = 1 << 30;
/// The longest file that names a machine; they have 33 bytes (machine-id(5)).
const MACHINE_ID_MAX: u64 = 4_096;
/// How often the key is looked for, while other processes write it, and for how long each waits for another.
const TRIES: usize = 100;
const MOMENT: Duration = Duration::from_millis(10);
/// Counts the temporary files of this process: threads that write at once each get a file of their own.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Folders of compiled code and of its key.
#[derive(Debug, Clone, Copy)]
pub struct CacheFolders<'a> {
    /// The folder of the code. It may be copied and shared: its files are trusted only with the key.
    pub code: &'a Path,
    /// The folder of the key: the user's own, such as `~/.local/state/tamis`; never a folder that is copied
    /// or shared.
    pub state: &'a Path,
    /// A second folder of code, which is only read: that of the user's commands, for a proxy. Its files are trusted
    /// because of their MACs, as those of the first.
    pub also: Option<&'a Path>,
}

/// A folder of compiled code that only this user on this machine trusts.
pub struct Cache {
    directory: PathBuf,
    /// Where code is looked for that is not in `directory`.
    also: Option<PathBuf>,
    max_bytes: u64,
    key: hmac::Key,
    user: u32,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens a cache, and creates its folder, the state folder and the key where they are missing.
    ///
    /// # Errors
    /// A folder or the key belongs to another user, is a symbolic link, or could be replaced by another
    /// user; others can read the key; or a file cannot be created. The text of the error names the file and the way out.
    pub fn open(folders: CacheFolders<'_>) -> io::Result<Self> {
        let user = effective_user()?;
        let state = trusted_folder(folders.state, user)?;
        let directory = trusted_folder(folders.code, user)?;
        let secret = secret(&state, user)?;
        // A key in the folder of the code is no longer used, and should not be copied with it.
        drop(fs::remove_file(directory.join(OLD_KEY_FILE)));
        let key = bound_to_this_machine(&secret, user);
        let also = folders.also.and_then(|folder| {
            let warn = |error: &io::Error| tracing::warn!(target: "tamis::engine", "compiled code is not looked for there: {error}");
            trusted_folder(folder, user).inspect_err(warn).ok()
        });
        Ok(Self { directory, also, max_bytes: u64::MAX, key, user })
    }

    /// Keeps at most so many bytes of code: the oldest files are deleted when another is written.
    #[must_use]
    pub fn at_most(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The cached code under a name; `None` unless this user wrote it on this machine.
    pub(crate) fn read(&self, name: &str) -> Option<SealedFile> {
        let folders = [Some(&self.directory), self.also.as_ref()];
        folders.into_iter().flatten().find_map(|folder| self.read_in(folder, name))
    }

    fn read_in(&self, folder: &Path, name: &str) -> Option<SealedFile> {
        let path = folder.join(name);
        let mut file = open_existing(&path).ok()?;
        let found = file.metadata().ok()?;
        if let Err(why) = is_ours(&found, self.user, OTHERS_WRITE) {
            tracing::warn!(target: "tamis::engine", file = %path.display(),
                "compiled code that this user did not write is ignored: {why}");
            return None;
        }
        if found.len() > MAX_CODE_BYTES {
            return None;
        }
        let mut octets = Vec::new();
        // As much as it had: its owner may be writing it at this moment.
        Read::take(&mut file, found.len()).read_to_end(&mut octets).ok()?;
        let (mac, code) = octets.split_at_checked(MAC_BYTES)?;
        let message = [name.as_bytes(), code].concat();
        hmac::verify(&self.key, &message, mac).ok()?;
        Some(SealedFile(octets))
    }

    /// Writes a temporary file and renames it, so that a reader finds a complete file or nothing. A full
    /// disk costs the cache only.
    pub(crate) fn write(&self, name: &str, code: &[u8]) {
        let mac = hmac::sign(&self.key, &[name.as_bytes(), code].concat());
        let (process, nth) = (std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
        let temporary = self.directory.join(format!("{name}.{process}.{nth}.tmp"));
        // A leftover of a process with the same number.
        drop(fs::remove_file(&temporary));
        let written = create_new(&temporary)
            .and_then(|mut file| file.write_all(mac.as_ref()).and_then(|()| file.write_all(code)))
            .and_then(|()| fs::rename(&temporary, self.directory.join(name)));
        if let Err(error) = written {
            tracing::warn!(target: "tamis::engine", %error, "compiled code could not be written to the cache");
            drop(fs::remove_file(&temporary));
        }
        if self.max_bytes < u64::MAX {
            self.prune(name);
        }
    }

    /// Deletes the oldest files beyond the limit, and `name` never.
    fn prune(&self, name: &str) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut files: Vec<_> = (entries.flatten())
            .filter(|entry| entry.file_name() != name)
            .filter_map(|entry| {
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        files.sort();
        let this = fs::metadata(self.directory.join(name)).map_or(0, |about| about.len());
        let mut total =
            files.iter().fold(this, |total, (_, bytes, _)| total.saturating_add(*bytes));
        for (_, bytes, path) in files {
            if total <= self.max_bytes {
                return;
            }
            // Another process may have deleted it.
            drop(fs::remove_file(path));
            total = total.saturating_sub(bytes);
        }
    }
}

/// The content of a cache file whose MAC was right.
pub(crate) struct SealedFile(Vec<u8>);

impl SealedFile {
    /// The code, without the MAC.
    pub(crate) fn octets(&self) -> &[u8] {
        self.0.get(MAC_BYTES..).unwrap_or_default()
    }
}

/// The key for MACs: useless on another machine or to another user, even if the file is copied there.
fn bound_to_this_machine(secret: &[u8], user: u32) -> hmac::Key {
    let machine = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| read_regular(Path::new(path), MACHINE_ID_MAX).ok())
        .unwrap_or_default();
    let purpose = [b"tamis compiled code 1\0".as_slice(), &machine, b"\0", &user.to_le_bytes()];
    let bound = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &purpose.concat());
    hmac::Key::new(hmac::HMAC_SHA256, bound.as_ref())
}

/// Reads the secret, or creates it: of processes that start at once, all have that of the first. Nothing is waited for that
/// another user could hold: a lock on a folder that others can open would let them stop every start.
fn secret(state: &Path, user: u32) -> io::Result<Vec<u8>> {
    let path = state.join(KEY_FILE);
    for _ in 0..TRIES {
        match kept(&path, user)? {
            KeptSecret::Whole(octets) => return Ok(octets),
            KeptSecret::Missing => drop(put_first(&path, &new_secret()?).map_err(failed(&path))?),
            KeptSecret::Broken(file) => mend(&path, &file).map_err(failed(&path))?,
        }
    }
    // Somebody writes it again and again.
    Err(at(
        &path,
        "it contains no key, and another process keeps one from being written; remove it",
    ))
}

/// What has the name of the secret.
enum KeptSecret {
    Whole(Vec<u8>),
    /// A file of this user alone without a whole key.
    Broken(File),
    Missing,
}

/// Looks for the secret. The file is opened once and checked through its handle: a file that replaces it later changes nothing.
fn kept(path: &Path, user: u32) -> io::Result<KeptSecret> {
    let file = match open_existing(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KeptSecret::Missing),
        opened => opened.map_err(failed(path))?,
    };
    is_ours(&file.metadata()?, user, OTHERS).map_err(|why| at(path, &why))?;
    let mut octets = Vec::new();
    (&file).take(const { MAC_BYTES as u64 + 1 }).read_to_end(&mut octets)?;
    Ok(match octets.len() {
        MAC_BYTES => KeptSecret::Whole(octets),
        _ => KeptSecret::Broken(file),
    })
}

/// Replaces a file without a whole key by one with a key, or waits a moment while another process does. This lock is on a file
/// that no other user can open, and is tried, not waited for.
fn mend(path: &Path, broken: &File) -> io::Result<()> {
    if rustix::fs::flock(broken, FlockOperation::NonBlockingLockExclusive).is_err() {
        std::thread::sleep(MOMENT);
        return Ok(());
    }
    let (held, there) = (broken.metadata()?, fs::symlink_metadata(path)?);
    // Else whoever had the lock before has replaced it.
    if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
        put(path, &new_secret()?)?;
    }
    Ok(())
}

fn new_secret() -> io::Result<Vec<u8>> {
    let mut octets = vec![0; MAC_BYTES];
    Random::system().fill(&mut octets).map_err(|_| {
        io::Error::other("the operating system provides no randomness for the cache's key")
    })?;
    Ok(octets)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| at(path, &error.to_string())
}

fn at(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("{}: {why}", path.display()))
}
