//! Tables of which requests are answered, and the effects of a drain.

use super::body::UNREAD_MAX_BYTES;
use super::*;
use crate::generation::Generation;
use crate::status::Status;
use crate::{AdminAccess, Proxy, ProxyOptions};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use tamis_resources::plan::TrafficDirection;
use tokio::net::UnixStream;

const TOKEN: &str = "a-token-of-this-test";

fn proxy(access: AdminAccess) -> Proxy {
    let workers = NonZeroUsize::new(1);
    let mut generation = Generation::empty();
    generation.number = 1;
    generation.config = serde_json::json!({ "node": "gateway:test/edge" });
    Proxy::start(ProxyOptions { workers, access, ..ProxyOptions::default() }, generation).unwrap()
}

/// The stage of a listener that serves.
fn serving() -> Shutdown {
    tokio::sync::watch::channel(ListenerStage::Serve).1
}

fn network() -> AdminOrigin {
    AdminOrigin::Network("10.1.2.3".parse().unwrap())
}

fn ask(
    proxy: &Proxy,
    door: &AdminOrigin,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> (u16, String, http::HeaderMap) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _timers = runtime.enter();
    let response =
        answer(&proxy.inner, door, &request.body(()).unwrap(), &serving(), &UnreadPages::default());
    let (head, body) = response.into_parts();
    let body = match body {
        AdminBody::Whole { body, .. } => runtime.block_on(body.collect()).unwrap().to_bytes(),
        // It ends when it is dropped.
        AdminBody::Tap(_) => Bytes::from_static(b"a tap"),
    };
    (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap(), head.headers)
}

#[test]
fn no_request_that_a_proxy_forwarded_is_answered_by_any_door() {
    let proxy = proxy(AdminAccess { hosts: Vec::new(), token: Some(TOKEN.to_owned()) });
    let token = format!("Bearer {TOKEN}");
    for door in [AdminOrigin::Socket, network()] {
        for (name, value) in [
            ("via", "1.1 tamis"),
            ("forwarded", "for=a"),
            ("x-forwarded-for", "10.0.0.1"),
            ("via", ""),
        ] {
            for (method, path) in
                [("GET", "/config"), ("GET", "/metrics"), ("POST", "/drain"), ("GET", "/nothing")]
            {
                let fields =
                    [("host", "localhost"), ("authorization", token.as_str()), (name, value)];
                let (status, body, _) = ask(&proxy, &door, method, path, &fields);
                assert_eq!(status, 403, "{door:?} {method} {path} {name}: {body}");
                assert!(body.contains(name) && !body.contains("gateway:test/edge"), "{body}");
            }
        }
        let (status, ..) = ask(&proxy, &door, "GET", "/config", &[("host", "localhost")]);
        assert_eq!(status, 200, "{door:?}");
    }
}

#[test]
fn no_page_is_shown_under_another_name_or_to_a_web_page_whatever_the_method() {
    let proxy = proxy(AdminAccess {
        hosts: vec!["edge.internal".to_owned()],
        token: Some(TOKEN.to_owned()),
    });
    let own = [
        "localhost",
        "LOCALHOST:15090",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.8.8.8:80",
        "[::1]",
        "[::1]:15090",
        "[::ffff:127.0.0.1]",
        "10.1.2.3",
        "10.1.2.3:15090",
        "edge.internal",
        "Edge.Internal:80",
    ];
    let others = [
        "evil.example",
        "evil.example:15090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.1.2.4",
        "6.6.6.6:15090",
        "0.0.0.0",
        "[::]",
        "[fe80::1]",
        "127.1",
        "0x7f000001",
        "2130706433",
        "user@localhost",
        "localhost@evil.example",
        "localhost:80:80",
        "",
        " ",
        "localhost/",
        "edge.internal.",
        "xedge.internal",
    ];
    let origins: [&[&str]; 5] =
        [&[], &["http://evil.example"], &["null"], &["http://127.0.0.1:15090"], &[""]];
    let token = format!("Bearer {TOKEN}");
    for path in PAGES.iter().map(|(path, ..)| *path).chain(["/nothing", "/config/", "//config"]) {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
            for origin in origins {
                for (host, known) in
                    own.map(|host| (host, true)).into_iter().chain(others.map(|host| (host, false)))
                {
                    let mut fields = vec![("host", host), ("authorization", token.as_str())];
                    fields.extend(origin.iter().map(|origin| ("origin", *origin)));
                    let admitted = known && origin.is_empty();
                    let drains = path == "/drain" && method == "POST";
                    // What is admitted drains, which another test shows.
                    if drains && admitted {
                        continue;
                    }
                    let (status, body, _) = ask(&proxy, &network(), method, path, &fields);
                    assert!(!drains || !proxy.is_draining(), "{host:?} {origin:?} drains");
                    let row =
                        format!("{method} {path} at {host:?} from {origin:?}: {status} {body}");
                    assert_eq!(status != 403, admitted, "{row}");
                    assert!(admitted || !body.contains("gateway:test/edge"), "{row}");
                }
            }
        }
    }
}

#[test]
fn a_host_is_named_wherever_a_request_names_one() {
    let proxy = proxy(AdminAccess::default());
    let status = |version, uri: &str, hosts: &[&str]| {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let request = request.body(()).unwrap();
        answer(&proxy.inner, &network(), &request, &serving(), &UnreadPages::default())
            .status()
            .as_u16()
    };
    let (old, h1, h2) = (http::Version::HTTP_10, http::Version::HTTP_11, http::Version::HTTP_2);
    for (version, uri, hosts, wanted) in [
        (h1, "/config", &["localhost"][..], 200),
        (h1, "/config", &[], 403),
        (old, "/healthz", &[], 200),
        (old, "/healthz", &["evil.example"], 403),
        (h1, "http://localhost/config", &["localhost"], 200),
        (h1, "http://evil.example/config", &["localhost"], 403),
        (h1, "http://localhost/config", &["evil.example"], 403),
        (h1, "/config", &["localhost", "evil.example"], 403),
        (h1, "/config", &["evil.example", "localhost"], 403),
        (h2, "http://localhost/config", &[], 200),
        (h2, "http://evil.example/config", &[], 403),
        (h2, "http://localhost/config", &["evil.example"], 403),
    ] {
        assert_eq!(status(version, uri, hosts), wanted, "{uri} {hosts:?}");
    }
}

#[test]
fn what_changes_the_proxy_takes_the_token_or_the_sockets_owner() {
    let good = format!("Bearer {TOKEN}");
    let good = good.as_str();
    let rows: [(Option<&str>, &[&str], u16); 10] = [
        (None, &[], 403),
        (None, &["Bearer "], 403),
        (None, &[good], 403),
        (Some(TOKEN), &[], 401),
        (Some(TOKEN), &["Bearer "], 401),
        (Some(TOKEN), &["Bearer a-token-of-this-tesT"], 401),
        (Some(TOKEN), &["Bearer a-token-of-this-test-"], 401),
        (Some(TOKEN), &["Basic YTph"], 401),
        (Some(TOKEN), &[good, good], 401),
        (Some(TOKEN), &[good], 202),
    ];
    for (token, shown, wanted) in rows {
        for path in ["/drain?seconds=60", "/undrain"] {
            let proxy = proxy(AdminAccess { token: token.map(str::to_owned), hosts: Vec::new() });
            let mut fields = vec![("host", "localhost")];
            fields.extend(shown.iter().map(|value| ("authorization", *value)));
            let (status, body, _) = ask(&proxy, &network(), "POST", path, &fields);
            let wanted = if path == "/undrain" && wanted == 202 { 200 } else { wanted };
            assert_eq!(status, wanted, "{token:?} {shown:?} {path}: {body}");
            assert_eq!(proxy.is_draining(), wanted == 202);
        }
    }
    // An empty token is never valid.
    let proxy = proxy(AdminAccess { token: Some(String::new()), hosts: Vec::new() });
    let fields = [("host", "localhost"), ("authorization", "Bearer ")];
    assert_eq!(ask(&proxy, &network(), "POST", "/drain", &fields).0, 401);
    assert_eq!(ask(&proxy, &AdminOrigin::Socket, "POST", "/drain?seconds=60", &[]).0, 202);
    assert!(proxy.is_draining());
}

#[test]
fn who_may_not_change_the_proxy_sees_no_traffic_of_others() {
    let good = format!("Bearer {TOKEN}");
    let (local, good) = ([("host", "localhost")], ("authorization", good.as_str()));
    let (socket, network) = (AdminOrigin::Socket, network());
    let wrong = ("authorization", "Bearer another");
    for (token, door, shown, wanted) in [
        (None, &network, None, 403),
        (None, &network, Some(good), 403),
        (Some(TOKEN), &network, None, 401),
        (Some(TOKEN), &network, Some(wrong), 401),
        (Some(TOKEN), &network, Some(good), 200),
        (Some(TOKEN), &socket, None, 200),
        (None, &socket, None, 200),
    ] {
        let proxy = proxy(AdminAccess { token: token.map(str::to_owned), hosts: Vec::new() });
        let fields: Vec<_> = local.into_iter().chain(shown).collect();
        let (status, body, headers) = ask(&proxy, door, "GET", "/tap", &fields);
        assert_eq!(status, wanted, "{token:?} {door:?} {shown:?}: {body}");
        assert_eq!(body == "a tap", wanted == 200, "{body}");
        assert_eq!(headers.contains_key("www-authenticate"), wanted == 401);
        assert!(!proxy.inner.shared.taps.is_open(), "a tap that is dropped is closed");
    }
}

#[test]
fn a_wrong_way_names_the_right_one() {
    let proxy = proxy(AdminAccess::default());
    for (method, path, status, allow, said) in [
        ("GET", "/nothing", 404, None, "GET  /config"),
        ("POST", "/nothing", 404, None, "POST /drain"),
        ("POST", "/config", 405, Some("GET, HEAD"), "/config takes GET, HEAD"),
        ("GET", "/drain", 405, Some("POST"), "/drain takes POST"),
        ("HEAD", "/undrain", 405, Some("POST"), "/undrain takes POST"),
        ("HEAD", "/tap", 405, Some("GET"), "/tap takes GET"),
        ("POST", "/tap", 405, Some("GET"), "/tap takes GET"),
        ("GET", "/tap?per-second=0", 400, None, "from 1 to 1000"),
        ("GET", "/tap?per-second=1001", 400, None, "?per-second=N"),
        ("GET", "/tap?seconds=1", 400, None, "?per-second=N"),
        ("POST", "/drain?seconds=x", 400, None, "?seconds=N"),
        ("POST", "/drain?seconds=99999", 400, None, "3600"),
        ("POST", "/drain?minutes=1", 400, None, "?seconds=N"),
    ] {
        let (got, body, headers) = ask(&proxy, &AdminOrigin::Socket, method, path, &[]);
        assert_eq!(got, status, "{method} {path}");
        assert!(body.contains(said), "{method} {path}: {body}");
        assert_eq!(headers.get("allow").and_then(|allow| allow.to_str().ok()), allow);
        assert_eq!(headers["cache-control"], "no-store");
    }
    assert!(!proxy.is_draining());
}

#[test]
fn a_drain_can_be_called_off_while_listeners_are_open_and_not_later() {
    let proxy = proxy(AdminAccess::default());
    let ready = || ask(&proxy, &AdminOrigin::Socket, "GET", "/readyz", &[]).0;
    let post = |path| ask(&proxy, &AdminOrigin::Socket, "POST", path, &[]).0;
    assert_eq!((ready(), post("/drain?seconds=3600"), ready()), (200, 202, 503));
    assert!(!proxy.has_closed());
    assert_eq!((post("/undrain"), ready()), (200, 200));
    assert_eq!((post("/drain?seconds=0"), ready(), proxy.has_closed()), (202, 503, true));
    assert_eq!((post("/undrain"), ready()), (409, 503));
    // A drain that the process itself began ends it.
    let proxy = self::proxy(AdminAccess::default());
    proxy.leave(Duration::from_secs(3_600));
    assert_eq!(ask(&proxy, &AdminOrigin::Socket, "POST", "/undrain", &[]).0, 409);
}

#[test]
fn every_metric_is_told_once_and_with_what_it_means() {
    let proxy = proxy(AdminAccess::default());
    proxy.director(true, 1_700_000_000);
    let problem = |code: &str| serde_json::json!({ "code": code, "message": "x" });
    let problems = ["route.parent", "pin.missing", "route.parent"].map(problem).to_vec();
    proxy.report(Status { problems, ..Status::default() });
    let traffic = &proxy.inner.shared.traffic;
    for (direction, status, times) in [
        (TrafficDirection::Gateway, 200, 3),
        (TrafficDirection::Gateway, 503, 1),
        (TrafficDirection::Inbound, 404, 2),
        (TrafficDirection::Outbound, 0, 1),
    ] {
        (0..times).for_each(|_| traffic.ended(0, direction, status, Duration::from_millis(1)));
    }
    traffic.refused(TrafficDirection::Gateway, "upstream.connect");
    traffic.refused(TrafficDirection::Gateway, "upstream.connect");
    traffic.refused(TrafficDirection::Inbound, "jwt.missing");
    // Filters choose reasons: no text of theirs ends a line or a label.
    traffic.refused(TrafficDirection::Outbound, "a\"} 1\nforged 1\\");
    let (_, text, _) = ask(&proxy, &AdminOrigin::Socket, "GET", "/metrics", &[]);
    for (name, kind, _) in METRICS {
        let line = format!("# TYPE {name} {kind}\n");
        // A proxy that has not joined the mesh has no SVID.
        let expected = usize::from(!name.starts_with("tamis_svid_"));
        assert_eq!(text.matches(&line).count(), expected, "{name}");
    }
    for line in [
        "tamis_ready 1\n",
        "tamis_responses_total{direction=\"gateway\",status_class=\"2xx\"} 3\n",
        "tamis_responses_total{direction=\"gateway\",status_class=\"5xx\"} 1\n",
        "tamis_responses_total{direction=\"inbound\",status_class=\"4xx\"} 2\n",
        "tamis_responses_total{direction=\"outbound\",status_class=\"none\"} 1\n",
        "tamis_refusals_total{direction=\"gateway\",reason=\"upstream.connect\"} 2\n",
        "tamis_refusals_total{direction=\"inbound\",reason=\"jwt.missing\"} 1\n",
        "tamis_refusals_total{direction=\"outbound\",reason=\"a\\\"} 1\\nforged 1\\\\\"} 1\n",
        "tamis_draining 0\n",
        "tamis_problems{code=\"pin.missing\"} 1\n",
        "tamis_problems{code=\"route.parent\"} 2\n",
        "tamis_director_connected 1\n",
        "tamis_director_heard_seconds 1700000000\n",
        "tamis_slots{state=\"refused\"} 0\n",
        concat!("tamis_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn names_of_the_listener_are_host_names() {
    for (host, good) in [
        ("edge.internal", true),
        ("10.0.0.1", true),
        ("[::2]", true),
        ("edge:80", false),
        ("http://edge", false),
        ("a@b", false),
        ("", false),
    ] {
        assert_eq!(check_hosts(&[host.to_owned()]).is_ok(), good, "{host}");
    }
}

#[test]
fn nobody_keeps_others_from_the_admin_listener() {
    let open = Rc::new(OpenConnections::default());
    let of = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
    let greedy: Vec<_> =
        (0..CONNECTIONS_MAX).map_while(|_| CountedConnection::new(&open, of(1))).collect();
    assert_eq!(greedy.len(), CONNECTIONS_OF_ONE_MAX);
    assert!(
        CountedConnection::new(&open, of(2)).is_some()
            && CountedConnection::new(&open, None).is_some()
    );
    // Many together still have an end.
    let all: Vec<_> = (2..=255).flat_map(|n| CountedConnection::new(&open, of(n))).collect();
    assert_eq!(greedy.len() + all.len(), CONNECTIONS_MAX);
    assert!(CountedConnection::new(&open, of(2)).is_none());
    drop(greedy);
    assert!(CountedConnection::new(&open, of(1)).is_some());
    drop(all);
    assert!(open.0.borrow().is_empty(), "whoever is gone is forgotten");
}

#[test]
fn pages_that_nobody_reads_keep_further_ones_from_being_made_and_health_is_answered() {
    let proxy = proxy(AdminAccess { hosts: Vec::new(), token: None });
    let unread = UnreadPages::default();
    let status = |path: &str| {
        let request = Request::builder().uri(path).body(()).unwrap();
        answer(&proxy.inner, &AdminOrigin::Socket, &request, &serving(), &unread)
    };
    let mut held = Vec::new();
    let mut octets = 0;
    loop {
        let page = status("/config");
        if page.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        let length = http_body::Body::size_hint(page.body()).lower();
        assert!(length > 0 && octets < UNREAD_MAX_BYTES);
        octets += usize::try_from(length).unwrap();
        held.push(page);
    }
    assert!(octets >= UNREAD_MAX_BYTES);
    for (path, expected) in
        [("/healthz", 200), ("/readyz", 200), ("/metrics", 503), ("/filters", 503), ("/", 503)]
    {
        assert_eq!(status(path).status().as_u16(), expected, "{path}");
    }
    // Once they are read or given up there is room again.
    drop(held);
    assert_eq!(status("/config").status(), StatusCode::OK);
}

#[test]
fn a_unix_socket_is_for_the_user_of_the_proxy_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _context = runtime.enter();
    let _socket = bound(&Address::Unix(path.clone()), None).unwrap().unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (ours, _other) = UnixStream::pair().unwrap();
    assert!(is_own_user(&ours));
}
