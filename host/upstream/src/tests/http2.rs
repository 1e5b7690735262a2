//! HTTP/2 connections: many streams, peers that go.

use super::server::{ServerLog, respond, tcp};
use super::*;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use tamis_exchange::Cause;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// Runs a server's tasks on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        drop(spawn_local(async move { drop(task.await) }));
    }
}

/// Serves with up to `streams` on a connection.
pub(super) async fn http2(streams: u32) -> (EndpointTarget, Rc<ServerLog>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (target, seen) = (tcp(&listener), Rc::new(ServerLog::default()));
    let shared = Rc::clone(&seen);
    drop(spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Rc::clone(&shared);
            seen.connections.set(seen.connections.get() + 1);
            drop(spawn_local(async move {
                let service = service_fn(|request| respond(Rc::clone(&seen), request));
                let mut builder = hyper::server::conn::http2::Builder::new(Local);
                builder.max_concurrent_streams(streams);
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }));
        }
    }));
    (target, seen)
}

#[tokio::test]
async fn streams_share_a_connection() {
    on_worker(async {
        let (target, seen) = http2(200).await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        let all: Vec<_> = (0..20)
            .map(|_| {
                let upstream = Rc::clone(&upstream);
                spawn_local(async move { fetch(&upstream, get("/hold")).await })
            })
            .collect();
        seen.requests(20).await;
        for _ in 0..20 {
            seen.release.notify_one();
            tokio::task::yield_now().await;
        }
        seen.release.notify_waiters();
        for one in all {
            assert_eq!(one.await.unwrap().unwrap(), "/hold");
        }
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn another_connection_is_opened_when_the_peer_allows_no_more_streams() {
    on_worker(async {
        let (target, seen) = http2(2).await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        fetch(&upstream, get("/first")).await.unwrap();
        let mut held = Vec::new();
        for count in 2..=5 {
            let upstream = Rc::clone(&upstream);
            held.push(spawn_local(async move { fetch(&upstream, get("/hold")).await }));
            // Beyond two on a connection they arrive only over another.
            seen.requests(count).await;
        }
        assert_eq!(seen.connections.get(), 2);
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_for_a_stream_is_seen_by_those_that_have_one() {
    on_worker(async {
        let (target, seen) = http2(1).await;
        let mut config = config(Protocol::Http2, [target]);
        config.settings.max_connections = 1;
        let (_worker, upstream) = worker(config);
        let mut first = attempt(&upstream).await;
        let response = first.send(get("/"), false, || None).await.unwrap();
        assert!(!first.is_crowded() && !first.crowd().is_there());
        let waits = spawn_local(async move { fetch(&upstream, get("/second")).await });
        eventually("a request waits", || first.is_crowded() && first.crowd().is_there()).await;
        assert_eq!(text(response).await, "/");
        // The stream is there until the attempt ends.
        let crowd = first.crowd();
        drop(first);
        assert_eq!(waits.await.unwrap().unwrap(), "/second");
        assert!(!crowd.is_there());
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

/// A server by hand, on the level of frames.
pub(super) async fn frames<F: Future<Output = ()> + 'static>(
    serve: impl Fn(u32, h2::server::Connection<TcpStream, Bytes>) -> F + 'static,
) -> (EndpointTarget, Rc<ServerLog>) {
    let serve = Rc::new(serve);
    server::by_hand(move |number, stream| {
        let serve = Rc::clone(&serve);
        async move { serve(number, h2::server::handshake(stream).await.unwrap()).await }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_is_told_from_a_reset() {
    on_worker(async {
        for (reason, cause) in [
            (h2::Reason::REFUSED_STREAM, Cause::RefusedStream),
            (h2::Reason::INTERNAL_ERROR, Cause::Reset),
        ] {
            let (target, _) = frames(move |_, mut connection| async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_reset(reason);
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            assert_eq!(fetch(&upstream, get("/")).await.unwrap_err().cause, cause);
        }
    })
    .await;
}

#[tokio::test]
async fn after_a_goaway_requests_go_over_a_new_connection() {
    on_worker(async {
        let (target, seen) = frames(|_, mut connection| async move {
            let mut served = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
                served += 1;
                if served == 2 {
                    connection.graceful_shutdown();
                }
            }
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        for _ in 0..6 {
            assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "");
        }
        assert!((3..=4).contains(&seen.connections.get()), "{}", seen.connections.get());
    })
    .await;
}

/// Answers `/slow` in two pieces, the second when `released`, and everything else with more than anybody reads.
async fn downloads(released: Rc<tokio::sync::Notify>) -> (EndpointTarget, Rc<ServerLog>) {
    frames(move |_, mut connection| {
        let released = Rc::clone(&released);
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let mut answer = respond.send_response(Response::new(()), false).unwrap();
                let slow = request.uri().path() == "/slow";
                let released = Rc::clone(&released);
                drop(spawn_local(async move {
                    if slow {
                        drop(answer.send_data(Bytes::from_static(b"begun "), false));
                        released.notified().await;
                        drop(answer.send_data(Bytes::from_static(b"and ended"), true));
                    } else {
                        drop(answer.send_data(Bytes::from(vec![b'x'; 64 * 1024]), false));
                        poll_fn(|cx| answer.poll_reset(cx)).await.unwrap();
                    }
                }));
            }
        }
    })
    .await
}

#[tokio::test]
async fn downloads_that_clients_give_up_end_no_other_on_their_connection() {
    on_worker(async {
        let released = Rc::new(tokio::sync::Notify::new());
        let (target, seen) = downloads(Rc::clone(&released)).await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        let mut attempt = attempt(&upstream).await;
        let slow = attempt.send(get("/slow"), false, || None).await.unwrap();
        // More than a connection serves before it takes no new streams.
        for _ in 0..5_000 {
            let mut given_up = super::attempt(&upstream).await;
            drop(given_up.send(get("/large"), false, || None).await.unwrap());
        }
        released.notify_one();
        assert_eq!(text(slow).await, "begun and ended");
        assert_eq!(seen.connections.get(), 2, "the first takes no new streams after so many");
    })
    .await;
}

#[tokio::test]
async fn downloads_that_clients_give_up_keep_nobody_from_an_endpoint_without_another_place() {
    on_worker(async {
        let released = Rc::new(tokio::sync::Notify::new());
        let (target, seen) = downloads(Rc::clone(&released)).await;
        let mut config = config(Protocol::Http2, [target]);
        config.settings.max_connections = 1;
        let (_worker, upstream) = worker(config);
        let mut attempt = attempt(&upstream).await;
        let slow = attempt.send(get("/slow"), false, || None).await.unwrap();
        for _ in 0..5_000 {
            let mut given_up = super::attempt(&upstream).await;
            drop(given_up.send(get("/large"), false, || None).await.unwrap());
        }
        // The long response holds the only place, and others are served beside it.
        assert_eq!(seen.connections.get(), 1);
        released.notify_one();
        assert_eq!(text(slow).await, "begun and ended");
        drop(attempt);
        // Nothing is on it any more: another takes its place.
        let mut after = super::attempt(&upstream).await;
        drop(after.send(get("/large"), false, || None).await.unwrap());
        assert_eq!(seen.connections.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_reset_of_its_streams() {
    on_worker(async {
        let (target, _) = frames(|_, mut connection| async move {
            drop(connection.accept().await);
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        let failure = fetch(&upstream, get("/")).await.unwrap_err();
        assert_eq!((failure.cause, failure.untouched), (Cause::Reset, false), "{failure}");
    })
    .await;
}

/// Reads until a HEADERS frame arrives.
async fn read_to_headers(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            break;
        }
    }
}

/// Reads until a HEADERS frame arrives, then sends `endless` again and again.
async fn floods(endless: &'static [u8]) -> (EndpointTarget, Rc<ServerLog>) {
    server::by_hand(move |_, mut stream| async move {
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        read_to_headers(&mut stream).await;
        let many = endless.repeat(100);
        while stream.write_all(&many).await.is_ok() {}
    })
    .await
}

/// A field as HPACK, without any compression (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A HEADERS frame of the first stream with these fields.
fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let length = u8::try_from(block.len()).unwrap();
    [&[0, 0, length, 1, flags, 0, 0, 0, 1], block.as_slice()].concat()
}

/// The result for a response of these frames: the failure, or the names of its fields and trailers.
async fn answered(frames: Vec<u8>) -> Result<Vec<String>, SendFailure> {
    let (target, _) = server::by_hand(move |_, mut stream| {
        let frames = frames.clone();
        async move {
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            read_to_headers(&mut stream).await;
            stream.write_all(&frames).await.unwrap();
            // The peer decides when it is done.
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
    })
    .await;
    let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
    let mut attempt = attempt(&upstream).await;
    let (head, body) = attempt.send(get("/"), false, || None).await?.into_parts();
    let collected =
        body.collect().await.map_err(|error| SendFailure::protocol(error.to_string()))?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let names = head.headers.keys().chain(trailers.keys()).map(ToString::to_string);
    Ok(names.collect())
}

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

#[tokio::test]
async fn a_malformed_response_is_the_upstreams_protocol() {
    let status = (":status", "200");
    for (what, fields) in [
        (":status twice", vec![status, status]),
        ("two different ones", vec![status, (":status", "500")]),
        ("none", vec![("a", "b")]),
        ("one behind a field", vec![("a", "b"), status]),
        ("one before and one behind", vec![status, ("a", "b"), status]),
        ("one that is no number", vec![(":status", "abc")]),
        ("one of four digits", vec![(":status", "2000")]),
        ("an unknown pseudo-header", vec![status, (":reason", "OK")]),
        ("a pseudo-header behind a field", vec![status, ("a", "b"), (":path", "/")]),
        ("a name in capitals", vec![status, ("A", "b")]),
        ("an empty name", vec![status, ("", "b")]),
        ("a line break", vec![status, ("a", "b\r\nc: d")]),
        ("connection", vec![status, ("connection", "close")]),
        ("transfer-encoding", vec![status, ("transfer-encoding", "chunked")]),
        ("upgrade", vec![status, ("upgrade", "websocket")]),
        ("two lengths", vec![status, ("content-length", "0"), ("content-length", "1")]),
        ("a length that is none", vec![status, ("content-length", "+0")]),
        ("a length without content", vec![status, ("content-length", "1")]),
    ] {
        on_worker(async {
            let failure = answered(headers(END_STREAM | END_HEADERS, &fields)).await.unwrap_err();
            assert!(failure.protocol && !failure.untouched, "{what}: {failure}");
        })
        .await;
    }
}

/// The h2 crate leaves out what belongs to requests, before anybody sees it: the response has one reading, and no client gets
/// such a field (RFC 9113 §8.1.1 asks for more: to refuse it).
#[tokio::test]
async fn no_pseudo_header_of_a_request_reaches_a_client_in_a_response() {
    let own = [":method", ":scheme", ":authority", ":path", ":protocol"];
    for name in own {
        on_worker(async {
            let value = if name == ":method" { "GET" } else { "/" };
            let fields = [(":status", "200"), (name, value), ("a", "b")];
            let names = answered(headers(END_STREAM | END_HEADERS, &fields)).await.unwrap();
            assert_eq!(names, ["a"], "{name}");
        })
        .await;
    }
    for name in own.into_iter().chain([":status"]) {
        on_worker(async {
            let value = match name {
                ":method" => "GET",
                ":status" => "500",
                _ => "/",
            };
            let head = headers(END_HEADERS, &[(":status", "200"), ("a", "b")]);
            let trailers = headers(END_STREAM | END_HEADERS, &[(name, value), ("c", "d")]);
            let names = answered([head, trailers].concat()).await.unwrap();
            assert_eq!(names, ["a", "c"], "{name} in trailers");
        })
        .await;
    }
}

#[tokio::test]
async fn a_flood_of_frames_without_use_is_the_upstreams_protocol() {
    for (what, frame) in [
        ("interim heads", &[0, 0, 5, 1, 4, 0, 0, 0, 1, 0x48, 3, b'1', b'0', b'3'][..]),
        ("PING", &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("SETTINGS", &[0, 0, 0, 4, 0, 0, 0, 0, 0]),
        ("WINDOW_UPDATE", &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("unknown", &[0, 0, 0, 0xbe, 0, 0, 0, 0, 0]),
    ] {
        on_worker(async {
            let (target, _) = floods(frame).await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            let failure = fetch(&upstream, get("/")).await.unwrap_err();
            assert!(failure.protocol && !failure.untouched, "{what}: {failure}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_head_with_too_many_fields_is_the_upstreams_protocol() {
    for (fields, passes) in [(90, true), (101, false), (500, false)] {
        on_worker(async {
            let (target, _) = frames(move |_, mut connection| async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut response = Response::new(());
                    for number in 0..fields {
                        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                        response.headers_mut().insert(name, "1".parse().unwrap());
                    }
                    drop(respond.send_response(response, true));
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            match fetch(&upstream, get("/")).await {
                Ok(_) => assert!(passes, "{fields}"),
                Err(failure) => assert!(failure.protocol && !passes, "{fields}: {failure}"),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_response_has_no_more_and_no_longer_trailers_than_over_http1() {
    for (count, length, passes) in [
        (0, 1, true),
        (1, 1, true),
        (32, 1, true),
        (33, 1, false),
        (1, 8_000, true),
        (1, 9_000, false),
    ] {
        on_worker(async {
            let (target, _) = frames(move |_, mut connection| async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    for number in 0..count {
                        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                        trailers.insert(name, "1".repeat(length).parse().unwrap());
                    }
                    drop(answer.send_trailers(trailers));
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            let mut attempt = attempt(&upstream).await;
            let response = attempt.send(get("/"), false, || None).await.unwrap();
            let read = response.into_body().collect().await;
            assert_eq!(read.is_ok(), passes, "{count} of {length}");
        })
        .await;
    }
}

#[tokio::test]
async fn interim_responses_are_passed_on_within_their_budget() {
    for (status, count, passed, whole) in [
        (103, 0, 0, true),
        (103, 1, 1, true),
        (103, 32, 32, true),
        (103, 33, 32, false),
        (103, 200, 32, false),
        (100, 2, 2, true),
        (102, 2, 2, true),
        (199, 2, 2, true),
        (101, 1, 0, false),
    ] {
        on_worker(async {
            let (target, _) = frames(move |_, mut connection| async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    for number in 0..count {
                        let mut hint = Response::new(());
                        *hint.status_mut() = http::StatusCode::from_u16(status).unwrap();
                        hint.headers_mut().insert("x-number", number.into());
                        drop(respond.send_informational(hint));
                    }
                    drop(respond.send_response(Response::new(()), true));
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            let mut attempt = attempt(&upstream).await;
            let seen = std::cell::RefCell::new(Vec::new());
            let interim = |seen_status: http::StatusCode, headers: http::HeaderMap| {
                assert_eq!(seen_status, status);
                let number = headers["x-number"].to_str().unwrap().parse::<i32>().unwrap();
                seen.borrow_mut().push(number);
            };
            let sent = attempt.send_passing_interim(get("/"), false, || None, &interim).await;
            assert_eq!(sent.is_ok(), whole, "{count} of {status}");
            assert!(sent.err().is_none_or(|failure| failure.protocol), "{count} of {status}");
            assert_eq!(*seen.borrow(), (0..passed).collect::<Vec<_>>(), "{count} of {status}");
        })
        .await;
    }
}

/// A request whose content is what is sent to it.
fn upload() -> (tamis_exchange::FrameSender, Request<Body>) {
    let (send, body) = Body::channel(1);
    (send, Request::post("http://a/").body(body).unwrap())
}

fn piece(octets: &'static str) -> Result<http_body::Frame<Bytes>, tamis_exchange::BodyError> {
    Ok(http_body::Frame::data(Bytes::from_static(octets.as_bytes())))
}

#[tokio::test]
async fn content_goes_on_after_its_response_began_until_nobody_reads_that() {
    for reads in [true, false] {
        on_worker(async {
            let ends = Rc::new(std::cell::RefCell::new(Vec::new()));
            let told = Rc::clone(&ends);
            let (target, _) = frames(move |_, mut connection| {
                let told = Rc::clone(&told);
                async move {
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let mut answer = respond.send_response(Response::new(()), false).unwrap();
                        let told = Rc::clone(&told);
                        drop(spawn_local(async move {
                            let mut content = request.into_body();
                            let mut octets = Vec::new();
                            while let Some(Ok(piece)) = content.data().await {
                                octets.extend_from_slice(&piece);
                            }
                            let whole = content.is_end_stream();
                            told.borrow_mut().push((octets, whole));
                            drop(answer.send_data(Bytes::from_static(b"answer"), true));
                        }));
                    }
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            let mut attempt = attempt(&upstream).await;
            let (send, request) = upload();
            send.send(piece("one ")).await.unwrap();
            let response = attempt.send(request, false, || None).await.unwrap();
            send.send(piece("two ")).await.unwrap();
            if reads {
                send.send(piece("three")).await.unwrap();
                drop(send);
                assert_eq!(text(response).await, "answer");
                assert_eq!(*ends.borrow(), [(b"one two three".to_vec(), true)]);
            } else {
                drop(response);
                send.closed().await;
                eventually("the endpoint sees the end", || !ends.borrow().is_empty()).await;
                assert!(!ends.borrow()[0].1, "it was cut off");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn content_that_fails_resets_its_stream_alone() {
    on_worker(async {
        let (target, seen) = frames(|_, mut connection| async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                drop(spawn_local(async move {
                    let mut content = request.into_body();
                    while let Some(Ok(_)) = content.data().await {}
                    drop(respond.send_response(Response::new(()), true));
                }));
            }
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        let (send, request) = upload();
        send.send(Err(tamis_exchange::BodyError::Ended("a test"))).await.unwrap();
        let failure = fetch(&upstream, request).await.unwrap_err();
        assert_eq!((failure.cause, failure.protocol), (Cause::Reset, false), "{failure}");
        assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "");
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn content_that_was_cut_off_is_no_whole_response_whatever_the_reason_was() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
        on_worker(async {
            let (target, _) = frames(move |_, mut connection| async move {
                let mut held = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    answer.send_data(Bytes::from_static(b"some"), false).unwrap();
                    held.push(request);
                    drop(spawn_local(async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        answer.send_reset(reason);
                    }));
                }
            })
            .await;
            let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
            let mut attempt = attempt(&upstream).await;
            let response = attempt.send(get("/"), false, || None).await.unwrap();
            assert!(response.into_body().collect().await.is_err(), "{reason:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_says_no_more_and_no_less_than_http2_wants() {
    on_worker(async {
        let heads = Rc::new(std::cell::RefCell::new(Vec::new()));
        let told = Rc::clone(&heads);
        let (target, _) = frames(move |_, mut connection| {
            let told = Rc::clone(&told);
            async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (parts, content) = request.into_parts();
                    let mut names: Vec<_> = parts.headers.keys().map(|it| it.to_string()).collect();
                    names.sort();
                    let length = parts.headers.get("content-length").cloned();
                    told.borrow_mut().push((names.join(" "), length, content.is_end_stream()));
                    drop(respond.send_response(Response::new(()), true));
                }
            }
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        for (method, body, names, length, ends) in [
            ("GET", Body::Empty, "te x-own", None, true),
            ("DELETE", Body::Empty, "te x-own", None, true),
            ("POST", Body::Empty, "content-length te x-own", Some("0"), true),
            ("PUT", Body::full("abc"), "content-length te x-own", Some("3"), false),
            ("QUERY", Body::full("abc"), "content-length te x-own", Some("3"), false),
        ] {
            let mut request = Request::builder().method(method).uri("http://a/");
            for (name, value) in [
                ("x-own", "1"),
                ("te", "trailers"),
                ("host", "a"),
                ("connection", "close"),
                ("upgrade", "h2c"),
                ("keep-alive", "1"),
                ("proxy-connection", "1"),
                ("transfer-encoding", "chunked"),
            ] {
                request = request.header(name, value);
            }
            fetch(&upstream, request.body(body).unwrap()).await.unwrap();
            let length = length.map(http::HeaderValue::from_static);
            let seen = heads.borrow_mut().pop().unwrap();
            assert_eq!(seen, (names.to_owned(), length, ends), "{method}");
        }
    })
    .await;
}
