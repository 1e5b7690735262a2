//! A request off the wire becomes an [`Exchange`]: what is hop-by-hop is taken off, what is forwarded is set.

use crate::connection::Connection;
use crate::fields::{connection_options, forwarded, remove_hop_by_hop, take_retries, via};
use crate::generation::Direction;
use crate::trace;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use tamis_exchange::{Attributes, Body, Exchange, Fault, Refusal, normalise_path};

/// A request as the pipeline takes it.
pub(crate) struct Decoded {
    pub(crate) exchange: Exchange,
    pub(crate) body: Body,
    pub(crate) upgrade: Option<Upgrade>,
    /// The client takes trailers (`te: trailers`).
    pub(crate) trailers: bool,
    /// The caller is a proxy of the mesh and sends again what fails.
    pub(crate) retried: bool,
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
    let (authority, host) = authority(&head.uri, &mut headers)?;
    let extended = upgrade.as_ref().is_some_and(|upgrade| upgrade.extended);
    if head.method == Method::CONNECT && !extended {
        return Err(refuse("request.connect", 501, "CONNECT opens no tunnel here"));
    }
    let path = match head.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => normalise_path(path.as_str()).into_owned(),
        Some(path) if path.as_str() == "*" && head.method == Method::OPTIONS => "*".to_owned(),
        None if head.uri.scheme().is_some() => "/".to_owned(),
        _ => return Err(refuse("request.target", 400, "the request target is no path")),
    };
    let trailers = headers.get_all(header::TE).iter().any(|value| value == "trailers");
    remove_hop_by_hop(&mut headers);
    let retried = take_retries(&mut headers, connection, direction);
    // The host itself meets the expectation: hyper sends 100 when somebody reads the body.
    headers.remove(header::EXPECT);
    forwarded(&mut headers, connection, direction, host);
    via(&mut headers, head.version);
    trace::ensure(&mut headers);

    let mut attributes = Attributes::default();
    attributes.set("source.address", Arc::clone(&connection.peer_address));
    if let Some(identity) = &connection.peer_identity {
        attributes.set("peer.spiffe-id", Arc::clone(identity));
    }
    if let Some(version) = connection.tls_version {
        attributes.set("tls.version", version);
    }
    if let Some(name) = &connection.server_name {
        attributes.set("tls.sni", Arc::clone(name));
    }
    attributes.set("listener.name", Arc::clone(&connection.listener));

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
            scheme: connection.scheme,
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
        retried,
        length,
    })
}

fn refuse(code: &'static str, status: u16, detail: &str) -> Refusal {
    Refusal::new(code, status, Fault::Client, detail)
}

/// Host and port the client asked for: of the target if it names one, else of `host` (RFC 9112 §3.2.2); and the same as
/// a field's value, unless it named none.
fn authority(
    uri: &http::Uri,
    headers: &mut HeaderMap,
) -> Result<(String, Option<HeaderValue>), Refusal> {
    let value = headers.remove(header::HOST);
    let named = uri.authority().map(http::uri::Authority::as_str);
    let invalid = || refuse("request.host", 400, "the host is no HOST or HOST:PORT");
    let host = match &value {
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
        (None, Some("") | None) => return Ok((String::new(), None)),
        (None, Some(host)) => host,
    };
    if authority.contains('@') || http::uri::Authority::try_from(authority).is_err() {
        return Err(invalid());
    }
    let authority = authority.to_ascii_lowercase();
    let value = match value {
        Some(value) if value == *authority => Some(value),
        _ => Some(HeaderValue::from_str(&authority).map_err(|_| invalid())?),
    };
    Ok((authority, value))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_and_user_info_are_refused() {
        let of = |uri: &str, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            authority(&uri.parse().unwrap(), &mut headers)
        };
        assert_eq!(of("/a", "Shop.Example:80").unwrap().1.unwrap(), "shop.example:80");
        assert_eq!(of("http://a.example/", "A.example").unwrap().0, "a.example");
        assert_eq!(of("http://a.example/", "b.example").unwrap_err().code, "request.host");
        assert!(of("/a", "me@a.example").is_err());
        assert!(of("/a", "a b").is_err());
    }
}
