//! Bad input gives one clear error with its place, and everything else keeps running.

use std::net::TcpListener;
use tamis_e2e::{Backend, Folder, RunningProcess, eventually, get, tamis};

/// Checks the output of `tamis check`, and of a running gateway when the same change is made while it
/// serves.
fn breaks(file: &str, change: impl Fn(&Folder), says: &[&str]) {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    assert_eq!(get(&folder.http, "/").status, 200);

    change(&folder);
    let checked = tamis(folder.path(), &["check", "."]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success(), "{text}");
    for part in says {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(text.contains(file), "the file is missing in:\n{text}");

    let told = gateway.event("the gateway tells the problem", |event| {
        event["problems"].as_array().is_some_and(|problems| !problems.is_empty())
    });
    let place = &told["problems"][0]["place"];
    assert_eq!(place["source"], file, "{told}");
    assert!(place["line"].as_u64() >= Some(1));
    // Everything else keeps running.
    assert_eq!(get(&folder.http, "/").status, 200);
}

#[test]
fn malformed_yaml() {
    breaks(
        "extra.yaml",
        |folder| folder.write("extra.yaml", "kind: Gateway\n  bad: [\n"),
        &["extra.yaml"],
    );
}

#[test]
fn a_document_that_no_longer_parses_keeps_its_last_good_form() {
    breaks(
        "mesh.yaml",
        |folder| folder.edit("mesh.yaml", "backendRefs: [{", "backendRefs: [{{"),
        &["mesh.yaml"],
    );
}

#[test]
fn an_unknown_field() {
    breaks(
        "attachments.yaml",
        |folder| folder.edit("attachments.yaml", "onFailure: open", "onFailur: open"),
        &["onFailur", "onFailure"],
    );
}

#[test]
fn two_attachments_with_the_same_order() {
    breaks(
        "attachments.yaml",
        |folder| folder.edit("attachments.yaml", "order: 30", "order: 20"),
        &["order"],
    );
}

#[test]
fn a_route_to_a_service_that_does_not_exist() {
    breaks(
        "more.yaml",
        |folder| {
            folder.write(
                "more.yaml",
                "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: more, namespace: test }\n\
                 spec:\n  parentRefs: [{ kind: Gateway, name: edge }]\n  rules:\n\
                 \x20   - matches: [{ path: { type: PathPrefix, value: /more } }]\n      backendRefs: [{ name: nobody, port: 80 }]\n",
            );
        },
        &["nobody"],
    );
}

#[test]
fn a_port_in_use() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _taken = TcpListener::bind(&folder.http).unwrap();
    let arguments =
        ["proxy", "--node", "gateway:test/edge", "--documents", ".", "--store", ".tamis/store"];
    let done = tamis(folder.path(), &arguments);
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("http") && said.contains(&folder.http), "{said}");
    // What takes longer than a second says so before.
    let errors = said.lines().filter(|line| !line.starts_with('…')).count();
    assert_eq!(errors, 1, "one line: {said}");
}

#[test]
fn an_unreadable_key_keeps_what_was_read_before() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    std::fs::write(folder.file(".tamis/certs/server.key"), "no key at all").unwrap();
    let told = gateway.event("the gateway tells the problem", |event| {
        event["notes"].as_array().is_some_and(|notes| !notes.is_empty())
    });
    let note = told["notes"][0].as_str().unwrap();
    assert!(note.contains("server.key") && note.contains("https"), "{note}");
    assert_eq!(get(&folder.http, "/").status, 200);
    assert!(std::net::TcpStream::connect(&folder.https).is_ok(), "TLS serves on");
}

#[test]
fn an_unreadable_key_at_the_start_stops_its_listener_alone() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    std::fs::write(folder.file(".tamis/certs/server.key"), "no key at all").unwrap();
    let gateway = folder.start(&[]);
    assert_eq!(get(&folder.http, "/").status, 200);
    assert!(std::net::TcpStream::connect(&folder.https).is_err());
    let told = gateway.event("it tells", |event| event["event"] == "reload");
    assert!(told["notes"][0].as_str().unwrap().contains("server.key"), "{told}");
}

#[test]
fn a_folder_that_is_not_there() {
    let folder = tempfile::TempDir::new().unwrap();
    for command in [&["up", "nowhere"][..], &["check", "nowhere"]] {
        let done = tamis(folder.path(), command);
        assert!(!done.status.success());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("nowhere") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_proxy_no_document_plans() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let running = RunningProcess::start(
        folder.path(),
        &["proxy", "--node", "gateway:test/nobody", "--documents", ".", "--store", ".tamis/store"],
    );
    let said = eventually("it says so", || {
        running.events().into_iter().find(|event| event["error"].is_string())
    });
    assert!(said["error"].as_str().unwrap().contains("gateway:test/nobody"), "{said}");
    assert!(!running.wait().0.success());
}
