//! Tunnels over the whole way: a client over TLS, a gateway, the sidecar that it reaches over mTLS, an application.

use crate::connections::{extended, over_http2_on, raw};
use crate::shop::{Shop, shop};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tamis_e2e::{exchange, up};
use tamis_transport::{Address, ClientTls, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Heads that the application received.
type Heads = Arc<Mutex<Vec<String>>>;

/// An application that changes the protocol where its path says so, and then echoes in capitals.
fn application() -> (SocketAddr, Heads) {
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    let address = raw(move |mut stream, head| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push(head.to_ascii_lowercase());
        let upgraded = |protocol: &str| {
            format!("101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}")
        };
        let answer = match path.as_str() {
            "/chat" => upgraded("websocket"),
            "/other" => upgraded("h2c"),
            "/two" => upgraded("websocket, h2c"),
            "/no" => "403 Forbidden\r\ncontent-length: 0".to_owned(),
            _ => "200 OK\r\ncontent-length: 0".to_owned(),
        };
        // The sidecar may be gone by then.
        let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
        let mut octets = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut octets) {
            if stream.write_all(&octets[..length].to_ascii_uppercase()).is_err() {
                return;
            }
        }
    });
    (address, heads)
}

/// The shop whose storefront is that application, and the address of the gateway's TLS listener.
pub(crate) fn shop_with(application: SocketAddr) -> (Shop, SocketAddr) {
    let shop = shop();
    let path = shop.folder.path().join("services.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let own = text.split("- address: ").nth(1).unwrap().lines().next().unwrap();
    std::fs::write(&path, text.replacen(own, &application.to_string(), 1)).unwrap();
    let gateway = std::fs::read_to_string(shop.folder.path().join("gateway.yaml")).unwrap();
    let port = gateway.split("name: https").nth(1).unwrap().split("port: ").nth(1).unwrap();
    let port = port.lines().next().unwrap().parse::<u16>().unwrap();
    (shop, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[test]
fn over_tls_and_through_a_sidecar_a_tunnel_is_the_one_both_agreed_on_or_none() {
    let (application, heads) = application();
    let (shop, https) = shop_with(application);
    let _running = up(shop.folder.path(), &["--no-apps"]);
    let ca = shop.folder.path().join(".tamis/certs/ca.crt");
    let tls = ClientTls::from_files(None, &ca, None, "localhost").unwrap().with_alpn(&[b"h2"]);
    let open =
        async || connect(&Address::Tcp(https), Some(&tls), Duration::from_secs(20)).await.unwrap();
    over_http2_on(open, async |mut sender| {
        let mut get = async |path: &str| {
            let request = Request::get(format!("https://localhost{path}")).body(Empty::new());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            response.status().as_u16()
        };
        // The listener's SETTINGS must have arrived, or the client may not ask (RFC 8441 §3).
        assert_eq!(get("/probe").await, 200);
        assert_eq!(get("/pay").await, 401);
        for protocol in [
            "h2c",
            "H2C",
            "h2",
            "HTTP/1.1",
            "http/2.0",
            "TLS/1.0",
            "connect-udp",
            "foo",
            "websocket, h2c",
        ] {
            for path in ["/hidden", "/pay"] {
                let said = extended(&mut sender, protocol, path).await;
                assert_eq!(said, (501, "request.protocol".to_owned()), "{protocol} {path}");
            }
        }
        // A guard sees a tunnel like any other request.
        let said = extended(&mut sender, "websocket", "/pay").await;
        assert_eq!(said, (401, "jwt.missing".to_owned()));
        for (path, status, reason) in [
            ("/plain", 502, "upstream.protocol"),
            ("/other", 502, "upstream.protocol"),
            ("/two", 502, "upstream.protocol"),
            ("/no", 403, ""),
        ] {
            let said = extended(&mut sender, "websocket", path).await;
            assert_eq!(said, (status, reason.to_owned()), "{path}");
        }
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("https://localhost/chat")
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.headers());
        let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        tunnel.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        tunnel.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"HELLO");
    });
    let heads = heads.lock().unwrap().clone();
    let asked =
        |path: &str| heads.iter().filter(|head| head.contains(&format!(" {path} "))).count();
    assert_eq!((asked("/hidden"), asked("/pay"), asked("/chat")), (0, 0, 1), "{heads:?}");
    let offers: Vec<_> = heads.iter().filter(|head| head.contains("\r\nupgrade: ")).collect();
    assert!(offers.iter().all(|head| head.contains("\r\nupgrade: websocket\r\n")), "{offers:?}");
}

#[test]
fn an_upgrade_of_http1_passes_a_sidecar_as_what_was_agreed_or_as_a_request_without_it() {
    let (application, heads) = application();
    let (shop, _) = shop_with(application);
    let _running = up(shop.folder.path(), &["--no-apps"]);
    let ask = |path: &str, protocol: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: {protocol}\r\n\r\n"
        )
    };
    for (path, protocol, status, offered) in [
        ("/plain", "websocket", 200, true),
        ("/no", "websocket", 403, true),
        ("/other", "websocket", 502, true),
        ("/two", "websocket", 502, true),
        ("/plain", "h2c", 200, false),
        ("/plain", "TLS/1.0", 200, false),
        ("/plain", "foo", 200, false),
        // An application that changes the protocol although nobody asked it to.
        ("/chat", "h2c", 502, false),
    ] {
        let octets = exchange(&shop.http, ask(path, protocol).as_bytes());
        let text = String::from_utf8_lossy(&octets).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {protocol}: {text}");
        let head = heads.lock().unwrap().last().cloned().unwrap();
        assert_eq!(head.contains("\r\nupgrade: "), offered, "{path} {protocol}: {head}");
    }
    let mut stream = TcpStream::connect(&shop.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(ask("/chat", "h2c, websocket").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 101 ") && text.contains("\r\nupgrade: websocket\r\n"),
        "{text}"
    );
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"HELLO");
}
