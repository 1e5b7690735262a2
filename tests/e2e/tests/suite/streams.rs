//! Connections that a gateway carries unread: TLS by server name, TCP by port, who may connect, and what is refused.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tamis_e2e::{Folder, Postgres, RunningProcess, eventually, free_port, get, root, tamis};

use crate::docs::follow;
use crate::tcp::{dial, server};

/// A gateway `streams`, and what it leads to.
struct Edge {
    folder: Folder,
    admin: String,
    /// For TLS.
    names: u16,
    /// For TCP.
    port: u16,
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    let api = match kind {
        "Service" | "AuthorizationPolicy" => "tamis.dev/v1alpha1",
        _ => "gateway.networking.k8s.io/v1",
    };
    format!(
        "---\nkind: {kind}\napiVersion: {api}\nmetadata: {{ name: {name}, namespace: test }}\nspec: {{ {spec} }}\n"
    )
}

/// A service without a sidecar.
fn service(name: &str, address: SocketAddr) -> String {
    let spec = format!(
        "ports: [{{ port: 443, protocol: tcp }}], endpoints: [{{ address: \"{address}\" }}]"
    );
    document("Service", name, &spec)
}

fn route(kind: &str, name: &str, section: &str, hosts: &str, backends: &str) -> String {
    let hosts = if hosts.is_empty() { String::new() } else { format!("hostnames: [{hosts}], ") };
    let parent = format!("{{ name: streams, sectionName: {section} }}");
    document(
        kind,
        name,
        &format!("parentRefs: [{parent}], {hosts}rules: [{{ backendRefs: [{backends}] }}]"),
    )
}

impl Edge {
    /// With fields of its listeners for TLS and TCP, more listeners, and these documents.
    fn new(tls: &str, more: &str, documents: &str) -> Self {
        let folder = Folder::documents(&["127.0.0.1:1".parse().unwrap()]);
        let (names, port, admin) = (free_port(), free_port(), format!("127.0.0.1:{}", free_port()));
        let spec = format!(
            "admin: \"{admin}\", identity: \"spiffe://test.example/ns/test/gateway/streams\", \
             tls: {{ certificate: .tamis/certs/streams.crt, key: .tamis/certs/streams.key, ca: .tamis/certs/ca.crt }}, \
             listeners: [{{ name: names, port: {names}, protocol: TLS, tls: {{ mode: Passthrough }}{tls} }}, \
             {{ name: port, port: {port}, protocol: TCP }}{}]",
            more.replace("@NAMES@", &names.to_string())
        );
        folder.write("streams.yaml", &document("Gateway", "streams", &spec));
        folder.write("routes.yaml", documents);
        Self { folder, admin, names, port }
    }

    fn start(&self) -> RunningProcess {
        self.proxy("gateway:test/streams", "access.jsonl")
    }

    fn proxy(&self, node: &str, log: &str) -> RunningProcess {
        let all = ["proxy", "--node", node, "--documents", ".", "--store", ".tamis/store"];
        let rest = ["--cache", ".tamis/cache", "--access-log-file", log, "--run-folder", "run"];
        let running = RunningProcess::start(self.folder.path(), &[&all[..], &rest].concat());
        running.event("it serves", |event| event["event"] == "ready");
        running
    }

    fn record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let text = self.folder.read("access.jsonl");
            let mut all = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            all.find(|record| is(record))
        })
    }

    /// Failed handshakes of the listener for TLS, for this reason.
    fn failed(&self, reason: &str) -> f64 {
        let text = get(&self.admin, "/metrics").body;
        let of = format!("reason=\"{reason}\"");
        let mut lines =
            text.lines().filter(|line| line.contains("handshake") && line.contains(&of));
        lines.find_map(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
    }
}

/// A server with a certificate of its own for the hosts, made by OpenSSL and the files that it needs.
struct TlsServer {
    address: SocketAddr,
    certificate: String,
    _process: Stopped,
}

struct Stopped(std::process::Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl TlsServer {
    fn start(
        folder: &Folder,
        ca: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        hosts: &[&str],
    ) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(hosts).unwrap().signed_by(&key, ca).unwrap();
        let certificate = own.pem();
        folder.write(&format!("{name}.crt"), &certificate);
        folder.write(&format!("{name}.key"), &key.serialize_pem());
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let process = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", &address.to_string()])
            .args(["-cert", &format!("{name}.crt"), "-key", &format!("{name}.key")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Stopped(process);
        eventually("the server listens", || TcpStream::connect(address).ok());
        Self { address, certificate, _process: process }
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A handshake of `openssl s_client` with that server name, or without any; it prints the certificate of the server.
fn handshake(address: &str, name: Option<&str>) -> Output {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address]);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    command.stdin(Stdio::null()).output().unwrap()
}

/// A relay that hands on what a client sends octet by octet, each in a segment of its own.
fn in_octets(to: String) -> SocketAddr {
    server(move |client| {
        let up = TcpStream::connect(&to).unwrap();
        up.set_nodelay(true).unwrap();
        let (mut down, mut back) = (client.try_clone().unwrap(), up.try_clone().unwrap());
        std::thread::spawn(move || {
            let _gone = std::io::copy(&mut back, &mut down);
            let _gone = down.shutdown(Shutdown::Write);
        });
        for octet in BufReader::new(client).bytes().map_while(Result::ok) {
            if (&up).write_all(&[octet]).is_err() {
                return;
            }
        }
        let _gone = up.shutdown(Shutdown::Write);
    })
}

#[test]
fn the_server_name_chooses_the_server_whose_own_certificate_the_client_sees() {
    let edge = Edge::new("", "", "");
    let ca = authority();
    edge.folder.write("ca.pem", &ca.pem());
    let hosts = ["a.shop.example", "b.shop.example", "x.example"];
    let one = TlsServer::start(&edge.folder, &ca, "one", &hosts);
    let two = TlsServer::start(&edge.folder, &ca, "two", &hosts);
    let documents = [
        service("one", one.address),
        service("two", two.address),
        route("TLSRoute", "exact", "names", "a.shop.example", "{ name: one }"),
        route("TLSRoute", "near", "names", "\"*.shop.example\"", "{ name: two, port: 443 }"),
        route("TLSRoute", "wide", "names", "\"*.example\"", "{ name: one, port: 443 }"),
    ];
    edge.folder.write("routes.yaml", &documents.concat());
    edge.folder.prepare();
    let _gateway = edge.start();
    let address = format!("127.0.0.1:{}", edge.names);
    let slow_path = in_octets(address.clone()).to_string();
    for (through, name, wanted) in [
        (&address, Some("a.shop.example"), Some(&one)),
        (&address, Some("A.Shop.Example"), Some(&one)),
        (&address, Some("b.shop.example"), Some(&two)),
        (&address, Some("c.d.shop.example"), Some(&two)),
        (&address, Some("x.example"), Some(&one)),
        (&address, Some("shop.example"), Some(&one)),
        (&slow_path, Some("b.shop.example"), Some(&two)),
        (&address, Some("example"), None),
        (&address, Some("a.shop.example.evil"), None),
        (&address, None, None),
        (&slow_path, Some("other.test"), None),
    ] {
        let done = handshake(through, name);
        let seen = String::from_utf8_lossy(&done.stdout).replace('\r', "");
        let said = String::from_utf8_lossy(&done.stderr);
        match wanted {
            Some(server) => {
                assert!(seen.contains(server.certificate.trim()), "{name:?}: {seen}{said}");
            }
            None => {
                assert!(!seen.contains("BEGIN CERTIFICATE"), "{name:?}: {seen}");
                assert!(said.contains("alert number 112"), "unrecognized_name, {name:?}: {said}");
            }
        }
    }
    assert_eq!(edge.failed("unknown-name"), 4.0);
    // A client that checks everything is content.
    let port = edge.names;
    let page = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--cacert", "ca.pem"])
        .args(["--resolve", &format!("b.shop.example:{port}:127.0.0.1")])
        .arg(format!("https://b.shop.example:{port}/"))
        .current_dir(edge.folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&page.stderr);
    assert!(String::from_utf8_lossy(&page.stdout).contains("s_server"), "{said}");
    let record = edge.record("a connection", |one| one["service"] == "test/two:443");
    assert_eq!((&record["listener"], &record["status"]), (&"names".into(), &200.into()));
    assert!(record["bytes_in"].as_u64() > Some(200) && record["bytes_out"].as_u64() > Some(500));
}

#[test]
fn a_first_message_that_does_not_come_is_waited_for_a_while_and_holds_up_nobody() {
    let edge = Edge::new("", "", "");
    let ca = authority();
    let one = TlsServer::start(&edge.folder, &ca, "one", &["a.example"]);
    let documents = [
        service("one", one.address),
        route("TLSRoute", "one", "names", "a.example", "{ name: one }"),
    ];
    edge.folder.write("routes.yaml", &documents.concat());
    edge.folder.prepare();
    let _gateway = edge.start();
    let address = format!("127.0.0.1:{}", edge.names);
    let begun = Instant::now();
    // The head of a record that says more comes.
    let mut slow: Vec<TcpStream> = (0..20).map(|_| dial(&address)).collect();
    for stream in &mut slow {
        stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    }
    let done = handshake(&address, Some("a.example"));
    assert!(String::from_utf8_lossy(&done.stdout).contains(one.certificate.trim()));
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for the slow ones");
    for stream in &mut slow {
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).unwrap_or(0), 0, "{rest:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(edge.failed("timeout"), 20.0);
    // What is no TLS at all is answered with an alert, and closed.
    let mut plain = dial(&address);
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _gone = plain.read_to_end(&mut rest);
    assert!(rest.first().is_none_or(|first| *first == 21), "{rest:?}");
}

/// A server that says its name, and then echoes.
fn named(name: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let mut octets = [0; 4096];
        let _gone = stream.write_all(format!("{name}\n").as_bytes());
        while let Ok(length @ 1..) = stream.read(&mut octets) {
            if stream.write_all(&octets[..length]).is_err() {
                return;
            }
        }
    })
}

/// The name of the server behind a port; `None`: the connection was closed.
fn behind(port: u16) -> Option<String> {
    let mut stream = dial(&format!("127.0.0.1:{port}"));
    let mut octets = [0; 4];
    stream.read_exact(&mut octets).ok()?;
    stream.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
    Some(String::from_utf8_lossy(&octets).trim().to_owned())
}

#[test]
fn connections_of_a_port_are_shared_by_weight_and_the_share_of_what_is_missing_is_refused() {
    let shares = "{ name: one, weight: 1 }, { name: two, weight: 2 }, { name: gone, weight: 1 }";
    let documents = |backends: &str| {
        let all = [
            service("one", named("one")),
            service("two", named("two")),
            route("TCPRoute", "r", "port", "", backends),
        ];
        all.concat()
    };
    let edge = Edge::new("", "", &documents(shares));
    edge.folder.prepare();
    let gateway = edge.start();
    let mut counts = [0; 3];
    for _ in 0..200 {
        let at = match behind(edge.port).as_deref() {
            Some("one") => 0,
            Some("two") => 1,
            Some(other) => panic!("{other}"),
            None => 2,
        };
        counts[at] += 1;
    }
    // Of 200 with the shares 50, 100 and 50; these bounds are five deviations wide.
    assert!((20..81).contains(&counts[0]) && (65..136).contains(&counts[1]), "{counts:?}");
    assert!((20..81).contains(&counts[2]), "{counts:?}");
    let refused = edge.record("a refusal", |one| one["reason"] == "upstream.no-endpoint");
    assert_eq!((&refused["listener"], &refused["status"]), (&"port".into(), &503.into()));
    // Without a weight nobody gets any; without a route neither.
    edge.folder.write("routes.yaml", &documents("{ name: one, weight: 0 }"));
    gateway.event("it takes the route", |event| {
        event["event"] == "reload" && event.to_string().matches("gone").count() == 0
    });
    eventually("nobody gets any", || behind(edge.port).is_none().then_some(()));
    edge.record("a refusal", |one| one["reason"] == "tcp.unrouted");
    edge.folder.write("routes.yaml", &documents("{ name: two }"));
    eventually("a route is back", || behind(edge.port).filter(|name| name == "two"));
}

#[test]
fn postgresql_and_a_member_of_the_mesh_are_reached_through_a_gateway() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let (place, name) = url.rsplit_once('/').unwrap();
    let server: SocketAddr = place.rsplit('@').next().unwrap().parse().unwrap();
    let sidecar = format!("127.0.0.1:{}", free_port());
    let member = format!(
        "ports: [{{ port: 5432, protocol: tcp }}], identity: \"spiffe://test.example/ns/test/service/db\", \
         tls: {{ certificate: .tamis/certs/db.crt, key: .tamis/certs/db.key, ca: .tamis/certs/ca.crt }}, \
         endpoints: [{{ address: \"{server}\", sidecar: \"{sidecar}\" }}]"
    );
    let bare = free_port();
    let more = format!(", {{ name: bare, port: {bare}, protocol: TCP }}");
    let documents = [
        document("Service", "db", &member),
        service("old", server),
        route("TCPRoute", "member", "port", "", "{ name: db, port: 5432 }"),
        route("TCPRoute", "bare", "bare", "", "{ name: old }"),
    ];
    let edge = Edge::new("", &more, &documents.concat());
    edge.folder.prepare();
    let _db = edge.proxy("sidecar:test/db/0", "db.jsonl");
    let _gateway = edge.start();
    for port in [edge.port, bare] {
        let url = format!("postgres://tamis@127.0.0.1:{port}/{name}?connect_timeout=20");
        let done = Command::new("psql")
            .args([&url, "-AtX", "-c", "select count(*) from generate_series(1, 20000)"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&done.stdout),
            "20000\n",
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let record = eventually("the sidecar's record", || {
        let text = edge.folder.read("db.jsonl");
        let mut all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        all.find(|one| one["listener"] == "inbound:5432")
    });
    assert_eq!(record["peer"], "spiffe://test.example/ns/test/gateway/streams");
}

#[test]
fn tls_that_ends_at_the_gateway_shares_a_port_with_tls_that_passes_through() {
    let ending = ", { name: ends, port: @NAMES@, hostname: end.example, protocol: TLS, \
        tls: { certificate: .tamis/certs/end.crt, key: .tamis/certs/end.key } }";
    let edge = Edge::new("", ending, "");
    let ca = authority();
    let one = TlsServer::start(&edge.folder, &ca, "one", &["a.example"]);
    let documents = [
        service("one", one.address),
        service("plain", named("yes")),
        route("TLSRoute", "passes", "names", "\"*.example\"", "{ name: one }"),
        route("TLSRoute", "ends", "ends", "end.example", "{ name: plain }"),
    ];
    edge.folder.write("routes.yaml", &documents.concat());
    edge.folder.prepare();
    let _gateway = edge.start();
    let address = format!("127.0.0.1:{}", edge.names);
    let passed = handshake(&address, Some("a.example"));
    assert!(String::from_utf8_lossy(&passed.stdout).contains(one.certificate.trim()));
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "end.example", "-quiet"])
        .args(["-CAfile", ".tamis/certs/ca.crt", "-verify_return_error"])
        .args(["-verify_hostname", "end.example", "-alpn", "postgresql"])
        .current_dir(edge.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = [0; 4];
    client.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    drop(Stopped(client));
    assert_eq!(&seen, b"yes\n");
    let record = edge.record("a connection", |one| one["listener"] == "ends");
    assert_eq!((&record["service"], &record["status"]), (&"test/plain:443".into(), &200.into()));
}

#[test]
fn a_policy_decides_about_connections_as_at_the_ports_of_sidecars() {
    let edge = Edge::new("", "", "");
    let ca = authority();
    let one = TlsServer::start(&edge.folder, &ca, "one", &["a.example"]);
    let documents = [
        service("one", one.address),
        service("plain", named("yes")),
        route("TLSRoute", "names", "names", "a.example", "{ name: one }"),
        route("TCPRoute", "port", "port", "", "{ name: plain }"),
    ];
    edge.folder.write("routes.yaml", &documents.concat());
    edge.folder.write("authz.yaml", super::authorization::SWITCH);
    let policy = |rules: &str| {
        super::authorization::policy(
            "test",
            "edge",
            "{ kind: Gateway, name: streams }",
            &format!("  allow: [{{ {rules} }}]\n"),
        )
    };
    let only_names = policy(&format!("addresses: [127.0.0.0/8], ports: [{}]", edge.names));
    edge.folder.write("policy.yaml", &only_names);
    edge.folder.prepare();
    let _gateway = edge.start();
    let address = format!("127.0.0.1:{}", edge.names);
    let passes = |edge: &Edge| {
        let done = handshake(&format!("127.0.0.1:{}", edge.names), Some("a.example"));
        String::from_utf8_lossy(&done.stdout).contains("BEGIN CERTIFICATE")
    };
    assert!(passes(&edge), "{address}");
    assert_eq!(behind(edge.port), None);
    let refused = edge.record("the refusal", |one| one["listener"] == "port");
    assert_eq!((&refused["status"], &refused["reason"]), (&403.into(), &"authz.no-rule".into()));
    // The other way round, with both as they are: an open connection ends when its rule goes.
    let only_port = policy(&format!("addresses: [127.0.0.0/8], ports: [{}]", edge.port));
    edge.folder.write("policy.yaml", &only_port);
    eventually("the port is open", || behind(edge.port));
    let mut open = dial(&format!("127.0.0.1:{}", edge.port));
    open.read_exact(&mut [0; 4]).unwrap();
    assert!(!passes(&edge));
    edge.folder.write("policy.yaml", &only_names);
    let mut rest = Vec::new();
    let _gone = open.read_to_end(&mut rest);
    eventually("names are open again", || passes(&edge).then_some(()));
}

#[test]
fn a_mistake_is_one_clear_error_with_its_place_and_everything_else_serves_on() {
    let good = [
        service("one", named("one")),
        service("two", named("two")),
        route("TCPRoute", "r", "port", "", "{ name: one }"),
    ];
    let edge = Edge::new("", "", &good.concat());
    edge.folder.prepare();
    let gateway = edge.start();
    assert_eq!(behind(edge.port).as_deref(), Some("one"));
    let tls = |hosts: &str, more: &str| {
        route("TLSRoute", "x", "names", hosts, "{ name: two }")
            .replace("hostnames", &format!("{more}hostnames"))
    };
    for (what, text, code, says) in [
        (
            "an unknown field",
            tls("a.example", "hostname: b, "),
            "field.unknown",
            "did you mean `hostnames`",
        ),
        ("an IP address", tls("192.0.2.1", ""), "field.format", "no client asks for an IP address"),
        (
            "a missing Service",
            route("TCPRoute", "r2", "port", "", "{ name: gone }"),
            "route.backend",
            "there is no Service test/gone",
        ),
        (
            "a missing listener",
            route("TLSRoute", "x", "gone", "a.example", "{ name: two }"),
            "route.parent",
            "no listener with this section",
        ),
        (
            "another protocol",
            route("TLSRoute", "x", "port", "a.example", "{ name: two }"),
            "route.parent",
            "its listeners are for TCP",
        ),
        (
            "a second route",
            route("TCPRoute", "x", "port", "", "{ name: two }"),
            "route.conflict",
            "has more than one route",
        ),
        (
            "two rules",
            route("TCPRoute", "x", "port", "", "{ name: two }")
                .replace("rules: [", "rules: [{ backendRefs: [{ name: one }] }, "),
            "field.range",
            "rules",
        ),
        (
            "a UDPRoute",
            route("TCPRoute", "x", "port", "", "{ name: two }")
                .replace("TCPRoute", "UDPRoute")
                .replace("k8s.io/v1", "k8s.io/v1alpha2"),
            "route.parent",
            "its listeners are for TCP",
        ),
    ] {
        edge.folder.write("bad.yaml", &text);
        let checked = tamis(edge.folder.path(), &["check", ".", "--output", "json"]);
        let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
        let problems = found["problems"].as_array().unwrap();
        let of = problems.iter().filter(|one| one["place"]["source"] == "bad.yaml");
        let of: Vec<&Value> = of.collect();
        assert!(!checked.status.success() && !of.is_empty(), "{what}: {found}");
        assert!(
            of.iter().any(|one| one["code"] == code && one.to_string().contains(says)),
            "{what}: {of:#?}"
        );
        gateway.event(what, |event| event["problems"].to_string().contains(says));
        assert_eq!(behind(edge.port).as_deref(), Some("one"), "{what}");
        std::fs::remove_file(edge.folder.file("bad.yaml")).unwrap();
    }
}

#[test]
fn the_page_on_routes_of_connections_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/tls-and-tcp-routes.md")).unwrap();
    let mut moved = page;
    for port in ["9443", "9444", "5432", "8443", "6543", "5353", "5300"] {
        moved = moved.replace(port, &free_port().to_string());
    }
    let folder = tempfile::TempDir::new().unwrap();
    tamis(folder.path(), &["--version"]);
    let outputs = follow(folder.path(), &moved, |commands, out| {
        let wanted = [
            ("-brief", "Verification: OK"),
            ("ask.py", "hello"),
            ("query.py", "answer to question"),
            ("nobody.example", "112"),
        ];
        wanted.iter().all(|(part, says)| {
            !commands.contains(part) || commands.contains("cat >") || out.contains(says)
        })
    });
    let said = |part: &str| outputs.iter().any(|(commands, _)| commands.contains(part));
    let all = ["python3 ask.py", "python3 query.py", "nobody.example"];
    assert!(all.into_iter().all(said), "{outputs:?}");
}
