//! Heads on a stream of HTTP/2 or HTTP/3: what a request asks of its response, and what a response may not say there (RFC 9113
//! §8.2, §8.3; RFC 9114 §4.2, §4.3).

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};
use http::response::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body::SizeHint;
use tamis_ambient::Clock;

use super::date;

/// The protocol that an extended CONNECT asks for (RFC 8441 §4, RFC 9220 §3); an extension of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectProtocol(Cow<'static, str>);

impl ConnectProtocol {
    /// That of this name.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// That of a name that was sent.
    pub(super) fn sent(name: &str) -> Self {
        Self(Cow::Owned(name.to_owned()))
    }

    /// Its name as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the response to a request depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseNeed {
    /// Its content.
    Content,
    /// Its head alone.
    Head,
    /// A tunnel.
    Tunnel,
}

impl ResponseNeed {
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Tunnel,
            _ => Self::Content,
        }
    }
}

/// What follows the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterHead {
    /// Content, and perhaps trailers.
    Content,
    /// Nothing.
    End,
    /// Bytes of another protocol.
    Tunnel,
}

/// Makes a head one of a stream, and says what follows it. `tunnel`: somebody waits for the tunnel.
pub(super) fn prepare(
    head: &mut Parts,
    need: ResponseNeed,
    tunnel: bool,
    body: &SizeHint,
    clock: Clock,
) -> AfterHead {
    let connected = need == ResponseNeed::Tunnel && head.status.is_success();
    if head.status.is_informational() || (connected && !tunnel) {
        // It would not end the exchange, or would open a tunnel that nobody asked for.
        head.status = StatusCode::INTERNAL_SERVER_ERROR;
        head.headers.clear();
        put_date(&mut head.headers, clock);
        return AfterHead::End;
    }
    remove_connection_fields(&mut head.headers);
    put_date(&mut head.headers, clock);
    if connected {
        head.headers.remove(header::CONTENT_LENGTH);
        return AfterHead::Tunnel;
    }
    let bare = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    // The length in a response to HEAD is that of GET (RFC 9110 §8.6), which an empty body does not show.
    let length = body.exact().filter(|length| !bare && *length > 0);
    if let Some(length) = length
        && !head.headers.contains_key(header::CONTENT_LENGTH)
    {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let none = bare || need == ResponseNeed::Head;
    if none { AfterHead::End } else { AfterHead::Content }
}

fn put_date(headers: &mut HeaderMap, clock: Clock) {
    if !headers.contains_key(header::DATE) {
        date::with(clock, |value| headers.insert(header::DATE, value.clone()));
    }
}

/// Whether a field is one of an HTTP/1 connection (RFC 9113 §8.2.2, RFC 9114 §4.2).
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE].contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

/// Removes them, and those that `connection` names.
fn remove_connection_fields(headers: &mut HeaderMap) {
    if !headers.keys().any(is_of_connection) {
        return;
    }
    let named: Vec<_> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    let lists = named.iter().filter_map(|list| list.to_str().ok());
    for name in lists.flat_map(|list| list.split(',')) {
        headers.remove(name.trim());
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}
