//! A message behind the gateway: one host, one path, fields with one owner.

use crate::connections::{over_http2, over_http2_on, raw};
use crate::guests;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use tamis_e2e::{Answer, Backend, Folder, FolderOptions, exchange, get, request};

#[test]
fn routes_records_and_the_upstream_read_one_host_and_one_path() {
    let backend = Backend::start();
    let folder = Folder::gateway_with(
        &[backend.address],
        &FolderOptions { route: "  hostnames: [a.example]\n", ..FolderOptions::default() },
    );
    let _gateway = folder.start(&[]);
    for host in
        ["a.example", "A.Example", "a.example.", "a.example.:80", "a.example:", "a.example:0080"]
    {
        let reply = request(&folder.http, "GET", "/", &[("host", host)], b"");
        assert_eq!(reply.status, 200, "{host}");
        let seen = backend.last().unwrap();
        let sent = seen.headers.iter().find(|(name, _)| name == "host").unwrap();
        assert_eq!(sent.1, "a.example", "{host}");
    }
    for (path, sent) in [
        ("/%61dmin", "/admin"),
        ("//admin", "/admin"),
        ("/x/..//%2e/admin?a=//b%2f;c", "/admin?a=//b%2f;c"),
        ("/caf%c3%a9/%40me", "/caf%C3%A9/@me"),
    ] {
        let reply = request(&folder.http, "GET", path, &[("host", "a.example")], b"");
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(backend.last().unwrap().line, format!("GET {sent}"), "{path}");
        let record = folder.record("the request", |record| record["path"] == sent);
        assert_eq!(record["authority"], "a.example");
    }
    let before = backend.count();
    for path in [
        "/a%2fb",
        "/a%5cb",
        "/a\\b",
        "/a;b",
        "/..;/admin",
        "/a%00",
        "/%zz",
        "/%c0%ae/",
        "/a%0a",
        "/%e0%80%ae%e0%80%ae/admin",
        "/%f0%80%80%af",
    ] {
        let reply = request(&folder.http, "GET", path, &[("host", "a.example")], b"");
        let reason = reply.header("x-tamis-reason");
        assert_eq!((reply.status, reason), (400, Some("request.target")), "{path}");
    }
    assert_eq!(backend.count(), before, "none of them went on");
}

#[test]
fn a_listener_may_take_paths_that_others_refuse() {
    let backend = Backend::start();
    let listener = "paths: { emptySegments: Keep, escapedSlashes: Keep, parameters: Keep, escapes: Unreserved }";
    let folder = Folder::gateway_with(
        &[backend.address],
        &FolderOptions { listener, ..FolderOptions::default() },
    );
    let _gateway = folder.start(&[]);
    for (path, sent) in [("/a%2fb//c;d/%2b", "/a%2Fb//c;d/%2B"), ("/%61", "/a")] {
        assert_eq!(get(&folder.http, path).status, 200, "{path}");
        assert_eq!(backend.last().unwrap().line, format!("GET {sent}"));
    }
    assert_eq!(get(&folder.http, "/..;/a").status, 400);
    assert_eq!(get(&folder.http, "/..%2fa").status, 400);
}

#[test]
fn a_request_has_one_id_at_the_client_at_the_upstream_and_in_the_record() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    for (path, sent) in [("/kept", Some("abc-1")), ("/made", None), ("/odd", Some("<b>"))] {
        let headers: Vec<_> = sent.map(|id| ("x-request-id", id)).into_iter().collect();
        let reply = request(&folder.http, "GET", path, &headers, b"");
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(id == sent.unwrap_or_default(), path == "/kept", "{id}");
        let seen = backend.last().unwrap();
        let upstream = seen.headers.iter().find(|(name, _)| name == "x-request-id").unwrap();
        assert_eq!(upstream.1, id);
        let record = folder.record("the request", |record| record["path"] == path);
        assert_eq!(record["request_id"], id.as_str());
    }
    // A request that could be read in two ways has an id and a record too.
    let reply = get(&folder.http, "/a;b");
    let id = reply.header("x-request-id").unwrap().to_owned();
    let record = folder.record("the refusal", |record| record["request_id"] == id.as_str());
    assert_eq!((&record["reason"], &record["path"]), (&"request.target".into(), &"/a;b".into()));
    // So has one that was refused before its head was whole, or read.
    for (octets, status, reason, path) in [
        ("GET /<b> HTTP/1.1\r\nhost: a\r\n\r\n", 400, "http.target", "/<b>"),
        ("GET /two HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "http.host", "/two"),
        ("GET /old HTTP/3.0\r\nhost: a\r\n\r\n", 505, "http.version", "/old"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 501, "http.connect", "a:1"),
    ] {
        let text = String::from_utf8_lossy(&exchange(&folder.http, octets.as_bytes())).into_owned();
        let id = text.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        let record = folder.record("the refusal", |record| record["request_id"] == id);
        assert_eq!(
            (&record["status"], &record["reason"], &record["path"]),
            (&status.into(), &reason.into(), &path.into())
        );
    }
}

#[test]
fn clients_of_a_gateway_read_why_only_where_the_listener_says_so() {
    let backend = Backend::start();
    let folder = Folder::gateway_with(
        &[backend.address],
        &FolderOptions { listener: "reasons: Hide", ..FolderOptions::default() },
    );
    let _gateway = folder.start(&[]);
    let reply = get(&folder.http, "/a;b");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (400, None));
    assert!(!reply.body.contains("request.target"), "{}", reply.body);
    let octets = exchange(&folder.http, b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n");
    let text = String::from_utf8_lossy(&octets).into_owned();
    assert!(text.starts_with("HTTP/1.1 400 ") && !text.contains("tamis"), "{text}");
}

#[test]
fn a_request_over_http2_is_one_that_http1_can_read() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    over_http2(&folder.http, async |mut sender| {
        for method in ["POST", "PUT", "PATCH", "GET", "DELETE"] {
            let request =
                Request::builder().method(method).uri("http://a/").header("cookie", "a=1");
            let request = request.header("cookie", "b=2").body(Empty::<Bytes>::new()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
            let seen = backend.last().unwrap();
            let all = |name: &str| -> Vec<String> {
                let found = seen.headers.iter().filter(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).collect()
            };
            assert_eq!(all("cookie"), ["a=1; b=2"]);
            let expected = if matches!(method, "GET" | "DELETE") { vec![] } else { vec!["0"] };
            assert_eq!(all("content-length"), expected, "{method}");
        }
    });
}

#[test]
fn a_filter_sees_the_cookies_of_a_request_over_http2_as_one_field() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    let (path, cookie) = ("value: / }", "{ name: cookie, value: \"a=1; b=2\" }");
    folder.edit("mesh.yaml", path, &format!("{path}, headers: [{cookie}]"));
    folder.prepare();
    let _gateway = folder.start(&[]);
    over_http2(&folder.http, async |mut sender| {
        // The router is a filter: what it sees decides whether there is a route.
        for (cookies, status) in [
            (&["a=1", "b=2"][..], 200),
            (&["a=1; b=2"], 200),
            (&["a=1", "b=2", "c=3"], 404),
            (&["b=2", "a=1"], 404),
            (&["a=1"], 404),
        ] {
            let mut request = Request::get("http://a/");
            for cookie in cookies {
                request = request.header("cookie", *cookie);
            }
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), status, "{cookies:?}");
        }
    });
}

#[test]
fn content_where_none_may_be_reaches_no_upstream_over_http2_either() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    for (kind, path) in [("GET", "/get"), ("HEAD", "/head"), ("TRACE", "/trace")] {
        let status = with_content(&folder.http, kind, path, &[]);
        assert_eq!(status, 400, "{kind}");
        let record = folder.record("the refusal", |record| record["path"] == path);
        assert_eq!(record["reason"], "http.unexpected-body", "{kind}");
    }
    assert_eq!(with_content(&folder.http, "GET", "/length", &[("content-length", "5")]), 400);
    assert_eq!(backend.count(), 0);
    assert_eq!(with_content(&folder.http, "POST", "/post", &[("content-length", "05")]), 200);
    let seen = backend.last().unwrap();
    let length = seen.headers.iter().find(|(name, _)| name == "content-length").unwrap();
    assert_eq!((length.1.as_str(), seen.body.as_slice()), ("5", &b"GET /"[..]));
    // A length that is stated twice becomes one line, and two lengths are none.
    for (path, lengths, status) in [
        ("/twice", &["5", "5"][..], 200),
        ("/thrice", &["5", "5", "5"], 200),
        ("/two", &["5", "6"], 0),
        ("/odd", &["5", "05"], 400),
    ] {
        let before = backend.count();
        let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        assert_eq!(with_content(&folder.http, "POST", path, &fields), status, "{path}");
        assert_eq!(backend.count() - before, u64::from(status == 200), "{path}");
        if status == 200 {
            let seen = backend.last().unwrap();
            let lines = seen.headers.iter().filter(|(name, _)| name == "content-length");
            assert_eq!(lines.count(), 1, "{path}: {seen:?}");
        }
    }
}

/// Content that does not say how long it is.
struct UnsizedBody(Option<Bytes>);

impl Body for UnsizedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|octets| Ok(Frame::data(octets))))
    }
}

/// Sends a request of that method with content over HTTP/2; gives the status, 0 when its stream was reset.
fn with_content(address: &str, method: &str, path: &str, fields: &[(&str, &str)]) -> u16 {
    let open = async || tokio::net::TcpStream::connect(address).await.unwrap();
    over_http2_on(open, async |mut sender| {
        let mut request = Request::builder().method(method).uri(format!("http://a{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let content = UnsizedBody(Some(Bytes::from_static(b"GET /")));
        let response = sender.send_request(request.body(content).unwrap()).await;
        response.map_or(0, |response| response.status().as_u16())
    })
}

#[test]
fn an_application_does_not_speak_for_the_proxy() {
    let address = raw(|mut stream, _head| {
        let head = "HTTP/1.1 200 OK\r\nx-tamis-reason: forged\r\nX-Tamis-Generation: 9\r\nx_request_id: a\r\nx-mine: 1\r\n";
        stream.write_all(format!("{head}content-length: 02\r\n\r\nok").as_bytes()).unwrap();
    });
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let reply = get(&folder.http, "/");
    let odd = |name: &str| name.starts_with("x-tamis") || name.contains('_');
    let odd: Vec<_> = reply.headers.iter().filter(|(name, _)| odd(name)).collect();
    assert_eq!((reply.status, odd, reply.body.as_str()), (200, vec![], "ok"));
    assert_eq!((reply.header("x-mine"), reply.header("content-length")), (Some("1"), Some("2")));
}

#[test]
fn another_spelling_of_a_field_of_the_gateway_is_nobodys() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    guests::sign(&folder, "1.0.0");
    // A filter that writes a field owns its other spellings, as `jwt` owns those of the claims that it hands on.
    let config = "{ do: edit, reads: [\":path\"], writes: [x-path] }";
    folder.attach("guest", "test/guest", config, guests::GRANT, "");
    let _gateway = folder.start(&[]);
    folder.slot_state("test/guest", "serving");
    let sent = [
        "x_path",
        "X_Path",
        "x-path",
        "x.path",
        "x_forwarded_for",
        "x_forwarded_host",
        "X_Forwarded-Proto",
        "x_request_id",
        "x_tamis_a",
        "x_mine",
    ];
    let headers: Vec<_> = sent.iter().map(|name| (*name, "6.6.6.6")).collect();
    assert_eq!(request(&folder.http, "GET", "/", &headers, b"").status, 200);
    let seen = backend.last().unwrap();
    let odd: Vec<_> = seen.headers.iter().filter(|(name, _)| name.contains(['_', '.'])).collect();
    assert_eq!(odd, [&("x_mine".to_owned(), "6.6.6.6".to_owned())]);
    let own: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-path").collect();
    assert_eq!(own, [&("x-path".to_owned(), "/".to_owned())], "the filter's alone");
}

#[test]
fn trailers_of_others_go_no_further_in_either_direction() {
    let (send, receive) = mpsc::channel();
    let address = raw(move |mut stream, head| {
        let mut body = Vec::new();
        while head.contains("chunked") && !body.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            if stream.read_exact(&mut octet).is_err() {
                break;
            }
            body.push(octet[0]);
        }
        send.send(String::from_utf8_lossy(&body).into_owned()).unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        let names = "trailer: x-sum, x-forwarded-for, via\r\n\r\n";
        let body = "2\r\nok\r\n0\r\nx-sum: 1\r\nx-forwarded-for: 6.6.6.6\r\nvia: 1.1 x\r\n\r\n";
        stream.write_all(format!("{head}{names}{body}").as_bytes()).unwrap();
    });
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let names = "x-sum, x-forwarded-for, x_forwarded_for, traceparent";
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers, deflate;q=0.5\r\nconnection: te, close\r\ntransfer-encoding: chunked\r\ntrailer: {names}\r\n\r\n"
    );
    let body = "1\r\na\r\n0\r\nx-sum: 2\r\nx-forwarded-for: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\ntraceparent: 00-a\r\n\r\n";
    let text = exchange(&folder.http, format!("{head}{body}").as_bytes());
    let text = String::from_utf8_lossy(&text).into_owned();
    let upstream = receive.recv().unwrap();
    assert!(upstream.ends_with("0\r\nx-sum: 2\r\n\r\n"), "{upstream}");
    assert!(
        text.contains("\r\ntrailer: x-sum\r\n") && text.ends_with("0\r\nx-sum: 1\r\n\r\n"),
        "{text}"
    );
    let trailers = over_http2(&folder.http, async |mut sender| {
        let request =
            Request::get("http://a/").header("te", "trailers").body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap().trailers().cloned()
    });
    let expected = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    assert_eq!(trailers, Some(expected));
}

#[test]
fn old_clients_and_odd_statuses_get_heads_that_say_what_is_so() {
    let address = raw(|mut stream, head| {
        let answer = match head.split(' ').nth(1) {
            Some("/odd") => "HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n",
            Some("/304") => "HTTP/1.1 304 Not Modified\r\ncontent-length: 12345\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        };
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let said = |head: &str| {
        let octets = exchange(&folder.http, format!("{head}\r\n\r\n").as_bytes());
        String::from_utf8_lossy(&octets).into_owned()
    };
    let old = said("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive");
    assert!(old.contains("\r\nconnection: close\r\n") && old.ends_with("ok"), "{old}");
    let odd = said("GET /odd HTTP/1.1\r\nhost: a\r\nconnection: close");
    assert!(odd.starts_with("HTTP/1.1 599 \r\n"), "{odd}");
    let unchanged = said("GET /304 HTTP/1.1\r\nhost: a\r\nconnection: close");
    let length = over_http2(&folder.http, async |mut sender| {
        let request = Request::get("http://a/304").body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 304);
        response.headers().get("content-length").cloned()
    });
    // The length of what is not sent (RFC 9110 §8.6), in both versions.
    assert!(unchanged.contains("\r\ncontent-length: 12345\r\n"), "{unchanged}");
    assert_eq!(length, Some("12345".parse().unwrap()));
}

#[test]
fn options_and_trace_at_their_last_hop_go_no_further() {
    let backend = Backend::start();
    backend.answers(Answer::Status(200));
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    for (method, left, status) in [("OPTIONS", "0", 200), ("TRACE", "0", 405)] {
        let reply = request(&folder.http, method, "/", &[("max-forwards", left)], b"");
        assert_eq!(reply.status, status, "{method}");
        assert!(reply.header("allow").is_some_and(|allow| allow.contains("OPTIONS")), "{method}");
    }
    assert_eq!(backend.count(), 0);
    assert_eq!(request(&folder.http, "OPTIONS", "/", &[("max-forwards", "5")], b"").status, 200);
    let seen = backend.last().unwrap();
    let left = seen.headers.iter().find(|(name, _)| name == "max-forwards").unwrap();
    assert_eq!(left.1, "4");
}
