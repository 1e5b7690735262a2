//! Responses read by the connection itself, and requests as they are written.

use std::future::poll_fn;

use http::{Request, header};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::intake::Body;
use crate::response::tests::{readable, refused};
use crate::turn::{TURN_BYTES, TURN_PIECES};

type Outgoing = OutgoingRequest<Full<Bytes>>;

/// A connection with a request that expects such a response, and the upstream's end.
fn asked(expectation: Expectation) -> (ClientConnection<DuplexStream>, Outgoing, DuplexStream) {
    let (near, far) = duplex(1024 * 1024);
    let request = Request::builder().uri("/");
    let request = match expectation {
        Expectation::Content => request,
        Expectation::Head => request.method("HEAD"),
        Expectation::Connect => request.method("CONNECT"),
        Expectation::Switch => request.header(header::UPGRADE, "echo"),
    };
    let request = OutgoingRequest::new(request.body(Full::default()).unwrap());
    (ClientConnection::new(near, ResponseLimits::default()), request, far)
}

/// What was read of a response.
#[derive(Default)]
struct Seen {
    head: Option<ResponseHead>,
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    refused: Option<ResponseRefusal>,
    reusable: bool,
}

/// Reads `response`, sent in pieces of `piece` bytes and then ended.
async fn read(expectation: Expectation, response: &[u8], piece: usize) -> Seen {
    let (mut connection, mut request, mut far) = asked(expectation);
    let response = response.to_vec();
    let writer = async move {
        for piece in response.chunks(piece) {
            if far.write_all(piece).await.is_err() {
                // It was refused.
                break;
            }
            tokio::task::yield_now().await;
        }
        far.shutdown().await.unwrap_or_default();
        far
    };
    let reader = async {
        let mut seen = Seen::default();
        match poll_fn(|cx| connection.poll_exchange(cx, &mut request)).await {
            Ok(head) => seen.head = Some(head),
            Err(Http1ClientError::Refused(refusal)) => {
                seen.refused = Some(refusal);
                return seen;
            }
            Err(_) => return seen,
        }
        if seen.head.as_ref().is_some_and(|head| head.tunnel) {
            let mut tunnel = connection.into_tunnel();
            tunnel.read_to_end(&mut seen.content).await.unwrap();
            return seen;
        }
        while let Some(frame) = poll_fn(|cx| connection.poll_frame(cx)).await {
            match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => seen.content.extend_from_slice(&data),
                    Err(frame) => seen.trailers = frame.into_trailers().ok(),
                },
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                    seen.refused = error.into_inner().unwrap().downcast().ok().map(|it| *it);
                    return seen;
                }
            }
        }
        seen.reusable = connection.is_reusable();
        seen
    };
    tokio::join!(reader, writer).0
}

#[tokio::test]
async fn a_response_is_the_same_however_it_is_cut() {
    for (expectation, response) in readable() {
        let whole = read(expectation, response.as_bytes(), usize::MAX).await;
        let head = whole.head.unwrap();
        for piece in [1, 2, 7, 64, 5000] {
            let seen = read(expectation, response.as_bytes(), piece).await;
            let again = seen.head.unwrap();
            assert_eq!((again.status, &again.headers), (head.status, &head.headers), "{piece}");
            assert_eq!(seen.content, whole.content, "{response:?} in pieces of {piece}");
            assert_eq!(seen.trailers, whole.trailers, "{response:?} in pieces of {piece}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_at_the_intake_is_refused_here_however_it_is_cut() {
    for (response, refusal) in refused() {
        for piece in [1, 7, 5000, usize::MAX] {
            let seen = read(Expectation::Content, response.as_bytes(), piece).await;
            let start: String = response.chars().take(80).collect();
            assert_eq!(seen.refused, Some(refusal), "{start:?} in pieces of {piece}");
            if piece == usize::MAX && response.len() < 700 {
                assert!(seen.head.is_none(), "{start:?}: shown before the rest was judged");
            }
        }
    }
}

#[tokio::test]
async fn content_trailers_and_reuse_are_those_of_the_response() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (response, content, trailer, reusable) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(), "ok", None, true),
        ("HTTP/1.1 204 No\r\n\r\n".to_owned(), "", None, true),
        (format!("{chunked}1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n"), "ok", None, true),
        (format!("{chunked}2\r\nok\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n"), "ok", Some("1"), true),
        (
            "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n".into(),
            "",
            None,
            false,
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(), "ok", None, false),
        (
            "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nok".into(),
            "ok",
            None,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nto the end".to_owned(), "to the end", None, false),
        // More than was announced.
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n".to_owned(), "ok", None, false),
        ("HTTP/1.1 204 No\r\n\r\nok".to_owned(), "", None, false),
    ] {
        let seen = read(Expectation::Content, response.as_bytes(), usize::MAX).await;
        assert_eq!(seen.content, content.as_bytes(), "{response:?}");
        assert_eq!(seen.trailers.as_ref().map(|it| it["x-sum"].to_str().unwrap()), trailer);
        assert_eq!(seen.reusable, reusable, "{response:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_with_bytes_that_answer_nothing_is_of_no_use() {
    for bytes in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b""] {
        let (mut connection, _, mut far) = asked(Expectation::Content);
        let pending = poll_fn(|cx| Poll::Ready(connection.poll_ended(cx).is_pending())).await;
        assert!(pending);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        poll_fn(|cx| connection.poll_ended(cx)).await;
    }
}

#[tokio::test]
async fn a_flood_yields_to_others_after_a_turn() {
    let (mut connection, mut request, mut far) = asked(Expectation::Content);
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    poll_fn(|cx| connection.poll_exchange(cx, &mut request)).await.unwrap();
    let flood = async {
        far.write_all(&vec![0; 3 * TURN_BYTES]).await.unwrap();
        far
    };
    let reader = async {
        let (mut turns, mut sum) = (vec![0_usize], 0);
        while sum < 3 * TURN_BYTES {
            match futures_util::poll!(poll_fn(|cx| connection.poll_frame(cx))) {
                Poll::Ready(frame) => {
                    let length = frame.unwrap().unwrap().into_data().unwrap().len();
                    *turns.last_mut().unwrap() += length;
                    sum += length;
                }
                Poll::Pending => {
                    turns.push(0);
                    tokio::task::yield_now().await;
                }
            }
        }
        turns
    };
    let (turns, _) = tokio::join!(reader, flood);
    assert!(turns.iter().all(|turn| *turn <= TURN_BYTES + READ_MAX), "{turns:?}");
    assert!(turns.len() >= 2, "{turns:?}");
}

/// A request as it is written.
async fn written<B>(request: Request<B>) -> Result<String, String>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (near, mut far) = duplex(1024 * 1024);
    let mut connection = ClientConnection::new(near, ResponseLimits::default());
    let mut outgoing = OutgoingRequest::new(request);
    let sent = poll_fn(|cx| connection.poll_write(cx, &mut outgoing)).await;
    drop(connection);
    let mut seen = Vec::new();
    far.read_to_end(&mut seen).await.unwrap();
    sent.map(|()| String::from_utf8(seen).unwrap())
        .map_err(|error| error.source().map(ToString::to_string).unwrap_or_default())
}

/// A body of these frames, whose length is unknown.
fn frames(
    frames: Vec<Frame<Bytes>>,
) -> impl http_body::Body<Data = Bytes, Error = io::Error> + Unpin {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok)))
}

#[tokio::test]
async fn a_request_is_framed_by_its_length_or_in_chunks() {
    let post = || Request::post("http://shop.example/a?b");
    let full = |text: &'static str| Full::new(Bytes::from(text));
    let head = "POST /a?b HTTP/1.1\r\nhost: shop.example\r\n";
    let sent = written(post().body(full("")).unwrap()).await.unwrap();
    assert_eq!(sent, format!("{head}\r\n"));
    let sent = written(post().body(full("hello")).unwrap()).await.unwrap();
    assert_eq!(sent, format!("{head}content-length: 5\r\n\r\nhello"));
    let stated = post().header("content-length", "5").header("transfer-encoding", "chunked");
    let sent = written(stated.body(full("hello")).unwrap()).await.unwrap();
    assert_eq!(sent, format!("{head}content-length: 5\r\n\r\nhello"));
    let data = |text: &'static str| Frame::data(Bytes::from(text));
    let sent = written(post().body(frames(vec![data("hello"), data(""), data("!")])).unwrap());
    let chunks = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    assert_eq!(sent.await.unwrap(), format!("{head}{chunks}"));
    let trailers: HeaderMap = [(header::ETAG, "1".parse().unwrap())].into_iter().collect();
    let both = vec![data("hello"), Frame::trailers(trailers)];
    let sent = written(post().header("te", "trailers").body(frames(both)).unwrap()).await.unwrap();
    let chunks = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\netag: 1\r\n\r\n";
    assert_eq!(sent, format!("{head}te: trailers\r\nconnection: te\r\n{chunks}"));
    let large = Bytes::from(vec![b'x'; 100_000]);
    let text = "x".repeat(100_000);
    let sent = written(post().body(frames(vec![Frame::data(large)])).unwrap()).await.unwrap();
    let chunks = format!("transfer-encoding: chunked\r\n\r\n186a0\r\n{text}\r\n0\r\n\r\n");
    assert_eq!(sent, format!("{head}{chunks}"));
}

#[tokio::test]
async fn a_body_of_another_length_than_stated_is_an_error_and_no_message() {
    for (stated, why) in [("4", "longer"), ("6", "shorter")] {
        let request = Request::post("/").header("content-length", stated);
        let body = frames(vec![Frame::data(Bytes::from("hello"))]);
        let failed = written(request.body(body).unwrap()).await.unwrap_err();
        assert!(failed.contains(why), "{failed}");
    }
    let request = Request::get("/").header("content-length", "5");
    let sent = written(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(sent, "GET / HTTP/1.1\r\nhost: \r\n\r\n");
}

/// Chunks as they arrive, and the lengths of the pieces that are passed on.
#[test]
fn small_chunks_are_joined_and_large_ones_are_passed_as_they_are() {
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    let end = "0\r\n\r\n";
    let rows: [(String, &[usize], bool); 9] = [
        (chunk(1).repeat(10) + end, &[10], true),
        (chunk(50).repeat(200) + end, &[4_100, 4_100, 1_800], true),
        (chunk(1).repeat(600) + end, &[TURN_PIECES, TURN_PIECES, 600 - 2 * TURN_PIECES], true),
        (chunk(1).repeat(3), &[3], false),
        (chunk(1) + &chunk(100_000) + &chunk(1) + end, &[1, 100_000, 1], true),
        (chunk(5_000) + &chunk(1) + &chunk(2) + end, &[5_000, 3], true),
        (chunk(4_000) + &chunk(4_000) + &chunk(1) + end, &[8_000, 1], true),
        (chunk(1) + "5\r\nab", &[3], false),
        (chunk(2) + "z", &[2], false),
    ];
    for (arrived, expected, done) in rows {
        let mut buffer = BytesMut::from(arrived.as_bytes());
        let mut content = Content::Framed(Body::ChunkSize);
        let (mut pieces, mut turn) = (Vec::new(), ConnectionTurn::default());
        while let Ok(Some(frame)) = content.take(&mut buffer, &mut turn) {
            if turn.is_over() {
                turn.end();
            }
            pieces.push(frame.into_data().unwrap().len());
        }
        assert_eq!(pieces, expected, "{}", arrived.get(..40.min(arrived.len())).unwrap());
        assert_eq!(content == Content::Done, done);
    }
}

/// A body whose turn ended is pending though it has more to give: whoever asks again at once takes the turns of others.
#[tokio::test]
async fn a_body_that_is_pending_is_not_asked_again_before_it_wakes() {
    let (near, _far) = duplex(1024 * 1024);
    let mut connection = ClientConnection::new(near, ResponseLimits::default());
    let asked = std::cell::Cell::new(0);
    let pieces = futures_util::stream::poll_fn(|_| {
        asked.set(asked.get() + 1);
        match asked.get() % 2 {
            0 => Poll::Pending,
            _ => Poll::Ready(Some(Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"x"))))),
        }
    });
    let request = Request::post("/").body(StreamBody::new(pieces)).unwrap();
    let mut outgoing = OutgoingRequest::new(request);
    for turn in 1..4 {
        poll_fn(|cx| {
            assert!(connection.poll_write(cx, &mut outgoing).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(asked.get(), 2 * turn);
    }
}
