//! The path of a request as seen from outside.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tamis_e2e::{Answer, Backend, Folder, FolderOptions, exchange, get, request};

fn status(octets: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(octets);
    text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[test]
fn what_is_forwarded_and_what_is_not() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    let headers = [
        ("host", "Shop.Example:80"),
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("x-mine", "kept"),
    ];
    let reply = request(&folder.http, "POST", "/a/../b?c=d", &headers, b"hello");
    assert_eq!(reply.status, 200);
    let seen = backend.last().unwrap();
    assert_eq!((seen.line.as_str(), seen.body.as_slice()), ("POST /b?c=d", &b"hello"[..]));
    let header = |name: &str| {
        let found: Vec<_> = seen.headers.iter().filter(|(n, _)| n == name).collect();
        assert!(found.len() <= 1, "{name} came {} times", found.len());
        found.first().map(|(_, value)| value.clone())
    };
    assert_eq!(header("host").as_deref(), Some("shop.example"));
    assert_eq!(header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(header("x-forwarded-host").as_deref(), Some("shop.example"));
    assert_eq!(header("forwarded").as_deref(), Some("for=127.0.0.1;proto=http"));
    assert_eq!(header("via").as_deref(), Some("1.1 tamis"));
    assert_eq!(header("traceparent").unwrap().len(), 55);
    assert_eq!(header("x-mine").as_deref(), Some("kept"));
    assert_eq!(header("keep-alive"), None);
    assert_eq!(header("content-length").as_deref(), Some("5"));
}

#[test]
fn what_could_be_read_two_ways_is_refused_and_never_forwarded() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    for message in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    ] {
        let octets = exchange(&folder.http, message.as_bytes());
        assert_eq!(status(&octets), 400, "{message:?}");
        let text = String::from_utf8_lossy(&octets).into_owned();
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "one answer, then the end: {text}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn an_empty_chain_answers_404_and_an_open_circuit_or_no_upstream_503() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    std::fs::remove_file(folder.file("attachments.yaml")).unwrap();
    let _gateway = folder.start(&[]);
    let reply = get(&folder.http, "/");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (404, Some("route.none")));
    assert_eq!(backend.count(), 0, "the host has no routes of its own");
}

#[test]
fn nobody_behind_is_a_503_with_its_reason() {
    let address = tamis_harness::ports::address();
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let reply = get(&folder.http, "/");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (503, Some("upstream.connect")));
    assert!(!reply.body.contains(&address.to_string()), "inner addresses stay inside");
}

#[test]
fn a_timeout_of_a_route_is_kept() {
    let backend = Backend::start();
    backend.answers(Answer::Slow(Duration::from_secs(20)));
    let rule = "      timeouts: { request: 300ms }\n";
    let folder = Folder::gateway_with(
        &[backend.address],
        &FolderOptions { rule, ..FolderOptions::default() },
    );
    let _gateway = folder.start(&[]);
    let reply = get(&folder.http, "/");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (504, Some("upstream.timeout")));
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&["--max-body-bytes", "1000"]);
    let long = vec![b'x'; 1001];
    let reply = request(&folder.http, "POST", "/", &[], &long);
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (413, Some("request.too-large")));
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        1001,
        "x".repeat(1001)
    );
    assert_eq!(status(&exchange(&folder.http, chunked.as_bytes())), 413);
    assert_eq!(request(&folder.http, "POST", "/", &[], &long[..1000]).status, 200);
}

#[test]
fn an_upgraded_connection_is_a_tunnel_in_both_directions() {
    // A server that upgrades and then echoes in capitals.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).unwrap();
            head.push(octet[0]);
        }
        assert!(String::from_utf8_lossy(&head).contains("upgrade: shout"));
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        let mut octets = [0; 64];
        loop {
            let length = stream.read(&mut octets).unwrap();
            if length == 0 {
                return;
            }
            stream.write_all(&octets[..length].to_ascii_uppercase()).unwrap();
        }
    });
    let folder = Folder::gateway_with(
        &[address],
        &FolderOptions { listener: "upgrades: [shout]", ..FolderOptions::default() },
    );
    let _gateway = folder.start(&[]);
    let mut stream = TcpStream::connect(&folder.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    assert_eq!(status(&head), 101, "{}", String::from_utf8_lossy(&head));
    for word in ["hello", "again"] {
        stream.write_all(word.as_bytes()).unwrap();
        let mut back = vec![0; word.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, word.to_ascii_uppercase().as_bytes());
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the other side's close arrives");
}

#[test]
fn a_drained_gateway_ends_by_itself() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    assert_eq!(get(&folder.admin, "/readyz").status, 200);
    // Reaching the port must not be enough to end it: a web page in a browser on the machine can reach it.
    assert_eq!(request(&folder.admin, "POST", "/drain", &[], b"").status, 403);
    folder.drain("0");
    assert!(gateway.wait().0.success());
}
