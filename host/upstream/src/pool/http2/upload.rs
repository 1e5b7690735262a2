//! The content of a request that is still being sent when its response begins.

use super::Streams;
use bytes::Bytes;
use h2::SendStream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tamis_exchange::{Body, BodyError};
use tamis_transport::{SendContentError, send_content};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Time without any progress after which content that follows a whole response is given up. An endpoint may read on after
/// its response (RFC 9113 §8.1), and it may leave its window closed for ever.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Sends the content of a request.
pub(super) struct Upload {
    sending: Pin<Box<dyn Future<Output = Result<(), SendContentError>>>>,
    /// Frames that were taken from the content.
    taken: Rc<Cell<u64>>,
}

impl Upload {
    pub(super) fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        let taken = Rc::new(Cell::new(0));
        let body = CountedBody { body, taken: Rc::clone(&taken) };
        Self { sending: Box::pin(send_content(body, stream)), taken }
    }

    /// Ready at its end. One that fails ends the stream, and with it the response.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.as_mut().poll(cx).map(drop)
    }

    /// Goes on in a task of its own, while the response arrives.
    pub(super) fn spawn(self, streams: &Rc<Streams>) -> (Rc<UploadBesideResponse>, AbortHandle) {
        let upload = Rc::new(UploadBesideResponse {
            streams: Rc::clone(streams),
            is_sending: Cell::new(true),
            holds_stream: Cell::new(false),
            response_ended: Notify::new(),
        });
        let ended = UploadEnd(Rc::clone(&upload));
        let task = tokio::task::spawn_local(async move {
            let UploadEnd(upload) = &ended;
            tokio::select! {
                biased;
                _sent = self.sending => {}
                () = upload.stalls(&self.taken) => {
                    tracing::debug!("an endpoint takes no more of a request that it has answered");
                }
            }
        });
        (upload, task.abort_handle())
    }
}

/// Content that is sent while its response is read. The stream is open until both have ended.
pub(super) struct UploadBesideResponse {
    streams: Rc<Streams>,
    is_sending: Cell<bool>,
    /// The response ended first, so the end of the content frees the stream.
    holds_stream: Cell<bool>,
    response_ended: Notify,
}

impl UploadBesideResponse {
    /// The response was read or given up. Returns whether the content still needs the stream.
    pub(super) fn outlives_response(&self) -> bool {
        self.holds_stream.set(self.is_sending.get());
        self.response_ended.notify_one();
        self.is_sending.get()
    }

    /// Returns once nothing was sent for too long after the response.
    async fn stalls(&self, taken: &Cell<u64>) {
        self.response_ended.notified().await;
        loop {
            let before = taken.get();
            tokio::time::sleep(STALL_MAX).await;
            if taken.get() == before {
                return;
            }
        }
    }
}

/// The end of the task of an upload, however it comes.
struct UploadEnd(Rc<UploadBesideResponse>);

impl Drop for UploadEnd {
    fn drop(&mut self) {
        self.0.is_sending.set(false);
        if self.0.holds_stream.get() {
            self.0.streams.ended();
        }
    }
}

/// Counts the frames that are taken.
struct CountedBody {
    body: Body,
    taken: Rc<Cell<u64>>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if frame.is_ready() {
            this.taken.set(this.taken.get().wrapping_add(1));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
