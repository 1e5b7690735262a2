//! Unary gRPC calls over [`crate::http_client`]: one message there, one back.
//!
//! The called service speaks HTTP/2: a service of the mesh with the protocol `grpc` or `http2`, whose URL is
//! `http://NAME.NAMESPACE.mesh`.
//!
//! ```no_run
//! use tamis_sdk::grpc::{self, UnaryCall};
//!
//! let call = UnaryCall::new("http://policy.security.mesh", "acme.Policy/Check", b"message").within_ms(500);
//! match grpc::unary(&call) {
//!     Ok(message) => drop(message),
//!     Err(failure) => tamis_sdk::log::write(tamis_sdk::log::Level::Warn, &failure.to_string()),
//! }
//! ```

use std::fmt;

use crate::http_client::{self, Incoming, Outgoing};
use crate::types::Field;

/// A call of a method with one message.
#[derive(Clone, Debug)]
pub struct UnaryCall {
    outgoing: Outgoing,
}

/// Why a call has no message.
#[derive(Clone, Debug)]
pub enum UnaryFailure {
    /// There is no response.
    Unsent(http_client::Failure),
    /// The called method failed, or a server on the way did.
    Status {
        /// `grpc-status`; never 0.
        code: u32,
        /// `grpc-message`, decoded.
        message: String,
    },
    /// The response is not one of gRPC; the text says what is wrong with it.
    Malformed(String),
}

/// Octets before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

impl UnaryCall {
    /// A call of `PACKAGE.SERVICE/METHOD` at a URL without a path, with an encoded message.
    #[must_use]
    pub fn new(url: &str, method: &str, message: &[u8]) -> Self {
        let mut body = Vec::with_capacity(message.len().saturating_add(PREFIX));
        body.push(0);
        // A grant allows far less than four GiB.
        body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(message);
        let url = format!("{}/{}", url.trim_end_matches('/'), method.trim_start_matches('/'));
        let headers = vec![field("content-type", b"application/grpc")];
        let (method, timeout_ms) = ("POST".to_owned(), 0);
        Self { outgoing: Outgoing { method, url, headers, body, timeout_ms } }
    }

    /// With a field of metadata; the value of a name that ends with `-bin` is base64 already.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.outgoing.headers.push(field(name, value.as_ref()));
        self
    }

    /// Within that time, which the called service learns too; the grant may allow less.
    #[must_use]
    pub fn within_ms(mut self, timeout_ms: u32) -> Self {
        self.outgoing.timeout_ms = timeout_ms;
        self.outgoing.headers.retain(|field| field.name != TIMEOUT);
        if timeout_ms > 0 {
            // At most eight digits.
            let value = format!("{}m", timeout_ms.min(99_999_999));
            self.outgoing.headers.push(field(TIMEOUT, value.as_bytes()));
        }
        self
    }

    /// The request that it is.
    #[must_use]
    pub fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }
}

const TIMEOUT: &str = "grpc-timeout";

fn field(name: &str, value: &[u8]) -> Field {
    Field { name: name.to_owned(), value: value.to_vec() }
}

/// Makes a call and waits for its message.
///
/// # Errors
/// Why there is none.
pub fn unary(call: &UnaryCall) -> Result<Vec<u8>, UnaryFailure> {
    let incoming = http_client::send(&call.outgoing).map_err(UnaryFailure::Unsent)?;
    message(&incoming)
}

/// The message of a response: a plain function, for tests of filters.
///
/// # Errors
/// Why it has none.
pub fn message(incoming: &Incoming) -> Result<Vec<u8>, UnaryFailure> {
    let malformed = |why: &str| Err(UnaryFailure::Malformed(why.to_owned()));
    let is_grpc =
        find(incoming, "content-type").is_some_and(|it| it.starts_with(b"application/grpc"));
    let status = find(incoming, "trailer:grpc-status").or_else(|| find(incoming, "grpc-status"));
    let Some(status) = status.filter(|_| is_grpc) else {
        if incoming.status != 200 {
            return Err(of_http(incoming.status));
        }
        return malformed("it has no `grpc-status`, or its `content-type` is not application/grpc");
    };
    let code = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok());
    match code {
        Some(0) => {}
        // A status that is no number is `unknown`.
        code => {
            let said = find(incoming, "trailer:grpc-message")
                .or_else(|| find(incoming, "grpc-message"))
                .map(decoded);
            let message = said.unwrap_or_default();
            return Err(UnaryFailure::Status { code: code.unwrap_or(UNKNOWN), message });
        }
    }
    let Some((prefix, message)) = incoming.body.split_at_checked(PREFIX) else {
        return malformed("it has no message");
    };
    let length = prefix.get(1..).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    if prefix.first() != Some(&0) {
        return malformed("its message is compressed, although the call does not accept that");
    }
    if length.and_then(|length| usize::try_from(length).ok()) != Some(message.len()) {
        return malformed("it does not consist of exactly one complete message");
    }
    Ok(message.to_vec())
}

fn find<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a [u8]> {
    incoming.headers.iter().find(|field| field.name == name).map(|field| field.value.as_slice())
}

/// `unknown`.
const UNKNOWN: u32 = 2;

/// What a status of HTTP means where there is no `grpc-status` (gRPC, "HTTP to gRPC Status Code Mapping").
fn of_http(status: u16) -> UnaryFailure {
    let code = match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    };
    UnaryFailure::Status { code, message: format!("the response has the status {status} of HTTP") }
}

/// `grpc-message`, in which octets are written as `%XX`. What is written wrongly stays as it is.
fn decoded(value: &[u8]) -> String {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let octet = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, octet) {
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

impl fmt::Display for UnaryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent(failure) => {
                let why = match failure {
                    http_client::Failure::Denied(why) => format!("it is not allowed: {why}"),
                    http_client::Failure::Connect(why) => format!("no connection: {why}"),
                    http_client::Failure::Timeout => "none came in time".to_owned(),
                    http_client::Failure::TooLarge => "it is too large".to_owned(),
                    http_client::Failure::Exhausted => {
                        "the grant allows no more for now".to_owned()
                    }
                };
                write!(f, "the call has no response: {why}")
            }
            Self::Status { code, message } => write!(f, "the call failed with {code}: {message}"),
            Self::Malformed(why) => write!(f, "the response is not one of gRPC: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Incoming {
        let headers = headers.iter().map(|(name, value)| field(name, value.as_bytes())).collect();
        Incoming { status, headers, body: body.to_vec() }
    }

    #[test]
    fn a_call_is_framed_and_says_how_long_it_may_take() {
        let call = UnaryCall::new("http://a.b.mesh/", "/acme.Policy/Check", b"abc")
            .with("x-tenant", "shop")
            .within_ms(1)
            .within_ms(u32::MAX);
        let Outgoing { method, url, headers, body, timeout_ms } = call.outgoing();
        assert_eq!((method.as_str(), url.as_str()), ("POST", "http://a.b.mesh/acme.Policy/Check"));
        assert_eq!(body, b"\0\0\0\0\x03abc");
        let named: Vec<_> = headers
            .iter()
            .map(|one| (one.name.as_str(), String::from_utf8_lossy(&one.value).into_owned()))
            .collect();
        assert_eq!(
            named,
            [
                ("content-type", "application/grpc".to_owned()),
                ("x-tenant", "shop".to_owned()),
                ("grpc-timeout", "99999999m".to_owned()),
            ]
        );
        assert_eq!(*timeout_ms, u32::MAX);
    }

    #[test]
    fn a_message_is_one_whole_uncompressed_frame_with_status_0() {
        const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
        const OK: (&str, &str) = ("trailer:grpc-status", "0");
        let framed = b"\0\0\0\0\x02hi";
        let good = message(&incoming(200, &[GRPC, OK], framed)).unwrap();
        assert_eq!(good, b"hi");
        for (headers, body, says) in [
            (&[GRPC][..], &framed[..], "no `grpc-status`"),
            (&[OK], framed, "no `grpc-status`"),
            (&[GRPC, OK], b"", "no message"),
            (&[GRPC, OK], b"\0\0\0\0", "no message"),
            (&[GRPC, OK], b"\x01\0\0\0\x02hi", "compressed"),
            (&[GRPC, OK], b"\0\0\0\0\x03hi", "exactly one complete message"),
            (&[GRPC, OK], b"\0\0\0\0\x02hi\0\0\0\0\0", "exactly one complete message"),
            (
                &[
                    GRPC,
                    ("trailer:grpc-status", "5"),
                    ("trailer:grpc-message", "no%20caf%C3%A9 %zz %"),
                ],
                b"",
                "5: no café %zz %",
            ),
            // Trailers alone, in the head.
            (&[GRPC, ("grpc-status", "7"), ("grpc-message", "denied")], b"", "7: denied"),
            (&[GRPC, ("grpc-status", "x")], b"", "with 2: "),
        ] {
            let said = message(&incoming(200, headers, body)).unwrap_err().to_string();
            assert!(said.contains(says), "{headers:?}: {said}");
        }
        for (status, code) in
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (503, 14), (500, 2)]
        {
            let failure = message(&incoming(status, &[], b"no")).unwrap_err();
            assert!(
                matches!(failure, UnaryFailure::Status { code: found, .. } if found == code),
                "{status}: {failure}"
            );
        }
    }
}
