//! What ends a connection: an application or a sidecar that is down, silence, bounds, changed documents, a drain.

use super::{Mesh, address, echoes, greeted, greeter, ports, reaches, rest, server};
use serde_json::{Value, json};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use tamis_e2e::{eventually, tamis};
use tamis_transport::{ServerTls, TcpPort};
use tokio::io::AsyncWriteExt as _;

#[test]
fn a_connection_to_what_is_down_is_closed_and_its_record_says_what_was_down() {
    let nobody: SocketAddr = address().parse().unwrap();
    let mesh = Mesh::open(&ports("", ""), nobody, greeter());
    let running = mesh.start();
    assert!(greeted(&mesh.web.first).is_none(), "the application is down");
    let record = mesh.record("db", "its record", |one| one["reason"] == "upstream.connect");
    assert_eq!((&record["status"], &record["endpoint"]), (&503.into(), &nobody.to_string().into()));
    let record = mesh.record("web", "the caller's", |one| one["reason"] == "tcp.unavailable");
    assert_eq!((&record["status"], &record["outcome"]), (&503.into(), &json!(["upstream-failed"])));
    assert!(greeted(&mesh.web.second).is_some());
    running.db.end("-INT");
    assert!(greeted(&mesh.web.second).is_none(), "the sidecar is down");
    let record = mesh.record("web", "its record", |one| one["reason"] == "upstream.connect");
    assert_eq!(
        (&record["status"], &record["endpoint"]),
        (&503.into(), &mesh.inbound.as_str().into())
    );
    assert_eq!(record["service"], "test/db:6379");
    reaches(&mesh.web.admin, &["tamis_refusals_total", "upstream.connect"], |value| value >= 1.0);
}

#[test]
fn a_silent_connection_ends_and_a_listener_has_no_more_connections_than_it_may() {
    let (first, second) = (", idleTimeout: 1s", ", maxConnections: 5");
    let mesh = Mesh::open(&ports(first, second), greeter(), greeter());
    let _running = mesh.start();
    let mut silent = greeted(&mesh.web.first).unwrap();
    assert_eq!(rest(&mut silent), b"", "it ends by itself");
    for sidecar in ["web", "db"] {
        eventually("one of the sidecars was the first", || {
            let all = ["web", "db"].map(|of| mesh.records(of)).concat();
            all.into_iter().find(|one| one["reason"] == "tcp.idle")
        });
        mesh.record(sidecar, "its record", |one| {
            one["listener"].as_str().is_some_and(|it| it.ends_with("5432"))
        });
    }
    // Each caller has its share, which leaves the other one its own.
    let mut held = Vec::<TcpStream>::new();
    for (name, caller) in [("web", &mesh.web), ("guest", &mesh.guest)] {
        held.extend((0..2).map(|_| greeted(&caller.second).unwrap()));
        assert!(greeted(&caller.second).is_none(), "a third one of {name}");
        let peer = format!("spiffe://test.example/ns/test/service/{name}");
        let record = mesh.record("db", "the refusal", |one| {
            one["reason"] == "tcp.full" && one["peer"] == peer.as_str()
        });
        assert_eq!(record["status"], 503);
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("2 connections, its share of the 5"), "{detail}");
    }
    for stream in &mut held {
        echoes(stream, "still there");
    }
    drop(held);
    eventually("there is room again", || greeted(&mesh.web.second));
    eventually("for both", || greeted(&mesh.guest.second));
}

#[test]
fn a_connection_lives_through_changes_and_ends_with_its_port() {
    let mesh = Mesh::open(&ports("", ""), greeter(), greeter());
    let _running = mesh.start();
    let mut kept = greeted(&mesh.web.first).unwrap();
    let mut lost = greeted(&mesh.web.second).unwrap();
    // A change of the same service that has nothing to do with the ports.
    mesh.folder.edit("db.yaml", "address: \"", "weight: 3, address: \"");
    mesh.folder.edit("web.yaml", "port: 80,", "port: 81,");
    let generation = |admin: &str| tamis_e2e::get(admin, "/config").json()["generation"].as_u64();
    for admin in [&mesh.admin, &mesh.web.admin] {
        eventually("it serves the change", || generation(admin).filter(|it| *it > 1));
    }
    echoes(&mut kept, "through a swap");
    echoes(&mut lost, "and this one");
    let declared =
        format!(", {{ address: \"{}\", name: db, namespace: test, port: 6379 }}", mesh.web.second);
    mesh.folder.edit("web.yaml", &declared, "");
    eventually("the listener is closed", || TcpStream::connect(&mesh.web.second).err());
    assert_eq!(rest(&mut lost), b"");
    mesh.record("web", "its record", |one| one["reason"] == "tcp.removed");
    echoes(&mut kept, "the other one stays");
}

#[test]
fn a_drain_accepts_nothing_more_and_lets_connections_end_by_themselves() {
    let mesh = Mesh::open(&ports("", ""), greeter(), greeter());
    let db = mesh.proxy("db", &["--drain-seconds", "60"]);
    let _web = mesh.proxy("web", &[]);
    let mut stream = greeted(&mesh.web.first).unwrap();
    let arguments =
        ["proxy", "drain", "sidecar:test/db/0", "--run-folder", "run", "--seconds", "0"];
    let done = tamis(mesh.folder.path(), &arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    eventually("it accepts nothing more", || TcpStream::connect(&mesh.inbound).err());
    echoes(&mut stream, "still served");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), b"12 octets\n");
    let record = mesh.record("db", "its record", |one| one["listener"] == "inbound:5432");
    assert_eq!(record["outcome"].as_array().map_or(0, Vec::len), 0, "{record}");
    drop(db);
}

#[test]
fn the_record_of_the_caller_says_what_the_other_sidecar_answered_and_200_only_where_it_opened() {
    let closes = server(drop);
    let mesh = Mesh::open(&ports("", ", maxConnections: 1"), closes, greeter());
    let running = mesh.start();
    // A service that closes at once refuses nothing.
    assert!(greeted(&mesh.web.first).is_none());
    let record = mesh.record("web", "its record", |one| one["service"] == "test/db:5432");
    assert_eq!((&record["status"], &record["reason"]), (&200.into(), &Value::Null), "{record}");
    // The bound of the other sidecar counts the connections of all callers.
    let held = greeted(&mesh.web.second).unwrap();
    assert!(greeted(&mesh.guest.second).is_none(), "a second one");
    let record = mesh.record("guest", "its record", |one| one["status"] == 503);
    assert_eq!(record["reason"], "tcp.unavailable");
    reaches(&mesh.guest.admin, &["tamis_refusals_total", "tcp.unavailable"], |value| value >= 1.0);
    mesh.record("db", "the reason", |one| one["reason"] == "tcp.full");
    // A peer that answers nothing, or something else, opened nothing.
    running.db.end("-INT");
    drop(held);
    let file = |end: &str| mesh.folder.file(&format!(".tamis/certs/{end}"));
    for (octets, status, reason) in [
        (&b""[..], 503, "tcp.unanswered"),
        (b"\x03hello\n", 502, "upstream.protocol"),
        (b"hello\n", 502, "upstream.protocol"),
    ] {
        let _peer = false_peer(&mesh.inbound, &file, octets);
        assert!(greeted(&mesh.web.first).is_none(), "{octets:?}");
        let record = mesh
            .record("web", "its record", |one| one["reason"] == reason && one["status"] == status);
        assert_eq!(record["bytes_out"], 0, "nothing of it is passed on");
    }
}

/// Something with the certificate of `db` that agrees on port 5432 and then sends octets alone.
fn false_peer(address: &str, file: &dyn Fn(&str) -> PathBuf, octets: &'static [u8]) -> FalsePeer {
    let (certificate, key, ca) = (file("db.crt"), file("db.key"), file("ca.crt"));
    let tls = ServerTls::from_files(&certificate, &key, Some(&ca)).unwrap();
    let tls = tls.for_port(TcpPort::new(5432).unwrap());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let listen = || async { tokio::net::TcpListener::bind(address).await.ok() };
        loop {
            if let Some(listener) = listen().await {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    });
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok((mut stream, _)) = tls.accept(stream).await {
                let _ = stream.write_all(octets).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    FalsePeer { _runtime: runtime }
}

/// It ends when this is dropped.
struct FalsePeer {
    _runtime: tokio::runtime::Runtime,
}
