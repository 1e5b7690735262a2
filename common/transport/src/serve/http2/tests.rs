//! What clients of HTTP/2 see, on the level of streams and frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Either, Full, StreamBody as Frames};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::address::Address;
use crate::serve::{ConnectProtocol, InterimSender, PendingTunnel, serve_connection};

type Failure = Box<dyn Error + Send + Sync>;
type Pieces = stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Failure>>>;
type Content = Either<Full<Bytes>, Frames<Pieces>>;

fn whole(octets: impl Into<Bytes>) -> Response<Content> {
    Response::new(Either::Left(Full::new(octets.into())))
}

fn pieces(frames: Vec<Result<Frame<Bytes>, Failure>>) -> Response<Content> {
    Response::new(Either::Right(Frames::new(stream::iter(frames))))
}

fn status(code: u16) -> Response<Content> {
    let mut response = whole("");
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// Serves one end of a pipe with `handler`, and gives the other one to `client`. The connection must end by itself once that
/// is done.
async fn serving<H, B, T>(
    limits: ServeLimits,
    handler: H,
    client: impl AsyncFnOnce(DuplexStream, watch::Sender<ListenerStage>) -> T,
) -> (T, Result<(), ServeError>)
where
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: ServedBody + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let work = LocalSet::new();
    let served = work.run_until(async {
        let (io, server) = tokio::io::duplex(1 << 16);
        let (stop, stopped) = watch::channel(ListenerStage::Serve);
        let local = Address::Unix("/test".into());
        let info = Rc::new(ConnectionInfo { sender: None, local, identity: None });
        let server =
            spawn_local(
                async move { serve_connection(server, info, &limits, handler, stopped).await },
            );
        let outcome = client(io, stop).await;
        (outcome, server.await.unwrap())
    });
    served.await
}

/// The same, with a client that speaks HTTP/2.
async fn talking<H, B, T>(
    handler: H,
    client: impl AsyncFnOnce(SendRequest<Bytes>, watch::Sender<ListenerStage>) -> T,
) -> T
where
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: ServedBody + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (outcome, served) = serving(ServeLimits::default(), handler, async |io, stop| {
        let (sender, connection) = h2::client::handshake(io).await.unwrap();
        let connection = spawn_local(connection);
        // The SETTINGS of the server must have arrived for an extended CONNECT.
        let sender = sender.ready().await.unwrap();
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let outcome = client(sender.clone(), stop).await;
        drop(sender);
        connection.await.unwrap().unwrap();
        outcome
    })
    .await;
    served.unwrap();
    outcome
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a{path}")).body(()).unwrap()
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a{path}")).body(()).unwrap()
}

fn websocket() -> Request<()> {
    let protocol = h2::ext::Protocol::from_static("websocket");
    let request = Request::builder().method(Method::CONNECT).uri("http://a/");
    request.extension(protocol).body(()).unwrap()
}

async fn ask(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    ends: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = sender.clone().ready().await.unwrap();
    ready.send_request(request, ends).unwrap()
}

/// The content, and the trailers or the error at its end.
async fn rest(mut stream: RecvStream) -> (usize, Result<Option<HeaderMap>, Reason>) {
    let mut octets = 0;
    while let Some(data) = stream.data().await {
        match data {
            Ok(data) => {
                octets += data.len();
                stream.flow_control().release_capacity(data.len()).unwrap();
            }
            Err(error) => return (octets, Err(error.reason().unwrap())),
        }
    }
    (octets, stream.trailers().await.map_err(|error| error.reason().unwrap()))
}

/// Status and content of a request without any.
async fn fetched(sender: &mut SendRequest<Bytes>, request: Request<()>) -> (u16, usize) {
    let (response, _) = ask(sender, request, true).await;
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    let (octets, end) = rest(response.into_body()).await;
    assert_eq!(end, Ok(None));
    (status, octets)
}

#[tokio::test]
async fn a_connect_with_content_ends_no_more_than_its_stream() {
    let handler = async |mut request: Request<RequestBody>, _: &ConnectionInfo| {
        if request.method() != Method::CONNECT {
            return whole("ok");
        }
        assert!(request.body().is_end_stream(), "what follows is the tunnel's");
        let asked = request.extensions().get::<ConnectProtocol>().is_some();
        let length = request.headers().get(header::CONTENT_LENGTH);
        if !asked || length.is_some_and(|length| length != "0") {
            return status(400);
        }
        drop(spawn_local(async move { PendingTunnel::of(&mut request).await.is_ok() }));
        tokio::task::yield_now().await;
        status(200)
    };
    talking(handler, async |mut sender, _stop| {
        let plain = || Request::connect("a:443").body(()).unwrap();
        let malformed = Err(Reason::PROTOCOL_ERROR);
        for (lengths, extended, connect) in [
            (&["0"][..], Ok(200), Ok(400)),
            (&["5"], Ok(400), Ok(400)),
            (&["9999999999"], Ok(400), Ok(400)),
            (&["5", "6"], malformed, malformed),
            (&["0", "5"], malformed, malformed),
            (&["18446744073709551616"], malformed, malformed),
            (&["five"], malformed, malformed),
            (&["-1"], malformed, malformed),
            (&[""], Ok(400), Ok(400)),
        ] {
            for (mut request, expected) in [(websocket(), extended), (plain(), connect)] {
                for length in lengths {
                    let length = HeaderValue::from_static(length);
                    request.headers_mut().append(header::CONTENT_LENGTH, length);
                }
                let (other, _held) = ask(&mut sender, post("/other"), false).await;
                let (response, _stream) = ask(&mut sender, request, false).await;
                let said = response.await.map(|response| response.status().as_u16());
                let said = said.map_err(|error| error.reason().unwrap());
                assert_eq!(said, expected, "{lengths:?}");
                assert_eq!(other.await.unwrap().status(), 200, "{lengths:?}");
                assert_eq!(fetched(&mut sender, get("/next")).await, (200, 2), "{lengths:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn interim_responses_come_before_the_last_one() {
    let kept = Rc::new(RefCell::new(None::<InterimSender>));
    let late = Rc::clone(&kept);
    let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
        let interim = request.body().interim();
        assert!(interim.is_open());
        let mut hint = HeaderMap::new();
        hint.append("link", HeaderValue::from_static("</a.css>"));
        hint.append("link", HeaderValue::from_static("</b.css>"));
        for name in ["connection", "content-length", "keep-alive", "transfer-encoding"] {
            hint.append(name, HeaderValue::from_static("1"));
        }
        // The last response, 100 and 101 are not for others to send.
        for code in [103, 200, 100, 101, 102] {
            interim.send(StatusCode::from_u16(code).unwrap(), &hint);
        }
        if request.uri().path() == "/later" {
            tokio::time::sleep(Duration::from_millis(20)).await;
            interim.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
        }
        late.replace(Some(interim));
        whole("last")
    };
    talking(handler, async |mut sender, _stop| {
        for (path, expected) in [("/now", &[103, 102][..]), ("/later", &[103, 102, 103])] {
            let (mut response, _) = ask(&mut sender, get(path), true).await;
            let mut seen = Vec::new();
            while let Some(interim) = poll_fn(|cx| response.poll_informational(cx)).await {
                let interim = interim.unwrap();
                let links = interim.headers().get_all("link").iter().count();
                assert_eq!(interim.headers().len(), links, "{interim:?}");
                seen.push(interim.status().as_u16());
            }
            assert_eq!(seen, expected, "{path}");
            let response = response.await.unwrap();
            assert!(!response.headers().contains_key("link"));
            let interim = kept.take().unwrap();
            assert!(!interim.is_open());
            interim.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
            assert_eq!(rest(response.into_body()).await, (4, Ok(None)));
        }
    })
    .await;
}

#[tokio::test]
async fn interim_responses_without_end_are_left_out() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let interim = request.body().interim();
        let mut hint = HeaderMap::new();
        hint.insert("link", HeaderValue::try_from("x".repeat(1_000)).unwrap());
        for _ in 0..10_000 {
            interim.send(StatusCode::EARLY_HINTS, &hint);
        }
        whole("last")
    };
    talking(handler, async |mut sender, _stop| {
        let (mut response, _) = ask(&mut sender, get("/"), true).await;
        let mut seen = 0;
        while let Some(interim) = poll_fn(|cx| response.poll_informational(cx)).await {
            interim.unwrap();
            seen += 1;
        }
        assert_eq!(seen, 65);
        assert_eq!(response.await.unwrap().status(), 200);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_its_content_is_read() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        if request.uri().path() == "/unread" {
            return status(403);
        }
        let content = request.into_body().collect().await.unwrap().to_bytes();
        whole(content)
    };
    talking(handler, async |mut sender, _stop| {
        for (path, expects, told, answer) in [
            ("/read", Some("100-continue"), true, 200),
            ("/read", Some("100-Continue"), true, 200),
            ("/read", None, false, 200),
            ("/read", Some("else"), false, 200),
            ("/unread", Some("100-continue"), false, 403),
        ] {
            let mut request = post(path);
            if let Some(expects) = expects {
                request.headers_mut().insert(header::EXPECT, HeaderValue::from_static(expects));
            }
            let (mut response, mut content) = ask(&mut sender, request, false).await;
            let interim = poll_fn(|cx| response.poll_informational(cx));
            let interim = tokio::time::timeout(Duration::from_millis(50), interim).await;
            let interim = interim.ok().flatten().map(|interim| interim.unwrap().status().as_u16());
            assert_eq!(interim, told.then_some(100), "{path} {expects:?}");
            // Where there was an answer already, the stream is over.
            let _sent = content.send_data(Bytes::from_static(b"abc"), true);
            let response = response.await.unwrap();
            assert_eq!(response.status(), answer, "{path} {expects:?}");
            let octets = if answer == 200 { 3 } else { 0 };
            assert_eq!(rest(response.into_body()).await, (octets, Ok(None)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_says_nothing_that_http2_does_not_say() {
    let rows = [
        ("GET", 200, "text", 200, Some("4"), 4),
        ("HEAD", 200, "text", 200, Some("4"), 0),
        ("GET", 200, "", 200, None, 0),
        ("GET", 204, "text", 204, None, 0),
        ("GET", 304, "text", 304, None, 0),
        ("GET", 101, "text", 500, None, 0),
        ("GET", 103, "text", 500, None, 0),
        ("CONNECT", 200, "text", 500, None, 0),
        ("CONNECT", 403, "text", 403, Some("4"), 4),
    ];
    for (method, said, text, expected, length, octets) in rows {
        let handler = async move |_: Request<RequestBody>, _: &ConnectionInfo| {
            let mut response = whole(text);
            *response.status_mut() = StatusCode::from_u16(said).unwrap();
            for (name, value) in [
                ("connection", "x-one, keep-alive"),
                ("x-one", "1"),
                ("keep-alive", "1"),
                ("proxy-connection", "1"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("te", "gzip"),
            ] {
                response.headers_mut().append(name, HeaderValue::from_static(value));
            }
            response
        };
        talking(handler, async |mut sender, _stop| {
            let request = match method {
                "CONNECT" => websocket(),
                _ => Request::builder().method(method).uri("http://a/").body(()).unwrap(),
            };
            let (response, _stream) = ask(&mut sender, request, method != "CONNECT").await;
            let mut response = response.await.unwrap();
            let row = format!("{method} {said}");
            assert_eq!(response.status().as_u16(), expected, "{row}");
            assert!(response.headers_mut().remove("date").is_some(), "{row}");
            let stated = response.headers_mut().remove("content-length");
            assert_eq!(stated.as_ref().map(|it| it.to_str().unwrap()), length, "{row}");
            assert!(response.headers().is_empty(), "{row}: {:?}", response.headers());
            assert_eq!(rest(response.into_body()).await.0, octets, "{row}");
        })
        .await;
    }
}

#[tokio::test]
async fn content_and_trailers_pass_both_ways_whatever_their_size() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let content = request.into_body().collect().await.unwrap();
        let trailers = content.trailers().cloned();
        let octets = content.to_bytes();
        let halves = [octets.slice(..octets.len() / 2), octets.slice(octets.len() / 2..)];
        let mut frames: Vec<_> = halves.map(|half| Ok(Frame::data(half))).into();
        frames.insert(1, Ok(Frame::data(Bytes::new())));
        frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        pieces(frames)
    };
    talking(handler, async |mut sender, _stop| {
        for octets in [0, 1, 70_000, 3 << 20] {
            for trailed in [false, true] {
                let (response, mut content) = ask(&mut sender, post("/"), false).await;
                // The windows are smaller: it arrives only if they are opened again.
                content.send_data(Bytes::from(vec![1; octets]), !trailed).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-end", HeaderValue::from_static("1"));
                if trailed {
                    content.send_trailers(trailers.clone()).unwrap();
                }
                let response = response.await.unwrap();
                let (read, end) = rest(response.into_body()).await;
                assert_eq!((read, end), (octets, Ok(trailed.then_some(trailers))), "{octets}");
            }
        }
    })
    .await;
}

/// An error whose source is an upstream's own reset.
#[derive(Debug, thiserror::Error)]
#[error("the upstream ended its stream")]
struct Ended(#[source] h2::Error);

fn ended(reason: Reason) -> Failure {
    Ended(reason.into()).into()
}

#[tokio::test]
async fn a_body_that_fails_resets_its_stream_alone() {
    for (error, reason) in [
        ("any".into(), Reason::INTERNAL_ERROR),
        (ended(Reason::CANCEL), Reason::CANCEL),
        (ended(Reason::NO_ERROR), Reason::INTERNAL_ERROR),
        // A client would send the request again, which was passed on.
        (ended(Reason::REFUSED_STREAM), Reason::INTERNAL_ERROR),
        (ended(Reason::HTTP_1_1_REQUIRED), Reason::INTERNAL_ERROR),
        (ended(Reason::ENHANCE_YOUR_CALM), Reason::INTERNAL_ERROR),
        (ended(Reason::PROTOCOL_ERROR), Reason::INTERNAL_ERROR),
        (ended(Reason::from(99)), Reason::INTERNAL_ERROR),
    ] {
        let error = RefCell::new(Some(error));
        let handler = async move |_: Request<RequestBody>, _: &ConnectionInfo| {
            let Some(error) = error.take() else { return whole("ok") };
            pieces(vec![Ok(Frame::data("some".into())), Err(error)])
        };
        talking(handler, async |mut sender, _stop| {
            let (response, _) = ask(&mut sender, get("/"), true).await;
            let end = match response.await {
                Ok(response) => rest(response.into_body()).await.1.unwrap_err(),
                // The reset has overtaken the head.
                Err(error) => error.reason().unwrap(),
            };
            assert_eq!(end, reason);
            assert_eq!(fetched(&mut sender, get("/next")).await, (200, 2));
        })
        .await;
    }
}

#[test]
fn the_connection_of_a_proxy_has_room_for_what_all_of_its_streams_may_send() {
    let identity = |id: Option<&str>| crate::tls::PeerIdentity {
        spiffe_id: id.map(|id| id.parse().unwrap()),
        alpn: Some(b"h2".to_vec()),
        sni: None,
        tls_version: "TLSv1.3",
    };
    let limits = |max_streams, many_clients| ServeLimits {
        max_streams,
        many_clients,
        ..ServeLimits::default()
    };
    let info =
        |identity| ConnectionInfo { identity, sender: None, local: Address::Unix("/test".into()) };
    let (client, kib) = (1024, 1024);
    let id = "spiffe://shop.example/ns/shop/service/pay";
    for (who, named, streams, stream, connection) in [
        (None, false, 128, client, client),
        (Some(None), false, 128, client, client),
        (Some(Some(id)), false, 128, 256, 256 * 128),
        (Some(Some(id)), false, 1, 256, 256),
        // A load balancer that the listener names, in clear text and over TLS.
        (None, true, 128, 256, 256 * 128),
        (Some(None), true, 128, 256, 256 * 128),
        (Some(Some(id)), true, 1, 256, 256),
    ] {
        let found = PeerLimits::of(&info(who.map(identity)), &limits(streams, named));
        assert_eq!((found.stream / kib, found.connection / kib), (stream, connection), "{who:?}");
        // As for what is sent: the clients of a proxy that leave are many.
        let many = named || who.flatten().is_some();
        let resets = if many { (10_000, 100_000) } else { (20, 1024) };
        assert_eq!((found.pending_resets, found.error_resets), resets, "{who:?}");
    }
}

/// Counts those that were dropped.
struct Guard(Rc<Cell<u32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[tokio::test]
async fn handler_and_body_are_dropped_when_their_stream_is_reset() {
    let gone = Rc::new(Cell::new(0));
    let asked = Rc::new(Notify::new());
    let (counts, tells) = (Rc::clone(&gone), Rc::clone(&asked));
    let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
        let guard = Guard(Rc::clone(&counts));
        tells.notify_one();
        match request.uri().path() {
            "/handler" => std::future::pending().await,
            "/upload" => {
                let failed = request.into_body().collect().await.is_err();
                assert!(failed, "the content never ends");
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        // It is longer than the client's window.
        let first = Ok::<_, io::Error>(Frame::data(Bytes::from(vec![0; 1 << 20])));
        let pieces =
            stream::unfold((guard, Some(first)), async |(guard, mut first)| match first.take() {
                Some(first) => Some((first, (guard, None))),
                None => std::future::pending().await,
            });
        Response::new(Frames::new(Box::pin(pieces)))
    };
    talking(handler, async |mut sender, _stop| {
        for (number, path) in (1..).zip(["/handler", "/upload", "/content"]) {
            let (response, mut stream) = ask(&mut sender, post(path), false).await;
            stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
            asked.notified().await;
            if path == "/content" {
                assert_eq!(response.await.unwrap().status(), 200);
            }
            assert_eq!(gone.get(), number - 1, "{path}");
            stream.send_reset(Reason::CANCEL);
            while gone.get() < number {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_disappears_ends_everything_of_its_own() {
    let gone = Rc::new(Cell::new(0));
    let counts = Rc::clone(&gone);
    let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
        let _guard = Guard(Rc::clone(&counts));
        match request.into_body().collect().await {
            Ok(_) => whole("ok"),
            Err(error) => panic!("the handler of a client that is gone goes on: {error}"),
        }
    };
    let client = async |io: DuplexStream, _stop: watch::Sender<ListenerStage>| {
        let (mut sender, connection) = h2::client::handshake(io).await.unwrap();
        let connection = spawn_local(connection);
        let mut streams = Vec::new();
        for _ in 0..20 {
            let (response, mut content) = ask(&mut sender, post("/"), false).await;
            content.send_data(Bytes::from(vec![0; 1_000]), false).unwrap();
            streams.push((response, content));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(gone.get(), 0);
        connection.abort();
        while gone.get() < 20 {
            tokio::task::yield_now().await;
        }
    };
    let limits = ServeLimits::default();
    let ended = tokio::time::timeout(Duration::from_secs(20), serving(limits, handler, client));
    assert!(ended.await.is_ok());
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_else() {
    let handler =
        async |request: Request<RequestBody>, _: &ConnectionInfo| match request.uri().path() {
            "/small" => whole("ok"),
            _ => whole(vec![0; 1 << 16]),
        };
    let client = async |io: DuplexStream, _stop: watch::Sender<ListenerStage>| {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1_000);
        let (mut sender, connection) = builder.handshake::<_, Bytes>(io).await.unwrap();
        drop(spawn_local(connection));
        let mut held = Vec::new();
        for _ in 0..20 {
            let (response, _) = ask(&mut sender, get("/large"), true).await;
            held.push(response.await.unwrap().into_body());
        }
        for _ in 0..20 {
            assert_eq!(fetched(&mut sender, get("/small")).await, (200, 2));
        }
        for content in held {
            assert_eq!(rest(content).await, (1 << 16, Ok(None)));
        }
    };
    let (_, served) = serving(ServeLimits::default(), handler, client).await;
    served.unwrap();
}

/// Opens a tunnel in which what arrives is sent back; `drop` ends it at once.
async fn opens(mut request: Request<RequestBody>, _: &ConnectionInfo) -> Response<Content> {
    let tunnel = PendingTunnel::of(&mut request);
    drop(spawn_local(async move {
        let mut tunnel = tunnel.await.unwrap();
        let mut octets = [0; 16 * 1024];
        while let Ok(read @ 1..) = tunnel.read(&mut octets).await {
            tunnel.write_all(&octets[..read]).await.unwrap();
            if octets[..read].ends_with(b"drop") {
                return;
            }
        }
        tunnel.shutdown().await.unwrap();
        tunnel.shutdown().await.unwrap();
    }));
    let mut response = whole("");
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

#[tokio::test]
async fn a_tunnel_is_its_stream() {
    talking(opens, async |mut sender, _stop| {
        for (sent, ends, end) in [
            ("", true, Ok(None)),
            ("ping", true, Ok(None)),
            ("pingpong", true, Ok(None)),
            // It broke off: the client must not take that for an end.
            ("pingdrop", false, Err(Reason::CANCEL)),
        ] {
            let (response, mut content) = ask(&mut sender, websocket(), false).await;
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
            content.send_data(Bytes::from(sent), ends).unwrap();
            let (octets, ended) = rest(response.into_body()).await;
            assert_eq!(ended, end, "{sent}");
            assert!(octets == sent.len() || end.is_err(), "{sent}");
        }
        // More than all windows.
        let (response, mut content) = ask(&mut sender, websocket(), false).await;
        let response = response.await.unwrap();
        content.send_data(Bytes::from(vec![0; 3 << 20]), true).unwrap();
        assert_eq!(rest(response.into_body()).await, (3 << 20, Ok(None)));
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_is_reset_fails() {
    let failed = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&failed);
    let handler = async move |mut request: Request<RequestBody>, _: &ConnectionInfo| {
        let tunnel = PendingTunnel::of(&mut request);
        let seen = Rc::clone(&seen);
        drop(spawn_local(async move {
            let mut tunnel = tunnel.await.unwrap();
            let read = tunnel.read(&mut [0; 4]).await.map_err(|error| error.kind());
            let written = tunnel.write(b"more").await.map_err(|error| error.kind());
            seen.borrow_mut().push((read, written));
        }));
        whole("")
    };
    talking(handler, async |mut sender, _stop| {
        let (response, mut content) = ask(&mut sender, websocket(), false).await;
        assert_eq!(response.await.unwrap().status(), 200);
        content.send_reset(Reason::CANCEL);
        while failed.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reset = io::ErrorKind::ConnectionReset;
    assert_eq!(*failed.borrow(), [(Err(reset), Err(reset))]);
}

#[tokio::test]
async fn a_thousand_streams_one_after_another_and_resets_of_as_many_are_served() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let content = request.into_body().collect().await.map(|content| content.to_bytes());
        content.map_or_else(|_| status(400), whole)
    };
    talking(handler, async |mut sender, _stop| {
        for number in 0..1_000 {
            assert_eq!(fetched(&mut sender, get("/")).await, (200, 0), "{number}");
        }
        for number in 0..1_000 {
            let (response, mut stream) = ask(&mut sender, post("/"), false).await;
            tokio::task::yield_now().await;
            stream.send_reset(Reason::CANCEL);
            drop(response);
            if number % 100 == 0 {
                assert_eq!(fetched(&mut sender, get("/")).await, (200, 0), "{number}");
            }
        }
    })
    .await;
}

/// The preface, empty SETTINGS, and the acknowledgement of the server's.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

/// A frame of up to 255 octets.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags];
    octets.extend_from_slice(&stream.to_be_bytes());
    octets.extend_from_slice(payload);
    octets
}

/// The kinds and payloads of frames that arrive until one is `wanted`.
async fn until(io: &mut DuplexStream, wanted: impl Fn(u8, u32) -> bool) -> Vec<(u8, u32, Vec<u8>)> {
    let mut seen = Vec::new();
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        io.read_exact(&mut payload).await.unwrap();
        let (kind, stream) = (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        seen.push((kind, stream, payload));
        if wanted(kind, stream) {
            return seen;
        }
    }
}

/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a`.
const GET_HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];

#[tokio::test]
async fn a_listener_that_leaves_says_so_twice_and_answers_what_was_on_its_way() {
    let release = Rc::new(Notify::new());
    let held = Rc::clone(&release);
    let handler = async move |_: Request<RequestBody>, _: &ConnectionInfo| {
        held.notified().await;
        whole("ok")
    };
    let client = async |mut io: DuplexStream, stop: watch::Sender<ListenerStage>| {
        io.write_all(BEGIN).await.unwrap();
        io.write_all(&frame(1, 0x5, 1, GET_HEAD)).await.unwrap();
        // The acknowledgement of our SETTINGS.
        until(&mut io, |kind, _| kind == 4).await;
        until(&mut io, |kind, _| kind == 4).await;
        stop.send(ListenerStage::Leave).unwrap();
        let seen = until(&mut io, |kind, _| kind == 6).await;
        let (_, _, goaway) = seen.iter().find(|(kind, ..)| *kind == 7).unwrap();
        assert_eq!(goaway[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        // A request that was on its way, then the acknowledgement of the ping.
        io.write_all(&frame(1, 0x5, 3, GET_HEAD)).await.unwrap();
        let (_, _, ping) = seen.last().unwrap();
        io.write_all(&frame(6, 1, 0, ping)).await.unwrap();
        let seen = until(&mut io, |kind, _| kind == 7).await;
        assert_eq!(seen.last().unwrap().2[..8], [0, 0, 0, 3, 0, 0, 0, 0]);
        release.notify_one();
        release.notify_one();
        until(&mut io, |kind, stream| kind == 0 && stream == 1).await;
        release.notify_one();
        until(&mut io, |kind, stream| kind == 0 && stream == 3).await;
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
    };
    let (_, served) = serving(ServeLimits::default(), handler, client).await;
    served.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_and_given_up() {
    for answers in [0, 3] {
        let began = tokio::time::Instant::now();
        let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| whole("ok");
        let client = async |mut io: DuplexStream, _stop: watch::Sender<ListenerStage>| {
            io.write_all(BEGIN).await.unwrap();
            for answer in 1..=answers {
                let seen = until(&mut io, |kind, _| kind == 6).await;
                assert_eq!(began.elapsed().as_secs(), answer * 30);
                let (_, _, ping) = seen.last().unwrap();
                io.write_all(&frame(6, 1, 0, ping)).await.unwrap();
            }
            until(&mut io, |kind, _| kind == 6).await;
            io
        };
        let (_io, served) = serving(ServeLimits::default(), handler, client).await;
        assert!(matches!(served, Err(ServeError::Silent)), "{served:?}");
        assert_eq!(began.elapsed().as_secs(), (answers + 1) * 30 + 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_something_is_not_asked() {
    let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| whole("ok");
    let client = async |mut io: DuplexStream, _stop: watch::Sender<ListenerStage>| {
        io.write_all(BEGIN).await.unwrap();
        for second in 1..=20 {
            tokio::time::sleep(Duration::from_secs(25)).await;
            io.write_all(&frame(6, 0, 0, &[second; 8])).await.unwrap();
            let seen = until(&mut io, |kind, _| kind == 6).await;
            assert_eq!(seen.last().unwrap().2, [second; 8], "the answer to ours, not a question");
        }
    };
    let (_, served) = serving(ServeLimits::default(), handler, client).await;
    served.unwrap();
}

#[tokio::test]
async fn what_a_client_may_not_send_ends_its_stream_or_its_connection() {
    let headers = |stream| frame(1, 0x4, stream, GET_HEAD);
    // RST_STREAM 3, GOAWAY 7.
    let rows: [(&str, Vec<u8>, (u8, u32)); 5] = [
        (
            "DATA after END_STREAM",
            [frame(1, 0x5, 1, GET_HEAD), frame(0, 0, 1, b"abc")].concat(),
            (7, 1),
        ),
        (
            "content beyond its length",
            {
                let length = [GET_HEAD, &[0x0f, 0x0d, 1, b'2']].concat();
                [frame(1, 0x4, 1, &length), frame(0, 1, 1, b"abc")].concat()
            },
            (3, 1),
        ),
        (
            "a window beyond its bound",
            {
                let window = 0x7fff_ffff_u32.to_be_bytes();
                [headers(1), frame(8, 0, 1, &window), frame(8, 0, 1, &window)].concat()
            },
            (3, 3),
        ),
        ("DATA without a stream", frame(0, 0, 7, b"abc"), (7, 1)),
        ("a stream id that goes back", [headers(5), headers(3)].concat(), (7, 1)),
    ];
    for (what, octets, (kind, code)) in rows {
        let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| -> Response<Content> {
            std::future::pending().await
        };
        let client = async |mut io: DuplexStream, _stop: watch::Sender<ListenerStage>| {
            io.write_all(&[BEGIN, &octets].concat()).await.unwrap();
            let seen = until(&mut io, |kind, _| [3, 7].contains(&kind)).await;
            let (seen, _, payload) = seen.last().unwrap();
            let at = if *seen == 7 { 4 } else { 0 };
            let said = u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            assert_eq!((*seen, said), (kind, code), "{what}");
        };
        drop(serving(ServeLimits::default(), handler, client).await);
    }
}

#[tokio::test]
async fn a_stream_beyond_the_bound_and_a_head_beyond_it_are_refused_alone() {
    let release = Rc::new(Notify::new());
    let held = Rc::clone(&release);
    let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
        if request.uri().path() == "/held" {
            held.notified().await;
        }
        whole("ok")
    };
    let limits =
        ServeLimits { max_streams: 4, max_header_list_bytes: 2_000, ..ServeLimits::default() };
    let client = async |mut io: DuplexStream, _stop: watch::Sender<ListenerStage>| {
        // `:path: /held`
        let path = [&GET_HEAD[..2], &[0x04, 5], b"/held", &GET_HEAD[3..]].concat();
        io.write_all(BEGIN).await.unwrap();
        for stream in [1, 3, 5, 7, 9] {
            io.write_all(&frame(1, 0x5, stream, &path)).await.unwrap();
        }
        let seen = until(&mut io, |kind, _| kind == 3).await;
        assert_eq!(seen.last().unwrap(), &(3, 9, vec![0, 0, 0, 7]));
        release.notify_waiters();
        for stream in [1, 3, 5, 7] {
            until(&mut io, |kind, seen| kind == 0 && seen == stream).await;
        }
        let fields: Vec<u8> =
            (0..20).flat_map(|_| [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat()).collect();
        let head = [GET_HEAD, &fields].concat();
        let mut octets = vec![0, 0x08, (head.len() - 0x800) as u8, 1, 0x5, 0, 0, 0, 11];
        octets.extend_from_slice(&head);
        io.write_all(&octets).await.unwrap();
        let seen = until(&mut io, |kind, stream| kind == 1 && stream == 11).await;
        let (_, _, head) = seen.last().unwrap();
        assert!(!head.is_empty());
        io.write_all(&frame(1, 0x5, 13, GET_HEAD)).await.unwrap();
        until(&mut io, |kind, stream| kind == 0 && stream == 13).await;
    };
    let (_, served) = serving(limits, handler, client).await;
    served.unwrap();
}
