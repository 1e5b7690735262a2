//! Against a real server with prepared responses, one for each connection.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

struct Server {
    address: SocketAddr,
    requests: Receiver<String>,
    _thread: JoinHandle<()>,
}

/// Responds to each connection with the next of `answers`; `None` is silence until the client leaves.
fn server(answers: Vec<Option<&'static str>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, requests) = channel();
    let run = move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut buffer).unwrap_or(0);
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&buffer[..read]);
            }
            let _ = send.send(String::from_utf8_lossy(&request).into_owned());
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes())),
                None => drop(stream.read(&mut buffer)),
            }
        }
    };
    Server { address, requests, _thread: std::thread::spawn(run) }
}

fn get(url: String) -> FetchRequest {
    FetchRequest {
        method: "GET".to_owned(),
        url,
        headers: vec![("accept".to_owned(), b"application/json".to_vec())],
        body: Vec::new(),
        timeout: Duration::from_secs(10),
        max_bytes: 1024,
        target: FetchTarget::Host { ca: None },
    }
}

fn fetch(request: FetchRequest) -> Result<FetchResponse, FetchFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Fetcher::default().fetch(request))
}

#[test]
fn an_answer_comes_back_whole_with_its_status_and_headers() {
    let server = server(vec![Some(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}",
    )]);
    let answer = fetch(get(format!("http://{}/keys?v=1", server.address))).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{\"keys\":[]}"[..]));
    assert!(answer.headers.contains(&("content-type".to_owned(), b"application/json".to_vec())));
    let request = server.requests.recv().unwrap();
    assert!(request.starts_with("GET /keys?v=1 HTTP/1.1\r\n"), "{request}");
    let host = format!("host: {}\r\n", server.address);
    assert!(request.contains(&host) && request.contains("accept: application/json"), "{request}");
}

#[test]
fn every_fetch_asks_anew_so_that_rotated_keys_are_seen() {
    let server = server(vec![
        Some("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold"),
        Some("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nnew\r\n0\r\n\r\n"),
        Some("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
    ]);
    let url = format!("http://{}", server.address);
    assert_eq!(fetch(get(url.clone())).unwrap().body, b"old");
    assert_eq!(fetch(get(url.clone())).unwrap().body, b"new");
    assert_eq!(fetch(get(url)).unwrap().status, 500);
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    let server = server(vec![Some(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    )]);
    assert_eq!(fetch(get(format!("http://{}/", server.address))).unwrap().status, 302);
}

#[test]
fn a_silent_server_costs_the_timeout_and_no_more() {
    let server = server(vec![None]);
    let mut request = get(format!("http://{}/", server.address));
    request.timeout = Duration::from_millis(30);
    assert_eq!(fetch(request), Err(FetchFailure::Timeout));
}

#[test]
fn an_answer_over_the_limit_is_too_large_however_it_is_framed() {
    let server = server(vec![
        Some("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345"),
        Some("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"),
        Some("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345"),
        Some("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n1234"),
    ]);
    let request = || FetchRequest { max_bytes: 4, ..get(format!("http://{}/", server.address)) };
    for _ in 0..3 {
        assert_eq!(fetch(request()), Err(FetchFailure::TooLarge));
    }
    assert_eq!(fetch(request()).unwrap().body, b"1234");
}

#[test]
fn what_is_no_http_or_breaks_off_is_a_broken_connection() {
    let server = server(vec![
        Some("SSH-2.0-OpenSSH_9.9\r\n"),
        Some("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n123"),
        Some(""),
    ]);
    for _ in 0..3 {
        let failure = fetch(get(format!("http://{}/", server.address))).unwrap_err();
        assert!(matches!(failure, FetchFailure::Connect(_)), "{failure}");
    }
}

#[test]
fn a_url_nobody_answers_at_says_so() {
    let free = tamis_harness::ports::address();
    for url in [format!("http://{free}/"), "no url".to_owned(), "/path".to_owned(), String::new()] {
        let failure = fetch(get(url.clone())).unwrap_err();
        assert!(
            matches!(&failure, FetchFailure::Connect(why) if !why.is_empty()),
            "{url}: {failure}"
        );
    }
}

#[test]
fn what_is_no_answer_is_an_error_at_once() {
    for (answer, why) in [
        ("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000), "interim"),
        (
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", "0".repeat(1_000)),
            "chunk",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "both",
        ),
    ] {
        let server = server(vec![Some(Box::leak(answer.into_boxed_str()))]);
        match fetch(get(format!("http://{}/", server.address))) {
            Err(FetchFailure::Connect(_)) => {}
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn a_name_leads_to_no_address_of_this_machine_or_its_link() {
    for (host, address, may) in [
        ("idp.example", "10.1.2.3", true),
        ("idp.example", "203.0.113.1", true),
        ("idp.example", "2001:db8::1", true),
        ("idp.example", "fd12::1", true),
        ("idp.example", "127.0.0.1", false),
        ("idp.example", "127.8.8.8", false),
        ("idp.example", "0.0.0.0", false),
        ("idp.example", "0.1.2.3", false),
        ("idp.example", "169.254.169.254", false),
        ("idp.example", "224.0.0.1", false),
        ("idp.example", "255.255.255.255", false),
        ("idp.example", "::1", false),
        ("idp.example", "::", false),
        ("idp.example", "::ffff:127.0.0.1", false),
        ("idp.example", "::ffff:169.254.169.254", false),
        ("idp.example", "64:ff9b::7f00:1", false),
        ("idp.example", "64:ff9b::a9fe:a9fe", false),
        ("idp.example", "64:ff9b::a01:203", true),
        ("idp.example", "fe80::1", false),
        ("idp.example", "ff02::1", false),
        ("idp.example", "fd00:ec2::254", false),
        ("idp.example", "fd20:ce::254", false),
        ("idp.example", "100.100.100.200", false),
        ("idp.example", "168.63.129.16", false),
        ("idp.example", "192.0.0.192", false),
        ("idp.example", "::ffff:168.63.129.16", false),
        ("idp.example", "64:ff9b::6464:64c8", false),
        ("idp.example", "100.100.100.201", true),
        ("idp.example", "168.63.129.17", true),
        ("100.100.100.200", "100.100.100.200", true),
        ("localhost.example", "127.0.0.1", false),
        ("127.0.0.1.example", "127.0.0.1", false),
        ("localhost", "127.0.0.1", true),
        ("LOCALHOST.", "::1", true),
        ("a.localhost", "127.0.0.1", true),
        ("localhost", "203.0.113.1", false),
        // Whoever granted the address meant it.
        ("127.0.0.1", "127.0.0.1", true),
        ("169.254.169.254", "169.254.169.254", true),
        ("::1", "::1", true),
    ] {
        assert_eq!(may_be_at(host, address.parse().unwrap()), may, "{host} at {address}");
    }
}

/// An authority, and a server with a certificate of it for `127.0.0.1`.
fn secure(answer: &'static str) -> (String, SocketAddr, JoinHandle<()>) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&own).unwrap();
    let issuer = Issuer::new(params, own);
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, secret) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&certificate, leaf.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let tls = tamis_transport::ServerTls::from_files(&certificate, &secret, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let run = move || {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            // One that is refused, and one that is believed.
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok((mut stream, _)) = tls.accept(stream).await else { continue };
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
    };
    (authority.pem(), address, std::thread::spawn(run))
}

#[test]
fn the_authorities_of_the_grant_are_believed_and_no_others() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let ((own, address, server), (other, ..)) = (secure(answer), secure(answer));
    let asked = |ca: &str| {
        let url = format!("https://{address}/");
        fetch(FetchRequest { target: FetchTarget::Host { ca: Some(ca.into()) }, ..get(url) })
    };
    assert!(matches!(asked(&other), Err(FetchFailure::Connect(_))), "of another authority");
    assert_eq!(asked(&own).unwrap().body, b"ok");
    server.join().unwrap();
    for wrong in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        match asked(wrong) {
            Err(FetchFailure::Connect(why)) => assert!(why.contains("http-client.ca"), "{why}"),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}
