//! Owners: of this process, of a place, and of the folders above it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// All permissions of the group and of everybody else.
pub const OTHERS: u32 = 0o077;
/// Write permission of the group and of everybody else.
pub const OTHERS_WRITE: u32 = 0o022;
/// In such a folder nobody can replace the files of another user (`/tmp`).
const STICKY: u32 = 0o1000;
/// The first number of a person (`UID_MIN` of login.defs(5)).
const FIRST_PERSON: u32 = 1_000;
/// The number of the superuser, who can do everything anyway.
const ROOT: u32 = 0;

/// The user as whom this process creates files.
///
/// # Errors
/// The system does not state it.
pub fn effective_user() -> io::Result<u32> {
    let status = fs::read_to_string("/proc/self/status")?;
    // `Uid:` real, effective, saved, file system (proc_pid_status(5)).
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    user.ok_or_else(|| {
        io::Error::other("/proc/self/status does not state the user of this process")
    })
}

/// Checks that an open file is a regular file of `user` with one name, and that the mode bits `others` are not set.
///
/// # Errors
/// The rule that is broken, and what to do.
pub fn is_ours(found: &fs::Metadata, user: u32, others: u32) -> Result<(), String> {
    if !found.is_file() {
        return Err("it is not a regular file; remove it".to_owned());
    }
    if found.uid() != user {
        let owner = found.uid();
        return Err(format!("it belongs to user {owner}, not to user {user}; remove it"));
    }
    if found.mode() & others != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!(
            "its mode {mode:03o} gives others access; `chmod 600` it or remove it"
        ));
    }
    if found.nlink() > 1 {
        return Err("it has a second name (a hard link); remove it".to_owned());
    }
    Ok(())
}

/// Whether a place belongs to this user, or to the superuser.
pub(crate) fn is_own_or_roots(found: &fs::Metadata, user: u32) -> bool {
    found.uid() == user || found.uid() == ROOT
}

/// Refuses what belongs to another user.
pub(crate) fn owned(path: &Path, found: &fs::Metadata, user: u32) -> io::Result<()> {
    if found.uid() == user {
        return Ok(());
    }
    let owner = found.uid();
    Err(denied(
        path,
        &format!(
            "it belongs to user {owner}, this process runs as user {user}; `chown` it, remove it or name another"
        ),
    ))
}

/// Checks that nobody but this user and the system can put another thing in the place of `path`.
pub(crate) fn parents_are_safe(path: &Path, user: u32) -> io::Result<()> {
    path.ancestors().skip(1).try_for_each(|ancestor| cannot_be_replaced(ancestor, user))
}

/// Checks that nobody but this user and the system can replace what is in `folder`.
fn cannot_be_replaced(folder: &Path, user: u32) -> io::Result<()> {
    let found = folder.symlink_metadata()?;
    if !is_own_or_roots(&found, user) {
        let why = format!("it belongs to user {}, who could replace what is below it", found.uid());
        return Err(denied(folder, &why));
    }
    let others = found.mode() & OTHERS_WRITE;
    // The mode of a link means nothing.
    if found.is_symlink() || others == 0 || found.mode() & STICKY != 0 {
        return Ok(());
    }
    // A group of one: a person's own, by the number that person and group share. Below are the system's, and a group of
    // such a number (100, say, is `users`) has members.
    if others == 0o020 && user >= FIRST_PERSON && found.gid() == user {
        return Ok(());
    }
    Err(denied(
        folder,
        "others may write there and could replace what is below it; `chmod go-w` it",
    ))
}

/// An error that begins with its place.
pub(crate) fn at(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("{}: {why}", path.display()))
}

/// The same for what is not permitted.
pub(crate) fn denied(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {why}", path.display()))
}
