//! The hosts of a TLS listener: server names of handshakes, and hosts of requests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use tamis_e2e::{Backend, Folder, FolderOptions, eventually, tamis};

/// What `openssl s_client` reports about a handshake; `None`: without a server name.
fn handshake(address: &str, name: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address, "-brief"]);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The status of a request over TLS with that server name and that host.
fn status(address: &str, name: &str, host: &str, version: &str) -> String {
    let port = address.rsplit(':').next().unwrap();
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "30", version])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(["--header", &format!("host: {host}")])
        .arg(format!("https://{name}:{port}/"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_listener_serves_its_hosts_and_no_others() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let mesh = folder.read("mesh.yaml");
    let limited = |hostname: &str| {
        let https = format!("protocol: HTTPS\n      hostname: \"{hostname}\"\n");
        mesh.replace("protocol: HTTPS\n", &https)
    };
    folder.write("mesh.yaml", &limited("*.shop.example"));
    let _gateway = folder.start(&[]);
    for (name, served) in [
        (Some("a.shop.example"), true),
        (Some("A.B.Shop.Example"), true),
        (Some("shop.example"), false),
        (Some("ashop.example"), false),
        (Some("a.shop.example.evil"), false),
        (Some("localhost"), false),
        (None, false),
    ] {
        let report = handshake(&folder.https, name);
        assert_eq!(report.contains("CONNECTION ESTABLISHED"), served, "{name:?}: {report}");
        assert_eq!(report.contains("unrecognized name"), !served, "{name:?}: {report}");
    }
    eventually("they are counted", || {
        let count = folder.metric(&["tamis_handshakes_failed_total", "unknown-name"])?;
        (count >= 5.0).then_some(())
    });
    for version in ["--http1.1", "--http2"] {
        for (host, expected) in [
            ("a.shop.example", "200"),
            ("b.shop.example:8443", "200"),
            ("shop.example", "421"),
            ("a.other.example", "421"),
            ("127.0.0.1", "421"),
        ] {
            let found = status(&folder.https, "a.shop.example", host, version);
            assert_eq!(found, expected, "{host} {version}");
        }
    }
    let record = folder.record("its record", |record| record["status"] == 421);
    assert_eq!(record["reason"], "request.misdirected", "{record}");
    assert_eq!(backend.count(), 4);

    // A listener with one host; the next handshake follows the document.
    folder.write("mesh.yaml", &limited("one.example"));
    eventually("the listener has its new host", || {
        let report = handshake(&folder.https, Some("one.example"));
        report.contains("CONNECTION ESTABLISHED").then_some(())
    });
    assert!(handshake(&folder.https, Some("a.shop.example")).contains("unrecognized name"));
    assert_eq!(status(&folder.https, "one.example", "one.example", "--http2"), "200");
    assert_eq!(status(&folder.https, "one.example", "two.example", "--http2"), "421");
}

/// Listeners of one port: their names, hostnames and the host of their certificates.
const LISTENERS: [(&str, Option<&str>, &str); 4] = [
    ("wild", Some("*.shop.example"), "*.shop.example"),
    ("all", None, "other.example"),
    ("long", Some("*.b.shop.example"), "*.b.shop.example"),
    ("exact", Some("a.shop.example"), "a.shop.example"),
];

/// A route of one of them alone.
const ROUTE: &str = "---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: moved, namespace: test }
spec:
  parentRefs: [{ name: edge, sectionName: long }]
  hostnames: [x.b.shop.example, a.shop.example]
  rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { hostname: c.example } }] }]
";

/// A gateway with these listeners on its port of TLS, each with a certificate of its own.
fn several(backend: &Backend) -> (Folder, impl Fn(&Folder, &[&str])) {
    let folder = Folder::gateway_with(&[backend.address], &FolderOptions::default());
    for (name, _, host) in LISTENERS {
        certificate(&folder, &[name, "--host", host]);
    }
    let mesh = folder.read("mesh.yaml");
    let (before, after) = mesh.split_once("    - name: https\n").unwrap();
    let (_, after) = after.split_once("  admin:").unwrap();
    let (before, after) = (before.to_owned(), format!("  admin:{after}{ROUTE}"));
    let port = folder.https.rsplit(':').next().unwrap().to_owned();
    let write = move |folder: &Folder, names: &[&str]| {
        let listeners = LISTENERS.iter().filter(|(name, ..)| names.contains(name));
        let lines = listeners.map(|(name, hostname, _)| {
            let hostname = hostname.map(|it| format!(", hostname: \"{it}\"")).unwrap_or_default();
            format!(
                "    - {{ name: {name}, port: {port}, protocol: HTTPS{hostname}, \
                 tls: {{ certificate: {name}.crt, key: {name}.key }} }}\n"
            )
        });
        let lines: String = lines.collect();
        folder.write("mesh.yaml", &format!("{before}{lines}{after}"));
    };
    write(&folder, &LISTENERS.map(|(name, ..)| name));
    (folder, write)
}

fn certificate(folder: &Folder, arguments: &[&str]) {
    let all = [&["keys", "certificate", "--authority", "ca.crt"], arguments].concat();
    let made = tamis(folder.path(), &all);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Makes a certificate in place of one that nobody can read.
fn again(folder: &Folder, name: &str, host: &str) {
    for ending in ["crt", "key"] {
        std::fs::remove_file(folder.file(&format!("{name}.{ending}"))).unwrap();
    }
    certificate(folder, &[name, "--host", host]);
}

/// The listener whose certificate a client of that name sees; `None`: it gets `unrecognized_name`.
fn shown(folder: &Folder, name: Option<&str>) -> Option<String> {
    let report = handshake(&folder.https, name);
    if report.contains("unrecognized name") {
        return None;
    }
    let subject = report.lines().find_map(|line| line.strip_prefix("Peer certificate: CN = "));
    Some(subject.unwrap_or_else(|| panic!("{name:?}: {report}")).to_owned())
}

#[test]
fn a_server_name_chooses_among_the_listeners_of_a_port_and_a_request_stays_with_it() {
    let backend = Backend::start();
    let (folder, write) = several(&backend);
    let _gateway = folder.start(&[]);
    for (name, listener) in [
        (Some("a.shop.example"), "exact"),
        (Some("A.Shop.Example"), "exact"),
        (Some("x.a.shop.example"), "wild"),
        (Some("c.shop.example"), "wild"),
        (Some("b.shop.example"), "wild"),
        (Some("x.b.shop.example"), "long"),
        (Some("y.x.b.shop.example"), "long"),
        (Some("shop.example"), "all"),
        (Some("localhost"), "all"),
        (None, "all"),
    ] {
        assert_eq!(shown(&folder, name).as_deref(), Some(listener), "{name:?}");
    }
    for version in ["--http1.1", "--http2"] {
        for (name, host, expected) in [
            ("a.shop.example", "a.shop.example", "200"),
            ("a.shop.example", "c.shop.example", "421"),
            // Hosts of a narrower listener are not those of a wider one.
            ("c.shop.example", "q.shop.example:8443", "200"),
            ("c.shop.example", "a.shop.example", "421"),
            ("c.shop.example", "x.b.shop.example", "421"),
            ("c.shop.example", "shop.example", "421"),
            ("other.example", "another.example", "200"),
            ("other.example", "127.0.0.1", "200"),
            ("other.example", "a.shop.example", "421"),
            ("other.example", "q.shop.example", "421"),
            // A route applies where its hosts are also those of its listener.
            ("x.b.shop.example", "x.b.shop.example", "302"),
            ("x.b.shop.example", "y.b.shop.example", "200"),
        ] {
            let found = status(&folder.https, name, host, version);
            assert_eq!(found, expected, "{host} on a connection for {name}, {version}");
        }
    }
    let record = folder.record("its record", |record| record["status"] == 421);
    assert_eq!(record["reason"], "request.misdirected", "{record}");

    // Listeners come and go while the others of their port serve.
    for (listeners, rows) in [
        (
            &["wild", "exact"][..],
            [("a.shop.example", Some("exact")), ("x.b.shop.example", Some("wild")), ("o", None)],
        ),
        (&["wild"], [("a.shop.example", Some("wild")), ("shop.example", None), ("o", None)]),
        (
            &["exact", "all"],
            [
                ("a.shop.example", Some("exact")),
                ("c.shop.example", Some("all")),
                ("o", Some("all")),
            ],
        ),
    ] {
        write(&folder, listeners);
        for (name, listener) in rows {
            eventually(&format!("{name} has {listener:?} of {listeners:?}"), || {
                (shown(&folder, Some(name)).as_deref() == listener).then_some(())
            });
        }
    }
    let count = folder.metric(&["tamis_handshakes_failed_total", "unknown-name"]).unwrap();
    assert!(count >= 3.0, "{count}");
}

#[test]
fn a_certificate_of_one_listener_is_renewed_alone_and_a_broken_one_opens_its_hosts_to_no_other() {
    let backend = Backend::start();
    let (folder, _write) = several(&backend);
    // A listener that has no certificate that works does not listen, and its hosts go nowhere else.
    folder.write("exact.crt", "nothing");
    let gateway = folder.start(&[]);
    assert_eq!(shown(&folder, Some("a.shop.example")), None);
    assert_eq!(shown(&folder, Some("c.shop.example")).as_deref(), Some("wild"));
    assert_eq!(status(&folder.https, "c.shop.example", "a.shop.example", "--http2"), "421");
    again(&folder, "exact", "a.shop.example");
    eventually("it listens", || {
        (shown(&folder, Some("a.shop.example")).as_deref() == Some("exact")).then_some(())
    });

    // One that works is never replaced by one that does not.
    folder.write("long.crt", "nothing");
    gateway.event("the problem is told", |event| event.to_string().contains("stays in use"));
    assert_eq!(shown(&folder, Some("x.b.shop.example")).as_deref(), Some("long"));
    again(&folder, "long", "*.b.shop.example");
    let renewed = "listener `long` uses the renewed long.crt";
    let told = gateway.event("the renewal is told", |event| event.to_string().contains(renewed));
    assert!(!told.to_string().contains("listener `wild`"), "{told}");
    for (name, listener) in [("x.b.shop.example", "long"), ("c.shop.example", "wild")] {
        assert_eq!(shown(&folder, Some(name)).as_deref(), Some(listener), "{name}");
    }
}

/// The listener of a request in clear text, on a connection of its own or on `stream`, by its redirect, or the status.
fn found(stream: &mut TcpStream, host: Option<&str>) -> String {
    let host = host.map(|host| format!("host: {host}\r\n")).unwrap_or_default();
    let version = if host.is_empty() { "HTTP/1.0\r\nconnection: keep-alive" } else { "HTTP/1.1" };
    stream.write_all(format!("GET / {version}\r\n{host}\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length = field("content-length: ").map_or(0, |text| text.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).unwrap();
    let at = field("location: http://").and_then(|it| it.split('.').next()).map(str::to_owned);
    at.unwrap_or_else(|| head.split(' ').nth(1).unwrap().to_owned())
}

/// A route of one listener that redirects to its name.
fn named_route(listener: &str) -> String {
    format!(
        "---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: {listener}, namespace: test }}\n\
         spec:\n  parentRefs: [{{ name: edge, sectionName: {listener} }}]\n  \
         rules: [{{ filters: [{{ type: RequestRedirect, requestRedirect: {{ hostname: {listener}.at }} }}] }}]\n"
    )
}

#[test]
fn in_clear_text_each_request_goes_to_the_listener_of_its_host() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let mesh = folder.read("mesh.yaml");
    let port = folder.http.rsplit(':').next().unwrap();
    let (before, after) = mesh.split_once("  listeners:\n").unwrap();
    let (_, after) = after.split_once("  admin:").unwrap();
    let (after, route) = after.split_once("---\nkind: HTTPRoute").unwrap();
    let (_, rest) = route.split_once("---\n").unwrap();
    let after = format!("{after}---\n{rest}");
    let write = |listeners: &[(&str, Option<&str>, &str)]| {
        let lines = listeners.iter().map(|(name, hostname, more)| {
            let hostname = hostname.map(|it| format!(", hostname: \"{it}\"")).unwrap_or_default();
            format!("    - {{ name: {name}, port: {port}, protocol: HTTP{hostname}{more} }}\n")
        });
        let lines: String = lines.collect();
        let routes: String = listeners.iter().map(|(name, ..)| named_route(name)).collect();
        folder.write("mesh.yaml", &format!("{before}  listeners:\n{lines}  admin:{after}{routes}"));
    };
    let all = LISTENERS.map(|(name, hostname, _)| (name, hostname, ""));
    write(&all);
    let _gateway = folder.start(&[]);
    let connect = || {
        let stream = TcpStream::connect(&folder.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let rows = [
        (Some("a.shop.example"), "exact"),
        (Some("A.Shop.Example:80"), "exact"),
        (Some("x.a.shop.example"), "wild"),
        (Some("b.shop.example"), "wild"),
        (Some("y.x.b.shop.example"), "long"),
        (Some("shop.example"), "all"),
        (Some("127.0.0.1"), "all"),
        (None, "all"),
    ];
    // On one connection, and each on one of its own.
    let mut kept = connect();
    for (host, listener) in rows {
        assert_eq!(found(&mut kept, host), listener, "{host:?}");
        assert_eq!(found(&mut connect(), host), listener, "{host:?} alone");
    }
    let record = folder.record("its record", |record| record["authority"] == "b.shop.example");
    assert_eq!(record["listener"], "wild", "{record}");

    // A listener that does not listen keeps its hosts, also on connections that are open.
    let mut broken = all;
    broken[3].2 = ", clientAddress: { hops: 1, trusted: [lb] }";
    write(&broken);
    eventually("it does not listen", || {
        (found(&mut kept, Some("a.shop.example")) == "421").then_some(())
    });
    assert_eq!(found(&mut kept, Some("c.shop.example")), "wild");
    // Without one for all hosts, others get nothing.
    write(&all.map(|one| if one.0 == "all" { ("all", Some("all.example"), "") } else { one }));
    eventually("the host has no listener", || {
        (found(&mut kept, Some("other.example")) == "404").then_some(())
    });
    assert_eq!(found(&mut kept, Some("a.shop.example")), "exact");
    assert_eq!(found(&mut kept, Some("all.example")), "all");
    assert_eq!(backend.count(), 0);
}
