//! Requests of HTTP/1 on arbitrary bytes: ours against hyper's server as the second opinion.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tamis_transport::address::Address;
use tamis_transport::{
    ConnectionInfo, IntakeLimits, ListenerStage, PeerIdentity, ServeLimits, serve_connection,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Neither server waits for anything but its client, which sends all and leaves.
const SLOWEST: Duration = Duration::from_secs(5);

/// A request as a server reads it.
#[derive(Debug, PartialEq, Eq)]
struct ReadRequest {
    head: String,
    fields: Fields,
    /// Content and trailers; `None`: it broke.
    body: Option<(Vec<u8>, Fields)>,
}

type Fields = Vec<(String, Vec<u8>)>;

/// What a server read, and what it wrote.
#[derive(Debug, Default)]
struct Reading {
    requests: Vec<ReadRequest>,
    written: Vec<u8>,
}

/// The first byte is the size of the pieces in which the rest arrives; 0: all at once. Each request that ours takes hyper takes
/// too, and reads the same: method, target, version, fields, body, trailers, and whether another one may follow. Where they
/// differ, ours has refused. What ours writes is a response to each request, in order, that a strict reader takes.
pub fn http1(data: &[u8]) {
    if let Some((pieces, octets)) = data.split_first() {
        compare(*pieces, octets);
    }
}

/// How many requests both servers took.
fn compare(pieces: u8, octets: &[u8]) -> usize {
    let (ours, theirs) = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(tokio::task::LocalSet::new().run_until(async {
            let ours = read(pieces, octets, serve_ours);
            let ours = tokio::time::timeout(SLOWEST, ours).await.expect("ours ends");
            let theirs = read(pieces, octets, serve_hypers);
            let theirs = tokio::time::timeout(SLOWEST, theirs).await.expect("hyper ends");
            (ours, theirs)
        }))
    });
    for (at, request) in ours.requests.iter().enumerate() {
        // A body that breaks is refused: how much of it hyper takes makes no difference.
        let refused = request.body.is_none();
        let Some(other) = theirs.requests.get(at) else {
            assert!(refused, "hyper refuses what ours takes: {request:?}");
            break;
        };
        assert_eq!(request.head, other.head);
        assert_eq!(request.fields, other.fields, "{}", request.head);
        if refused {
            assert_eq!(ours.requests.len(), at + 1, "nothing follows a body that broke");
            break;
        }
        assert_eq!(request.body, other.body, "{}", request.head);
    }
    check_written(&ours);
    ours.requests.iter().filter(|request| request.body.is_some()).count()
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
    );
}

/// Sends the octets in such pieces to a server.
async fn read<F: Future<Output = ()>>(
    pieces: u8,
    octets: &[u8],
    serve: impl FnOnce(DuplexStream, Rc<RefCell<Vec<ReadRequest>>>) -> F,
) -> Reading {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (mut receive, mut send) = tokio::io::split(client);
    let requests = Rc::default();
    let sending = async {
        let size = if pieces == 0 { octets.len().max(1) } else { pieces.into() };
        for piece in octets.chunks(size) {
            if send.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        // It may have closed already.
        drop(send.shutdown().await);
    };
    let mut written = Vec::new();
    let receiving = receive.read_to_end(&mut written);
    let (_, received, ()) = tokio::join!(sending, receiving, serve(server, Rc::clone(&requests)));
    drop(received);
    let requests = requests.take();
    Reading { requests, written }
}

async fn serve_ours(io: DuplexStream, requests: Rc<RefCell<Vec<ReadRequest>>>) {
    // Agreed on, so that no byte is taken for HTTP/2.
    let alpn = Some(b"http/1.1".to_vec());
    let identity = PeerIdentity { spiffe_id: None, alpn, sni: None, tls_version: "TLSv1.3" };
    let local = Address::Unix("fuzz".into());
    let info = Rc::new(ConnectionInfo { sender: None, local, identity: Some(identity) });
    let limits = ServeLimits { intake: IntakeLimits::default(), ..ServeLimits::default() };
    let (_stage, shutdown) = watch::channel(ListenerStage::Serve);
    let handler =
        async move |request: Request<_>, _: &ConnectionInfo| answer(request, &requests).await;
    // How it ended is no part of what was read.
    drop(serve_connection(io, info, &limits, handler, shutdown).await);
}

async fn serve_hypers(io: DuplexStream, requests: Rc<RefCell<Vec<ReadRequest>>>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let requests = Rc::clone(&requests);
        async move { Ok::<_, Infallible>(answer(request, &requests).await) }
    });
    let mut server = Builder::new();
    server.half_close(true).header_read_timeout(None);
    drop(server.serve_connection(TokioIo::new(io), service).await);
}

/// Reads the request, and answers with the length of its body.
async fn answer<B>(
    request: Request<B>,
    requests: &RefCell<Vec<ReadRequest>>,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let head = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
    let fields = fields(&parts.headers);
    let body = body.collect().await.ok().map(|whole| {
        let trailers = whole.trailers().map(self::fields).unwrap_or_default();
        (whole.to_bytes().to_vec(), trailers)
    });
    let length = body.as_ref().map_or(0, |(octets, _)| octets.len());
    requests.borrow_mut().push(ReadRequest { head, fields, body });
    Response::new(Full::from(format!("read {length}")))
}

/// In the order of their names, and within one name as they came.
fn fields(headers: &HeaderMap) -> Fields {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let mut fields: Vec<_> = headers.iter().map(field).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// Every request has its response, in order; after them there is at most a refusal.
fn check_written(reading: &Reading) {
    let mut rest = &reading.written[..];
    let mut finals = 0;
    while !rest.is_empty() {
        let mut lines = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut lines);
        let parsed = response.parse(rest).expect("a response").is_complete();
        assert!(parsed, "a whole head: {:?}", rest.escape_ascii().to_string());
        let head = memchr::memmem::find(rest, b"\r\n\r\n").expect("an end") + 4;
        let status = response.code.expect("a status");
        let length = response.headers.iter().find(|field| field.name == "content-length");
        let length = length.map(|field| std::str::from_utf8(field.value).expect("digits"));
        let length: usize = length.map_or(0, |text| text.parse().expect("a number"));
        let is_head = reading.requests.get(finals).is_some_and(|it| it.head.starts_with("HEAD "));
        let content = if is_head { 0 } else { length };
        if status >= 200 {
            if let Some(Some((body, _))) = reading.requests.get(finals).map(|it| &it.body)
                && !is_head
            {
                let text = format!("read {}", body.len());
                assert_eq!(rest.get(head..head + content), Some(text.as_bytes()));
            }
            finals += 1;
        } else {
            assert_eq!((status, content), (100, 0));
        }
        rest = rest.get(head + content..).expect("all of it");
    }
    let refusals = finals.checked_sub(reading.requests.len());
    assert!(matches!(refusals, Some(0 | 1)), "{finals} responses to {:?}", reading.requests);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seeded choice of parts.
    struct Choice(u64);

    impl Choice {
        fn number(&mut self) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).expect("31 bits")
        }

        /// One of the good ones mostly, else one that servers have read in two ways.
        fn part<'a>(&mut self, good: &[&'a str], odd: &[&'a str]) -> &'a str {
            let from = if self.number().is_multiple_of(16) { odd } else { good };
            from[self.number() % from.len()]
        }
    }

    const FIELDS: &[&str] = &[
        "",
        "",
        "X-A: 1\r\n",
        "x-a:\t2 , 3 \r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "X-B: \u{e4}\r\n",
        "X-D:\r\n",
    ];
    const ODD_FIELDS: &[&str] = &[
        "Connection: x, close\r\n",
        "X-\u{e4}: 1\r\n",
        "X-C : 1\r\n",
        " folded\r\n",
        "X-E: a\rb\r\n",
        "X-F: 1\n",
        "Content-Length: +3\r\n",
        "content_length: 7\r\n",
        "Upgrade: x\r\n",
        "Host: a\r\n",
    ];
    const CONTENTS: &[&str] = &[
        "Content-Length: 3\r\n\r\nabc",
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: CHUNKED\r\n\r\n03;a=\"b\"\r\nabc\r\n0\r\nX-T: 1\r\nx-t: 2\r\n\r\n",
    ];
    const ODD_CONTENTS: &[&str] = &[
        "Content-Length: 2\r\n\r\nabc",
        "Content-Length: 3, 3\r\n\r\nabc",
        "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T : 1\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ];

    /// Three messages in a row.
    fn generated(seed: u64) -> Vec<u8> {
        let mut choice = Choice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut octets = String::new();
        for _ in 0..3 {
            let bodiless = choice.number().is_multiple_of(2);
            octets.push_str(match bodiless {
                true => {
                    choice.part(&["GET", "HEAD", "OPTIONS", "DELETE"], &["get", "POST", "G\tT"])
                }
                false => choice.part(&["POST", "PUT", "DELETE", "M-S"], &["GET", "HEAD", "TRACE"]),
            });
            octets.push(' ');
            let targets = ["/", "/a?b=c", "//x;y", "/%zz|^", "http://a/x", "/a%20b"];
            octets.push_str(choice.part(&targets, &["*", "/\"[]", "a", "/ b", "http://b/", "/#f"]));
            octets.push(' ');
            octets.push_str(choice.part(&["HTTP/1.1"], &["HTTP/1.0", "HTTP/1.2", "http/1.1", ""]));
            octets.push_str(choice.part(&["\r\n"], &["\n", " \r\n"]));
            octets.push_str(choice.part(&["Host: a\r\n", "host:A\r\n"], &["Host: a:80 \r\n", ""]));
            for _ in 0..2 {
                octets.push_str(choice.part(FIELDS, ODD_FIELDS));
            }
            octets.push_str(match bodiless {
                true => choice.part(&["\r\n"], &["\n", "Content-Length: 1\r\n\r\nx"]),
                false => choice.part(CONTENTS, ODD_CONTENTS),
            });
            octets.push_str(choice.part(&["", "", "\r\n"], &["\n", " ", "\r\n\r\n", "\0"]));
        }
        octets.into_bytes()
    }

    /// How many; more for a longer search.
    const MESSAGES: &str = "TAMIS_FUZZ_MESSAGES";

    #[test]
    fn generated_messages_read_the_same_to_another_server_or_are_refused() {
        let messages = std::env::var(MESSAGES).ok().map_or(4_000, |text| text.parse().unwrap());
        let mut taken = 0;
        for seed in 0..messages {
            let octets = generated(seed);
            let pieces = u8::try_from(seed % 40).unwrap();
            taken += compare(pieces, &octets);
        }
        let messages = usize::try_from(messages).unwrap();
        assert!(taken > messages / 3, "{taken} of {messages} were taken: too few to say anything");
    }

    #[test]
    fn the_corpus_reads_the_same() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/http1");
        let entries: Vec<Vec<u8>> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        crate::Search::new(entries, 1).run(http1, crate::Budget::Inputs(2_000)).unwrap();
    }
}
