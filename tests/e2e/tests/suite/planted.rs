//! A folder that somebody else made: `tamis up` runs what is signed in it, and believes nothing because of where it lies.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::shop::{Shop, shop};
use tamis_e2e::{RunningProcess, tamis};
use tempfile::TempDir;

/// Runs the shop as the user whose state is there, and waits until it is up.
fn up_as(shop: &Shop, state: &Path, arguments: &[&str]) -> RunningProcess {
    let all = [&["up", ".", "--no-apps"], arguments].concat();
    let running = RunningProcess::start_as(shop.folder.path(), &all, &[("XDG_STATE_HOME", state)]);
    running.event("the mesh is up", |event| event["event"] == "up");
    running
}

/// Makes the commands of the user whose state is there keep no code: proxies compile for themselves.
fn keeps_no_code(state: &Path) {
    fs::create_dir(state.join("tamis")).unwrap();
    fs::write(state.join("tamis/code"), "a file where a folder should be").unwrap();
}

/// The compiled code in the folder.
fn code(shop: &Shop) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(shop.folder.path().join(".tamis/cache")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let code = files.filter(|path| path.extension().is_some_and(|ending| ending == "code"));
    code.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    })
    .collect()
}

#[test]
fn compiled_code_that_lies_in_a_folder_from_elsewhere_is_not_run() {
    let (shop, theirs, own) = (shop(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for state in [&theirs, &own] {
        keeps_no_code(state.path());
    }
    assert!(up_as(&shop, theirs.path(), &[]).end("-INT").success());
    let planted = code(&shop);
    assert!(planted.len() >= 3, "{:?}", planted.keys());
    // What is handed on: documents, compiled code, and the key that makes it good, where old versions had it.
    let dot = shop.folder.path().join(".tamis");
    for entry in fs::read_dir(&dot).unwrap() {
        let path = entry.unwrap().path();
        match (path.file_name().unwrap().to_str().unwrap(), path.is_dir()) {
            ("cache", _) => {}
            (_, true) => fs::remove_dir_all(path).unwrap(),
            (_, false) => fs::remove_file(path).unwrap(),
        }
    }
    let key = fs::read(theirs.path().join("tamis/compiled-code.key")).unwrap();
    fs::write(dot.join("cache/cache.key"), &key).unwrap();

    let refused = tamis(shop.folder.path(), &["up", ".", "--prepare"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is a copy"), "{said}");

    // Somebody who says that it is theirs runs the same components, compiled by themselves.
    let running = up_as(&shop, own.path(), &["--adopt"]);
    let found = code(&shop);
    for (name, octets) in &planted {
        assert_ne!(found.get(name), Some(octets), "{name} is what was planted");
    }
    assert!(found.keys().eq(planted.keys()), "each was compiled here");
    assert!(!dot.join("cache/cache.key").exists());
    let mode = fs::metadata(own.path().join("tamis/compiled-code.key")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_ne!(fs::read(own.path().join("tamis/compiled-code.key")).unwrap(), key);
    assert!(running.end("-INT").success());

    // Now it is theirs: the next start believes what this one wrote.
    let running = up_as(&shop, own.path(), &[]);
    assert_eq!(code(&shop), found);
    assert!(running.end("-INT").success());
}

#[test]
fn links_in_a_folder_from_elsewhere_lead_nothing_out_of_it() {
    let shop = shop();
    let (dot, mine) = (shop.folder.path().join(".tamis"), TempDir::new().unwrap());
    let precious = mine.path().join("rc");
    for name in ["home.json", "try.txt", "filters.lock.yaml", "store", "keys", "certs", "cache"] {
        fs::write(&precious, "precious").unwrap();
        fs::create_dir(&dot).unwrap();
        let to = if name.contains('.') { precious.as_path() } else { mine.path() };
        symlink(to, dot.join(name)).unwrap();
        for adopt in [&[][..], &["--adopt"]] {
            let all = [&["up", ".", "--prepare"], adopt].concat();
            let done = tamis(shop.folder.path(), &all);
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(!done.status.success(), "{name} {adopt:?}");
            assert!(said.contains("is a link") || said.contains("is a copy"), "{name}: {said}");
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{name}");
        assert_eq!(fs::read_dir(mine.path()).unwrap().count(), 1, "{name}");
        fs::remove_dir_all(&dot).unwrap();
    }
}
