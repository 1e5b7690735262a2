//! What the handler of a request sees of its connection.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use thiserror::Error as ThisError;
use tokio::sync::oneshot;

use super::http3::Http3Error;
use super::tunnel::ServerTunnel;
use crate::intake::IntakeRefusal;

/// Why the body of a request ended early.
#[derive(Debug, ThisError)]
pub enum RequestBodyError {
    /// It breaks a rule of HTTP/1, or stalled.
    #[error("the body was refused ({})", .0.code())]
    Refused(IntakeRefusal),
    /// The connection ended or broke before the body was complete.
    #[error("the connection ended before the body was complete")]
    Broken(#[source] std::io::Error),
    /// The exchange is over: its response was sent.
    #[error("the exchange of this body is over")]
    Over,
    /// The HTTP/2 stream failed.
    #[error("the stream of the body failed")]
    Http2(#[source] h2::Error),
    /// The HTTP/3 stream failed.
    #[error("the stream of the body failed")]
    Http3(#[source] Http3Error),
}

/// What a request body may do with a connection that reads one request at a time.
pub(super) trait ExchangeSide {
    /// The next piece of the body.
    fn poll_frame(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>>;
    /// Bytes of the body that follow, where that is known.
    fn content_left(&self, exchange: u64) -> Option<u64>;
    /// The tunnel, where the request asks for one; once.
    fn tunnel(&self, exchange: u64) -> Option<oneshot::Receiver<ServerTunnel>>;
    /// Whether an interim response would be sent.
    fn takes_interim(&self, exchange: u64) -> bool;
    /// Sends one.
    fn send_interim(&self, exchange: u64, status: StatusCode, headers: &HeaderMap);
}
