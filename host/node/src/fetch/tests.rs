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

fn get(url: String) -> Outgoing {
    Outgoing {
        method: "GET".to_owned(),
        url,
        headers: vec![("accept".to_owned(), b"application/json".to_vec())],
        body: Vec::new(),
        timeout: Duration::from_secs(10),
        max_bytes: 1024,
    }
}

fn fetch(request: Outgoing) -> Result<Incoming, FetchFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Fetcher.fetch(request))
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
    let request = || Outgoing { max_bytes: 4, ..get(format!("http://{}/", server.address)) };
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
