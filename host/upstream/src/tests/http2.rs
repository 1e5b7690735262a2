//! HTTP/2 connections: many streams, peers that go.

use super::server::{ServerLog, respond, tcp};
use super::*;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tamis_exchange::Cause;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
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
async fn http2(streams: u32) -> (EndpointTarget, Rc<ServerLog>) {
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

/// A server by hand, on the level of frames.
async fn frames<F: Future<Output = ()> + 'static>(
    serve: impl Fn(u32, h2::server::Connection<tokio::net::TcpStream, Bytes>) -> F + 'static,
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

/// Reads until a HEADERS frame arrives, then sends `endless` again and again.
async fn floods(endless: &'static [u8]) -> (EndpointTarget, Rc<ServerLog>) {
    server::by_hand(move |_, mut stream| async move {
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
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
        let many = endless.repeat(100);
        while stream.write_all(&many).await.is_ok() {}
    })
    .await
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
