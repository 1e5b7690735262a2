//! One request on a connection of its own.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tamis_transport::{Address, Stream, connect};

use crate::{Client, ClientError, Server};

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// A request.
pub(crate) struct OutgoingCall {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) path: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// Most bytes of the response body that are read.
    pub(crate) limit: usize,
    /// Factor by which its time limit exceeds the usual one.
    pub(crate) patience: u32,
}

impl OutgoingCall {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            limit: 64 * 1024 * 1024,
            patience: 1,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// A body and its type.
    pub(crate) fn body(self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self.header(header::CONTENT_TYPE, kind) }
    }

    pub(crate) fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Marks the transfer of a component, which may be large.
    pub(crate) fn transfer(self) -> Self {
        Self { patience: 5, ..self }
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// Sends a request and reads the response, whatever its status.
    ///
    /// Cancel-safe: dropping the future closes the connection. It is then unknown whether the server
    /// handled the request.
    pub(crate) async fn send(&self, ask: OutgoingCall) -> Result<Reply, ClientError> {
        let timeout = self.timeout.saturating_mul(ask.patience);
        match tokio::time::timeout(timeout, self.exchange(ask)).await {
            Ok(done) => done,
            Err(_elapsed) => Err(ClientError::Timeout { server: self.server.clone(), timeout }),
        }
    }

    async fn exchange(&self, ask: OutgoingCall) -> Result<Reply, ClientError> {
        let stream = self.dial().await?;
        let broken = |source| ClientError::Broken { server: self.server.clone(), source };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let (path, limit) = (ask.path.clone(), ask.limit);
        let request = self.request(ask)?;
        let mut connection = pin!(connection);
        let mut exchange = pin!(async {
            let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|error| self.unread(error, path, limit, head.status))?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
        });
        // No task of its own: the connection is polled while the exchange waits for it.
        tokio::select! {
            done = &mut exchange => done,
            // The exchange learns of the connection's end too, and still has to read what came before.
            _ = &mut connection => exchange.await,
        }
    }

    fn unread(
        &self,
        error: Box<dyn std::error::Error + Send + Sync>,
        path: String,
        limit: usize,
        status: StatusCode,
    ) -> ClientError {
        let server = self.server.clone();
        if error.is::<LengthLimitError>() {
            return ClientError::TooLarge { server, path, limit };
        }
        match error.downcast::<hyper::Error>() {
            Ok(source) => ClientError::Broken { server, source: *source },
            Err(error) => ClientError::Strange { server, path, status, what: error.to_string() },
        }
    }

    fn request(&self, ask: OutgoingCall) -> Result<Request<Full<Bytes>>, ClientError> {
        let path = ask.path.clone();
        let mut request = Request::builder().method(ask.method).uri(ask.path);
        request = request.header(header::HOST, self.server.authority());
        request = request.header(header::USER_AGENT, concat!("tamis/", env!("CARGO_PKG_VERSION")));
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        request.body(Full::new(ask.body)).map_err(|error| ClientError::Strange {
            server: self.server.clone(),
            path,
            status: StatusCode::BAD_REQUEST,
            what: error.to_string(),
        })
    }

    async fn dial(&self) -> Result<Stream, ClientError> {
        let server = || self.server.clone();
        let mut last = None;
        for address in self.addresses().await? {
            match connect(&address, self.tls.as_ref(), CONNECT.min(self.timeout)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let source = Box::new(error);
                    last = Some(ClientError::Connect { server: server(), source });
                }
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Resolve {
            host: self.server.authority(),
            source: None,
        }))
    }

    /// The addresses of the registry, in the order in which they are tried.
    async fn addresses(&self) -> Result<Vec<Address>, ClientError> {
        let (host, port) = match &self.server {
            Server::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
            Server::Tcp { host, port, .. } => (host, *port),
        };
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found: Vec<SocketAddr> = match found {
            Ok(found) => found.collect(),
            Err(source) => {
                return Err(ClientError::Resolve { host: host.clone(), source: Some(source) });
            }
        };
        // Resolved addresses decide: the spelling `localhost` does not make a host loopback.
        let seen = !self.server.tls() && found.iter().any(|one| !one.ip().is_loopback());
        if seen && self.bearer.is_some() {
            return Err(ClientError::ClearText { server: self.server.clone() });
        }
        Ok(found.into_iter().map(Address::Tcp).collect())
    }
}
