//! A request on its way to an upstream: its head and body as they are written (RFC 9112 §3, §6, §7).

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::message::outbox::{Outbox, OutgoingFraming};
use crate::response::Expectation;

/// Room for the head of an ordinary request.
const HEAD_BYTES: usize = 1024;

/// A request as it is written. It belongs to no connection: as long as nothing of it was taken by one, it can be written to
/// another.
#[derive(Debug)]
pub struct OutgoingRequest<B> {
    expectation: Expectation,
    idempotent: bool,
    outbox: Outbox,
    /// `None`: it has ended.
    body: Option<B>,
    framing: OutgoingFraming,
}

/// Why writing ended.
pub(super) enum WriteFailure {
    /// By the body.
    Body(Box<dyn Error + Send + Sync>),
    /// By the connection.
    Peer(io::Error),
}

/// A head to write.
#[derive(Debug, Clone, Copy)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, or `*`; without spaces and control characters.
    pub path: &'a str,
    /// Written first, as `host`; one among the fields is not written.
    pub host: &'a [u8],
}

impl<B: Body<Data = Bytes> + Unpin> OutgoingRequest<B> {
    /// From a request whose target has a path; an authority in it becomes `host` if there is none.
    pub fn new(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let line = RequestLine {
            method: &parts.method,
            path: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
            host: match (parts.headers.get(header::HOST), parts.uri.authority()) {
                (Some(host), _) => host.as_bytes(),
                (None, Some(authority)) => authority.as_str().as_bytes(),
                (None, None) => b"",
            },
        };
        Self::write(line, &parts.headers, body)
    }

    /// From its line, its fields in their order, and its body. The fields of framing are written as the body needs them.
    pub fn write<'a>(
        line: RequestLine<'_>,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        body: B,
    ) -> Self {
        let RequestLine { method, path, host } = line;
        let mut outbox = Outbox::with_capacity(HEAD_BYTES);
        for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
            outbox.put(part.as_bytes());
        }
        let mut expectation = match *method {
            Method::HEAD => Expectation::Head,
            Method::CONNECT => Expectation::Connect,
            _ => Expectation::Content,
        };
        outbox.put_field("host", host);
        let (mut te, mut connection, mut stated) = (false, false, None);
        for (name, value) in fields {
            match *name {
                header::TRANSFER_ENCODING | header::HOST => continue,
                header::CONTENT_LENGTH => {
                    stated = Some(value);
                    continue;
                }
                header::TE => te = true,
                header::CONNECTION => connection = true,
                header::UPGRADE if expectation == Expectation::Content => {
                    expectation = Expectation::Switch;
                }
                _ => {}
            }
            outbox.put_field(name.as_str(), value.as_bytes());
        }
        if te && !connection {
            outbox.put_field("connection", b"te");
        }
        let framing = framing(method, stated, &body);
        match framing {
            OutgoingFraming::Chunked => outbox.put_field("transfer-encoding", b"chunked"),
            // No request ends with its connection (RFC 9112 §6.3).
            OutgoingFraming::UntilClose => {}
            // An empty body is stated where its sender stated it.
            OutgoingFraming::Length(0) if stated.is_none_or(|stated| stated != "0") => {}
            OutgoingFraming::Length(length) => {
                outbox.put_number("content-length", length);
            }
        }
        outbox.put(b"\r\n");
        Self {
            expectation,
            idempotent: method.is_idempotent(),
            outbox,
            body: (framing != OutgoingFraming::Length(0)).then_some(body),
            framing,
        }
    }

    /// Whether its method lets it be sent twice (RFC 9110 §9.2.2). Whoever sends it again needs its body once more.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The same request, if its method is idempotent, it has no body and nothing of it was sent.
    pub fn copy(&self) -> Option<Self> {
        (self.idempotent && self.body.is_none() && self.written() == 0).then(|| Self {
            outbox: self.outbox.copy(),
            body: None,
            ..*self
        })
    }

    /// What is written next: at first, the head.
    pub fn waiting(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// Whether all of it was written.
    pub fn is_written(&self) -> bool {
        self.body.is_none() && self.outbox.is_flushed()
    }

    /// Bytes that a connection took.
    pub fn written(&self) -> u64 {
        self.outbox.written()
    }

    pub(super) fn expectation(&self) -> Expectation {
        self.expectation
    }

    /// Writes until all is written.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), WriteFailure>>
    where
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        loop {
            // A body that is pending may have ended its turn, so it is not asked again before it wakes this task.
            let mut pending = false;
            while self.body.is_some() && self.outbox.has_room() && !pending {
                match self.poll_piece(cx) {
                    Poll::Ready(added) => added.map_err(WriteFailure::Body)?,
                    Poll::Pending => pending = true,
                }
            }
            ready!(self.outbox.poll_flush(cx, io)).map_err(WriteFailure::Peer)?;
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if pending {
                return Poll::Pending;
            }
        }
    }

    /// Takes the next piece of the body, or its end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<dyn Error + Send + Sync>>>
    where
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(Ok(())) };
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => {
                self.body = None;
                return Poll::Ready(Ok(self.outbox.put_end(self.framing, None)?));
            }
            Some(frame) => frame.map_err(Into::into)?,
        };
        let ended = body.is_end_stream();
        Poll::Ready(match frame.into_data() {
            Ok(data) => {
                self.outbox.put_data(&mut self.framing, data)?;
                if ended {
                    self.body = None;
                    self.outbox.put_end(self.framing, None)?;
                }
                Ok(())
            }
            Err(frame) => {
                self.body = None;
                let trailers = frame.into_trailers().ok();
                Ok(self.outbox.put_end(self.framing, trailers.as_ref())?)
            }
        })
    }
}

/// How the body is framed.
fn framing<B: Body>(method: &Method, stated: Option<&HeaderValue>, body: &B) -> OutgoingFraming {
    if body.is_end_stream() {
        return OutgoingFraming::Length(0);
    }
    let stated = stated.and_then(|value| value.to_str().ok()?.parse().ok());
    match stated.or_else(|| body.size_hint().exact()) {
        Some(length) => OutgoingFraming::Length(length),
        // Servers disagree whether there could be one.
        None if [Method::GET, Method::HEAD, Method::CONNECT].contains(method) => {
            OutgoingFraming::Length(0)
        }
        None => OutgoingFraming::Chunked,
    }
}
