//! The request as one attempt sends it.

use crate::fields::RETRIES;
use crate::replay::Replay;
use crate::upgrade::Upgrade;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request};
use http_body::Body as _;
use tamis_exchange::{Body, Exchange, Fault, Refusal};
use tamis_upstream::Attempt;

/// The parts that stay the same over the attempts of an exchange.
pub(crate) struct RequestTemplate<'a> {
    pub(crate) upgrade: Option<&'a Upgrade>,
    pub(crate) trailers: bool,
    /// The next proxy of the mesh need not retry what fails.
    pub(crate) retries: bool,
    pub(crate) body: &'a Replay,
}

/// The properties of the connection that the request depends on.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) secure: bool,
    pub(crate) http2: bool,
}

impl Wire {
    /// That of an attempt.
    pub(crate) fn of(attempt: &Attempt) -> Self {
        Self { secure: attempt.is_secure(), http2: attempt.is_http2() }
    }
}

/// Puts the request together.
pub(crate) fn request(
    exchange: &Exchange,
    template: &RequestTemplate<'_>,
    wire: Wire,
    endpoint: &str,
) -> Result<Request<Body>, Refusal> {
    let body = template.body.body();
    let no_body = body.is_end_stream();
    let mut request = Request::new(body);
    request.method_mut().clone_from(&exchange.method);
    *request.uri_mut() = target(exchange, wire, endpoint)?;
    let headers = request.headers_mut();
    headers.clone_from(&exchange.headers);
    if !exchange.authority.is_empty()
        && let Ok(host) = HeaderValue::from_str(&exchange.authority)
    {
        headers.insert(header::HOST, host);
    }
    // A connection with TLS leads to a proxy of the mesh whose identity was checked. Nobody else receives
    // the field, even if a filter set it.
    if template.retries && wire.secure {
        headers.insert(RETRIES, HeaderValue::from_static("1"));
    } else {
        headers.remove(RETRIES);
    }
    // The method expects a body, so the length of an empty one is stated (RFC 9110 §8.6).
    let expects = [Method::POST, Method::PUT, Method::PATCH].contains(&exchange.method);
    if no_body && expects {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if template.trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = template.upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.protocol.clone());
        if upgrade.extended && !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            // RFC 8441 §5 has no key; HTTP/1.1 (RFC 6455 §4.1) requires 16 bytes in base64. Only this proxy
            // could check the answer to it, and need not: the connection is its own.
            headers.insert(
                header::SEC_WEBSOCKET_KEY,
                HeaderValue::from_static("dGFtaXMgZ2F0ZXdheSBrZQ=="),
            );
        }
    }
    Ok(request)
}

/// Absolute where the connection needs that: HTTP/2 carries scheme and authority in pseudo-headers,
/// HTTP/1.1 only the path, with the host as a field.
fn target(exchange: &Exchange, wire: Wire, endpoint: &str) -> Result<Uri, Refusal> {
    let bad = |what: &str| {
        let detail = format!("{what} cannot be sent");
        Refusal::new("request.target", 400, Fault::Client, detail)
    };
    let path = PathAndQuery::try_from(exchange.path.as_str()).map_err(|_| bad("the path"))?;
    if !wire.http2 && !exchange.authority.is_empty() {
        return Ok(Uri::from(path));
    }
    let authority = if exchange.authority.is_empty() { endpoint } else { &exchange.authority };
    // A unix socket cannot be an authority.
    let authority =
        Authority::try_from(authority).unwrap_or_else(|_| Authority::from_static("localhost"));
    let scheme = if wire.secure { Scheme::HTTPS } else { Scheme::HTTP };
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| bad("the target"))
}
