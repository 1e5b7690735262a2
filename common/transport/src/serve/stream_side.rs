//! What the handler of a stream of HTTP/2 or HTTP/3 and its task have in common.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use http::header::{self, HeaderMap};
use http::{Response, StatusCode};
use tokio::sync::oneshot;

use super::stream_head::is_of_connection;
use super::tunnel::ServerTunnel;
use crate::message::field::list_contains;

/// Fields of the interim responses to one request, in bytes; one beyond that is left out. Its head is not subject to flow
/// control, so a client that does not read makes us keep it.
const INTERIM_BYTES_MAX: usize = 64 * 1024;

/// The side of a stream that its handler sees.
pub(super) struct StreamSide {
    /// Whether the final response has not begun.
    open: Cell<bool>,
    /// Interim responses that were not sent yet, in their order.
    interims: RefCell<Vec<Response<()>>>,
    room: Cell<usize>,
    /// Wakes the task of the stream.
    task: RefCell<Option<Waker>>,
    /// Whether the request is one that can open a tunnel.
    connects: bool,
    tunnel: Cell<Option<oneshot::Sender<ServerTunnel>>>,
}

impl StreamSide {
    pub(super) fn new(connects: bool) -> Self {
        Self {
            open: Cell::new(true),
            interims: RefCell::default(),
            room: Cell::new(INTERIM_BYTES_MAX),
            task: RefCell::default(),
            connects,
            tunnel: Cell::default(),
        }
    }

    /// The tunnel, where the request asks for one; once.
    pub(super) fn tunnel(&self) -> Option<oneshot::Receiver<ServerTunnel>> {
        self.connects.then(|| {
            let (send, receive) = oneshot::channel();
            self.tunnel.set(Some(send));
            receive
        })
    }

    /// Whoever waits for the tunnel.
    pub(super) fn take_tunnel(&self) -> Option<oneshot::Sender<ServerTunnel>> {
        self.tunnel.take()
    }

    /// Whether an interim response would be sent.
    pub(super) fn takes_interim(&self) -> bool {
        self.open.get()
    }

    /// Sends one.
    pub(super) fn send_interim(&self, status: StatusCode, headers: &HeaderMap) {
        if !self.open.get() {
            return;
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        let mut octets = 0_usize;
        for (name, value) in headers {
            // It has no content, and says nothing about the connection.
            if is_of_message(name) {
                octets = octets.saturating_add(name.as_str().len()).saturating_add(value.len());
                response.headers_mut().append(name, value.clone());
            }
        }
        // An empty one takes room too.
        let Some(room) = self.room.get().checked_sub(octets.saturating_add(1)) else { return };
        self.room.set(room);
        self.interims.borrow_mut().push(response);
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// The interim responses that wait.
    pub(super) fn take_interims(&self) -> Vec<Response<()>> {
        self.interims.take()
    }

    /// Nothing is sent any more before the final response.
    pub(super) fn close(&self) {
        self.open.set(false);
    }

    /// Notes whom to wake.
    pub(super) fn note_task(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }
}

/// Whether the client sends content only once it is asked to (RFC 9110 §10.1.1).
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    let mut lists = headers.get_all(header::EXPECT).iter();
    lists.any(|list| list_contains(list.as_bytes(), b"100-continue"))
}

/// Whether a field may stand in a head that is followed by another one, on a stream.
fn is_of_message(name: &header::HeaderName) -> bool {
    *name != header::CONTENT_LENGTH && !is_of_connection(name)
}
