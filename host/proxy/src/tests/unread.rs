//! Clients that do not read what they asked for.

use super::limits::RecordBuffer;
use super::live::LiveProxy;
use super::*;
use crate::response_body::ResponseBody;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_exchange::Body;
use tamis_observe::{AccessLog, Recorder};
use tamis_transport::{Address, ServedBody as _};
use tamis_upstream::{
    EndpointConfig, EndpointTarget, Pick, Protocol, ServiceConfig, ServiceSettings, ServiceTable,
    Upstreams,
};

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

/// A response of an endpoint that speaks this protocol, of which this client takes nothing.
async fn untaken(worker: &TestWorker, protocol: Protocol, client: &str) -> Pin<Box<ResponseBody>> {
    let upstreams = Upstreams::new(ServiceTable::new(Clock::system(), Random::system()));
    let address: Address = "127.0.0.1:9".parse().unwrap();
    let endpoint = EndpointConfig {
        target: EndpointTarget::Address(address),
        weight: 1,
        tls: None,
        tls_key: String::new(),
    };
    let service = ServiceConfig {
        name: "test/app:80".into(),
        protocol,
        endpoints: vec![endpoint],
        settings: ServiceSettings::default(),
    };
    let upstream = upstreams.apply(&Arc::new(vec![service])).remove(0);
    let Ok(Pick::Attempt(attempt)) = upstream.pick(&[], None).await else { panic!("no attempt") };
    let mut state = worker.exchange("/");
    state.exchange.attributes.set("source.address", client.to_owned());
    state.hold(attempt);
    Box::pin(ResponseBody::new(Body::Empty.into(), state))
}

#[test]
fn what_an_upstream_sends_over_http2_and_nobody_takes_counts_as_its_clients_share_of_bodies() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        // Four windows of a stream, with what there is to keep of each.
        let worker = worker(Vec::new(), ChainLayout::default()).with_bodies(4 * 280 * 1024);
        let waits = |response: &mut Pin<Box<ResponseBody>>, seconds| {
            response.as_mut().may_wait(Duration::from_secs(seconds))
        };
        let of = async |client: &str| untaken(&worker, Protocol::Http2, client).await;
        let [mut one, mut two, mut three] =
            [of("192.0.2.1").await, of("192.0.2.1").await, of("192.0.2.1").await];
        assert!(waits(&mut one, 1) && waits(&mut two, 1));
        assert!(!waits(&mut three, 1), "one client has half of all, and leaves as much to others");
        // A look at a response that waits takes its share once.
        assert!(waits(&mut one, 2) && waits(&mut two, 59));
        let mut other = of("192.0.2.2").await;
        assert!(waits(&mut other, 1), "another client has its own share");
        assert!(!waits(&mut of("192.0.2.2").await, 1));
        // The sockets hold what comes over HTTP/1.
        for _ in 0..8 {
            let mut response = untaken(&worker, Protocol::Http1, "192.0.2.1").await;
            assert!(waits(&mut response, 1));
        }
        drop(one);
        assert!(!waits(&mut two, 60), "it had as long as anybody");
        drop((two, other));
        let [mut one, mut two] = [of("192.0.2.1").await, of("192.0.2.1").await];
        assert!(waits(&mut one, 1) && waits(&mut two, 1), "what ended gave its share back");
    });
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

#[test]
fn who_sends_nothing_gives_up_its_connection_where_others_wait_for_one() {
    let written = RecordBuffer::default();
    let recorder = Recorder::to(AccessLog::All, written.clone()).unwrap();
    let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
    let options = ProxyOptions { recorder, ..ProxyOptions::default() };
    let settings = ServiceSettings { max_connections: 3, ..ServiceSettings::default() };
    let uploads = Arc::new(AtomicUsize::new(0));
    let upstream = silent_upstream(Arc::clone(&uploads));
    let live = LiveProxy::with_settings(upstream, vec![router], options, settings);
    // What a client says its body is does not matter.
    let _clients = ["text/plain", "application/grpc", "application/octet-stream"].map(|kind| {
        let mut stream = live.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\n");
        let piece = "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
        stream.write_all(format!("{head}{piece}").as_bytes()).unwrap();
        stream
    });
    live.until(|_| uploads.load(Ordering::Relaxed), |uploads| *uploads == 3);
    for _ in 0..3 {
        let mut other = asks(&live, "/small");
        assert!(begins(&mut other).starts_with("HTTP/1.1 200 "));
    }
    let given_up = |records: &Vec<Value>| {
        records.iter().filter(|record| record["reason"] == "http.body-timeout").count() >= 1
    };
    let records = live.until(|_| written.lines(), given_up);
    let mut slow = records.iter().filter(|record| record["path"] == "/slow");
    assert!(slow.all(|record| record["reason"] == "http.body-timeout"), "{records:?}");
}

/// Answers what is not an upload, and reads and counts uploads for as long as they last.
fn silent_upstream(uploads: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let uploads = Arc::clone(&uploads);
            std::thread::spawn(move || {
                let mut octets = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut octets) {
                    if !octets[..length].starts_with(b"GET ") {
                        let begins = octets[..length].starts_with(b"POST ");
                        uploads.fetch_add(usize::from(begins), Ordering::Relaxed);
                        continue;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
