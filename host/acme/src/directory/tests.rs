//! A server that says anything: what of it is believed.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::cell::RefCell;
use std::rc::Rc;
use tamis_transport::ServerTls;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

/// A server of TLS on loopback that gives each connection the same octets, and never ends it by itself.
struct Stranger {
    _folder: TempDir,
    directory: Directory,
    origin: String,
    asked: Rc<RefCell<Vec<String>>>,
}

impl Stranger {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + 'static) -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let own = own.self_signed(&key).unwrap().pem();
        let (certificate, secret) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        std::fs::write(&certificate, &own).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        let tls = Rc::new(ServerTls::from_files(&certificate, &secret, None).unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        let directory = Directory::new(&format!("{origin}/dir"), Some(&own)).unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (seen, of, answer) = (Rc::clone(&asked), origin.clone(), Rc::new(answer));
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, seen) = (Rc::clone(&tls), Rc::clone(&seen));
                let (of, answer) = (of.clone(), Rc::clone(&answer));
                spawn_local(async move {
                    let Ok((mut stream, _)) = tls.accept(socket).await else { return };
                    let mut head = vec![0; 4_096];
                    let Ok(count) = stream.read(&mut head).await else { return };
                    let head = String::from_utf8_lossy(&head[..count]).into_owned();
                    seen.borrow_mut().push(head.lines().next().unwrap_or_default().to_owned());
                    // Whoever has heard enough may be gone.
                    let _gone = stream.write_all(&answer(&of)).await;
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { _folder: folder, directory, origin, asked }
    }

    async fn get(&self, path: &str) -> Result<BytesResponse, String> {
        let request = Request::get(format!("{}{path}", self.origin));
        let asked = self.directory.request(request.body(BodyWrapper::default()).unwrap()).await;
        asked.map_err(|error| causes(&error))
    }
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn ok(more: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{more}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn what_a_stranger_sends_is_bounded_and_what_it_redirects_to_is_not_asked() {
    local(async {
        let wide = |count: usize| "x: y\r\n".repeat(count);
        for (answer, says) in [
            (ok("", &"x".repeat(BODY_MAX + 1)), "length limit exceeded"),
            (ok(&format!("x: {}\r\n", "y".repeat(HEAD_MAX * 2)), ""), "127.0.0.1"),
            (ok(&wide(FIELDS_MAX + 1), ""), "127.0.0.1"),
            (b"HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n".to_vec(), "redirects with 302"),
            (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "127.0.0.1"),
        ] {
            let stranger = Stranger::start(move |_| answer.clone()).await;
            let error = stranger.get("/order").await.err().unwrap();
            assert!(error.contains(says), "{error}");
            assert_eq!(stranger.asked.borrow().len(), 1);
        }
    });
}

#[test]
fn a_wait_that_a_stranger_asks_for_is_bounded_before_the_library_adds_it_to_the_date() {
    local(async {
        for (asked, told) in [
            ("18446744073709551615", Some("60")),
            ("61", Some("60")),
            ("3", Some("3")),
            ("-1", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ] {
            let line = format!("retry-after: {asked}\r\n");
            let stranger = Stranger::start(move |_| ok(&line, "")).await;
            let response = stranger.get("/order").await.ok().unwrap();
            let found = response.parts.headers.get(header::RETRY_AFTER);
            assert_eq!(found.map(|text| text.to_str().unwrap()), told, "{asked}");
            assert_eq!(stranger.directory.asked_pause(), None, "it refused nothing");
        }
        let refusal =
            b"HTTP/1.1 429 Slow down\r\nretry-after: 999999999\r\ncontent-length: 0\r\n\r\n";
        let stranger = Stranger::start(|_| refusal.to_vec()).await;
        assert!(stranger.get("/order").await.is_ok());
        assert_eq!(stranger.directory.asked_pause(), Some(Duration::from_secs(PAUSE_MAX)));
        assert_eq!(stranger.directory.asked_pause(), None, "it counts once");
    });
}

#[test]
fn a_directory_that_leads_elsewhere_is_left_and_nothing_else_is_asked() {
    local(async {
        let stranger = Stranger::start(|of| {
            let text = serde_json::json!({
                "newNonce": format!("{of}/nonce"),
                "newAccount": format!("{of}/account"),
                "newOrder": "https://169.254.169.254/latest",
            });
            ok("", &text.to_string())
        });
        let stranger = stranger.await;
        let error = stranger.get("/dir").await.err().unwrap();
        assert!(error.contains("https://169.254.169.254/latest"), "{error}");
        let request = Request::get("https://169.254.169.254/latest");
        let request = request.body(BodyWrapper::default()).unwrap();
        assert!(stranger.directory.request(request).await.is_err());
        assert_eq!(*stranger.asked.borrow(), ["GET /dir HTTP/1.1"]);
    });
}

#[test]
fn a_server_that_does_not_prove_its_name_is_not_asked() {
    local(async {
        let stranger = Stranger::start(|_| ok("", "{}")).await;
        let other = Stranger::start(|_| ok("", "{}")).await;
        let key = KeyPair::generate().unwrap();
        let authority = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let authority = authority.self_signed(&key).unwrap().pem();
        let url = format!("{}/dir", stranger.origin);
        let directory = Directory::new(&url, Some(&authority)).unwrap();
        let request = Request::get(url).body(BodyWrapper::default()).unwrap();
        assert!(directory.request(request).await.is_err());
        assert!(stranger.asked.borrow().is_empty() && other.asked.borrow().is_empty());
    });
}

fn directory() -> Directory {
    Directory::new("https://acme.example/directory", None).unwrap()
}

#[test]
fn nothing_but_the_origin_of_the_directory_is_asked() {
    let origin_of = |text: &str| text.parse::<Uri>().ok().and_then(|uri| origin(&uri));
    let own = Some("acme.example:443".to_owned());
    for text in ["https://acme.example/a", "https://ACME.example:443/b", "HTTPS://acme.example"] {
        assert_eq!(origin_of(text), own, "{text}");
    }
    for text in [
        "http://acme.example/a",
        "https://acme.example:444/a",
        "https://acme.example.evil.example/a",
        "https://acme.example@evil.example/a",
        "https://user@acme.example/a",
        "https://169.254.169.254/latest",
        "/a",
        "acme.example",
        "",
    ] {
        assert_ne!(origin_of(text), own, "{text}");
    }
}

#[test]
fn a_directory_with_urls_that_are_none_or_elsewhere_is_refused() {
    let directory = directory();
    let check = |new_nonce: &str| {
        let text = serde_json::json!({
            "newNonce": new_nonce,
            "newAccount": "https://acme.example/account",
            "newOrder": "https://acme.example/order",
        });
        directory.0.check(text.to_string().as_bytes())
    };
    assert!(check("https://acme.example/nonce").is_ok());
    for wrong in ["", "https://", "not a url", "https://evil.example/", "http://acme.example/"] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    for text in ["", "[]", "{}", r#"{"newNonce": 1}"#, "\u{0}"] {
        assert!(directory.0.check(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_wait_is_a_number_of_seconds() {
    for (text, expected) in [
        ("0", Some(0)),
        ("7", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-1", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("", None),
    ] {
        assert_eq!(seconds(&HeaderValue::from_static(text)), expected, "{text}");
    }
}
