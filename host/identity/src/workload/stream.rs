//! The stream of an agent: gRPC over HTTP/2 on its socket (gRPC over HTTP/2, "Requests" and "Responses").

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode;
use tamis_transport::causes;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::messages::{MESSAGE_MAX, SvidMessage};
use super::{AgentSocket, WorkloadError};

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Time limit for a response to begin. An agent that cannot reach its server answers late.
const ANSWER: Duration = Duration::from_secs(30);
/// The method of the protocol.
const METHOD: &str = "http://localhost/SpiffeWorkloadAPI/FetchX509SVID";
/// Says that the caller knows what it calls (Workload Endpoint §5): an agent refuses requests without it.
const WORKLOAD: &str = "workload.spiffe.io";
/// A flag and a length before each message.
const PREFIX: usize = 5;
/// A message without fields: `X509SVIDRequest`.
const EMPTY: [u8; PREFIX] = [0; PREFIX];
/// Longest text of a refusal that is repeated, in characters.
const TEXT_MAX: usize = 300;

/// An open stream. Dropping it closes the connection.
pub(super) struct AgentStream {
    socket: AgentSocket,
    body: Incoming,
    /// Received, and no whole message yet.
    buffer: BytesMut,
    _connection: Connection,
}

/// The connection, which ends when this is dropped.
struct Connection {
    _sender: SendRequest<Full<Bytes>>,
    _tasks: JoinSet<()>,
}

impl AgentStream {
    /// Connects and asks.
    pub(super) async fn open(socket: &AgentSocket) -> Result<Self, WorkloadError> {
        let failed = |why: String| WorkloadError::Unreachable { socket: socket.to_string(), why };
        let connected = tokio::time::timeout(CONNECT, UnixStream::connect(socket.path())).await;
        let stream = connected
            .map_err(|_| failed("nobody accepts the connection".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let answered = tokio::time::timeout(ANSWER, ask(stream)).await;
        let (head, body, connection) = answered
            .map_err(|_| failed(format!("no response begins within {ANSWER:?}")))?
            .map_err(failed)?;
        let wrong = |rule: String| WorkloadError::Message { socket: socket.to_string(), rule };
        if head.status != 200 {
            return Err(wrong(format!("the response has the status {}", head.status.as_u16())));
        }
        let kind = head.headers.get(header::CONTENT_TYPE).map_or(&[][..], |kind| kind.as_bytes());
        if !kind.starts_with(b"application/grpc") {
            return Err(wrong("the response is no gRPC".to_owned()));
        }
        // A response without messages has its status in the head.
        if head.headers.contains_key("grpc-status") {
            return Err(ended(socket, &head.headers));
        }
        let (socket, buffer) = (socket.clone(), BytesMut::new());
        Ok(Self { socket, body, buffer, _connection: connection })
    }

    /// The next message. It can be dropped while it waits, and called again.
    pub(super) async fn next(&mut self) -> Result<SvidMessage, WorkloadError> {
        loop {
            if let Some(message) = self.whole()? {
                return SvidMessage::read(&message).map_err(|rule| self.wrong(rule));
            }
            let failed = |why| WorkloadError::Unreachable { socket: self.socket.to_string(), why };
            let frame = match self.body.frame().await {
                None => return Err(failed("the stream ended without a status".to_owned())),
                Some(Err(error)) => return Err(failed(causes(&error))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Err(ended(&self.socket, &trailers));
                }
            }
        }
    }

    /// A message that was received whole.
    fn whole(&mut self) -> Result<Option<Bytes>, WorkloadError> {
        let Some([flag, length @ ..]) = self.buffer.first_chunk::<PREFIX>().copied() else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(self.wrong("it is compressed, which nobody asked for".to_owned()));
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        // The length comes first, so no more than this is ever kept, and what one frame has beyond it.
        if length > MESSAGE_MAX {
            let rule = format!("it has {length} bytes, and {MESSAGE_MAX} is the most");
            return Err(self.wrong(rule));
        }
        if self.buffer.len().saturating_sub(PREFIX) < length {
            return Ok(None);
        }
        let _prefix = self.buffer.split_to(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn wrong(&self, rule: String) -> WorkloadError {
        WorkloadError::Message { socket: self.socket.to_string(), rule }
    }
}

/// Sends the request; the head and the body of the response, and the connection.
async fn ask(stream: UnixStream) -> Result<(Parts, Incoming, Connection), String> {
    // No pings: servers of gRPC end a connection that sends more than one in five minutes, and a socket of this machine
    // reports an end by itself.
    let made = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|error| causes(&error))?;
    let mut tasks = JoinSet::new();
    drop(tasks.spawn(async move {
        // It ends with the stream, which reports why.
        let _ = connection.await;
    }));
    let request = Request::post(METHOD)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(WORKLOAD, "true")
        .body(Full::new(Bytes::from_static(&EMPTY)))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| causes(&error))?;
    let (head, body) = answer.into_parts();
    Ok((head, body, Connection { _sender: sender, _tasks: tasks }))
}

/// What the status of gRPC says at the end of a stream.
fn ended(socket: &AgentSocket, fields: &HeaderMap) -> WorkloadError {
    let socket = socket.to_string();
    let status = fields.get("grpc-status").and_then(|it| it.to_str().ok()?.parse::<u32>().ok());
    let text = fields.get("grpc-message").map_or(&[][..], |text| text.as_bytes());
    let text = percent_decode(text).decode_utf8_lossy();
    let text: String = text.chars().filter(|one| !one.is_control()).take(TEXT_MAX).collect();
    let remedy = match status {
        None => {
            let why = "the stream ended without a status of gRPC".to_owned();
            return WorkloadError::Unreachable { socket, why };
        }
        // OK, and UNAVAILABLE: the agent ends.
        Some(0 | 14) => {
            let text = if text.is_empty() { "it says nothing more" } else { &text };
            let why = format!("it ended the stream: {text}");
            return WorkloadError::Unreachable { socket, why };
        }
        Some(3 | 12) => "name the socket of the Workload API, not another one of the agent",
        Some(7) => {
            "register an id for this proxy at the agent's server, with selectors of this process"
        }
        Some(_) => "see the agent's log",
    };
    WorkloadError::Refused { socket, status: status.unwrap_or_default(), text, remedy }
}

#[cfg(test)]
mod tests;
