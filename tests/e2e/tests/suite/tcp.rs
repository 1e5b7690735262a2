//! Opaque TCP between two sidecars: octets in both directions, who may connect, and what ends a connection.

use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;
use tamis_e2e::{
    Backend, Folder, Postgres, RunningProcess, eventually, free_port, get, request, root,
};

use crate::docs::follow;

mod ends;
mod peers;
mod plaintext;
mod proxy_header;

/// Without an answer for this long, a test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service `db` with a port for requests and two `tcp` ports, and two callers: `web` and `guest`.
struct Mesh {
    folder: Folder,
    /// The application of `db` that serves requests.
    requests: Backend,
    /// Where the sidecar of `db` accepts the mesh.
    inbound: String,
    /// Its admin listener.
    admin: String,
    web: Caller,
    guest: Caller,
}

/// Where the sidecar of a caller listens.
struct Caller {
    outbound: String,
    admin: String,
    /// For port 5432 of `db`.
    first: String,
    /// For port 6379 of `db`.
    second: String,
}

/// The sidecars.
struct Running {
    db: RunningProcess,
    web: RunningProcess,
    guest: RunningProcess,
}

fn address() -> String {
    format!("127.0.0.1:{}", free_port())
}

fn identity(name: &str) -> String {
    format!(
        "  identity: spiffe://test.example/ns/test/service/{name}\n  tls: {{ certificate: .tamis/certs/{name}.crt, \
         key: .tamis/certs/{name}.key, ca: .tamis/certs/ca.crt }}\n"
    )
}

fn service(name: &str, ports: &str, endpoint: &str) -> String {
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\nspec:\n  \
         ports: [{ports}]\n{}  endpoints: [{{ {endpoint} }}]\n",
        identity(name)
    )
}

impl Caller {
    fn new() -> Self {
        let [outbound, admin, first, second] = std::array::from_fn(|_| address());
        Self { outbound, admin, first, second }
    }

    fn document(&self, name: &str, application: &str) -> String {
        let Self { outbound, admin, first, second } = self;
        let endpoint = format!(
            "address: \"{application}\", sidecar: \"{}\", outbound: \"{outbound}\", admin: \"{admin}\", outboundTcp: \
             [{{ address: \"{first}\", name: db, port: 5432 }}, {{ address: \"{second}\", name: db, namespace: test, port: 6379 }}]",
            address()
        );
        service(name, "{ port: 80, protocol: http }", &endpoint)
    }
}

/// The ports of `db`, with fields of the first and the second `tcp` port.
fn ports(first: &str, second: &str) -> String {
    format!(
        "{{ port: 80, protocol: http }}, {{ port: 5432, protocol: tcp{first} }}, {{ port: 6379, protocol: tcp{second} }}"
    )
}

impl Mesh {
    /// With applications of `db` at these addresses; `ports` is the list of its ports.
    fn new(ports: &str, first: SocketAddr, second: SocketAddr) -> Self {
        let requests = Backend::start();
        let folder = Folder::documents(&[requests.address]);
        let (inbound, admin) = (address(), address());
        let endpoint = format!(
            "address: \"{}\", sidecar: \"{inbound}\", outbound: \"{}\", admin: \"{admin}\", \
             ports: [{{ port: 5432, address: \"{first}\" }}, {{ port: 6379, address: \"{second}\" }}]",
            requests.address,
            address()
        );
        folder.write("db.yaml", &service("db", ports, &endpoint));
        let (web, guest) = (Caller::new(), Caller::new());
        let nobody = address();
        folder.write("web.yaml", &web.document("web", &nobody));
        folder.write("guest.yaml", &guest.document("guest", &nobody));
        folder.write("authz.yaml", super::authorization::SWITCH);
        folder.prepare();
        Self { folder, requests, inbound, admin, web, guest }
    }

    /// With this policy about `db`.
    fn set(&self, rules: &str) {
        let policy =
            super::authorization::policy("test", "db", "{ kind: Service, name: db }", rules);
        self.folder.write("policies.yaml", &policy);
    }

    /// Without authorization: every member may connect.
    fn open(ports: &str, first: SocketAddr, second: SocketAddr) -> Self {
        let mesh = Self::new(ports, first, second);
        std::fs::remove_file(mesh.folder.file("authz.yaml")).unwrap();
        mesh
    }

    fn proxy(&self, name: &str, more: &[&str]) -> RunningProcess {
        let (node, log) = (format!("sidecar:test/{name}/0"), format!("{name}.jsonl"));
        let mut all = vec!["proxy", "--node", &node, "--documents", ".", "--store", ".tamis/store"];
        all.extend(["--cache", ".tamis/cache", "--access-log-file", &log, "--run-folder", "run"]);
        all.extend_from_slice(more);
        let running = RunningProcess::start(self.folder.path(), &all);
        running.event("it serves", |event| event["event"] == "ready");
        running
    }

    fn start(&self) -> Running {
        // One after the other: the first compiles the filters for all.
        let db = self.proxy("db", &[]);
        Running { db, web: self.proxy("web", &[]), guest: self.proxy("guest", &[]) }
    }

    fn records(&self, of: &str) -> Vec<Value> {
        let text = self.folder.read(&format!("{of}.jsonl"));
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a record of a sidecar.
    fn record(&self, of: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.records(of).into_iter().find(|record| is(record)))
    }
}

/// The value of a metric whose line contains all of `parts`.
fn metric(admin: &str, parts: &[&str]) -> f64 {
    let text = get(admin, "/metrics").body;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
}

/// Waits for a value of a metric: counts follow what a peer sees, and a peer may ask before.
fn reaches(admin: &str, parts: &[&str], is: impl Fn(f64) -> bool) {
    eventually(&format!("the metric {parts:?}"), || is(metric(admin, parts)).then_some(()));
}

/// A server each of whose connections is served by `serve` on a thread of its own.
pub(crate) fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that speaks first, echoes, and says how much it read when the client has ended its side.
fn greeter() -> SocketAddr {
    server(|mut stream| {
        let mut read = 0;
        let mut octets = [0; 4096];
        if stream.write_all(b"hello\n").is_err() {
            return;
        }
        while let Ok(length @ 1..) = stream.read(&mut octets) {
            read += length;
            if stream.write_all(&octets[..length]).is_err() {
                return;
            }
        }
        let _ = stream.write_all(format!("{read} octets\n").as_bytes());
    })
}

/// A connection that gives up instead of hanging.
pub(crate) fn dial(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection to a greeter; `None`: it was closed before the server spoke.
fn greeted(address: &str) -> Option<TcpStream> {
    let mut stream = dial(address);
    let mut octets = [0; 6];
    match stream.read_exact(&mut octets) {
        Ok(()) => assert_eq!(&octets, b"hello\n"),
        Err(error) => {
            let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "{error}");
            return None;
        }
    }
    Some(stream)
}

/// Whether a word comes back.
fn echoes(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).unwrap();
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, word.as_bytes());
}

/// The rest until the other side has ended.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => rest,
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_and_each_side_may_end_before_the_other() {
    let mesh = Mesh::open(&ports("", ""), greeter(), greeter());
    let _running = mesh.start();
    for address in [&mesh.web.first, &mesh.web.second] {
        let mut stream = greeted(address).unwrap();
        echoes(&mut stream, "question");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream), b"8 octets\n");
    }
    for (sidecar, listener, service) in [
        ("web", "outbound:db.test:5432", "test/db:5432"),
        ("web", "outbound:db.test:6379", "test/db:6379"),
        ("db", "inbound:5432", "local/test/db:5432"),
        ("db", "inbound:6379", "local/test/db:6379"),
    ] {
        let record = mesh.record(sidecar, listener, |one| one["listener"] == listener);
        assert_eq!(record["service"], service);
        assert_eq!(
            (&record["status"], &record["bytes_in"], &record["bytes_out"]),
            (&200.into(), &8.into(), &23.into())
        );
        assert_eq!(record["outcome"].as_array().map_or(0, Vec::len), 0, "{record}");
    }
    let record = mesh.record("db", "the caller", |one| one["listener"] == "inbound:5432");
    assert_eq!(record["peer"], "spiffe://test.example/ns/test/service/web");
    let listener = "listener=\"inbound:5432\"";
    for (name, more, wanted) in [
        ("tamis_tcp_connections_total", "", 1.0),
        ("tamis_tcp_connections{", "", 0.0),
        ("tamis_tcp_bytes_total", "sender=\"client\"", 8.0),
        ("tamis_tcp_bytes_total", "sender=\"service\"", 23.0),
    ] {
        reaches(&mesh.admin, &[name, listener, more], |value| value == wanted);
    }
    // The port for requests is what it was.
    let reply = request(&mesh.web.outbound, "GET", "/", &[("host", "db")], b"");
    assert_eq!(reply.status, 200);
    assert_eq!(mesh.requests.count(), 1);
}

/// What stands at a place of a long stream: no piece of it looks like another.
fn octet(at: u64, salt: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt) >> 56) as u8
}

fn send(mut stream: &TcpStream, length: u64, salt: u64) {
    let mut at = 0;
    while at < length {
        let piece: Vec<u8> = (at..(at + 50_000).min(length)).map(|at| octet(at, salt)).collect();
        stream.write_all(&piece).unwrap();
        at += piece.len() as u64;
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn receive(mut stream: &TcpStream, length: u64, salt: u64) {
    let (mut at, mut piece) = (0, vec![0; 70_000]);
    loop {
        let read = stream.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        for got in &piece[..read] {
            assert_eq!(*got, octet(at, salt), "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, length);
}

#[test]
fn sixty_four_mebibytes_pass_both_ways_at_once_and_every_octet_stands_at_its_place() {
    const LENGTH: u64 = 64 << 20;
    let both = |stream: TcpStream, own: u64, other: u64| {
        std::thread::scope(|scope| {
            scope.spawn(|| send(&stream, LENGTH, own));
            receive(&stream, LENGTH, other);
        });
    };
    let bulk = server(move |stream| both(stream, 7, 3));
    let mesh = Mesh::open(&ports("", ""), bulk, bulk);
    let _running = mesh.start();
    both(dial(&mesh.web.first), 3, 7);
    let record = mesh.record("db", "the end", |one| one["listener"] == "inbound:5432");
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&LENGTH.into(), &LENGTH.into()));
}

#[test]
fn postgresql_answers_through_two_sidecars_whoever_is_allowed() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let (place, name) = url.rsplit_once('/').unwrap();
    let server: SocketAddr = place.rsplit('@').next().unwrap().parse().unwrap();
    let mesh = Mesh::new(&ports("", ""), server, server);
    mesh.set(
        "  allow: [{ name: web, identities: [spiffe://test.example/ns/test/service/web], ports: [5432] }]\n",
    );
    let _running = mesh.start();
    let ask = |address: &str, text: &str| {
        let url = format!("postgres://tamis@{address}/{name}?connect_timeout=20");
        let mut psql = Command::new("psql");
        psql.args([&url, "-AtX", "-v", "ON_ERROR_STOP=1", "-c", text]);
        psql.output().unwrap()
    };
    let made =
        "create table numbers as select n, repeat('x', 1000) from generate_series(1, 20000) n";
    for (text, wanted) in [
        (made, "SELECT 20000\n"),
        ("select count(*), sum(n), max(length(repeat)) from numbers", "20000|200010000|1000\n"),
    ] {
        let done = ask(&mesh.web.first, text);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(String::from_utf8_lossy(&done.stdout), wanted);
    }
    let all = ask(&mesh.web.first, "select * from numbers");
    assert_eq!(all.stdout.iter().filter(|octet| **octet == b'\n').count(), 20_000);
    for address in [&mesh.guest.first, &mesh.web.second] {
        let done = ask(address, "select 1");
        assert!(!done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
    let refused = mesh.record("db", "the refusal", |one| one["status"] == 403);
    assert_eq!(refused["reason"], "authz.no-rule");
    assert_eq!(refused["filter"], "test/authz/inbound:5432");
}

#[test]
fn the_page_on_tcp_services_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/tcp-services.md")).unwrap();
    let ports = ["5432", "9000", "15006", "15011", "15016", "15432"];
    let mut moved = page;
    for port in ports {
        // Only where it is a port to listen on: the port of the service keeps its number.
        let to = free_port();
        moved = moved.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{to}"));
        moved = moved.replace(&format!("\"127.0.0.1\", {port}"), &format!("\"127.0.0.1\", {to}"));
    }
    let folder = tempfile::TempDir::new().unwrap();
    tamis_e2e::tamis(folder.path(), &["--version"]);
    let outputs = follow(folder.path(), &moved, |commands, out| {
        match (commands.contains("demo/policy.yaml"), commands.contains("authz.no-rule")) {
            (true, _) => out.contains("HOW MANY?"),
            (false, true) => out.contains("authz.no-rule"),
            (false, false) => true,
        }
    });
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the page has no `{part}`")).1.clone()
    };
    assert!(said("demo/policy.yaml").starts_with("hello\nHOW MANY?\n"));
    // What takes longer than a second on a busy machine says so between the lines.
    let asked: String = said("authz explain")
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("… "))
        .collect();
    assert!(
        asked.starts_with("✓ reports connects\n✓ nobody else does\n2 cases, all as expected\n")
    );
    let rule =
        "  - { identities: [\"spiffe://shop.example/ns/shop/service/web\"], ports: [5432] }\n";
    assert!(asked.contains("refused: authz.no-rule\n") && asked.ends_with(rule), "{asked}");
}
