//! Tunnels through every proxy on the way: a gateway, and the sidecar in front of the application.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tamis_e2e::{Folder, eventually, get, up};

use crate::authorization::{SWITCH, policy};
use crate::connections::raw;
use crate::retries::mesh_with;

/// A server that changes to whatever protocol it is asked for, and then echoes in capitals.
pub(crate) fn shouting(mut stream: TcpStream, head: &str) {
    let asked = head.lines().find_map(|line| line.strip_prefix("upgrade: "));
    let Some(protocol) = asked else {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        return;
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).unwrap();
    let mut octets = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut octets) {
        stream.write_all(&octets[..length].to_ascii_uppercase()).unwrap();
    }
}

/// Whether a word comes back in capitals; `None`: the tunnel was closed.
pub(crate) fn shouts(stream: &mut TcpStream, word: &str) -> Option<()> {
    stream.write_all(word.as_bytes()).ok()?;
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).ok()?;
    assert_eq!(back, word.to_ascii_uppercase().as_bytes());
    Some(())
}

/// The connection after the request, and the head of the response.
fn ask(folder: &Folder, path: &str, protocol: &str) -> (TcpStream, String) {
    ask_at(&folder.http, ("a", path), protocol)
}

/// The same at any address, for a host and a path.
pub(crate) fn ask_at(
    address: &str,
    (host, path): (&str, &str),
    protocol: &str,
) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn a_tunnel_opens_through_a_sidecar_for_what_both_proxies_carry_and_for_nothing_else() {
    let tunnels = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&tunnels);
    let application = raw(move |stream, head| {
        if head.contains("upgrade: ") {
            opened.fetch_add(1, Ordering::Relaxed);
        }
        shouting(stream, &head);
    });
    for (gateway, sidecar, rows) in [
        (true, true, &[("shout", true), ("websocket", false), ("h2c", false)][..]),
        (true, false, &[("shout", false)]),
        (false, true, &[("shout", false)]),
        (false, false, &[("websocket", true), ("shout", false), ("tls", false)]),
    ] {
        let (listener, service) = ("upgrades: [shout]", "  upgrades: [shout]\n");
        let folder = mesh_with(
            application,
            if gateway { listener } else { "" },
            if sidecar { service } else { "" },
        );
        let running = up(folder.path(), &["--no-apps"]);
        for (protocol, opens) in rows {
            let what = format!("{protocol} with gateway {gateway} and sidecar {sidecar}");
            let before = tunnels.load(Ordering::Relaxed);
            let (mut stream, head) = ask(&folder, "/ws", protocol);
            assert_eq!(head.starts_with("HTTP/1.1 101 "), *opens, "{what}: {head}");
            let after = tunnels.load(Ordering::Relaxed);
            assert_eq!(after - before, usize::from(*opens), "{what}: {head}");
            if !opens {
                continue;
            }
            for word in ["hello", "again"] {
                stream.write_all(word.as_bytes()).unwrap();
                let mut back = vec![0; word.len()];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, word.to_ascii_uppercase().as_bytes(), "{what}");
            }
            stream.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "{what}: the other side's close arrives");
        }
        running.end("-INT");
    }
}

#[test]
fn a_websocket_is_closed_soon_after_policies_refuse_its_request_and_no_other_is() {
    let application = raw(|stream, head| shouting(stream, &head));
    let folder = mesh_with(application, "", "");
    folder.write("authz.yaml", SWITCH);
    let allow = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| format!("{{ value: {path} }}")).collect();
        let rules = format!("  allow: [{{ paths: [{}] }}]\n", paths.join(", "));
        policy("test", "app", "{ kind: Service, name: app }", &rules)
    };
    folder.write("policies.yaml", &allow(&["/lost", "/kept"]));
    folder.prepare();
    let running = up(folder.path(), &["--no-apps"]);
    let opened = |path: &str| {
        let (stream, head) = ask(&folder, path, "websocket");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    };
    let (mut lost, mut kept) = (opened("/lost"), opened("/kept"));
    let becomes = |path: &str, status: u16| {
        eventually(&format!("{path} becomes {status}"), || {
            (get(&folder.http, path).status == status).then_some(())
        });
    };
    // Policies that changed, and still allow both.
    becomes("/more", 403);
    folder.write("policies.yaml", &allow(&["/lost", "/kept", "/more"]));
    becomes("/more", 200);
    let both = Instant::now();
    while both.elapsed() < Duration::from_secs(3) {
        shouts(&mut lost, "still").unwrap();
        shouts(&mut kept, "here").unwrap();
    }
    folder.write("policies.yaml", &allow(&["/kept", "/more"]));
    becomes("/lost", 403);
    eventually("the tunnel is closed", || match shouts(&mut lost, "on") {
        Some(()) => None,
        None => Some(()),
    });
    shouts(&mut kept, "the other one stays").unwrap();
    running.end("-INT");
    let records = std::fs::read_dir(folder.file(".tamis/access")).unwrap();
    let all: String =
        records.map(|one| std::fs::read_to_string(one.unwrap().path()).unwrap()).collect();
    let revoked: Vec<&str> = all.lines().filter(|it| it.contains("connection.revoked")).collect();
    let [record] = revoked[..] else { panic!("{all}") };
    assert!(record.contains("/lost") && record.contains("authz.no-rule"), "{record}");
}

#[test]
fn a_websocket_is_judged_by_the_route_that_its_request_has_by_now() {
    let application = raw(|stream, head| shouting(stream, &head));
    let folder = mesh_with(application, "", "");
    folder.write("authz.yaml", SWITCH);
    let open = policy("test", "app", "{ kind: Service, name: app }", "  allow: [{}]\n");
    folder.write("policies.yaml", &open);
    folder.prepare();
    let running = up(folder.path(), &["--no-apps"]);
    let opened = |path: &str| {
        let (stream, head) = ask(&folder, path, "websocket");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    };
    let (mut moved, mut stays) = (opened("/ws/one"), opened("/other"));
    let route = "---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: adm, namespace: test }\n\
        spec:\n  parentRefs: [{ name: edge }]\n  rules:\n  - { matches: [{ path: { type: PathPrefix, value: /ws } }], backendRefs: [{ name: app, port: 80 }] }\n";
    let closed = policy("test", "adm", "{ kind: HTTPRoute, name: adm }", "  deny: [{}]\n");
    let guard = "---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: adm, namespace: test }\n\
        spec: { targetRefs: [{ kind: HTTPRoute, name: adm }], filter: tamis/authz, phase: authz, order: 20 }\n";
    folder.write("policies.yaml", &[&open, route, &closed, guard].concat());
    eventually("the new route is closed", || {
        (get(&folder.http, "/ws/one").status == 403).then_some(())
    });
    eventually("the tunnel is closed", || match shouts(&mut moved, "on") {
        Some(()) => None,
        None => Some(()),
    });
    shouts(&mut stays, "the other one stays").unwrap();
    running.end("-INT");
}

#[test]
fn silent_websockets_leave_an_endpoint_to_requests() {
    let application = raw(|stream, head| shouting(stream, &head));
    let folder = Folder::documents(&[application]);
    folder.write(
        "policy.yaml",
        "kind: UpstreamPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
         spec: { targetRefs: [{ kind: Service, name: app }], maxConnections: 4 }\n",
    );
    folder.prepare();
    let _gateway = folder.start(&[]);
    let mut held = Vec::new();
    for _ in 0..2 {
        let (stream, head) = ask(&folder, "/chat", "websocket");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        held.push(stream);
    }
    // More of them than open a circuit, if they counted as failures of the endpoint.
    for _ in 0..10 {
        let (_stream, head) = ask(&folder, "/chat", "websocket");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("x-tamis-reason: upstream.tunnels"), "{head}");
        assert_eq!(get(&folder.http, "/").status, 200);
    }
    let circuit = ["tamis_circuit_opened_total", &application.to_string()];
    assert_eq!(folder.metric(&circuit), Some(0.0));
    drop(held.pop());
    eventually("there is a place again", || {
        let (_stream, head) = ask(&folder, "/chat", "websocket");
        head.starts_with("HTTP/1.1 101 ").then_some(())
    });
}
