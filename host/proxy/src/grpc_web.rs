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
/// Octets that become Base64 at once; each but the last has no padding within.
const PIECE: usize = 12 * 1024;
/// Why a body ends that is not of gRPC.
const NO_MESSAGE: &str = "the body has something else than messages of gRPC";
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
        if body.is_end_stream() {
            return body;
        }
        let rest = self.sends_text.then(BytesMut::new);
        Body::stream(DecodedBody { inner: body, rest, frames: MessageFrames::default() })
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

    /// Its response, of which nothing was sent yet.
    pub(crate) fn response(self) -> GrpcWebResponse {
        let (frames, rest) = (MessageFrames::default(), Bytes::new());
        GrpcWebResponse { takes_text: self.takes_text, frames, rest }
    }
}

/// The body of a response on its way to a browser.
pub(crate) struct GrpcWebResponse {
    takes_text: bool,
    frames: MessageFrames,
    /// Octets that are not Base64 yet: text is made piece by piece, as it is sent, since it is in no budget of bodies.
    rest: Bytes,
}

impl GrpcWebResponse {
    /// Whether something waits to be sent.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next piece of what waits.
    pub(crate) fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        // Each piece is padded: a browser reads it when it comes, and not when three octets are there.
        (!piece.is_empty()).then(|| Frame::data(STANDARD.encode(&piece).into()))
    }

    /// A part of the body of a response as the browser receives it.
    ///
    /// # Errors
    /// It is not of gRPC: the browser would read trailers that the upstream wrote into its messages.
    pub(crate) fn part(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let octets = match frame.into_data() {
            Ok(data) => {
                self.frames.check(&data)?;
                data
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => last_part(&trailers),
                Err(frame) => return Ok(frame),
            },
        };
        if !self.takes_text {
            return Ok(Frame::data(octets));
        }
        self.rest = octets;
        Ok(self.next_piece().unwrap_or_else(|| Frame::data(Bytes::new())))
    }
}

/// Follows the messages of a body of gRPC (gRPC over HTTP/2, "Length-Prefixed-Message"): each has an octet that is 1 if it is
/// compressed and 0 if not, its length in four octets, and its content. In gRPC-Web another first octet begins the trailers,
/// which no message may pretend to be.
#[derive(Debug, Default)]
struct MessageFrames {
    /// What came of the length, behind the first octet.
    length: [u8; 4],
    /// Octets that came of the five in front of the content.
    prefix: usize,
    /// Octets of the content that are still to come.
    left: usize,
}

impl MessageFrames {
    fn check(&mut self, mut data: &[u8]) -> Result<(), BodyError> {
        while let Some((first, rest)) = data.split_first() {
            if self.left > 0 {
                let passed = self.left.min(data.len());
                self.left -= passed;
                data = data.get(passed..).unwrap_or_default();
                continue;
            }
            match self.prefix.checked_sub(1) {
                None if *first > 1 => return Err(BodyError::Ended(NO_MESSAGE)),
                None => {}
                Some(at) => {
                    if let Some(octet) = self.length.get_mut(at) {
                        *octet = *first;
                    }
                }
            }
            self.prefix += 1;
            if self.prefix > self.length.len() {
                self.prefix = 0;
                self.left = u32::from_be_bytes(self.length) as usize;
            }
            data = rest;
        }
        Ok(())
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

/// A body of messages, decoded if it is Base64. Senders may pad each part of a stream.
struct DecodedBody {
    inner: Body,
    /// What came of a group of Base64 that is not complete; `None`: it is not Base64.
    rest: Option<BytesMut>,
    frames: MessageFrames,
}

impl DecodedBody {
    fn decode(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let octets = match &mut self.rest {
            Some(rest) => decode(rest, &data)?,
            None => data,
        };
        self.frames.check(&octets)?;
        Ok(octets)
    }
}

/// The octets of all whole groups of what came and of what was left; the rest stays.
fn decode(rest: &mut BytesMut, data: &[u8]) -> Result<Bytes, BodyError> {
    rest.extend_from_slice(data);
    let whole = rest.len() - rest.len() % GROUP;
    let text = rest.split_to(whole);
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
            None if this.rest.take().is_some_and(|rest| !rest.is_empty()) => {
                return Poll::Ready(Some(Err(malformed())));
            }
            end => return Poll::Ready(end),
        };
        Poll::Ready(Some(match frame.into_data() {
            Ok(data) => this.decode(data).map(Frame::data),
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
            let mut response = GrpcWebCall { sends_text: false, takes_text }.response();
            let part = response.part(Frame::trailers(trailers.clone())).unwrap();
            assert_eq!(part.into_data().unwrap(), octets);
        }
    }

    #[test]
    fn text_is_made_as_it_is_sent_and_the_rest_waits_as_it_is() {
        let content = vec![b'x'; 100_000];
        let whole = Bytes::from(message(0, &content));
        let mut response = GrpcWebCall { sends_text: true, takes_text: true }.response();
        let mut next = response.part(Frame::data(whole.clone())).ok();
        let (mut octets, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = next {
            let text = piece.into_data().unwrap();
            assert!(text.len() <= PIECE / 3 * 4);
            octets.extend(STANDARD.decode(&text).unwrap());
            pieces += 1;
            assert_eq!(response.is_done(), octets.len() == whole.len());
            next = response.next_piece();
        }
        assert_eq!((octets, pieces), (whole.to_vec(), 9));
    }

    /// A message of gRPC with that first octet.
    fn message(first: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[first], &length[..], content].concat()
    }

    /// A body of these parts of Base64, decoded.
    fn decoded(parts: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        read(GrpcWebCall { sends_text: true, takes_text: true }, parts)
    }

    /// The body of a request of these parts, as the upstream receives it.
    fn read(call: GrpcWebCall, parts: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        let (send, body) = Body::channel(parts.len().max(1));
        for part in parts {
            send.try_send(Ok(Frame::data(part.into()))).unwrap();
        }
        drop(send);
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
            let messages: Vec<Vec<u8>> = messages.iter().map(|one| message(0, one)).collect();
            let text: Vec<u8> = messages.iter().flat_map(|one| STANDARD.encode(one).into_bytes()).collect();
            let parts = text.chunks(cut).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(decoded(parts).unwrap(), messages.concat());
        }

        #[test]
        fn a_part_that_is_no_message_ends_a_body_however_it_is_cut(
            messages: Vec<(bool, Vec<u8>)>, cut in 1_usize..9, flags in 2_u8.., sends_text: bool,
        ) {
            let passes: Vec<u8> =
                messages.iter().flat_map(|(packed, one)| message((*packed).into(), one)).collect();
            let ends = [passes.clone(), message(flags, b"grpc-status: 0\r\n")].concat();
            let call = GrpcWebCall { sends_text, takes_text: sends_text };
            for (octets, whole) in [(passes, true), (ends, false)] {
                let mut response = call.response();
                let mut parts = octets.chunks(cut).map(Bytes::copy_from_slice);
                prop_assert_eq!(parts.all(|part| response.part(Frame::data(part)).is_ok()), whole);
                let sent = if sends_text { STANDARD.encode(&octets).into_bytes() } else { octets };
                let parts = sent.chunks(cut).map(<[u8]>::to_vec).collect();
                prop_assert_eq!(read(call, parts).is_ok(), whole);
            }
        }
    }
}
