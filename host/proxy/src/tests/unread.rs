//! Clients that do not read what they asked for.

use super::limits::RecordBuffer;
use super::live::LiveProxy;
use super::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tamis_observe::{AccessLog, Recorder};
use tamis_upstream::ServiceSettings;

const PATIENCE: Duration = Duration::from_secs(20);
/// More than all buffers between an upstream and a client hold.
const LARGE: usize = 64 << 20;

/// Answers each request with a large body, and `/small` with a small one.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut octets = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut octets) {
                    let small = octets[..length].starts_with(b"GET /small ");
                    let body = vec![b'x'; if small { 1 } else { LARGE }];
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn asks(live: &LiveProxy, path: &str) -> TcpStream {
    let mut stream = live.connect();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    stream
}

fn begins(stream: &mut TcpStream) -> String {
    let mut octets = [0; 256];
    let length = stream.read(&mut octets).unwrap();
    String::from_utf8_lossy(&octets[..length]).into_owned()
}

#[test]
fn who_reads_nothing_gives_up_its_connection_where_others_wait_for_one() {
    let written = RecordBuffer::default();
    let recorder = Recorder::to(AccessLog::All, written.clone()).unwrap();
    let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
    let options = ProxyOptions { recorder, ..ProxyOptions::default() };
    let settings = ServiceSettings { max_connections: 3, ..ServiceSettings::default() };
    let live = LiveProxy::with_settings(upstream(), vec![router], options, settings);
    // They read no more than the beginning.
    let mut clients = [(); 3].map(|()| asks(&live, "/large"));
    for client in &mut clients {
        assert!(begins(client).starts_with("HTTP/1.1 200 "));
    }
    for _ in 0..3 {
        let mut other = asks(&live, "/small");
        assert!(begins(&mut other).starts_with("HTTP/1.1 200 "));
    }
    let unread = |records: &Vec<Value>| {
        records.iter().filter(|record| record["reason"] == "response.unread").count() >= 1
    };
    let records = live.until(|_| written.lines(), unread);
    for record in records.iter().filter(|record| record["reason"] == "response.unread") {
        assert_eq!(
            (&record["status"], &record["outcome"][0]),
            (&json!(200), &json!("client-gone"))
        );
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("while others waited"), "{detail}");
    }
}
