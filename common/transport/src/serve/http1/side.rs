//! What the handler of a request sees of its connection, which has one exchange at a time.

use std::cell::RefCell;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::response::put_interim;
use super::socket::ServerSocket;
use crate::serve::side::{ExchangeSide, RequestBodyError};
use crate::serve::tunnel::ServerTunnel;

/// Interim responses that wait to be written are left out beyond this.
const INTERIM_BYTES_MAX: usize = 64 * 1024;

impl<IO: AsyncRead + AsyncWrite + Unpin> ExchangeSide for RefCell<ServerSocket<IO>> {
    fn poll_frame(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut socket = self.borrow_mut();
        if socket.exchange != exchange {
            return Poll::Ready(Some(Err(RequestBodyError::Over)));
        }
        socket.poll_frame(cx)
    }

    fn content_left(&self, exchange: u64) -> Option<u64> {
        let socket = self.borrow();
        if socket.exchange == exchange { socket.content.left() } else { None }
    }

    fn tunnel(&self, exchange: u64) -> Option<oneshot::Receiver<ServerTunnel>> {
        let mut socket = self.borrow_mut();
        let held = socket.exchange == exchange && socket.facts.is_some_and(|facts| facts.held);
        held.then(|| {
            let (send, receive) = oneshot::channel();
            socket.tunnel = Some(send);
            receive
        })
    }

    fn takes_interim(&self, exchange: u64) -> bool {
        let socket = self.borrow();
        let new = socket.facts.is_some_and(|facts| !facts.old);
        socket.exchange == exchange && new && !socket.replied
    }

    fn send_interim(&self, exchange: u64, status: StatusCode, headers: &HeaderMap) {
        if !self.takes_interim(exchange) {
            return;
        }
        let mut socket = self.borrow_mut();
        if socket.outbox.waiting().len() < INTERIM_BYTES_MAX {
            put_interim(&mut socket.outbox, status, headers);
            if let Some(driver) = &socket.driver {
                driver.wake_by_ref();
            }
        }
    }
}
