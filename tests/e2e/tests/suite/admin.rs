//! The listeners of operators, a proxy's admin listener and a registry's, over every protocol and with every
//! form of target: whatever a web page can make a browser send is refused, and changes nothing.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use serde_json::Value;
use tamis_e2e::{Backend, Folder, RunningProcess, eventually, exchange, get, request, tamis};

use crate::connections::over_http2;

/// A request in its own words, with `@` for the listener's address, and the status of the answer.
const REQUESTS: [(&str, u16); 18] = [
    ("GET /readyz HTTP/1.1\r\nhost: @", 200),
    ("GET /readyz HTTP/1.1\r\nhost: localhost", 200),
    ("GET http://@/readyz HTTP/1.1\r\nhost: @", 200),
    // Browsers write a host; who writes none is none.
    ("GET /readyz HTTP/1.0", 200),
    ("GET /readyz HTTP/1.0\r\nhost: evil.example", 403),
    ("GET /readyz HTTP/1.1\r\nhost: evil.example", 403),
    ("GET http://evil.example/readyz HTTP/1.1\r\nhost: evil.example", 403),
    ("GET http://evil.example/readyz HTTP/1.1\r\nhost: @", 400),
    ("GET http://@/readyz HTTP/1.1\r\nhost: evil.example", 400),
    ("GET http://user@localhost/readyz HTTP/1.1\r\nhost: user@localhost", 400),
    ("GET /readyz HTTP/1.1\r\nhost: @\r\nhost: @", 400),
    ("GET /readyz HTTP/1.1", 400),
    ("GET /readyz HTTP/1.1\r\nhost: @\r\norigin: http://@", 403),
    ("GET /readyz HTTP/1.1\r\nhost: @\r\norigin: null", 403),
    ("CONNECT @ HTTP/1.1\r\nhost: @", 501),
    ("CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443", 501),
    // An upgrade that is not taken is a request like any other.
    (
        "GET /readyz HTTP/1.1\r\nhost: evil.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        403,
    ),
    (
        "GET /readyz HTTP/1.1\r\nhost: @\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAARAAAAAAAIAAAAA",
        200,
    ),
];

fn status(reply: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(reply);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Tries the table and its siblings over HTTP/2; `change` is a request that changes something.
fn try_all(address: &str, change: &str) {
    for (request, expected) in REQUESTS {
        let request = request.replace('@', address).replace(&format!("user{address}"), "user@");
        // What follows a request that asked for another protocol is a request of its own.
        let more =
            format!("POST {change} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        let reply = exchange(address, format!("{request}\r\n\r\n{more}").as_bytes());
        let text = String::from_utf8_lossy(&reply);
        assert_eq!(status(&reply), expected, "{request}: {text}");
        assert!(!text.contains("101 Switching") && !text.contains(" 202 "), "{request}: {text}");
    }
    let (own, evil) = (format!("http://{address}"), "http://evil.example");
    over_http2(address, async |mut sender| {
        let origin = Some(own.as_str());
        for (method, site, path, host, origin, expected) in [
            (Method::GET, own.as_str(), "/readyz", None, None, 200),
            (Method::GET, evil, "/readyz", None, None, 403),
            (Method::GET, own.as_str(), "/readyz", Some("evil.example"), None, 403),
            (Method::GET, evil, "/readyz", Some("localhost"), None, 403),
            (Method::GET, own.as_str(), "/readyz", None, origin, 403),
            (Method::POST, evil, change, None, None, 403),
            (Method::OPTIONS, evil, change, None, None, 403),
        ] {
            let row = format!("{method} {site}{path} {host:?} {origin:?}");
            let mut request = Request::builder().method(method).uri(format!("{site}{path}"));
            for (name, value) in [("host", host), ("origin", origin)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            sender.ready().await.unwrap();
            let response = sender.send_request(request).await.unwrap();
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body);
            // Two names that differ may be refused as such, before anybody looks at them.
            let refused = host.is_some() && head.status == StatusCode::BAD_REQUEST;
            assert!(refused || head.status.as_u16() == expected, "{row}: {} {text}", head.status);
        }
        let connect = Request::builder().method(Method::CONNECT).uri("evil.example:443");
        sender.ready().await.unwrap();
        let response = sender.send_request(connect.body(Empty::new()).unwrap()).await.unwrap();
        assert!(!response.status().is_success(), "{}", response.status());
    });
}

#[test]
fn no_protocol_and_no_form_of_target_leads_a_web_page_past_the_check_of_names() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    try_all(&folder.admin, "/drain");
    assert_eq!(get(&folder.admin, "/readyz").status, 200, "nobody drained it");

    let arguments = ["registry", "--data", "data", "--listen", "127.0.0.1:0"];
    let registry = RunningProcess::start(folder.path(), &arguments);
    let ready = registry.event("it serves", |event| event["event"] == "ready");
    let address = ready["address"].as_str().unwrap();
    try_all(address, "/v1/apply");
    assert_eq!(get(address, "/readyz").status, 200);
    registry.end("-INT");
}

/// What a proxy's operator runs to watch it.
const TAP: [&str; 5] = ["proxy", "tap", "gateway:test/edge", "--run-folder", "run"];

/// Whether a line of a tap shows a request of that path.
fn shown(path: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["path"] == path
}

#[test]
fn an_operator_watches_requests_as_they_end_and_nobody_waits_for_who_watches() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    let tap = RunningProcess::start(folder.path(), &TAP);
    // The tap is open once it shows a request.
    eventually("a request is shown", || {
        assert_eq!(get(&folder.http, "/first").status, 200);
        tap.events().iter().any(shown("/first")).then_some(())
    });
    let secret = request(&folder.http, "GET", "/pay?token=secret", &[("host", "a.example")], b"");
    assert_eq!(secret.status, 200);
    let seen = tap.event("the request is shown", shown("/pay"));
    for (field, value) in
        [("status", Value::from(200)), ("authority", "a.example".into()), ("attempts", 1.into())]
    {
        assert_eq!(seen[field], value, "{seen}");
    }
    assert!(!seen.to_string().contains("secret"), "{seen}");
    let record = folder.record("the same in the log", |one| one["exchange"] == seen["exchange"]);
    assert_eq!(
        (&record["request_id"], &record["path"]),
        (&seen["request_id"], &"/pay?token=secret".into())
    );
    // A tap that ends leaves its place, and one that ends by itself shows as many as were asked for.
    drop(tap);
    let asking = std::thread::scope(|scope| {
        let few = scope.spawn(|| tamis(folder.path(), &[&TAP[..], &["--count", "2"]].concat()));
        while !few.is_finished() {
            assert_eq!(get(&folder.http, "/more").status, 200);
        }
        few.join().unwrap()
    });
    let said = String::from_utf8_lossy(&asking.stdout).into_owned();
    assert!(asking.status.success(), "{said}{}", String::from_utf8_lossy(&asking.stderr));
    assert_eq!(said.lines().filter(|line| line.contains(" 200 GET ")).count(), 2, "{said}");

    // Nothing of it is shown over the network without the token, and the end of the proxy waits for nobody.
    let reply = get(&folder.admin, "/tap");
    assert_eq!(reply.status, 403, "{}", reply.body);
    let tap = RunningProcess::start(folder.path(), &TAP);
    eventually("it shows", || {
        assert_eq!(get(&folder.http, "/last").status, 200);
        tap.events().iter().any(shown("/last")).then_some(())
    });
    assert!(gateway.end("-INT").success());
    eventually("it is told that the proxy ended", || {
        tap.errors().contains("closed the tap").then_some(())
    });
}
