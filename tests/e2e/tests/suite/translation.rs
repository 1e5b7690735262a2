//! One version of HTTP on one side and another on the other: trailers.

use crate::connections::{over_http2_on, raw, serve_each};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::{Body, Frame};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Duration;
use tamis_e2e::{Folder, FolderOptions, exchange};

/// A body of two bytes with trailers.
struct Trailed(Option<Bytes>, Option<HeaderMap>);

impl Trailed {
    fn new(trailers: &[&str]) -> Self {
        let trailers = trailers.iter().map(|name| (name.parse().unwrap(), "1".parse().unwrap()));
        Self(Some(Bytes::from_static(b"ok")), Some(trailers.collect()))
    }
}

impl Body for Trailed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(octets) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(octets))));
        }
        Poll::Ready(self.1.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

#[test]
fn trailers_of_a_client_over_http2_reach_an_http1_upstream_whether_the_head_named_them_or_not() {
    let (send, receive) = mpsc::channel();
    let address = raw(move |mut stream, _head| {
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            if stream.read_exact(&mut octet).is_err() {
                break;
            }
            body.push(octet[0]);
        }
        send.send(String::from_utf8_lossy(&body).into_owned()).unwrap();
        // It serves one request, and says so: a POST on a connection that closes is not sent again.
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    let folder = Folder::gateway(&[address]);
    let _gateway = folder.start(&[]);
    let open = async || tokio::net::TcpStream::connect(&folder.http).await.unwrap();
    let sent: &[&str] =
        &["x-sum", "x-cost", "x-forwarded-for", "cookie", "x_request_id", "traceparent"];
    for named in [
        Some("x-sum"),
        Some("x-sum, X-Cost"),
        // What is named is not therefore the sender's.
        Some("x-sum, x-forwarded-for, cookie, x_request_id, traceparent"),
        Some("x-forwarded-for, cookie"),
        Some("x-other"),
        None,
    ] {
        let status = over_http2_on(open, async |mut sender| {
            let mut request = Request::post("http://a/").header("te", "trailers");
            if let Some(named) = named {
                request = request.header("trailer", named);
            }
            let request = request.body(Trailed::new(sent)).unwrap();
            sender.send_request(request).await.unwrap().status()
        });
        assert_eq!(status, StatusCode::OK, "{named:?}");
        let body = receive.recv_timeout(Duration::from_secs(20)).unwrap();
        let (content, trailers) = body.split_once("0\r\n").unwrap();
        assert_eq!(content, "2\r\nok\r\n", "{named:?}");
        let mut lines: Vec<_> =
            trailers.split_inclusive("\r\n").filter(|it| *it != "\r\n").collect();
        lines.sort_unstable();
        assert_eq!(lines.concat(), "x-cost: 1\r\nx-sum: 1\r\n", "{named:?}");
    }
}

/// A server of HTTP/2 alone, by prior knowledge: its trailers and whether its head names them, by path.
fn speaks_http2() -> SocketAddr {
    serve_each(async |stream| {
        let served = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A connection that breaks is one that the proxy has ended.
        drop(served.await);
    })
}

async fn answer(request: Request<hyper::body::Incoming>) -> Result<Response<Trailed>, Infallible> {
    let (named, sent): (_, &[&str]) = match request.uri().path() {
        "/named" => (Some("x-sum"), &["x-sum", "x-cost"]),
        "/owned" => (
            Some("x-sum, x-forwarded-for, set-cookie"),
            &["x-sum", "x-forwarded-for", "set-cookie"],
        ),
        "/grpc" => (None, &["grpc-status", "grpc-message", "x-cost"]),
        _ => (None, &["x-sum"]),
    };
    let mut response = Response::new(Trailed::new(sent));
    if request.uri().path() == "/grpc" {
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    }
    if let Some(named) = named {
        response.headers_mut().insert("trailer", named.parse().unwrap());
    }
    Ok(response)
}

#[test]
fn trailers_of_an_http2_upstream_reach_an_http1_client_whether_the_head_named_them_or_not() {
    let folder = Folder::gateway_with(
        &[speaks_http2()],
        &FolderOptions { protocol: "http2", ..FolderOptions::default() },
    );
    let _gateway = folder.start(&[]);
    for (path, te, names, arrives) in [
        ("/named", "trailers", Some("x-sum"), "x-cost: 1\r\nx-sum: 1\r\n"),
        ("/named", "trailers, deflate;q=0.5", Some("x-sum"), "x-cost: 1\r\nx-sum: 1\r\n"),
        ("/owned", "trailers", Some("x-sum"), "x-sum: 1\r\n"),
        ("/unnamed", "trailers", None, "x-sum: 1\r\n"),
        (
            "/grpc",
            "trailers",
            Some("grpc-status, grpc-message"),
            "grpc-message: 1\r\ngrpc-status: 1\r\nx-cost: 1\r\n",
        ),
        // A client that does not say that it reads them gets none (RFC 9110 §6.5.1).
        ("/named", "deflate", None, ""),
    ] {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nte: {te}\r\nconnection: te, close\r\n\r\n");
        let text = String::from_utf8_lossy(&exchange(&folder.http, head.as_bytes())).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text}"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {text}");
        let named = head.lines().find_map(|line| line.strip_prefix("trailer: "));
        assert_eq!(named.is_some(), names.is_some() || te == "deflate", "{path}, {te}: {text}");
        for name in names.into_iter().flat_map(|names| names.split(", ")) {
            assert!(named.unwrap().split(", ").any(|one| one == name), "{path}, {te}: {text}");
        }
        let trailers = body.split_once("2\r\nok\r\n0\r\n");
        let trailers = trailers.unwrap_or_else(|| panic!("{path}, {te}: {text}")).1;
        let mut lines: Vec<_> =
            trailers.split_inclusive("\r\n").filter(|it| *it != "\r\n").collect();
        lines.sort_unstable();
        assert_eq!(lines.concat(), arrives, "{path}, {te}");
    }
}
