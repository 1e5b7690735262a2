//! The tunnel that a request asks for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use thiserror::Error as ThisError;
use tokio::sync::oneshot;

use super::body::RequestBody;
use super::tunnel::ServerTunnel;

/// Why no tunnel opened.
#[derive(Debug, ThisError)]
pub enum TunnelError {
    /// The response did not change the protocol, or the connection ended before it was sent.
    #[error("the protocol was not changed")]
    NotOpened,
}

/// The client's side of a tunnel, ready once the response that opens it was sent.
pub struct PendingTunnel(Option<oneshot::Receiver<ServerTunnel>>);

impl PendingTunnel {
    /// That of a request. It never opens when the request asks for no other protocol.
    pub fn of(request: &mut Request<RequestBody>) -> Self {
        Self(request.body().tunnel())
    }
}

impl Future for PendingTunnel {
    type Output = Result<ServerTunnel, TunnelError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Some(receiver) => {
                Pin::new(receiver).poll(cx).map_err(|_dropped| TunnelError::NotOpened)
            }
            None => Poll::Ready(Err(TunnelError::NotOpened)),
        }
    }
}

impl fmt::Debug for PendingTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingTunnel")
    }
}
