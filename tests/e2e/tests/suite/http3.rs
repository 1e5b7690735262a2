//! HTTP/3 from real clients: libcurl as the package `curl-cffi` of PyPI has it, and `aioquic`.

use serde_json::{Value, json};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use tamis_e2e::{
    Answer, Backend, Folder, FolderOptions, eventually, get, python_environment, root, tamis,
};

use crate::docs::{follow, renumber};
use crate::grpc_web;
use crate::policies::attachment_of;

const PACKAGES: [&str; 2] = ["aioquic==1.7.2", "curl-cffi==0.17.0"];

static ENVIRONMENT: LazyLock<PathBuf> = LazyLock::new(|| python_environment("http3", &PACKAGES));

/// Asks for a URL, and prints what came back.
const CURL: &str = include_str!("http3/curl.py");
/// Does what its second argument says, at the port that the first one is.
const AIOQUIC: &str = include_str!("http3/aioquic_client.py");

/// A Python with the packages, which runs a script.
fn python(script: &str, arguments: &[&str]) -> Command {
    let mut python = Command::new(ENVIRONMENT.join("bin/python"));
    python.args(["-c", script]).args(arguments);
    python
}

/// What a script prints: one line of JSON.
fn run(script: &str, arguments: &[&str]) -> Value {
    let done = python(script, arguments).stderr(Stdio::piped()).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    let said = serde_json::from_slice(&done.stdout);
    said.unwrap_or_else(|_| panic!("{arguments:?}: {errors}"))
}

/// What libcurl gets from the gateway.
fn curl(folder: &Folder, path: &str, options: Value) -> Value {
    let port = folder.https.rsplit(':').next().unwrap();
    run(CURL, &[&format!("https://localhost:{port}{path}"), &options.to_string()])
}

/// What the client of aioquic does.
fn aioquic(folder: &Folder, what: &[&str]) -> Value {
    let port = folder.https.rsplit(':').next().unwrap();
    run(AIOQUIC, &[&[port], what].concat())
}

/// A gateway whose HTTPS listener has these fields.
fn gateway(backend: &Backend, fields: &str) -> Folder {
    let folder = Folder::gateway(&[backend.address]);
    listener(&folder, fields);
    folder
}

fn listener(folder: &Folder, fields: &str) {
    folder.edit("mesh.yaml", "protocol: HTTPS\n", &format!("protocol: HTTPS\n      {fields}\n"));
}

/// Waits until the gateway answers over HTTP/3.
fn served(folder: &Folder) {
    eventually("HTTP/3 is served", || {
        let answer = curl(folder, "/", json!({ "version": "3only", "seconds": 2 }));
        (answer["version"] == 3).then_some(())
    });
}

#[test]
fn curl_finds_http3_by_alt_svc_and_requests_pass_the_same_pipeline() {
    let backend = Backend::start();
    let folder = gateway(&backend, "http3: { maxAge: 2h }");
    let config = "{ deny: [127.0.0.9], otherwise: allow }";
    folder.write("policies.yaml", &attachment_of("ip-access", "authn", 2, config));
    folder.prepare();
    let _gateway = folder.start(&[]);
    served(&folder);
    let port = folder.https.rsplit(':').next().unwrap();

    // Over TCP a response names it; with the cache of that a client comes over UDP the next time.
    let cache = folder.file("alt-svc.txt");
    let first = curl(&folder, "/a", json!({ "cache": cache, "version": "any" }));
    assert_eq!((&first["version"], &first["status"]), (&json!(2), &json!(200)), "{first}");
    assert_eq!(first["headers"]["alt-svc"], format!("h3=\":{port}\"; ma=7200"));
    let second = curl(&folder, "/b", json!({ "cache": cache, "version": "any" }));
    assert_eq!((&second["version"], &second["status"]), (&json!(3), &json!(200)), "{second}");
    assert_eq!(second["body"], "/b");
    assert!(folder.metric(&["tamis_http3_connections_total"]).unwrap() >= 1.0);
    assert_eq!(second["headers"]["alt-svc"], Value::Null, "it is there already");

    // What a request says of itself that only a proxy may say does not get through.
    let forged = json!({ "version": "3only", "headers": {
        "x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9", "x-tamis-identity": "spiffe://a/b",
        "x-tamis-peer": "spiffe://a/b", "x_forwarded_for": "203.0.113.9", "cookie": "a=1; b=2",
    }});
    assert_eq!(curl(&folder, "/forged", forged)["status"], 200);
    let seen = backend.last().unwrap();
    let values = |name: &str| -> Vec<&str> {
        let of = seen.headers.iter().filter(|(known, _)| known == name);
        of.map(|(_, value)| value.as_str()).collect()
    };
    assert!(
        !seen.headers.iter().any(|(name, _)| name.starts_with("x-tamis-") || name.contains('_'))
    );
    assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values("x-forwarded-proto"), ["https"]);
    assert_eq!(values("via"), ["3 tamis"]);
    assert_eq!(values("cookie"), ["a=1; b=2"]);
    assert_eq!(values("host"), [format!("localhost:{port}")]);

    // A guard refuses, and the record says why.
    let denied = json!({ "version": "3only", "interface": "127.0.0.9" });
    let denied = curl(&folder, "/denied", denied);
    assert_eq!((&denied["version"], &denied["status"]), (&json!(3), &json!(403)), "{denied}");
    assert_eq!(denied["headers"]["x-tamis-reason"], "ip-access.denied");
    let record = folder.record("the refused request", |one| one["path"] == "/denied");
    assert_eq!(record["reason"], "ip-access.denied", "{record}");

    // A megabyte each way.
    let large = folder.file("large");
    let octets: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
    std::fs::write(&large, &octets).unwrap();
    backend.answers(Answer::Echo);
    let echoed = curl(&folder, "/echo", json!({ "version": "3only", "file": large }));
    assert_eq!((&echoed["status"], &echoed["length"]), (&json!(200), &json!(1 << 20)), "{echoed}");
    assert_eq!(backend.last().unwrap().body, octets);
    assert_eq!(echoed["sum"], "equal", "{echoed}");

    // Switched off, the next response names nothing, and HTTP/3 goes on; without `http3` that ends too.
    folder.edit("mesh.yaml", "maxAge: 2h", "advertise: false");
    eventually("it is not named any more", || {
        let answer = curl(&folder, "/", json!({ "version": "2" }));
        answer["headers"]["alt-svc"].is_null().then_some(())
    });
    served(&folder);
    folder.edit("mesh.yaml", "      http3: { advertise: false }\n", "");
    eventually("HTTP/3 is not served any more", || {
        let answer = curl(&folder, "/", json!({ "version": "3only", "seconds": 1 }));
        answer["error"].is_string().then_some(())
    });
    listener(&folder, "http3: {}");
    served(&folder);
}

#[test]
fn many_streams_large_heads_and_calls_of_grpc_are_served() {
    let backend = Backend::start();
    let folder = gateway(&backend, "http3: {}");
    let _gateway = folder.start(&["--max-streams", "20"]);
    served(&folder);
    let many = aioquic(&folder, &["streams", "200", "5"]);
    assert_eq!(many, json!({ "answered": 1000, "failed": 0 }));
    // One connection, whose client had to wait for room for its streams.
    let large = aioquic(&folder, &["head", "70000"]);
    assert_eq!(large["status"], 431, "{large}");

    let server = grpc_web::Server::start(&grpc_web::environment());
    let options = FolderOptions { protocol: "grpc", ..Default::default() };
    let folder = Folder::gateway_with(&[server.address], &options);
    listener(&folder, "http3: {}");
    let _gateway = folder.start(&[]);
    served(&folder);
    let known = aioquic(&folder, &["grpc", "shop"]);
    assert_eq!(known["message"], "0000000002".to_owned() + "0801", "{known}");
    assert_eq!(known["trailers"]["grpc-status"], "0", "{known}");
    let unknown = aioquic(&folder, &["grpc", "nobody"]);
    let status = unknown["trailers"]["grpc-status"].as_str();
    assert_eq!(status.or(unknown["headers"]["grpc-status"].as_str()), Some("5"), "{unknown}");
    let record = folder.record("the refused call", |one| one["grpc_status"] == 5);
    assert_eq!(record["path"], "/grpc.health.v1.Health/Check");
}

#[test]
fn what_floods_is_bounded_and_others_are_served_meanwhile() {
    let backend = Backend::start();
    backend.answers(Answer::Slow(std::time::Duration::from_secs(60)));
    let folder = gateway(&backend, "http3: {}");
    let _gateway = folder.start(&[]);
    eventually("HTTP/3 is served", || {
        let answer = aioquic(&folder, &["cert"]);
        answer["serial"].is_string().then_some(())
    });
    // H3_EXCESSIVE_LOAD, for requests that are given up as soon as they are sent, and for frames that mean nothing.
    for flood in ["resets", "frames"] {
        let flood = aioquic(&folder, &[flood]);
        assert_eq!(flood["closed"], 0x107, "{flood}");
    }
    // H3_FRAME_UNEXPECTED, H3_MESSAGE_ERROR.
    assert_eq!(aioquic(&folder, &["misplaced"])["closed"], 0x105);
    assert_eq!(aioquic(&folder, &["malformed"])["reset"], 0x10e);
    backend.answers(Answer::Status(200));
    assert_eq!(aioquic(&folder, &["streams", "10", "1"]), json!({ "answered": 10, "failed": 0 }));
    eventually("nothing is left of them", || {
        (folder.metric(&["tamis_connections "])? < 5.0).then_some(())
    });
}

/// A client that sends requests on one connection after another until its input ends.
struct Load(Child);

impl Load {
    fn start(folder: &Folder) -> Self {
        let port = folder.https.rsplit(':').next().unwrap();
        let mut load = python(AIOQUIC, &[port, "load"]);
        Self(load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn stop(mut self) -> Value {
        drop(self.0.stdin.take());
        let done = self.0.wait_with_output().unwrap();
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

#[test]
fn a_swap_and_a_renewed_certificate_fail_no_request_and_a_drain_ends_connections() {
    let backend = Backend::start();
    let folder = gateway(&backend, "http3: {}");
    let gateway = folder.start(&["--lame-duck-seconds", "1"]);
    served(&folder);
    let load = Load::start(&folder);
    let before = folder.generation();
    for name in ["b", "c", "d"] {
        let from = backend.count();
        eventually("the load goes on", || (backend.count() > from + 50).then_some(()));
        folder.write("more.yaml", &route(name));
        eventually("the generation is in force", || {
            (folder.read("more.yaml").contains(name) && folder.generation() > before).then_some(())
        });
    }
    let serial = |folder: &Folder| aioquic(folder, &["cert"])["serial"].clone();
    let old = serial(&folder);
    let renewed = tamis(
        folder.path(),
        &[
            "keys",
            "certificate",
            ".tamis/certs/server",
            "--authority",
            ".tamis/certs/ca.crt",
            "--renew",
        ],
    );
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    eventually("the new certificate is shown", || (serial(&folder) != old).then_some(()));
    let load = load.stop();
    assert_eq!(load["failed"], 0, "{load}");
    assert!(load["answered"].as_u64().unwrap() > 100, "{load}");

    // What is in progress when it drains is answered, and its connection ended.
    backend.answers(Answer::Slow(std::time::Duration::from_secs(2)));
    let port = folder.https.rsplit(':').next().unwrap();
    let slow = python(AIOQUIC, &[port, "slow"]).stdout(Stdio::piped()).spawn().unwrap();
    let count = backend.count();
    eventually("it is on its way", || (backend.count() > count).then_some(()));
    folder.drain("0");
    let slow: Value = serde_json::from_slice(&slow.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(slow, json!({ "status": 200, "closed": 0x100 }));
    drop(gateway);
}

/// A route that changes nothing for the others.
fn route(name: &str) -> String {
    format!(
        "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: more, namespace: test }}\n\
         spec:\n  parentRefs: [{{ kind: Gateway, name: edge }}]\n  hostnames: [{name}.example]\n  rules:\n\
         \x20   - backendRefs: [{{ name: app, port: 80 }}]\n"
    )
}

#[test]
fn a_udp_port_in_use_is_a_problem_while_tcp_serves_and_is_taken_once_it_is_free() {
    let backend = Backend::start();
    let folder = gateway(&backend, "http3: {}");
    let held = UdpSocket::bind(&folder.https).unwrap();
    let gateway = folder.start(&["--lame-duck-seconds", "1"]);
    let said = format!("HTTP/3 is not served: UDP {} is already in use", folder.https);
    gateway.event("it is told", |event| event.to_string().contains(&said));
    let answer = curl(&folder, "/", json!({ "version": "2" }));
    assert_eq!((&answer["status"], &answer["headers"]["alt-svc"]), (&json!(200), &Value::Null));
    assert!(folder.metric(&["tamis_problems{"]).unwrap() > 0.0);
    drop(held);
    served(&folder);
    let answer = curl(&folder, "/", json!({ "version": "2" }));
    assert!(answer["headers"]["alt-svc"].is_string(), "{answer}");
    assert_eq!(folder.metric(&["tamis_problems{"]).unwrap_or(0.0), 0.0);

    // A successor takes the TCP sockets at once, and the UDP port once this process has ended.
    let successor = folder.start(&["--take-over"]);
    successor.event("it is told", |event| event.to_string().contains(&said));
    assert!(gateway.wait().0.success());
    served(&folder);
}

#[test]
fn the_page_on_http3_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/http3.md")).unwrap();
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let ports =
        [("8443".to_owned(), port(&folder.https)), ("15090".to_owned(), port(&folder.admin))];
    let page = renumber(&page, &ports);
    // The listener of the page, whole.
    let listener = page.split_once("```yaml\nlisteners:\n").unwrap().1.split_once("```").unwrap().0;
    let mesh = folder.read("mesh.yaml");
    let (before, after) = mesh.split_once("    - name: https\n").unwrap();
    let (_, after) = after.split_once("  admin:").unwrap();
    let lines: String = listener.lines().map(|line| format!("  {line}\n")).collect();
    folder.write("mesh.yaml", &format!("{before}{lines}  admin:{after}"));
    let _gateway = folder.start(&[]);
    served(&folder);
    let (seen, problem) = page.split_once("## When it is not served").unwrap();
    let outputs = follow(folder.path(), seen, |_, said| said.contains("h3="));
    let shown = page.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    assert_eq!(outputs[0].1.replace('\r', ""), shown);
    // The same where the port is taken.
    folder.edit("mesh.yaml", "      http3: { maxAge: 24h }\n", "");
    let held = eventually("the port is free", || UdpSocket::bind(&folder.https).ok());
    folder.edit("mesh.yaml", "protocol: HTTPS\n", "protocol: HTTPS\n      http3: {}\n");
    eventually("the problem is shown", || {
        let shown = get(&folder.admin, "/config").json().to_string();
        shown.contains("HTTP/3 is not served").then_some(())
    });
    let outputs = follow(folder.path(), problem, |_, said| said.contains("UDP"));
    let said = format!("HTTP/3 is not served: UDP {} is already in use: stop", folder.https);
    assert!(outputs[0].1.starts_with(&said), "{outputs:?}");
    drop(held);
    served(&folder);
}
