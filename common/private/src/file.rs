//! Files that only their owner can read and write.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::owner::{
    OTHERS_WRITE, denied, effective_user, is_ours, is_own_or_roots, owned, parents_are_safe,
};

/// Characters of a name that the name of its new file repeats, of at most four octets each.
const NAME_MAX: usize = 50;
/// How often another name is tried.
const TRIES: u32 = 8;
/// How the name of a file ends that has not got its own yet. No other program gives such names, so what has one may be removed.
const NEW: &str = ".tamis-new";
/// A new file that is older was left by a process that ended: they are written within moments.
const LEFT_AFTER: Duration = Duration::from_secs(60 * 60);
/// Entries of a folder among which such files are looked for.
const ENTRIES_MAX: usize = 4_096;

/// Opens a file for its owner only, and empties it; an existing one is closed to others before anything is
/// written. A link to another file is not followed, and a file with a second name is left as it is.
///
/// # Errors
/// The system's error, or that the name is a link.
pub fn file(path: &Path) -> io::Result<File> {
    let linked = || {
        let path = path.display();
        let why = format!("{path} is a link to another file, which is not overwritten; remove it");
        io::Error::new(io::ErrorKind::PermissionDenied, why)
    };
    // Emptied only once it is known which file it is. Nothing is created behind a link either, and nobody waits for the reader
    // of a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => return Err(linked()),
        opened => opened?,
    };
    let (opened, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    let same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    if !same || opened.nlink() > 1 {
        return Err(linked());
    }
    owned(path, &opened, effective_user()?)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    Ok(file)
}

/// Puts a file in the place of the one that is there, for its owner alone: a crash leaves the old one or the new one, and at
/// worst a hidden file beside it, which a later put into the folder removes. A link in its place is replaced, and what it
/// points to stays as it is.
///
/// # Errors
/// What the system says.
pub fn put(path: &Path, octets: &[u8]) -> io::Result<()> {
    replace(path, octets, 0o600)
}

/// As [`put`], for everybody to read whom the umask of this process lets.
///
/// # Errors
/// What the system says.
pub fn put_readable(path: &Path, octets: &[u8]) -> io::Result<()> {
    replace(path, octets, 0o644)
}

/// As [`put`], unless something has the name: of those that put at once, one is the first. Whether it is there now.
///
/// # Errors
/// What the system says.
pub fn put_first(path: &Path, octets: &[u8]) -> io::Result<bool> {
    match written_to(path, octets, 0o600, rename_to_free) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        put => put.map(|()| true),
    }
}

fn replace(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    written_to(path, octets, mode, |from, to| fs::rename(from, to))
}

/// Renames a file to a name that nothing has.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot promise it, as some networks' are.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_ok() => {
            Err(io::ErrorKind::AlreadyExists.into())
        }
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        done => Ok(done?),
    }
}

/// Writes a file of another name and gives it its own.
fn written_to(
    path: &Path,
    octets: &[u8],
    mode: u32,
    rename: fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| denied(path, "it names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let (beside, mut new) = beside(folder, name, mode)?;
    // First: a full disk has room again.
    drop(remove_left(folder, &new));
    let written = new
        .write_all(octets)
        .and_then(|()| new.sync_all())
        .and_then(|()| rename(&beside, path))
        .inspect_err(|_| drop(fs::remove_file(&beside)));
    written?;
    // So that the new name survives a loss of power too. Not every folder can be opened or synced; the file is in place even
    // then.
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

/// Removes what processes left in a folder that ended before they renamed their new file. The folder's own clock decides,
/// which gave `new` its time: what is younger may still be written.
fn remove_left(folder: &Path, new: &File) -> io::Result<()> {
    let (user, now) = (effective_user()?, new.metadata()?.modified()?);
    for entry in fs::read_dir(folder)?.take(ENTRIES_MAX) {
        let entry = entry?;
        if !is_name_of_new(&entry.file_name()) {
            continue;
        }
        // Of the link itself, if it is one.
        let Ok(found) = entry.metadata() else { continue };
        let age = now.duration_since(found.modified()?).unwrap_or_default();
        if is_ours(&found, user, OTHERS_WRITE).is_ok() && age > LEFT_AFTER {
            // Another process may have removed it.
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

/// Whether [`beside`] gives such names: `.NAME.HEX.tamis-new`.
fn is_name_of_new(name: &OsStr) -> bool {
    let parts = || {
        let named = name.to_str()?.strip_prefix('.')?.strip_suffix(NEW)?;
        named.rsplit_once('.')
    };
    parts().is_some_and(|(name, number)| {
        let is_hex = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
        !name.is_empty() && number.len() == 16 && number.bytes().all(is_hex)
    })
}

/// A new file in a folder, whose name nobody can foresee: what was planted there is neither written through nor in the way.
fn beside(folder: &Path, name: &OsStr, mode: u32) -> io::Result<(PathBuf, File)> {
    let mut tries = 0;
    loop {
        let number = RandomState::new().hash_one((std::process::id(), tries));
        let mut beside = OsString::from(".");
        // The longest names leave no room for a suffix, so the name is cut.
        beside.push(name.to_string_lossy().chars().take(NAME_MAX).collect::<String>());
        beside.push(format!(".{number:016x}{NEW}"));
        let beside = folder.join(beside);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {
                tries += 1;
            }
            opened => return opened.map(|file| (beside, file)),
        }
    }
}

/// Opens a file to add to it, or creates it, with these permissions, such as 0o600; those of an existing one are narrowed
/// to them. Pipes and devices keep theirs.
///
/// # Errors
/// It cannot be written; it belongs to another user, or has a second name; it is a symbolic link that another user has made
/// or could replace; or others can read it and that cannot be changed.
pub fn appended(path: &Path, mode: u32) -> io::Result<File> {
    let user = effective_user()?;
    let options = || {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(mode);
        options
    };
    let file = match options().custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            own_link(path, user)?;
            options().open(path)?
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        // Such as /dev/null, or the terminal. A pipe of another user is not safe: that user reads it.
        let safe = found.file_type().is_char_device() || is_own_or_roots(&found, user);
        return if safe { Ok(file) } else { owned(path, &found, user).map(|()| file) };
    }
    owned(path, &found, user)?;
    if found.nlink() > 1 {
        return Err(denied(path, "it has a second name (a hard link); remove it or name another"));
    }
    if found.mode() & 0o777 & !mode != 0 {
        file.set_permissions(Permissions::from_mode(mode)).map_err(|error| {
            let why = format!("it can be read by others and that cannot be changed ({error})");
            io::Error::new(error.kind(), format!("{}: {why}", path.display()))
        })?;
    }
    Ok(file)
}

/// Checks that a symbolic link is this user's or the system's, and that nobody else can put another in its place.
fn own_link(path: &Path, user: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !is_own_or_roots(&found, user) {
        let why = format!("it is a symbolic link of user {}; name the file itself", found.uid());
        return Err(denied(path, &why));
    }
    parents_are_safe(&std::path::absolute(path)?, user)
}

/// Opens a file to read it, and no link in its place.
///
/// # Errors
/// The system's error.
pub fn open_existing(path: &Path) -> io::Result<File> {
    // Non-blocking: opening a pipe of that name would wait for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Creates a file that was not there: neither a link nor another user's file is written through.
///
/// # Errors
/// The system's error, also if there is one.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};
    use tempfile::TempDir;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
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
            let refused = file(&at(link)).unwrap_err().to_string();
            assert!(refused.contains("not overwritten"), "{refused}");
        }
        assert!(appended(&at("name"), 0o600).is_err(), "it has a second name");
        assert_eq!(fs::read_to_string(at("mine")).unwrap(), "precious");
        assert_eq!(mode(&at("mine")), 0o644, "not even its mode");
        symlink(at("nowhere"), at("dangling")).unwrap();
        assert!(file(&at("dangling")).is_err());
        assert!(!at("nowhere").exists(), "nothing is created behind a link");
        rustix::fs::mknodat(CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        assert!(file(&at("pipe")).is_err(), "nobody waits for its reader");
    }

    #[test]
    fn a_file_is_put_in_the_place_of_whatever_has_its_name() {
        type Put = fn(&Path, &[u8]) -> io::Result<()>;
        for (put, most) in [(put as Put, 0o600), (put_readable, 0o644)] {
            let root = TempDir::new().unwrap();
            let at = |name: &str| root.path().join(name);
            fs::write(at("mine"), "precious").unwrap();
            type Preparation<'a> = &'a dyn Fn(&Path);
            let rows: [(&str, Preparation<'_>); 6] = [
                ("nothing", &|_| {}),
                ("a file", &|path| fs::write(path, "old, and longer than the new one").unwrap()),
                ("a file for others", &|path| {
                    fs::write(path, "old").unwrap();
                    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
                }),
                ("a link to a file", &|path| symlink(at("mine"), path).unwrap()),
                ("a link to nothing", &|path| symlink(at("nowhere"), path).unwrap()),
                ("a second name", &|path| fs::hard_link(at("mine"), path).unwrap()),
            ];
            for (name, plant) in rows {
                // The names that earlier releases wrote to first.
                for planted in [format!("n.{}.new", std::process::id()), "n.new".to_owned()] {
                    drop(fs::remove_file(at(&planted)));
                    symlink(at("nowhere"), at(&planted)).unwrap();
                }
                let path = at("n.txt");
                plant(&path);
                put(&path, b"new").unwrap();
                let found = fs::symlink_metadata(&path).unwrap();
                assert!(found.is_file() && found.nlink() == 1, "{name}");
                // The umask of the test may leave others out.
                let mode = found.mode() & 0o777;
                assert!(mode & !most == 0 && mode & 0o600 == 0o600, "{name}: {mode:o}");
                assert_eq!(fs::read_to_string(&path).unwrap(), "new", "{name}");
                assert_eq!(fs::read_to_string(at("mine")).unwrap(), "precious", "{name}");
                assert!(!at("nowhere").exists(), "{name}");
                fs::remove_file(&path).unwrap();
            }
            let left = fs::read_dir(root.path()).unwrap().count();
            assert_eq!(left, 3, "the file and the two links of before, and nothing of ours");
            fs::create_dir(at("folder")).unwrap();
            for refused in ["folder", "no/folder", ".."] {
                assert!(put(&at(refused), b"new").is_err(), "{refused}");
            }
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4, "a failure leaves nothing");
            let longest = "n".repeat(255);
            put(&at(&longest), b"new").unwrap();
            let wide = "\u{1f980}".repeat(63);
            put(&at(&wide), b"new").unwrap();
        }
    }

    #[test]
    fn what_a_crash_left_is_removed_by_a_later_put_and_nothing_else_is() {
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        let old = LEFT_AFTER + Duration::from_secs(60);
        let young = LEFT_AFTER - Duration::from_secs(60);
        let now = fs::metadata(root.path()).unwrap().modified().unwrap();
        let aged = |name: &str, age: Duration| {
            fs::write(at(name), "half").unwrap();
            File::options().write(true).open(at(name)).unwrap().set_modified(now - age).unwrap();
        };
        // Of whatever file it was to become: that one may never be put again.
        let left = [".x.0123456789abcdef.tamis-new", ".a.b.fedcba9876543210.tamis-new"];
        let others = [
            (".y.0123456789abcdef.tamis-new", young),
            // A clock that was ahead.
            (".z.0123456789abcdef.tamis-new", Duration::ZERO),
            (".x.0123456789abcdef.new", old),
            (".x.0123456789ABCDEF.tamis-new", old),
            (".x.123456789abcdef.tamis-new", old),
            (".0123456789abcdef.tamis-new", old),
            ("x.0123456789abcdef.tamis-new", old),
            (".x.0123456789abcdef.tamis-new.txt", old),
            ("x", old),
        ];
        left.iter().for_each(|name| aged(name, old));
        others.iter().for_each(|(name, age)| aged(name, *age));
        // What has two names, is a link, or is a folder, no put has made.
        aged("mine", old);
        fs::hard_link(at("mine"), at(".m.0123456789abcdef.tamis-new")).unwrap();
        symlink(at("mine"), at(".l.0123456789abcdef.tamis-new")).unwrap();
        fs::create_dir(at(".d.0123456789abcdef.tamis-new")).unwrap();
        let names = || {
            let names = fs::read_dir(root.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<String>>()
        };
        let mut expected = names();
        expected.insert("n".to_owned());
        left.iter().for_each(|name| assert!(expected.remove(*name), "{name}"));
        put(&at("n"), b"new").unwrap();
        assert_eq!(names(), expected);
        assert_eq!(fs::read_to_string(at("mine")).unwrap(), "half");
    }

    #[test]
    fn the_first_of_those_that_put_at_once_wins_and_leaves_nothing_beside() {
        let root = TempDir::new().unwrap();
        let path = root.path().join("n");
        let first = std::thread::scope(|scope| {
            let put = |number: u8| {
                let path = &path;
                scope.spawn(move || (number, put_first(path, &[number]).unwrap()))
            };
            let all: Vec<_> = (0..8).map(put).collect();
            let all = all.into_iter().map(|one| one.join().unwrap());
            all.filter_map(|(number, is_first)| is_first.then_some(number)).collect::<Vec<u8>>()
        });
        assert_eq!(fs::read(&path).unwrap(), first, "one was first, and its octets stand");
        assert_eq!((first.len(), mode(&path)), (1, 0o600));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        // Whatever has the name keeps it, and nothing is created behind a link.
        fs::remove_file(&path).unwrap();
        symlink(root.path().join("nowhere"), &path).unwrap();
        assert!(!put_first(&path, b"new").unwrap());
        assert!(path.is_symlink() && fs::read_dir(root.path()).unwrap().count() == 1);
    }

    #[test]
    fn its_owner_alone_reads_what_is_appended_whatever_was_there() {
        let root = TempDir::new().unwrap();
        let path = root.path().join("access.jsonl");
        drop(appended(&path, 0o600).unwrap());
        assert_eq!(mode(&path), 0o600);
        for before in [0o644, 0o666, 0o640, 0o600] {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            drop(appended(&path, 0o600).unwrap());
            assert_eq!(mode(&path), 0o600, "{before:o}");
        }
        // The owner let a group read it.
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        drop(appended(&path, 0o640).unwrap());
        assert_eq!(mode(&path), 0o640);
        for harmless in ["/dev/null", "/dev/stderr"] {
            assert!(appended(Path::new(harmless), 0o600).is_ok(), "{harmless}");
        }
        // A link of one's own, in a folder of one's own.
        symlink(&path, root.path().join("link")).unwrap();
        appended(&root.path().join("link"), 0o600).unwrap().write_all(b"a line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a line\n");
        fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(appended(&root.path().join("link"), 0o600).is_err(), "others could replace it");
    }

    /// Only the superuser can give a file away; elsewhere this shows nothing and says so.
    #[test]
    fn nothing_is_appended_to_what_another_user_made() {
        if effective_user().unwrap() != 0 {
            eprintln!("skipped: only the superuser can give files away");
            return;
        }
        let root = TempDir::new().unwrap();
        let planted = root.path().join("planted");
        let precious = root.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let rows: [(&str, &dyn Fn()); 4] = [
            ("a file", &|| fs::write(&planted, "").unwrap()),
            ("a link to a file of ours", &|| symlink(&precious, &planted).unwrap()),
            ("a link to nothing", &|| symlink(root.path().join("new"), &planted).unwrap()),
            ("a link to a device", &|| symlink("/dev/null", &planted).unwrap()),
        ];
        for (name, plant) in rows {
            plant();
            lchown(&planted, Some(65_534), None).unwrap();
            let refused = appended(&planted, 0o600).unwrap_err().to_string();
            assert!(refused.contains("user 65534"), "{name}: {refused}");
            fs::remove_file(&planted).unwrap();
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert!(!root.path().join("new").exists());
    }
}
