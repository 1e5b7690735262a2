//! The local cache of compiled code, and whom it believes.
//!
//! Compiled code is never accepted from outside, and a folder says nothing about who filled it: it may be an archive that
//! somebody sent. So a cache file is `MAC ‖ code`, and the MAC (HMAC-SHA-256, over the file's name too, so that no file
//! can stand in for another) is under a key of this user on this machine. The key is in the user's state folder, never
//! beside the code, and what it is mixed with is the machine's id and the user's number, so that a copy of it elsewhere
//! is another key. Whatever does not check is ignored and written once more.

use aws_lc_rs::{hmac, rand};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAC_BYTES: usize = 32;
const KEY_FILE: &str = "compiled-code.key";
/// Where a key was when it travelled with the code.
const OLD_KEY_FILE: &str = "cache.key";
/// Machine code of the largest component there may be is far below; a larger file is none of ours.
const MAX_CODE_BYTES: u64 = 1 << 30;
/// Who else may write: the group and everybody.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// How often a key is read that another process may be writing, and how long apart.
const KEY_TRIES: u32 = 20;
const KEY_PAUSE: Duration = Duration::from_millis(10);

/// Where compiled code and the key to it are.
#[derive(Debug, Clone, Copy)]
pub struct CacheFolders<'a> {
    /// Of the code. May be handed around: nothing in it is believed without the key.
    pub code: &'a Path,
    /// Of the key: the user's own, such as `~/.local/state/tamis`, and in no folder that is handed around.
    pub state: &'a Path,
}

/// A folder of compiled code only this user on this machine trusts.
pub struct Cache {
    directory: PathBuf,
    key: hmac::Key,
    user: u32,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens a cache, making its folder, the state folder and the key where there are none.
    ///
    /// # Errors
    /// When a folder or the key belongs to somebody else, is a symbolic link, or could be replaced by somebody else; when
    /// the key can be read by others; when one of them cannot be made. The text says which, and what to do.
    pub fn open(folders: CacheFolders<'_>) -> io::Result<Self> {
        let user = effective_user()?;
        let state = own_folder(folders.state, user)?;
        let directory = own_folder(folders.code, user)?;
        let secret = secret(&state.join(KEY_FILE), user)?;
        // A key beside the code is of no use any more, and should not travel on.
        drop(fs::remove_file(directory.join(OLD_KEY_FILE)));
        Ok(Self { directory, key: bound_to_this_machine(&secret, user), user })
    }

    /// What is cached under a name: nothing unless this user wrote it here.
    pub(crate) fn read(&self, name: &str) -> Option<Sealed> {
        let path = self.directory.join(name);
        let mut file = open_nofollow(&path).ok()?;
        let found = file.metadata().ok()?;
        if let Err(why) = is_ours(&found, self.user, OTHERS_WRITE) {
            tracing::warn!(target: "tamis::engine", file = %path.display(),
                "compiled code that is not this user's is ignored: {why}");
            return None;
        }
        if found.len() > MAX_CODE_BYTES {
            return None;
        }
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).ok()?;
        let (mac, code) = octets.split_at_checked(MAC_BYTES)?;
        let message = [name.as_bytes(), code].concat();
        hmac::verify(&self.key, &message, mac).ok()?;
        Some(Sealed(octets))
    }

    /// Writes beside and renames, so that a reader finds a whole file or none. A full disk costs the cache only.
    pub(crate) fn write(&self, name: &str, code: &[u8]) {
        let mac = hmac::sign(&self.key, &[name.as_bytes(), code].concat());
        let temporary = self.directory.join(format!("{name}.{}.tmp", std::process::id()));
        // One that a process of the same number left.
        drop(fs::remove_file(&temporary));
        let written = create_private(&temporary)
            .and_then(|mut file| file.write_all(mac.as_ref()).and_then(|()| file.write_all(code)))
            .and_then(|()| fs::rename(&temporary, self.directory.join(name)));
        if let Err(error) = written {
            tracing::warn!(target: "tamis::engine", %error, "compiled code was not cached");
            drop(fs::remove_file(&temporary));
        }
    }
}

/// Octets of a cache file whose MAC was right.
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    /// The code, without the MAC.
    pub(crate) fn octets(&self) -> &[u8] {
        self.0.get(MAC_BYTES..).unwrap_or_default()
    }
}

/// The key for MACs: of no use on another machine or to another user, even if the file is copied there.
fn bound_to_this_machine(secret: &[u8], user: u32) -> hmac::Key {
    let machine = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| fs::read(path).ok())
        .unwrap_or_default();
    let purpose = [b"tamis compiled code 1\0".as_slice(), &machine, b"\0", &user.to_le_bytes()];
    let bound = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &purpose.concat());
    hmac::Key::new(hmac::HMAC_SHA256, bound.as_ref())
}

/// Reads the secret, or makes it. Opened once and looked at through what was opened: a file that takes its place
/// afterwards changes nothing.
fn secret(path: &Path, user: u32) -> io::Result<Vec<u8>> {
    for _ in 0..KEY_TRIES {
        let file = match open_nofollow(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match make_secret(path) {
                // Another process was faster: its key is the key.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => return made,
            },
            Err(error) => return Err(at(path, &error.to_string())),
        };
        let found = file.metadata()?;
        is_ours(&found, user, 0o077).map_err(|why| at(path, &why))?;
        let mut octets = Vec::new();
        file.take(MAC_BYTES as u64 + 1).read_to_end(&mut octets)?;
        if octets.len() == MAC_BYTES {
            return Ok(octets);
        }
        // Perhaps it is being written just now.
        std::thread::sleep(KEY_PAUSE);
    }
    // What is left is the key of a process that ended while it wrote it.
    fs::remove_file(path)?;
    make_secret(path)
}

fn make_secret(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; MAC_BYTES];
    rand::fill(&mut octets).map_err(|_| io::Error::other("no randomness for the cache's key"))?;
    create_private(path)?.write_all(&octets)?;
    Ok(octets)
}

/// Makes a folder if there is none, and gives its real path once nobody else can fill or replace it.
fn own_folder(path: &Path, user: u32) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    if path.symlink_metadata().is_err() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| at(&path, &error.to_string()))?;
    }
    let found = path.symlink_metadata()?;
    if found.is_symlink() {
        return Err(at(&path, "it is a symbolic link; name the folder itself"));
    }
    if !found.is_dir() {
        return Err(at(&path, "it is no folder"));
    }
    if found.uid() != user {
        let why = format!(
            "it belongs to user {}, this process runs as user {user}; `chown` it, remove it or name another",
            found.uid()
        );
        return Err(at(&path, &why));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        // It is ours; what others put there before has no MAC.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    }
    for ancestor in path.ancestors().skip(1) {
        cannot_be_replaced(ancestor, user)?;
    }
    // Links on the way there were looked at above; from here on what they lead to counts.
    let real = path.canonicalize()?;
    for ancestor in real.ancestors().skip(1) {
        cannot_be_replaced(ancestor, user)?;
    }
    Ok(real)
}

/// Whether nobody but this user and the system can put something else in the place of what is in `folder`.
fn cannot_be_replaced(folder: &Path, user: u32) -> io::Result<()> {
    let found = folder.symlink_metadata()?;
    if found.uid() != user && found.uid() != 0 {
        let why = format!("it belongs to user {}, who could put another folder there", found.uid());
        return Err(at(folder, &why));
    }
    let others = found.mode() & OTHERS_WRITE;
    // The mode of a link says nothing. In a sticky folder (`/tmp`) nobody replaces what is another's.
    if found.is_symlink() || others == 0 || found.mode() & STICKY != 0 {
        return Ok(());
    }
    // A group of one: the user's own, by the number that user and group share.
    if others == 0o020 && user != 0 && found.gid() == user {
        return Ok(());
    }
    Err(at(folder, "others may write there and could put another folder there; `chmod go-w` it"))
}

/// Whether an open file is a plain one of this user that none of `others` may touch, under one name alone.
fn is_ours(found: &fs::Metadata, user: u32, others: u32) -> Result<(), String> {
    if !found.is_file() {
        return Err("it is no plain file; remove it".to_owned());
    }
    if found.uid() != user {
        let owner = found.uid();
        return Err(format!("it belongs to user {owner}, not to user {user}; remove it"));
    }
    if found.mode() & others != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!("its mode {mode:03o} lets others at it; `chmod 600` it or remove it"));
    }
    if found.nlink() > 1 {
        return Err("it has a second name (a hard link); remove it".to_owned());
    }
    Ok(())
}

fn open_nofollow(path: &Path) -> io::Result<File> {
    // Without blocking: a pipe of that name would wait for ever.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn create_private(path: &Path) -> io::Result<File> {
    // New, so neither a link nor another's file is written through.
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// As whom this process makes files.
fn effective_user() -> io::Result<u32> {
    let status = fs::read_to_string("/proc/self/status")?;
    // `Uid:` real, effective, saved, file system (proc_pid_status(5)).
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    user.ok_or_else(|| io::Error::other("/proc/self/status does not say who this process is"))
}

fn at(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("{}: {why}", path.display()))
}
