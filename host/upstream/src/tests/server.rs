//! Servers to send to.

use super::eventually;
use crate::EndpointTarget;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use tamis_transport::Address;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What servers saw.
#[derive(Default)]
pub(crate) struct ServerLog {
    /// Connections accepted.
    pub(crate) connections: Cell<u32>,
    /// Of them, still open.
    pub(crate) open: Cell<u32>,
    /// Paths in the order of their requests.
    pub(crate) paths: RefCell<Vec<String>>,
    /// Lets one request to `/hold…` continue.
    pub(crate) release: Notify,
}

impl ServerLog {
    pub(crate) async fn requests(&self, count: usize) {
        eventually("requests arrive", || self.paths.borrow().len() >= count).await;
    }
}

pub(crate) fn tcp(listener: &TcpListener) -> EndpointTarget {
    EndpointTarget::Address(Address::Tcp(listener.local_addr().unwrap()))
}

/// Responds to each request with its path.
pub(crate) async fn respond(
    seen: Rc<ServerLog>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    seen.paths.borrow_mut().push(path.clone());
    if path.starts_with("/hold") {
        seen.release.notified().await;
    }
    let mut response = Response::new(Full::new(Bytes::from(path.clone())));
    if path == "/close" {
        let close = header::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    if path == "/upgrade" {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let echo = header::HeaderValue::from_static("echo");
        response.headers_mut().insert(header::UPGRADE, echo);
        let upgraded = hyper::upgrade::on(&mut request);
        drop(tokio::task::spawn_local(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut octets = [0; 4];
            while io.read_exact(&mut octets).await.is_ok() {
                io.write_all(&octets).await.unwrap();
            }
        }));
    }
    Ok(response)
}

/// Serves one HTTP/1.1 connection.
pub(crate) async fn serve_http1(
    seen: Rc<ServerLog>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    seen.connections.set(seen.connections.get() + 1);
    seen.open.set(seen.open.get() + 1);
    let service = service_fn(|request| respond(Rc::clone(&seen), request));
    let connection = hyper::server::conn::http1::Builder::new();
    drop(connection.serve_connection(TokioIo::new(io), service).with_upgrades().await);
    seen.open.set(seen.open.get() - 1);
}

/// An HTTP/1.1 server.
pub(crate) async fn http1() -> (EndpointTarget, Rc<ServerLog>) {
    http1_at("127.0.0.1:0").await
}

pub(crate) async fn http1_at(address: &str) -> (EndpointTarget, Rc<ServerLog>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (target, seen) = (tcp(&listener), Rc::new(ServerLog::default()));
    let shared = Rc::clone(&seen);
    drop(tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::task::spawn_local(serve_http1(Rc::clone(&shared), stream)));
        }
    }));
    (target, seen)
}

/// A server by hand: `serve` gets each connection with its number, from 1.
pub(crate) async fn by_hand<F: Future<Output = ()> + 'static>(
    serve: impl Fn(u32, TcpStream) -> F + 'static,
) -> (EndpointTarget, Rc<ServerLog>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (target, seen) = (tcp(&listener), Rc::new(ServerLog::default()));
    let shared = Rc::clone(&seen);
    drop(tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.set(shared.connections.get() + 1);
            drop(tokio::task::spawn_local(serve(shared.connections.get(), stream)));
        }
    }));
    (target, seen)
}

/// Reads to the end of a request's head; false when the connection ended before.
pub(crate) async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return false,
        }
    }
    true
}

/// Responds `ok` and keeps the connection.
pub(crate) async fn write_ok(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
}
