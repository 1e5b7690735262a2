//! A request on its way to an upstream: its head and body as they are written (RFC 9112 §3, §6, §7).

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::response::Expectation;

/// A shorter piece of a body is copied behind what waits to be written.
const COPIED_BELOW: usize = 4 * 1024;

/// Room for the head of an ordinary request.
const HEAD_BYTES: usize = 1024;

/// Waiting small pieces are written once there are this many bytes of them.
const SMALL_MAX: usize = 16 * 1024;

/// A request as it is written. It belongs to no connection: as long as nothing of it was taken by one, it can be written to
/// another.
#[derive(Debug)]
pub struct OutgoingRequest<B> {
    expectation: Expectation,
    repeatable: bool,
    /// Written first: the head, the line before a chunk, small pieces.
    small: Vec<u8>,
    start: usize,
    /// Written then: a piece of the body as it came.
    piece: Bytes,
    /// Written last: the end of a chunk.
    end: &'static [u8],
    /// `None`: it has ended.
    body: Option<B>,
    framing: Framing,
    written: u64,
    flushed: bool,
}

/// How the end of the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes follow.
    Length(u64),
    Chunked,
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
        let mut small = Vec::with_capacity(HEAD_BYTES);
        for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
            small.extend_from_slice(part.as_bytes());
        }
        let mut expectation = match *method {
            Method::HEAD => Expectation::Head,
            Method::CONNECT => Expectation::Connect,
            _ => Expectation::Content,
        };
        field(&mut small, "host", host);
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
            field(&mut small, name.as_str(), value.as_bytes());
        }
        if te && !connection {
            field(&mut small, "connection", b"te");
        }
        let framing = framing(method, stated, &body);
        match framing {
            Framing::Chunked => field(&mut small, "transfer-encoding", b"chunked"),
            // An empty body is stated where its sender stated it.
            Framing::Length(0) if stated.is_none_or(|stated| stated != "0") => {}
            Framing::Length(length) => {
                field(&mut small, "content-length", length.to_string().as_bytes());
            }
        }
        small.extend_from_slice(b"\r\n");
        Self {
            expectation,
            repeatable: method.is_idempotent() && body.is_end_stream(),
            small,
            start: 0,
            piece: Bytes::new(),
            end: b"",
            body: (framing != Framing::Length(0)).then_some(body),
            framing,
            written: 0,
            flushed: false,
        }
    }

    /// Whether it may be sent twice: it has no body and an idempotent method (RFC 9110 §9.2.2).
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// The same without a body, if it may be sent twice and nothing of it was sent.
    pub fn copy(&self) -> Option<Self> {
        (self.repeatable && self.written == 0).then(|| Self {
            small: self.small.clone(),
            piece: Bytes::new(),
            body: None,
            ..*self
        })
    }

    /// What is written next: at first, the head.
    pub fn waiting(&self) -> &[u8] {
        self.small.get(self.start..).unwrap_or_default()
    }

    /// Whether all of it was written.
    pub fn is_written(&self) -> bool {
        self.flushed && self.body.is_none() && self.is_empty()
    }

    /// Bytes that a connection took.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn expectation(&self) -> Expectation {
        self.expectation
    }

    fn is_empty(&self) -> bool {
        self.start >= self.small.len() && self.piece.is_empty() && self.end.is_empty()
    }

    /// Whether another piece of the body can be written together with what waits.
    fn has_room(&self) -> bool {
        self.piece.is_empty() && self.end.is_empty() && self.small.len() < SMALL_MAX
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
            while self.body.is_some() && self.has_room() {
                match self.poll_piece(cx) {
                    Poll::Ready(added) => added.map_err(WriteFailure::Body)?,
                    Poll::Pending => break,
                }
            }
            if self.is_empty() {
                if !self.flushed {
                    ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(WriteFailure::Peer)?;
                    self.flushed = true;
                }
                return if self.body.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            self.flushed = false;
            let small = self.small.get(self.start..).unwrap_or_default();
            let taken = if self.piece.is_empty() && self.end.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, small))
            } else {
                let slices = [small, &self.piece, self.end].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))
            };
            let taken = taken.map_err(WriteFailure::Peer)?;
            if taken == 0 {
                return Poll::Ready(Err(WriteFailure::Peer(io::ErrorKind::WriteZero.into())));
            }
            self.advance(taken);
        }
    }

    fn advance(&mut self, mut taken: usize) {
        self.written = self.written.saturating_add(taken as u64);
        let small = taken.min(self.small.len().saturating_sub(self.start));
        self.start = self.start.saturating_add(small);
        if self.start >= self.small.len() {
            self.small.clear();
            self.start = 0;
        }
        taken = taken.saturating_sub(small);
        let piece = taken.min(self.piece.len());
        self.piece.advance(piece);
        if self.piece.is_empty() {
            // Frees the buffer it came in.
            self.piece = Bytes::new();
        }
        self.end = self.end.get(taken.saturating_sub(piece)..).unwrap_or_default();
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
                return Poll::Ready(self.finish(None));
            }
            Some(frame) => frame.map_err(Into::into)?,
        };
        let ended = body.is_end_stream();
        Poll::Ready(match frame.into_data() {
            Ok(data) => self.add(data).and_then(|()| {
                if ended {
                    self.body = None;
                    self.finish(None)?;
                }
                Ok(())
            }),
            Err(frame) => {
                self.body = None;
                self.finish(frame.into_trailers().ok())
            }
        })
    }

    fn add(&mut self, data: Bytes) -> Result<(), Box<dyn Error + Send + Sync>> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or("the body is longer than its declared length")?;
            }
            Framing::Chunked => {
                self.small.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            }
        }
        let chunked = self.framing == Framing::Chunked;
        if data.len() < COPIED_BELOW {
            self.small.extend_from_slice(&data);
            self.small.extend_from_slice(if chunked { &b"\r\n"[..] } else { b"" });
        } else {
            (self.piece, self.end) = (data, if chunked { &b"\r\n"[..] } else { b"" });
        }
        Ok(())
    }

    /// Writes the end of the body.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Box<dyn Error + Send + Sync>> {
        match self.framing {
            Framing::Length(0) => return Ok(()),
            Framing::Length(_) => {
                return Err("the body is shorter than its declared length".into());
            }
            Framing::Chunked => {}
        }
        if let Some(trailers) = trailers {
            // They are a frame of their own, which is taken once the piece before is written.
            self.small.extend_from_slice(b"0\r\n");
            for (name, value) in &trailers {
                field(&mut self.small, name.as_str(), value.as_bytes());
            }
            self.small.extend_from_slice(b"\r\n");
        } else if self.piece.is_empty() {
            self.small.extend_from_slice(b"0\r\n\r\n");
        } else {
            self.end = b"\r\n0\r\n\r\n";
        }
        Ok(())
    }
}

/// How the body is framed.
fn framing<B: Body>(method: &Method, stated: Option<&HeaderValue>, body: &B) -> Framing {
    if body.is_end_stream() {
        return Framing::Length(0);
    }
    let stated = stated.and_then(|value| value.to_str().ok()?.parse().ok());
    match stated.or_else(|| body.size_hint().exact()) {
        Some(length) => Framing::Length(length),
        // Servers disagree whether there could be one.
        None if [Method::GET, Method::HEAD, Method::CONNECT].contains(method) => Framing::Length(0),
        None => Framing::Chunked,
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
