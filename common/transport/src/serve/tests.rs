use std::cell::Cell;

use http_body_util::{BodyExt, Full};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::*;
use crate::intake::IntakeRefusal;
use http::header::CONNECTION;
use http::{StatusCode, Version};

/// Runs hyper's tasks on this thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        drop(tokio::task::spawn_local(async move {
            task.await;
        }));
    }
}

type Reply = Response<Full<Bytes>>;

fn ok(text: &str) -> Reply {
    Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())))
}

/// Responds with the method, target and body; for `/ignore` without reading the body.
async fn echo(mut request: Request<RequestBody>, _info: &ConnectionInfo) -> Reply {
    let line = format!("{} {} ", request.method(), request.uri().path());
    match request.uri().path() {
        "/ignore" => ok("ignored"),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ok("slow")
        }
        "/never" => {
            let _gone = EndGuard;
            std::future::pending().await
        }
        "/upgrade" => {
            let tunnel = PendingTunnel::of(&mut request);
            tokio::task::spawn_local(async move {
                let mut tunnel = tunnel.await.unwrap();
                let mut bytes = [0; 4];
                tunnel.read_exact(&mut bytes).await.unwrap();
                tunnel.write_all(&bytes).await.unwrap();
                tunnel.shutdown().await.unwrap();
            });
            let mut response = ok("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response
        }
        _ => match request.into_body().collect().await {
            Ok(body) => ok(&(line + &String::from_utf8_lossy(&body.to_bytes()))),
            Err(_) => {
                let mut response = ok("broken body");
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        },
    }
}

thread_local! {
    /// Handlers of `/never` that were dropped.
    static GONE: Cell<u32> = const { Cell::new(0) };
}

struct EndGuard;

impl Drop for EndGuard {
    fn drop(&mut self) {
        GONE.set(GONE.get() + 1);
    }
}

/// Serves one connection with `echo` while `client` talks to it.
async fn with_server<T>(
    client: impl AsyncFnOnce(TcpStream, watch::Sender<ListenerStage>) -> T,
) -> T {
    let local = LocalSet::new();
    local
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = watch::channel(ListenerStage::Serve);
            let info =
                Rc::new(ConnectionInfo { sender: None, local: address.into(), identity: None });
            let server = tokio::task::spawn_local(async move {
                let (io, _) = listener.accept().await.unwrap();
                let _ended =
                    serve_connection(io, info, &ServeLimits::default(), echo, stopped).await;
            });
            let outcome = client(TcpStream::connect(address).await.unwrap(), stop).await;
            server.await.unwrap();
            outcome
        })
        .await
}

/// Sends, ends the sending side, and reads all replies.
async fn exchange(request: &[u8]) -> String {
    with_server(async |mut io, _stop| {
        io.write_all(request).await.unwrap();
        io.shutdown().await.unwrap();
        read_all(&mut io).await
    })
    .await
}

async fn read_all(io: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    io.read_to_end(&mut reply).await.unwrap();
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn a_client_that_ends_its_side_still_gets_its_reply() {
    let reply = exchange(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("GET /a "), "{reply}");
}

#[tokio::test]
async fn a_client_that_ends_its_side_gets_a_reply_that_comes_soon() {
    let reply = exchange(
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n\
          GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(reply.contains("GET /a ") && reply.contains("slow"), "{reply}");
    assert!(reply.ends_with("GET /b "), "{reply}");
}

#[tokio::test]
async fn the_handler_of_a_client_that_left_is_dropped() {
    for abort in [false, true] {
        let before = GONE.get();
        with_server(async |mut io, _stop| {
            io.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(GONE.get(), before, "it is still there");
            if abort {
                io.set_zero_linger().unwrap();
            }
            drop(io);
        })
        .await;
        // The connection has ended, and it does not end before its handler.
        assert_eq!(GONE.get(), before + 1);
    }
}

#[tokio::test]
async fn what_follows_a_request_under_way_waits_for_its_response() {
    let reply = exchange(
        b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
          GET /c HTTP/1.1\r\n\r\n",
    )
    .await;
    assert_eq!(reply.matches("HTTP/1.1 200").count(), 2, "{reply}");
    assert!(reply.contains("slow") && reply.contains("POST /b hi"), "{reply}");
    assert!(reply.contains("x-tamis-reason: http.host\r\n"), "{reply}");
}

#[tokio::test]
async fn a_refusal_comes_after_the_replies_before_it() {
    let reply = exchange(
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let (first, second) = reply.split_once("GET /a ").unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(second.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply}");
    assert!(second.contains("x-tamis-reason: http.both-lengths\r\n"), "{reply}");
    assert!(!reply.contains("smuggled"));
}

#[tokio::test]
async fn a_refusal_inside_a_body_is_answered_once() {
    let reply = exchange(
        b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n\
          GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert_eq!(reply.matches("HTTP/1.1 400").count(), 1, "{reply}");
    assert!(!reply.contains("smuggled"));
}

#[tokio::test]
async fn a_refused_client_that_keeps_sending_reads_the_reply() {
    with_server(async |mut io, _stop| {
        io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        io.write_all(&[b'x'; 30_000]).await.unwrap();
        let reply = read_all(&mut io).await;
        assert!(reply.contains("http.host"), "{reply}");
    })
    .await;
}

#[tokio::test]
async fn an_unread_small_body_keeps_the_connection_and_its_framing() {
    let reply = exchange(
        b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
          GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(reply.contains("ignored") && reply.ends_with("GET /next "), "{reply}");
}

#[tokio::test]
async fn an_unread_endless_body_closes_the_connection() {
    with_server(async |mut io, _stop| {
        io.write_all(
            b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nGET / H",
        )
        .await
        .unwrap();
        let reply = read_all(&mut io).await;
        assert!(reply.contains("connection: close") && reply.ends_with("ignored"), "{reply}");
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let reply = exchange(
        b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n\0\n\r!",
    )
    .await;
    assert!(reply.starts_with("HTTP/1.1 101") && reply.ends_with("\r\n\r\n\0\n\r!"), "{reply:?}");
}

#[tokio::test]
async fn after_a_declined_upgrade_the_next_bytes_are_a_request() {
    let reply = exchange(
        b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n\
          GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(reply.contains("GET /no ") && reply.ends_with("GET /next "), "{reply}");
}

#[tokio::test]
async fn a_wrong_preface_gets_no_http1_reply() {
    for bytes in ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "INVALID CONNECTION PREFACE\r\n\r\n"] {
        assert_eq!(exchange(bytes.as_bytes()).await, "", "{bytes:?}");
    }
}

#[tokio::test]
async fn http2_is_recognised_by_its_preface_and_drains() {
    with_server(async |io, stop| {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(io)).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let request = Request::post("http://a/h2").body(Full::new(Bytes::from("body"))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "POST /h2 body");
        stop.send(ListenerStage::End).unwrap();
        connection.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn shutdown_ends_an_idle_http1_connection_and_says_close_on_a_busy_one() {
    with_server(async |mut io, stop| {
        io.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").await.unwrap();
        let seen = Cell::new(0);
        while seen.get() < 50 {
            seen.set(seen.get() + 1);
            tokio::task::yield_now().await;
        }
        stop.send(ListenerStage::End).unwrap();
        tokio::task::yield_now().await;
        io.write_all(b"y").await.unwrap();
        let reply = read_all(&mut io).await;
        assert!(reply.contains("connection: close") && reply.ends_with("POST /a xy"), "{reply}");
    })
    .await;
    with_server(async |mut io, stop| {
        stop.send(ListenerStage::End).unwrap();
        assert_eq!(read_all(&mut io).await, "");
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_leaves_answers_everybody_and_sends_them_elsewhere() {
    // The connection was idle at the beginning, and gets one more request.
    with_server(async |mut io, stop| {
        io.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 512];
        let read = io.read(&mut first).await.unwrap();
        assert!(!String::from_utf8_lossy(&first[..read]).contains("connection: close"));
        stop.send(ListenerStage::Leave).unwrap();
        tokio::task::yield_now().await;
        io.write_all(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let reply = read_all(&mut io).await;
        assert!(reply.contains("connection: close") && reply.ends_with("GET /b "), "{reply}");
    })
    .await;
    // One that may stay after all is kept.
    with_server(async |mut io, stop| {
        stop.send(ListenerStage::Leave).unwrap();
        stop.send(ListenerStage::Serve).unwrap();
        for path in ["/a", "/b"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            io.write_all(request.as_bytes()).await.unwrap();
            let mut reply = [0; 512];
            let read = io.read(&mut reply).await.unwrap();
            let reply = String::from_utf8_lossy(&reply[..read]).into_owned();
            assert!(reply.starts_with("HTTP/1.1 200 ") && !reply.contains("close"), "{reply}");
        }
        drop(io);
    })
    .await;
    // Over HTTP/2 the exchange in progress ends normally, then the connection does (GOAWAY).
    with_server(async |io, stop| {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(io)).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let request = Request::get("http://a/slow").body(Full::new(Bytes::new())).unwrap();
        let answer = sender.send_request(request);
        tokio::task::yield_now().await;
        stop.send(ListenerStage::Leave).unwrap();
        let body = answer.await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "slow");
        connection.await.unwrap().unwrap();
    })
    .await;
}

/// Serves one connection that agreed on `alpn` while `client` talks to it; gives how it ended and what was refused.
async fn agreed_on(
    alpn: Option<&str>,
    octets: &[u8],
) -> (Result<(), ServeError>, Option<RefusedRequest>, String) {
    let identity = PeerIdentity {
        spiffe_id: None,
        alpn: alpn.map(|alpn| alpn.as_bytes().to_vec()),
        sni: None,
        tls_version: "TLSv1.3",
    };
    let address = Address::Unix("/test".into());
    let info = ConnectionInfo { sender: None, local: address, identity: alpn.map(|_| identity) };
    LocalSet::new()
        .run_until(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let (_stop, stopped) = watch::channel(ListenerStage::Serve);
            client.write_all(octets).await.unwrap();
            let mut noted = None;
            let note = |refused: RefusedRequest| {
                noted = Some(refused);
                Some(HeaderValue::from_static("id-1"))
            };
            let limits = ServeLimits::default();
            let served =
                serve_recording_refusals(server, Rc::new(info), &limits, echo, note, stopped);
            let mut reply = Vec::new();
            let (served, read) = tokio::join!(served, client.read_to_end(&mut reply));
            read.unwrap();
            (served, noted, String::from_utf8_lossy(&reply).into_owned())
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_not_waited_for_whatever_it_agreed_on() {
    for alpn in [None, Some("http/1.1"), Some("h2")] {
        for octets in [&b""[..], b"PRI * HTTP", b"G"] {
            let ended = agreed_on(alpn, octets);
            let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
            assert!(ended.is_ok(), "{alpn:?} {octets:?}");
        }
    }
    let (served, _, reply) = agreed_on(Some("h2"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(matches!(served, Err(ServeError::Preface)) && reply.is_empty(), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_else_saw_is_noted_and_has_an_id() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2_000));
    for (octets, refusal, line) in [
        ("GET /a HTTP/1.1\r\n\r\n", IntakeRefusal::Host, "GET /a HTTP/1.1"),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/2.0\r\nHost: a\r\n\r\n",
            IntakeRefusal::Version,
            "GET /b HTTP/2.0",
        ),
        ("GET /a HTT", IntakeRefusal::HeadTimeout, "GET /a HTT"),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            IntakeRefusal::Connect,
            "CONNECT a:1 HTTP/1.1",
        ),
        ("GET /\0 HTTP/1.1\r\n\r\n", IntakeRefusal::LineEnd, "GET /\0 HTTP/1.1"),
        (&long, IntakeRefusal::Host, &long[..1_024]),
    ] {
        let (served, noted, reply) = agreed_on(None, octets.as_bytes()).await;
        served.unwrap();
        let refused = RefusedRequest { refusal, line: line.as_bytes().to_vec() };
        assert_eq!(noted, Some(refused), "{octets:?}");
        assert!(reply.contains("\r\nx-request-id: id-1\r\n"), "{octets:?}: {reply}");
    }
    // In the middle of a body the handler has it, and tells.
    let chunked = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let (_, noted, reply) = agreed_on(None, chunked.as_bytes()).await;
    assert_eq!(noted, None);
    assert_eq!(reply.matches("HTTP/1.1 400").count(), 1, "{reply}");
}
