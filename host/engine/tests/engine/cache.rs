//! Which files the cache of compiled code trusts: those of this user on this machine, whoever filled the
//! folder.

use crate::guests::{behaviour_bytes, engine};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use tamis_engine::{Cache, CacheFolders};
use tempfile::TempDir;

/// `nobody`.
const STRANGER: u32 = 65_534;

/// A folder for code and one for the key, both empty.
struct Place {
    _root: TempDir,
    code: PathBuf,
    state: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (code, state) = (root.path().join("shared/cache"), root.path().join("home/state"));
        Self { _root: root, code, state }
    }

    fn open(&self) -> std::io::Result<Cache> {
        Cache::open(CacheFolders { code: &self.code, state: &self.state, also: None })
    }

    fn key(&self) -> PathBuf {
        let entry = fs::read_dir(&self.state).unwrap().next().unwrap().unwrap();
        entry.path()
    }

    /// The only file of code.
    fn file(&self) -> PathBuf {
        let files = fs::read_dir(&self.code).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|e| e == "code")).unwrap()
    }

    /// The only file of code besides `other`.
    fn file_besides(&self, other: &Path) -> PathBuf {
        let files = fs::read_dir(&self.code).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path != other).unwrap()
    }

    fn filled() -> Self {
        let place = Self::new();
        assert!(!was_cached(&place.open().unwrap()));
        assert!(was_cached(&place.open().unwrap()));
        place
    }
}

fn was_cached(cache: &Cache) -> bool {
    engine().compile(behaviour_bytes(), Some(cache)).unwrap().was_cached()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refusal(place: &Place) -> String {
    place.open().unwrap_err().to_string()
}

/// Only root can give a file to another user. A test that passes without having tried anything would hide that.
fn must_be_root() {
    let own = fs::metadata("/proc/self").unwrap().uid();
    assert_eq!(own, 0, "this test gives files to another user: run it as root, as CI does");
}

#[test]
fn the_key_is_private_and_outside_the_folder_of_the_code() {
    let place = Place::filled();
    assert_eq!((mode(&place.state), mode(&place.key())), (0o700, 0o600));
    assert_eq!(mode(&place.file()) & 0o077, 0);
    for entry in fs::read_dir(&place.code).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.extension().is_some_and(|e| e == "code"), "{}", path.display());
    }
}

#[test]
fn a_key_that_travelled_with_the_folder_is_not_believed_and_removed() {
    let (place, theirs) = (Place::new(), Place::filled());
    // A folder as an archive contains it: foreign code, with its key in the same folder, as older versions
    // kept it.
    fs::create_dir_all(&place.code).unwrap();
    fs::copy(theirs.file(), place.code.join(theirs.file().file_name().unwrap())).unwrap();
    fs::copy(theirs.key(), place.code.join("cache.key")).unwrap();
    let cache = place.open().unwrap();
    assert!(!was_cached(&cache), "compiled here, whatever lies there");
    assert!(was_cached(&cache), "and written once more");
    assert!(!place.code.join("cache.key").exists());
}

#[test]
fn a_file_that_does_not_check_is_ignored_and_written_once_more() {
    type FileDamage = fn(&Path);
    let spoils: [(&str, FileDamage); 7] = [
        ("one bit", |path| {
            let mut octets = fs::read(path).unwrap();
            let middle = octets.len() / 2;
            octets[middle] ^= 1;
            fs::write(path, octets).unwrap();
        }),
        ("cut", |path| {
            let octets = fs::read(path).unwrap();
            fs::write(path, &octets[..octets.len() / 2]).unwrap();
        }),
        ("the MAC alone", |path| {
            let octets = fs::read(path).unwrap();
            fs::write(path, &octets[..32]).unwrap();
        }),
        ("empty", |path| fs::write(path, []).unwrap()),
        ("others may write it", |path| set_mode(path, 0o666)),
        ("a link to what is right", |path| {
            let elsewhere = path.with_extension("real");
            fs::rename(path, &elsewhere).unwrap();
            symlink(&elsewhere, path).unwrap();
        }),
        ("a second name", |path| fs::hard_link(path, path.with_extension("again")).unwrap()),
    ];
    for (what, spoil) in spoils {
        let place = Place::filled();
        spoil(&place.file());
        let cache = place.open().unwrap();
        assert!(!was_cached(&cache), "{what}");
        assert!(was_cached(&cache), "{what}: written once more");
    }
}

#[test]
fn code_under_another_name_stands_in_for_nothing() {
    let place = Place::filled();
    let file = place.file();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let other = format!("{}{}", if name.starts_with('0') { "1" } else { "0" }, &name[1..]);
    fs::rename(&file, place.code.join(&other)).unwrap();
    assert!(!was_cached(&place.open().unwrap()));
    fs::copy(place.code.join(&other), &file).unwrap();
    assert!(was_cached(&place.open().unwrap()), "under its own it does");
}

#[test]
fn a_key_others_could_know_is_refused_with_the_way_out() {
    type FileDamage = fn(&Path);
    let spoils: [(&str, FileDamage, &str); 5] = [
        ("all may read it", |key| set_mode(key, 0o644), "chmod 600"),
        ("the group may read it", |key| set_mode(key, 0o640), "chmod 600"),
        (
            "a link",
            |key| {
                fs::rename(key, key.with_extension("real")).unwrap();
                symlink(key.with_extension("real"), key).unwrap();
            },
            "compiled-code.key",
        ),
        ("a second name", |key| fs::hard_link(key, key.with_extension("b")).unwrap(), "hard link"),
        (
            "a folder",
            |key| {
                fs::remove_file(key).unwrap();
                fs::create_dir(key).unwrap();
            },
            "not a regular file",
        ),
    ];
    for (what, spoil, part) in spoils {
        let place = Place::filled();
        spoil(&place.key());
        let said = refusal(&place);
        assert!(said.contains(part) && said.contains("compiled-code.key"), "{what}: {said}");
    }
}

/// What the processes below run: opens the cache in `TAMIS_TEST_CACHE`, and ends well when it has a key.
#[test]
fn opens_the_cache_it_is_told_of() {
    let Some(root) = std::env::var_os("TAMIS_TEST_CACHE").map(PathBuf::from) else { return };
    Cache::open(CacheFolders {
        code: &root.join("code"),
        state: &root.join("home/state"),
        also: None,
    })
    .unwrap();
}

#[test]
fn processes_that_start_at_once_have_one_key_and_never_a_half_one() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let home = root.path().join(round.to_string());
        if round == 2 {
            // One that another process left half-written.
            fs::create_dir_all(home.join("home/state")).unwrap();
            fs::write(home.join("home/state/compiled-code.key"), b"half").unwrap();
            set_mode(&home.join("home/state/compiled-code.key"), 0o600);
        }
        let start = || {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "cache::opens_the_cache_it_is_told_of"])
                .env("TAMIS_TEST_CACHE", &home)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut processes: Vec<_> = (0..8).map(|_| start()).collect();
        // Whoever looks finds a whole key or none, and always the same.
        let key = home.join("home/state/compiled-code.key");
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let over = processes.iter_mut().all(|one| one.try_wait().unwrap().is_some());
            if let Ok(octets) = fs::read(&key) {
                seen.insert(octets);
            }
            if over {
                break;
            }
        }
        for mut process in processes {
            assert!(process.wait().unwrap().success());
        }
        seen.remove(&b"half"[..]);
        assert_eq!(seen.len(), 1, "round {round}");
        assert!(seen.iter().all(|key| key.len() == 32), "round {round}");
        assert_eq!(mode(&key), 0o600);
        assert_eq!(fs::read_dir(home.join("home/state")).unwrap().count(), 1, "nothing beside it");
    }
}

#[test]
fn no_lock_that_another_user_can_take_makes_a_start_wait() {
    must_be_root();
    // As a stranger holds them, who needs to read no more than the name: this test waits for ever where one counts.
    let held = |path: &Path| {
        let file = fs::File::open(path).unwrap();
        file.lock().unwrap();
        file
    };
    type Preparation = fn(&Place);
    let rows: [(&str, Preparation); 4] = [
        ("a first start", |_| {}),
        ("a key", |place| drop(place.open().unwrap())),
        ("a key nobody finished", |place| {
            drop(place.open().unwrap());
            fs::write(place.key(), b"half").unwrap();
        }),
        ("a lock of that name", |place| fs::write(place.state.join("lock"), "").unwrap()),
    ];
    for (what, prepare) in rows {
        let place = Place::new();
        for folder in [&place.code, &place.state] {
            fs::create_dir_all(folder).unwrap();
            set_mode(folder, 0o755);
        }
        prepare(&place);
        let open_to_all = [&place.code, &place.state].map(|path| held(path));
        let inside = fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
        let inside: Vec<_> =
            inside.filter(|path| mode(path) & 0o077 != 0).map(|path| held(&path)).collect();
        assert!(was_cached(&place.open().unwrap()) || was_cached(&place.open().unwrap()), "{what}");
        drop((open_to_all, inside));
        let key = place.state.join("compiled-code.key");
        assert_eq!(mode(&key), 0o600, "{what}: nobody else can open it");
    }
}

#[test]
fn a_key_that_is_being_mended_is_waited_for_with_a_bound() {
    let place = Place::filled();
    fs::write(place.key(), b"half").unwrap();
    // Another process of this user, which stands still.
    let stopped = fs::File::open(place.key()).unwrap();
    stopped.lock().unwrap();
    assert!(refusal(&place).contains("compiled-code.key"));
    drop(stopped);
    assert!(place.open().is_ok());
}

#[test]
fn threads_that_write_the_same_code_at_once_leave_it_whole() {
    let place = Place::new();
    let cache = place.open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| engine().compile(behaviour_bytes(), Some(&cache)).unwrap());
        }
    });
    assert!(was_cached(&cache));
    let names = fs::read_dir(&place.code).unwrap();
    assert_eq!(names.count(), 1, "nothing half-written stays");
}

#[test]
fn a_key_nobody_finished_writing_is_made_once_more() {
    let place = Place::filled();
    fs::write(place.key(), b"half").unwrap();
    let cache = place.open().unwrap();
    assert!(!was_cached(&cache) && was_cached(&cache));
}

#[test]
fn folders_others_could_replace_are_refused() {
    let linked = |folder: &Path| {
        fs::rename(folder, folder.with_extension("real")).unwrap();
        symlink(folder.with_extension("real"), folder).unwrap();
    };
    for which in ["code", "state"] {
        let place = Place::filled();
        let folder = if which == "code" { place.code.clone() } else { place.state.clone() };
        let above = folder.parent().unwrap().to_owned();
        set_mode(&above, 0o777);
        assert!(refusal(&place).contains("chmod go-w"), "{which}: all may write above it");
        set_mode(&above, 0o1777);
        assert!(place.open().is_ok(), "{which}: sticky, as /tmp is");
        set_mode(&above, 0o755);
        set_mode(&folder, 0o777);
        assert!(place.open().is_ok(), "{which}: its own is closed");
        assert_eq!(mode(&folder), 0o700, "{which}");
        linked(&folder);
        assert!(refusal(&place).contains("symbolic link"), "{which}");
    }
}

#[test]
fn nothing_of_another_user_is_believed() {
    must_be_root();
    // The whole folder belongs to another user, code and key in it: an archive, unpacked by its sender.
    for which in ["code", "state", "above the code", "above the state"] {
        let place = Place::filled();
        let folder = match which {
            "code" => place.code.clone(),
            "state" => place.state.clone(),
            "above the code" => place.code.parent().unwrap().to_owned(),
            _ => place.state.parent().unwrap().to_owned(),
        };
        chown(&folder, Some(STRANGER), None).unwrap();
        let said = refusal(&place);
        assert!(said.contains("belongs to user 65534"), "{which}: {said}");
    }
    let place = Place::filled();
    chown(place.key(), Some(STRANGER), None).unwrap();
    assert!(refusal(&place).contains("belongs to user 65534"));

    let place = Place::filled();
    chown(place.file(), Some(STRANGER), None).unwrap();
    let cache = place.open().unwrap();
    assert!(!was_cached(&cache), "a file of a stranger in a folder of ours");
    assert!(was_cached(&cache), "written once more, as ours");
    assert_eq!(fs::metadata(place.file()).unwrap().uid(), 0);
}

#[test]
fn code_that_a_command_of_this_user_compiled_is_found_and_planted_code_is_not_believed() {
    let commands = Place::filled();
    let proxy = |name: &str, also: &Path| {
        let (code, also) = (commands.code.with_file_name(name), Some(also));
        let cache = Cache::open(CacheFolders { code: &code, state: &commands.state, also });
        (code, cache.unwrap())
    };
    let (folder, cache) = proxy("one", &commands.code);
    assert!(was_cached(&cache));
    assert!(!cache_has(&folder), "what is in the other folder is not written again");

    let mut octets = fs::read(commands.file()).unwrap();
    *octets.last_mut().unwrap() ^= 1;
    fs::write(commands.file(), octets).unwrap();
    assert!(!was_cached(&cache), "its MAC is wrong");
    assert!(was_cached(&cache) && cache_has(&folder));

    let stranger = Place::filled();
    assert!(!was_cached(&proxy("two", &stranger.code).1), "made with another key");
    set_mode(stranger.code.parent().unwrap(), 0o777);
    let cache = proxy("three", &stranger.code).1;
    assert!(!was_cached(&cache) && was_cached(&cache), "a folder that is not trusted is left out");
}

fn cache_has(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().count() > 0
}

#[test]
fn the_oldest_code_is_deleted_beyond_the_limit() {
    let place = Place::filled();
    let bytes = fs::metadata(place.file()).unwrap().len();
    let old = place.code.join("old.code");
    fs::copy(place.file(), &old).unwrap();
    fs::remove_file(place.file_besides(&old)).unwrap();
    assert!(!was_cached(&place.open().unwrap().at_most(2 * bytes)));
    assert!(old.exists(), "both fit");
    fs::remove_file(place.file_besides(&old)).unwrap();
    assert!(!was_cached(&place.open().unwrap().at_most(2 * bytes - 1)));
    assert!(!old.exists() && was_cached(&place.open().unwrap()));
    fs::remove_file(place.file()).unwrap();
    assert!(!was_cached(&place.open().unwrap().at_most(1)));
    assert!(was_cached(&place.open().unwrap()), "what was written last stays");
}
