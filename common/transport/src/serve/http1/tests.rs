use std::cell::Cell;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::address::Address;
use crate::intake::IntakeRefusal;
use crate::serve::side::RequestBodyError;

type Reply = Response<StreamBody<Frames>>;
type Frames = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, io::Error>>>;

/// A response of those pieces.
fn pieces<const N: usize>(pieces: [&'static str; N]) -> Reply {
    frames(pieces.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
}

fn frames<const N: usize>(frames: [Result<Frame<Bytes>, io::Error>; N]) -> Reply {
    Response::new(StreamBody::new(futures_util::stream::iter(Vec::from(frames))))
}

fn with(mut response: Reply, status: u16, fields: &[(&'static str, &'static str)]) -> Reply {
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    response
}

/// Serves a connection while a client talks to it; gives what the client gives, and how the connection ended.
async fn talk<T, B>(
    handler: impl AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B>,
    client: impl AsyncFnOnce(DuplexStream) -> T,
) -> (T, Result<(), ServeError>)
where
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (near, far) = duplex(1 << 16);
    let info =
        ConnectionInfo { sender: None, local: Address::Unix("/test".into()), identity: None };
    let (_stage, stages) = watch::channel(ListenerStage::Serve);
    let limits = IntakeLimits::default();
    let start = (far, BytesMut::new());
    let served = serve(start, &info, limits, handler, |_| None, stages);
    LocalSet::new().run_until(async { tokio::join!(client(near), served) }).await
}

/// Sends those octets and no more, and reads all that comes; the `date` is left out.
async fn send<B>(
    octets: &str,
    handler: impl AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B>,
) -> String
where
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let client = async |mut io: DuplexStream| {
        io.write_all(octets.as_bytes()).await.unwrap();
        io.shutdown().await.unwrap();
        let mut reply = String::new();
        io.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let lines = talk(handler, client).await.0;
    let lines = lines.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    lines.collect()
}

#[tokio::test]
async fn a_response_is_framed_as_its_request_allows() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let old = "GET / HTTP/1.0\r\n\r\n";
    let old_kept = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let old_odd = "GET / HTTP/1.0\r\nConnection: keep-alive, \u{e9}\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n";
    let length = [("content-length", "4")];
    for (request, status, fields, reply) in [
        (get, 200, &[][..], "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"),
        (get, 200, &length, "content-length: 4\r\n\r\nabcd"),
        // The length of a body is not what its handler says about codings.
        (
            get,
            200,
            &[("transfer-encoding", "gzip")],
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
        ),
        (
            get,
            200,
            &[("content-length", "4"), ("content-length", "5")],
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
        ),
        (get, 204, &length, "\r\n"),
        (get, 304, &length, "content-length: 4\r\n\r\n"),
        (head, 200, &length, "content-length: 4\r\n\r\n"),
        (head, 200, &[], "\r\n"),
        (old, 200, &[], "connection: close\r\n\r\nabcd"),
        (old, 200, &length, "content-length: 4\r\nconnection: close\r\n\r\nabcd"),
        (old_kept, 200, &length, "content-length: 4\r\nconnection: keep-alive\r\n\r\nabcd"),
        (old_kept, 200, &[], "connection: close\r\n\r\nabcd"),
        (old_odd, 200, &length, "content-length: 4\r\nconnection: close\r\n\r\nabcd"),
        (last, 200, &length, "content-length: 4\r\nconnection: close\r\n\r\nabcd"),
        (get, 299, &length, "content-length: 4\r\n\r\nabcd"),
    ] {
        let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| {
            with(pieces(["ab", "cd"]), status, fields)
        };
        let said = send(request, handler).await;
        let version = if request.contains("/1.0") { "HTTP/1.0" } else { "HTTP/1.1" };
        let code = StatusCode::from_u16(status).unwrap();
        let phrase = code.canonical_reason().unwrap_or_default();
        assert_eq!(
            said,
            format!("{version} {status} {phrase}\r\n{reply}"),
            "{request:?} {fields:?}"
        );
    }
}

#[tokio::test]
async fn a_response_that_would_not_end_the_exchange_becomes_an_error() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    for (request, status) in
        [("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 101), (upgrade, 103), (upgrade, 100)]
    {
        let handler =
            async |_: Request<RequestBody>, _: &ConnectionInfo| with(pieces(["ab"]), status, &[]);
        let said = send(&format!("{request}{request}"), handler).await;
        assert!(said.starts_with("HTTP/1.1 500 ") && said.ends_with("close\r\n\r\n"), "{said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_to_those_who_read_them() {
    for (te, trailers) in
        [("TE: gzip, Trailers\r\n", "x-sum: 7\r\n"), ("TE: gzip\r\n", ""), ("", "")]
    {
        let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
            let whole = request.into_body().collect().await.unwrap();
            assert_eq!(whole.trailers().unwrap()["x-in"], "1, 2");
            let sent = HeaderMap::from_iter([(
                header::HeaderName::from_static("x-sum"),
                HeaderValue::from_static("7"),
            )]);
            frames([Ok(Frame::data(whole.to_bytes())), Ok(Frame::trailers(sent))])
        };
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{te}Transfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n2\r\nbc\r\n0\r\nX-In: 1, 2 \r\n\r\n"
        );
        let said = send(&request, handler).await;
        let end = format!("\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n");
        assert!(said.ends_with(&end), "{said}");
    }
}

#[tokio::test]
async fn a_body_that_differs_from_its_length_ends_the_connection() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (length, content) in [("3", ["ab", "cd"]), ("5", ["ab", "cd"])] {
        let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| {
            with(pieces(content), 200, &[("content-length", length)])
        };
        let said = send(&format!("{get}{get}"), handler).await;
        assert!(said.matches("HTTP/1.1 200").count() < 2, "{said}");
        let sent = said.split_once("\r\n\r\n").map_or("", |(_, content)| content);
        assert!(sent.len() < length.parse().unwrap(), "nobody takes it for whole: {said}");
    }
    let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| {
        frames([Ok(Frame::data(Bytes::from_static(b"ab"))), Err(io::Error::other("broken"))])
    };
    let said = send(&format!("{get}{get}"), handler).await;
    assert!(!said.contains("0\r\n\r\n"), "{said}");
}

#[tokio::test]
async fn a_client_that_waits_is_asked_for_its_body_once_somebody_reads_it() {
    let expect = |version| {
        format!(
            "POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        )
    };
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    for (version, reads, there, continues) in [
        ("1.1", true, false, true),
        ("1.1", false, false, false),
        // It did not wait.
        ("1.1", true, true, false),
        ("1.0", true, false, false),
    ] {
        let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
            if reads {
                drop(request.into_body().collect().await);
            }
            with(pieces(["ok"]), 200, &[("content-length", "2")])
        };
        let client = async |mut io: DuplexStream| {
            let body = if there { "hi" } else { "" };
            io.write_all(format!("{}{body}", expect(version)).as_bytes()).await.unwrap();
            if continues {
                let mut first = [0; 25];
                io.read_exact(&mut first).await.unwrap();
                assert_eq!(first, go_on.as_bytes());
                io.write_all(b"hi").await.unwrap();
            } else if reads && !there {
                io.write_all(b"hi").await.unwrap();
            }
            io.shutdown().await.unwrap();
            let mut reply = String::new();
            io.read_to_string(&mut reply).await.unwrap();
            reply
        };
        let (reply, _) = talk(handler, client).await;
        assert!(reply.contains(" 200 OK\r\n") && !reply.contains(go_on), "{reply}");
        // What it did not send cannot be told from the next request.
        assert_eq!(reply.contains("connection: close"), !reads || version == "1.0", "{reply}");
    }
}

#[tokio::test]
async fn interim_responses_come_before_the_last_one_and_only_to_those_who_know_them() {
    let hint = HeaderMap::from_iter([
        (header::LINK, HeaderValue::from_static("</a.css>")),
        (header::CONTENT_LENGTH, HeaderValue::from_static("9")),
        (header::CONNECTION, HeaderValue::from_static("close")),
    ]);
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let interim = request.body().interim();
        for status in [100, 101, 102, 103, 200] {
            interim.send(StatusCode::from_u16(status).unwrap(), &hint);
        }
        tokio::task::yield_now().await;
        let mut response = with(pieces(["ok"]), 200, &[("content-length", "2")]);
        if !interim.is_open() {
            response.headers_mut().insert("x-closed", HeaderValue::from_static("1"));
        }
        response
    };
    let said = send("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &handler).await;
    let hints = "HTTP/1.1 102 Processing\r\nlink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    assert_eq!(said, format!("{hints}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let said = send("GET / HTTP/1.0\r\n\r\n", &handler).await;
    assert!(said.starts_with("HTTP/1.0 200 OK\r\nx-closed: 1\r\n"), "{said}");
}

#[tokio::test]
async fn an_interim_response_is_sent_before_the_last_one_is_known() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        request.body().interim().send(StatusCode::EARLY_HINTS, &HeaderMap::new());
        std::future::pending::<Reply>().await
    };
    let client = async |mut io: DuplexStream| {
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 28];
        io.read_exact(&mut first).await.unwrap();
        String::from_utf8_lossy(&first).into_owned()
    };
    let (said, ended) = talk(handler, client).await;
    assert_eq!(said, "HTTP/1.1 103 Early Hints\r\n\r\n");
    assert!(matches!(ended, Err(ServeError::Http1(_))), "the client left: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_pauses_ends_when_its_client_has_left_and_not_when_it_reads_on() {
    // Pauses of the response in seconds, whether the client ends its side or leaves, and whether it gets all pieces.
    for (pause, leaves, whole) in [(9, false, true), (11, false, false), (3_600, true, false)] {
        let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| {
            let piece = move |nth: u32| async move {
                let wait = if nth == 0 { 0 } else { pause };
                tokio::time::sleep(Duration::from_secs(wait)).await;
                Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"piece")))
            };
            let pieces = futures_util::stream::iter(0..4).then(piece);
            Response::new(StreamBody::new(Box::pin(pieces)))
        };
        let client = async |mut io: DuplexStream| {
            io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            if leaves {
                let mut first = [0; 64];
                io.read_exact(&mut first).await.unwrap();
                return 0;
            }
            io.shutdown().await.unwrap();
            let mut all = String::new();
            io.read_to_string(&mut all).await.unwrap();
            all.matches("piece").count()
        };
        let began = Instant::now();
        let (pieces, ended) = talk(handler, client).await;
        assert_eq!((pieces == 4, ended.is_ok()), (whole, whole), "{pause} {leaves}: {ended:?}");
        // Its time is the test's: nobody waits for what does not come.
        assert!(began.elapsed() < Duration::from_secs(60), "{pause} {leaves}");
    }
}

#[tokio::test]
async fn a_response_may_begin_while_its_request_still_arrives() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        Response::new(request.into_body())
    };
    let client = async |mut io: DuplexStream| {
        io.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        let mut said = String::new();
        for word in ["one", "two", "six"] {
            io.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
            while !said.ends_with(&format!("3\r\n{word}\r\n")) {
                let mut some = [0; 256];
                let read = io.read(&mut some).await.unwrap();
                said.push_str(&String::from_utf8_lossy(&some[..read]));
            }
        }
        io.write_all(b"0\r\n\r\n").await.unwrap();
        io.read_to_string(&mut said).await.unwrap();
        said
    };
    let (said, ended) = talk(handler, client).await;
    ended.unwrap();
    assert!(said.contains("connection: close\r\n") && said.ends_with("six\r\n0\r\n\r\n"), "{said}");
}

#[tokio::test]
async fn a_body_that_is_kept_reads_nothing_of_the_next_request() {
    let kept: RefCell<Option<RequestBody>> = RefCell::default();
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let old = kept.borrow_mut().replace(request.into_body());
        if let Some(mut old) = old {
            let frame = old.frame().await;
            assert!(matches!(frame, Some(Err(RequestBodyError::Over))), "{frame:?}");
            let body = kept.borrow_mut().take().unwrap();
            assert_eq!(body.collect().await.unwrap().to_bytes(), "second");
        }
        with(pieces(["ok"]), 200, &[("content-length", "2")])
    };
    let post = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let said = send(&format!("{}{}", post("first"), post("second")), &handler).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "{said}");
}

#[tokio::test]
async fn a_large_body_is_read_in_large_pieces_and_written_as_it_is() {
    const SIZE: usize = 4 << 20;
    let largest = Cell::new(0);
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let mut body = request.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.iter().all(|octet| *octet == b'x'));
            largest.set(largest.get().max(data.len()));
            read += data.len();
        }
        assert_eq!(read, SIZE);
        Response::new(Full::new(Bytes::from(vec![b'y'; SIZE])))
    };
    let client = async |io: DuplexStream| {
        let (mut receive, mut send) = tokio::io::split(io);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
        let mut said = Vec::new();
        let sending = async {
            send.write_all(head.as_bytes()).await.unwrap();
            send.write_all(&vec![b'x'; SIZE]).await.unwrap();
            send.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(sending, receive.read_to_end(&mut said));
        read.unwrap();
        said
    };
    let (said, ended) = talk(handler, client).await;
    ended.unwrap();
    assert!(said.ends_with(&vec![b'y'; SIZE]));
    assert!(largest.get() >= 32 << 10, "{} bytes", largest.get());
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_a_stalled_body_and_silence_end_in_time() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    for (sent, dribble, seconds, said) in [
        ("", "", 75, ""),
        ("GET", "", 10, "HTTP/1.1 408 "),
        ("\r\nGET", "", 10, "HTTP/1.1 408 "),
        // No more time than a silent one.
        ("GET /", "a", 10, "HTTP/1.1 408 "),
        (post, "", 60, "HTTP/1.1 200 "),
    ] {
        let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
            let failed = request.into_body().collect().await.err();
            let stalled = RequestBodyError::Refused(IntakeRefusal::BodyTimeout).to_string();
            assert_eq!(failed.map(|failed| failed.to_string()), Some(stalled));
            pieces(["ok"])
        };
        let client = async |io: DuplexStream| {
            let (mut receive, mut send) = tokio::io::split(io);
            send.write_all(sent.as_bytes()).await.unwrap();
            let (begun, mut reply) = (Instant::now(), String::new());
            let dribbling = async {
                while !dribble.is_empty() && send.write_all(dribble.as_bytes()).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = dribbling => {}
                read = receive.read_to_string(&mut reply) => drop(read.unwrap()),
            }
            (begun.elapsed().as_secs(), reply)
        };
        let ((elapsed, reply), _) = talk(handler, client).await;
        assert_eq!(elapsed, seconds, "{sent:?}");
        assert!(reply.starts_with(said) && reply.is_empty() == said.is_empty(), "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_upgrade_waits_for_the_response_to_it() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    for (status, said) in [(101, "HTTP/1.1 101 "), (200, "HTTP/1.1 200 ")] {
        let handled = Cell::new(0);
        let handler = async |mut request: Request<RequestBody>, _: &ConnectionInfo| {
            handled.set(handled.get() + 1);
            let tunnel = crate::serve::PendingTunnel::of(&mut request);
            tokio::task::spawn_local(async move {
                let Ok(mut tunnel) = tunnel.await else { return };
                let mut octets = [0; 5];
                tunnel.read_exact(&mut octets).await.unwrap();
                assert_eq!(&octets, b"GET \0");
                tunnel.write_all(b"opened").await.unwrap();
                tunnel.shutdown().await.unwrap();
            });
            tokio::time::sleep(Duration::from_millis(500)).await;
            with(pieces([]), status, &[("upgrade", "x"), ("connection", "upgrade")])
        };
        let reply = send(&format!("{upgrade}GET \0"), &handler).await;
        assert!(reply.starts_with(said), "{reply}");
        // In a tunnel they are anything; as a request they have no reading.
        let end = if status == 101 { "opened" } else { "0\r\n\r\n" };
        assert!(reply.contains("HTTP/1.1 400 ") == (status == 200), "{reply}");
        assert!(reply.contains(end) && handled.get() == 1, "{reply}");
    }
}

/// A body whose turn ended is pending though it has more to give: whoever asks again at once takes the turns of others.
#[tokio::test]
async fn a_body_that_is_pending_is_not_asked_again_before_it_wakes() {
    let asked = Cell::new(0);
    let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| {
        let pieces = futures_util::stream::poll_fn(|_| {
            asked.set(asked.get() + 1);
            match asked.get() % 2 {
                0 => Poll::Pending,
                _ => Poll::Ready(Some(Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"x"))))),
            }
        });
        Response::new(StreamBody::new(pieces))
    };
    let (mut near, far) = duplex(1 << 16);
    near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let info =
        ConnectionInfo { sender: None, local: Address::Unix("/test".into()), identity: None };
    let (_stage, stages) = watch::channel(ListenerStage::Serve);
    let start = (far, BytesMut::new());
    let served = serve(start, &info, IntakeLimits::default(), handler, |_| None, stages);
    let mut served = std::pin::pin!(served);
    for turn in 1..4 {
        poll_fn(|cx| {
            assert!(served.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(asked.get(), 2 * turn);
    }
}
