//! A request and its response on one stream.
//!
//! The task of the exchange sends the request and waits for the head. Only a response that begins before its request was
//! sent whole gets a task, so that neither direction waits for a reader of the other.

use super::upload::Upload;
use super::{Stream, UnendedResponse, failure};
use crate::send::SendFailure;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tamis_exchange::{Body, BodyError, Cause};
use tamis_transport::{ReceivedContent, ResponseLimits};
use tokio::task::AbortHandle;

/// A request for a connection.
pub(super) struct RequestToSend {
    pub(super) request: Request<Body>,
    /// Time limit until the peer allows a stream for it; `None`: it is known to allow one.
    pub(super) opens_within: Option<Duration>,
    pub(super) limits: ResponseLimits,
}

/// Sends a request on a connection that takes one. Interim responses are passed to `interim` as they arrive.
pub(super) async fn exchange(
    sender: &mut SendRequest<Bytes>,
    stream: &mut Stream,
    RequestToSend { request, opens_within, limits }: RequestToSend,
    interim: &dyn Fn(StatusCode, HeaderMap),
) -> Result<Response<Body>, SendFailure> {
    let (parts, body) = request.into_parts();
    let ends = body.is_end_stream();
    let sent = sender.send_request(Request::from_parts(parts, ()), ends);
    let (mut response, send) = sent.map_err(|error| failure(&error))?;
    let mut unended = UnendedResponse::of(stream);
    if let Some(limit) = opens_within {
        Box::pin(opens(sender, limit)).await?;
    }
    let mut upload = if ends { None } else { Some(Upload::new(body, send)) };
    let mut budget = InterimBudget { heads: limits.max_interim, octets: limits.max_head_bytes };
    let head = poll_fn(|cx| {
        if upload.as_mut().is_some_and(|upload| upload.poll(cx).is_ready()) {
            upload = None;
        }
        poll_head(&mut response, &mut budget, interim, cx)
    });
    let (head, received) = head.await?.into_parts();
    let fields = head.headers.len();
    if fields > limits.max_fields {
        let detail = format!("the response has {fields} fields, `maxResponseFields` allows fewer");
        return Err(SendFailure::protocol(detail));
    }
    let upload = upload.map(|upload| {
        let (beside, task) = upload.spawn(&stream.streams);
        stream.upload = Some(beside);
        task
    });
    let content = ReceivedContent::new(received, &head.headers);
    let body = if content.is_end_stream() {
        unended.ended();
        Body::Empty
    } else {
        Body::stream(ResponseContent { content, upload, unended })
    };
    Ok(Response::from_parts(head, body))
}

/// Waits until the peer allows a stream for the request just sent.
async fn opens(sender: &mut SendRequest<Bytes>, limit: Duration) -> Result<(), SendFailure> {
    let opened = tokio::time::timeout(limit, poll_fn(|cx| sender.poll_ready(cx))).await;
    match opened {
        Ok(opened) => opened.map_err(|error| failure(&error)),
        Err(_elapsed) => {
            let detail = "the endpoint allows no streams on a new connection".to_owned();
            Err(SendFailure::untouched(Cause::RefusedStream, detail))
        }
    }
}

/// What may still come before the final head.
struct InterimBudget {
    heads: u32,
    octets: usize,
}

impl InterimBudget {
    /// Whether that one may.
    fn takes(&mut self, headers: &HeaderMap) -> bool {
        let octets = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let left = self.octets.checked_sub(octets.sum());
        self.octets = left.unwrap_or_default();
        let heads = self.heads.checked_sub(1);
        self.heads = heads.unwrap_or_default();
        left.is_some() && heads.is_some()
    }
}

/// The final head; those that come before it are passed on.
fn poll_head(
    response: &mut ResponseFuture,
    budget: &mut InterimBudget,
    interim: &dyn Fn(StatusCode, HeaderMap),
    cx: &mut Context<'_>,
) -> Poll<Result<Response<h2::RecvStream>, SendFailure>> {
    while let Some(head) = ready!(response.poll_informational(cx)) {
        let (head, ()) = head.map_err(|error| failure(&error))?.into_parts();
        // RFC 9113 §8.6: HTTP/2 has no other protocol to switch to.
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let detail = "the endpoint sent 101 Switching Protocols over HTTP/2".to_owned();
            return Poll::Ready(Err(SendFailure::protocol(detail)));
        }
        if !budget.takes(&head.headers) {
            let detail = "the endpoint sent more interim responses than are taken".to_owned();
            return Poll::Ready(Err(SendFailure::protocol(detail)));
        }
        interim(head.status, head.headers);
    }
    Pin::new(response).poll(cx).map_err(|error| failure(&error))
}

/// The content of a response. Dropped before its end, it ends the stream in both directions.
struct ResponseContent {
    content: ReceivedContent,
    upload: Option<AbortHandle>,
    unended: UnendedResponse,
}

impl HttpBody for ResponseContent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = self.get_mut().content.poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(BodyError::peer)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ResponseContent {
    fn drop(&mut self) {
        // The endpoint may read on after its response.
        if self.content.is_end_stream() {
            self.unended.ended();
        } else if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}
