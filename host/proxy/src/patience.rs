//! How long the proxy waits for the next piece of a body that a client sends over HTTP/2 or HTTP/3.
//!
//! Over HTTP/1 the intake keeps this time (`IntakeLimits::body_timeout`). A connection with streams has none for
//! each: it stays alive by its pings while a stream of it holds a request, its buffers and an upstream.

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tamis_exchange::{Body, BodyError};
use tokio::time::Sleep;

use crate::heads::is_grpc;

/// The longest pause of a gRPC call, whose messages come when there is something to say; as long as an
/// attempt may take at most.
const GRPC_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// The body of a request, with a bound for its pauses.
pub(crate) fn bounded(body: Body, version: Version, head: &HeaderMap, pause: Duration) -> Body {
    if version < Version::HTTP_2 || body.is_end_stream() {
        return body;
    }
    let limit = if is_grpc(head) { GRPC_PAUSE_MAX } else { pause };
    Body::stream(PatientBody { body, limit, timer: None })
}

struct PatientBody {
    body: Body,
    limit: Duration,
    /// Runs while somebody waits for the next piece; a proxy that does not read does not wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for PatientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, limit, timer } = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            // A frame without content is no piece of a body: it costs its sender nothing.
            let is_empty = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(Bytes::is_empty);
            if !matches!(&frame, Some(Ok(frame)) if is_empty(frame)) {
                *timer = None;
            }
            return Poll::Ready(frame);
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(*limit)));
        let stalled = BodyError::Stalled { limit: *limit };
        timer.as_mut().poll(cx).map(|()| Some(Err(stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn head(kind: &'static str) -> HeaderMap {
        let kind = http::HeaderValue::from_static(kind);
        [(http::header::CONTENT_TYPE, kind)].into_iter().collect()
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn no_pause_of_an_upload_is_longer_than_its_bound_whatever_comes_between() {
        let minute = Duration::from_secs(60);
        for (what, version, kind, pieces, ends) in [
            ("nothing", Version::HTTP_2, "text/plain", None, Some(minute)),
            // Each a moment before the bound.
            ("pieces", Version::HTTP_2, "text/plain", Some("a"), None),
            ("empty frames", Version::HTTP_2, "text/plain", Some(""), Some(minute)),
            ("a silent call", Version::HTTP_2, "application/grpc", None, Some(GRPC_PAUSE_MAX)),
            ("another spelling", Version::HTTP_2, "application/grp", None, Some(minute)),
            // There the intake keeps the time.
            ("HTTP/3", Version::HTTP_3, "text/plain", None, Some(minute)),
            ("HTTP/1", Version::HTTP_11, "text/plain", None, None),
        ] {
            let (send, body) = Body::channel(1);
            let mut body = bounded(body, version, &head(kind), minute);
            let sender = tokio::spawn(async move {
                for _ in 0..100 {
                    tokio::time::sleep(minute - Duration::from_secs(1)).await;
                    let Some(piece) = pieces else { continue };
                    let frame = Frame::data(Bytes::from_static(piece.as_bytes()));
                    if send.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
            });
            let began = tokio::time::Instant::now();
            let end = loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            };
            let stalled = end.map(|error| match error {
                BodyError::Stalled { .. } => began.elapsed(),
                error => panic!("{what}: {error}"),
            });
            assert_eq!(stalled, ends, "{what}");
            sender.abort();
        }
    }
}
