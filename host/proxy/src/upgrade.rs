//! A request that changes the protocol: which protocol it asks for. Whether the upstream agrees, `switch` decides.

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Version};
use tamis_exchange::{Exchange, Fault, Protocols, Refusal};
use tamis_transport::{ConnectProtocol, PendingTunnel, RequestBody};
use tamis_upstream::Tunnel;

/// The key of a handshake that came without one over HTTP/2; HTTP/1.1 (RFC 6455 §4.1) requires 16 bytes in base64. Only
/// this proxy could check the answer to it, and need not: the connection is its own.
pub(crate) const KEY: HeaderValue = HeaderValue::from_static("dGFtaXMgZ2F0ZXdheSBrZQ==");

/// The client wants to change the protocol (RFC 9110 §7.8) or opens a WebSocket over HTTP/2 (RFC 8441).
pub(crate) struct Upgrade {
    /// The protocol it asks for, such as `websocket`: one that is carried.
    pub(crate) protocol: HeaderValue,
    /// The client's side of the tunnel.
    pub(crate) client: PendingTunnel,
    /// The upstream's side, once it agreed.
    pub(crate) upstream: Option<Tunnel>,
    /// It is an extended CONNECT.
    pub(crate) extended: bool,
    /// The request after its hooks, about which guards are asked again; `None`: it has not passed them yet.
    pub(crate) request: Option<Box<Exchange>>,
}

/// The upgrade that a request asks for, if it asks for a protocol that is carried. Other offers over
/// HTTP/1.1 are ignored, as a server may (RFC 9110 §7.8); CONNECT cannot be ignored and is refused.
pub(crate) fn requested_upgrade(
    request: &mut Request<RequestBody>,
    protocols: &Protocols,
) -> Result<Option<Upgrade>, Refusal> {
    if request.method() == Method::CONNECT {
        if !is_bodiless(request.headers()) {
            let detail =
                "a CONNECT has no content: what follows its head is the tunnel's (RFC 9110 §9.3.6)";
            return Err(Refusal::new("request.connect", 400, Fault::Client, detail));
        }
        let Some(protocol) = request.extensions().get::<ConnectProtocol>() else {
            return Err(refuse("request.connect", "this listener opens no tunnels for CONNECT"));
        };
        let Some(protocol) = protocols.of_connect(protocol.as_str()) else {
            let detail = "the listener does not carry this protocol; its `upgrades` lists those that it does";
            return Err(refuse("request.protocol", detail));
        };
        return Ok(Some(Upgrade {
            protocol,
            client: PendingTunnel::of(request),
            upstream: None,
            extended: true,
            request: None,
        }));
    }
    if request.version() != Version::HTTP_11 || !is_bodiless(request.headers()) {
        return Ok(None);
    }
    let protocol = protocols.of_upgrade(request.method(), request.headers());
    Ok(protocol.map(|protocol| Upgrade {
        protocol,
        client: PendingTunnel::of(request),
        upstream: None,
        extended: false,
        request: None,
    }))
}

fn refuse(code: &'static str, detail: &str) -> Refusal {
    Refusal::new(code, 501, Fault::Client, detail)
}

fn is_bodiless(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(protocol: &'static str) -> Request<RequestBody> {
        let protocol = ConnectProtocol::from_static(protocol);
        Request::connect("http://a/").extension(protocol).body(RequestBody::default()).unwrap()
    }

    #[test]
    fn connect_carries_what_the_listener_names_and_nothing_that_is_http() {
        let default = Protocols::default();
        let asked = |mut request: Request<RequestBody>, protocols: &Protocols| {
            requested_upgrade(&mut request, protocols).map(|upgrade| upgrade.unwrap().protocol)
        };
        assert_eq!(asked(connect("websocket"), &default).unwrap(), "websocket");
        assert_eq!(asked(connect("WebSocket"), &default).unwrap(), "websocket");
        let named = Protocols::new(["foo", "h2c", "http/1.1", "tls/1.0", "connect-udp"]);
        assert_eq!(asked(connect("foo"), &named).unwrap(), "foo");
        for protocol in
            ["h2c", "HTTP/1.1", "TLS/1.0", "http/2.0", "foo", "connect-udp", "websocket, h2c", ""]
        {
            let refusal = asked(connect(protocol), &default).unwrap_err();
            assert_eq!((refusal.code, refusal.status), ("request.protocol", 501), "{protocol}");
            assert_eq!(asked(connect(protocol), &named).is_ok(), protocol == "foo", "{protocol}");
        }
        let plain = Request::connect("a:443").body(RequestBody::default()).unwrap();
        assert_eq!(asked(plain, &default).unwrap_err().code, "request.connect");
        let mut body = connect("websocket");
        body.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        assert_eq!(asked(body, &default).unwrap_err().status, 400);
    }

    #[test]
    fn an_offer_of_http1_is_left_out_where_it_is_not_carried() {
        let asks = |version: Version, lines: &[(&str, &str)]| {
            let mut request = Request::get("/").version(version);
            for (name, value) in lines {
                request = request.header(*name, *value);
            }
            let upgrade = requested_upgrade(
                &mut request.body(RequestBody::default()).unwrap(),
                &Protocols::default(),
            );
            upgrade.unwrap().map(|upgrade| upgrade.protocol)
        };
        let websocket = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(asks(Version::HTTP_11, &websocket).unwrap(), "websocket");
        assert_eq!(asks(Version::HTTP_10, &websocket), None);
        assert_eq!(asks(Version::HTTP_2, &websocket), None);
        assert_eq!(asks(Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c")]), None);
        let body = [("connection", "upgrade"), ("upgrade", "websocket"), ("content-length", "1")];
        assert_eq!(asks(Version::HTTP_11, &body), None);
    }
}
