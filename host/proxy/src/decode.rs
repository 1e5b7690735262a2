//! A request off the wire becomes an [`Exchange`]: what is hop-by-hop is taken off, what is forwarded is set.

use crate::connection::Connection;
use crate::generation::Direction;
use crate::trace;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tamis_exchange::{Attributes, Body, Exchange, Fault, Refusal, Scheme, normalise_path};

/// A request as the pipeline takes it.
pub(crate) struct Decoded {
    pub(crate) exchange: Exchange,
    pub(crate) body: Body,
    pub(crate) upgrade: Option<Upgrade>,
    /// The client takes trailers (`te: trailers`).
    pub(crate) trailers: bool,
    /// Declared length of the body.
    pub(crate) length: Option<u64>,
}

/// The client wants to change the protocol (RFC 9110 §7.8) or opens a WebSocket over HTTP/2 (RFC 8441).
pub(crate) struct Upgrade {
    /// What it asks for, such as `websocket`.
    pub(crate) protocol: HeaderValue,
    /// Its side of the tunnel.
    pub(crate) client: OnUpgrade,
    /// It is an extended CONNECT.
    pub(crate) extended: bool,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Reads a request. What HTTP/1 leaves open to two readings was refused at the gate before.
pub(crate) fn decode(
    mut request: Request<Incoming>,
    connection: &Connection,
    direction: Direction,
    id: u64,
) -> Result<Decoded, Refusal> {
    let upgrade = upgrade(&mut request);
    let (head, incoming) = request.into_parts();
    let mut headers = head.headers;
    let authority = authority(&head.uri, &mut headers)?;
    let extended = upgrade.as_ref().is_some_and(|upgrade| upgrade.extended);
    if head.method == Method::CONNECT && !extended {
        return Err(refuse("request.connect", 405, "CONNECT opens no tunnel here"));
    }
    let path = match head.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => normalise_path(path.as_str()).into_owned(),
        Some(path) if path.as_str() == "*" && head.method == Method::OPTIONS => "*".to_owned(),
        None if head.uri.scheme().is_some() => "/".to_owned(),
        _ => return Err(refuse("request.target", 400, "the request target is no path")),
    };
    let trailers = headers.get_all(header::TE).iter().any(|value| value == "trailers");
    remove_hop_by_hop(&mut headers);
    // The host itself meets the expectation: hyper sends 100 when somebody reads the body.
    headers.remove(header::EXPECT);
    let secure = connection.tls_version.is_some();
    let scheme = if secure { Scheme::Https } else { Scheme::Http };
    forwarded(&mut headers, connection, direction, scheme, &authority);
    via(&mut headers, head.version);
    trace::ensure(&mut headers);

    let mut attributes = Attributes::default();
    attributes.set("source.address", connection.peer_address.as_str());
    if let Some(identity) = &connection.peer_identity {
        attributes.set("peer.spiffe-id", identity.as_str());
    }
    if let Some(version) = connection.tls_version {
        attributes.set("tls.version", version);
    }
    if let Some(name) = &connection.server_name {
        attributes.set("tls.sni", name.as_str());
    }
    attributes.set("listener.name", connection.listener.as_str());

    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let body = if upgrade.is_some() { Body::Empty } else { Body::from(incoming) };
    let method = if extended { Method::GET } else { head.method };
    Ok(Decoded {
        exchange: Exchange {
            id,
            method,
            scheme,
            authority,
            path,
            headers,
            status: None,
            response_headers: HeaderMap::new(),
            attributes,
        },
        body,
        upgrade,
        trailers,
        length,
    })
}

fn refuse(code: &'static str, status: u16, detail: &str) -> Refusal {
    Refusal::new(code, status, Fault::Client, detail)
}

/// Host and port the client asked for: of the target if it names one, else of `host` (RFC 9112 §3.2.2).
fn authority(uri: &http::Uri, headers: &mut HeaderMap) -> Result<String, Refusal> {
    let host = headers.remove(header::HOST);
    let named = uri.authority().map(http::uri::Authority::as_str);
    let invalid = || refuse("request.host", 400, "the host is no HOST or HOST:PORT");
    let host = match &host {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| invalid())?),
    };
    let authority = match (named, host) {
        (Some(named), Some(host))
            if uri.scheme().is_some() && !named.eq_ignore_ascii_case(host) =>
        {
            return Err(refuse("request.host", 400, "`host` and the target name two hosts"));
        }
        (Some(named), _) => named,
        (None, Some("") | None) => return Ok(String::new()),
        (None, Some(host)) => host,
    };
    if authority.contains('@') || http::uri::Authority::try_from(authority).is_err() {
        return Err(invalid());
    }
    Ok(authority.to_ascii_lowercase())
}

fn upgrade(request: &mut Request<Incoming>) -> Option<Upgrade> {
    if request.method() == Method::CONNECT {
        let protocol = request.extensions().get::<hyper::ext::Protocol>()?;
        let protocol = HeaderValue::from_str(protocol.as_str()).ok()?;
        return Some(Upgrade { protocol, client: hyper::upgrade::on(request), extended: true });
    }
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let headers = request.headers();
    if !connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let protocol = headers.get(header::UPGRADE)?.clone();
    let text = protocol.to_str().ok()?;
    // Protocols that are another reading of this very connection cannot be carried over to another one.
    let own = ["h2c", "http/", "tls/"];
    if own.iter().any(|one| text.to_ascii_lowercase().contains(one)) {
        return None;
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    (!has_body).then(|| Upgrade { protocol, client: hyper::upgrade::on(request), extended: false })
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Removes what belongs to one connection, the fields that `connection` names included (RFC 9110 §7.6.1).
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            // A client must not be able to take a field away that says who it is.
            .filter(|name| !is_protected(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

fn is_protected(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "authorization"
            | "cookie"
            | "traceparent"
            | "tracestate"
            | "via"
            | "forwarded"
    ) || name.as_str().starts_with("x-forwarded-")
}

/// `X-Forwarded-*` and `Forwarded` (RFC 7239). A gateway believes nothing of what a client says there; inside the
/// mesh a sidecar adds the peer it was called by.
fn forwarded(
    headers: &mut HeaderMap,
    connection: &Connection,
    direction: Direction,
    scheme: Scheme,
    authority: &str,
) {
    match direction {
        Direction::Gateway => {
            headers.insert(X_FORWARDED_FOR, connection.peer_value.clone());
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
            match HeaderValue::from_str(authority) {
                Ok(host) if !authority.is_empty() => headers.insert(X_FORWARDED_HOST, host),
                _ => headers.remove(X_FORWARDED_HOST),
            };
            let element = format!("for={};proto={}", connection.forwarded_for, scheme.as_str());
            match HeaderValue::from_str(&element) {
                Ok(value) => headers.insert(header::FORWARDED, value),
                Err(_) => headers.remove(header::FORWARDED),
            };
        }
        Direction::Inbound => {
            append(headers, X_FORWARDED_FOR, connection.peer_value.as_bytes());
            if headers.contains_key(header::FORWARDED) {
                let element = format!("for={}", connection.forwarded_for);
                append(headers, header::FORWARDED, element.as_bytes());
            }
        }
        Direction::Outbound => {}
    }
}

/// Adds to a comma-separated field.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &[u8]) {
    let mut joined = Vec::with_capacity(64);
    for value in headers.get_all(&name) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(element);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

/// Adds this proxy to `via` (RFC 9110 §7.6.3).
pub(crate) fn via(headers: &mut HeaderMap, version: Version) {
    let element: &'static str = match version {
        Version::HTTP_10 => "1.0 tamis",
        Version::HTTP_2 => "2 tamis",
        _ => "1.1 tamis",
    };
    if headers.contains_key(header::VIA) {
        append(headers, header::VIA, element.as_bytes());
    } else {
        headers.insert(header::VIA, HeaderValue::from_static(element));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn fields_named_by_connection_go_and_protected_ones_stay() {
        let mut map = headers(&[
            ("connection", "close, X-Mine , authorization, x-forwarded-for"),
            ("x-mine", "1"),
            ("authorization", "Bearer a"),
            ("x-forwarded-for", "1.2.3.4"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "authorization", "x-forwarded-for"]);
    }

    #[test]
    fn two_hosts_and_user_info_are_refused() {
        let of = |uri: &str, host: &str| {
            authority(&uri.parse().unwrap(), &mut headers(&[("host", host)]))
        };
        assert_eq!(of("/a", "Shop.Example:80").unwrap(), "shop.example:80");
        assert_eq!(of("http://a.example/", "A.example").unwrap(), "a.example");
        assert_eq!(of("http://a.example/", "b.example").unwrap_err().code, "request.host");
        assert!(of("/a", "me@a.example").is_err());
        assert!(of("/a", "a b").is_err());
    }

    #[test]
    fn via_grows_by_one_element() {
        let mut map = headers(&[("via", "1.1 a")]);
        via(&mut map, Version::HTTP_2);
        assert_eq!(map["via"], "1.1 a, 2 tamis");
    }
}
