//! What clients of HTTP/3 see: on the level of frames with a client that writes octets, and of messages with that of the `h3`
//! crate, which others made.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, StreamBody as Frames};
use quinn::{ClientConfig, Endpoint, ReadToEndError, VarInt};
use quinn_proto::crypto::rustls::QuicClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};

use super::frames::{frame, integer, put_integer};
use super::*;
use crate::address::Address;
use crate::qpack;
use crate::quic::{QuicEndpoint, QuicListener};
use crate::serve::{ConnectProtocol, PendingTunnel};
use crate::tls::ServerTls;
use crate::udp::bind_udp;

type Failure = Box<dyn Error + Send + Sync>;
type Pieces = stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Failure>>>;
type Content = Either<Full<Bytes>, Frames<Pieces>>;

fn whole(octets: impl Into<Bytes>) -> Response<Content> {
    Response::new(Either::Left(Full::new(octets.into())))
}

fn pieces(frames: Vec<Result<Frame<Bytes>, Failure>>) -> Response<Content> {
    Response::new(Either::Right(Frames::new(stream::iter(frames))))
}

/// Answers with the path, and with what was received.
async fn echo(request: Request<RequestBody>, _: &ConnectionInfo) -> Response<Content> {
    let path = request.uri().path().to_owned();
    match request.into_body().collect().await {
        Ok(received) => {
            let trailers = received.trailers().cloned();
            let received = received.to_bytes();
            let mut frames = vec![Ok(Frame::data(Bytes::from(path))), Ok(Frame::data(received))];
            frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            pieces(frames)
        }
        Err(_) => {
            let mut response = whole("");
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

/// The client's side of a test.
struct Client {
    connection: Connection,
    _endpoint: Endpoint,
    stage: watch::Sender<ListenerStage>,
}

/// An endpoint with a certificate for `a.test`, and a client's configuration that trusts it.
fn endpoint(limits: &ServeLimits) -> (QuicEndpoint, SocketAddr, ClientConfig) {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (chain, secret) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let tls = ServerTls::from_files(&chain, &secret, None).unwrap();
    let listener = QuicListener::new("in", &tls).unwrap();
    let socket = bind_udp("127.0.0.1:0".parse().unwrap(), std::num::NonZeroUsize::MIN);
    let socket = socket.unwrap().remove(0);
    let address = socket.local_address().unwrap();
    let choose: crate::quic::ChooseListener = Arc::new(move |asked| {
        (asked.server_name.as_deref() == Some("a.test")).then(|| listener.clone())
    });
    let endpoint = QuicEndpoint::new(socket, limits, choose).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    (endpoint, address, config)
}

/// Serves one connection with `handler`, and gives the other side of it to `client`.
async fn serving<H, B, T>(
    limits: ServeLimits,
    handler: H,
    client: impl AsyncFnOnce(&Client) -> T,
) -> (T, Result<(), ServeError>)
where
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: ServedBody + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let test = async {
        let (server, address, config) = endpoint(&limits);
        let (stage, shutdown) = watch::channel(ListenerStage::Serve);
        let served = spawn_local(async move {
            let handshake = server.accept().await.unwrap();
            let (connection, listener, identity) = handshake.finish().await.unwrap();
            assert_eq!((listener.as_str(), identity.tls_version), ("in", "TLSv1.3"));
            assert_eq!(identity.alpn.as_deref(), Some(&b"h3"[..]));
            let info = ConnectionInfo {
                sender: None,
                local: Address::Tcp(address),
                identity: Some(identity),
            };
            serve_quic(connection, Rc::new(info), &limits, handler, shutdown).await
        });
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connection = endpoint.connect_with(config, address, "a.test").unwrap().await.unwrap();
        let sides = Client { connection, _endpoint: endpoint, stage };
        let out = client(&sides).await;
        sides.connection.close(VarInt::from_u32(0x100), b"");
        (out, served.await.unwrap())
    };
    let test = tokio::time::timeout(Duration::from_secs(60), test);
    LocalSet::new().run_until(test).await.expect("the test ends")
}

fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    qpack::encode(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
}

/// A HEADERS frame with a good request.
fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        vec![(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)];
    fields.extend_from_slice(more);
    frame(frames::HEADERS, &section(&fields))
}

/// What a response consists of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    heads: Vec<u16>,
    content: Vec<u8>,
    trailers: usize,
}

/// Takes frames apart.
fn frames_of(mut octets: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    let take = |octets: &mut &[u8]| {
        let length = 1_usize << (octets[0] >> 6);
        let value = integer(&octets[..length]).unwrap();
        *octets = &octets[length..];
        value
    };
    while !octets.is_empty() {
        let (kind, length) = (take(&mut octets), take(&mut octets));
        let (payload, rest) = octets.split_at(usize::try_from(length).unwrap());
        all.push((kind, payload.to_vec()));
        octets = rest;
    }
    all
}

fn answer_of(octets: &[u8]) -> Answer {
    let mut answer = Answer::default();
    for (kind, payload) in frames_of(octets) {
        if kind == frames::DATA {
            answer.content.extend(payload);
            continue;
        }
        assert_eq!(kind, frames::HEADERS);
        let (mut status, mut fields) = (None, 0);
        qpack::decode::<qpack::SectionError>(&payload, 1 << 20, |name, value| {
            fields += 1;
            if name == b":status" {
                status = Some(std::str::from_utf8(value).unwrap().parse().unwrap());
            }
            Ok(())
        })
        .unwrap();
        match status {
            Some(status) => answer.heads.push(status),
            None => answer.trailers = fields,
        }
    }
    answer
}

impl Client {
    /// Opens a stream, sends these octets and ends it; the answer, or the code with which the stream was reset.
    async fn ask(&self, octets: &[u8]) -> Result<Answer, u64> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|_| 0_u64)?;
        // The other side may have had enough before it all was sent.
        let _sent = send.write_all(octets).await;
        let _ended = send.finish();
        match receive.read_to_end(4 << 20).await {
            Ok(octets) => Ok(answer_of(&octets)),
            Err(ReadToEndError::Read(quinn::ReadError::Reset(code))) => Err(code.into_inner()),
            Err(_) => Err(0),
        }
    }

    /// Opens a stream in one direction.
    async fn tell(&self, octets: &[u8]) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        let _sent = stream.write_all(octets).await;
        stream
    }

    /// The code with which the server closed the connection.
    async fn closed(&self) -> u64 {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            error => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_request_is_answered_and_so_are_a_thousand() {
    let (_, served) = serving(ServeLimits::default(), echo, async |client| {
        let answer = client.ask(&request("GET", "/a", &[])).await.unwrap();
        assert_eq!((answer.heads, answer.content), (vec![200], b"/a".to_vec()));
        for _ in 0..10 {
            let asked = (0..100)
                .map(|_| async { client.ask(&request("GET", "/b", &[])).await.unwrap().content });
            let answers = futures_util::future::join_all(asked).await;
            assert!(answers.iter().all(|content| content == b"/b"));
        }
        // A head that waits for no content, and one without an end of its own.
        let answer = client.ask(&request("HEAD", "/a", &[])).await.unwrap();
        assert_eq!((answer.heads, answer.content), (vec![200], Vec::new()));
    })
    .await;
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn content_and_trailers_pass_both_ways_whatever_their_frames() {
    let (_, served) = serving(ServeLimits::default(), echo, async |client| {
        let trailers = frame(frames::HEADERS, &section(&[("grpc-status", "0")]));
        for size in [0, 1, 16_383, 16_384, 1 << 20] {
            let content = vec![7_u8; size];
            for parts in [1, 3, 100] {
                let mut octets = request("POST", "/", &[("content-length", &size.to_string())]);
                for part in content.chunks((size / parts).max(1)) {
                    octets.extend(frame(frames::DATA, part));
                    // What means nothing is read over.
                    octets.extend(frame(0x21, b"nothing"));
                }
                octets.extend(&trailers);
                octets.extend(frame(0x40, b""));
                let answer = client.ask(&octets).await.unwrap();
                assert_eq!(answer.content[1..], content, "{size} in {parts}");
                assert_eq!(answer.trailers, 1);
            }
        }
    })
    .await;
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn what_has_no_one_reading_ends_its_stream_alone() {
    const MESSAGE: u64 = Code::Message as u64;
    let get = |more: &[(&str, &str)]| request("GET", "/", more);
    let raw = |fields: &[(&str, &str)]| frame(frames::HEADERS, &section(fields));
    let post = |length: &str, content: &[u8]| {
        let head = request("POST", "/", &[("content-length", length)]);
        [head, frame(frames::DATA, content)].concat()
    };
    let trailed = |fields: &[(&str, &str)]| {
        [post("1", b"a"), frame(frames::HEADERS, &section(fields))].concat()
    };
    let table = vec![
        (Vec::new(), Code::RequestIncomplete as u64),
        (frame(0x21, b"nothing"), Code::RequestIncomplete as u64),
        (raw(&[]), MESSAGE),
        (raw(&[(":method", "GET"), (":scheme", "https"), (":authority", "a")]), MESSAGE),
        (get(&[(":path", "/b")]), MESSAGE),
        (get(&[("a", "b"), (":authority", "c")]), MESSAGE),
        (get(&[(":status", "200")]), MESSAGE),
        (get(&[("connection", "close")]), MESSAGE),
        (get(&[("transfer-encoding", "chunked")]), MESSAGE),
        (get(&[("te", "gzip")]), MESSAGE),
        (get(&[("Accept", "a")]), MESSAGE),
        (get(&[("accept", "a\nb")]), MESSAGE),
        (get(&[("content-length", "1")]), MESSAGE),
        (get(&[("content-length", "x")]), MESSAGE),
        (get(&[("content-length", "1"), ("content-length", "2")]), MESSAGE),
        (post("2", b"a"), MESSAGE),
        (post("1", b"ab"), MESSAGE),
        (post("0", b"a"), MESSAGE),
        (trailed(&[(":path", "/")]), MESSAGE),
        (trailed(&[("connection", "close")]), MESSAGE),
        (trailed(&[("a", "b"); 33]), MESSAGE),
    ];
    let (_, served) = serving(ServeLimits::default(), echo, async |client| {
        for (octets, code) in &table {
            assert_eq!(client.ask(octets).await, Err(*code), "{octets:?}");
            let next = client.ask(&request("GET", "/", &[])).await.unwrap();
            assert_eq!(next.heads, [200], "{octets:?}");
        }
    })
    .await;
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let good = request("POST", "/", &[]);
    let on_stream = [
        (frame(frames::DATA, b"a"), Code::FrameUnexpected),
        ([good.clone(), frame(frames::SETTINGS, b"")].concat(), Code::FrameUnexpected),
        ([good.clone(), frame(frames::GOAWAY, &[0])].concat(), Code::FrameUnexpected),
        ([good.clone(), frame(0x8, &[0])].concat(), Code::FrameUnexpected),
        (
            [good.clone(), frame(frames::HEADERS, &section(&[])), frame(frames::DATA, b"a")]
                .concat(),
            Code::FrameUnexpected,
        ),
        // Ends in the middle of a frame: of its header, of content, and of a head.
        ([good.clone(), vec![0x0]].concat(), Code::Frame),
        ([good.clone(), vec![0x0, 5, b'a']].concat(), Code::Frame),
        (good[..good.len() - 1].to_vec(), Code::Frame),
        // Refers to a dynamic table.
        (frame(frames::HEADERS, &[1, 0, 0x80]), Code::Decompression),
        ([good, frame(frames::HEADERS, &[1, 0, 0x80])].concat(), Code::Decompression),
    ];
    for (octets, code) in on_stream {
        let (_, served) = serving(ServeLimits::default(), echo, async |client| {
            let _broken = client.ask(&octets).await;
            assert_eq!(client.closed().await, code as u64, "{octets:?}");
        })
        .await;
        assert!(matches!(served, Err(ServeError::Http3(Http3Error::Broken { .. }))), "{served:?}");
    }
    let settings = frame(frames::SETTINGS, b"");
    let control = |frames: &[&[u8]]| [&[0][..], &frames.concat()].concat();
    let in_one_direction = [
        (vec![control(&[&frame(frames::GOAWAY, &[0])])], Code::MissingSettings),
        (vec![control(&[&settings, &settings])], Code::FrameUnexpected),
        (vec![control(&[&settings, &frame(frames::DATA, b"a")])], Code::FrameUnexpected),
        (vec![control(&[&settings, &frame(0x2, b"a")])], Code::FrameUnexpected),
        (vec![control(&[&frame(frames::SETTINGS, &[0x4, 1])])], Code::Settings),
        (vec![control(&[&frame(frames::SETTINGS, &[0x6])])], Code::Frame),
        (vec![control(&[&frame(frames::SETTINGS, &[0; 5_000])])], Code::ExcessiveLoad),
        (vec![control(&[&settings, &frame(frames::CANCEL_PUSH, &[0])])], Code::Id),
        (vec![control(&[&settings]), control(&[&settings])], Code::StreamCreation),
        (vec![vec![1, 0]], Code::StreamCreation),
        (vec![vec![2, 0x3f, 0xe1, 0x1f]], Code::EncoderStream),
        (vec![vec![3, 0x80]], Code::DecoderStream),
        (vec![vec![3, 0x01]], Code::DecoderStream),
    ];
    for (streams, code) in in_one_direction {
        let (_, served) = serving(ServeLimits::default(), echo, async |client| {
            let mut open = Vec::new();
            for octets in &streams {
                open.push(client.tell(octets).await);
            }
            assert_eq!(client.closed().await, code as u64, "{streams:?}");
        })
        .await;
        assert!(matches!(served, Err(ServeError::Http3(Http3Error::Broken { .. }))), "{served:?}");
    }
    // The end of what a connection needs.
    for kind in [0, 2, 3] {
        let (_, _served) = serving(ServeLimits::default(), echo, async |client| {
            let octets = if kind == 0 { control(&[&settings]) } else { vec![kind] };
            client.tell(&octets).await.finish().unwrap();
            assert_eq!(client.closed().await, Code::ClosedCriticalStream as u64, "{kind}");
        })
        .await;
    }
}

#[tokio::test]
async fn what_means_nothing_in_one_direction_is_stopped_and_ends_nothing() {
    let (_, _served) = serving(ServeLimits::default(), echo, async |client| {
        let control = [&[0][..], &frame(frames::SETTINGS, &[0x1, 0x40, 0x64, 0x21, 3])].concat();
        let _control = client.tell(&[&control[..], &frame(0x21, b"a")].concat()).await;
        // An encoder that says that it will not refer to anything, and a decoder that gave up two streams.
        let _encoder = client.tell(&[2, 0x20]).await;
        let _decoder = client.tell(&[3, 0x44, 0x7f, 0x81, 0x01]).await;
        let mut unknown = client.tell(&[0x21, 1, 2, 3]).await;
        let stopped = unknown.stopped().await.unwrap();
        assert_eq!(stopped.map(VarInt::into_inner), Some(Code::StreamCreation as u64));
        drop(unknown.finish());
        assert!(client.ask(&request("GET", "/", &[])).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_head_beyond_its_bound_is_answered_431_whatever_way_it_is_too_large() {
    let limits = ServeLimits { max_header_list_bytes: 1_000, ..ServeLimits::default() };
    let (_, _served) = serving(limits, echo, async |client| {
        let long = "a".repeat(600);
        let many: Vec<(&str, &str)> = vec![("a", "b"); 40];
        for octets in [
            // Its frame is longer, its fields are with what each of them counts, and both.
            request("GET", "/", &[("a", &long), ("b", &long)]),
            request("GET", "/", &many),
            [vec![0x1], vec![0x80, 0x10, 0, 0]].concat(),
        ] {
            let answer = client.ask(&octets).await;
            // A frame that never comes is not waited for.
            assert_eq!(answer.unwrap().heads, [431]);
        }
        assert_eq!(client.ask(&request("GET", "/", &[])).await.unwrap().heads, [200]);
    })
    .await;
}

#[tokio::test]
async fn interim_responses_come_before_the_last_one() {
    let handler = async |request: Request<RequestBody>, _: &ConnectionInfo| {
        let mut hints = HeaderMap::new();
        hints.insert("link", HeaderValue::from_static("</a.css>"));
        hints.insert("connection", HeaderValue::from_static("close"));
        request.body().interim().send(StatusCode::EARLY_HINTS, &hints);
        let content = request.into_body().collect().await.unwrap().to_bytes();
        whole(content)
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        let answer = client.ask(&request("GET", "/", &[])).await.unwrap();
        assert_eq!(answer.heads, [103, 200]);
        // One that waits to be asked for its content.
        let (mut send, mut receive) = client.connection.open_bi().await.unwrap();
        send.write_all(&request("POST", "/", &[("expect", "100-continue")])).await.unwrap();
        let mut seen = Vec::new();
        while answer_of(&seen).heads != [103, 100] {
            let chunk = receive.read_chunk(1_000, true).await.unwrap().unwrap();
            seen.extend_from_slice(&chunk.bytes);
        }
        send.write_all(&frame(frames::DATA, b"asked for")).await.unwrap();
        send.finish().unwrap();
        seen.extend(receive.read_to_end(1_000).await.unwrap());
        let answer = answer_of(&seen);
        assert_eq!((answer.heads, answer.content), (vec![103, 100, 200], b"asked for".to_vec()));
    })
    .await;
}

/// Says when it is dropped.
struct Dropped(Rc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn handlers_are_dropped_when_their_client_wants_no_more() {
    let (dropped, begun) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    let (noted, started) = (Rc::clone(&dropped), Rc::clone(&begun));
    let handler = async move |_: Request<RequestBody>, _: &ConnectionInfo| {
        let _dropped = Dropped(Rc::clone(&noted));
        started.notify_one();
        pending::<Response<Content>>().await
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        // It stops reading; and the connection ends.
        for closes in [false, true] {
            let (mut send, mut receive) = client.connection.open_bi().await.unwrap();
            send.write_all(&request("GET", "/", &[])).await.unwrap();
            begun.notified().await;
            if closes {
                client.connection.close(VarInt::from_u32(0x100), b"");
            } else {
                receive.stop(VarInt::from_u32(0x10c)).unwrap();
            }
            dropped.notified().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_gives_up_more_than_it_is_answered_is_sent_away() {
    let handler =
        async |_: Request<RequestBody>, _: &ConnectionInfo| pending::<Response<Content>>().await;
    let limits = ServeLimits { max_idle_frames: 100, ..ServeLimits::default() };
    let (given_up, served) = serving(limits, handler, async |client| {
        let mut given_up = 0;
        while let Ok((mut send, mut receive)) = client.connection.open_bi().await {
            let _sent = send.write_all(&request("GET", "/", &[])).await;
            let (_reset, _stopped) =
                (send.reset(VarInt::from_u32(0x10c)), receive.stop(VarInt::from_u32(0x10c)));
            given_up += 1;
            assert!(given_up < 100_000, "nobody counts");
        }
        assert_eq!(client.closed().await, Code::ExcessiveLoad as u64);
        given_up
    })
    .await;
    assert!(given_up >= 20, "{given_up}");
    assert!(matches!(served, Err(ServeError::Http3(Http3Error::Broken { .. }))), "{served:?}");
}

#[tokio::test]
async fn a_client_may_leave_as_many_responses_as_it_likes_once_they_began() {
    let handler = async |_: Request<RequestBody>, _: &ConnectionInfo| {
        let endless = || Ok::<_, Failure>(Frame::data(Bytes::from_static(&[0; 1_000])));
        Response::new(Frames::new(stream::repeat_with(endless)))
    };
    let limits = ServeLimits { max_idle_frames: 100, ..ServeLimits::default() };
    let (_, _served) = serving(limits, handler, async |client| {
        for number in 0..500 {
            let (mut send, mut receive) = client.connection.open_bi().await.unwrap();
            send.write_all(&request("GET", "/", &[])).await.unwrap();
            send.finish().unwrap();
            receive.read_exact(&mut [0; 1_000]).await.unwrap();
            receive.stop(VarInt::from_u32(0x10c)).unwrap();
            assert!(client.connection.close_reason().is_none(), "{number}");
        }
    })
    .await;
}

#[tokio::test]
async fn frames_without_end_that_mean_nothing_send_a_client_away() {
    for unit in [frame(0x21, b""), frame(frames::DATA, b"")] {
        let limits = ServeLimits { max_idle_frames: 100, ..ServeLimits::default() };
        let (_, _served) = serving(limits, echo, async |client| {
            let octets = [request("POST", "/", &[]), unit.repeat(10_000)].concat();
            let _sent_away = client.ask(&octets).await;
            assert_eq!(client.closed().await, Code::ExcessiveLoad as u64, "{unit:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn streams_in_one_direction_without_end_send_a_client_away_whether_they_have_a_type_or_not() {
    for octets in [&[][..], &[0x21]] {
        let limits = ServeLimits { max_idle_frames: 100, ..ServeLimits::default() };
        let (_, _served) = serving(limits, echo, async |client| {
            for number in 0..10_000 {
                let Ok(mut stream) = client.connection.open_uni().await else { break };
                // Both fail once the client was sent away.
                let _written = stream.write_all(octets).await;
                let _ended = if number % 2 == 0 {
                    stream.finish()
                } else {
                    stream.reset(VarInt::from_u32(0))
                };
            }
            assert_eq!(client.closed().await, Code::ExcessiveLoad as u64, "{octets:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn no_more_streams_are_open_than_allowed_and_no_more_content_waits() {
    let limits = ServeLimits { max_streams: 3, ..ServeLimits::default() };
    let open = Rc::new(Notify::new());
    let goes_on = Rc::clone(&open);
    let handler = async move |_: Request<RequestBody>, _: &ConnectionInfo| {
        goes_on.notified().await;
        whole("")
    };
    let (_, _served) = serving(limits, handler, async |client| {
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(client.connection.open_bi().await.unwrap());
        }
        let fourth = tokio::time::timeout(Duration::from_millis(50), client.connection.open_bi());
        assert!(fourth.await.is_err(), "a fourth stream");
        // Nobody reads the content, so no more is taken of it than the windows hold.
        let (send, _) = &mut streams[0];
        send.write_all(&request("POST", "/", &[])).await.unwrap();
        let written = Cell::new(0_usize);
        let endless = async {
            loop {
                let octets = frame(frames::DATA, &[0; 10_000]);
                send.write_all(&octets).await.unwrap();
                written.set(written.get() + octets.len());
            }
        };
        let never: Result<(), _> = tokio::time::timeout(Duration::from_secs(1), endless).await;
        assert!(never.is_err());
        assert!(written.get() <= (1 << 20) + (200 << 10), "{}", written.get());
        open.notify_waiters();
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_makes_us_keep_a_bounded_part_of_a_response() {
    let made = Rc::new(Cell::new(0_usize));
    let counted = Rc::clone(&made);
    let handler = async move |_: Request<RequestBody>, _: &ConnectionInfo| {
        let counted = Rc::clone(&counted);
        let endless = stream::repeat_with(move || {
            counted.set(counted.get() + 10_000);
            Ok::<_, Failure>(Frame::data(Bytes::from_static(&[0; 10_000])))
        });
        Response::new(Frames::new(endless))
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        let (mut send, receive) = client.connection.open_bi().await.unwrap();
        send.write_all(&request("GET", "/", &[])).await.unwrap();
        send.finish().unwrap();
        let mut before = usize::MAX;
        while before != made.get() || before == 0 {
            before = made.get();
            sleep(Duration::from_millis(100)).await;
        }
        // The window that a client of quinn opens for a stream, and what we keep.
        assert!(before < 6 << 20, "{before}");
        drop(receive);
        // Others are served meanwhile.
        assert!(client.connection.close_reason().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_leaves_answers_what_was_on_its_way_and_ends() {
    let (begun, goes_on) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    let (started, gate) = (Rc::clone(&begun), Rc::clone(&goes_on));
    let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
        if request.uri().path() == "/slow" {
            started.notify_one();
            gate.notified().await;
        }
        whole("done")
    };
    let (_, served) = serving(ServeLimits::default(), handler, async |client| {
        let mut control = client.connection.accept_uni().await.unwrap();
        let asked = request("GET", "/slow", &[]);
        let slow = client.ask(&asked);
        let leave = async {
            begun.notified().await;
            client.stage.send_replace(ListenerStage::Leave);
            // The settings, and both GOAWAYs: the first one names no request, the second one the next.
            let mut seen = Vec::new();
            let frames = loop {
                let chunk = control.read_chunk(1_000, true).await.unwrap().unwrap();
                seen.extend_from_slice(&chunk.bytes);
                let frames = frames_of(&seen[1..]);
                if frames.len() == 3 {
                    break frames;
                }
            };
            assert_eq!((seen[0], frames[0].0), (0, frames::SETTINGS));
            let ids: Vec<_> = frames[1..].iter().map(|(_, id)| integer(id).unwrap()).collect();
            assert_eq!(ids, [EVERY_REQUEST, 4]);
            // Too late, and not processed.
            let late = client.ask(&request("GET", "/", &[])).await;
            assert_eq!(late, Err(Code::RequestRejected as u64));
            goes_on.notify_one();
        };
        let (slow, ()) = futures_util::future::join(slow, leave).await;
        assert_eq!(slow.unwrap().content, b"done");
        assert_eq!(client.closed().await, Code::NoError as u64);
    })
    .await;
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn a_connection_without_requests_ends_as_if_the_listener_left() {
    let mut limits = ServeLimits::default();
    limits.intake.idle_timeout = Duration::from_millis(200);
    let (_, served) = serving(limits, echo, async |client| {
        assert!(client.ask(&request("GET", "/", &[])).await.is_ok());
        assert_eq!(client.closed().await, Code::NoError as u64);
    })
    .await;
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let mut limits = ServeLimits::default();
    limits.intake.head_timeout = Duration::from_millis(100);
    let (_, _served) = serving(limits, echo, async |client| {
        let (mut send, mut receive) = client.connection.open_bi().await.unwrap();
        send.write_all(&request("GET", "/", &[])[..5]).await.unwrap();
        let reset = receive.read_to_end(10).await;
        let code = VarInt::from_u32(Code::RequestIncomplete as u32);
        let expected = ReadToEndError::Read(quinn::ReadError::Reset(code));
        assert_eq!(reset, Err(expected));
    })
    .await;
}

#[tokio::test]
async fn a_body_that_fails_resets_its_stream_and_no_other() {
    let canceled: Failure = Box::new(h2::Error::from(h2::Reason::CANCEL));
    let failures =
        RefCell::new(vec![("broke".into(), Code::Internal), (canceled, Code::RequestCancelled)]);
    let codes: Vec<u64> = failures.borrow().iter().rev().map(|(_, code)| *code as u64).collect();
    let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
        if request.uri().path() == "/good" {
            return whole("good");
        }
        let (failure, _) = failures.borrow_mut().pop().unwrap();
        pieces(vec![Ok(Frame::data(Bytes::from_static(b"some"))), Err(failure)])
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        for code in codes {
            assert_eq!(client.ask(&request("GET", "/", &[])).await, Err(code));
            assert_eq!(client.ask(&request("GET", "/good", &[])).await.unwrap().content, b"good");
        }
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_the_content_of_its_stream() {
    let handler = async |mut request: Request<RequestBody>, _: &ConnectionInfo| {
        let protocol =
            request.extensions().get::<ConnectProtocol>().map(|it| it.as_str().to_owned());
        if protocol.as_deref() != Some("websocket") {
            let mut refused = whole("");
            *refused.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return refused;
        }
        let tunnel = PendingTunnel::of(&mut request);
        drop(spawn_local(async move {
            let mut tunnel = tunnel.await.unwrap();
            let mut octets = [0; 5];
            while tunnel.read_exact(&mut octets).await.is_ok() {
                tunnel.write_all(&octets).await.unwrap();
                tunnel.flush().await.unwrap();
            }
            tunnel.shutdown().await.unwrap();
        }));
        whole("")
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        let head = request("CONNECT", "/", &[(":protocol", "websocket")]);
        // The pseudo-header has to come before other fields, and it does.
        let content = [frame(frames::DATA, b"hel"), frame(frames::DATA, b"loworld")].concat();
        let answer = client.ask(&[head, content].concat()).await.unwrap();
        assert_eq!((answer.heads, answer.content), (vec![200], b"helloworld".to_vec()));
        let other = client.ask(&request("CONNECT", "/", &[(":protocol", "other")])).await.unwrap();
        assert_eq!(other.heads, [501]);
        let plain = section(&[(":method", "CONNECT"), (":authority", "a.test:1")]);
        let plain = client.ask(&frame(frames::HEADERS, &plain)).await.unwrap();
        assert_eq!(plain.heads, [501]);
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_open_before_either_side_says_anything() {
    let handler = async |mut request: Request<RequestBody>, _: &ConnectionInfo| {
        let tunnel = PendingTunnel::of(&mut request);
        drop(spawn_local(async move {
            let mut tunnel = tunnel.await.unwrap();
            let mut octets = [0; 1];
            // It writes nothing before the client did.
            tunnel.read_exact(&mut octets).await.unwrap();
            tunnel.write_all(&octets).await.unwrap();
            tunnel.shutdown().await.unwrap();
        }));
        whole("")
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        let (mut send, mut receive) = client.connection.open_bi().await.unwrap();
        send.write_all(&request("CONNECT", "/", &[(":protocol", "websocket")])).await.unwrap();
        let mut octets = vec![0; 2];
        receive.read_exact(&mut octets).await.unwrap();
        let mut rest = vec![0; usize::from(octets[1])];
        receive.read_exact(&mut rest).await.unwrap();
        octets.append(&mut rest);
        assert_eq!(answer_of(&octets).heads, [200]);
        send.write_all(&frame(frames::DATA, b"a")).await.unwrap();
        send.finish().unwrap();
        let octets = receive.read_to_end(100).await.unwrap();
        assert_eq!(answer_of(&octets).content, b"a");
    })
    .await;
}

#[tokio::test]
async fn the_client_of_another_library_is_understood_and_understands() {
    let handler = async |request: Request<RequestBody>, info: &ConnectionInfo| {
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.headers()["x-long"].len(), 2_000);
        let mut response = echo(request, info).await;
        response.headers_mut().insert("x-answer", HeaderValue::from_static("yes"));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        response
    };
    let (_, _served) = serving(ServeLimits::default(), handler, async |client| {
        let quic = h3_quinn::Connection::new(client.connection.clone());
        let (mut driver, sender) = h3::client::new(quic).await.unwrap();
        let driven = spawn_local(async move { driver.wait_idle().await });
        let asked = (0..20).map(|number| {
            let mut sender = sender.clone();
            async move {
                let request = Request::post(format!("https://a.test/{number}"))
                    .header("x-long", "ab".repeat(1_000))
                    .header("cookie", "a=1")
                    .body(())
                    .unwrap();
                let mut stream = sender.send_request(request).await.unwrap();
                let content = Bytes::from(vec![9; 100_000]);
                stream.send_data(content.clone()).await.unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-end", HeaderValue::from_static("1"));
                stream.send_trailers(trailers).await.unwrap();
                stream.finish().await.unwrap();
                let response = stream.recv_response().await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["x-answer"], "yes");
                assert!(response.headers().contains_key("date"));
                let mut received = Vec::new();
                while let Some(mut piece) = stream.recv_data().await.unwrap() {
                    received.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
                }
                let path = format!("/{number}");
                assert_eq!(received, [path.as_bytes(), &content[..]].concat());
                let trailers = stream.recv_trailers().await.unwrap().unwrap();
                assert_eq!(trailers["x-end"], "1");
            }
        });
        futures_util::future::join_all(asked).await;
        drop(sender);
        let ended = driven.await.unwrap();
        assert!(ended.is_h3_no_error(), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_no_listener_has_is_refused_without_a_certificate() {
    let test = async {
        let (server, address, config) = endpoint(&ServeLimits::default());
        let client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let asked = client.connect_with(config.clone(), address, "b.test").unwrap();
        let answer = async { server.accept().await.unwrap().finish().await };
        let (refused, failed) = futures_util::future::join(asked, answer).await;
        let Err(ConnectionError::ConnectionClosed(close)) = refused else { panic!("{refused:?}") };
        assert_eq!(u64::from(close.error_code), 0x100 | 112, "unrecognized_name");
        assert_eq!(failed.unwrap_err().reason(), "unknown-name");
        // One that does not speak HTTP/3 is told so too.
        server.refuse(true);
        assert!(!server.is_open());
        let asked = client.connect_with(config, address, "a.test").unwrap();
        let (refused, ()) = tokio::select! {
            refused = asked => (refused, ()),
            _none = server.accept() => panic!("it refuses"),
        };
        let Err(ConnectionError::ConnectionClosed(close)) = refused else { panic!("{refused:?}") };
        assert_eq!(close.error_code, quinn_proto::TransportErrorCode::CONNECTION_REFUSED);
    };
    let test = tokio::time::timeout(Duration::from_secs(30), test);
    LocalSet::new().run_until(test).await.expect("the test ends");
}

/// Handshakes that are begun and never go on make the next clients prove their addresses, which they do unasked.
#[tokio::test]
async fn under_a_load_of_handshakes_a_client_proves_its_address_and_is_served() {
    let test = async {
        let (server, address, config) = endpoint(&ServeLimits::default());
        let client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut begun = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..40 {
            kept.push(client.connect_with(config.clone(), address, "a.test").unwrap());
            // From the thirty-third on they have proved it.
            begun.push(server.accept().await.unwrap());
        }
        let proved = begun.iter().filter(|one| one.has_proved()).count();
        assert_eq!(proved, 8);
        drop(begun.drain(..39));
        let (last, finished) =
            futures_util::future::join(kept.pop().unwrap(), begun.pop().unwrap().finish()).await;
        assert!(last.is_ok() && finished.is_ok());
    };
    let test = tokio::time::timeout(Duration::from_secs(30), test);
    LocalSet::new().run_until(test).await.expect("the test ends");
}

#[test]
fn integers_of_frames_are_written_as_they_are_read() {
    let mut out = Vec::new();
    put_integer(&mut out, EVERY_REQUEST);
    assert_eq!(integer(&out), Some(EVERY_REQUEST));
}
