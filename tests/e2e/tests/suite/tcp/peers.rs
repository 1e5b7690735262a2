//! Who gets through: the policies about connections, and peers with and without an identity that send anything.

use super::{Mesh, Running, echoes, greeted, greeter, ports, reaches, rest, server};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tamis_e2e::{eventually, request, tamis};
use tamis_transport::{Address, ClientTls, OwnCertificate, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WEB: &str = "identities: [spiffe://test.example/ns/test/service/web]";

/// Waits until a connection gets through or does not.
fn becomes(what: &str, address: &str, open: bool) {
    eventually(what, || (greeted(address).is_some() == open).then_some(()));
}

#[test]
fn a_port_is_open_to_the_identities_that_a_rule_for_it_names_and_to_nobody_else() {
    let mesh = Mesh::new(&ports("", ""), greeter(), greeter());
    let Running { db, web: _web, guest: _guest } = mesh.start();
    assert!(greeted(&mesh.web.first).is_none(), "nothing allows it");
    let refused = mesh.record("db", "the refusal", |one| one["status"] == 403);
    let at_caller = mesh.record("web", "the caller's record of it", |one| one["status"] == 403);
    assert_eq!(
        (&at_caller["reason"], &at_caller["service"]),
        (&"tcp.refused".into(), &"test/db:5432".into())
    );
    assert_eq!(
        (&refused["reason"], &refused["listener"]),
        (&"authz.no-rule".into(), &"inbound:5432".into())
    );
    let line = eventually("the log has the line to add", || {
        let said = db.errors() + &format!("{:?}", db.events());
        said.contains("ports: [5432]").then_some(said)
    });
    assert!(line.contains("to allow it, add this under `allow`"), "{line}");
    let named = format!("  allow: [{{ {WEB}, ports: [5432] }}]\n");
    for (rules, web, guest) in [
        (named.clone(), true, false),
        // Rules about requests open nothing, and rules without a port neither.
        (format!("  allow: [{{ {WEB} }}]\n"), false, false),
        ("  allow: [{}]\n".to_owned(), false, false),
        ("  allow: [{ ports: [5432] }]\n".to_owned(), true, true),
        (format!("  allow: [{{ {WEB}, ports: [5432], methods: [GET] }}]\n"), false, false),
        (format!("{named}  deny: [{{ {WEB} }}]\n"), false, false),
        (format!("{named}  deny: [{{ {WEB}, methods: [DELETE] }}]\n"), true, false),
        ("  mode: audit\n".to_owned(), true, true),
    ] {
        mesh.set(&rules);
        becomes(&format!("{rules}: web"), &mesh.web.first, web);
        becomes(&format!("{rules}: guest"), &mesh.guest.first, guest);
        let second = rules.contains("audit");
        becomes(&format!("{rules}: the other port"), &mesh.web.second, second);
    }
    // A policy that cannot be used closes what it was to guard.
    mesh.set("  allow: [{ ports: [5432], identities: [\"no id\"] }]\n");
    becomes("a broken policy closes", &mesh.web.first, false);
    reaches(&mesh.admin, &["tamis_refusals_total", "authz.no-rule"], |value| value >= 1.0);
}

#[test]
fn a_guard_that_judges_requests_alone_closes_the_port_and_check_says_so() {
    let mesh = Mesh::open(&ports("", ""), greeter(), greeter());
    let _running = mesh.start();
    assert!(greeted(&mesh.web.first).is_some());
    mesh.folder.write(
        "guard.yaml",
        "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: ip-access, namespace: tamis }\nspec: { world: authorizer }\n---\n\
         kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: near, namespace: test }\n\
         spec: { targetRefs: [{ kind: Service, name: db }], filter: tamis/ip-access, phase: authn, order: 10 }\n",
    );
    becomes("the port is closed", &mesh.web.first, false);
    let refused = mesh.record("db", "the refusal", |one| one["reason"] == "tcp.unguarded");
    assert_eq!(
        (&refused["status"], &refused["filter"]),
        (&503.into(), &"test/near/inbound:5432".into())
    );
    let checked = tamis(mesh.folder.path(), &["check", "."]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned()
        + &String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("tcp.unguarded") && said.contains("test/near"), "{said}");
}

/// A peer with the certificate files of that name.
fn peer(mesh: &Mesh, name: Option<&str>, alpn: &[&str]) -> ClientTls {
    let file = |end: &str| mesh.folder.file(&format!(".tamis/certs/{end}"));
    let files: Option<(PathBuf, PathBuf)> =
        name.map(|name| (file(&format!("{name}.crt")), file(&format!("{name}.key"))));
    let own = files.as_ref().map(|(certificate, key)| OwnCertificate { certificate, key });
    let expected = "spiffe://test.example/ns/test/service/db".parse().unwrap();
    let tls = ClientTls::from_files(own, &file("ca.crt"), Some(expected), "db.test.mesh").unwrap();
    let alpn: Vec<&[u8]> = alpn.iter().map(|name| name.as_bytes()).collect();
    tls.with_alpn(&alpn)
}

/// What a peer hears that sends these octets; `None`: there is no connection.
fn hears(mesh: &Mesh, tls: &ClientTls, octets: &[u8]) -> Option<Vec<u8>> {
    let address: Address = mesh.inbound.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stream = connect(&address, Some(tls), Duration::from_secs(10)).await.ok()?;
        // With TLS 1.3 a refusal of our certificate comes with the first read.
        let _ = stream.write_all(octets).await;
        let _ = stream.shutdown().await;
        let mut heard = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard));
        let read = read.await.unwrap();
        (read.is_ok() || !heard.is_empty()).then_some(heard)
    })
}

#[test]
fn whatever_a_peer_sends_a_port_for_requests_is_no_tcp_and_a_tcp_port_takes_no_request() {
    let raw = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&raw);
    let echo = server(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets);
        let _ = stream.write_all(&octets);
    });
    let mesh = Mesh::new(&ports("", ""), echo, echo);
    mesh.set(&format!("  allow: [{{ {WEB}, ports: [5432] }}]\n"));
    let _running = mesh.start();
    let get = "GET /x HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n";
    let (port, http) = ("tamis-tcp/1:5432", "http/1.1");
    // The answer, and what the application sent back.
    let (echoed, forbidden) = (Some(format!("\0{get}")), Some("HTTP/1.1 403".to_owned()));
    let closed = Some("\u{1}".to_owned());
    for (name, alpn, wanted) in [
        // The application gets what it is sent, unread.
        (Some("web"), &[port][..], &echoed),
        (Some("guest"), &[port], &closed),
        (Some("web"), &["tamis-tcp/1:6379"], &closed),
        // A port for requests, ports that are none, and what is no name of a port.
        (Some("web"), &["tamis-tcp/1:80"], &None),
        (Some("web"), &["tamis-tcp/1:9999"], &None),
        (Some("web"), &["tamis-tcp/1:05432"], &None),
        (Some("web"), &["tamis-tcp/2:5432"], &None),
        (Some("web"), &["tamis-tcp/1:"], &None),
        (Some("web"), &[port, http], &None),
        (Some("web"), &[http, port], &None),
        (Some("web"), &[port, "h2"], &None),
        (Some("web"), &[port, "tamis-tcp/1:6379"], &None),
        (Some("web"), &["redis"], &None),
        // Requests meet the policy about requests, which allows none.
        (Some("web"), &[http], &forbidden),
        (Some("web"), &[], &forbidden),
        // Without an identity of the mesh nothing is heard.
        (None, &[port], &None),
        (None, &[http], &None),
        (Some("server"), &[port], &None),
    ] {
        let (before, requests) = (raw.load(Ordering::Relaxed), mesh.requests.count());
        let heard = hears(&mesh, &peer(&mesh, name, alpn), get.as_bytes());
        let heard = heard.map(|octets| String::from_utf8_lossy(&octets).into_owned());
        match wanted {
            Some(wanted) => {
                assert!(
                    heard.as_ref().is_some_and(|it| it.starts_with(wanted)),
                    "{name:?} {alpn:?}: {heard:?}"
                );
                assert!(
                    Some(wanted) != closed.as_ref() || heard == closed,
                    "{name:?} {alpn:?}: nothing follows"
                );
            }
            None => assert!(heard.unwrap_or_default().is_empty(), "{name:?} {alpn:?}"),
        }
        let arrived = usize::from(*wanted == echoed);
        assert_eq!(raw.load(Ordering::Relaxed) - before, arrived, "{name:?} {alpn:?}");
        assert_eq!(mesh.requests.count(), requests, "{name:?} {alpn:?}: the other application");
    }
    let failed = |reason: &str, is: fn(f64) -> bool| {
        let parts = ["tamis_handshakes_failed_total", &format!("\"{reason}\"")];
        reaches(&mesh.admin, &parts, is);
    };
    failed("unknown-port", |count| count == 9.0);
    failed("no-certificate", |count| count >= 2.0);
    // Octets that are no request at all, on a connection for requests.
    for octets in [&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff", b""]
    {
        let before = raw.load(Ordering::Relaxed);
        hears(&mesh, &peer(&mesh, Some("web"), &[http]), octets);
        assert_eq!((raw.load(Ordering::Relaxed), mesh.requests.count()), (before, 0));
    }
    // Nor does a request of the application get to the port: no host and no route names it.
    for host in ["db:5432", "db.test.mesh:5432"] {
        let before = raw.load(Ordering::Relaxed);
        request(&mesh.web.outbound, "GET", "/", &[("host", host)], b"");
        assert_eq!(raw.load(Ordering::Relaxed), before, "{host}");
    }
}

#[test]
fn a_route_to_a_tcp_port_is_refused_where_it_stands_and_sends_nothing() {
    let mesh = Mesh::open(&ports("", ""), greeter(), greeter());
    mesh.folder.edit("mesh.yaml", "{ name: app, port: 80 }", "{ name: db, port: 5432 }");
    let checked = tamis(mesh.folder.path(), &["check", "."]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned()
        + &String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("port 5432 of Service test/db is tcp"), "{said}");
}

#[test]
fn an_open_connection_is_closed_soon_after_policies_refuse_it_and_no_other_is() {
    let mesh = Mesh::new(&ports("", ""), greeter(), greeter());
    mesh.set("  allow: [{ ports: [5432] }]\n");
    let _running = mesh.start();
    let (mut web, mut guest) =
        (greeted(&mesh.web.first).unwrap(), greeted(&mesh.guest.first).unwrap());
    // Policies that changed, and still allow both: none is closed within the bound.
    mesh.set("  allow: [{ ports: [5432, 6379] }]\n");
    becomes("the other port is open", &mesh.guest.second, true);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        echoes(&mut web, "still");
        echoes(&mut guest, "here");
    }
    mesh.set(&format!("  allow: [{{ {WEB}, ports: [5432] }}]\n"));
    becomes("nobody else gets in", &mesh.guest.first, false);
    assert_eq!(rest(&mut guest), b"");
    echoes(&mut web, "the other one stays");
    let record = mesh.record("db", "its record", |one| one["reason"] == "connection.revoked");
    assert_eq!(
        (&record["status"], &record["filter"]),
        (&200.into(), &"test/authz/inbound:5432".into())
    );
    assert_eq!(record["peer"], "spiffe://test.example/ns/test/service/guest");
    assert!(record["detail"].as_str().unwrap().contains("authz.no-rule"), "{record}");
    // A policy that cannot be used closes what it was to guard, and whoever is there.
    mesh.set("  allow: [{ ports: [5432], identities: [\"no id\"] }]\n");
    assert_eq!(rest(&mut web), b"");
    reaches(&mesh.admin, &["tamis_refusals_total", "connection.revoked"], |value| value >= 2.0);
}
