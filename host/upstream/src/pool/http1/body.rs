//! The content of a response on its way from its connection.

use crate::pool::lease::LeasedConnection;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tamis_exchange::{Body, BodyError};
use tamis_transport::OutgoingRequest;
use tokio::sync::mpsc;

/// Content read by whoever polls it. The connection goes back to its pool with the last piece; dropped before, it is closed.
pub(crate) struct ResponseBody {
    /// `None`: the content has ended.
    lease: Option<LeasedConnection>,
}

impl ResponseBody {
    pub(crate) fn new(lease: LeasedConnection) -> Self {
        Self { lease: Some(lease) }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(connection) = this.lease.as_mut().and_then(LeasedConnection::connection) else {
            return Poll::Ready(None);
        };
        let frame = ready!(connection.poll_frame(cx));
        if connection.is_done() || !matches!(frame, Some(Ok(_))) {
            this.lease.take().into_iter().for_each(LeasedConnection::give_back);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::peer)))
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let connection = self.lease.as_ref().and_then(|lease| lease.connection.as_ref());
        match connection.map(|connection| connection.content_left()) {
            None => SizeHint::with_exact(0),
            Some(left) => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// The content of a response that began before its request was written whole: a task moves both.
pub(super) fn both_ways(mut lease: LeasedConnection, mut request: OutgoingRequest<Body>) -> Body {
    let length = lease.connection().and_then(|connection| connection.content_left());
    let (send, frames) = mpsc::channel(1);
    drop(tokio::task::spawn_local(async move {
        tokio::select! {
            // Nobody reads the response any more.
            () = send.closed() => {}
            moved = move_both(&mut lease, &mut request, &send) => if moved {
                lease.give_back();
            },
        }
    }));
    Body::stream(EarlyBody { frames, left: length })
}

/// Moves the rest of the request and all of the response; true if the connection is whole after that.
async fn move_both(
    lease: &mut LeasedConnection,
    request: &mut OutgoingRequest<Body>,
    send: &mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
) -> bool {
    let Some(connection) = lease.connection() else { return false };
    loop {
        let room = {
            let mut reserve = std::pin::pin!(send.reserve());
            poll_fn(|cx| {
                if let Poll::Ready(Err(error)) = connection.poll_write(cx, request) {
                    return Poll::Ready(Err(Some(BodyError::peer(error))));
                }
                reserve.as_mut().poll(cx).map_err(|_closed| None)
            })
            .await
        };
        let room = match room {
            Ok(room) => room,
            Err(Some(error)) => {
                drop(send.send(Err(error)).await);
                return false;
            }
            Err(None) => return false,
        };
        let frame = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = connection.poll_write(cx, request) {
                return Poll::Ready(Some(Err(BodyError::peer(error))));
            }
            connection.poll_frame(cx).map(|frame| frame.map(|it| it.map_err(BodyError::peer)))
        });
        match frame.await {
            None => return request.is_written(),
            Some(frame) => {
                let failed = frame.is_err();
                room.send(frame);
                if failed {
                    return false;
                }
            }
        }
        if connection.is_done() {
            return request.is_written();
        }
    }
}

/// The response as its task passes it on.
struct EarlyBody {
    frames: mpsc::Receiver<Result<Frame<Bytes>, BodyError>>,
    /// Bytes that follow, where that is known.
    left: Option<u64>,
}

impl HttpBody for EarlyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(this.frames.poll_recv(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.left = this.left.map(|left| left.saturating_sub(length));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
