//! gRPC-Web at the listeners that translate it: browsers read no trailers, so a call has those of its response in the last
//! part of the body (gRPC, `PROTOCOL-WEB.md`). Filters and upstreams see gRPC.
//!
//! The head of a request changes before any filter sees it, and the response changes after all of them. The messages of a
//! body have the same frames in both protocols; with `-text` they are Base64 on the way of the browser.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tamis_exchange::{Body, BodyError};

use crate::heads::is_grpc;

const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const TEXT: &str = "-text";
/// The first octet of the part with trailers: its highest bit says so, and the others that it is not compressed.
const TRAILERS: u8 = 0x80;
/// Octets of Base64 that stand together.
const GROUP: usize = 4;

/// A call of gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrpcWebCall {
    /// The body of the request is Base64.
    sends_text: bool,
    /// The body of the response must be Base64.
    takes_text: bool,
}

impl GrpcWebCall {
    /// Makes a request of gRPC from one of gRPC-Web; `None`: it is another request, and nothing changes.
    pub(crate) fn translate(headers: &mut HeaderMap) -> Option<Self> {
        let (sends_text, format) = read_kind(headers.get(header::CONTENT_TYPE)?)?;
        let kind = HeaderValue::try_from(format!("{GRPC}{format}")).ok()?;
        let accepts = headers.get_all(header::ACCEPT).iter();
        let wants_text = accepts.filter_map(read_kind).any(|(is_text, _)| is_text);
        headers.insert(header::CONTENT_TYPE, kind);
        // That of a browser says gRPC-Web, which no server of gRPC speaks.
        headers.remove(header::ACCEPT);
        if sends_text {
            headers.remove(header::CONTENT_LENGTH);
        }
        Some(Self { sends_text, takes_text: sends_text || wants_text })
    }

    /// The body of the request as gRPC has it.
    pub(crate) fn request(self, body: Body) -> Body {
        if !self.sends_text || body.is_end_stream() {
            return body;
        }
        Body::stream(DecodedBody { inner: body, rest: BytesMut::new() })
    }

    /// Makes the head of a response of gRPC one of gRPC-Web. Another response stays as it is: `false`.
    pub(crate) fn respond(self, headers: &mut HeaderMap) -> bool {
        if !is_grpc(headers) {
            return false;
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let format = kind.and_then(|kind| kind.get(GRPC.len()..)).unwrap_or_default();
        let text = if self.takes_text { TEXT } else { "" };
        if let Ok(kind) = HeaderValue::try_from(format!("{WEB}{text}{format}")) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRAILER);
        true
    }

    /// A part of the body of a response as the browser receives it.
    pub(crate) fn part(self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let octets = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => last_part(&trailers),
                Err(frame) => return frame,
            },
        };
        if !self.takes_text {
            return Frame::data(octets);
        }
        // Each part is padded: a browser reads it when it comes, and not when three octets are there.
        Frame::data(STANDARD.encode(&octets).into())
    }
}

/// Whether a media type is that of gRPC-Web text, and its format, such as `+proto`; `None`: it is not of gRPC-Web.
fn read_kind(value: &HeaderValue) -> Option<(bool, String)> {
    let kind = value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    let rest = kind.strip_prefix(WEB)?;
    let (is_text, format) = match rest.strip_prefix(TEXT) {
        Some(format) => (true, format),
        None => (false, rest),
    };
    (format.is_empty() || format.starts_with('+')).then(|| (is_text, format.to_owned()))
}

/// The part of a body that has the trailers: their names and values as in HTTP/1, after the length of all.
fn last_part(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        lines.put_slice(name.as_str().as_bytes());
        lines.put_slice(b": ");
        lines.put_slice(value.as_bytes());
        lines.put_slice(b"\r\n");
    }
    let mut part = BytesMut::new();
    part.put_u8(TRAILERS);
    // The limits of a head are far below.
    part.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    part.put(lines);
    part.freeze()
}

/// A body of Base64, decoded. Senders may pad each part of a stream.
struct DecodedBody {
    inner: Body,
    /// What came of a group that is not complete.
    rest: BytesMut,
}

impl DecodedBody {
    fn decode(&mut self, data: &[u8]) -> Result<Bytes, BodyError> {
        self.rest.extend_from_slice(data);
        let whole = self.rest.len() - self.rest.len() % GROUP;
        let text = self.rest.split_to(whole);
        let mut octets = Vec::with_capacity(whole / GROUP * 3);
        let mut from = 0;
        for (nth, group) in text.chunks_exact(GROUP).enumerate() {
            let to = (nth + 1) * GROUP;
            // What is padded ends; what follows is another text.
            if group.ends_with(b"=") || to == whole {
                let one = text.get(from..to).unwrap_or_default();
                STANDARD.decode_vec(one, &mut octets).map_err(|_| malformed())?;
                from = to;
            }
        }
        Ok(octets.into())
    }
}

fn malformed() -> BodyError {
    BodyError::Ended("the body of gRPC-Web text is not Base64")
}

impl HttpBody for DecodedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            None if !this.rest.is_empty() => {
                this.rest.clear();
                return Poll::Ready(Some(Err(malformed())));
            }
            end => return Poll::Ready(end),
        };
        Poll::Ready(Some(match frame.into_data() {
            Ok(data) => this.decode(&data).map(Frame::data),
            Err(trailers) => Ok(trailers),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    fn head(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (header::HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn kind(headers: &HeaderMap) -> &str {
        headers[header::CONTENT_TYPE].to_str().unwrap()
    }

    #[test]
    fn a_call_is_known_by_its_media_type_and_answered_in_the_form_that_it_takes() {
        for (sent, accept, sees, answered) in [
            ("application/grpc-web", "*/*", Some("application/grpc"), "application/grpc-web+proto"),
            (
                "application/grpc-web+proto",
                "",
                Some("application/grpc+proto"),
                "application/grpc-web+proto",
            ),
            (
                "Application/gRPC-Web+proto; charset=x",
                "",
                Some("application/grpc+proto"),
                "application/grpc-web+proto",
            ),
            (
                "application/grpc-web-text",
                "",
                Some("application/grpc"),
                "application/grpc-web-text+proto",
            ),
            (
                "application/grpc-web-text+proto",
                "",
                Some("application/grpc+proto"),
                "application/grpc-web-text+proto",
            ),
            (
                "application/grpc-web+proto",
                "application/grpc-web-text",
                Some("application/grpc+proto"),
                "application/grpc-web-text+proto",
            ),
            ("application/grpc-website", "", None, ""),
            ("application/grpc-web-texts", "", None, ""),
            ("application/grpc", "", None, ""),
            ("text/plain", "application/grpc-web-text", None, ""),
        ] {
            let mut headers =
                head(&[("content-type", sent), ("accept", accept), ("content-length", "8")]);
            let before = headers.clone();
            let call = GrpcWebCall::translate(&mut headers);
            assert_eq!(call.is_some(), sees.is_some(), "{sent}");
            let Some((call, sees)) = call.zip(sees) else {
                assert_eq!(headers, before, "{sent}");
                continue;
            };
            assert_eq!(kind(&headers), sees, "{sent}");
            assert!(!headers.contains_key(header::ACCEPT));
            assert_eq!(headers.contains_key(header::CONTENT_LENGTH), !call.sends_text, "{sent}");
            let mut response =
                head(&[("content-type", "application/grpc+proto"), ("trailer", "grpc-status")]);
            assert!(call.respond(&mut response));
            assert_eq!((kind(&response), response.len()), (answered, 1), "{sent}");
            // What is no answer of gRPC stays what it is.
            let mut other = head(&[("content-type", "text/html"), ("content-length", "3")]);
            assert!(!call.respond(&mut other));
            assert_eq!(other, head(&[("content-type", "text/html"), ("content-length", "3")]));
        }
    }

    #[test]
    fn trailers_are_the_last_part_of_the_body() {
        let trailers = head(&[("grpc-status", "0"), ("grpc-message", "")]);
        let wanted = b"\x80\0\0\0\x20grpc-status: 0\r\ngrpc-message: \r\n";
        for (takes_text, octets) in
            [(false, wanted.to_vec()), (true, STANDARD.encode(wanted).into())]
        {
            let call = GrpcWebCall { sends_text: false, takes_text };
            let part = call.part(Frame::trailers(trailers.clone()));
            assert_eq!(part.into_data().unwrap(), octets);
        }
    }

    /// A body of these parts, decoded.
    fn decoded(parts: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        let (send, body) = Body::channel(parts.len().max(1));
        for part in parts {
            send.try_send(Ok(Frame::data(part.into()))).unwrap();
        }
        drop(send);
        let call = GrpcWebCall { sends_text: true, takes_text: true };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let whole = runtime.block_on(call.request(body).collect());
        whole.map(|whole| whole.to_bytes().into()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_base64_ends_the_call() {
        for text in ["A", "AAA", "AAAAA", "AA=A", "=AAA", "A A=", "!!!!", "AAAA\n", "AB=="] {
            let result = decoded(vec![text.into()]);
            assert!(result.is_err_and(|why| why.contains("not Base64")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_is_read_however_it_is_cut_and_padded(messages: Vec<Vec<u8>>, cut in 1_usize..9) {
            let text: Vec<u8> = messages.iter().flat_map(|one| STANDARD.encode(one).into_bytes()).collect();
            let parts = text.chunks(cut).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(decoded(parts).unwrap(), messages.concat());
        }
    }
}
