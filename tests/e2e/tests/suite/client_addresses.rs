//! Whose address counts as the client's, behind proxies and load balancers.

use crate::policies::attachment_of;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use tamis_e2e::{Backend, Folder, FolderOptions, eventually, exchange, free_port};

/// What follows the head of a request is answered on a connection from another address of this machine.
fn from(source: &str, address: &str, head: impl AsRef<[u8]>) -> String {
    let head = head.as_ref();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
    });
    let mut stream: TcpStream = connected;
    stream.set_nonblocking(false).unwrap();
    // A connection that is refused may be reset before all is written or read.
    let _refused = stream.write_all(head);
    let mut octets = Vec::new();
    let _refused = stream.read_to_end(&mut octets);
    String::from_utf8(octets).unwrap()
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
        let reply = from(peer, &folder.http, head(&path, &fields));
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
    let denied = from("127.0.0.7", &folder.http, head("/", "x-forwarded-for: 192.0.2.66\r\n"));
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

/// A load balancer of Debian's package `haproxy`, which ends with this.
struct LoadBalancer {
    process: Child,
    /// Address for connections that it forwards to the clear-text listener with version 1.
    text: String,
    /// The same with version 2.
    binary: String,
    /// The same with version 2 to the TLS listener.
    tls: String,
    /// The same to the clear-text listener without a header.
    bare: String,
}

impl LoadBalancer {
    fn start(folder: &Folder) -> Self {
        let port = || format!("127.0.0.1:{}", free_port());
        let (text, binary, tls, bare) = (port(), port(), port(), port());
        let (http, https) = (&folder.http, &folder.https);
        let configuration = format!(
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 30s\n  timeout server 30s\n\
             listen text\n  bind {text}\n  server gateway {http} send-proxy\n\
             listen binary\n  bind {binary}\n  option httpchk GET /health\n  \
             server gateway {http} send-proxy-v2 proxy-v2-options unique-id,crc32c check check-send-proxy inter 200ms fall 1000\n\
             listen tls\n  bind {tls}\n  server gateway {https} send-proxy-v2\n\
             listen bare\n  bind {bare}\n  server gateway {http}\n"
        );
        folder.write("haproxy.cfg", &configuration);
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(folder.file("haproxy.cfg"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap();
        let started = Self { process, text, binary, tls, bare };
        eventually("the load balancer listens", || TcpStream::connect(&started.bare).ok());
        started
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request with curl over TLS from an address of this machine; the status.
fn curl(source: &str, address: &str, path: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "30", "--interface", source])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .arg(format!("https://{address}{path}"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_real_load_balancer_states_the_client_in_both_versions_and_before_tls() {
    let senders = "proxyProtocol: { trusted: [127.0.0.1] }";
    let (_backend, folder) = gateway(senders);
    let with_tls = folder
        .read("mesh.yaml")
        .replace("protocol: HTTPS\n", &format!("protocol: HTTPS\n      {senders}\n"));
    folder.write("mesh.yaml", &with_tls);
    let _gateway = folder.start(&[]);
    let balancer = LoadBalancer::start(&folder);
    let source = |path: &str| {
        folder.record("its record", |record| record["path"] == *path)["source"].clone()
    };
    for (path, address) in [("/text", &balancer.text), ("/binary", &balancer.binary)] {
        let reply = from("127.0.0.5", address, head(path, "x-forwarded-for: 6.6.6.6\r\n"));
        assert!(reply.starts_with("HTTP/1.1 200 "), "{path}: {reply}");
        assert_eq!(source(path), "127.0.0.5");
    }
    assert_eq!(curl("127.0.0.6", &balancer.tls, "/tls"), "200");
    assert_eq!(source("/tls"), "127.0.0.6");
    // Health checks speak for the load balancer itself (LOCAL).
    assert_eq!(source("/health"), "127.0.0.1");

    let none = from("127.0.0.5", &balancer.bare, head("/bare", ""));
    assert_eq!(none, "", "no header");
    let forged = format!("PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r\n{}", head("/forged", ""));
    assert_eq!(from("127.0.0.9", &folder.http, &forged), "", "a peer that is no load balancer");
    let later = format!("{}{forged}", "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(from("127.0.0.1", &folder.http, &later), "", "not at the beginning");
    let version_3 =
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x01\x01\x01\x01\x02\x02\x02\x02\0\x01\0\x02";
    let unknown = [&version_3[..], head("/version", "").as_bytes()].concat();
    assert_eq!(from("127.0.0.1", &folder.http, &unknown), "", "a version that does not exist");
    let paths: Vec<_> = folder.records().iter().map(|record| record["path"].clone()).collect();
    for path in ["/bare", "/forged", "/version", "/"] {
        assert!(!paths.iter().any(|one| *one == *path), "{path}: {paths:?}");
    }
    for (reason, least) in
        [("proxy-peer", 1.0), ("proxy-header-absent", 2.0), ("proxy-header\"", 1.0)]
    {
        eventually("its count", || {
            let count = folder.metric(&["tamis_handshakes_failed_total", reason])?;
            (count >= least).then_some(())
        });
    }
}

#[test]
fn the_address_of_a_proxy_header_is_the_peer_of_a_chain() {
    let listener =
        "proxyProtocol: { trusted: [127.0.0.1] }, clientAddress: { trusted: [10.0.0.1] }";
    let (backend, folder) = gateway(listener);
    let _gateway = folder.start(&[]);
    for (number, (stated, sent, client, forwarded)) in [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ("10.0.0.2", "192.0.2.1", "10.0.0.2", "10.0.0.2"),
        ("192.0.2.9", "10.0.0.1", "192.0.2.9", "192.0.2.9"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let fields = format!("x-forwarded-for: {sent}\r\n");
        let request = format!("PROXY TCP4 {stated} 127.0.0.1 1 2\r\n{}", head(&path, &fields));
        let reply = from("127.0.0.1", &folder.http, &request);
        assert!(reply.starts_with("HTTP/1.1 200 "), "{stated}: {reply}");
        let record = folder.record("its record", |record| record["path"] == *path);
        assert_eq!(record["source"], client, "{stated} {sent}");
        let seen = backend.last().unwrap();
        let field = seen.headers.iter().find(|(name, _)| name == "x-forwarded-for");
        assert_eq!(field.map(|(_, value)| value.as_str()), Some(forwarded), "{stated} {sent}");
    }
    let denied = format!("PROXY TCP4 192.0.2.66 127.0.0.1 1 2\r\n{}", head("/", ""));
    let denied = from("127.0.0.1", &folder.http, &denied);
    assert!(denied.contains("x-tamis-reason: ip-access.denied"), "{denied}");
}
