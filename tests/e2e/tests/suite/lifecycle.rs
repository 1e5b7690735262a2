//! The life of a proxy: it drains, a successor takes over, its certificates are renewed, its files are
//! private.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tamis_e2e::{Backend, Folder, eventually, get, tamis};

use crate::shop::shop;

/// Sends a request over a new connection; returns whether a complete response arrived.
fn ask(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn the_binary_is_replaced_under_constant_new_connections_and_none_is_refused() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let old = folder.start(&["--workers", "2", "--lame-duck-seconds", "1"]);
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = std::thread::scope(|scope| {
        let client = || {
            let mut failed = 0;
            while !stop.load(Ordering::Relaxed) {
                failed += u64::from(!ask(&folder.http));
                asked.fetch_add(1, Ordering::Relaxed);
            }
            failed
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let more = |what: &str| {
            let from = asked.load(Ordering::Relaxed);
            eventually(what, || (asked.load(Ordering::Relaxed) > from + 50).then_some(()));
        };
        more("the old one serves");
        let new = folder.start(&["--workers", "3", "--take-over"]);
        more("both, or the new one, serve");
        let (status, said) = old.wait();
        assert!(status.success(), "{said}");
        more("the new one serves alone");
        assert_eq!(get(&folder.admin, "/readyz").status, 200, "the admin listener went over too");
        // And once more: a successor has successors.
        let third = folder.start(&["--take-over"]);
        assert!(new.wait().0.success());
        more("the third serves");
        stop.store(true, Ordering::Relaxed);
        let failed: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        drop(third);
        failed
    });
    assert_eq!(failed, 0, "of {}", asked.into_inner());
}

#[test]
fn sigterm_leaves_a_load_balancer_time_and_refuses_nobody_meanwhile() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&["--lame-duck-seconds", "3"]);
    let id = gateway.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    eventually("readyz says so", || (get(&folder.admin, "/readyz").status == 503).then_some(()));
    let reply = get(&folder.http, "/");
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(gateway.wait().0.success());
    assert!(!ask(&folder.http));
}

#[test]
fn a_drain_is_called_off_by_the_command_that_says_so() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    folder.drain("600");
    assert_eq!(get(&folder.admin, "/readyz").body, "draining\n");
    let command = |name: &str| {
        let arguments = ["proxy", name, "gateway:test/edge", "--run-folder", "run"];
        let done = tamis(folder.path(), &arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(command("undrain").contains("serving"));
    assert_eq!(get(&folder.admin, "/readyz").status, 200);
    assert!(command("filters").contains("tamis/route 0.1.0"));
    assert!(command("upstreams").contains("test/app:80"));
    assert!(command("routes").contains("test/all for every host: all"), "{}", command("routes"));
    assert!(command("config").contains("\"gateway:test/edge\""));
}

#[test]
fn a_renewed_certificate_is_taken_within_seconds_and_a_broken_one_never() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    let keys = |arguments: &[&str]| {
        let mut all = vec!["keys", "certificate", ".tamis/certs/server"];
        all.extend_from_slice(arguments);
        let done = tamis(folder.path(), &all);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let expiry = || folder.metric(&["tamis_certificate_not_after_seconds", "server.crt"]);
    let before = expiry().unwrap();
    keys(&["--authority", ".tamis/certs/ca.crt", "--renew"]);
    let event = gateway.event("it is told", |event| {
        event["renewed"].as_array().is_some_and(|lines| !lines.is_empty())
    });
    let line = event["renewed"][0].as_str().unwrap();
    assert!(line.contains("server.crt") && line.contains("expires at 20"), "{line}");
    assert!(expiry().unwrap() >= before);
    // A certificate without its key is refused, and the problem is reported.
    fs::write(folder.file(".tamis/certs/server.key"), "no key").unwrap();
    let told = gateway.event("the key is told", |event| {
        event["notes"].as_array().is_some_and(|notes| !notes.is_empty())
    });
    assert!(told["notes"][0].as_str().unwrap().contains("stays in use"), "{told}");
    assert!(folder.metric(&["tamis_problems{"]).unwrap() > 0.0);
    assert!(expiry().is_some());
    // However it is broken: what works stays, and a renewal mends it.
    let made = tamis(
        folder.path(),
        &[
            "keys",
            "certificate",
            "other",
            "--authority",
            ".tamis/certs/ca.crt",
            "--host",
            "localhost",
        ],
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    type Spoil = fn(&Folder);
    let spoils: [(&str, Spoil); 4] = [
        ("no key", |_| {}),
        ("the key of another", |folder| {
            fs::copy(folder.file("other.key"), folder.file(".tamis/certs/server.key")).unwrap();
        }),
        ("no key at all", |folder| {
            fs::remove_file(folder.file(".tamis/certs/server.key")).unwrap();
        }),
        ("half of a certificate", |folder| {
            let text = folder.read(".tamis/certs/server.crt");
            fs::write(folder.file(".tamis/certs/server.crt"), &text[..text.len() / 2]).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let (certificate, before) = (folder.read(".tamis/certs/server.crt"), expiry());
        spoil(&folder);
        eventually(&format!("{what} is told"), || folder.metric(&["tamis_problems{"]));
        assert_eq!(expiry(), before, "{what}: the one before is in use");
        assert!(TcpStream::connect(&folder.https).is_ok(), "{what}");
        // A renewal is for the names of the certificate that is there.
        folder.write(".tamis/certs/server.crt", &certificate);
        keys(&["--authority", ".tamis/certs/ca.crt", "--renew"]);
        eventually(&format!("{what} is mended"), || {
            folder.metric(&["tamis_problems{"]).is_none().then_some(())
        });
    }
}

#[test]
fn records_go_to_a_new_file_when_theirs_is_moved_away() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    assert!(ask(&folder.http));
    folder.record("the first", |record| record["path"] == "/");
    fs::rename(folder.file("access.jsonl"), folder.file("access.1")).unwrap();
    let id = gateway.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    eventually("the new file has records", || {
        assert!(ask(&folder.http), "SIGHUP ends nothing");
        folder.records().first().cloned()
    });
}

/// Every file and folder below one, with its mode.
fn rights(path: &Path, all: &mut Vec<(PathBuf, u32)>) {
    let about = fs::symlink_metadata(path).unwrap();
    if about.file_type().is_symlink() {
        return;
    }
    all.push((path.to_owned(), about.permissions().mode() & 0o777));
    if about.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| rights(&entry.unwrap().path(), all));
    }
}

fn all_private(path: &Path) {
    let mut all = Vec::new();
    rights(path, &mut all);
    assert!(all.len() > 1, "{} is empty", path.display());
    // Blobs are readable to everybody by design; the folder around them is not.
    all.retain(|(path, _)| !path.components().any(|part| part.as_os_str() == "blobs"));
    let open: Vec<_> = all.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty(), "others can open {open:?}");
}

#[test]
fn whatever_a_proxy_a_mesh_and_a_registry_leave_behind_is_their_owners_alone() {
    let shop = shop();
    let running = tamis_e2e::up(shop.folder.path(), &[]);
    assert_eq!(get(&shop.http, "/").status, 200);
    all_private(&shop.folder.path().join(".tamis"));
    assert!(running.end("-INT").success());
    all_private(&shop.folder.path().join(".tamis"));
    // Files that were open to others before are private after a start.
    for name in [".tamis", ".tamis/registry", ".tamis/access", ".tamis/state"] {
        let path = shop.folder.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let journal = shop.folder.path().join(".tamis/registry/journal.sqlite");
    fs::set_permissions(journal, fs::Permissions::from_mode(0o644)).unwrap();
    let running = tamis_e2e::up(shop.folder.path(), &[]);
    all_private(&shop.folder.path().join(".tamis"));
    assert!(running.end("-INT").success());
}

#[test]
fn a_copy_of_a_mesh_is_refused_with_its_keys_and_a_second_mesh_has_ports_of_its_own() {
    let shop = shop();
    let prepared = tamis(shop.folder.path(), &["up", ".", "--prepare"]);
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    let copy = tempfile::TempDir::new().unwrap();
    let to = copy.path().join("copy");
    let done = std::process::Command::new("cp").arg("-r").arg(shop.folder.path()).arg(&to).status();
    assert!(done.unwrap().success());
    let refused = tamis(&to, &["up", ".", "--prepare"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is a copy of"), "{said}");
    fs::remove_dir_all(to.join(".tamis")).unwrap();
    let first = tamis_e2e::up(shop.folder.path(), &[]);
    let second = tamis_e2e::up(&to, &["--port-offset", &tamis_e2e::PORT_SHIFT.to_string()]);
    let event = second.event("the second mesh is up", |event| event["event"] == "up");
    let port = |address: &str| address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let http = event["proxies"][0]["listeners"][0]["address"].as_str().unwrap().to_owned();
    assert_eq!(port(&http), port(&shop.http) + tamis_e2e::PORT_SHIFT);
    for address in [&http, &shop.http] {
        assert_eq!(get(address, "/").status, 200);
    }
    drop((first, second));
}
