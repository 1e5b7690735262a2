//! Capture: hosts whose applications know nothing of their sidecars.

mod hosts;
mod wire;

use hosts::{Host, Link, PROXY, possible};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use tamis_e2e::{Folder, Postgres, RunningProcess, eventually, tamis};
use wire::{Recording, not_tls13};

/// A server of HTTP that says which host and which path it was asked for, in words that nobody else writes.
const SERVER: &str = r#"
import http.server, socket, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{sys.argv[3]} has seen host={self.headers['host']} path={self.path}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = Server((sys.argv[1], int(sys.argv[2])), Handler)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4] + ".crt", sys.argv[4] + ".key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"#;

/// A resolver that answers each question with 10.77.0.254.
const RESOLVER: &str = r#"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("10.77.0.254", 53))
print("ready", flush=True)
while True:
    question, peer = server.recvfrom(4096)
    end = question.index(b"\0", 12) + 5
    kind = question[end - 4:end - 2]
    head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if kind == b"\0\1" else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 77, 0, 254]) if kind == b"\0\1" else b""
    server.sendto(head + question[12:end] + record, peer)
"#;

/// A program of a host; killed when dropped.
struct Application(Child);

impl Application {
    fn python(host: &Host, script: &str, arguments: &[&str]) -> Self {
        let mut command = host.command("python3");
        command.args(["-c", script]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn service(name: &str, ports: &str, address: &str, sidecar: &str, capture: &str) -> String {
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\nspec:\n  \
         ports: [{ports}]\n  identity: spiffe://test.example/ns/test/service/{name}\n  \
         tls: {{ certificate: .tamis/certs/{name}.crt, key: .tamis/certs/{name}.key, ca: .tamis/certs/ca.crt }}\n  \
         endpoints:\n    - address: \"{address}\"\n      sidecar: \"{sidecar}\"\n      admin: 127.0.0.1:15000\n{capture}"
    )
}

const CAPTURE: &str = "      capture: { outbound: [\"127.0.0.1:15001\", \"[::1]:15001\"], dns: [\"127.0.0.1:15053\"] }\n";

/// Four hosts of a mesh, a resolver and a server outside of it, and a stranger. Applications know the addresses and the
/// names of each other, and nothing else.
struct Mesh {
    folder: Folder,
    link: Link,
    web: Host,
    shop: Host,
    db: Host,
    six: Host,
    stranger: Host,
    _applications: Vec<Application>,
    _postgres: Postgres,
}

impl Mesh {
    fn new() -> Self {
        let mut link = Link::new();
        let [web, shop, db, six, stranger] =
            ["web", "shop", "db", "six", "stranger"].map(|name| link.host(name));
        let folder = Folder::documents(&["127.0.0.1:9".parse().unwrap()]);
        let http = "{ port: 80, protocol: http }";
        let documents = [
            service("web", http, "10.77.0.1:8080", "10.77.0.1:15006", CAPTURE),
            service("shop", http, "10.77.0.2:8080", "10.77.0.2:15006", CAPTURE),
            service(
                "db",
                "{ port: 5432, protocol: tcp }",
                "10.77.0.3:5432",
                "10.77.0.3:15006",
                CAPTURE,
            ),
            service("six", http, "[fd77::4]:8080", "[fd77::4]:15006", ""),
        ];
        folder.write("mesh-of-hosts.yaml", &documents.join("---\n"));
        folder.prepare();
        let server = |host: &Host, address: &str, port: &str, name: &str| {
            Application::python(host, SERVER, &[address, port, name])
        };
        let applications = vec![
            server(&shop, "10.77.0.2", "8080", "shop-application"),
            server(&six, "fd77::4", "8080", "six-application"),
            server(&link.outside, "10.77.0.254", "9000", "outside-application"),
            server(&link.outside, "10.77.0.254", "9001", "outside-application"),
            Application::python(&link.outside, RESOLVER, &[]),
        ];
        let postgres = Postgres::start_in(&db.wrapper(), "10.77.0.3:5432".parse().unwrap());
        Self {
            folder,
            link,
            web,
            shop,
            db,
            six,
            stranger,
            _applications: applications,
            _postgres: postgres,
        }
    }

    fn sidecars(&self) -> Vec<RunningProcess> {
        // One after the other: the first compiles the filters for all.
        let hosts =
            [(&self.web, "web"), (&self.shop, "shop"), (&self.db, "db"), (&self.six, "six")];
        hosts.map(|(host, name)| host.sidecar(self.folder.path(), name)).into()
    }

    fn install(&self) {
        let hosts = [
            (&self.web, "10.77.0.1:15006", "8080"),
            (&self.shop, "10.77.0.2:15006", "8080"),
            (&self.db, "10.77.0.3:15006", "5432"),
            (&self.six, "[fd77::4]:15006", "8080"),
        ];
        for (host, inbound, port) in hosts {
            let arguments = [
                "capture",
                "install",
                "--proxy-group",
                PROXY,
                "--dns",
                "15053",
                "--inbound",
                inbound,
                "--app-port",
                port,
            ];
            host.did(self.folder.path(), &arguments);
        }
    }

    fn remove(&self) {
        for host in [&self.web, &self.shop, &self.db, &self.six] {
            host.did(self.folder.path(), &["capture", "remove"]);
        }
    }

    /// Waits for a record of a sidecar.
    fn record(&self, of: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let text = self.folder.read(&format!("{of}.jsonl"));
            let all = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            all.filter(|one| is(one)).last()
        })
    }
}

/// What applications of the host `web` do: by address, by name, to a database.
fn calls(web: &Host) {
    let said = web.said("curl -sS --max-time 20 http://10.77.0.2:8080/by-address");
    assert_eq!(said, "shop-application has seen host=10.77.0.2:8080 path=/by-address\n");
    let said = web.said("curl -sS --max-time 20 'http://[fd77::4]:8080/v6'");
    assert_eq!(said, "six-application has seen host=[fd77::4]:8080 path=/v6\n");
    let query = "select 'the-answer-' || 6 * 7";
    let said = web.said(&format!("psql -XAtq -h 10.77.0.3 -U tamis postgres -c \"{query}\""));
    assert_eq!(said, "the-answer-42\n");
}

#[test]
fn applications_of_captured_hosts_change_nothing_and_only_tls_1_3_is_on_the_link() {
    if !possible() {
        return;
    }
    let mesh = Mesh::new();
    let web = &mesh.web;
    // Without capture all of this is readable on the link: the recording sees it.
    let recording = Recording::start(&mesh.link.outside);
    calls(web);
    let traffic = recording.end(|seen| seen.has("the-answer-42") && seen.has("/by-address"));
    assert!(traffic.has("shop-application has seen"));
    // A session that is open before the capture.
    let mut open = mesh.stranger.command("python3");
    open.args(["-c", SESSION]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut open = open.spawn().unwrap();
    let mut session = BufReader::new(open.stdout.take().unwrap());
    let mut line = String::new();
    session.read_line(&mut line).unwrap();
    assert_eq!(line, "200\n");

    let _sidecars = mesh.sidecars();
    mesh.install();
    let recording = Recording::start(&mesh.link.outside);
    calls(web);
    // By name, which DNS over UDP answers; the application knows neither port nor address of a sidecar.
    let said = web.said("curl -sS --max-time 20 http://shop.test.mesh/by-name");
    assert_eq!(said, "shop-application has seen host=shop.test.mesh path=/by-name\n");
    let said = web.said("psql -XAtq -h db.test.mesh -U tamis postgres -c 'select 21 * 2'");
    assert_eq!(said, "42\n");
    // The application of another host calls as well.
    let said = mesh.shop.said("psql -XAtq -h db.test.mesh -U tamis postgres -c 'select 1'");
    assert_eq!(said, "1\n");
    let wire = |port: u16| {
        move |seen: &wire::Traffic| {
            let streams = seen.streams();
            let mut sides = streams.iter();
            sides.any(|((_, to), octets)| to.1 == port && !octets.is_empty())
        }
    };
    let traffic = recording.end(wire(15006));
    let streams = traffic.streams();
    let (mut servers, mut octets) = (0, 0);
    for (((from, from_port), (to, to_port)), content) in &streams {
        let server = *from_port == 15006;
        servers += usize::from(server && !content.is_empty());
        octets += content.len();
        let wrong = not_tls13(content, server);
        assert_eq!(wrong, None, "{from}:{from_port} to {to}:{to_port}");
    }
    assert!(servers >= 3 && octets > 10_000, "{servers} servers, {octets} octets");
    for readable in ["the-answer", "application has seen", "by-name", "HTTP/1.1", "select"] {
        assert!(!traffic.has(readable), "{readable} is readable on the link");
    }
    assert_eq!((traffic.dns, traffic.other_datagrams), (0, 0), "DNS of the mesh left its host");
    // The callee knows who called.
    let record =
        mesh.record("db", "the connection of web", |one| one["bytes_out"].as_u64() > Some(0));
    assert_eq!(record["listener"], "inbound:5432");
    let record = mesh.record("shop", "the request by name", |one| one["path"] == "/by-name");
    assert_eq!(record["peer"], "spiffe://test.example/ns/test/service/web");

    // Nobody reaches an application past its sidecar, and a session from before goes on.
    let past = mesh.stranger.shell("curl -sS --max-time 10 http://10.77.0.2:8080/past");
    assert!(!past.status.success(), "{}", String::from_utf8_lossy(&past.stdout));
    let past = mesh.stranger.shell("curl -sS --max-time 10 'http://[fd77::4]:8080/past'");
    assert!(!past.status.success(), "{}", String::from_utf8_lossy(&past.stdout));
    open.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    line.clear();
    session.read_line(&mut line).unwrap();
    assert_eq!(line, "200\n");
    drop(open.stdin.take());
    open.wait().unwrap();

    // Everything is as before once it is removed.
    mesh.remove();
    for host in [web, &mesh.shop, &mesh.db, &mesh.six] {
        assert_eq!(host.said("nft list ruleset"), "");
    }
    calls(web);
    let said = mesh.stranger.said("curl -sS --max-time 20 http://10.77.0.2:8080/again");
    assert_eq!(said, "shop-application has seen host=10.77.0.2:8080 path=/again\n");
    assert!(!web.shell("curl -sS --max-time 5 http://shop.test.mesh/").status.success());
}

/// Asks once, and again with each line that it reads, over one connection.
const SESSION: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("10.77.0.2", 8080, timeout=20)
while True:
    connection.request("GET", "/session")
    answer = connection.getresponse()
    answer.read()
    print(answer.status, flush=True)
    if not sys.stdin.readline():
        break
"#;

/// The sidecar of `web` speaks TLS to a server outside for an application that speaks none, and sends nothing to one whose
/// certificate is for another name, or from another authority.
fn speaks_tls_for_its_application(mesh: &Mesh) {
    let folder = &mesh.folder;
    for authority in ["outside-ca", "other-ca"] {
        let (name, file) = (format!("of-{authority}"), format!("{authority}.crt"));
        let made =
            ["keys", "certificate", &name, "--authority", &file, "--host", "outside.example"];
        assert!(tamis(folder.path(), &made).status.success());
    }
    let pair = folder.file("of-outside-ca").display().to_string();
    let server = ["10.77.0.254", "9443", "tls-application", &pair];
    let _server = Application::python(&mesh.link.outside, SERVER, &server);
    let get = "curl -s --max-time 10 -w '%{http_code}' http://outside.example:9002/over-tls";
    let served = "tls-application has seen host=outside.example:9002 path=/over-tls\n200";
    let ours = "caCertificateRefs: [{ kind: File, name: outside-ca.crt }]";
    let named = |host: &str| format!("{ours}, hostname: {host}");
    let of = |file: &str| format!("caCertificateRefs: [{{ kind: File, name: {file} }}]");
    for (tls, answer) in [
        (ours.to_owned(), served),
        (of("other-ca.crt"), "503"),
        (named("outside.example"), served),
        (named("other.example"), "503"),
        (ours.to_owned(), served),
        // The authorities of the system.
        (String::new(), "503"),
        (ours.to_owned(), served),
        (of("none.crt"), "503"),
    ] {
        folder.write(
            "external.yaml",
            &format!(
                "kind: ExternalService\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: out, namespace: test }}\nspec:\n  \
                 hosts: [outside.example]\n  ports: [{{ port: 9002, protocol: http, tls: {{ port: 9443, {tls} }} }}]\n"
            ),
        );
        eventually(&format!("{tls}: {answer}"), || {
            let done = mesh.web.shell(get);
            (String::from_utf8_lossy(&done.stdout).ends_with(answer)).then_some(())
        });
    }
}

#[test]
fn what_leaves_the_mesh_is_what_egress_says_and_names_outside_are_asked_of_the_resolver() {
    if !possible() {
        return;
    }
    let mesh = Mesh::new();
    let (web, folder) = (&mesh.web, mesh.folder.path());
    let running = web.sidecar(folder, "web");
    mesh.install();
    // Asked by the sidecar, which may leave.
    let ask = "getent ahostsv4 outside.example | head -1";
    assert!(web.said(ask).starts_with("10.77.0.254"), "{}", web.said(ask));
    let outside = "curl -sS --max-time 10 http://outside.example:9000/out";
    assert!(!web.shell(outside).status.success());
    let refused = mesh.record("web", "the refusal", |one| one["status"] == 403);
    assert_eq!(refused["reason"], "egress.refused");
    assert_eq!(refused["authority"], "10.77.0.254:9000");
    assert_eq!(refused["listener"], "captured:egress");
    // What a document declares is reached under its name: requests, and octets that nobody reads.
    let external = "kind: ExternalService\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: out, namespace: test }\nspec:\n  \
                    hosts: [outside.example]\n  ports: [{ port: 9000, protocol: http }, { port: 9001, protocol: tcp }]\n";
    mesh.folder.write("external.yaml", external);
    for (port, path, listener) in
        [("9000", "declared", "captured"), ("9001", "unread", "captured:outside.example:9001")]
    {
        let line = format!("curl -sS --max-time 10 http://outside.example:{port}/{path}");
        let said = eventually("it is declared", || {
            let done = web.shell(&line);
            done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
        });
        let host = format!("host=outside.example:{port}");
        assert_eq!(said, format!("outside-application has seen {host} path=/{path}\n"));
        let through = |one: &Value| one["listener"] == listener && one["status"] == 200;
        mesh.record("web", "the declared connection", through);
    }
    speaks_tls_for_its_application(&mesh);
    // By its address it is as closed as before.
    assert!(!web.shell("curl -sS --max-time 10 http://10.77.0.254:9000/").status.success());
    std::fs::remove_file(mesh.folder.file("external.yaml")).unwrap();
    eventually("it is declared no more", || (!web.shell(outside).status.success()).then_some(()));
    // An application has no business at the socket of a sidecar, whatever egress says.
    let generation = || running.events().len();
    let before = generation();
    let closed = "dns: [\"127.0.0.1:15053\"] }";
    let open = "dns: [\"127.0.0.1:15053\"], egress: allow }";
    mesh.folder.edit("mesh-of-hosts.yaml", closed, open);
    let said = eventually("it may leave", || {
        let done = web.shell(outside);
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    });
    assert!(generation() >= before);
    assert_eq!(said, "outside-application has seen host=outside.example:9000 path=/out\n");
    let left = |one: &Value| one["status"] == 200 && one["listener"] == "captured:egress";
    let record = mesh.record("web", "the connection", left);
    assert_eq!(record["endpoint"], "10.77.0.254:9000");
    // Names were resolved in both families, with every answer in time.
    assert!(!running.errors().contains("panicked"), "{}", running.errors());
    let sidecar = web.shell("curl -sS --max-time 10 http://10.77.0.2:15006/");
    assert!(!sidecar.status.success());
    mesh.record("web", "the refusal", |one| one["reason"] == "egress.reserved");
    // Without the exemption of the proxy its own connections come back to it: they end, and do not go in circles.
    let wrong = ["capture", "install", "--proxy-group", "4242"];
    web.did(folder, &wrong);
    assert!(!web.shell(outside).status.success());
    mesh.record("web", "the loop", |one| one["reason"] == "egress.loop");
    // Who connects to the socket itself was led there by nobody.
    let direct = web.shell("curl -sS --max-time 10 http://127.0.0.1:15001/");
    assert!(!direct.status.success());
}

#[test]
fn rules_are_printed_installed_replaced_shown_and_removed() {
    if !possible() {
        return;
    }
    let mut link = Link::new();
    let (host, folder) = (link.host("one"), tempfile::TempDir::new().unwrap());
    let did = |line: &str| host.did(folder.path(), &line.split(' ').collect::<Vec<_>>());
    let rules = || host.said("nft list ruleset");
    // Somebody else's rules stay.
    host.said("nft add table inet others");
    assert!(did("capture show").contains("no rules of Tamis"));
    let dry = did("capture install --proxy-group 13370 --dry-run");
    assert!(dry.contains("redirect to :15001"), "{dry}");
    assert!(!rules().contains("tamis"));
    did("capture remove");
    did("capture install --proxy-group 13370");
    did("capture install --proxy-group 13370");
    assert_eq!(rules().matches("redirect to :15001").count(), 1, "{}", rules());
    assert!(did("capture show").contains("meta skgid 13370 return"));
    did("capture install --proxy-group 13370 --outbound 16001 --only-tcp");
    assert!(!rules().contains(":15001") && rules().contains(":16001"), "{}", rules());
    let shown: Value = serde_json::from_str(&did("capture show --output json")).unwrap();
    assert_eq!(shown["installed"], true);
    // All or nothing: what nft refuses changes nothing.
    let refused = host.tamis(folder.path(), &["capture", "install", "--proxy-user", "nobody-here"]);
    assert!(!refused.status.success() && rules().contains(":16001"));
    for _ in 0..2 {
        did("capture remove");
        assert_eq!(rules().trim(), "table inet others {\n}");
    }
}

#[test]
fn rules_that_are_held_go_with_the_command_and_a_user_without_rights_is_told_so() {
    if !possible() {
        return;
    }
    let mut link = Link::new();
    let (host, folder) = (link.host("one"), tempfile::TempDir::new().unwrap());
    let held = ["capture", "install", "--proxy-group", "13370", "--hold"];
    let running = RunningProcess::start_in(&host.wrapper(), folder.path(), &held);
    running.event("it is installed", |event| event["installed"] == true);
    assert!(host.said("nft list ruleset").contains("tamis"));
    assert!(running.end("-TERM").success());
    assert_eq!(host.said("nft list ruleset"), "");
    let bounded = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
    let wrapper = [&host.wrapper()[..], &bounded].concat();
    for command in ["install --proxy-group 13370", "show", "remove"] {
        let line: Vec<&str> = ["capture"].into_iter().chain(command.split(' ')).collect();
        let done = tamis_e2e::command_in(&wrapper, folder.path(), &line).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains("CAP_NET_ADMIN"), "{command}: {said}");
    }
}

#[test]
fn the_page_on_capture_does_what_it_says() {
    if !possible() {
        return;
    }
    let page = std::fs::read_to_string(tamis_e2e::root().join("docs/how-to/capture.md")).unwrap();
    let mut link = Link::new();
    let folder = tempfile::TempDir::new().unwrap();
    tamis(folder.path(), &["--version"]);
    let (host, rules) = (link.host("one"), |host: &Host| host.said("nft list ruleset"));
    let binaries = tamis_e2e::root().join("target/debug");
    let mut seen = Vec::new();
    for (kind, commands) in super::docs::blocks(&page) {
        let line = format!("set -e; PATH={}:$PATH; {commands}", binaries.display());
        seen.push((kind, host.said(&line), rules(&host)));
    }
    let [(_, printed, dry), (_, shown, installed), (_, _, removed)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert!(printed.contains("dnat ip to 10.0.0.2:15006"), "{printed}");
    assert!(shown.contains("meta skgid 1337 return") && installed.contains(":15053"), "{shown}");
    assert_eq!((dry.as_str(), removed.as_str()), ("", ""));
}
