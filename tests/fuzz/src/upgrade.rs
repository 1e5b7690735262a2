//! Changes of the protocol on arbitrary words.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use tamis_exchange::{Protocols, is_agreed, is_carried};

/// Lines of the input: the protocol of an extended CONNECT, `connection` and `upgrade` of a request, and status,
/// `connection` and `upgrade` of a response. What is carried is one protocol that is named and is not HTTP or TLS, and
/// no tunnel begins with a protocol that was not asked for.
pub fn upgrade(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (connect, request) = (line(), head(line(), line()));
    let (status, response) = (line().parse().unwrap_or(200), head(line(), line()));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    for protocols in [Protocols::default(), Protocols::new([connect, "websocket", "shout/1"])] {
        let offered = protocols.of_upgrade(&Method::GET, &request);
        assert!(protocols.of_upgrade(&Method::POST, &request).is_none());
        for protocol in [protocols.of_connect(connect), offered].into_iter().flatten() {
            let name = protocol.to_str().expect("a token").to_owned();
            assert!(is_carried(&name) && !name.contains([',', ' ']), "{name:?}");
            assert!(
                !["h2", "http", "tls", "connect"].iter().any(|it| name.starts_with(it)),
                "{name}"
            );
            assert_eq!(name, name.to_ascii_lowercase());
            if is_agreed(&protocol, status, &response) {
                assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
                let said = response.get_all(header::UPGRADE).iter();
                let said: Vec<&[u8]> = said.map(HeaderValue::as_bytes).collect();
                let said = said.concat().to_ascii_lowercase();
                let said = String::from_utf8_lossy(&said).replace([',', ' ', '\t'], "");
                assert_eq!(said, name, "nothing else was agreed on");
            }
        }
    }
}

fn head(connection: &str, upgrade: &str) -> HeaderMap {
    let fields = [(header::CONNECTION, connection), (header::UPGRADE, upgrade)];
    let field = |(name, value)| Some((name, HeaderValue::from_str(value).ok()?));
    fields.into_iter().filter_map(field).collect()
}
