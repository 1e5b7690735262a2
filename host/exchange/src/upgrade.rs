//! The protocols that a listener carries in addition to HTTP, and how both sides agree on one.
//!
//! A tunnel bypasses every filter for the requests inside it. So a listener carries only protocols that are
//! named, and never one that is itself HTTP or TLS, whose requests no filter would see.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

/// The protocols that requests may change to (RFC 9110 §7.8, RFC 8441). Default: only `websocket`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocols(Vec<Box<str>>);

impl Default for Protocols {
    fn default() -> Self {
        Self(vec!["websocket".into()])
    }
}

impl Protocols {
    /// Those of `names` that may be carried; see [`is_carried`].
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().filter(|name| is_carried(name.as_ref()));
        Self(names.map(|name| name.as_ref().to_ascii_lowercase().into()).collect())
    }

    /// The protocol that an extended CONNECT (RFC 8441 §4) asks for; `None` if it is not carried here.
    pub fn of_connect(&self, protocol: &str) -> Option<HeaderValue> {
        let known = self.0.iter().find(|known| known.eq_ignore_ascii_case(protocol))?;
        HeaderValue::from_str(known).ok()
    }

    /// The first protocol offered by a head of HTTP/1.1 that is carried here. `None` if no
    /// offered protocol is carried: the offer is dropped and the request is served without it (RFC 9110 §7.8).
    pub fn of_upgrade(&self, method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
        // A tunnel over HTTP/2 begins with a request without a body, and cannot carry another method (RFC
        // 8441 §5).
        let offers = *method == Method::GET
            && words(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
        if !offers {
            return None;
        }
        words(headers, &header::UPGRADE).find_map(|offered| self.of_connect(offered))
    }
}

/// Whether a protocol may be carried at all: a token that is not HTTP, TLS or a proxy's own connect method.
pub fn is_carried(name: &str) -> bool {
    const NEVER: [&str; 11] =
        ["http", "shttp", "s-http", "h2", "h3", "hq", "spdy", "tls", "ssl", "quic", "connect"];
    let lower = name.to_ascii_lowercase();
    let token = |part: &str| http::HeaderName::from_bytes(part.as_bytes()).is_ok();
    let mut parts = lower.split('/');
    let well_formed = parts.by_ref().take(2).all(token) && parts.next().is_none();
    well_formed && lower.len() <= 64 && !NEVER.iter().any(|never| lower.starts_with(never))
}

/// Whether the response of an HTTP/1.1 upstream agrees to change to `protocol` and to no other (RFC 9110 §7.8).
pub fn is_agreed(protocol: &HeaderValue, status: StatusCode, headers: &HeaderMap) -> bool {
    let wanted = protocol.to_str().unwrap_or_default();
    let mut named = words(headers, &header::UPGRADE);
    let agreed = named.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
    let legible = headers.get_all(header::UPGRADE).iter().all(|line| line.to_str().is_ok());
    status == StatusCode::SWITCHING_PROTOCOLS
        && agreed
        && legible
        && named.next().is_none()
        && words(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"))
}

/// The members of a list over all lines of a field.
fn words<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
        let name = header::HeaderName::from_static;
        lines.iter().map(|(field, value)| (name(field), value.parse().unwrap())).collect()
    }

    const OF_HTTP: [&str; 26] = [
        "h2c",
        "H2C",
        "h2",
        "h3",
        "h2-14",
        "http",
        "http/1.1",
        "HTTP/1.1",
        "HTTP/2.0",
        "http/2",
        "https",
        "TLS/1.0",
        "tls/1.3",
        "tls",
        "ssl",
        "connect-udp",
        "connect-ip",
        "CONNECT-TCP",
        "quic",
        "spdy/3",
        "hq-29",
        "s-http",
        "websocket, h2c",
        "websocket h2c",
        "",
        "a/b/c",
    ];

    #[test]
    fn what_is_http_or_tls_is_never_carried_even_when_it_is_named() {
        let all = Protocols::new(OF_HTTP.into_iter().chain(["websocket", "Shout/1"]));
        for protocol in OF_HTTP {
            assert_eq!(all.of_connect(protocol), None, "{protocol}");
            let offer = head(&[("connection", "upgrade"), ("upgrade", protocol)]);
            let carried = all.of_upgrade(&Method::GET, &offer);
            assert!(carried.is_none_or(|carried| carried == "websocket"), "{protocol}");
        }
        assert_eq!(all.of_connect("shout/1").unwrap(), "shout/1");
    }

    #[test]
    fn other_protocols_than_websocket_are_carried_by_name_alone() {
        let default = Protocols::default();
        for protocol in ["websocket", "WebSocket", "WEBSOCKET"] {
            assert_eq!(default.of_connect(protocol).unwrap(), "websocket");
        }
        for protocol in ["foo", "webtransport", "websocket ", "websocket2", "raw", "irc/6.9"] {
            assert_eq!(default.of_connect(protocol), None, "{protocol}");
        }
        assert_eq!(Protocols::new(["foo"]).of_connect("FOO").unwrap(), "foo");
        assert_eq!(Protocols::new(["foo"]).of_connect("websocket"), None);
    }

    #[test]
    fn an_offer_of_http1_is_cut_down_to_what_is_carried() {
        let default = Protocols::default();
        let of = |lines: &[(&'static str, &str)]| default.of_upgrade(&Method::GET, &head(lines));
        for lines in [
            &[("connection", "upgrade"), ("upgrade", "websocket")][..],
            &[("connection", "keep-alive, Upgrade"), ("upgrade", "h2c, WebSocket")],
            &[("connection", "upgrade"), ("upgrade", "h2c"), ("upgrade", "websocket")],
        ] {
            assert_eq!(of(lines).unwrap(), "websocket", "{lines:?}");
        }
        for lines in [
            &[("upgrade", "websocket")][..],
            &[("connection", "close"), ("upgrade", "websocket")],
            &[("connection", "upgrade")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "foo")],
        ] {
            assert_eq!(of(lines), None, "{lines:?}");
        }
        let offer = head(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert_eq!(default.of_upgrade(&Method::POST, &offer), None);
    }

    #[test]
    fn a_tunnel_begins_only_with_the_protocol_that_was_asked_for() {
        let agreed = |status: u16, lines: &[(&'static str, &str)]| {
            let status = StatusCode::from_u16(status).unwrap();
            is_agreed(&HeaderValue::from_static("websocket"), status, &head(lines))
        };
        let right = [("connection", "Upgrade"), ("upgrade", "WebSocket")];
        assert!(agreed(101, &right));
        for status in [100, 102, 200, 204, 302, 400, 426, 500] {
            assert!(!agreed(status, &right), "{status}");
        }
        for lines in [
            &[][..],
            &[("upgrade", "websocket")],
            &[("connection", "upgrade")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
            &[("connection", "close"), ("upgrade", "websocket")],
        ] {
            assert!(!agreed(101, lines), "{lines:?}");
        }
    }
}
