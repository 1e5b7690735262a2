//! Streams of HTTP/2 that an endpoint keeps, allows or refuses.

use super::server::{ServerLog, by_hand};
use super::*;
use std::cell::Cell;
use tamis_exchange::Cause;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const REFUSED_STREAM: u8 = 7;
const PREFACE_OCTETS: usize = 24;

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A response without content at once, whatever follows of the request.
    AtOnce,
    /// The same when the test lets it.
    Later,
    /// `REFUSED_STREAM`.
    Refused,
}

/// Streams that an endpoint allows at first, and after its first answer.
#[derive(Debug, Clone, Copy)]
struct Allows(u8, u8);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut octets = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

fn allow(streams: u8) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, streams])
}

/// An endpoint by hand. It never opens the window of a stream. Counts the streams that were reset.
async fn endpoint(
    answer: Answer,
    allows: Allows,
) -> (EndpointTarget, Rc<ServerLog>, Rc<Cell<u32>>) {
    let resets = Rc::new(Cell::new(0));
    let (counted, release) = (Rc::clone(&resets), Rc::new(tokio::sync::Notify::new()));
    let (target, seen) = by_hand(move |_, stream| {
        let (counted, release) = (Rc::clone(&counted), Rc::clone(&release));
        async move {
            // The end of the connection ends this as well.
            drop(serve(stream, answer, allows, &counted, &release).await);
        }
    })
    .await;
    (target, seen, resets)
}

async fn serve(
    mut stream: TcpStream,
    answer: Answer,
    Allows(first, then): Allows,
    resets: &Cell<u32>,
    later: &tokio::sync::Notify,
) -> std::io::Result<()> {
    stream.write_all(&allow(first)).await?;
    stream.read_exact(&mut [0; PREFACE_OCTETS]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, _, s, t, u, v] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let number = u32::from_be_bytes([s, t, u, v]);
        match (kind, answer) {
            (HEADERS, Answer::Refused) => {
                stream.write_all(&frame(RST_STREAM, 0, number, &[0, 0, 0, REFUSED_STREAM])).await?;
            }
            (HEADERS, _) => {
                if answer == Answer::Later {
                    later.notified().await;
                }
                // END_HEADERS and END_STREAM; `:status: 200` (RFC 7541, appendix A).
                stream.write_all(&frame(HEADERS, 0x5, number, &[0x88])).await?;
                stream.write_all(&allow(then)).await?;
            }
            (RST_STREAM, _) => resets.set(resets.get() + 1),
            _ => {}
        }
    }
}

fn upload(octets: usize) -> Request<Body> {
    Request::post("http://a/").body(Body::full(vec![0; octets])).unwrap()
}

/// Longer than content that nobody reads is kept after its response.
async fn pass_stall() {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(12)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn content_that_nobody_reads_after_the_response_takes_no_stream_from_others_for_ever() {
    on_worker(async {
        let (target, seen, resets) = endpoint(Answer::AtOnce, Allows(2, 2)).await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        // More than the window of a stream: a part of it is never sent.
        for _ in 0..2 {
            assert_eq!(fetch(&upstream, upload(200_000)).await.unwrap(), "");
        }
        assert_eq!(seen.connections.get(), 1);
        // Both streams are still open for the endpoint, so others need another connection.
        assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "");
        assert_eq!((seen.connections.get(), resets.get()), (2, 0));
        pass_stall().await;
        eventually("both streams are reset", || resets.get() == 2).await;
        for _ in 0..2 {
            assert_eq!(fetch(&upstream, upload(200_000)).await.unwrap(), "");
        }
        assert_eq!(seen.connections.get(), 2, "their streams are used again");
    })
    .await;
}

#[tokio::test]
async fn clients_that_read_nothing_stop_no_response_to_others() {
    const UNREAD: usize = 60;
    on_worker(async {
        let (target, seen) = http2::frames(|_, mut connection| async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let octets = if request.uri().path() == "/big" { 1 << 20 } else { 20_000 };
                let mut answer = respond.send_response(Response::new(()), false).unwrap();
                drop(answer.send_data(vec![b'x'; octets].into(), true));
            }
        })
        .await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        let mut unread = Vec::new();
        for _ in 0..UNREAD {
            let mut one = attempt(&upstream).await;
            let response = one.send(get("/big"), false, || None).await.unwrap();
            unread.push((one, response));
        }
        for _ in 0..5 {
            assert_eq!(fetch(&upstream, get("/")).await.unwrap().len(), 20_000);
        }
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn no_more_connections_are_opened_than_may_be_whatever_the_endpoint_allows() {
    on_worker(async {
        let (target, seen) = http2::http2(1).await;
        let mut config = config(Protocol::Http2, [target]);
        (config.settings.max_connections, config.settings.max_pending) = (2, 2);
        let (_worker, upstream) = worker(config);
        let later = |path: &'static str| -> JoinHandle<Result<String, SendFailure>> {
            let upstream = Rc::clone(&upstream);
            spawn_local(async move { fetch(&upstream, get(path)).await })
        };
        // Each connection states its limit after the first request.
        let mut all = vec![later("/hold")];
        seen.requests(1).await;
        all.push(later("/hold"));
        seen.requests(2).await;
        all.extend([later("/a"), later("/b")]);
        pass_time().await;
        let failure = fetch(&upstream, get("/c")).await.unwrap_err();
        assert_eq!((failure.cause, failure.untouched), (Cause::Other, true), "{failure}");
        assert!(failure.detail.contains("pool.pending"), "{failure}");
        assert_eq!((seen.connections.get(), seen.paths.borrow().len()), (2, 2));
        seen.release.notify_waiters();
        for one in all {
            one.await.unwrap().unwrap();
        }
        assert_eq!((seen.connections.get(), seen.paths.borrow().len()), (2, 4));
    })
    .await;
}

/// Longer than between two looks at the places of other workers.
async fn pass_time() {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(60)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_endpoint_that_allows_no_more_streams_is_one_that_goes() {
    on_worker(async {
        let (target, seen, _) = endpoint(Answer::AtOnce, Allows(100, 0)).await;
        let (_worker, upstream) = worker(config(Protocol::Http2, [target]));
        for connections in 1..=3 {
            assert_eq!(fetch(&upstream, get("/")).await.unwrap(), "");
            assert_eq!(seen.connections.get(), connections);
            // Its new limit has arrived.
            pass_time().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_allows_none_from_the_beginning_refuses_within_the_time_of_connecting() {
    on_worker(async {
        let (target, _, _) = endpoint(Answer::Refused, Allows(0, 0)).await;
        let mut config = config(Protocol::Http2, [target]);
        config.settings.connect_timeout = Duration::from_millis(50);
        let (_worker, upstream) = worker(config);
        let failure = fetch(&upstream, get("/")).await.unwrap_err();
        assert_eq!((failure.cause, failure.untouched), (Cause::RefusedStream, true), "{failure}");
    })
    .await;
}
