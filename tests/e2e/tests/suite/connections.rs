//! Connections and how they end: methods that open tunnels, interim responses, clients that leave.

use crate::policies::attachment_of;
use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tamis_e2e::{Backend, Folder, FolderOptions, exchange};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A handwritten backend: each connection's request head is passed to `serve` with the connection.
pub(crate) fn raw(serve: impl Fn(TcpStream, String) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut octet = [0];
                    if stream.read_exact(&mut octet).is_err() {
                        return;
                    }
                    head.push(octet[0]);
                }
                serve(stream, String::from_utf8_lossy(&head).into_owned());
            });
        }
    });
    address
}

/// A handwritten backend whose connections are served on one thread, each by a task.
pub(crate) fn serve_each(
    serve: impl AsyncFn(tokio::net::TcpStream) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let serve = serve.clone();
                tokio::task::spawn_local(async move { serve(stream).await });
            }
        });
    });
    address
}

/// Runs what needs an HTTP/2 connection to `address`, by prior knowledge.
pub(crate) fn over_http2<T>(
    address: &str,
    test: impl AsyncFnOnce(http2::SendRequest<Empty<Bytes>>) -> T,
) -> T {
    over_http2_on(async || tokio::net::TcpStream::connect(address).await.unwrap(), test)
}

/// The same on a connection that `open` opens, with bodies of any kind.
pub(crate) fn over_http2_on<B, IO, T>(
    open: impl AsyncFnOnce() -> IO,
    test: impl AsyncFnOnce(http2::SendRequest<B>) -> T,
) -> T
where
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let io = TokioIo::new(open().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(Duration::from_secs(60), test(sender)).await.unwrap()
    })
}

/// The same with streams as they are, once the listener has said that it takes an extended CONNECT.
pub(crate) fn over_streams<T>(
    address: &str,
    test: impl AsyncFnOnce(h2::client::SendRequest<Bytes>) -> T,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let sender = sender.ready().await.unwrap();
        let settings = async {
            while !sender.is_extended_connect_protocol_enabled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settings).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), test(sender)).await.unwrap()
    })
}

#[test]
fn connect_is_not_implemented_and_says_so() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    let said = |head: &str| {
        let octets = exchange(&folder.http, format!("{head}\r\n\r\n").as_bytes());
        String::from_utf8_lossy(&octets).into_owned()
    };
    for host in ["example.com:443", "example.com", "localhost"] {
        let reply = said(&format!("CONNECT example.com:443 HTTP/1.1\r\nHost: {host}"));
        assert!(reply.starts_with("HTTP/1.1 501 "), "{reply}");
        assert!(reply.contains("\r\nconnection: close\r\n"), "{reply}");
        assert!(reply.contains("\r\nx-tamis-reason: http.connect\r\n"), "{reply}");
    }
    for target in ["example.com", "/", "http://example.com/", "*", "example.com:port", "a b:1"] {
        let reply = said(&format!("CONNECT {target} HTTP/1.1\r\nHost: example.com:443"));
        assert!(reply.starts_with("HTTP/1.1 400 "), "{target}: {reply}");
    }
    let status = over_http2(&folder.http, async |mut sender| {
        let request = Request::builder().method(Method::CONNECT).uri("example.com:443");
        let response = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        (response.status(), response.headers()["x-tamis-reason"].clone())
    });
    assert_eq!(status, (StatusCode::NOT_IMPLEMENTED, "request.connect".parse().unwrap()));
    assert_eq!(backend.count(), 0);
}

/// An upstream of HTTP/1.1 that sends interim responses before its last one.
fn hints_over_http1() -> SocketAddr {
    raw(|mut stream, _head| {
        let interim =
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nset-cookie: a=b\r\n\r\n";
        let others = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        stream.write_all(format!("{interim}{others}").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast";
        stream.write_all(last.as_bytes()).unwrap();
    })
}

/// The same of HTTP/2.
fn hints_over_http2() -> SocketAddr {
    serve_each(async |stream| {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            for status in [103, 100, 102] {
                let mut interim = Response::builder().status(status);
                if status == 103 {
                    interim =
                        interim.header("link", "</a.css>; rel=preload").header("set-cookie", "a=b");
                }
                respond.send_informational(interim.body(()).unwrap()).unwrap();
            }
            let last = Response::builder().header("content-length", 4).body(()).unwrap();
            let mut content = respond.send_response(last, false).unwrap();
            content.send_data(Bytes::from_static(b"last"), true).unwrap();
        }
    })
}

#[test]
fn early_hints_of_an_upstream_reach_a_client_before_the_last_response() {
    for (protocol, address) in [("http", hints_over_http1()), ("http2", hints_over_http2())] {
        let listener = "interimResponses: All";
        let options = FolderOptions { protocol, listener, ..FolderOptions::default() };
        let folder = Folder::gateway_with(&[address], &options);
        let _gateway = folder.start(&[]);
        hints_come_first_over_http1(&folder.http);
        hints_come_first_over_http2(&folder.http);
    }
}

#[test]
fn clients_of_http1_get_early_hints_only_where_the_listener_says_so() {
    for (protocol, address) in [("http", hints_over_http1()), ("http2", hints_over_http2())] {
        let options = FolderOptions { protocol, ..FolderOptions::default() };
        let folder = Folder::gateway_with(&[address], &options);
        let _gateway = folder.start(&[]);
        let text = one_request(&folder.http);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("last"), "{text}");
        assert!(!text.contains("preload"), "{protocol}: {text}");
        hints_come_first_over_http2(&folder.http);
    }
}

fn one_request(address: &str) -> String {
    let octets = exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    String::from_utf8_lossy(&octets).into_owned()
}

fn hints_come_first_over_http1(address: &str) {
    let text = one_request(address);
    // What no hook has seen passes only if it is a hint, and 100 is the gateway's own.
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let last = text.strip_prefix(hints).unwrap_or_else(|| panic!("{text}"));
    assert!(last.starts_with("HTTP/1.1 200 OK\r\n") && last.ends_with("last"), "{text}");
    assert!(!last.contains("preload"), "an interim field is not one of the last head: {text}");
    let octets = exchange(address, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(octets.starts_with(b"HTTP/1.0 200 OK\r\n"), "an older client knows none");
}

fn hints_come_first_over_http2(address: &str) {
    over_streams(address, async |mut sender| {
        let request = Request::get("http://a/").body(()).unwrap();
        let (mut response, _) = sender.send_request(request, true).unwrap();
        let mut seen = Vec::new();
        while let Some(interim) = poll_fn(|cx| response.poll_informational(cx)).await {
            let (head, ()) = interim.unwrap().into_parts();
            seen.push((
                head.status.as_u16(),
                head.headers.get("link").cloned(),
                head.headers.len(),
            ));
        }
        let link = "</a.css>; rel=preload".parse().unwrap();
        assert_eq!(seen, [(103, Some(link), 1), (102, None, 0)]);
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("link"));
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "last");
    });
}

#[test]
fn a_connect_with_content_is_malformed_and_ends_no_other_stream() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    let malformed = Err(Reason::PROTOCOL_ERROR);
    let refused = |status| Ok((status, "request.connect".to_owned()));
    let foreign = Ok((501, "request.protocol".to_owned()));
    over_streams(&folder.http, async |mut sender| {
        let mut count = 0;
        for (lengths, extended, plain) in [
            (&["0"][..], foreign, refused(501)),
            (&["5"], refused(400), refused(400)),
            (&["5", "5"], refused(400), refused(400)),
            (&["5", "6"], malformed.clone(), malformed.clone()),
            (&["five"], malformed.clone(), malformed.clone()),
        ] {
            for (protocol, expected) in [(Some("foo"), extended), (None, plain)] {
                let row = format!("{protocol:?} {lengths:?}");
                count += 1;
                let mut request = match protocol {
                    Some(name) => Request::builder()
                        .uri(format!("http://a/connect-{count}"))
                        .extension(h2::ext::Protocol::from_static(name)),
                    None => Request::builder().uri("a:443"),
                };
                for length in lengths {
                    request = request.header("content-length", *length);
                }
                let request = request.method(Method::CONNECT).body(()).unwrap();
                let other = Request::post("http://a/other").body(()).unwrap();
                let mut ready = sender.ready().await.unwrap();
                let (other, mut content) = ready.send_request(other, false).unwrap();
                let (response, _stream) = ready.send_request(request, false).unwrap();
                let said = response.await.map_err(|error| error.reason().unwrap());
                let said = said.map(|response| {
                    let reason = response.headers()["x-tamis-reason"].to_str().unwrap().to_owned();
                    (response.status().as_u16(), reason)
                });
                assert_eq!(said, expected, "{row}");
                content.send_data(Bytes::from_static(b"rest"), true).unwrap();
                assert_eq!(other.await.unwrap().status(), 200, "{row}");
                sender = ready;
            }
        }
    });
    assert_eq!(backend.count(), 10, "the other streams alone");
    let record = folder.record("the refusal", |record| record["path"] == "/connect-3");
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&400.into(), &"request.connect".into()),
        "{record}"
    );
}

/// A backend that never answers and reports when its request is given up.
fn patient() -> (SocketAddr, mpsc::Receiver<&'static str>) {
    let (send, receive) = mpsc::channel();
    let address = raw(move |mut stream, _head| {
        send.send("asked").unwrap();
        // Nothing more comes; it ends when the gateway gives up.
        let _ = stream.read(&mut [0]);
        send.send("given up").unwrap();
    });
    (address, receive)
}

#[test]
fn a_client_that_leaves_is_noticed_while_the_upstream_is_waited_for() {
    let (address, told) = patient();
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let wait = Duration::from_secs(20);
    for method in ["GET", "POST"] {
        let mut stream = TcpStream::connect(&folder.http).unwrap();
        let head = format!("{method} /{method} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(told.recv_timeout(wait), Ok("asked"));
        assert!(told.recv_timeout(Duration::from_millis(300)).is_err(), "the client is there");
        let left = Instant::now();
        drop(stream);
        assert_eq!(told.recv_timeout(wait), Ok("given up"), "{method}");
        assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
        let path = format!("/{method}");
        let record = folder.record("the end", |record| record["path"] == path.as_str());
        assert_eq!(record["outcome"], serde_json::json!(["client-gone"]), "{record}");
    }
    // Over HTTP/2 the stream is reset.
    over_http2(&folder.http, async |mut sender| {
        let hears = async |what: &str| {
            while told.try_recv() != Ok(what) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let request = Request::get("http://a/h2").body(Empty::new()).unwrap();
        tokio::select! {
            answer = sender.send_request(request) => panic!("nobody answers: {answer:?}"),
            () = hears("asked") => {}
        }
        hears("given up").await;
    });
    let record = folder.record("the end", |record| record["path"] == "/h2");
    assert_eq!(record["outcome"], serde_json::json!(["client-gone"]), "{record}");
}

#[test]
fn a_websocket_over_http2_is_a_tunnel_to_an_http1_upstream() {
    let address = raw(|mut stream, head| {
        let asked = ["GET /chat?room=1 HTTP/1.1", "upgrade: websocket", "connection: upgrade"];
        let missing: Vec<_> = asked.iter().filter(|line| !head.contains(**line)).collect();
        if !missing.is_empty() || !head.contains("sec-websocket-key: ") {
            let bad = format!("HTTP/1.1 400 Bad Request\r\nx-missing: {missing:?}\r\n\r\n");
            return stream.write_all(bad.as_bytes()).unwrap();
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-accept: x\r\nsec-websocket-protocol: chat\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        let mut octets = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut octets) {
            stream.write_all(&octets[..length].to_ascii_uppercase()).unwrap();
        }
    });
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    over_http2(&folder.http, async |mut sender| {
        // The listener's SETTINGS must have arrived, or the client may not ask (RFC 8441 §3).
        let probe = Request::get("http://a/probe").body(Empty::new()).unwrap();
        let probe = sender.send_request(probe).await.unwrap();
        assert_eq!(probe.status(), 400);
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://a/chat?room=1")
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "chat")
            .body(Empty::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.headers());
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(name), "{name} is of HTTP/1.1");
        }
        let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        for word in ["hello", "again"] {
            tunnel.write_all(word.as_bytes()).await.unwrap();
            let mut back = [0; 5];
            tunnel.read_exact(&mut back).await.unwrap();
            assert_eq!(back, word.to_ascii_uppercase().as_bytes());
        }
        tunnel.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tunnel.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "the other side's close arrives");
    });
    let record = folder.record("the tunnel", |record| record["path"] == "/chat?room=1");
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&10.into(), &10.into()), "{record}");
}

#[test]
fn a_page_of_another_site_opens_no_websocket_in_either_version() {
    let address = raw(|mut stream, _| {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let folder = Folder::documents(&[address]);
    let config = "{ trustedOrigins: [https://shop.example] }";
    folder.write("csrf.yaml", &attachment_of("csrf", "authn", 1, config));
    folder.prepare();
    let _gateway = folder.start(&[]);
    let rows = [
        ("https://evil.example", "cross-site", false),
        ("https://shop.example", "cross-site", true),
    ];
    for (origin, site, passes) in rows {
        let head = format!(
            "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\norigin: {origin}\r\nsec-fetch-site: {site}\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let reply = exchange(&folder.http, head.as_bytes());
        let status = if passes { "HTTP/1.1 101 " } else { "HTTP/1.1 403 " };
        assert!(reply.starts_with(status.as_bytes()), "{}", String::from_utf8_lossy(&reply));
        over_http2(&folder.http, async |mut sender| {
            // The listener's SETTINGS must have arrived, or the client may not ask (RFC 8441 §3).
            let probe = Request::post("http://a/probe").header("origin", "https://evil.example");
            let probe = sender.send_request(probe.body(Empty::new()).unwrap()).await.unwrap();
            assert_eq!(probe.status(), 403);
            let request = Request::builder()
                .method(Method::CONNECT)
                .uri("http://a/ws")
                .extension(hyper::ext::Protocol::from_static("websocket"))
                .header("origin", origin)
                .header("sec-fetch-site", site)
                .header("sec-websocket-version", "13");
            let response = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
            assert_eq!(response.status(), if passes { 200 } else { 403 }, "{origin}");
        });
    }
}

/// Asks for a tunnel over HTTP/2; returns status and reason.
pub(crate) async fn extended(
    sender: &mut http2::SendRequest<Empty<Bytes>>,
    protocol: &str,
    path: &str,
) -> (u16, String) {
    let protocol: &'static str = protocol.to_owned().leak();
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://a{path}"))
        .extension(hyper::ext::Protocol::from_static(protocol))
        .header("x-user", "root")
        .body(Empty::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let reason = response.headers().get("x-tamis-reason");
    let reason = reason.map(|reason| reason.to_str().unwrap().to_owned()).unwrap_or_default();
    (response.status().as_u16(), reason)
}

#[test]
fn a_tunnel_of_http_or_tls_or_of_what_nobody_named_reaches_no_upstream() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    over_http2(&folder.http, async |mut sender| {
        let probe = Request::get("http://a/probe").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(probe).await.unwrap().status(), 200);
        for protocol in [
            "h2c",
            "H2C",
            "h2",
            "h3",
            "HTTP/1.1",
            "http/2.0",
            "TLS/1.0",
            "tls",
            "connect-udp",
            "connect-ip",
            "foo",
            "websocket, h2c",
            "webtransport",
        ] {
            let said = extended(&mut sender, protocol, "/").await;
            assert_eq!(said, (501, "request.protocol".to_owned()), "{protocol}");
        }
    });
    assert_eq!(backend.count(), 1, "the probe alone");
    // Over HTTP/1.1 an offer that is not carried is left out, and the request goes on as it is.
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.0", "foo", "connect-udp"] {
        let head = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABk\r\n\r\n"
        );
        let octets = exchange(&folder.http, head.as_bytes());
        assert!(
            octets.starts_with(b"HTTP/1.1 200 "),
            "{protocol}: {}",
            String::from_utf8_lossy(&octets)
        );
        let seen = backend.last().unwrap();
        let left =
            seen.headers.iter().find(|(name, _)| name == "upgrade" || name == "http2-settings");
        assert_eq!(left, None, "{protocol}");
    }
}

#[test]
fn what_is_no_agreement_never_reaches_a_client_as_one() {
    let address = raw(|mut stream, head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, fields) = match path {
            "/ok" => ("200 OK", "content-length: 0"),
            "/created" => ("201 Created", "content-length: 0"),
            "/other" => ("101 Switching Protocols", "connection: upgrade\r\nupgrade: h2c"),
            "/two" => ("101 Switching Protocols", "connection: upgrade\r\nupgrade: websocket, h2c"),
            "/none" => ("101 Switching Protocols", "connection: upgrade"),
            "/unsaid" => ("101 Switching Protocols", "upgrade: websocket"),
            "/no" => ("403 Forbidden", "content-length: 0"),
            _ => ("404 Not Found", "content-length: 0"),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n");
        // The gateway may be gone by then.
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.read(&mut [0; 64]);
    });
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let rows = [
        ("/ok", 502, 200),
        ("/created", 502, 201),
        ("/other", 502, 502),
        ("/two", 502, 502),
        ("/none", 502, 502),
        ("/unsaid", 502, 502),
        ("/no", 403, 403),
    ];
    over_http2(&folder.http, async |mut sender| {
        let probe = Request::get("http://a/probe").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(probe).await.unwrap().status(), 404);
        for (path, expected, _) in rows {
            let (status, reason) = extended(&mut sender, "websocket", path).await;
            assert_eq!(status, expected, "{path}: {reason}");
            assert_eq!(reason == "upstream.protocol", expected == 502, "{path}: {reason}");
        }
    });
    for (path, _, expected) in rows {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n"
        );
        let text = String::from_utf8_lossy(&exchange(&folder.http, head.as_bytes())).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {text}");
    }
}

#[test]
fn a_flood_of_frames_without_use_ends_with_goaway() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let _gateway = folder.start(&[]);
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
    let flood = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &ping.repeat(20_000),
    ];
    let answer = exchange(&folder.http, &flood.concat());
    let calm = [0, 0, 0, 0xb];
    assert!(answer.ends_with(&calm), "{:?}", answer.iter().rev().take(40).collect::<Vec<_>>());
}
