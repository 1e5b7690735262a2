//! Folders that only their owner can read and fill.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::owner::{
    OTHERS, OTHERS_WRITE, at, denied, effective_user, is_own_or_roots, owned, parents_are_safe,
};

/// Depth to which folders are closed to others.
const DEPTH_MAX: usize = 8;

/// Creates a folder, and missing parents, for its owner only; an existing one is closed to others.
///
/// # Errors
/// It cannot be created, it belongs to another user, or another user could put another folder in its place.
pub fn folder(path: &Path) -> io::Result<()> {
    let user = effective_user()?;
    let path = named(path)?;
    make(&path, user)?;
    parents_are_safe(&path, user)?;
    let found = fs::symlink_metadata(&path)?;
    // From here on the name is this user's: nobody else can give it to another thing.
    if !found.is_symlink() {
        owned(&path, &found, user)?;
    } else if !is_own_or_roots(&found, user) {
        let why = format!("it is a symbolic link of user {}; remove it", found.uid());
        return Err(denied(&path, &why));
    }
    // The user chooses where a link points to: that folder must belong to the user, and stay where it is.
    let real = path.canonicalize()?;
    parents_are_safe(&real, user)?;
    let (folder, found) = open_own(&real, &path, user)?;
    if found.mode() & 0o777 != 0o700 {
        folder.set_permissions(Permissions::from_mode(0o700))?;
    }
    is_still(&real, &found, &path)
}

/// Creates what is missing of a path, each folder for its owner only, below what nobody else can replace. What another user
/// puts in the way meanwhile is refused, and nothing is created behind it.
fn make(path: &Path, user: u32) -> io::Result<()> {
    let mut there = path;
    let mut missing = Vec::new();
    while let Err(error) = there.symlink_metadata()
        && error.kind() == io::ErrorKind::NotFound
        && let (Some(above), Some(name)) = (there.parent(), there.file_name())
    {
        missing.push(name);
        there = above;
    }
    if missing.is_empty() {
        return Ok(());
    }
    // Where others can put a link, a folder would be created behind it.
    parents_are_safe(&there.join("new"), user)?;
    let mut real = there.canonicalize()?;
    parents_are_safe(&real.join("new"), user)?;
    for name in missing.into_iter().rev() {
        real.push(name);
        match DirBuilder::new().mode(0o700).create(&real) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Somebody was quicker: this user, or another one in a folder for all.
                owned(&real, &fs::symlink_metadata(&real)?, user)?;
            }
            made => made.map_err(|error| at(&real, &error.to_string()))?,
        }
    }
    Ok(())
}

/// Opens a folder, and no link in its place: from then on what was opened counts, whatever has its name. `named` is its name
/// in errors.
fn open_own(path: &Path, named: &Path, user: u32) -> io::Result<(File, fs::Metadata)> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| at(named, &error.to_string()))?;
    let folder = File::from(folder);
    let found = folder.metadata()?;
    owned(named, &found, user)?;
    Ok((folder, found))
}

/// Checks that a path still names what was opened.
fn is_still(path: &Path, opened: &fs::Metadata, named: &Path) -> io::Result<()> {
    let there = path.symlink_metadata()?;
    if (there.dev(), there.ino()) == (opened.dev(), opened.ino()) {
        return Ok(());
    }
    Err(at(named, "another folder took its place while it was looked at"))
}

/// Closes everything in a folder to others. Symbolic links stay as they are.
///
/// # Errors
/// Something there belongs to another user: whoever put it there could have put anything there.
pub fn narrow(path: &Path) -> io::Result<()> {
    narrow_to(path, effective_user()?, DEPTH_MAX)
}

fn narrow_to(path: &Path, user: u32, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            // It was renamed or removed since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // The superuser's are no danger, and a mount brings such links.
        if !is_own_or_roots(&found, user) {
            owned(&path, &found, user)?;
        }
        let mode = match found.file_type() {
            kind if kind.is_dir() => 0o700,
            kind if kind.is_file() => 0o600,
            _ => continue,
        };
        if found.mode() & OTHERS != 0 {
            owned(&path, &found, user)?;
            set(&path, mode)?;
        }
        if found.is_dir() && depth > 0 {
            narrow_to(&path, user, depth - 1)?;
        }
    }
    Ok(())
}

/// Creates a folder if it is missing, and returns its real path once nobody else can fill or replace it.
///
/// # Errors
/// It cannot be created; it is a symbolic link or no folder; it belongs to another user; or another user could put another
/// folder in its place.
pub fn trusted_folder(path: &Path, user: u32) -> io::Result<PathBuf> {
    let path = named(path)?;
    make(&path, user)?;
    // The parents come first: where others can replace the folder, looking at it proves nothing.
    parents_are_safe(&path, user)?;
    let found = path.symlink_metadata()?;
    if found.is_symlink() {
        return Err(denied(&path, "it is a symbolic link; name the folder itself"));
    }
    if !found.is_dir() {
        return Err(at(&path, "it is not a folder"));
    }
    let (folder, found) = open_own(&path, &path, user)?;
    if found.mode() & OTHERS_WRITE != 0 {
        folder.set_permissions(Permissions::from_mode(0o700))?;
    }
    // The links on the way were checked above; from here on their target counts.
    let real = path.canonicalize()?;
    parents_are_safe(&real, user)?;
    is_still(&real, &found, &path)?;
    Ok(real)
}

/// The absolute path without a slash at its end, which would name the target of a link instead of the link.
fn named(path: &Path) -> io::Result<PathBuf> {
    Ok(std::path::absolute(path)?.components().collect())
}

fn set(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{file, put};
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
    fn a_folder_that_others_could_replace_is_refused_however_it_is_named() {
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        let user = effective_user().unwrap();
        for name in ["safe/inner", "wide/inner", "sticky/inner"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::set_permissions(at("wide"), Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(at("sticky"), Permissions::from_mode(0o1777)).unwrap();
        symlink(at("safe/inner"), at("link")).unwrap();
        symlink(at("wide/inner"), at("out")).unwrap();
        for (name, holds_secrets, is_trusted) in [
            ("safe/inner", true, true),
            ("safe/inner/", true, true),
            ("safe/new/deep", true, true),
            ("sticky/inner", true, true),
            ("wide/inner", false, false),
            ("wide/new", false, false),
            // The user's own link; what it names is looked at, and code is not believed through one.
            ("link", true, false),
            ("link/", true, false),
            ("link/.", true, false),
            ("out", false, false),
            ("out/", false, false),
        ] {
            assert_eq!(folder(&at(name)).is_ok(), holds_secrets, "{name}");
            assert_eq!(trusted_folder(&at(name), user).is_ok(), is_trusted, "{name}");
        }
        for name in ["wide/new", "wide/inner/new"] {
            assert!(!at(name).exists(), "nothing is created before its place is looked at: {name}");
        }
    }

    type Plant<'a> = &'a dyn Fn(&Path);

    /// What another user owns, who can do as they like in a folder for all.
    fn give_away(path: &Path) {
        std::os::unix::fs::lchown(path, Some(65_534), None).unwrap();
    }

    /// Only the superuser can give a file away; elsewhere this shows nothing and says so.
    #[test]
    fn nothing_is_created_or_closed_through_what_another_user_put_in_the_way() {
        let user = effective_user().unwrap();
        if user != 0 {
            eprintln!("skipped: only the superuser can give files away");
            return;
        }
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        let open = |name: &str, mode: u32| {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        open("all", 0o1777);
        open("precious", 0o755);
        let rows: [(&str, Plant<'_>); 4] = [
            ("a folder", &|path| fs::create_dir(path).unwrap()),
            ("a link to a folder of ours", &|path| symlink(at("precious"), path).unwrap()),
            ("a link to nothing", &|path| symlink(at("precious/new"), path).unwrap()),
            ("a file", &|path| fs::write(path, "").unwrap()),
        ];
        for (number, (name, plant)) in rows.into_iter().enumerate() {
            let planted = at(&format!("all/{number}"));
            plant(&planted);
            give_away(&planted);
            for below in ["", "deep", "deep/er"] {
                let path = planted.join(below);
                assert!(folder(&path).is_err(), "{name}: {below}");
                assert!(trusted_folder(&path, user).is_err(), "{name}: {below}");
            }
        }
        let inside: Vec<_> = fs::read_dir(at("precious")).unwrap().collect();
        assert!(inside.is_empty(), "{inside:?}");
        assert_eq!(mode(&at("precious")), 0o755);
    }

    /// Another user swaps a folder and a link again and again while the name is looked at. It finds a gap only by chance, so
    /// it repeats; it never fails without one.
    #[test]
    fn a_name_that_another_user_swaps_meanwhile_never_counts() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let user = effective_user().unwrap();
        if user != 0 {
            eprintln!("skipped: only the superuser can give files away");
            return;
        }
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        for (name, mode) in [("all", 0o1777), ("precious", 0o755)] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        let (name, other) = (at("all/name"), at("all/other"));
        fs::create_dir(&name).unwrap();
        symlink(at("precious"), &other).unwrap();
        give_away(&name);
        give_away(&other);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (here, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
                    rustix::fs::renameat_with(here, &name, here, &other, flags).unwrap();
                }
            });
            let taken: Vec<usize> = (0..3_000)
                .filter(|_| {
                    let below = name.join("deep");
                    folder(&name).is_ok()
                        || folder(&below).is_ok()
                        || trusted_folder(&name, user).is_ok()
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            assert!(taken.is_empty(), "{} times", taken.len());
        });
        assert_eq!(mode(&at("precious")), 0o755);
        assert_eq!(fs::read_dir(at("precious")).unwrap().count(), 0);
    }

    /// Only the superuser can give a file away; elsewhere this shows nothing and says so.
    #[test]
    fn what_another_user_put_into_a_folder_is_refused_whatever_its_mode() {
        let user = effective_user().unwrap();
        if user != 0 {
            eprintln!("skipped: only the superuser can give files away");
            return;
        }
        let root = TempDir::new().unwrap();
        let planted = root.path().join("data/planted");
        folder(&root.path().join("data")).unwrap();
        let file_with = |mode: u32| {
            fs::write(&planted, "x").unwrap();
            fs::set_permissions(&planted, Permissions::from_mode(mode)).unwrap();
        };
        let rows: [(&str, &dyn Fn()); 6] = [
            ("a private file", &|| file_with(0o600)),
            ("a file that all can read", &|| file_with(0o644)),
            ("a file that nobody can read", &|| file_with(0o000)),
            ("a private folder", &|| DirBuilder::new().mode(0o700).create(&planted).unwrap()),
            ("a link to a file", &|| symlink("/etc/passwd", &planted).unwrap()),
            ("a link to nothing", &|| symlink("/nowhere", &planted).unwrap()),
        ];
        for (name, plant) in rows {
            plant();
            narrow(&root.path().join("data")).unwrap();
            give_away(&planted);
            let refused = narrow(&root.path().join("data")).unwrap_err();
            assert!(refused.to_string().contains("belongs to user 65534"), "{name}: {refused}");
            if planted.is_dir() && !planted.is_symlink() {
                fs::remove_dir(&planted).unwrap();
            } else {
                fs::remove_file(&planted).unwrap();
            }
        }
    }
}
