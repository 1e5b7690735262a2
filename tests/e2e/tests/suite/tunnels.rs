//! Tunnels through every proxy on the way: a gateway, and the sidecar in front of the application.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tamis_e2e::{Folder, up};

use crate::connections::raw;
use crate::retries::mesh_with;

/// A server that changes to whatever protocol it is asked for, and then echoes in capitals.
fn shouting(mut stream: TcpStream, head: &str) {
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

/// The connection after the request, and the head of the response.
fn ask(folder: &Folder, protocol: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(&folder.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = format!(
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\
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
            let (mut stream, head) = ask(&folder, protocol);
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
