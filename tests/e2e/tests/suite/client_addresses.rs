//! Whose address counts as the client's, behind proxies.

use crate::policies::attachment_of;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use tamis_e2e::{Backend, Folder, FolderOptions, exchange};

/// What follows the head of a request is answered on a connection from another address of this machine.
fn from(source: &str, address: &str, head: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
    });
    let mut stream: TcpStream = connected;
    stream.set_nonblocking(false).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn head(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{fields}\r\n")
}

/// A gateway with these fields of its listener, which refuses 192.0.2.66, and the service behind it.
fn gateway(listener: &str) -> (Backend, Folder) {
    let backend = Backend::start();
    let options = FolderOptions { listener, ..FolderOptions::default() };
    let folder = Folder::documents_with(&[backend.address], &options);
    let config = "{ deny: [192.0.2.66], otherwise: allow }";
    folder.write("policies.yaml", &attachment_of("ip-access", "authn", 2, config));
    folder.prepare();
    (backend, folder)
}

#[test]
fn the_word_of_a_trusted_proxy_counts_and_nobody_elses() {
    let (backend, folder) = gateway("clientAddress: { trusted: [127.0.0.7, 127.0.0.8] }");
    let _gateway = folder.start(&[]);
    let cases = [
        ("127.0.0.1", "192.0.2.1", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.66", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.7", "192.0.2.1", "192.0.2.1", "192.0.2.1, 127.0.0.7"),
        ("127.0.0.7", "192.0.2.66, 192.0.2.1", "192.0.2.1", "192.0.2.1, 127.0.0.7"),
        ("127.0.0.7", "192.0.2.1, 127.0.0.8", "192.0.2.1", "192.0.2.1, 127.0.0.8, 127.0.0.7"),
        ("127.0.0.7", "[2001:db8::1]:5", "2001:db8::1", "2001:db8::1, 127.0.0.7"),
        ("127.0.0.7", "unknown", "127.0.0.7", "127.0.0.7"),
    ];
    for (number, (peer, sent, client, forwarded)) in cases.into_iter().enumerate() {
        let path = format!("/{number}");
        let fields = format!("X-Forwarded-For: {sent}\r\nForwarded: for=6.6.6.6\r\n");
        let reply = from(peer, &folder.http, &head(&path, &fields));
        assert!(reply.starts_with("HTTP/1.1 200 "), "{peer} {sent}: {reply}");
        let seen = backend.last().unwrap();
        let of = |name: &str| {
            let found: Vec<&str> =
                seen.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
            found.join(" | ")
        };
        assert_eq!(of("x-forwarded-for"), forwarded, "{peer} {sent}");
        let elements = forwarded.split(", ").map(|one| match one.contains(':') {
            true => format!("for=\"[{one}]\""),
            false => format!("for={one}"),
        });
        let elements = elements.collect::<Vec<_>>().join(", ");
        assert_eq!(of("forwarded"), format!("{elements};proto=http"), "{peer} {sent}");
        let record = folder.record("its record", |record| record["path"] == *path);
        assert_eq!(record["source"], client, "{peer} {sent}");
    }
    let denied = from("127.0.0.7", &folder.http, &head("/", "x-forwarded-for: 192.0.2.66\r\n"));
    assert!(denied.contains("x-tamis-reason: ip-access.denied"), "{denied}");
    // A request that is refused while it is decoded is recorded with its client too.
    let refused = head("/%2f", "x-forwarded-for: 192.0.2.5\r\n");
    assert!(from("127.0.0.7", &folder.http, &refused).starts_with("HTTP/1.1 400 "));
    let record = folder.record("its record", |record| record["status"] == 400);
    assert_eq!(record["source"], "192.0.2.5", "{record}");
}

#[test]
fn a_number_of_hops_counts_forwarded_elements_from_the_end() {
    let (backend, folder) = gateway("clientAddress: { field: Forwarded, hops: 2 }");
    let _gateway = folder.start(&[]);
    let sent = "forwarded: for=192.0.2.66\r\nforwarded: for=192.0.2.1;proto=https, for=_cdn\r\nx-forwarded-for: 6.6.6.6\r\n";
    let reply = exchange(&folder.http, head("/a", sent).as_bytes());
    assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&reply));
    let seen = backend.last().unwrap();
    let of = |name: &str| seen.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let elements = "for=192.0.2.1;proto=https, for=_cdn, for=127.0.0.1;proto=http";
    assert_eq!(of("forwarded").as_deref(), Some(elements));
    assert_eq!(of("x-forwarded-for").as_deref(), Some("192.0.2.1, _cdn, 127.0.0.1"));
    let record = folder.record("its record", |record| record["path"] == "/a");
    assert_eq!(record["source"], "192.0.2.1");
    let denied = head("/", "forwarded: for=192.0.2.66, for=10.0.0.1\r\n");
    let denied = String::from_utf8(exchange(&folder.http, denied.as_bytes())).unwrap();
    assert!(denied.contains("x-tamis-reason: ip-access.denied"), "{denied}");
}
