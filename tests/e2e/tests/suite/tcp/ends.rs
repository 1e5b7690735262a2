//! What ends a connection: an application or a sidecar that is down, silence, bounds, changed documents, a drain.

use super::{Mesh, address, echoes, greeted, greeter, metric, ports, rest};
use std::net::{Shutdown, SocketAddr, TcpStream};
use tamis_e2e::{eventually, tamis};

#[test]
fn a_connection_to_what_is_down_is_closed_and_its_record_says_what_was_down() {
    let nobody: SocketAddr = address().parse().unwrap();
    let mesh = Mesh::open(&ports("", ""), nobody, greeter());
    let running = mesh.start();
    assert!(greeted(&mesh.web.first).is_none(), "the application is down");
    let record = mesh.record("db", "its record", |one| one["reason"] == "upstream.connect");
    assert_eq!((&record["status"], &record["endpoint"]), (&503.into(), &nobody.to_string().into()));
    assert!(greeted(&mesh.web.second).is_some());
    running.db.end("-INT");
    assert!(greeted(&mesh.web.second).is_none(), "the sidecar is down");
    let record = mesh.record("web", "its record", |one| one["reason"] == "upstream.connect");
    assert_eq!(
        (&record["status"], &record["endpoint"]),
        (&503.into(), &mesh.inbound.as_str().into())
    );
    assert_eq!(record["service"], "test/db:6379");
    assert!(metric(&mesh.web.admin, &["tamis_refusals_total", "upstream.connect"]) >= 1.0);
}

#[test]
fn a_silent_connection_ends_and_a_listener_has_no_more_connections_than_it_may() {
    let (first, second) = (", idleTimeout: 1s", ", maxConnections: 2");
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
    let mut held: Vec<TcpStream> = (0..2).map(|_| greeted(&mesh.web.second).unwrap()).collect();
    assert!(greeted(&mesh.web.second).is_none(), "a third one");
    let record = mesh.record("web", "the refusal", |one| one["reason"] == "tcp.full");
    assert_eq!(record["status"], 503);
    for stream in &mut held {
        echoes(stream, "still there");
    }
    drop(held);
    eventually("there is room again", || greeted(&mesh.web.second));
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
