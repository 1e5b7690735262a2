//! HTTP/1.1 connections: reuse, those that went stale, upgrades.

use super::server::{ServerLog, by_hand, http1, http1_at, read_head, serve_http1, write_ok};
use super::*;
use crate::EndpointLimit;
use std::any::Any;
use tamis_exchange::Cause;
use tamis_transport::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    on_worker(async {
        let (target, seen) = http1().await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        for path in ["/1", "/2", "/3"] {
            assert_eq!(fetch(&upstream, get(path)).await.unwrap(), path);
        }
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_dropped_halfway_takes_its_connection_with_it() {
    on_worker(async {
        let (target, seen) = by_hand(|_, mut stream| async move {
            while read_head(&mut stream).await {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha";
                stream.write_all(head).await.unwrap();
            }
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        for _ in 0..2 {
            let mut attempt = attempt(&upstream).await;
            drop(attempt.send(get("/"), false, || None).await.unwrap());
        }
        assert_eq!(seen.connections.get(), 2, "half a body is left on the first");
    })
    .await;
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    on_worker(async {
        let (target, _) = by_hand(|_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await.unwrap();
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        let mut attempt = attempt(&upstream).await;
        let response = attempt.send(get("/"), false, || None).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
    })
    .await;
}

/// Closes its first connection instead of responding to the second request on it.
async fn forgetful() -> (EndpointTarget, Rc<ServerLog>) {
    by_hand(|number, mut stream| async move {
        let mut served = 0;
        while read_head(&mut stream).await && !(number == 1 && served == 1) {
            write_ok(&mut stream).await;
            served += 1;
        }
    })
    .await
}

#[tokio::test]
async fn a_request_lost_on_a_stale_connection_is_repeated_unseen() {
    on_worker(async {
        let (target, seen) = forgetful().await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        for _ in 0..3 {
            assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "ok");
        }
        assert_eq!(seen.connections.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_must_not_happen_twice_is_not_repeated() {
    for body in [Body::Empty, Body::full("x")] {
        on_worker(async {
            let (target, seen) = forgetful().await;
            let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
            fetch(&upstream, get("/")).await.unwrap();
            let failure = fetch(&upstream, request(Method::POST, "/", body)).await.unwrap_err();
            assert_eq!((failure.cause, failure.untouched), (Cause::Reset, false));
            assert_eq!(seen.connections.get(), 1);
        })
        .await;
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_a_reset_and_tried_once() {
    on_worker(async {
        let (target, seen) = by_hand(|_, mut stream| async move {
            read_head(&mut stream).await;
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        let failure = fetch(&upstream, get("/")).await.unwrap_err();
        assert_eq!((failure.cause, failure.untouched), (Cause::Reset, false));
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn nobody_listening_is_a_connect_failure() {
    on_worker(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server::tcp(&listener);
        drop(listener);
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (_worker, upstream) = worker(config(protocol, [target.clone()]));
            let failure = fetch(&upstream, get("/")).await.unwrap_err();
            assert_eq!((failure.cause, failure.untouched), (Cause::ConnectFailure, true));
            assert!(failure.detail.contains(&target.to_string()), "{failure}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_unix_socket_is_an_address_too() {
    on_worker(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let seen = Rc::new(ServerLog::default());
        drop(tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve_http1(seen, stream).await;
        }));
        let target = EndpointTarget::Address(Address::Unix(path.clone()));
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        assert_eq!(fetch(&upstream, get("/x")).await.unwrap(), "/x");
        assert_eq!(attempt(&upstream).await.endpoint(), format!("unix:{}", path.display()));
    })
    .await;
}

#[tokio::test]
async fn localhost_is_one_endpoint_of_either_family() {
    on_worker(async {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            if TcpListener::bind(address).await.is_err() {
                continue; // This machine has no such family.
            }
            let (target, _) = http1_at(address).await;
            let EndpointTarget::Address(Address::Tcp(at)) = target else { panic!("{target}") };
            let target = EndpointTarget::Dns { host: "localhost".to_owned(), port: at.port() };
            let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
            for _ in 0..8 {
                assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "/", "{address}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_belongs_to_its_request_and_keeps_its_place() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        on_worker(async {
            let (target, seen) = http1().await;
            let table = table();
            let upstreams = Upstreams::new(table.clone());
            let upstream = apply(&upstreams, config(protocol, [target]));
            let connections = || table.snapshot()[0].endpoints[0].connections;
            let mut attempt = attempt(&upstream).await;
            let mut wanted = get("/upgrade");
            for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
                wanted.headers_mut().insert(name, value.parse().unwrap());
            }
            let response = attempt.send(wanted, true, || None).await.unwrap();
            assert_eq!(response.status(), 101);
            let mut io = attempt.take_tunnel().unwrap();
            io.write_all(b"ping").await.unwrap();
            let mut octets = [0; 4];
            io.read_exact(&mut octets).await.unwrap();
            assert_eq!(&octets, b"ping");
            assert_eq!(connections(), 1, "it is still open");
            if protocol == Protocol::Http1 {
                fetch(&upstream, get("/")).await.unwrap();
                assert_eq!(seen.connections.get(), 2);
            }
            let before = connections();
            drop(io);
            assert_eq!(connections(), before - 1);
        })
        .await;
    }
}

fn for_upgrade(path: &str) -> Request<Body> {
    let mut wanted = get(path);
    for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
        wanted.headers_mut().insert(name, value.parse().unwrap());
    }
    wanted
}

/// A tunnel of one of the two kinds: of a request, or of a whole connection.
async fn open(upstream: &Rc<Upstream>, upgrade: bool) -> Result<Box<dyn Any>, SendFailure> {
    let mut attempt = attempt(upstream).await;
    if !upgrade {
        let stream = attempt.connect(None).await?;
        return Ok(Box::new((attempt, stream)));
    }
    attempt.send(for_upgrade("/upgrade"), true, || None).await?;
    let tunnel = attempt.take_tunnel().unwrap();
    Ok(Box::new((attempt, tunnel)))
}

#[tokio::test]
async fn tunnels_leave_half_of_the_connections_to_requests_whatever_opens_them() {
    let kinds = [
        (Protocol::Http1, true),
        (Protocol::Http1, false),
        (Protocol::Http2, true),
        (Protocol::Http2, false),
    ];
    let bounds = [(1, 1), (2, 1), (5, 2)];
    for ((protocol, upgrade), (connections, tunnels)) in
        kinds.into_iter().flat_map(|kind| bounds.map(|bound| (kind, bound)))
    {
        on_worker(async {
            let what = format!("{protocol:?}, upgrade {upgrade}, {connections} connections");
            let (target, _) = http1().await;
            let mut config = config(protocol, [target]);
            config.settings.max_connections = connections;
            let (_worker, upstream) = worker(config);
            let mut held = Vec::new();
            for _ in 0..tunnels {
                held.push(open(&upstream, upgrade).await.unwrap());
            }
            let failure = open(&upstream, upgrade).await.map(drop).unwrap_err();
            assert!(
                failure.limit == Some(EndpointLimit::Tunnels) && failure.untouched,
                "{what}: {failure}"
            );
            if protocol == Protocol::Http1 && connections > tunnels {
                assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "/", "{what}");
            }
            drop(held.pop());
            held.push(open(&upstream, upgrade).await.unwrap());
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_that_becomes_no_tunnel_takes_no_place_of_one() {
    on_worker(async {
        let (target, _) = http1().await;
        let mut config = config(Protocol::Http1, [target]);
        config.settings.max_connections = 2;
        let (_worker, upstream) = worker(config);
        for _ in 0..3 {
            let mut attempt = attempt(&upstream).await;
            let declined = attempt.send(for_upgrade("/no"), true, || None).await.unwrap();
            assert_eq!(text(declined).await, "/no");
        }
        open(&upstream, true).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_that_was_declined_gives_its_connection_back() {
    on_worker(async {
        let (target, seen) = http1().await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        let mut attempt = attempt(&upstream).await;
        let response = attempt.send(get("/no"), true, || None).await.unwrap();
        assert_eq!(text(response).await, "/no");
        fetch(&upstream, get("/")).await.unwrap();
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

/// A server that reads a request and sends this response.
async fn says(answer: String) -> (EndpointTarget, Rc<ServerLog>) {
    by_hand(move |_, mut stream| {
        let answer = answer.clone();
        async move {
            while read_head(&mut stream).await {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_is_no_response_is_the_upstreams_protocol_and_no_reset() {
    let many = "a: b\r\n".repeat(120);
    for answer in [
        format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n"),
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\na : b\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n00000000000000000000".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000),
        "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000),
        "HTTP/1.1 101 Go\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
    ] {
        on_worker(async {
            let start: String = answer.chars().take(60).collect();
            let (target, seen) = says(answer).await;
            let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
            for number in 1..=2 {
                let failure = fetch(&upstream, get("/")).await.unwrap_err();
                assert!(failure.protocol, "{start:?}: {failure}");
                assert_eq!((failure.cause, failure.untouched), (Cause::Other, false));
                assert_eq!(seen.connections.get(), number, "{start:?}: one attempt, one connection");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn as_many_fields_pass_as_the_policy_says() {
    for (fields, allowed, passes) in
        [(99, 100, true), (120, 100, false), (120, 121, true), (300, 1000, true), (10, 5, false)]
    {
        on_worker(async {
            let more = "a: b\r\n".repeat(fields);
            let head = format!("HTTP/1.1 200 OK\r\n{more}content-length: 2\r\n\r\nok");
            let (target, _) = says(head).await;
            let mut config = config(Protocol::Http1, [target]);
            config.settings.response.max_fields = allowed;
            let (_worker, upstream) = worker(config);
            let sent = fetch(&upstream, get("/")).await;
            assert_eq!(sent.is_ok(), passes, "{fields} of {allowed}: {sent:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn interim_responses_within_the_budget_do_not_disturb_the_final_one() {
    on_worker(async {
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
        let whole = format!("{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", hint.repeat(20));
        let (target, seen) = says(whole).await;
        let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
        for _ in 0..3 {
            assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "ok");
        }
        assert_eq!(seen.connections.get(), 1, "each request has a budget of its own");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_breaks_the_protocol_halfway_is_told_from_a_broken_connection() {
    for (rest, protocol) in [("00000000000000000", true), ("zz\r\n", true), ("", false)] {
        on_worker(async {
            let (go, gone) = (Rc::new(tokio::sync::Notify::new()), rest.to_owned());
            let told = Rc::clone(&go);
            let (target, _) = by_hand(move |_, mut stream| {
                let (told, rest) = (Rc::clone(&told), gone.clone());
                async move {
                    read_head(&mut stream).await;
                    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
                    stream.write_all(head).await.unwrap();
                    told.notified().await;
                    stream.write_all(rest.as_bytes()).await.unwrap();
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http1, [target]));
            let mut attempt = attempt(&upstream).await;
            let response = attempt.send(get("/"), false, || None).await.unwrap();
            go.notify_one();
            let error = response.into_body().collect().await.unwrap_err();
            assert_eq!(crate::is_broken_by(&error), protocol, "{rest:?}: {error:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_there_outlives_the_request_that_cannot_be_written() {
    on_worker(async {
        let (target, _) = by_hand(|number, mut stream| async move {
            read_head(&mut stream).await;
            let refusal = match number % 3 {
                0 => "content-length: 3\r\nconnection: close\r\n\r\nbig",
                1 => "content-length: 3\r\n\r\nbig",
                _ => "transfer-encoding: chunked\r\n\r\n1\r\nb\r\n2\r\nig\r\n0\r\n\r\n",
            };
            let refusal = format!("HTTP/1.1 413 x\r\n{refusal}");
            stream.write_all(refusal.as_bytes()).await.unwrap();
        })
        .await;
        let table = table();
        let upstreams = Upstreams::new(table.clone());
        let upstream = apply(&upstreams, config(Protocol::Http1, [target]));
        for number in 0..30 {
            let mut attempt = attempt(&upstream).await;
            let upload = request(Method::POST, "/", Body::full(vec![7; 8 * 1024 * 1024]));
            let response = attempt.send(upload, false, || None).await;
            let response = response.unwrap_or_else(|failure| panic!("{number}: {failure}"));
            assert_eq!(response.status(), 413);
            assert_eq!(text(response).await, "big");
        }
        let open = || table.snapshot()[0].endpoints[0].connections;
        eventually("their connections are closed", || open() == 0).await;
    })
    .await;
}
