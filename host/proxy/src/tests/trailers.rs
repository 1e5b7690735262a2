//! Trailers on their way through filters, in both directions.

use super::live::LiveProxy;
use super::*;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Answers one request with the trailers that it received in `x-got`, and with trailers of its own.
fn answer(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if reader.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    let mut got = String::new();
    if text.to_lowercase().contains("transfer-encoding: chunked") {
        while !got.ends_with("\r\n\r\n") {
            reader.read_line(&mut got).ok()?;
        }
    }
    let got = got.split_once("\r\n0\r\n").map_or("", |(_, trailers)| trailers.trim_end());
    let got = got.replace("\r\n", "|");
    let named =
        if text.starts_with("POST /a/named") { "trailer: x-sum, grpc-status\r\n" } else { "" };
    let head =
        format!("HTTP/1.1 200 x\r\n{named}x-got: {got}\r\ntransfer-encoding: chunked\r\n\r\n");
    let body = "2\r\nok\r\n0\r\nx-sum: 9\r\ngrpc-status: 0\r\n\r\n";
    let mut stream = stream;
    stream.write_all(format!("{head}{body}").as_bytes()).ok()
}

fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || while answer(&stream).is_some() {});
        }
    });
    address
}

fn ledger_that(config: &Value, failure: OnFailure) -> Attachment {
    let occupant =
        SlotOccupant::Running(Filter::new(ledger(), options(config, "sha256:02")).unwrap());
    let name = "test/ledger".to_owned();
    Attachment { name, occupant, ..attached(&json!({}), None, failure) }
}

fn routes() -> Attachment {
    let config = json!({ "reads": [":path"], "rules": [["/a", "ns/a/0"]], "timeout_ms": 5_000 });
    Attachment { name: "test/router".into(), ..attached(&config, None, OnFailure::Closed) }
}

/// The response to a request with a body in chunks and trailers, as it is on the wire.
fn ask(live: &LiveProxy, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(live.address()).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

const BODY: &str = "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";

#[test]
fn a_filter_reads_and_changes_trailers_in_both_directions() {
    let config = json!({ "trailers": [[["x-seen", "1"]], [["grpc-status", "7"]]] });
    let chunks = json!({ "reads": [], "body": "capitals" });
    let bodies =
        || Attachment { name: "test/chunks".into(), ..attached(&chunks, None, OnFailure::Closed) };
    for filters in [
        vec![ledger_that(&config, OnFailure::Closed), routes()],
        vec![ledger_that(&config, OnFailure::Closed), bodies(), routes()],
    ] {
        let live = LiveProxy::before(upstream(), filters, ProxyOptions::default());
        let text = ask(&live, "/a/named", BODY);
        assert!(text.contains("x-got: x-sum: 7|x-seen: 7 of 2 at /a/named\r\n"), "{text}");
        assert!(text.contains("trailer: x-sum, grpc-status, grpc-status, x-seen\r\n"), "{text}");
        let trailers = text.split_once("\r\n0\r\n").unwrap().1;
        for line in ["x-sum: 9\r\n", "grpc-status: 7\r\n", "x-seen: 9 of 3 at /a/named\r\n"] {
            assert!(trailers.contains(line), "{text}");
        }
    }
}

#[test]
fn a_message_without_trailers_causes_no_call() {
    let filters = vec![ledger_that(&json!({}), OnFailure::Closed), routes()];
    let live = LiveProxy::before(upstream(), filters, ProxyOptions::default());
    let text = ask(&live, "/a", "2\r\nhi\r\n0\r\n\r\n");
    assert!(text.contains("x-got: \r\n"), "{text}");
}

#[test]
fn an_edit_that_is_not_allowed_ends_the_exchange_or_not_as_its_failure_mode_says() {
    for (trailers, closed, open) in [
        (json!([[["content-type", "x"]], []]), "503 Service", "x-got: x-sum: 7\r\n"),
        // The head was sent: the response breaks off.
        (json!([[], [["x-other", "x"]]]), "", "ok\r\n0\r\nx-sum: 9\r\ngrpc-status: 0\r\n"),
    ] {
        let config = json!({ "trailers": trailers });
        for (failure, says) in [(OnFailure::Closed, closed), (OnFailure::Open, open)] {
            let filters = vec![ledger_that(&config, failure), routes()];
            let live = LiveProxy::before(upstream(), filters, ProxyOptions::default());
            let text = ask(&live, "/a/named", BODY);
            assert!(text.contains(says), "{trailers} {failure:?}: {text}");
            let whole = text.ends_with("\r\n\r\n") || text.contains(" 503 ");
            assert_eq!(whole, failure == OnFailure::Open || says.starts_with("503"), "{text}");
        }
    }
}
