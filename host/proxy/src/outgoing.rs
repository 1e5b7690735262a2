//! The request as one attempt sends it.

use crate::exchange::Replay;
use crate::heads::RETRIES;
use crate::upgrade::{self, Upgrade};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request};
use http_body::Body as _;
use tamis_exchange::{Exchange, Fault, Refusal};
use tamis_transport::{OutgoingRequest, RequestLine};
use tamis_upstream::{Attempt, EndpointCrowd, UpstreamRequest};

/// The parts that stay the same over the attempts of an exchange.
pub(crate) struct RequestTemplate<'a> {
    pub(crate) upgrade: Option<&'a Upgrade>,
    pub(crate) trailers: bool,
    /// The next proxy of the mesh need not retry what fails.
    pub(crate) marks_retries: bool,
    pub(crate) body: &'a Replay,
    /// Sent instead of the authority of the exchange.
    pub(crate) host: Option<&'a str>,
}

impl RequestTemplate<'_> {
    fn authority<'a>(&'a self, exchange: &'a Exchange) -> &'a str {
        self.host.unwrap_or(&exchange.authority)
    }
}

/// The properties of the connection that the request depends on.
#[derive(Clone, Copy)]
pub(crate) struct WireProperties {
    pub(crate) secure: bool,
    /// It leads to a proxy of the mesh.
    pub(crate) of_mesh: bool,
    pub(crate) http2: bool,
}

impl WireProperties {
    /// That of an attempt.
    pub(crate) fn of(attempt: &Attempt) -> Self {
        Self {
            secure: attempt.is_secure(),
            of_mesh: attempt.is_of_mesh(),
            http2: attempt.is_http2(),
        }
    }
}

/// Puts the request together, as the connection sends it. A client that holds the connection by its silence is given up where
/// a `crowd` waits.
pub(crate) fn request(
    exchange: &Exchange,
    template: &RequestTemplate<'_>,
    wire: WireProperties,
    endpoint: &str,
    crowd: Option<EndpointCrowd>,
) -> Result<UpstreamRequest, Refusal> {
    let body = template.body.body(crowd);
    let added = added(exchange, template, wire, body.is_end_stream());
    let added = || added.iter().flatten();
    let replaced = |name: &HeaderName| *name == RETRIES || added().any(|(ours, _)| ours == name);
    let received = exchange.headers.iter().filter(|(name, _)| !replaced(name));
    if wire.http2 && template.upgrade.is_none() {
        let mut request = Request::new(body);
        request.method_mut().clone_from(&exchange.method);
        *request.uri_mut() = target(exchange, template, wire, endpoint)?;
        let headers = request.headers_mut();
        headers.reserve(exchange.headers.len());
        headers.extend(received.map(|(name, value)| (name.clone(), value.clone())));
        headers.extend(added().map(|(name, value)| (name.clone(), value.clone())));
        return Ok(UpstreamRequest::Parts(request));
    }
    // A path that would end the request line has no other form.
    if exchange.path.bytes().any(|octet| octet <= b' ' || octet == 0x7f) {
        return Err(bad("the path"));
    }
    let host = match template.authority(exchange) {
        // A unix socket cannot be an authority.
        "" if Authority::try_from(endpoint).is_ok() => endpoint,
        "" => "localhost",
        authority => authority,
    };
    let line =
        RequestLine { method: &exchange.method, path: &exchange.path, host: host.as_bytes() };
    let fields = received.chain(added().map(|(name, value)| (name, value)));
    Ok(UpstreamRequest::Written(OutgoingRequest::write(line, fields, body)))
}

/// The fields that this proxy sets. Each replaces those of its name.
fn added(
    exchange: &Exchange,
    template: &RequestTemplate<'_>,
    wire: WireProperties,
    no_body: bool,
) -> [Option<(HeaderName, HeaderValue)>; 6] {
    let fixed = HeaderValue::from_static;
    // Nobody but a proxy of the mesh whose identity was checked receives the field, even if a filter set it.
    let mark = (template.marks_retries && wire.of_mesh).then(|| (RETRIES, fixed("1")));
    // The method expects a body, so the length of an empty one is stated (RFC 9110 §8.6).
    let expects = [Method::POST, Method::PUT, Method::PATCH].contains(&exchange.method);
    let length = (no_body && expects).then(|| (header::CONTENT_LENGTH, fixed("0")));
    let trailers = template.trailers.then(|| (header::TE, fixed("trailers")));
    let Some(upgrade) = template.upgrade else {
        return [mark, length, trailers, None, None, None];
    };
    // A filter may have removed it.
    let needs_key = upgrade.extended && !exchange.headers.contains_key(header::SEC_WEBSOCKET_KEY);
    let key = needs_key.then_some((header::SEC_WEBSOCKET_KEY, upgrade::KEY));
    let connection = Some((header::CONNECTION, fixed("upgrade")));
    let protocol = Some((header::UPGRADE, upgrade.protocol.clone()));
    [mark, length, trailers, connection, protocol, key]
}

fn bad(what: &str) -> Refusal {
    Refusal::new("request.target", 400, Fault::Client, format!("{what} cannot be sent"))
}

/// The target of HTTP/2, which carries scheme and authority in pseudo-headers.
fn target(
    exchange: &Exchange,
    template: &RequestTemplate<'_>,
    wire: WireProperties,
    endpoint: &str,
) -> Result<Uri, Refusal> {
    let path = PathAndQuery::try_from(exchange.path.as_str()).map_err(|_| bad("the path"))?;
    let authority = template.authority(exchange);
    let authority = if authority.is_empty() { endpoint } else { authority };
    // A unix socket cannot be an authority.
    let authority =
        Authority::try_from(authority).unwrap_or_else(|_| Authority::from_static("localhost"));
    let scheme = if wire.secure { Scheme::HTTPS } else { Scheme::HTTP };
    let target = Uri::builder().scheme(scheme).authority(authority).path_and_query(path);
    target.build().map_err(|_| bad("the target"))
}
