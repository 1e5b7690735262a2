//! Six built-in policies in one chain, attached with the Grants that their pages show.

use aws_lc_rs::digest;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use tamis_e2e::{
    Answer, Backend, Folder, eventually, free_port, get, python_environment, request, root,
};

/// Name, phase, order, configuration.
const CHAIN: [(&str, &str, u32, &str); 6] = [
    (
        "cors",
        "authn",
        1,
        "{ allowOrigins: [https://shop.example], allowMethods: [PUT], exposeHeaders: [ratelimit], allowCredentials: true }",
    ),
    ("ip-access", "authn", 2, "{ deny: [127.0.0.9], otherwise: allow }"),
    ("csrf", "authn", 3, "{ trustedOrigins: [https://shop.example] }"),
    ("api-key", "authn", 4, "{ secretName: api-keys, query: key, consumerHeader: x-consumer }"),
    (
        "rate-limit",
        "authz",
        10,
        "{ limits: [{ class: consumer, key: [\"@api-key.consumer\"], quota: 3, window: 1h }] }",
    ),
    (
        "headers",
        "transform",
        10,
        "{ request: { set: [{ name: x-client, value: \"{source.address}\" }], remove: [x-debug] },
                   response: { set: [{ name: strict-transport-security, value: max-age=60 }] } }",
    ),
];

/// The Grant of a page, with time for a loaded machine and what this chain needs beyond the example.
fn grant(name: &str) -> String {
    let text = std::fs::read_to_string(root().join(format!("filters/{name}/grant.yaml"))).unwrap();
    let text = text.replace("time: 2ms", "time: 1s");
    match name {
        "rate-limit" => text.replace("{ rate: 100/m, burst: 20 }", "{ rate: 1/h, burst: 3 }"),
        "api-key" => text.replace("[x-api-key, x-consumer]", "[x-api-key, x-consumer, \":path\"]"),
        _ => text,
    }
}

fn documents() -> String {
    let attached = CHAIN
        .map(|(name, phase, order, config)| attachment(name, phase, order, config, &grant(name)));
    attached.concat()
}

fn attachment(name: &str, phase: &str, order: u32, config: &str, grant: &str) -> String {
    let description = root().join(format!("filters/{name}/filter.yaml"));
    let description = std::fs::read_to_string(description).unwrap();
    let world = description.lines().find(|line| line.starts_with("world: ")).unwrap();
    format!(
        "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: tamis }}\n\
         spec: {{ {world} }}\n---\n\
         kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\n\
         spec:\n  targetRefs: [{{ kind: Gateway, name: edge }}]\n  filter: tamis/{name}\n  phase: {phase}\n  order: {order}\n  config: {config}\n---\n{grant}\n---\n",
    )
}

/// The documents of a built-in policy at the gateway, with the Grant of its page.
pub(crate) fn attachment_of(name: &str, phase: &str, order: u32, config: &str) -> String {
    attachment(name, phase, order, config, &grant(name))
}

/// A line of the list of keys.
fn key(consumer: &str, key: &str) -> String {
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    let hash = hash.as_ref().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    });
    format!("{consumer} {hash}\n")
}

struct Case {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    reason: Option<&'static str>,
    /// Headers of the response; `None`: absent.
    response: &'static [(&'static str, Option<&'static str>)],
}

const SHOP: (&str, &str) = ("x-api-key", "key-of-shop-for-tests");
const TILL: (&str, &str) = ("x-api-key", "key-of-till-for-tests");
const PAGE: (&str, &str) = ("origin", "https://shop.example");
const EVIL: (&str, &str) = ("origin", "https://evil.example");

/// In order: the bucket of a consumer has three tokens.
const CASES: &[Case] = &[
    Case {
        what: "a preflight needs no key",
        method: "OPTIONS",
        path: "/a",
        headers: &[PAGE, ("access-control-request-method", "PUT")],
        status: 204,
        reason: None,
        response: &[
            ("access-control-allow-origin", Some("https://shop.example")),
            ("access-control-allow-methods", Some("PUT")),
            ("access-control-allow-credentials", Some("true")),
            ("strict-transport-security", Some("max-age=60")),
        ],
    },
    Case {
        what: "a preflight of another origin is refused",
        method: "OPTIONS",
        path: "/a",
        headers: &[EVIL, ("access-control-request-method", "PUT")],
        status: 403,
        reason: Some("cors.origin-not-allowed"),
        response: &[("access-control-allow-origin", None)],
    },
    Case {
        what: "a page of another site changes nothing",
        method: "POST",
        path: "/a",
        headers: &[SHOP, EVIL, ("sec-fetch-site", "cross-site")],
        status: 403,
        reason: Some("csrf.cross-site"),
        response: &[
            ("access-control-allow-origin", None),
            ("vary", Some("origin")),
            ("strict-transport-security", Some("max-age=60")),
        ],
    },
    Case {
        what: "a trusted page learns that it needs a key",
        method: "POST",
        path: "/a",
        headers: &[PAGE, ("sec-fetch-site", "cross-site")],
        status: 401,
        reason: Some("api-key.missing"),
        response: &[
            ("www-authenticate", Some("ApiKey")),
            ("access-control-allow-origin", Some("https://shop.example")),
            ("ratelimit", None),
        ],
    },
    Case {
        what: "a key of nobody is refused",
        method: "GET",
        path: "/a?key=key-of-shop-for-test",
        headers: &[],
        status: 401,
        reason: Some("api-key.unknown"),
        response: &[("strict-transport-security", Some("max-age=60"))],
    },
    Case {
        what: "two keys are refused",
        method: "GET",
        path: "/a?key=key-of-shop-for-tests",
        headers: &[TILL],
        status: 401,
        reason: Some("api-key.ambiguous"),
        response: &[],
    },
    Case {
        what: "a key passes",
        method: "GET",
        path: "/a",
        headers: &[SHOP, PAGE, ("x-consumer", "admin"), ("x-client", "6.6.6.6"), ("x-debug", "1")],
        status: 200,
        reason: None,
        response: &[
            ("ratelimit", Some("\"consumer\";r=2")),
            ("ratelimit-policy", Some("\"consumer\";q=3;w=3600")),
            ("access-control-allow-origin", Some("https://shop.example")),
            ("access-control-expose-headers", Some("ratelimit")),
            ("strict-transport-security", Some("max-age=60")),
        ],
    },
    Case {
        what: "a key in the query passes",
        method: "GET",
        path: "/a?x=1&key=key-of-shop-for-tests",
        headers: &[],
        status: 200,
        reason: None,
        response: &[("ratelimit", Some("\"consumer\";r=1"))],
    },
    Case {
        what: "the last token",
        method: "GET",
        path: "/a",
        headers: &[SHOP],
        status: 200,
        reason: None,
        response: &[("ratelimit", Some("\"consumer\";r=0"))],
    },
    Case {
        what: "an empty bucket refuses",
        method: "GET",
        path: "/a",
        headers: &[SHOP, PAGE],
        status: 429,
        reason: Some("rate-limit.exceeded"),
        response: &[
            ("ratelimit-policy", Some("\"consumer\";q=3;w=3600")),
            ("access-control-allow-origin", Some("https://shop.example")),
            ("strict-transport-security", Some("max-age=60")),
        ],
    },
    Case {
        what: "another consumer has a bucket of its own",
        method: "GET",
        path: "/b",
        headers: &[TILL],
        status: 200,
        reason: None,
        response: &[("ratelimit", Some("\"consumer\";r=2"))],
    },
];

fn check(folder: &Folder, case: &Case) {
    let what = case.what;
    let reply = request(&folder.http, case.method, case.path, case.headers, b"");
    assert_eq!(reply.status, case.status, "{what}: {reply:?}");
    if case.reason.is_some() {
        assert_eq!(reply.header("x-tamis-reason"), case.reason, "{what}: {reply:?}");
    }
    for (name, value) in case.response {
        assert_eq!(reply.header(name), *value, "{what}: {name} of {reply:?}");
    }
}

/// The status and the reason of a request from another address of this machine.
fn from(source: &str, address: &str) -> String {
    let octets =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
            async {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
                socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
            },
        );
    let mut stream = octets;
    stream.set_nonblocking(false).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The files of signed filters in a store.
fn signed(store: &Path) -> Vec<String> {
    let files = std::fs::read_dir(store).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("tamis")).collect()
}

#[test]
fn six_policies_in_one_chain_decide_in_their_order() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    folder.write("policies.yaml", &documents());
    folder.write("keys.txt", &(key("shop", SHOP.1) + &key("till", TILL.1)));
    folder.prepare();
    let files = signed(&folder.file(".tamis/store"));
    assert!(files.iter().any(|name| name.contains("csrf")), "{files:?}");
    assert!(!files.iter().any(|name| name.contains("jwt")), "nobody attaches it: {files:?}");

    let _gateway = folder.start(&["--secret", "api-keys=file:keys.txt"]);
    for case in CASES {
        check(&folder, case);
        if case.what == "a key passes" {
            let seen = backend.last().unwrap();
            let value = |name: &str| {
                seen.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
            };
            assert_eq!(value("x-consumer"), Some("shop"), "{seen:?}");
            assert_eq!(value("x-client"), Some("127.0.0.1"), "{seen:?}");
            assert_eq!((value("x-api-key"), value("x-debug")), (None, None), "{seen:?}");
        }
        if case.what == "a key in the query passes" {
            assert!(backend.last().unwrap().line.contains("/a?x=1"), "{:?}", backend.last());
            assert!(!backend.last().unwrap().line.contains("key"), "{:?}", backend.last());
        }
    }
    let refused = from("127.0.0.9", &folder.http);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("x-tamis-reason: ip-access.denied"), "{refused}");
    assert_eq!(get(&folder.http, "/").header("x-tamis-reason"), Some("api-key.missing"));
    assert_eq!(backend.count(), 4, "refused requests reach no service");
}

#[test]
fn a_service_is_asked_and_its_silence_refuses() {
    let (backend, authority) = (Backend::start(), Backend::start());
    let folder = Folder::documents(&[backend.address]);
    let address = authority.address;
    let grant = grant("ext-authz")
        .replace("authz.internal:8443", &address.to_string())
        .replace("duringRequests: true", "duringRequests: true, clearText: true");
    let config =
        format!("{{ url: \"http://{address}/check\", upstreamHeaders: [x-user], timeout: 10s }}");
    // The Grant's shorter time counts; a loaded machine needs more than it shows.
    let grant = grant.replace("timeout: 500ms", "timeout: 10s");
    folder.write("policies.yaml", &attachment("ext-authz", "authz", 10, &config, &grant));
    folder.prepare();
    let _gateway = folder.start(&[]);
    let ask = || {
        request(
            &folder.http,
            "GET",
            "/pay?a=1",
            &[("authorization", "Bearer a"), ("x-user", "admin")],
            b"",
        )
    };

    assert_eq!(ask().status, 200);
    let (asked, seen) = (authority.last().unwrap(), backend.last().unwrap());
    assert!(asked.line.contains("GET /check/pay?a=1"), "{asked:?}");
    assert!(
        asked.headers.contains(&("authorization".to_owned(), "Bearer a".to_owned())),
        "{asked:?}"
    );
    assert!(
        asked.headers.contains(&("x-forwarded-for".to_owned(), "127.0.0.1".to_owned())),
        "{asked:?}"
    );
    assert!(!seen.headers.iter().any(|(name, _)| name == "x-user"), "{seen:?}");

    for (status, expected, reason) in [
        (401, 401, "ext-authz.denied"),
        (403, 403, "ext-authz.denied"),
        (500, 503, "ext-authz.unavailable"),
    ] {
        authority.answers(Answer::Status(status));
        let reply = ask();
        assert_eq!(
            (reply.status, reply.header("x-tamis-reason")),
            (expected, Some(reason)),
            "{status}"
        );
    }
    drop(authority);
    let reply = ask();
    assert_eq!(
        (reply.status, reply.header("x-tamis-reason")),
        (503, Some("ext-authz.unavailable"))
    );
    assert_eq!(backend.count(), 1, "refused requests reach no service");
}

/// A service of Envoy's check over gRPC, with Envoy's own messages.
const CHECK_SERVICE: &str = include_str!("policies/check_service.py");

#[test]
fn a_service_of_grpc_is_asked_as_envoy_asks_it_and_its_silence_refuses() {
    let python = python_environment("ext-authz", &["envoy-data-plane==2.2.0", "grpcio==1.85.3"]);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut service = Command::new(python.join("bin/python"));
    let mut service = service.args(["-c", CHECK_SERVICE, &address.to_string()]).spawn().unwrap();
    eventually("the service accepts", || TcpStream::connect(address).ok());
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let grant = grant("ext-authz")
        .replace("hosts: [\"authz.internal:8443\"]", "services: [test/checks]")
        .replace("timeout: 500ms", "timeout: 10s")
        .replace("[source.address]", "[source.address, peer.spiffe-id, tls.sni]")
        .replace("[x-user]", "[x-user, authorization]");
    let config = "{ grpc: \"http://checks.test.mesh\", requestHeaders: [authorization, cookie], upstreamHeaders: [x-user], \
                  removeHeaders: [authorization], timeout: 2s }";
    let checks = format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: checks, namespace: test }}\n\
         spec: {{ ports: [{{ port: 80, protocol: grpc }}], endpoints: [{{ address: \"{address}\" }}] }}\n---\n"
    );
    let attached = attachment("ext-authz", "authz", 10, config, &grant);
    folder.write("policies.yaml", &format!("{checks}{attached}"));
    folder.prepare();
    let _gateway = folder.start(&[]);
    let ask = |path: &str| {
        let headers = [("authorization", "Bearer a"), ("cookie", "a=1"), ("x-user", "admin")];
        request(&folder.http, "GET", path, &headers, b"")
    };
    let value = |name: &str| {
        let seen = backend.last().unwrap();
        seen.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };

    assert_eq!(ask("/pass?a=1").status, 200);
    let host = &folder.http;
    let told = format!("GET|/pass?a=1|{host}|http|-1|127.0.0.1||Bearer a|a=1");
    assert_eq!(value("x-user").as_deref(), Some(&*told));
    assert_eq!((value("authorization"), value("cookie")), (None, Some("a=1".to_owned())));
    assert_eq!((ask("/bare").status, value("x-user")), (200, None));
    let passed = backend.count();

    let denied = ask("/deny");
    assert_eq!((denied.status, denied.body.as_str()), (401, "who are you\n"));
    assert_eq!(
        (denied.header("www-authenticate"), denied.header("x-inner")),
        (Some("Bearer"), None)
    );
    assert_eq!(denied.header("x-tamis-reason"), Some("ext-authz.denied"));
    assert_eq!(ask("/plain-deny").status, 403);
    for path in ["/other-header", "/other-removal", "/both", "/nothing", "/slow", "/broken"] {
        let reply = ask(path);
        let reason = reply.header("x-tamis-reason");
        assert_eq!((reply.status, reason), (503, Some("ext-authz.unavailable")), "{path}");
    }
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!(ask("/pass").status, 503);
    assert_eq!(backend.count(), passed, "refused requests reach no service");
}
