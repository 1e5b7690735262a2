//! What an author of filters does wrong is found where they look first.

use std::fs;

use crate::guests::{self, GRANT};
use tamis_e2e::{Backend, Folder, tamis};

/// Something that is done to a folder whose filter was sound.
type FolderDamage = fn(&Folder);

fn sign(folder: &Folder, component: &str, version: &str, key: &str) {
    let done = tamis(
        folder.path(),
        &[
            "filter",
            "sign",
            component,
            "--name",
            "test/guest",
            "--version",
            version,
            "--key",
            key,
            "--store",
            ".tamis/store",
            "--pin",
            ".tamis/filters.lock.yaml",
        ],
    );
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn component() -> String {
    guests::behaviour().display().to_string()
}

#[test]
fn a_check_of_the_folder_finds_whatever_would_keep_a_filter_from_serving() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let config = "{ do: edit, reads: [\":path\"], writes: [x-path] }";
    folder.attach("guest", "test/guest", config, GRANT, "");
    folder.prepare();
    sign(&folder, &component(), "1.0.0", ".tamis/keys/local-dev.key");
    let check = || {
        let done = tamis(folder.path(), &["check", "."]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        (done.status.success(), said)
    };
    let (passed, said) = check();
    assert!(passed, "{said}");

    let rows: [(&str, FolderDamage, &[&str]); 11] = [
        ("an import", |f| f.edit("guest.yaml", "kv: {}, ", ""), &["imports `kv`", "kv: {}"]),
        (
            "every import",
            |f| f.edit("guest.yaml", "clock: {}, counters: {}, ", ""),
            &["`clock`", "`counters`"],
        ),
        (
            "a field it writes",
            |f| f.edit("guest.yaml", "writeHeaders: [\"*\"]", "writeHeaders: [x-b]"),
            &["writes `x-path`", "writeHeaders"],
        ),
        (
            "a field it reads",
            |f| f.edit("guest.yaml", "reads: [\":path\"]", "reads: [\"@peer.spiffe-id\"]"),
            &[],
        ),
        (
            "a setting that there is none of",
            |f| f.edit("guest.yaml", "do: edit", "do: edit, dont: 1"),
            &["dont"],
        ),
        (
            "a value it refuses",
            |f| f.edit("guest.yaml", "do: edit", "do: refuse"),
            &["never", "do: refuse"],
        ),
        (
            "a signature that its grant asks for",
            |f| {
                let limits = "  limits: { time: 20ms }";
                let signed_by = "signedBy: { keys: [somebody], threshold: 1 }";
                f.edit("guest.yaml", limits, &format!("{limits}\n  {signed_by}"));
            },
            &["trust.threshold", "somebody"],
        ),
        (
            "a stranger's signature",
            |f| {
                let made = tamis(f.path(), &["keys", "generate", "stranger"]);
                assert!(made.status.success());
                sign(f, &component(), "1.0.1", "stranger.key");
            },
            &["trust.unknown-key"],
        ),
        (
            "a component that was altered",
            |f| {
                let path = f.file(".tamis/store/test-guest-1.0.0.wasm");
                let mut octets = fs::read(&path).unwrap();
                octets.push(0);
                fs::write(path, octets).unwrap();
            },
            &["guest"],
        ),
        (
            "an artifact that is not there",
            |f| {
                for entry in fs::read_dir(f.file(".tamis/store")).unwrap() {
                    let path = entry.unwrap().path();
                    if path.file_name().unwrap().to_str().unwrap().starts_with("test-guest-") {
                        fs::remove_file(path).unwrap();
                    }
                }
            },
            &["artifact.missing"],
        ),
        (
            "another world",
            |f| f.edit("guest.yaml", "world: everything", "world: retry-policy"),
            &["retry-policy"],
        ),
    ];
    for (what, spoil, says) in rows {
        let kept = ["guest.yaml", ".tamis/filters.lock.yaml"].map(|name| (name, folder.read(name)));
        let store = folder.file(".tamis/store");
        let backup = folder.file("backup");
        let copy = |from: &std::path::Path, to: &std::path::Path| {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        };
        copy(&store, &backup);
        spoil(&folder);
        let (passed, said) = check();
        if says.is_empty() {
            assert!(passed, "{what} is granted: {said}");
        } else {
            assert!(!passed, "{what}: {said}");
            for part in says {
                assert!(said.contains(part), "{what}: `{part}` is missing in {said}");
            }
        }
        for (name, text) in kept {
            folder.write(name, &text);
        }
        fs::remove_dir_all(&store).unwrap();
        copy(&backup, &store);
        let (passed, said) = check();
        assert!(passed, "{what} is mended: {said}");
    }
}

#[test]
fn a_fresh_folder_is_told_the_one_command_that_makes_what_is_missing() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let check = || {
        let done = tamis(folder.path(), &["check", "."]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.success(), said + &String::from_utf8_lossy(&done.stderr))
    };
    let (passed, said) = check();
    assert!(!passed && said.contains("`tamis up . --prepare` makes them"), "{said}");
    assert!(!said.contains("tamis pin"), "{said}");
    // What that command does not make is told as ever.
    folder.edit("mesh.yaml", "name: app, port: 80", "name: gone, port: 80");
    let (_, said) = check();
    assert!(said.contains("gone") && said.contains("--prepare"), "{said}");
    folder.edit("mesh.yaml", "name: gone, port: 80", "name: app, port: 80");
    folder.prepare();
    let (passed, said) = check();
    assert!(passed, "{said}");
    // Certificates are part of it.
    let key = folder.read(".tamis/certs/server.key");
    for (text, part) in [("no key at all", "server.key"), ("", "server.key")] {
        fs::write(folder.file(".tamis/certs/server.key"), text).unwrap();
        let (passed, said) = check();
        assert!(!passed && said.contains(part), "{said}");
    }
    fs::write(folder.file(".tamis/certs/server.key"), key).unwrap();
    fs::remove_file(folder.file(".tamis/certs/server.crt")).unwrap();
    let (passed, said) = check();
    assert!(!passed && said.contains("server.crt"), "{said}");
}
