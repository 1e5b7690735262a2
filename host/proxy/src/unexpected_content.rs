//! Content where none is expected.
//!
//! Servers disagree whether GET, HEAD and TRACE have content: one that does not read it takes it for the next request on the
//! connection. HTTP/1.1 states in the head whether there is any, and the intake refuses it; HTTP/2 and HTTP/3 may leave that open until the
//! stream ends, so the end is waited for here.

use bytes::Bytes;
use http::{Method, Request, Version, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tamis_exchange::{Fault, Refusal};

/// How long to wait for the end of such a stream; as long as the intake waits for the end of a head.
const END_MAX: Duration = Duration::from_secs(10);

/// Checks that a request whose method has no content has none.
pub(crate) async fn check<B>(request: &mut Request<B>) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let bodiless = [Method::GET, Method::HEAD, Method::TRACE].contains(request.method());
    if !bodiless || request.version() < Version::HTTP_2 || request.body().is_end_stream() {
        return Ok(());
    }
    if request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0") {
        return Err(unexpected());
    }
    match tokio::time::timeout(END_MAX, ended(request.body_mut())).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            let detail = "the stream of a request without content did not end";
            Err(Refusal::new("http.body-timeout", 408, Fault::Client, detail))
        }
    }
}

async fn ended<B>(body: &mut B) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::new("request.broken", 400, Fault::Client, error.to_string())
        })?;
        if frame.data_ref().is_some_and(|octets| !octets.is_empty()) {
            return Err(unexpected());
        }
    }
    Ok(())
}

fn unexpected() -> Refusal {
    let detail = "a request with this method must have no content: servers disagree on its meaning (RFC 9110 §9.3.1)";
    Refusal::new("http.unexpected-body", 400, Fault::Client, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};
    use std::convert::Infallible;

    async fn checked<B>(method: &str, version: Version, body: B) -> Option<(&'static str, u16)>
    where
        B: Body<Data = Bytes, Error = Infallible> + Unpin,
    {
        let mut request = Request::builder().method(method).version(version).body(body).unwrap();
        let refusal = check(&mut request).await.err()?;
        Some((refusal.code, refusal.status))
    }

    #[tokio::test(start_paused = true)]
    async fn a_method_without_content_goes_on_once_there_is_none() {
        let refused = Some(("http.unexpected-body", 400));
        let streams = [Version::HTTP_2, Version::HTTP_3];
        for (method, two) in
            ["GET", "HEAD", "TRACE"].iter().flat_map(|method| streams.map(|it| (*method, it)))
        {
            assert_eq!(checked(method, two, Full::from("a")).await, refused, "{method}");
            assert_eq!(checked(method, two, Empty::<Bytes>::new()).await, None, "{method}");
            let frames = |octets: [&'static str; 2]| {
                let frames = octets.map(|octets| Ok(Frame::data(Bytes::from(octets))));
                StreamBody::new(futures_util::stream::iter(frames))
            };
            assert_eq!(checked(method, two, frames(["", ""])).await, None, "{method}");
            assert_eq!(checked(method, two, frames(["", "a"])).await, refused, "{method}");
            let never = StreamBody::new(futures_util::stream::pending());
            assert_eq!(checked(method, two, never).await, Some(("http.body-timeout", 408)));
            // The intake has checked the head.
            assert_eq!(checked(method, Version::HTTP_11, Full::from("a")).await, None, "{method}");
        }
        for method in ["POST", "OPTIONS", "DELETE", "QUERY"] {
            assert_eq!(checked(method, Version::HTTP_2, Full::from("a")).await, None, "{method}");
        }
    }
}
