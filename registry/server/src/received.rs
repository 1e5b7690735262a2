//! The body of a request as the router takes it: it may move between threads, as that of a connection may not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use tamis_transport::{RequestBody, RequestBodyError};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

type Piece = Result<Frame<Bytes>, RequestBodyError>;

/// The body. A task of its own reads it, each piece when the router asks for it, until the router drops it or the exchange is
/// over.
pub(crate) fn body(mut received: RequestBody) -> Body {
    if received.is_end_stream() {
        return Body::empty();
    }
    let (send, pieces) = mpsc::channel(1);
    let asked = Arc::new(Notify::new());
    let asks = Arc::clone(&asked);
    drop(spawn_local(async move {
        loop {
            let next = async {
                // A client that waits for `100 Continue` is not asked for what nobody reads.
                asked.notified().await;
                received.frame().await
            };
            let piece = tokio::select! {
                () = send.closed() => return,
                piece = next => piece,
            };
            let Some(piece) = piece else { return };
            let failed = piece.is_err();
            if send.send(piece).await.is_err() || failed {
                return;
            }
        }
    }));
    Body::new(ReceivedBody { pieces, asks })
}

struct ReceivedBody {
    pieces: mpsc::Receiver<Piece>,
    asks: Arc<Notify>,
}

impl HttpBody for ReceivedBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let this = self.get_mut();
        let piece = this.pieces.poll_recv(cx);
        if piece.is_pending() {
            this.asks.notify_one();
        }
        piece
    }
}
